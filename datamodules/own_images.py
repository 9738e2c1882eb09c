"""The user's own images: splits cut where none are given, checks and a report."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor

from datamodules.base import InMemoryDataModule, Split, Splits, cut_validation
from runtime.errors import UserError


class OwnImages(InMemoryDataModule):
    """Base class of data sets of images that the user brings.

    A subclass implements `load_parts`.

    Args:
        val_fraction: Share of the training images that becomes the validation split, if none is
            given; 0: none.
        test_fraction: Share of the images that becomes the test split, if none is given.
        split_seed: Decides which images are cut, independently of the run's seed.
        batch_size: Images per batch, summed over all processes.
        scale: Divisor of the pixels 0..255.
    """

    not_in_identity = InMemoryDataModule.not_in_identity | {"path", "mirrors"}

    def __init__(
        self,
        val_fraction: float,
        test_fraction: float,
        split_seed: int,
        batch_size: int,
        scale: float,
    ) -> None:
        super().__init__(batch_size, scale)
        self.val_fraction, self.test_fraction = val_fraction, test_fraction
        self.split_seed = split_seed
        self.content: str | None = None  # SHA-256 of the images; `load_parts` sets it
        self.source = ""  # of the images, in words for the report; `load_parts` sets it

    def load_parts(self) -> dict[str, Split]:
        """Reads `train` and, if they are given, `val` and `test`."""
        raise NotImplementedError

    def load_splits(self) -> Splits:
        parts = self.load_parts()
        train, val, test = (parts.get(name) for name in Splits._fields)
        assert train is not None
        if test is None:
            train, test = self._cut(train, "test_fraction")
        if test is None:
            raise UserError(
                "test_fraction is 0 and there are no test images: set --data.test_fraction to 0.1, "
                "or add test images"
            )
        if val is None:
            train, val = self._cut(train, "val_fraction")
        splits = Splits(train, val, test)
        self._warn_of_copies(splits)
        self._report(splits)
        return splits

    def _cut(self, train: Split, option: str) -> tuple[Split, Split | None]:
        fraction = self.hparams[option]
        return cut_validation(train, fraction, self.split_seed, option, self.class_names)

    def _warn_of_copies(self, splits: Splits) -> None:
        """Names splits that share images, whose scores would be better than deserved."""
        known = {image.numpy().tobytes() for image in splits.train.inputs}
        for name, split in (("validation", splits.val), ("test", splits.test)):
            images: Sequence[Tensor] | Tensor = [] if split is None else split.inputs
            copies = sum(image.numpy().tobytes() in known for image in images)
            if copies:
                rank_zero_warn(
                    f"{copies} of {len(images)} {name} images are also training images, "
                    "pixel by pixel: remove duplicates, or scores are better than they should be."
                )

    def _report(self, splits: Splits) -> None:
        counts = {"training": splits.train, "validation": splits.val, "test": splits.test}
        sizes = ", ".join(f"{len(s.targets):,} {name}" for name, s in counts.items() if s)
        classes = ""
        if self.class_names:
            many = len(self.class_names) > 10
            names = ", ".join(self.class_names[:10]) + (", ..." if many else "")
            classes = f" of {len(self.class_names)} classes ({names})"
        shape = " x ".join(map(str, self.image_shape or ()))
        rank_zero_info(f"Images {shape}{classes}: {sizes}; {self.source}.")

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"content": self.content}
