"""Results of one evaluation of a classifier: its model's metrics and its worst mistakes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassCalibrationError
from torchmetrics.utilities import dim_zero_cat


class Mistakes(NamedTuple):
    """The mistakes with the highest probability, the worst first.

    The numbers are lists, because torchmetrics squeezes a tensor (1,) that `compute` returns.
    """

    images: Tensor  # (M, C, H, W), or (M, 0) if inputs are not images
    targets: list[int]
    predictions: list[int]
    probabilities: list[float]  # of the predicted class


class Calibration(NamedTuple):
    """Examples in equal bins of the predicted class's probability; NaN if a bin is empty."""

    counts: Tensor  # (bins,), int64
    confidence: Tensor  # (bins,), mean probability of the predicted class
    accuracy: Tensor  # (bins,)
    error: float  # expected calibration error


class Evaluated(NamedTuple):
    """Results of one pass over a data set."""

    loss: float
    confusion: Tensor  # (K, K), int64: true class, predicted class
    calibration: Calibration
    mistakes: Mistakes

    @property
    def examples(self) -> int:
        return int(self.confusion.sum())

    @property
    def hits(self) -> int:
        return int(self.confusion.diagonal().sum())

    def as_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Returns plain values: scores, the accuracy of each class, the number of examples."""
        shares = self.confusion.diagonal().double() / self.confusion.sum(dim=1)
        by_class = dict(zip(names, shares.tolist(), strict=True))
        scores = {"accuracy": self.hits / self.examples, "loss": self.loss}
        scores["calibration_error"] = self.calibration.error
        return {"scores": scores, "accuracy_per_class": by_class, "examples": self.examples}


class WorstMistakes(Metric):
    """Keeps the few worst mistakes of all batches and processes."""

    full_state_update = False
    scores: list[Tensor]  # the predicted class's probability, -1 of a hit
    classes: list[Tensor]  # true and predicted class
    images: list[Tensor]

    def __init__(self, num_mistakes: int = 24) -> None:
        super().__init__()
        self.num_mistakes = num_mistakes
        for name in ("scores", "classes", "images"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, inputs: Tensor, targets: Tensor, probabilities: Tensor) -> None:
        """Adds a batch: inputs (B, ...), targets (B,), probabilities (B, K)."""
        confidence, predicted = probabilities.float().max(dim=1)
        scores = torch.where(predicted == targets, -1.0, confidence)
        classes = torch.stack([targets, predicted], dim=1)
        images = inputs if inputs.dim() == 4 else inputs[:, :0].flatten(1)
        batch = {"scores": scores, "classes": classes, "images": images}
        merged = {name: torch.cat([*getattr(self, name), new]) for name, new in batch.items()}
        rows = merged["scores"].topk(min(self.num_mistakes, len(merged["scores"]))).indices
        for name, values in merged.items():
            setattr(self, name, [values[rows]])

    def compute(self) -> Mistakes:
        states = self.scores, self.classes, self.images
        scores, classes, images = (dim_zero_cat(values).cpu() for values in states)
        order = scores.argsort(descending=True, stable=True)[: self.num_mistakes]
        order = order[scores[order] >= 0]
        targets, predictions = classes[order].T.tolist()
        return Mistakes(images[order], targets, predictions, scores[order].tolist())


def calibration_of(metric: MulticlassCalibrationError) -> Calibration:
    """Bins the examples that a calibration metric saw on all processes; 1.0 is in the last bin."""
    error = float(metric.compute())
    with metric.sync_context():  # The states have an entry per example.
        states: Any = metric.confidences, metric.accuracies
        confidences, hits = (dim_zero_cat(values).cpu() for values in states)
    edges = torch.linspace(0, 1, metric.n_bins + 1, dtype=confidences.dtype)
    bins = (torch.bucketize(confidences, edges, right=True) - 1).clamp(max=metric.n_bins - 1)
    weights = None, confidences.double(), hits.double()
    counts, confidence, accuracy = (torch.bincount(bins, w, metric.n_bins) for w in weights)
    return Calibration(counts, confidence / counts, accuracy / counts, error)
