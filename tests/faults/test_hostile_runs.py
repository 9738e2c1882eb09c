"""Run folders that somebody else made: nothing in them runs, and nothing outside is written.

A grammar makes the runs: a spelling of a foreign class at a place of a config or a checkpoint, raw
YAML, pickles and links. Each goes through the commands that take a run.
"""

import contextlib
import io
import itertools
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import cli
import ladder
from commands import demo
from runtime.errors import UserError
from runtime.files import write_json
from tests.faults.bombs import BOMBS
from tests.faults.runs import rounds
from tests.results.recorded import result

EVIL = """
from pathlib import Path
Path({mark!r}).touch()
class X:
    def __init__(self, *args, **kwargs): pass
def f(*args, **kwargs): pass
"""
RUN = "runs.hostile.version_0.evil"
OWN = "own.yaml"  # a config of the user's own
COMMAND = "touch ran"  # in the current folder
SPELLINGS: dict[str, Any] = {
    "name": "evil.X",
    "mapping": {"class_path": "evil.X"},
    "arguments": {"class_path": "evil.X", "init_args": {"a": 1}},
    "json": json.dumps({"class_path": "evil.X"}),
    "yaml": "class_path: evil.X",
    "yaml-block": "class_path: evil.X\ninit_args:\n  a: 1\n",
    "json-list": json.dumps([{"class_path": "evil.X"}]),
    "list": [{"class_path": "evil.X"}],
    "file": "sub.yaml",
    "absolute-file": "{run}/sub.yaml",
    "file-in-mapping": {"class_path": "sub.yaml"},
    "colon": {"class_path": "evil:X"},
    "dots-and-colon": {"class_path": f"{RUN}:X"},
    "dots": {"class_path": f"{RUN}.X"},
    "text-of-dots": f"{RUN}.X",
    "one-dot-leader": {"class_path": "evil\u2024X"},
    "full-width": {"class_path": "\uff45vil.X"},
    "function": "evil.f",
    "module": "evil",
    "system-of-torch": {"class_path": "torch.os.system", "init_args": {"command": COMMAND}},
    "text-of-system": "torch.os.system",
    "system-of-lightning": {
        "class_path": "lightning.pytorch.os.system",
        "dict_kwargs": {"command": COMMAND},
    },
    "system-of-models": {"class_path": "models.base.os.system", "init_args": {"command": COMMAND}},
    "popen": {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "ran"]}},
    "popen-of-torch": {
        "class_path": "torch.utils.cpp_extension.subprocess.Popen",
        "init_args": {"args": ["touch", "ran"]},
    },
    "eval": {"class_path": "builtins.eval", "dict_kwargs": {"source": "open('ran', 'w')"}},
    "partial": {"class_path": "functools.partial", "init_args": {"func": "evil.f"}},
    "nested": {"class_path": "torch.optim.Adam", "init_args": {"lr": {"class_path": "evil.X"}}},
    "nested-text": {
        "class_path": "torch.optim.Adam",
        "init_args": {"lr": '{"class_path": "evil.X"}'},
    },
    "nested-extra": {
        "class_path": "torch.optim.Adam",
        "dict_kwargs": {"foreach": {"class_path": "evil.X"}},
    },
    "private": {"class_path": "models.gan.gan.__builtins__.eval"},
    "message": "Option 'q' is not accepted, class_path='evil.X' arguments: --q",
    "saver": {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {"dirpath": "{outside}", "save_last": True, "every_n_train_steps": 1},
    },
    "logger": {
        "class_path": "lightning.pytorch.loggers.CSVLogger",
        "init_args": {"save_dir": "{outside}"},
    },
    "profiler": {
        "class_path": "lightning.pytorch.profilers.SimpleProfiler",
        "init_args": {"dirpath": "{outside}", "filename": "x"},
    },
}  # fmt: skip
CONFIG = [
    "model", "model.class_path", "model.init_args.generator", "model.init_args.trunk",
    "model.init_args.discriminator", "model.init_args.discriminator.init_args.loss",
    "model.init_args.latent_dim",
    "model.init_args.generator_optimizer", "model.init_args.generator_optimizer.class_path",
    "model.init_args.network", "model.init_args.optimizer", "model.init_args.augment",
    "model.init_args.schedule", "data", "data.class_path", "data.init_args.data_dir",
    "data.init_args.batch_size", "trainer", "trainer.callbacks", "trainer.logger",
    "trainer.strategy", "trainer.plugins", "trainer.profiler", "trainer.max_steps", "checkpoint",
    "samples", "quality", "quality.judge", "quality.extra_scores", "seed_everything", "config",
    "fit", "test", "print_config", "weights_only",
]  # fmt: skip
SAVED = [
    "_class_path", "generator", "trunk", "discriminator", "discriminator.init_args.loss",
    "generator_optimizer",
    "generator_optimizer.class_path", "latent_dim", "schedule", "_instantiator", "more", "network",
    "network.init_args", "optimizer", "augment",
]  # fmt: skip
RAW = [
    "!!python/object/apply:os.system ['touch ran']",
    "!!python/object/new:evil.X []",
    "!!python/name:evil.X",
    "!!python/module:evil",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch ran']",
    "&a {class_path: evil.X, init_args: {b: 1}}",
    "{<<: {class_path: evil.X}, init_args: {}}",
    "{class_path: !!str evil.X}",
    '{"class_path": "\\x65vil.X"}',
    "{class_path: >-\n    evil.X\n  }",
    "{'class_path': 'evil.X', 'class_path': 'models.ModernGenerator'}",
    "!!binary ZXZpbC5Y",
]
LINKED = [
    "config.yaml", "metrics.json", "metrics.csv", "checkpoints", "checkpoints/last.ckpt", "figures",
    "samples", "predictions.csv", "maximize", ".lock", "export", "model.pt", "figures/curves.png",
    "figures/network.png", "samples/grid.png", "samples/samples.npz", ".metrics.partial.json",
    "samples/.grid.partial.png", "samples/.samples.partial.npz", ".predictions.partial.csv",
    "checkpoints/.last.partial.ckpt", "events.out.tfevents.1.host.1.0",
]  # fmt: skip


PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")  # in a callback's state
STATES: dict[str, Any] = {
    "removes one of its best": {"best_k_models": {"{victim}": torch.tensor(0.0)}},
    "removes the worst": {"kth_best_model_path": "{victim}", "kth_value": torch.tensor(0.0)},
    "removes the best": {"best_model_path": "{victim}"},
    "removes the last": {"last_model_path": "{victim}"},
    "a number for files": {"best_k_models": 5},
    "a text for the lowest": {"lowest": "text"},
    "nothing": {},
}
LEFT_OUT = ("", "dirpath", "best_k_models", "best_model_path", "monitor", "lowest", "all")
READ = ["config.yaml", "hparams.yaml", "metrics.json", "metrics.csv", "checkpoints/last.ckpt"]


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 3 * 10**9)


class Run:
    """A hostile copy of a run, beside a folder that nobody may touch."""

    def __init__(self, root: Path, sound: Path) -> None:
        self.root, self.outside = root, root / "outside"
        self.folder = root / "runs" / "hostile" / "version_0"
        shutil.copytree(sound, self.folder, symlinks=True)
        write_json(self.folder / "metrics.json", {"test": [result({"frechet": 1.0})]})
        self.outside.mkdir()
        (self.outside / "victim").write_text("step\n1\n")
        evil = EVIL.format(mark=str(root / "ran"))
        for place in (self.folder / "evil.py", root / "evil.py"):  # it can be imported as both
            place.write_text(evil)
        (self.folder / "sub.yaml").write_text("class_path: evil.X\n")
        shutil.copy(self.folder / "sub.yaml", root)
        shutil.copy(self.folder / "config.yaml", root / OWN)

    def spelled(self, spelling: Any) -> Any:
        """Puts the folders of this run into a spelling."""
        text = json.dumps(spelling)
        for name, path in {"run": self.folder, "outside": self.outside}.items():
            text = text.replace(f"{{{name}}}", str(path))
        return json.loads(text)

    def config(self, place: str, spelling: Any) -> None:
        values = yaml.safe_load((self.folder / "config.yaml").read_text())
        put(values, place, self.spelled(spelling))
        (self.folder / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    def one_key(self, key: str, spelling: Any) -> None:
        """Adds a key with dots or `+`, which jsonargparse joins with others."""
        with (self.folder / "config.yaml").open("a") as file:
            file.write(yaml.safe_dump({key: self.spelled(spelling)}))

    def raw(self, place: str, text: str) -> None:
        mark = "MARKED"
        self.config(place, mark)
        path = self.folder / "config.yaml"
        path.write_text(path.read_text().replace(mark, text))

    def checkpoint(self, key: str, place: str, spelling: Any) -> None:
        def change(content: dict[str, Any]) -> None:
            put(content.setdefault(key, {}), place, self.spelled(spelling))

        self.change(change)

    def state(self, values: dict[str, Any], left_out: str) -> None:
        """Gives the states of callbacks that save checkpoints other values, and leaves one out."""
        victim = f"{self.folder}/checkpoints/../../../../outside/victim"

        def change(content: dict[str, Any]) -> None:
            own = next(state for key, state in content["callbacks"].items() if "Checkpoint" in key)
            own |= dict.fromkeys(PATHS, "") | {"dirpath": f"{self.folder}/checkpoints"}
            for name, value in values.items():
                value = victim if value == "{victim}" else value
                own[name] = {victim: torch.tensor(0.0)} if isinstance(value, dict) else value
            for name in [*own] if left_out == "all" else [left_out]:
                own.pop(name, None)
            content["callbacks"]["ModelCheckpoint"] = {**own}

        self.change(change)

    def change(self, change: Callable[[dict[str, Any]], Any]) -> None:
        last = self.folder / "checkpoints" / "last.ckpt"
        content = torch.load(last, weights_only=True)
        change(content)
        torch.save(content, last)

    def replace(self, name: str, make: Callable[[Path], object]) -> None:
        (self.folder / name).unlink(missing_ok=True)
        make(self.folder / name)

    def link(self, name: str) -> None:
        place = self.folder / name
        place.parent.mkdir(exist_ok=True)
        kind, target = "file", self.outside / "victim"
        if place.is_dir() and not place.is_symlink() or name in ("figures", "samples", "maximize"):
            kind, target = "folder", self.outside
        if place.exists() or place.is_symlink():
            if kind == "folder":
                shutil.copytree(place, self.outside, dirs_exist_ok=True, symlinks=True)
                shutil.rmtree(place)
            else:
                shutil.copy(place, target)
                place.unlink()
        place.symlink_to(target)


def put(values: Any, place: str, value: Any) -> None:
    *above, last = place.split(".")
    for name in above:
        values = values.setdefault(name, {})
    values[last] = value


class Program:
    """A pickle that runs a command."""

    def __reduce__(self) -> Any:
        import os

        return os.system, (COMMAND,)


def hostile_runs() -> Iterator[tuple[str, Callable[[Run], None]]]:
    """Yields a name for each hostile run, and what makes it of a sound one."""
    for place, (name, spelling) in itertools.product(CONFIG, SPELLINGS.items()):
        yield f"config {place} {name}", lambda run, p=place, s=spelling: run.config(p, s)
    for place, end, name in itertools.product(CONFIG, ("", "+"), ("name", "mapping", "saver")):
        if "." in place or end:
            yield (
                f"one key {place}{end} {name}",
                lambda run, k=place + end, n=name: run.one_key(k, SPELLINGS[n]),
            )
    for place, text in itertools.product(("model", "model.init_args.generator", "data"), RAW):
        yield f"raw {place} {text[:20]}", lambda run, p=place, t=text: run.raw(p, t)
    for place, (name, spelling) in itertools.product(SAVED, SPELLINGS.items()):
        yield (
            f"checkpoint {place} {name}",
            lambda run, p=place, s=spelling: run.checkpoint("hyper_parameters", p, s),
        )
    for key, name in itertools.product(("hparams", "module_arguments"), SPELLINGS):
        yield (
            f"{key} {name}",
            lambda run, k=key, n=name: run.checkpoint(k, "generator_optimizer", SPELLINGS[n]),
        )
    for key in ("more", "hyper_parameters", "state_dict", "hparams_type", "callbacks"):
        yield f"pickle {key}", lambda run, k=key: run.change(lambda c: c.update({k: Program()}))
    for name in LINKED:
        yield f"link {name}", lambda run, n=name: run.link(n)
        yield f"trusted link {name}", lambda run, n=name: (run.config("trust", True), run.link(n))
    for name in READ:
        yield f"pipe {name}", lambda run, n=name: run.replace(n, os.mkfifo)
        yield f"huge {name}", lambda run, n=name: run.replace(n, huge)
    for (name, state), key in itertools.product(STATES.items(), LEFT_OUT):
        yield f"state {name} without {key}", lambda run, s=state, k=key: run.state(s, k)
    for name, bomb in BOMBS.items():
        yield f"bomb {name}", lambda run, b=bomb: b(run.folder / "checkpoints" / "last.ckpt")
    for name in ("torchmetrics.MeanMetric", "torchmetrics.classification.MulticlassAccuracy"):
        for key in ("generator", "network"):
            value = {"class_path": name}
            yield (
                f"metric {key} {name}",
                lambda run, k=key, v=value: (
                    run.config(f"model.init_args.{k}", v),
                    run.checkpoint("hyper_parameters", k, v),
                ),
            )


def demonstrate(folder: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        demo.demo([Path(folder)], Path(place), open=False)


FEW = ["--quality.final_samples=40", "--quality.samples=40", "--quality.gan_train=false"]
FIT = ["fit", f"--config={OWN}"]
COMMANDS: dict[str, Callable[[str], Any]] = {
    "test": lambda run: cli.main(["test", run, *FEW]),
    "validate": lambda run: cli.main(["validate", f"--ckpt_path={run}", *FEW]),
    "predict": lambda run: cli.main(["predict", run]),
    "sample": lambda run: cli.main(["sample", run, "--count=2"]),
    "neighbors": lambda run: cli.main(["sample", run, "--count=2", "--neighbors=2"]),
    "maximize": lambda run: cli.main(["maximize", run, "--steps=1"]),
    "export": lambda run: cli.main(["export", run, "--format=torch"]),
    "compare": lambda run: cli.main(["compare", run, run]),
    "list": lambda run: cli.main(["compare", str(Path(run).parents[1]), "--list"]),
    "resume": lambda run: cli.main(["fit", f"--ckpt_path={run}", "--trainer.max_steps=5", *FEW]),
    "continue": lambda run: cli.main([*FIT, f"--ckpt_path={run}", "--trainer.max_steps=5", *FEW]),
    "init": lambda run: cli.main([*FIT, f"--init_from={run}", "--trainer.max_steps=1", *FEW]),
    "load": lambda run: ladder.load(run),
    "demo": demonstrate,
}
OF_A_CLASSIFIER = ("predict", "maximize")


def attack(run: Run, command: str) -> str:
    """Runs a command on a hostile run, and returns what went wrong; empty if nothing did."""
    outside = content_of(run)
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            COMMANDS[command](str(run.folder))
            lines = []
        except UserError as error:
            lines = [str(error)]
        except SystemExit as stopped:
            lines = [n for n in errors.getvalue().splitlines() if n.startswith("error:")]
            if stopped.code != 2:
                return f"exit code {stopped.code}: {errors.getvalue()[-500:]}"
        except BaseException as error:
            return f"{type(error).__name__}: {error}"
    if (run.root / "ran").exists():
        return "code ran"
    if imported := [name for name in sys.modules if "evil" in name.split(".")]:
        for name in imported:
            del sys.modules[name]
        return "evil was imported"
    if content_of(run) != outside:
        changed = {*content_of(run).items()} ^ {*outside.items()}
        return f"written outside: {changed}"
    return "" if len(lines) <= 1 and not any("\n" in line for line in lines) else f"{lines}"


def content_of(run: Run) -> dict[str, bytes]:
    """Returns what lies outside of a hostile run, but for the folder of new runs."""
    return {
        str(path.relative_to(run.root)): path.read_bytes()
        for path in run.root.rglob("*")
        if path.is_file()
        and not path.is_relative_to(run.root / "runs")
        and "__pycache__" not in path.parts
    }


RUNS = dict(hostile_runs())


def cases() -> list[tuple[str, str]]:
    """Returns the runs with the commands: a few in turn and one run of every kind, or all."""
    everything = [*itertools.product(RUNS, COMMANDS)]
    kinds = {name.split()[0]: name for name in RUNS}
    chosen = [*zip(kinds.values(), itertools.cycle(COMMANDS))]
    return [*dict.fromkeys([*chosen, *everything[:: rounds(full=1, short=337)]])]


Make = Callable[[str, str], contextlib.AbstractContextManager[Run]]


@pytest.fixture
def made(tmp_path, request):
    @contextlib.contextmanager
    def made(name: str, command: str) -> Iterator[Run]:
        """Yields a run for a command. Its code can be imported from its folder and from above."""
        kind = "classifier" if command in OF_A_CLASSIFIER else "cgan"
        run = Run(tmp_path / "root", request.getfixturevalue(kind))
        if name:
            RUNS[name](run)
        with pytest.MonkeyPatch.context() as patched, warnings.catch_warnings(action="ignore"):
            patched.chdir(run.root)
            patched.syspath_prepend(run.root)
            patched.syspath_prepend(run.folder)
            yield run
        shutil.rmtree(run.root)

    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_a_sound_run_passes(command, made):
    """Otherwise the commands would refuse hostile runs for another reason."""
    with made("", command) as run:
        COMMANDS[command](str(run.folder))


def test_hostile_runs_run_no_code_and_write_nothing_outside(made):
    assert len(RUNS) >= 200
    wrong = []
    for name, command in cases():
        with made(name, command) as run:
            if problem := attack(run, command):
                wrong.append(f"{command} on {name}: {problem}")
    assert not wrong, "\n".join([f"{len(wrong)} of {len(cases())}", *wrong])
