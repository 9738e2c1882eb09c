"""Small runs in forked processes, faults in them, and what must hold for a run after a fault."""

import builtins
import csv
import io
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

import cli
from callbacks import StepMonitor
from commands.fit import ladder_cli
from tests import ranks
from tests.conftest import weights_hash_of
from tests.results.recorded import without_times


def rounds(full: int, short: int) -> int:
    """Returns how many rounds of a fault to run."""
    return full if os.environ.get("LADDER_FAULTS") == "full" else short


STEPS = 4 * rounds(full=8, short=4)
PATIENCE = 300.0  # seconds; the same run takes 2 alone, and 10 on a busy machine
MODELS = {
    "GAN": ["--model=GAN", "--model.generator.width=2", "--model.trunk.width=2",
            "--model.latent_dim=4", "--model.average.decay=0.9"],
    "classifier": ["--model=ImageClassifier", "--model.network.width=2",
                   "--model.network.dropout=0.2"],
}  # fmt: skip
DIGITS = ["--data=Images", "--data.dataset=digits", "--data.batch_size=64"]
SMALL = [
    "--experiment=run",
    f"--trainer.max_epochs={STEPS // 4}", "--trainer.limit_train_batches=4",
    "--trainer.limit_val_batches=1",
    "--trainer.log_every_n_steps=1", "--trainer.accelerator=cpu", "--trainer.precision=32-true",
    "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
    "--checkpoint.min_steps=0", "--samples.min_steps=2", "--quality.samples=64",
    "--quality.min_steps=0",
]  # fmt: skip
CALLBACKS = (StepMonitor,)  # without figures that take a second each
MACHINE = (
    "train/examples_per_s",
    "train/data_wait",
    "train/exchange_wait",
)  # differ from run to run

Fault = Callable[[], object]  # changes the process that it runs in


# -- processes ------------------------------------------------------------------------------------


def start(
    root: Path, kind: str, *more: str, logs: Path | None = None, processes: int = 1,
    data: bool = True, **fault: Any,
) -> list[ranks.ForkProcess]:  # fmt: skip
    """Starts `fit`, or continues it if it has saved a checkpoint; see `command`.

    The output goes to `<logs>/<rank>.log`, by default in the root.
    """
    root.mkdir(parents=True, exist_ok=True)
    files = root.glob("run/*/checkpoints/[!.]*.ckpt")
    saved = any(path.name != "best.ckpt" for path in files)  # which has weights alone
    options = [
        *MODELS[kind],
        *SMALL,
        *(DIGITS if data else []),
        f"--trainer.default_root_dir={root}",
    ]
    options += ["--ckpt_path=last"] if saved else []
    if processes > 1:
        options += [f"--trainer.devices={processes}", "--trainer.strategy=ddp"]
    return command(logs or root, "fit", *options, *more, processes=processes, **fault)


def command(
    logs: Path, *args: str, fault: Fault = lambda: None, processes: int = 1, rank: int = 0
) -> list[ranks.ForkProcess]:
    """Starts a command. One rank gets the fault. The output goes to `<logs>/<rank>.log`."""

    def work() -> None:
        ladder_cli.DEFAULT_CALLBACKS = CALLBACKS
        if processes == 1:
            for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
                os.environ.pop(name, None)
        warnings.showwarning = show  # pytest keeps warnings to itself
        if int(os.environ.get("RANK", 0)) == rank:
            fault()
        cli.main([*args])

    return ranks.start(processes, work, logs)


def show(message: Warning | str, *_: Any) -> None:
    print(f"Warning: {message}", file=sys.stderr)


def finish(started: list[ranks.ForkProcess], logs: Path) -> str:
    """Waits for processes that must end well, and returns what rank zero printed."""
    codes = ranks.end(started, PATIENCE)
    text = (logs / "0.log").read_text()
    assert codes == [0] * len(codes), (codes, text[-3000:])
    return text


def fails(started: list[ranks.ForkProcess], logs: Path, code: int = 1) -> str:
    """Waits for a process that must explain in one line why it ends, and returns the line."""
    codes, text = ranks.end(started, PATIENCE), (logs / "0.log").read_text()
    assert codes == [code], (codes, text[-3000:])
    assert "Traceback" not in text, text[-3000:]
    (line,) = [line for line in text.splitlines() if line.startswith("error:")]
    return line


def wait_for(condition: Callable[[], object]) -> None:
    """Waits until something is true."""
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, "in vain"
        time.sleep(0.01)


# -- faults ---------------------------------------------------------------------------------------


def kill() -> None:
    """Ends this process at once, as the kernel does if memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, count: int, act: Fault = kill) -> None:
    """Acts before the n-th call of a function."""
    real, left = getattr(owner, name), [count]

    def called(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            act()
        return real(*args, **kwargs)

    setattr(owner, name, called)


def at_batch(count: int, act: Fault) -> None:
    """Acts after the n-th batch."""
    before(StepMonitor, "on_train_batch_end", count, act)


def on_write(name: str, act: Callable[[Any], object], count: int = 1) -> None:
    """Acts on the n-th file that is opened to be written and whose path contains `name`."""
    real, left = builtins.open, [count]

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        stream = real(file, mode, *args, **kwargs)
        if not isinstance(file, int) and name in str(file) and {*mode} & {*"wax"}:
            left[0] -= 1
            if not left[0]:
                act(stream)
        return stream

    builtins.open = io.open = opened


def raising(code: int, *names: object) -> Callable[..., Any]:
    """Returns a function that fails as a file system does."""

    def refuse(*_: object, **__: object) -> Any:
        raise OSError(code, os.strerror(code), *names)

    return refuse


# -- afterward -----------------------------------------------------------------------------------


def folder_of(root: Path) -> Path:
    """Returns the folder of the newest run that has saved a checkpoint."""
    return max(path.parents[1] for path in root.glob("run/*/checkpoints/last.ckpt"))


def check_whole(root: Path) -> None:
    """Checks that all pictures and all files that are read back are complete."""
    for path in root.glob("run/*/figures/[!.]*.png"):
        with Image.open(path) as image:
            image.load()
    for path in root.glob("run/*/config.yaml"):
        assert "trainer:" in path.read_text(), f"{path} is incomplete"


def check_equal(root: Path, whole: Path, spare: int = 0) -> None:
    """Checks that a run after a fault has all that an uninterrupted one has, and no more.

    Lightning keeps the checkpoint from which a run continued if it is not `last.ckpt`, so there may
    be some to spare.
    """
    ours, theirs = folder_of(root), folder_of(whole)
    last = "checkpoints/last.ckpt"
    assert weights_hash_of(ours / last) == weights_hash_of(theirs / last)
    assert rows_of(ours) == rows_of(theirs)
    names, expected = names_in(ours), names_in(theirs)
    assert expected <= names, expected - names
    more = names - expected
    assert len(more) <= spare, more
    assert all(name.startswith("checkpoints/epoch=") for name in more), more
    check_whole(root)
    metrics = "metrics.json"
    if (theirs / metrics).exists():
        assert without_times(ours / metrics) == without_times(theirs / metrics)


def rows_of(folder: Path) -> list[dict[str, str]]:
    """Returns the rows of metrics.csv, without what depends on the machine's speed."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    kept = [{k: v for k, v in row.items() if v and not k.startswith(MACHINE)} for row in rows]
    return [row for row in kept if len(row) > 2]  # more than the epoch and the step


def names_in(folder: Path) -> set[str]:
    """Returns all files of a run, hidden ones included, except TensorBoard's."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()]
    return {str(path) for path in paths if not path.name.startswith("events.")}
