"""Cost of a save for a step, in the foreground and in the background, and of its check.

    python -m benchmarks.saving [cgan] [vgg16] [--rounds 9]

Every eighth batch ends with a save, in turns in the foreground and in the background, and the next
step runs while the thread writes. All times are medians with quartiles, in ms.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning import Callback

import cli
from benchmarks.timing import digits, spread
from commands import ladder_cli
from runtime import background, checkpoint_files

EVERY = 8
RUNS = {
    "cgan": ["--config=configs/cgan.yaml", "--data.dataset=digits", "--data.batch_size=16"],
    "vgg16": [
        "--config=configs/vgg16.yaml", "--data.dataset=digits", "--data.batch_size=8",
        "--model.network.width=1.0",
    ],
}  # fmt: skip
OPTIONS = [
    "--checkpoint.background=true", "--checkpoint.min_steps=1000000",
    "--samples.min_steps=1000000", "--quality.samples=0", "--trainer.limit_val_batches=0",
    "--trainer.max_epochs=1000000", "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false", "--trainer.accelerator=cpu",
]  # fmt: skip


class Saves(Callback):
    """Saves every few steps, and records what that costs in seconds."""

    def __init__(self, rounds: int) -> None:
        self.rounds, self.batches, self.start = rounds, 0, 0.0
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.megabytes = 0.0
        background.apply_to_collection = self.timed("copy", background.apply_to_collection)

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            start, cpu = time.perf_counter(), time.thread_time()
            result = work(*args)
            self.seconds[name].append(time.perf_counter() - start)
            self.seconds[f"{name}, CPU"].append(time.thread_time() - cpu)
            return result

        return timed

    def on_train_batch_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.batches += 1
        turn, at = divmod(self.batches, EVERY)
        in_background = turn % 2 == 0
        if turn and at:
            step = "step while writing" if in_background and at == 1 else "step"
            self.seconds[step].append(time.perf_counter() - self.start)
        strategy, path = trainer.strategy, Path(trainer.log_dir) / "saved.ckpt"
        io = strategy.checkpoint_io
        if at == 0:
            strategy.checkpoint_io = io if in_background else io.io
            name = "background" if in_background else "foreground"
            self.timed(name, trainer.save_checkpoint)(path)
            strategy.checkpoint_io = io
        elif at == 1:
            io.flush()
            if not in_background:
                self.verify(path)
            trainer.should_stop = turn >= 2 * self.rounds

    def verify(self, path: Path) -> None:
        self.megabytes = path.stat().st_size / 1e6
        checkpoint_files._sound.clear()
        self.timed("verification", checkpoint_files.verify)(path)


def measure(name: str, rounds: int) -> str:
    """Returns a row of docs/reliability.md."""
    saves = Saves(rounds)
    ladder_cli.DEFAULT_CALLBACKS = (lambda: saves,)  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        cli.run_lightning(["fit", *RUNS[name], *OPTIONS, f"--trainer.default_root_dir={folder}"])
    found = saves.seconds
    for unit in ("", ", CPU"):  # of the training's thread, without what other processes take
        times = zip(found[f"background{unit}"], found[f"copy{unit}"], strict=False)
        found[f"beyond{unit}"] = [save - copy for save, copy in times]
    columns = (
        *("foreground", "background", "copy", "beyond", "beyond, CPU"),
        *("step", "step while writing", "verification"),
    )
    cells = (spread(found[column]).text(1e3) for column in columns)
    return f"| {name}, {digits(saves.megabytes)} MB | {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", choices=RUNS, default=list(RUNS))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    for run in options.runs:
        print(measure(run, options.rounds), flush=True)
