"""The contract of a data set: what models, scores and tools ask of it, whoever loads it."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from datamodules.image_files import Fit
from datamodules.input_spec import InputSpec, measure_spec
from runtime.class_defaults import drop_removed_options
from runtime.errors import UserError
from runtime.ranges import PositiveFloat

if TYPE_CHECKING:
    from pandas import DataFrame


class Split(NamedTuple):
    """Inputs (N, ...) and targets (N, ...) of one part of a data set.

    Inputs are a tensor or `StoredImages`, which are read by `inputs[rows]` and `inputs.to(device)`.
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


def hash_of(values: np.ndarray) -> int:
    """Returns a number that is the same for equal images."""
    content = np.ascontiguousarray(values).data
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def hashes_of(split: Split) -> np.ndarray:
    """Returns numbers uint64 (N,), the same ones for equal inputs."""
    known = getattr(split.inputs, "facts", None)  # of images that were hashed when decoded
    if known is not None:
        return known["hash"]
    return np.array([hash_of(values) for values in split.inputs.numpy()], "u8")


def content_of(split: Split) -> str:
    """Returns 16 hexadecimal digits, the same ones for equal examples in any order."""
    targets = split.targets.numpy().reshape(len(split.targets), -1)
    pairs = zip(hashes_of(split).tolist(), targets, strict=True)
    examples = sorted(number.to_bytes(8, "little") + target.tobytes() for number, target in pairs)
    return hashlib.sha256(b"".join(examples)).hexdigest()[:16]


