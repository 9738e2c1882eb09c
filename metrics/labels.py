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
    overall = hits.sum() / counts.sum()
    return Accuracy(overall.item(), (hits / counts).tolist())


class ModeCounts(Statistic):
    """Number of samples that a judge assigned to each of M modes.

    Args:
        num_modes: Number of modes M: the classes, or 1,000 for stacked digits.
    """

    counts: Tensor

    def __init__(self, num_modes: int) -> None:
        super().__init__()
        zeros = torch.zeros(num_modes, dtype=torch.int64)
        self.add_state("counts", zeros, dist_reduce_fx="sum")

    def update(self, predicted: Tensor) -> None:
        """Adds the modes (B,) of a batch, each in [0, M)."""
        self.counts += torch.bincount(predicted, minlength=len(self.counts))

    def compute(self) -> Tensor:
        """Returns the counts (M,), int64."""
        return self.counts


class ModeCoverage(NamedTuple):
    """The number of modes with a sample, and KL(generated || real) in nats."""

    modes: int
    kl: float


def mode_coverage(counts: Tensor, real_counts: Tensor | None = None) -> ModeCoverage:
    """Computes the number of modes reached and the divergence of their frequencies from real ones.

    Metz et al. 2017 (unrolled GANs) and Lin et al. 2018 (PacGAN) report both for stacked MNIST.
    KL of n perfect samples over M modes is about (M - 1) / (2 n), not 0.

    Args:
        counts: Generated samples of each mode (M,).
        real_counts: Real samples of each mode (M,); None: all modes are equally frequent.

    Returns:
        Both; KL is NaN without samples, and inf if a mode was reached that no real sample has.
    """
    real = torch.ones_like(counts) if real_counts is None else real_counts
    p, q = (c.double() / c.sum() for c in (counts, real))
    kl = (torch.xlogy(p, p) - torch.xlogy(p, q)).sum()
    return ModeCoverage(int(counts.count_nonzero()), kl.item())


def stacked_modes(labels: Tensor) -> Tensor:
    """Returns the modes (B,) in 0..999 of stacked digits from their channels' digits (B, 3)."""
    return (labels * labels.new_tensor([100, 10, 1])).sum(dim=1)
