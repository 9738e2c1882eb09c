"""A stopped run continues with other processes and data elsewhere, as if it had not stopped.

Networks without batch norm, which acts on a process's own share. Dropout, augmentation and noise
are drawn for the whole batch.
"""

import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from hashlib import sha1
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.cli import OptimizerCallable

from callbacks import EpochCheckpoint, StepMonitor
from datamodules import Split, Splits
from models import ImageClassifier
from models.gan.penalties import Penalties
from models.networks import FeedForward
from models.training import EMAOptions, Schedule
from runtime import signals
from runtime.preemption import SAVED_EXIT_CODE, Preemption
from runtime.run_folder import RunFolder
from runtime.trainer import LadderTrainer
from tests import ranks
from tests.datamodules.pictures import stored
from tests.datasets import Stripes
from tests.faults.runs import rounds, rows_of
from tests.models.classifiers import SHAPE, convnet
from tests.models.gans import modern, small
from tests.test_world_size import ROUNDING, with_dropout, without_batch_norm

EPOCHS, BATCHES, BATCH = 3, 6, 32
STEPS = EPOCHS * BATCHES

# Adam divides a gradient by its own size, also one that is nothing but rounding. With this `eps`
# such a weight moves by 1e-3 x 1e-9 / 1e-4 and not by the learning rate.
ADAM: OptimizerCallable = partial(torch.optim.Adam, lr=1e-3, eps=1e-4)
MOMENTUM: OptimizerCallable = partial(torch.optim.SGD, lr=0.05, momentum=0.5)


def mlp() -> Any:
    network = partial(FeedForward, hidden=32, activation="tanh", dropout=0.2)
    schedule, average = Schedule("cosine", warmup=0.2), EMAOptions(0.9)
    return ImageClassifier(
        SHAPE, 10, network, optimizer=ADAM, average=average, schedule=schedule
    )  # fmt: skip


def cnn() -> Any:
    changes = {"shift": 2, "rotation": 10, "zoom": 0.1, "shear": 0.1, "flip": True, "erase": 6}
    return without_batch_norm(convnet(4, 0.2, optimizer=MOMENTUM, **changes))


def gan() -> Any:
    model = small(
        **modern(4), penalties=Penalties(r1=1.0, every=2), gradient_clip_val=1.0,
        average=EMAOptions(0.9),
        generator_optimizer=ADAM, discriminator_optimizer=MOMENTUM,
    )  # fmt: skip
    return with_dropout(without_batch_norm(model))


KINDS: tuple[Callable[[], Any], ...] = (mlp, cnn, gan)
SIZES = (1, 2, 4)[: rounds(full=3, short=2)]
PLACES = ("device", "file")
WAYS = ("SIGTERM", "SIGUSR1", "time limit", "max_steps")


class Part(NamedTuple):
    """A part of a run: its processes, and how and after which step it is told to stop."""

    processes: int
    way: str = ""  # one of `WAYS`; empty: it is not told
    stop: int = STEPS
    told: int = 0  # the rank that gets the signal
    place: str = "device"  # where the images are


class InFile(Stripes):
    """Stripes in a file."""

    folder: Path

    def load_splits(self) -> Splits:
        parts = dict(zip(Splits._fields, super().load_splits(), strict=True))
        for name in parts:
            (self.folder / name).mkdir(parents=True)
        return Splits(*(
            Split(stored(part.inputs, self.folder / name), part.targets)
            for name, part in parts.items()
        ))  # fmt: skip


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
        place = trainer.global_step, trainer.current_epoch, batch_idx
        self.file.write(json.dumps({"place": place, "images": self.images, "losses": losses}))
        self.file.write("\n")


def fit(kind: Callable[[], Any], part: Part, root: Path) -> None:
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
            RunFolder(root, "elastic", resumed), StepMonitor(), Record(root, part),
            EpochCheckpoint(min_steps=0), Preemption(limit),
        ],
    )  # fmt: skip
    signals.restore()
    data = InFile(1, 28, num_classes=10, num_train=200, num_eval=50, batch_size=BATCH)
    os.environ["LADDER_EXAMPLES"] = part.place
    data.folder = Path(mkdtemp(dir=root))
    checkpoint = str(last) if resumed else None
    trainer.fit(kind(), datamodule=data, ckpt_path=checkpoint, weights_only=True)


