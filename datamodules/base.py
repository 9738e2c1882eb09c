"""Base class of every data set here: its splits are arrays that are indexed by rows."""

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.data_module import DataModule, Split, Splits, hashes_of
from datamodules.loader import BatchLoader
from datamodules.store import StoredImages
from runtime.errors import UserError
from runtime.files import describe_size
from runtime.ranges import Positive, PositiveFloat

DEVICE_SHARE = 0.25  # of a GPU's free memory, which examples may take


def cut_validation(
    train: Split,
    fraction: float,
    seed: int,
    option: str = "val_fraction",
    class_names: Sequence[str] | None = None,
) -> tuple[Split, Split | None]:
    """Cuts a fraction of the examples as validation split, stratified by the classes (N,).

    `seed` selects the examples, independently of the run's seed. Both parts keep their original
    order. The validation split is None if the fraction is 0. `option` is the argument that sets the
    fraction, for messages; it may also be that of a test split.
    """
    if fraction == 0:
        return train, None
    n, size = len(train.targets), round(len(train.targets) * fraction)
    classes, counts = train.targets.unique(return_counts=True)
    if len(classes) <= size <= n - len(classes) and counts.min() > 1:
        from sklearn.model_selection import train_test_split  # takes 0.7 s

        parts = train_test_split(
            np.arange(n), test_size=size, random_state=seed, stratify=train.targets.numpy()
        )
        kept, cut = (train.take(torch.from_numpy(np.sort(rows))) for rows in parts)
        if len(kept.targets.unique()) == len(cut.targets.unique()) == len(classes):
            return kept, cut
    rarest, fewest = int(classes[counts.argmin()]), int(counts.min())
    name = repr(class_names[rarest]) if class_names else str(rarest)
    share = f"set --data.{option} to another share, or " if fewest > 1 else ""
    raise UserError(
        f"{option} {fraction} of {n} examples does not leave each of the {len(classes)} classes an "
        f"example on both sides: {share}give class {name}, which has {fewest}, more different ones"
    )


class SplitDataset(Dataset[tuple[Tensor, Any]]):
    """Examples (input, target) of a split as models take them, for `DataLoader` and Fabric.

    Inputs are float32, divided by `scale` if they are uint8. Classes are int.
    """

    def __init__(self, split: Split, scale: float) -> None:
        self.split, self.scale = split, scale

    def __len__(self) -> int:
        return len(self.split.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Any]]:
        """Returns the examples of a batch, which `DataLoader` asks for at once."""
        rows = torch.as_tensor(indices)
        inputs, targets = self.split.inputs[rows], self.split.targets[rows]
        inputs = inputs.float() / (self.scale if inputs.dtype == torch.uint8 else 1)
        labels = targets if targets.is_floating_point() else targets.tolist()
        return [*zip(inputs, labels, strict=True)]


