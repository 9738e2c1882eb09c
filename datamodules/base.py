"""Base class of every data set: all examples in memory, on the training device."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, cast

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from datamodules.image_files import Fit
from datamodules.input_spec import InputSpec, measure_spec
from datamodules.loader import BatchLoader
from datamodules.rows import Place, choose_place, put
from runtime.errors import UserError
from runtime.ranges import Positive, PositiveFloat

if TYPE_CHECKING:
    from pandas import DataFrame


class Split(NamedTuple):
    """Inputs (N, ...) and targets (N, ...) of one part of a data set.

    Inputs are a tensor or `FileRows`, which are read by `inputs[rows]` and `inputs.to(device)`.
    """

    inputs: Any
    targets: Tensor

    def take(self, rows: Tensor | slice) -> "Split":
        """Returns the examples at `rows`, a slice, int64 (M,) or bool (N,)."""
        inputs = self.inputs[rows] if isinstance(self.inputs, Tensor) else self.inputs.take(rows)
        return Split(inputs, self.targets[rows])


class Splits(NamedTuple):
    """The three parts of a data set; `val` is None if there is no validation split."""

    train: Split
    val: Split | None
    test: Split


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


class InMemoryDataModule(LightningDataModule):
    """Holds the splits of a data set as tensors and returns a `BatchLoader` for each.

    A subclass implements `load_splits` and declares `image_shape`, or `input_shape` if its examples
    are not images. Both must be known after `__init__`, before any data is read, because the
    command line builds the model from them. Batches are `(inputs, targets)`. uint8 inputs stay
    uint8 on the device; each batch becomes float32, divided by `scale`.

    Args:
        batch_size: Examples per batch, summed over all processes.
        scale: Divisor of uint8 inputs. Float inputs are not changed.
    """

    image_shape: tuple[int, ...] | None = None  # (C, H, W), (2,) of points; None: not images
    num_classes: int | None = None  # None: the targets are not classes
    class_names: tuple[str, ...] | None = None
    fit: Fit = "crop"  # how image files of other sizes are resized to `image_shape`
    mirrors: bool = False  # a horizontally flipped example is an equally valid example
    judge: str | None = None  # scores generated images of this data set; known after `setup`
    balanced: bool = False  # training draws each class equally often
    keep: Literal["auto", "device", "memory", "disk"] = "device"  # where the examples are
    block: int = 0  # see `BatchLoader`
    random_order: bool = False  # of the examples; False: they may be in the order of their classes
    feature_names: tuple[str, ...] | None = None  # of input columns; None: inputs are no table
    used_fallback: bool = False  # the small digits are used instead of MNIST; known after `setup`
    title: str = ""  # heading of figures that show this data set
    unit: str = ""  # of the numbers in `table()` and `in_units()`
    # Init arguments that do not decide which examples are loaded
    not_in_identity: ClassVar[frozenset[str]] = frozenset({"batch_size", "data_dir", "scale"})

    def __init__(self, batch_size: Positive, scale: PositiveFloat = 1.0) -> None:
        super().__init__()
        self.save_hyperparameters()  # includes the subclass's arguments
        for name, value in self.hparams.items():
            if isinstance(value, Path):  # which `weights_only=True` would refuse to load
                self.hparams[name] = str(value)
        self.batch_size, self.scale = batch_size, scale
        self.splits: Splits | None = None  # None before `setup`
        self._measured: dict[str, Any] | None = None  # values of the input spec that are measured
        self._placed: dict[tuple[str, torch.device], Split] = {}
        self._place: Place | None = None  # None: not chosen yet
        self._resumed_seed: int | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example: the declared `image_shape`, otherwise that of the loaded data."""
        return self.image_shape or tuple(self._loaded().train.inputs.shape[1:])

    def load_splits(self) -> Splits:
        """Reads or generates the examples, on the CPU. Called once per process."""
        raise NotImplementedError

    def subset(self, split: Split, count: int) -> Split:
        """Returns a random subset of `count` examples, the same one at each call.

        A smaller split is returned whole, also in random order.
        """
        if self.random_order:
            return split.take(slice(count))
        random = torch.Generator().manual_seed(0)
        return split.take(torch.randperm(len(split.targets), generator=random)[:count])

    def table(self) -> "DataFrame | None":
        """Returns the data set as a table whose last column is the class; None if it has none."""
        return None

    def in_units(self, inputs: Tensor) -> Tensor:
        """Returns inputs (N, ...) of a batch in the original `unit`, for tables."""
        return inputs

    def identity(self) -> dict[str, Any]:
        """Returns the init arguments that decide the examples and their splits, by name."""
        return {
            name: value
            for name, value in self.hparams.items()
            if name not in self.not_in_identity and not name.startswith("_")  # the CLI's own
        }

    def input_spec(self) -> InputSpec:
        """Returns the description of the examples, which every checkpoint keeps."""
        if self._measured is None and self.splits is not None:
            padded = self.fit == "pad"  # its white edges are no background
            self._measured = {} if padded else measure_spec(self.splits.train.inputs)
        measured = self._measured or {}
        return InputSpec(self.input_shape, self.scale, self.class_names, self.fit, **measured)

    @property
    def seed(self) -> int:
        """Seed of the training order: the checkpoint's, that of `seed_everything`, or 0."""
        if self._resumed_seed is not None:
            return self._resumed_seed
        return int(os.environ.get("PL_GLOBAL_SEED", 0))

    @property
    def class_counts(self) -> Tensor | None:
        """Number of examples of each class (K,) in an epoch of training, equal with `balanced`.

        None: the targets are not classes.
        """
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
        found = {tuple(split.inputs.shape[1:]) for split in self.splits if split is not None}
        if wrong := found - {self.input_shape}:
            raise UserError(
                f"{type(self).__name__} has examples of {wrong.pop()} and declares "
                f"{self.input_shape}: correct its image_shape or input_shape, or the examples"
            )
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
        """Returns the validation split in order; an empty list if there is none."""
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
            classes=arrays[1] if self.balanced and shuffle else None, block=self.block,
        )  # fmt: skip

    def _put(self, split: Split, device: torch.device) -> Split:
        """Puts a split where this run keeps its examples."""
        trainer = self.trainer
        strategy, local_rank = (trainer.strategy, trainer.local_rank) if trainer else (None, 0)
        if self._place is None:
            self._place = self._choose_place(device)
        inputs = put(split.inputs, self._place, device, strategy, local_rank)
        return Split(inputs, split.targets.to(device if self._place == "device" else "cpu"))

    def _choose_place(self, device: torch.device) -> Place:
        nbytes = sum(split.inputs.nbytes for split in self._loaded() if split)
        place = "device" if self.keep == "auto" else self.keep
        if self.keep == "auto":
            place = choose_place(nbytes, device, self.trainer.num_devices if self.trainer else 1)
            if self.trainer:
                place = self.trainer.strategy.broadcast(place)
        if place != "device":
            where = {"memory": "memory that the processes share", "disk": "a file"}[place]
            rank_zero_info(f"Reads {nbytes / 1e9:.2f} GB of examples ahead from {where}.")
        return place

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Converts inputs to the model's dtype, and divides uint8 inputs by `scale`."""
        # Lightning also passes a model's `example_input_array` through here.
        if not isinstance(batch, list | tuple):
            return batch
        model = self.trainer.lightning_module if self.trainer else None
        dtype = torch.float32 if model is None else cast(torch.dtype, model.dtype)
        if batch[0].dtype == torch.uint8:
            return batch[0].to(dtype) / self.scale, *batch[1:]
        return tuple(part.to(dtype) if part.is_floating_point() else part for part in batch)

    def state_dict(self) -> dict[str, Any]:
        """Returns the identity of the data, their frame and the seed of the training order."""
        spec = self.input_spec()._asdict()
        return {"identity": self.identity(), "frame": spec, "seed": self.seed}

    def check_test_split(self, state_dict: Mapping[str, Any]) -> None:
        """Warns if the model with this state of its data may have learned from test images."""

    def check_classes(self, frame: InputSpec | None) -> None:
        """Refuses to be the data of a model that knows other classes.

        Args:
            frame: That of the model; None: not known.
        """
        known, found = frame and frame.class_names, self.class_names
        if not known or not found or tuple(known) == tuple(found):
            return
        gone, new = (
            shorten(", ".join(name for name in names if name not in others) or "none", 80)
            for names, others in ((known, found), (found, known))
        )
        raise UserError(
            f"{self.hparams.get('path', type(self).__name__)} has other classes than this run "
            f"(only the run: {gone}; only the data: {new}): rename the folders of the classes, or "
            "give data of the same classes"
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the seed of the training order and checks that the data is the same."""
        if self.trainer is not None and self.trainer.state.fn != TrainerFn.FITTING:
            self.check_test_split(state_dict)
            return  # A trained model may be tested on any data.
        self._resumed_seed = state_dict["seed"]
        if self.trainer is None:
            return
        for key, value in state_dict["identity"].items():
            here = self.identity().get(key)
            if here != value:
                other = key in self.hparams and self.hparams[key] != value
                remedy = f"with --data.{key} {value}" if other else "on the same data"
                raise UserError(
                    f"the checkpoint was trained with data.{key} {value!r}, this run has "
                    f"{here!r}: resume {remedy}, or leave out --ckpt_path"
                )
