"""Scores from nearest neighbours: precision, recall, density, coverage and memorization.

All take features (N, D) in float64, because distances are computed from inner products, which lose
half of the digits between close samples.
"""

from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 512  # rows of distances held at once: 20 MB against 5,000 samples
NEIGHBOURS = 3  # of precision and recall, as Kynkaanniemi et al. 2019
DENSITY_NEIGHBOURS = 5  # of density and coverage, as Naeem et al. 2020


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
    generated sample (k = 5; Naeem et al. 2020, section 3). NaN if a set has 5 samples or fewer.
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
    distances = (torch.cdist(rows, features) for rows in features.split(CHUNK))
    nearest = torch.cat([rows.topk(most, largest=False).values for rows in distances])
    return nearest[:, NEIGHBOURS], nearest[:, DENSITY_NEIGHBOURS]


def memorization_ratio(
    samples: Tensor, train: Tensor, test: Tensor, leave_one_out: bool = False
) -> float:
    """Computes the mean distance to the nearest training sample over that to the nearest test one.

    The ratio is 1 if nothing is memorised, and near 0 if samples are copies of the given training
    samples; NaN if a set is empty. Both references are cut to equal numbers, because the nearest of
    more samples is closer. For fresh samples of the true distribution, the two means then have one
    expectation for any number. (The test of Meehan et al. 2020 also compares such distances.)
    Copies of training samples that are not in the reference count as fresh, so give many.

    With `leave_one_out`, sample i is not compared with reference i.
    """
    size = min(len(train), len(test))
    to_train, to_test = (_mean_nearest(samples, x[:size], leave_one_out) for x in (train, test))
    return (to_train / to_test).item()


def memorization_floor(train: Tensor, test: Tensor) -> float:
    """Computes the ratio of training samples; each skips itself and, to match, one test sample."""
    return memorization_ratio(train[: len(test)], train, test, leave_one_out=True)


def farthest(samples: Tensor, references: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Returns the samples (count,) farthest from all references, and their nearest references."""
    parts = [torch.cdist(rows, references).min(dim=1) for rows in samples.split(CHUNK)]
    distances, nearest = (torch.cat(found) for found in zip(*parts, strict=True))
    places = distances.topk(min(count, len(samples))).indices
    return places, nearest[places]


def _mean_nearest(samples: Tensor, references: Tensor, leave_one_out: bool) -> Tensor:
    """Computes the mean distance of samples (M, D) to the nearest reference (N, D)."""
    if len(samples) == 0 or len(references) <= int(leave_one_out):
        return samples.new_full((), torch.nan)
    nearest = []
    for start in range(0, len(samples), CHUNK):
        distances = torch.cdist(samples[start : start + CHUNK], references)  # (CHUNK, N)
        if leave_one_out:
            distances.diagonal(start).fill_(torch.inf)
        nearest.append(distances.amin(dim=1))
    return torch.cat(nearest).mean()
