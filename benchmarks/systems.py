"""The lecture's five systems: a training step and a whole run, beside Keras and plain PyTorch.

Also the first step of a run, and the way of an image from storage into a batch.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from timeit import timeit
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

from benchmarks.report import Section
from benchmarks.timing import digits, interleave, ratio, spread
from benchmarks.worker import ROOT, Worker
from datamodules import Images, Split

ENDLESS = ("--trainer.max_epochs", "100000", "--trainer.limit_val_batches", "0")
WHOLE_ROUNDS = 3
BATCH, EXAMPLES = 128, 12_800  # of the data path, of one contender in one round


class System(NamedTuple):
    """A system of the lecture."""

    title: str
    config: str  # below configs/lecture
    keras: str  # script below benchmarks/
    batch: int
    steps: int  # of one contender in one round
    epochs: int  # of the slides
    whole: bool = False  # short enough for whole runs
    options: tuple[str, ...] = ()  # of `fit`


SYSTEMS = {
    "iris": System("iris", "iris", "keras_classifiers.py", 1, 1200, 15, whole=True),
    "dense": System("dense", "mnist_dense", "keras_classifiers.py", 32, 375, 3, whole=True),
    "cnn": System("CNN", "mnist_cnn", "keras_classifiers.py", 32, 100, 4),
    "gan": System("GAN", "gan", "keras_gans.py", 100, 3, 10),
    "cgan": System(
        "conditional GAN", "cgan", "keras_gans.py", 100, 3, 50,
        options=("--model.pretrain_epochs", "0"),
    ),
}  # fmt: skip


@dataclass
class Setting:
    """Settings of all measurements."""

    rounds: int
    data_dir: Path  # contains MNIST/raw
    scratch: Path  # a temporary folder for runs and logs
    keras: Path = ROOT / ".venv-bench/bin/python"
    versions: dict[str, str] = field(default_factory=dict)

    def without_keras(self) -> str:
        """Returns why Keras is not run; an empty text if it is."""
        return "" if self.keras.exists() else f"{self.keras} is missing (`make bench` sets it up)"

    def fit(self, config: str, *options: str, callback: str = "") -> list[str]:
        """Returns the command line of a run under a callback of `benchmarks.pacing`."""
        command = [sys.executable, "cli.py", "fit", "--config", f"configs/{config}.yaml", *options]
        command += ["--trainer.default_root_dir", str(self.scratch)]
        command += ["--trainer.accelerator", "cpu", "--trainer.devices=1"]
        if "iris" not in config:
            command += ["--data.data_dir", str(self.data_dir)]
        if not callback:
            return command
        path = json.dumps({"class_path": f"benchmarks.pacing.{callback}"})
        return [*command, "--trainer.callbacks+", path]

    @contextmanager
    def workers(self, commands: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Worker]]:
        """Starts contenders one after the other, warms each up, and ends them all."""
        started: dict[str, Worker] = {}
        try:
            for name, command in commands.items():
                started[name] = Worker(name, command, self.scratch)
                started[name].run(1)  # compiles, traces and allocates what is needed once
                self.versions |= started[name].hello
            yield started
        finally:
            for worker in started.values():
                worker.close()


def steps(setting: Setting) -> Section:
    """Measures one training step of each system."""
    section = Section(
        "One training step",
        ["system", "contender", "ms per step", "examples/s", "x Keras", "peak memory, MB"],
        notes=[
            "Keras: the slides' code. Ladder: Trainer.fit with its callbacks, loggers and "
            "checkpoints, in the precision that it chooses (GANs: bf16 where that is native). "
            "Plain PyTorch: examples/cgan_plain.py in float32."
        ],
    )
    softmax = loss_of_keras(setting) == "softmax"
    if softmax:
        section.notes.append(
            "The conditional GANs take the softmax cross-entropy of the logits, as this Keras was "
            "seen to do."
        )
    for name, system in SYSTEMS.items():
        contenders = contenders_of(setting, name, softmax)
        with setting.workers(contenders) as workers:
            actions = {who: partial(w.run_warm, system.steps) for who, w in workers.items()}
            found = interleave(actions, setting.rounds)
            memory = {who: digits(worker.peak_mb) for who, worker in workers.items()}
        for who, seconds in found.items():
            step = spread(seconds)
            times = ratio(found["Keras"], seconds).text() if "Keras" in found else "not run"
            rate = digits(system.batch / step.median)
            title = f"{system.title}, batch {system.batch}"
            section.rows.append((title, who, step.text(1e3), rate, times, memory[who]))
    return section


def contenders_of(setting: Setting, name: str, softmax: bool) -> dict[str, list[str]]:
    """Returns the commands of a system's contenders."""
    system = SYSTEMS[name]
    options = [*system.options, *ENDLESS, "--trainer.log_every_n_steps", str(system.steps)]
    if softmax and name == "cgan":
        options += ["--model.discriminator", "SoftmaxDiscriminator"]
    contenders = {}
    if not setting.without_keras():
        contenders["Keras"] = [str(setting.keras), f"benchmarks/{system.keras}", name]
    if name == "cgan":
        flags = ["softmax"] * softmax
        contenders["plain PyTorch"] = [sys.executable, "-m", "benchmarks.plain", *flags]
    contenders["Ladder"] = setting.fit(f"lecture/{system.config}", *options, callback="Paced")
    if name == "cnn":
        bf16 = (*options, "--trainer.precision", "bf16-mixed")
        contenders["Ladder, bf16"] = setting.fit(
            f"lecture/{system.config}", *bf16, callback="Paced"
        )
    return contenders


