"""The quality scores as pure functions of samples, each named as in `metrics/scores.py`.

A score compares `samples` with `test`, images that were not trained on. All distances are computed
in float64.
"""

import math
from statistics import fmean

import torch
from torch import Tensor

from metrics.gan_train import gan_train
from metrics.samples import Samples

__all__ = [
    "coverage", "density", "frechet", "gan_train", "intra_frechet", "kid", "kid_error",
    "label_accuracy", "memorization", "modes", "modes_kl", "precision", "recall",
]  # fmt: skip
CHUNK = 512  # rows of distances held at once: 40 MB against 10,000 samples
NEIGHBORS = 3  # of precision and recall, as Kynkaanniemi et al. 2019
DENSITY_NEIGHBORS = 5  # of density and coverage, as Naeem et al. 2020
KERNEL_GROUPS = 10  # for the standard error of the kernel distance
# Most features of Frechet distances, and held-out images that each needs for a useful covariance
GAUSSIAN_FEATURES, IMAGES_PER_FEATURE = 64, 3

# Frechet distance: Heusel et al. 2017; by class: Miyato and Koyama 2018, "intra FID".


def frechet(samples: Samples, train: Samples, test: Samples) -> float:
    """Computes the Frechet distance between Gaussians that are fitted to both sets."""
    first, second = project(samples, train, test)
    return frechet_distance(*fit_gaussian(first), *fit_gaussian(second))


def frechet_by_class(samples: Samples, train: Samples, test: Samples) -> list[float]:
    """Computes the distance of each class from the images with its label."""
    assert samples.labels is not None
    assert test.labels is not None
    pairs = zip(project(samples, train, test), (samples.labels, test.labels), strict=True)
    fits = [[fit_gaussian(x[y == k]) for k in range(samples.num_classes)] for x, y in pairs]
    return [frechet_distance(*first, *second) for first, second in zip(*fits, strict=True)]


def intra_frechet(samples: Samples, train: Samples, test: Samples) -> float:
    """Computes the mean of the classes' distances."""
    return fmean(frechet_by_class(samples, train, test))


