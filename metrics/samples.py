"""The judge's features and predicted classes of a set of images."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


@dataclass
class Samples:
    """Features and classes of N images, in the order of their numbers."""

    features: Tensor  # the judge's (N, D)
    predicted: Tensor  # the classes (N,) that the judge predicts
    num_classes: int  # that the judge knows
    labels: Tensor | None = None  # the classes (N,) that the images should show, if they have any
    images: Tensor | None = None  # uint8 (N, C, H, W), if they are kept

    def __post_init__(self) -> None:
        if self.features.device.type == "mps":  # has no float64, in which scores are computed
            self.features, self.predicted = self.features.cpu(), self.predicted.cpu()
            self.labels, self.images = (
                x if x is None else x.cpu() for x in (self.labels, self.images)
            )

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: Any) -> "Samples":
        """Returns the samples at these rows, a slice or int64 (M,)."""
        labels, images = (x if x is None else x[rows] for x in (self.labels, self.images))
        return Samples(self.features[rows], self.predicted[rows], self.num_classes, labels, images)

    def pictures(self) -> Tensor:
        """Returns the images (N, C, H, W) in [0, 1] on the CPU, for figures."""
        assert self.images is not None, "images are missing"
        return self.images.cpu() / 255

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Returns the images and their labels."""
        assert self.images is not None, "images are missing"
        assert self.labels is not None, "labels are missing"
        return self.images, self.labels


class KeptSamples(Metric):
    """Collects the judge's outputs over batches and processes: 2.5 MB for 10,000 x 64 features.

    The images may arrive in any order and from any process, because each has a number. Every
    process must add a batch.
    """

    full_state_update = False

    def __init__(self, num_classes: int, labels: bool = False, images: bool = False) -> None:
        super().__init__()
        self.num_classes = num_classes
        optional = [name for name, wanted in (("labels", labels), ("images", images)) if wanted]
        self.kept = ["numbers", "features", "predicted", *optional]
        for name in self.kept:
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(
        self,
        numbers: Tensor,
        features: Tensor,
        predicted: Tensor,
        labels: Tensor | None = None,
        images: Tensor | None = None,
    ) -> None:
        """Adds the samples of these numbers (B,), see `Samples`."""
        given = {"numbers": numbers, "features": features, "predicted": predicted}
        for name, value in (given | {"labels": labels, "images": images}).items():
            if name in self.kept:
                assert value is not None, f"{name} are missing"
                getattr(self, name).append(value)

    def compute(self) -> Samples:
        """Returns the samples of all processes, in the order of their numbers."""
        values = {name: dim_zero_cat(getattr(self, name)) for name in self.kept}
        order = values.pop("numbers").argsort()
        return Samples(
            num_classes=self.num_classes, **{name: value[order] for name, value in values.items()}
        )
