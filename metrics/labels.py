"""What a judge's classes say: accuracy of the classes asked for, and modes covered."""

from typing import NamedTuple

import torch
from torch import Tensor

from metrics.statistic import Statistic


class Accuracy(NamedTuple):
    """Shares of hits; nan where there was none to judge."""

    overall: float
    by_class: list[float]


def label_accuracy(confusion: Tensor) -> Accuracy:
    """Accuracy from a confusion matrix (K, K) of counts: class asked for, class judged."""
    hits, counts = confusion.diagonal().double(), confusion.sum(dim=1)
    overall = hits.sum() / counts.sum()
    return Accuracy(overall.item(), (hits / counts).tolist())


class ModeCounts(Statistic):
    """How many samples a judge assigned to each of M modes.

    Args:
        num_modes: Number of modes M: of classes, or 1,000 for stacked digits.
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
        """Counts (M,), int64."""
        return self.counts


class ModeCoverage(NamedTuple):
    """The number of modes with a sample, and KL(generated || real) in nats."""

    modes: int
    kl: float


def mode_coverage(counts: Tensor, real_counts: Tensor | None = None) -> ModeCoverage:
    """Modes reached, and how unlike the real ones their frequencies are.

    Metz et al. 2017 (unrolled GANs) and Lin et al. 2018 (PacGAN) report both for stacked MNIST.
    KL of n perfect samples over M modes is about (M - 1) / (2 n), not 0.

    Args:
        counts: Generated samples of each mode (M,).
        real_counts: Real samples of each mode (M,); None: all modes alike.

    Returns:
        The two; KL is nan without samples and inf if a mode was reached that no real sample has.
    """
    real = torch.ones_like(counts) if real_counts is None else real_counts
    p, q = (c.double() / c.sum() for c in (counts, real))
    kl = (torch.xlogy(p, p) - torch.xlogy(p, q)).sum()
    return ModeCoverage(int(counts.count_nonzero()), kl.item())


def stacked_modes(labels: Tensor) -> Tensor:
    """Modes (B,) in 0..999 of stacked digits, from the digits (B, 3) of their channels."""
    return (labels * labels.new_tensor([100, 10, 1])).sum(dim=1)
