"""Precision, recall, density and coverage: scores from nearest neighbours of two sets."""

from typing import NamedTuple

import torch
from torch import Tensor

from metrics.statistic import Statistic

CHUNK = 512  # rows of distances held at once: 20 MB against 5,000 samples
NEIGHBOURS = 3  # of precision and recall, as Kynkaanniemi et al. 2019
DENSITY_NEIGHBOURS = 5  # of density and coverage, as Naeem et al. 2020


class FeatureBank(Statistic):
    """Keeps the features of the samples with the lowest indices, in the order of the indices.

    Every sample has a slot, 0 until it is filled, so that the sum over processes gathers them.
    Memory: 8 N (D + 1) bytes, 2.6 MB for 5,000 x 64.

    Args:
        num_features: Number of features D.
        max_samples: Number of slots N; a sample is kept if its index is below N.
    """

    features: Tensor
    filled: Tensor

    def __init__(self, num_features: int, max_samples: int = 5000) -> None:
        super().__init__()
        features = torch.zeros(max_samples, num_features, dtype=torch.float64)
        self.add_state("features", features, dist_reduce_fx="sum")
        filled = torch.zeros(max_samples, dtype=torch.int64)
        self.add_state("filled", filled, dist_reduce_fx="sum")

    def update(self, features: Tensor, index: Tensor) -> None:
        """Keeps those of the features (B, D) whose index (B,) has a slot."""
        kept = index < len(self.filled)
        self.features[index[kept]] = features[kept].double()
        self.filled[index[kept]] = 1

    def compute(self) -> Tensor:
        """Returns the features (n, D) of the n <= N samples seen, ordered by their index."""
        return self.features[self.filled > 0]


class ManifoldScores(NamedTuple):
    """Scores in [0, 1], except density, which is 1 for equal distributions and may be more."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold_scores(generated: Tensor, real: Tensor) -> ManifoldScores:
    """Computes how much of two sets lies within each other's balls of nearest neighbours.

    A sample's ball reaches to its k-th nearest neighbour within its own set. Precision: the share
    of generated samples within a ball of a real one; recall: the share of real samples within a
    ball of a generated one (k = 3; Kynkaanniemi et al. 2019, eq. 1-2). Density: the number of
    real balls around a generated sample, over k; coverage: the share of real balls that hold a
    generated sample (k = 5; Naeem et al. 2020, section 3).

    Args:
        generated: Features (M, D), float64, because distances are computed from inner products,
            which lose half of the digits between close samples.
        real: Features (N, D).

    Returns:
        The scores; NaN if a set has 5 samples or fewer.
    """
    if min(len(generated), len(real)) <= DENSITY_NEIGHBOURS:
        return ManifoldScores(*4 * [float("nan")])
    real_radii, dense_radii = _radii(real)  # (N,) each
    generated_radii, _ = _radii(generated)  # (M,)
    precise, dense = real.new_zeros(()), real.new_zeros(())
    recalled, covered = (torch.zeros(len(real), dtype=torch.bool, device=real.device) for _ in "rc")
    for rows, radii in zip(generated.split(CHUNK), generated_radii.split(CHUNK), strict=True):
        distances = torch.cdist(rows, real)  # (CHUNK, N)
        precise += (distances <= real_radii).any(dim=1).sum()
        recalled |= (distances <= radii[:, None]).any(dim=0)
        inside = distances <= dense_radii
        dense += inside.sum()
        covered |= inside.any(dim=0)
    return ManifoldScores(
        precision=precise.item() / len(generated),
        recall=recalled.double().mean().item(),
        density=dense.item() / len(generated) / DENSITY_NEIGHBOURS,
        coverage=covered.double().mean().item(),
    )


def _radii(features: Tensor) -> tuple[Tensor, Tensor]:
    """Computes distances (N,) to the 3rd and the 5th nearest neighbour within the set (N, D)."""
    most = DENSITY_NEIGHBOURS + 1  # the nearest of all is the sample itself
    nearest = torch.cat(
        [
            torch.cdist(rows, features).topk(most, largest=False).values
            for rows in features.split(CHUNK)
        ]
    )
    return nearest[:, NEIGHBOURS], nearest[:, DENSITY_NEIGHBOURS]
