"""What one pass over a data set says about a classifier, kept in little memory."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class Mistakes(NamedTuple):
    """The worst mistakes, the worst first: those made with the highest probability.

    Lists of numbers, since torchmetrics turns a tensor (1,) that `compute` returns into ().
    """

    images: Tensor  # (K, C, H, W), or (K, 0) where inputs are no images
    targets: list[int]
    predictions: list[int]
    probabilities: list[float]  # of the predicted class


class Calibration(NamedTuple):
    """Examples in equal bins of the predicted class's probability; NaN where a bin is empty."""

    counts: Tensor  # (bins,)
    confidence: Tensor  # (bins,), mean probability of the predicted class
    accuracy: Tensor  # (bins,)
    error: float  # expected calibration error


class Evaluated(NamedTuple):
    """One pass over a data set."""

    loss: float
    confusion: Tensor  # (C, C), int64: true class, predicted class
    calibration: Calibration
    mistakes: Mistakes

    @property
    def examples(self) -> int:
        return int(self.confusion.sum())

    @property
    def hits(self) -> int:
        return int(self.confusion.diagonal().sum())

    def as_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Plain values: the scores, the accuracy of each class, and how many examples there are."""
        confusion = self.confusion.double()
        shares = (confusion.diagonal() / confusion.sum(dim=1)).tolist()
        return {
            "scores": {
                "accuracy": self.hits / self.examples,
                "loss": self.loss,
                "calibration_error": self.calibration.error,
            },
            "accuracy_per_class": dict(zip(names, shares, strict=True)),
            "examples": self.examples,
        }


class Tally(Metric):
    """Counts of a classifier's hits and misses over all batches and processes.

    Memory does not grow with the data set: a confusion matrix, sums for each calibration bin (Guo
    et al. 2017, "On calibration of modern neural networks") and the few worst mistakes.

    Args:
        num_classes: Number of classes C.
        num_mistakes: How many mistakes to keep.
        num_bins: Calibration bins.
    """

    full_state_update = False
    confusion: Tensor
    bins: Tensor
    loss: Tensor
    scores: list[Tensor]
    classes: list[Tensor]
    images: list[Tensor]

    def __init__(self, num_classes: int, num_mistakes: int = 24, num_bins: int = 15) -> None:
        super().__init__()
        self.num_classes, self.num_mistakes = num_classes, num_mistakes
        counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.add_state("confusion", counts, dist_reduce_fx="sum")
        # for each bin: examples, hits, sum of the predicted class's probability
        self.add_state("bins", torch.zeros(num_bins, 3), dist_reduce_fx="sum")
        self.add_state("loss", torch.zeros(()), dist_reduce_fx="sum")
        for name in ("scores", "classes", "images"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, inputs: Tensor, targets: Tensor, probabilities: Tensor, loss: Tensor) -> None:
        """Adds a batch: inputs (B, ...), targets (B,), probabilities (B, C), mean loss ()."""
        confidence, predicted = probabilities.float().max(dim=1)
        cells = targets * self.num_classes + predicted
        counts = torch.bincount(cells, minlength=self.confusion.numel())
        self.confusion += counts.view_as(self.confusion)
        self.loss += loss.detach().float() * len(targets)
        hits = predicted == targets
        num_bins = len(self.bins)
        which = (confidence * num_bins).long().clamp(0, num_bins - 1)  # 1.0 is in the last bin
        summands = torch.stack([torch.ones_like(confidence), hits.float(), confidence], dim=1)
        self.bins += torch.nn.functional.one_hot(which, num_bins).float().T @ summands
        self._keep_worst(
            torch.where(hits, -1.0, confidence),  # hits are never among the worst
            torch.stack([targets, predicted], dim=1),
            inputs if inputs.dim() == 4 else inputs[:, :0].flatten(1),
        )

    def _keep_worst(self, scores: Tensor, classes: Tensor, images: Tensor) -> None:
        worst = scores.topk(min(self.num_mistakes, len(scores))).indices
        for name, new in (("scores", scores), ("classes", classes), ("images", images)):
            setattr(self, name, [torch.cat([*getattr(self, name), new[worst]])])
        kept = self.scores[0].topk(min(self.num_mistakes, len(self.scores[0]))).indices
        for name in ("scores", "classes", "images"):
            setattr(self, name, [getattr(self, name)[0][kept]])

    def compute(self) -> Evaluated:
        """The sums over all processes, on the CPU."""
        count = self.confusion.sum()
        return Evaluated(
            loss=float(self.loss / count),
            confusion=self.confusion.cpu(),
            calibration=_calibration(self.bins.cpu()),
            mistakes=self._mistakes(),
        )

    def _mistakes(self) -> Mistakes:
        scores: Any = dim_zero_cat(self.scores).cpu()
        classes, images = dim_zero_cat(self.classes).cpu(), dim_zero_cat(self.images).cpu()
        order = scores.argsort(descending=True, stable=True)[: self.num_mistakes]
        order = order[scores[order] >= 0]
        targets, predictions = classes[order].T.tolist()
        return Mistakes(images[order], targets, predictions, scores[order].tolist())


def _calibration(bins: Tensor) -> Calibration:
    """Mean confidence and accuracy of each bin, and the mean gap between them."""
    counts, hits, confidence = bins.unbind(dim=1)
    error = (hits - confidence).abs().sum() / counts.sum()
    return Calibration(counts, confidence / counts, hits / counts, float(error))