class DataModule(LightningDataModule):
    """A data set whose models are scored, resumed and used by the tools.

    A subclass declares `image_shape`, or `input_shape` if its examples are not images, and
    `num_classes`, which are known before any data is read, and returns loaders of batches
    `(inputs, targets)`. Images are uint8, or float32 in [0, 1].

    Args:
        scale: Divisor of uint8 inputs. Float inputs are not changed.
    """

    image_shape: tuple[int, ...] | None = None  # (C, H, W), (2,) of points; None: not images
    num_classes: int | None = None  # None: the targets are not classes
    class_names: tuple[str, ...] | None = None
    fit: Fit = "crop"  # how image files of other sizes are resized to `image_shape`
    mirrors: bool = False  # a horizontally flipped example is an equally valid example
    judge: str | None = None  # scores generated images of this data set; known after `setup`
    feature_names: tuple[str, ...] | None = None  # of input columns; None: inputs are no table
    used_fallback: bool = False  # the small digits are used instead of MNIST; known after `setup`
    may_download: bool = True  # into a folder that is not the default
    title: str = ""  # heading of figures that show this data set
    unit: str = ""  # of the numbers in `table()` and `in_units()`
    # Init arguments that do not decide which examples are loaded
    not_in_identity: ClassVar[frozenset[str]] = frozenset({"batch_size", "data_dir", "scale"})

    def __init__(self, scale: PositiveFloat = 255.0) -> None:
        super().__init__()
        self.save_hyperparameters()  # includes the subclass's arguments
        for name, value in self.hparams.items():
            if isinstance(value, Path):  # which `weights_only=True` would refuse to load
                self.hparams[name] = str(value)
        self.scale = scale
        self.splits: Splits | None = None  # None: they are not loaded, or not arrays
        self.lists: dict[str, list[str]] = {}  # of names, for a file beside the run
        self._examples: dict[str, Split] = {}  # that were read from the loaders
        self._measured: dict[str, Any] | None = None  # values of the input spec that are measured

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        assert self.image_shape is not None, "declare image_shape or input_shape"
        return self.image_shape

    @property
    def class_counts(self) -> Tensor | None:
        """Number of examples of each class (K,) in an epoch of training; None: not known."""
        return None

    def examples(self, split: str, count: int) -> Split | None:
        """Returns `count` examples of "train", "val" or "test", the same ones at each call.

        They are the first ones that the loader of this split gives, images as uint8. A smaller
        split is returned whole.

        Returns:
            The examples; None: there is no such split.
        """
        if not is_overridden(f"{split}_dataloader", self, LightningDataModule):
            return None
        if split not in self._examples or len(self._examples[split].targets) < count:
            batches, size = [], 0
            with isolate_rng():
                torch.manual_seed(0)  # A loader may shuffle: equally on all ranks.
                for inputs, targets, *_ in getattr(self, f"{split}_dataloader")():
                    if self.image_shape and inputs.is_floating_point():
                        inputs = (inputs * 255).round().to(torch.uint8)
                    batches.append((inputs, targets))
                    size += len(targets)
                    if size >= count:
                        break
            if not batches:
                return None
            self._examples[split] = Split(*map(torch.cat, zip(*batches, strict=True)))
        return self._examples[split].take(slice(count))

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

    def facts(self, split: str) -> dict[str, Any]:
        """Returns what a score says of its data: title, content of a split, and sizes of all.

        The content is a hash of the split's inputs and targets, whatever their order; None if the
        splits are no arrays. Call it after `setup`.
        """
        title = self.title or self.identity().get("dataset") or type(self).__name__
        parts = self.splits._asdict() if self.splits else {}
        counts = {name: len(part.targets) if part else 0 for name, part in parts.items()}
        content = content_of(parts[split]) if parts.get(split) else None
        return {"title": title, "content": content, "counts": counts}

    def input_spec(self) -> InputSpec:
        """Returns the description of the examples, which every checkpoint keeps."""
        if self._measured is None and (train := self._measurable()) is not None:
            padded = self.fit == "pad"  # its white edges are no background
            self._measured = {} if padded else measure_spec(train.inputs)
        measured = self._measured or {}
        return InputSpec(self.input_shape, self.scale, self.class_names, self.fit, **measured)

    def _measurable(self) -> Split | None:
        """Returns training examples to measure; None: before `setup`."""
        return self._examples.get("train")

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
        """Returns the identity of the data and their input spec."""
        return {"identity": self.identity(), "frame": self.input_spec()._asdict()}

    def check_classes(self, spec: InputSpec | None) -> None:
        """Refuses to be the data of a model that knows other classes.

        Args:
            spec: That of the model; None: not known.
        """
        known, own = spec and spec.class_names, self.class_names
        if not known or not own or tuple(known) == tuple(own):
            return
        gone, new = (
            shorten(", ".join(name for name in names if name not in others) or "none", 80)
            for names, others in ((known, own), (own, known))
        )
        raise UserError(
            f"{self.hparams.get('path', type(self).__name__)} has other classes than this run "
            f"(only the run: {gone}; only the data: {new}): rename the folders of the classes, or "
            "give data of the same classes"
        )

    def differences(self, state: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Returns what decides the data and differs from a checkpoint: values there and here."""
        saved, own = dict(state["identity"]), {**self.identity(), "scale": self.scale}
        drop_removed_options(type(self), saved)
        if spec := InputSpec.of_checkpoint({"data": state}):
            saved["scale"] = spec.scale
        pairs = {key: (value, own[key]) for key, value in saved.items() if key in own}
        return {key: (there, here) for key, (there, here) in pairs.items() if there != here}

    def check_same(self, state: Mapping[str, Any], given: Collection[str] = ()) -> None:
        """Refuses to be other data than those of a checkpoint.

        Args:
            state: The state of the data in the checkpoint.
            given: Options of other data that the user gives.
        """
        others = not {*given}.isdisjoint({"path", "data_dir", *self.identity()})
        for key, (there, here) in self.differences(state).items():
            is_option = self.hparams.get(key, there) != there
            if is_option and key not in given:
                raise UserError(
                    f"the checkpoint was trained with data.{key} {there!r}, this run has {here!r}: "
                    f"give --data.{key} {there}, or correct the run's config.yaml"
                )
            if not is_option and not others:
                path = self.hparams.get("path", type(self).__name__)
                raise UserError(
                    f"{path} has not the examples that the checkpoint was trained with ({key} "
                    "differs): put back files that were added, removed or changed, or use them as "
                    f"other data, by `fit --init_from`, or `test` with --data.path {path}"
                )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Checks that a resumed run has the same data."""
        if self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self.check_same(state_dict)  # for others, see `datamodules.provenance`
