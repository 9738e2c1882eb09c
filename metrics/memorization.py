"""Whether generated samples lie nearer to the images trained on than fresh ones would."""

import torch
from torch import Tensor

from metrics.manifold import CHUNK


def memorization_ratio(generated: Tensor, train: Tensor, test: Tensor) -> float:
    """Mean distance to the nearest training sample over that to the nearest test sample.

    1: nothing is memorised; towards 0: samples are copies of the training samples given. Both
    references are cut to equal numbers, since the nearest of more samples is nearer: to a fresh
    sample of the true distribution, the two are then alike, and the two means have one
    expectation, whatever their size. (The test of Meehan et al. 2020 compares such distances too.)
    Copies of training samples that are not in the reference pass for fresh: give as many as can be.

    Args:
        generated: Features (M, D), float64.
        train: Features of training samples, (N, D).
        test: Features of test samples, (N', D); both are cut to the first min(N, N').

    Returns:
        The ratio; nan if a set is empty.
    """
    size = min(len(train), len(test))
    nearest = [_mean_nearest(generated, reference[:size]) for reference in (train, test)]
    return (nearest[0] / nearest[1]).item()


def memorization_floor(train: Tensor, test: Tensor) -> float:
    """The same ratio for real training samples as if they had been generated.

    Each is compared with the others of its set, and so with one test sample less: both
    references are fresh to it and of equal size.
    """
    size = min(len(train), len(test))
    train, test = train[:size], test[:size]
    nearest = [_mean_nearest(train, reference, leave_one_out=True) for reference in (train, test)]
    return (nearest[0] / nearest[1]).item()


def _mean_nearest(samples: Tensor, references: Tensor, leave_one_out: bool = False) -> Tensor:
    """Mean distance of samples (M, D) to the nearest of (N, D), of the same number left out."""
    if len(samples) == 0 or len(references) <= int(leave_one_out):
        return samples.new_full((), torch.nan)
    nearest = []
    for start in range(0, len(samples), CHUNK):
        distances = torch.cdist(samples[start : start + CHUNK], references)  # (CHUNK, N)
        if leave_one_out:
            distances.diagonal(start).fill_(torch.inf)
        nearest.append(distances.amin(dim=1))
    return torch.cat(nearest).mean()
