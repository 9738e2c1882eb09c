"""Scores from a judge's classes: accuracy of the requested classes, and modes covered."""

from typing import NamedTuple

import torch
from torch import Tensor

from metrics.statistic import Statistic


class Accuracy(NamedTuple):
    """Shares of hits; NaN if there are no samples."""

    overall: float
    by_class: list[float]


def label_accuracy(confusion: Tensor) -> Accuracy:
    """Computes the accuracy from counts (K, K): requested class, class that the judge sees."""
    hits, counts = confusion.diagonal().double(), confusion.sum(dim=1)
    return Accuracy((hits.sum() / counts.sum()).item(), (hits / counts).tolist())


class ModeCounts(Statistic):
    """Number of samples that a judge assigned to each of M modes."""

    counts: Tensor

    def __init__(self, num_modes: int) -> None:
        super().__init__()
        self.add_sum("counts", num_modes, dtype=torch.int64)

    def update(self, predicted: Tensor) -> None:
        """Adds the modes (B,) of a batch, each in [0, M)."""
        self.counts += torch.bincount(predicted, minlength=len(self.counts))

    def compute(self) -> Tensor:
        return self.counts


class ModeCoverage(NamedTuple):
    """The number of modes with a sample, and KL(generated || real) in nats."""

    modes: int
    kl: float


def mode_coverage(counts: Tensor, real_counts: Tensor) -> ModeCoverage:
    """Computes the modes reached and the divergence of their frequencies from real ones.

    Metz et al. 2017 (unrolled GANs). KL of n perfect samples over M modes is about (M - 1) / (2 n),
    not 0. It is NaN without samples, and inf if a mode was reached that no real sample has. Both
    counts have shape (M,).
    """
    p, q = (c.double() / c.sum() for c in (counts, real_counts))
    kl = (torch.xlogy(p, p) - torch.xlogy(p, q)).sum()
    return ModeCoverage(int(counts.count_nonzero()), kl.item())