def project(samples: Samples, train: Samples, test: Samples) -> tuple[Tensor, Tensor]:
    """Returns the features (N, D) and (M, D) of samples and test images for Frechet distances.

    More than 64 are replaced by the first principal components of training images: 64, or one for
    each three test images if these are few.
    """
    if train.features.shape[1] <= GAUSSIAN_FEATURES:
        return samples.features, test.features
    known = train.features.double()
    known = known - known.mean(dim=0)
    size = min(GAUSSIAN_FEATURES, max(1, len(test) // IMAGES_PER_FEATURE))
    components = torch.linalg.eigh(known.T @ known).eigenvectors[:, -size:]
    return samples.features.double() @ components, test.features.double() @ components


def fit_gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean (D,) and unbiased covariance (D, D) of features (N, D); NaN if N is below 2."""
    if len(features) < 2:
        nan = torch.full((features.shape[1],), torch.nan, dtype=torch.float64)
        return nan, nan.diag()
    return features.double().mean(dim=0), torch.atleast_2d(features.double().T.cov())


def frechet_distance(mean: Tensor, cov: Tensor, other_mean: Tensor, other_cov: Tensor) -> float:
    """Computes |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)); NaN if a Gaussian is not finite.

    Dowson and Landau 1982. With C = R R (R symmetric) the trace of (C1 C2)^(1/2) is the sum
    of the singular values of R1 R2. Unlike the roots of the eigenvalues of R1 C2 R1, these lose
    no digits if a covariance is singular: a rounding error e never becomes e^(1/2).
    """
    if not all(t.isfinite().all() for t in (mean, cov, other_mean, other_cov)):
        return math.nan
    overlap = torch.linalg.svdvals(_root(cov) @ _root(other_cov)).sum()
    distance = (mean - other_mean).square().sum() + cov.trace() + other_cov.trace() - 2 * overlap
    return distance.clamp(min=0).item()  # below 0 only by rounding


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    # Eigenvalues of size e are rounding errors, and their roots e^(1/2) would be far larger.
    rounding = len(values) * torch.finfo(values.dtype).eps * values.abs().max()
    roots = torch.where(values > rounding, values, 0.0).sqrt()
    return (vectors * roots) @ vectors.T


# Kernel distance: Binkowski et al. 2018, "KID", from all samples instead of random subsets.


def kid(samples: Samples, train: Samples, test: Samples) -> float:
    """Computes the unbiased squared maximum mean discrepancy; it may be below 0."""
    return kernel_distance(samples.features.double(), test.features.double())


def kid_error(samples: Samples, train: Samples, test: Samples) -> float:
    """Computes the standard error of `kid` from the spread of ten groups of the samples.

    Where `kid` is 0, its error falls as 1 / N and not as 1 / N^(1/2), so this is 10^(1/2) times it.
    """
    groups = [_kernel_groups(x.features.double()) for x in (samples, test)]
    estimates = [kernel_distance(x, y) for x, y in zip(*groups, strict=True)]
    return (torch.tensor(estimates, dtype=torch.float64).std() / KERNEL_GROUPS**0.5).item()


def kernel_distance(first: Tensor, second: Tensor) -> float:
    """Computes it for features (N, D) and (M, D), Gretton et al. 2012, eq. 3; NaN for one sample.

    The kernel of two samples is (x.y / D + 1)^3. Pairs are of different samples.
    """
    n, m = len(first), len(second)
    if min(n, m) < 2:
        return math.nan
    within = _kernel_within(first) / (n * (n - 1)) + _kernel_within(second) / (m * (m - 1))
    return (within - 2 * _kernel_sum(first, second) / (n * m)).item()


def _kernel_sum(first: Tensor, second: Tensor) -> Tensor:
    total = first.new_zeros(())
    for rows in first.split(CHUNK):
        inner = (rows @ second.T).div_(first.shape[1]).add_(1)
        total += (inner * inner).mul_(inner).sum()
    return total


def _kernel_within(features: Tensor) -> Tensor:
    own = features.square().sum(dim=1) / features.shape[1] + 1
    return _kernel_sum(features, features) - own.pow(3).sum()


def _kernel_groups(features: Tensor) -> list[Tensor]:
    """Splits samples into ten groups; not every tenth sample, because classes may alternate."""
    numbers = torch.arange(len(features), device=features.device)
    groups = (numbers + numbers // KERNEL_GROUPS) % KERNEL_GROUPS
    return [features[groups == group] for group in range(KERNEL_GROUPS)]


# Precision and recall: Kynkaanniemi et al. 2019, eq. 1-2. Density and coverage: Naeem et al. 2020,
# section 3. A sample's ball reaches to its k-th nearest neighbor within its own set.


def precision(samples: Samples, train: Samples, test: Samples) -> float:
    """Computes the fraction of samples within a ball of a real image."""
    return _mean(in_balls(samples.features, test.features, NEIGHBORS).any(dim=1))


def recall(samples: Samples, train: Samples, test: Samples) -> float:
    """Computes the fraction of real images within a ball of a sample."""
    return _mean(in_balls(test.features, samples.features, NEIGHBORS).any(dim=1))


def density(samples: Samples, train: Samples, test: Samples) -> float:
    """Computes the mean number of real balls around a sample, over k; 1 for equal sets."""
    balls = in_balls(samples.features, test.features, DENSITY_NEIGHBORS).sum(dim=1)
    return _mean(balls) / DENSITY_NEIGHBORS


def coverage(samples: Samples, train: Samples, test: Samples) -> float:
    """Computes the fraction of real balls that contain a sample."""
    return _mean(in_balls(samples.features, test.features, DENSITY_NEIGHBORS).any(dim=0))


def in_balls(points: Tensor, centers: Tensor, k: int) -> Tensor:
    """Returns which points are in which balls, bool (N, M), of features (N, D) and (M, D).

    Empty if a set is not larger than the most neighbors that a score needs.
    """
    if min(len(points), len(centers)) <= DENSITY_NEIGHBORS:
        return torch.empty(0, 0, dtype=torch.bool)
    points, centers = points.double(), centers.double()
    radii = torch.cat(
        # The nearest of all is the sample itself.
        [torch.cdist(x, centers).topk(k + 1, largest=False).values[:, k] for x in _chunks(centers)]
    )
    return torch.cat([torch.cdist(x, centers) <= radii for x in _chunks(points)])


def _chunks(features: Tensor) -> tuple[Tensor, ...]:
    return features.split(CHUNK)


def _mean(values: Tensor) -> float:
    return values.double().mean().item()


def memorization(samples: Samples, train: Samples, test: Samples) -> float:
    """Computes the mean distance to the nearest training image over that to the nearest test image.

    About 1 if nothing is memorized, near 0 for copies of these training images. (The test of Meehan
    et al. 2020 also compares such distances.) The nearest of more images is closer: if the numbers
    of references differ, the ratio is divided by that of training images. As samples, each of these
    skips itself and, to match, one test image.
    """
    ratio = _nearest_ratio(samples, train, test)
    if len(train) != len(test):
        ratio /= _nearest_ratio(train, train, test)
    return ratio.item()


def _nearest_ratio(samples: Samples, train: Samples, test: Samples) -> Tensor:
    own = samples is train
    rows = samples.features[: len(test)] if own else samples.features
    to_train, to_test = (_mean_nearest(rows, x.features, own) for x in (train, test))
    return to_train / to_test


def _mean_nearest(samples: Tensor, references: Tensor, leave_one_out: bool) -> Tensor:
    """Computes the mean distance to the nearest reference, perhaps without that of its number."""
    if len(samples) == 0 or len(references) <= int(leave_one_out):
        return samples.new_tensor(math.nan, dtype=torch.float64)
    means = []
    for index, rows in enumerate(_chunks(samples.double())):
        distances = torch.cdist(rows, references.double())
        if leave_one_out:
            distances.diagonal(index * CHUNK).fill_(torch.inf)
        means.append(distances.amin(dim=1))
    return torch.cat(means).mean()


def nearest(samples: Samples, references: Samples) -> tuple[Tensor, Tensor]:
    """Finds the distance (N,) of each sample to the nearest reference, and its index (N,)."""
    known = references.features.double()
    parts = [torch.cdist(rows, known).min(dim=1) for rows in _chunks(samples.features.double())]
    distances, indices = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
    return distances, indices


def farthest(samples: Samples, references: Samples, count: int) -> tuple[Tensor, Tensor]:
    """Finds the samples that are farthest from all references.

    Returns:
        Their rows (count,), the farthest first, and those of the references nearest to them.
    """
    distances, indices = nearest(samples, references)
    rows = distances.topk(min(count, len(samples))).indices
    return rows, indices[rows]


# Scores of the classes that the judge predicts.


def confusion(samples: Samples) -> Tensor:
    """Counts (K, K) requested and predicted classes."""
    assert samples.labels is not None
    cells = samples.labels * samples.num_classes + samples.predicted
    return cells.bincount(minlength=samples.num_classes**2).view(-1, samples.num_classes)


def label_accuracy(samples: Samples, train: Samples, test: Samples) -> float:
    """Computes the fraction of images for which the judge predicts the requested class."""
    counts = confusion(samples).double()
    return (counts.diagonal().sum() / counts.sum()).item()


def accuracy_by_class(samples: Samples, train: Samples, test: Samples) -> list[float]:
    """Computes `label_accuracy` of each requested class."""
    counts = confusion(samples).double()
    return (counts.diagonal() / counts.sum(dim=1)).tolist()


def modes(samples: Samples, train: Samples, test: Samples) -> float:
    """Counts the predicted classes (Metz et al. 2017)."""
    return len(samples.predicted.unique())


def modes_kl(samples: Samples, train: Samples, test: Samples) -> float:
    """Computes KL(generated || real) of the frequencies of the classes, in nats (Metz et al. 2017).

    It is about (K - 1) / (2 N) for N perfect samples, NaN without samples, and inf if a class was
    reached that no real image has.
    """
    counts = (x.predicted.bincount(minlength=x.num_classes).double() for x in (samples, test))
    p, q = (c / c.sum() for c in counts)
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum().item()
