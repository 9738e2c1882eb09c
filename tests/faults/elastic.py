"""Runs that go on with another number of processes, and the run that was never stopped."""

import csv
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from hashlib import sha1
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.cli import OptimizerCallable

from callbacks import FiniteLoss, Health
from models import ImageClassifier
from models.averaging import Averaging
from models.gan.penalties import Penalties
from models.networks import FeedForward
from models.schedule import Schedule
from runtime import signals
from runtime.checkpoints import EpochCheckpoint
from runtime.preemption import Preemption
from runtime.run_folder import RunFolder
from runtime.trainer import LadderTrainer
from tests import ranks
from tests.datasets import Stripes
from tests.models.classifiers import SHAPE, convnet
from tests.models.gans import modern, small
from tests.test_world_size import with_dropout, without_batch_norm

EPOCHS, BATCHES, BATCH = 3, 6, 32
STEPS = EPOCHS * BATCHES
PATIENCE = 150.0  # seconds after which a part of a run counts as hung

# Adam divides a gradient by its own size, also one that is nothing but rounding. With this `eps`
# such a weight moves by 1e-3 x 1e-9 / 1e-4 and not by the learning rate.
ADAM: OptimizerCallable = partial(torch.optim.Adam, lr=1e-3, eps=1e-4)
MOMENTUM: OptimizerCallable = partial(torch.optim.SGD, lr=0.05, momentum=0.5)


def mlp() -> Any:
    network = partial(FeedForward, hidden=32, activation="tanh", dropout=0.2)
    return ImageClassifier(
        SHAPE,
        10,
        network,
        optimizer=ADAM,
        average=Averaging(0.9),
        schedule=Schedule("cosine", warmup=0.2),
    )


def cnn() -> Any:
    changes = {"shift": 2, "rotation": 10, "zoom": 0.1, "shear": 0.1, "flip": True, "erase": 6}
    return without_batch_norm(convnet(4, 0.2, optimizer=MOMENTUM, **changes))


def gan() -> Any:
    model = small(
        **modern(4), penalties=Penalties(r1=1.0, every=2), gradient_clip_val=1.0,
        average=Averaging(0.9),
        generator_optimizer=ADAM, discriminator_optimizer=MOMENTUM,
    )  # fmt: skip
    return with_dropout(without_batch_norm(model))


KINDS: dict[str, Callable[[], Any]] = {
    "MLP, dropout": mlp,
    "CNN, augmentation": cnn,
    "GAN, dropout": gan,
}
FALLING = ("MLP, dropout",)  # their learning rate falls to 0 at `max_steps`
WAYS = ("SIGTERM", "SIGUSR1", "time limit", "max_steps")


@dataclass
class Part:
    """A part of a run: its processes, and how and after which step it is told to stop."""

    processes: int
    way: str = ""  # one of `WAYS`; empty: it is not told
    stop: int = STEPS
    told: int = 0  # the rank that gets the signal


class Record(Callback):
    """Writes a line for each batch: its step, epoch, images and logged losses; tells to stop."""

    def __init__(self, folder: Path, part: Part) -> None:
        self.folder, self.part = folder, part

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        self.file = (self.folder / f"rows.{trainer.global_rank}").open("a", buffering=1)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, *_: Any) -> None:
        self.images = [sha1(image.numpy().tobytes()).hexdigest()[:12] for image in batch[0]]
        signal_now = self.part.way.startswith("SIG") and trainer.global_rank == self.part.told
        if signal_now and trainer.global_step + 1 == self.part.stop:
            os.kill(os.getpid(), signal.Signals[self.part.way])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        losses = {name: value.item() for name, value in pl_module.losses.items()}
        step, place = trainer.global_step, (trainer.current_epoch, batch_idx)
        row = {"step": step, "place": place, "images": self.images, "losses": losses}
        self.file.write(json.dumps(row) + "\n")


def fit(kind: str, part: Part, root: Path) -> None:
    """One rank of a part of a run, with the callbacks that the command line adds."""
    torch.manual_seed(0)
    last = root / "elastic" / "version_0" / "checkpoints" / "last.ckpt"
    resumed = last.parent.parent if last.exists() else None
    limit = timedelta(0) if part.way == "time limit" else None
    trainer = LadderTrainer(
        accelerator="cpu", devices=part.processes, precision="32-true", logger=False,
        strategy="ddp" if part.processes > 1 else "auto", max_epochs=EPOCHS, log_every_n_steps=4,
        max_steps=part.stop if part.way == "max_steps" else -1,
        enable_progress_bar=False, enable_model_summary=False,
        callbacks=[
            RunFolder(root, "elastic", resumed), FiniteLoss(), Health(), Record(root, part),
            EpochCheckpoint(min_steps=0), Preemption(limit),
        ],
    )  # fmt: skip
    signals.restore()
    data = Stripes(1, 28, num_classes=10, num_train=200, num_eval=50, batch_size=BATCH)
    checkpoint = str(last) if resumed else None
    trainer.fit(KINDS[kind](), datamodule=data, ckpt_path=checkpoint, weights_only=True)


@dataclass
class Run:
    """The results of a run in one or more parts."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "elastic" / "version_0"

    def train(self, kind: str, part: Part) -> list[int | None]:
        """Trains one part, and returns the exit codes of its ranks."""
        processes = ranks.start(part.processes, lambda: fit(kind, part, self.root), self.root)
        codes = ranks.end(processes, PATIENCE)
        self.collect(part.processes)
        return codes

    def collect(self, processes: int) -> None:
        """Joins what the ranks of one part recorded, in the order of the global batch."""
        files = [self.root / f"rows.{rank}" for rank in range(processes)]
        shares = [[json.loads(line) for line in file.open()] for file in files]
        with (self.root / "rows").open("a") as rows:
            for parts in zip(*shares, strict=True):
                images = [image for part in parts for image in part["images"]]
                names = parts[0]["losses"]
                losses = {k: sum(p["losses"][k] for p in parts) / processes for k in names}
                rows.write(json.dumps(parts[0] | {"images": images, "losses": losses}) + "\n")
        for file in files:
            file.unlink()

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / "rows").open()]

    @property
    def checkpoint(self) -> dict[str, Any]:
        return torch.load(self.folder / "checkpoints" / "last.ckpt", weights_only=True)

    @property
    def log(self) -> str:
        return (self.root / "0.log").read_text()[-3000:]

    def logged(self) -> dict[int, dict[str, float]]:
        """The values of metrics.csv by step, each once, without this process's memory."""
        values: dict[int, dict[str, float]] = {}
        with (self.folder / "metrics.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                new = {k: float(v) for k, v in row.items() if v and k[:2] in ("tr", "va")}
                new.pop("train/memory_gb", None)
                known = values.setdefault(int(row["step"]), {})
                assert not known.keys() & new.keys(), (row, known)
                known |= new
        return values


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yields all numbers in plain values, each with its place."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers(item, f"{path}/{key}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from numbers(item, f"{path}/{i}")
    elif isinstance(value, torch.Tensor | int | float):
        yield path, torch.as_tensor(value).double()
