"""Memorization: distance of generated samples to training samples, relative to test samples."""

import torch
from torch import Tensor

from metrics.manifold import CHUNK


def memorization_ratio(generated: Tensor, train: Tensor, test: Tensor) -> float:
    """Computes the mean distance to the nearest training sample over that to the nearest test one.

    The ratio is 1 if nothing is memorised, and near 0 if samples are copies of the given training
    samples. Both references are cut to equal numbers, because the nearest of more samples is
    closer. For fresh samples of the true distribution, the two means then have one expectation for
    any number. (The test of Meehan et al. 2020 also compares such distances.) Copies of training
    samples that are not in the reference count as fresh, so give as many as possible.

    Args:
        generated: Features (M, D), float64.
        train: Features of training samples, (N, D).
        test: Features of test samples, (N', D); both are cut to the first min(N, N').

    Returns:
        The ratio; NaN if a set is empty.
    """
    size = min(len(train), len(test))
    nearest = [_mean_nearest(generated, reference[:size]) for reference in (train, test)]
    return (nearest[0] / nearest[1]).item()


def memorization_floor(train: Tensor, test: Tensor) -> float:
    """Computes the same ratio for real training samples as if they had been generated.

    Each is compared with the other training samples and, to keep the numbers equal, with all test
    samples but one.
    """
    size = min(len(train), len(test))
    train, test = train[:size], test[:size]
    nearest = [_mean_nearest(train, reference, leave_one_out=True) for reference in (train, test)]
    return (nearest[0] / nearest[1]).item()


def _mean_nearest(samples: Tensor, references: Tensor, leave_one_out: bool = False) -> Tensor:
    """Computes the mean distance of samples (M, D) to the nearest reference (N, D).

    With `leave_one_out`, sample i is not compared with reference i.
    """
    if len(samples) == 0 or len(references) <= int(leave_one_out):
        return samples.new_full((), torch.nan)
    nearest = []
    for start in range(0, len(samples), CHUNK):
        distances = torch.cdist(samples[start : start + CHUNK], references)  # (CHUNK, N)
        if leave_one_out:
            distances.diagonal(start).fill_(torch.inf)
        nearest.append(distances.amin(dim=1))
    return torch.cat(nearest).mean()