def loss_of_keras(setting: Setting) -> str:
    """Returns what Keras computes for the labeled GAN: `softmax` or `normalized`, the slides'."""
    if setting.without_keras():
        return "normalized"
    command = [str(setting.keras), "benchmarks/keras_gans.py", "loss"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def whole(setting: Setting) -> Section:
    """Measures whole processes of the two short systems, and of Ladder until its first step."""
    call = partial(subprocess.run, check=True, cwd=ROOT, capture_output=True)
    section = Section(
        "Whole processes",
        ["process", "Keras, s", "Ladder, s", "x Keras"],
        notes=[
            "From start to the end of the slides' epochs, imports and pictures of the data "
            "included. Ladder validates, and writes logs, checkpoints and pictures as well."
        ],
    )
    for name, system in SYSTEMS.items():
        if not system.whole or setting.without_keras():
            continue
        limit = ("--trainer.max_epochs", str(system.epochs))
        commands = {
            "Keras": [str(setting.keras), f"benchmarks/{system.keras}", name, "whole"],
            "Ladder": setting.fit(f"lecture/{system.config}", *limit),
        }
        found = _timed(commands, call, min(setting.rounds, WHOLE_ROUNDS))
        cells = [spread(seconds).text() for seconds in found.values()]
        times = ratio(found["Keras"], found["Ladder"]).text()
        section.rows.append((f"{system.title}, {system.epochs} epochs", *cells, times))
    starts = {
        "import lightning.pytorch.cli": [sys.executable, "-c", "import lightning.pytorch.cli"],
        "cli.py --help": [sys.executable, "cli.py", "--help"],
        "cgan.yaml to its first step": setting.fit("cgan", callback="FirstStep"),
    }
    call(starts["import lightning.pytorch.cli"])  # fills the file cache
    for name, seconds in _timed(starts, call, min(setting.rounds, 5)).items():
        section.rows.append((name, "", spread(seconds).text(), ""))
    return section


def _timed(
    commands: Mapping[str, Sequence[str]], call: Callable[..., Any], rounds: int
) -> dict[str, list[float]]:
    actions = {name: partial(call, args) for name, args in commands.items()}
    return interleave({name: partial(timeit, a, number=1) for name, a in actions.items()}, rounds)


def data(setting: Setting) -> Section:
    """Measures the way from stored pixels to batches of floats."""
    module = Images(dataset="mnist", data_dir=str(setting.data_dir), batch_size=BATCH)
    module.setup()
    assert module.splits is not None
    train = Split(*(tensor[:EXAMPLES].clone() for tensor in module.splits.train))
    module.splits = module.splits._replace(train=train)
    peer, ours = torchvision_mnist(*train), module.train_dataloader()
    loader = partial(DataLoader, peer, BATCH, shuffle=True)
    contenders: dict[str, Callable[[], None]] = {
        "torchvision, DataLoader": lambda: consume(loader()),
        "the same, 2 workers": lambda: consume(loader(num_workers=2)),
        "Ladder": lambda: consume(ours, module.on_after_batch_transfer),
    }
    for action in contenders.values():
        action()
    timed = {name: partial(timeit, action, number=1) for name, action in contenders.items()}
    found = interleave(timed, setting.rounds)
    section = Section("Data path", ["loader", "us per image", "x torchvision"])
    base = found["torchvision, DataLoader"]
    for name, seconds in found.items():
        cells = spread(seconds).text(1e6 / EXAMPLES), ratio(base, seconds).text()
        section.rows.append((name, *cells))
    section.notes.append(f"{EXAMPLES:,} images in shuffled batches of {BATCH} as float32.")
    return section


def torchvision_mnist(pixels: torch.Tensor, labels: torch.Tensor) -> MNIST:
    """Builds torchvision's data set from uint8 images (N, 1, H, W), without reading files."""
    dataset = MNIST.__new__(MNIST)
    dataset.data, dataset.targets = pixels.squeeze(1), labels
    dataset.transform, dataset.target_transform = ToTensor(), None
    return dataset


def consume(batches: Iterable[Any], ready: Callable[[Any, int], Any] = lambda b, _: b) -> None:
    """Takes all batches, each made ready for the model."""
    for batch in batches:
        ready(batch, 0)