class ArrayDataModule(DataModule):
    """Holds the splits of a data set as arrays and returns a `BatchLoader` for each.

    A subclass implements `load_splits` and declares `image_shape`, or `input_shape` if its examples
    are not images. Both must be known after `__init__`, before any data is read, because the
    command line builds the model from them. Batches are `(inputs, targets)`. uint8 inputs stay
    uint8 on the device; each batch becomes float32, divided by `scale`.

    Args:
        batch_size: Examples per batch, summed over all processes.
        scale: Divisor of uint8 inputs. Float inputs are not changed.
    """

    balanced: bool = False  # training draws each class equally often
    random_order: bool = False  # of the examples; False: they may be in the order of their classes

    def __init__(self, batch_size: Positive, scale: PositiveFloat = 1.0) -> None:
        super().__init__(scale)
        self.batch_size = batch_size
        self._placed: dict[tuple[str, torch.device], Split] = {}
        self._resumed_seed: int | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example: the declared `image_shape`, otherwise that of the loaded data."""
        return self.image_shape or tuple(self._loaded().train.inputs.shape[1:])

    def load_splits(self) -> Splits:
        """Reads or generates the examples, on the CPU. Called once per process."""
        raise NotImplementedError

    def examples(self, split: str, count: int) -> Split | None:
        """Returns a random subset of `count` examples of a split, the same one at each call."""
        part: Split | None = self._loaded()._asdict()[split]
        return None if part is None else self._subset(part, count)

    def as_dataset(self, split: str) -> SplitDataset:
        """Returns "train", "val" or "test" as a map-style dataset of torch, in its order."""
        if (examples := self._loaded()._asdict().get(split)) is None:
            raise UserError(f"there is no split {split!r} here: one of {', '.join(Splits._fields)}")
        return SplitDataset(examples, self.scale)

    def _measurable(self) -> Split | None:
        return self.splits and self.splits.train

    def _subset(self, split: Split, count: int) -> Split:
        if self.random_order:
            return split.take(slice(count))
        random = torch.Generator().manual_seed(0)
        return split.take(torch.randperm(len(split.targets), generator=random)[:count])

    @property
    def seed(self) -> int:
        """Seed of the training order: the checkpoint's, that of `seed_everything`, or 0."""
        if self._resumed_seed is not None:
            return self._resumed_seed
        return int(os.environ.get("PL_GLOBAL_SEED", 0))

    @property
    def class_counts(self) -> Tensor | None:
        """Number of examples of each class (K,) in an epoch of training, equal with `balanced`."""
        if not self.num_classes:
            return None
        counts = self._loaded().train.targets.bincount(minlength=self.num_classes)
        return counts.sign() * (counts.sum() // counts.count_nonzero()) if self.balanced else counts

    def setup(self, stage: str | None = None) -> None:
        """Loads the splits, unless they are loaded already, and checks the declared shape."""
        if stage == "fit":
            self._resumed_seed = None  # of an earlier run
        if self.splits is not None:
            return
        self.splits = self.load_splits()
        shapes = {tuple(split.inputs.shape[1:]) for split in self.splits if split is not None}
        if wrong := shapes - {self.input_shape}:
            raise UserError(
                f"{type(self).__name__} has examples of {wrong.pop()} and declares "
                f"{self.input_shape}: correct its image_shape or input_shape, or the examples"
            )
        if self.splits.val and len(self.input_shape) == 3 and not self.random_order:
            val = self.splits.val
            rows = torch.from_numpy(np.argsort(hashes_of(val), kind="stable"))
            self.splits = self.splits._replace(val=val.take(rows))
        # Halved, not cut, because most numbers of processes can share half of what they shared.
        while self.batch_size > len(self.splits.train.targets):
            self.batch_size //= 2

    def _loaded(self) -> Splits:
        self.setup()
        assert self.splits is not None
        return self.splits

    def train_dataloader(self) -> BatchLoader:
        """Returns shuffled whole batches; in a fixed order under `overfit_batches`."""
        fixed = self.trainer is not None and self.trainer.overfit_batches  # type: ignore[attr-defined]
        loader, wanted = self._loader("train", shuffle=not fixed), self.hparams["batch_size"]
        if self.batch_size < wanted:
            rank_zero_info(
                f"The {loader.num_examples:,} training examples do not fill a batch of {wanted:,}: "
                f"this run takes {self.batch_size:,}."
            )
        return loader

    def val_dataloader(self) -> BatchLoader | list[BatchLoader]:
        """Returns the validation split, in no order of classes; an empty list if there is none."""
        return [] if self._loaded().val is None else self._loader("val")

    def test_dataloader(self) -> BatchLoader:
        """Returns the test split in order."""
        return self._loader("test")

    predict_dataloader = test_dataloader

    def _loader(self, name: str, shuffle: bool = False) -> BatchLoader:
        trainer = self.trainer
        device = trainer.strategy.root_device if trainer else torch.device("cpu")
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        if (name, device) not in self._placed:
            self._placed[name, device] = self._put(self._loaded()._asdict()[name], device)
        arrays, share = tuple(self._placed[name, device]), (self.batch_size, rank, world_size)
        epoch = (lambda: trainer.current_epoch) if trainer else None
        return BatchLoader(
            arrays, *share, shuffle=shuffle, seed=self.seed, current_epoch=epoch, device=device,
            classes=arrays[1] if self.balanced and shuffle else None,
        )  # fmt: skip

    def _put(self, split: Split, device: torch.device) -> Split:
        """Copies a split to the training device, if that is no CPU whose processes share a file."""
        batch = 4 * math.prod(self.input_shape) * self.batch_size  # bytes, as float32
        batch //= self.trainer.world_size if self.trainer else 1
        if batch > (free := free_memory(device)):
            raise UserError(
                f"a batch of {self.batch_size:,} examples takes {describe_size(batch)} a process, "
                f"and {device.type} has {describe_size(free)}: set a smaller --data.batch_size"
            )
        nbytes = sum(part.inputs.nbytes for part in self._loaded() if part)
        fits = device.type != "cuda" or nbytes <= DEVICE_SHARE * free
        shared = isinstance(split.inputs, StoredImages) and device.type == "cpu"
        place = os.environ.get("LADDER_EXAMPLES")  # for tests and benchmarks: device or file
        if place == "device" or (place is None and fits and not shared):
            return Split(split.inputs.to(device), split.targets.to(device))
        if not shared:
            rank_zero_info(f"Reads {describe_size(nbytes)} of examples in batches from the host.")
        return split

    def state_dict(self) -> dict[str, Any]:
        """Returns the identity of the data, their input spec and the seed of the training order."""
        return super().state_dict() | {"seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Checks that the data is the same, and restores the seed of the training order."""
        super().load_state_dict(state_dict)
        if self.trainer is None or self.trainer.state.fn == TrainerFn.FITTING:
            self._resumed_seed = state_dict["seed"]


def free_memory(device: torch.device) -> int:
    """Returns the bytes that are free, of a GPU or of this machine; systems may not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return sys.maxsize
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))