class Run:
    """The results of a run in one or more parts."""

    def __init__(self, root: Path) -> None:
        self.root, self.rows = root, list[dict[str, Any]]()

    def train(self, kind: Callable[[], Any], part: Part) -> None:
        """Trains one part, and joins what its ranks saw in the order of the global batch."""
        started = ranks.start(part.processes, lambda: fit(kind, part, self.root), self.root)
        codes = ranks.end(started, 150)
        told = part.way not in ("", "max_steps") and self.checkpoint["global_step"] < STEPS
        expected = [SAVED_EXIT_CODE if told else 0] + [0] * (part.processes - 1)
        assert codes == expected, (part, codes, (self.root / "0.log").read_text()[-3000:])
        files = [self.root / f"rows.{rank}" for rank in range(part.processes)]
        for shares in zip(*(file.read_text().splitlines() for file in files), strict=True):
            own = [json.loads(share) for share in shares]
            losses = {k: sum(p["losses"][k] for p in own) / len(own) for k in own[0]["losses"]}
            images = [image for share in own for image in share["images"]]
            self.rows.append({"place": own[0]["place"], "images": images, "losses": losses})
        for file in files:
            file.unlink()

    @property
    def checkpoint(self) -> dict[str, Any]:
        path = self.root / "elastic" / "version_0" / "checkpoints" / "last.ckpt"
        return torch.load(path, weights_only=True)

    def logged(self) -> dict[str, float]:
        """The values of metrics.csv by step and name, without this process's memory."""
        return {
            f"{row['step']} {name}": float(value)
            for row in rows_of(self.root / "elastic" / "version_0")
            for name, value in row.items()
            if name[:2] in ("tr", "va")
        }


def draw(seed: int) -> list[Part]:
    """Draws two to four stops, one of them at the end of an epoch in every third schedule."""
    chance = random.Random(seed)
    stops = chance.sample(range(1, STEPS - 1), chance.randint(2, rounds(full=4, short=2)))
    if seed % 3 == 2:
        stops[0] = BATCHES * chance.randint(1, EPOCHS - 1)
    sizes: list[int] = []
    while len(sizes) <= len(stops):  # each part has another number than the one before
        sizes.append(chance.choice([n for n in SIZES if [n] != sizes[-1:]]))
    ways = WAYS[:-1] if seed % len(KINDS) == 0 else WAYS  # its rate falls to 0 at `max_steps`
    parts = [
        Part(size, chance.choice(ways), stop, chance.randrange(size), chance.choice(PLACES))
        for size, stop in zip(sizes, sorted(set(stops)), strict=False)
    ]
    return [*parts, Part(sizes[-1], place=chance.choice(PLACES))]


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yields all numbers in plain values, each with its place."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from numbers(item, f"{path}/{key}")
    elif isinstance(value, torch.Tensor | int | float):
        yield path, torch.as_tensor(value).double()


def difference(one: Any, other: Any) -> float:
    """The largest difference of two numbers at the same place; places must be the same."""
    ours, theirs = dict(numbers(one)), dict(numbers(other))
    assert ours.keys() == theirs.keys()
    return max(((ours[place] - theirs[place]).abs().max().item() for place in ours), default=0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of each kind in one process, without a stop."""
    runs: dict[Callable[[], Any], Run] = {}

    def run(kind: Callable[[], Any]) -> Run:
        if kind not in runs:
            runs[kind] = Run(tmp_path_factory.mktemp("whole"))
            runs[kind].train(kind, Part(1))
        return runs[kind]

    return run


@pytest.mark.ddp
@pytest.mark.parametrize("seed", range(rounds(full=20, short=3)))
def test_a_run_continues_with_another_number_of_processes(seed, tmp_path, whole):
    kind, parts, run = KINDS[seed % len(KINDS)], draw(seed), Run(tmp_path)
    print(kind.__name__, *parts)
    for part in parts:
        if part.stop > len(run.rows):  # several ranks stop one batch after they are told
            run.train(kind, part)
    ours, theirs = run.rows, whole(kind).rows
    assert [row["place"][0] for row in theirs] == list(range(1, STEPS + 1))
    for key in ("place", "images"):  # no batch twice, none left out, each with its rows
        assert [row[key] for row in ours] == [row[key] for row in theirs], key
    assert difference([r["losses"] for r in ours], [r["losses"] for r in theirs]) < ROUNDING
    one, other = run.checkpoint, whole(kind).checkpoint
    for key in ("epoch", "global_step", "seed"):
        assert one[key] == other[key], key
    for key in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert difference(one[key], other[key]) < ROUNDING, key
    logged, expected = run.logged(), whole(kind).logged()
    # A part that ends by `max_steps` adds a validation at its end.
    assert all("val/" in name for name in logged.keys() - expected.keys())
    assert difference({name: logged[name] for name in expected}, expected) < ROUNDING
