"""Every score in closed form or by its definition, sample by sample."""

import math
from importlib import import_module
from typing import Any

import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from metrics import SCORES, direction, formulas, title
from metrics.formulas import farthest, fit_gaussian, frechet_distance, kernel_distance
from metrics.samples import Samples
from tests.metrics.samples import CLASSES, draw, of, sets

NONE = of(torch.zeros(0, 4))
gan_train_module = import_module("metrics.gan_train")


def cloud(count: int, seed: int = 0, size: int = 4, scale: float = 1.0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, size, generator=random, dtype=torch.float64)


@pytest.fixture(params=[7, 512])
def chunk(request, monkeypatch):
    monkeypatch.setattr(formulas, "CHUNK", request.param)


chunks = pytest.mark.usefixtures("chunk")


def test_each_score_has_a_function_and_says_what_is_better():
    assert {score.name for score in SCORES} == set(formulas.__all__)
    assert [s.name for s in SCORES if s.better is None] == ["kid_error", "memorization"]
    lower = ["frechet", "intra_frechet", "kid", "modes_kl"]
    assert [s.name for s in SCORES if s.better == "lower"] == lower
    assert [s.name for s in SCORES if "fit" in s.stages] == ["frechet", "label_accuracy", "modes"]
    assert [s.name for s in SCORES if "validate" not in s.stages] == ["gan_train"]
    assert [direction(name) for name in ("val/frechet", "recall", "train/d_loss", "x")] == [
        "lower", "higher", "lower", None,
    ]  # fmt: skip
    assert (direction("val/sup_error"), direction("val/accuracy")) == ("lower", "higher")
    assert [title(name) for name in ("val/frechet", "sup_error", "train/d_loss")] == [
        "Frechet distance", "largest error", "discriminator loss",
    ]  # fmt: skip


def matrix(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_a_covariance_is_unbiased():
    mean, covariance = fit_gaussian(matrix([0, 1], [2, 5]))
    assert mean.tolist() == [1, 3]
    assert covariance.tolist() == [[2, 4], [4, 8]]


def test_frechet_of_two_gaussians_whose_covariances_do_not_commute():
    """For 2 x 2, tr (C1 C2)^(1/2) = (tr C1 C2 + 2 det(C1 C2)^(1/2))^(1/2): Cayley-Hamilton."""
    first = matrix([1, 2])[0], matrix([2, 1], [1, 3])
    second = matrix([4, -2])[0], matrix([5, -1], [-1, 1])
    root = math.sqrt(11 + 2 * math.sqrt(20))  # trace 11, determinant 5 x 4
    found = frechet_distance(*first, *second)
    assert found == pytest.approx(9 + 16 + 5 + 6 - 2 * root, rel=1e-13)


@pytest.mark.parametrize(("second", "expected"), [([9.0, 0.0], 1.0), ([0.0, 9.0], 13.0)])
def test_frechet_of_covariances_without_an_inverse(second, expected):
    """Deviations 2 and 3 along one axis: (3 - 2)^2; along two: 2^2 + 3^2."""
    zero = torch.zeros(2, dtype=torch.float64)
    found = frechet_distance(zero, matrix([4, 0])[0].diag(), zero, matrix(second)[0].diag())
    assert found == pytest.approx(expected, rel=1e-13)


def test_rounding_in_directions_without_variance_is_no_variance():
    """Against the unit Gaussian, deviation r along one skew axis of 8: (r - 1)^2 + 7."""
    axis, zero = cloud(8)[:, 0], torch.zeros(8, dtype=torch.float64)
    found = frechet_distance(zero, torch.outer(axis, axis), zero, torch.eye(8).double())
    assert found == pytest.approx((axis.norm().item() - 1) ** 2 + 7, rel=1e-13)


@pytest.mark.parametrize("rank", [1, 8])
def test_frechet_of_equal_sets_and_of_a_shift(rank):
    """A root of eigenvalues would leave some 1e-8 for each dimension without variance."""
    features, shift = cloud(200, size=rank) @ cloud(rank, 1, 8), torch.arange(8.0).double()
    assert 0 <= formulas.frechet(of(features), NONE, of(features)) < 1e-12
    found = formulas.frechet(of(features), NONE, of(features + shift))
    assert found == pytest.approx(140, rel=1e-11)


def test_frechet_of_each_class_and_of_too_few_samples():
    """Class k is shifted by k along each of 4 axes; class 2 has one sample."""
    features, labels = cloud(41), torch.tensor([0] * 20 + [1] * 20 + [2])
    pair = of(features, labels), of(features + labels[:, None], labels)
    found = formulas.frechet_by_class(pair[0], NONE, pair[1])
    assert found[:2] == pytest.approx([0, 4], abs=1e-11)
    assert math.isnan(found[2])
    assert math.isnan(formulas.intra_frechet(pair[0], NONE, pair[1]))
    kept = [x.take(slice(40)) for x in pair]
    for x in kept:
        x.num_classes = 2
    assert formulas.intra_frechet(kept[0], NONE, kept[1]) == pytest.approx(2, abs=1e-11)


def test_a_diverged_network_is_no_crash():
    broken = fit_gaussian(cloud(9).log())
    assert math.isnan(frechet_distance(*broken, *fit_gaussian(cloud(9))))


@pytest.mark.parametrize(("count", "size"), [(194, 64), (150, 50)])
def test_frechet_of_many_features_is_that_of_principal_components(count, size):
    scale = torch.linspace(0.1, 3, 80).double()
    first, train, second = (cloud(n, k, 80) * scale for k, n in enumerate((200, 300, count)))
    labels = torch.arange(200) % 2
    pair = of(first, labels), of(second, labels[:count])
    components = PCA(size).fit(train).components_
    reduced = [of(x.features @ torch.from_numpy(components.T), x.labels) for x in pair]
    for name in ("frechet", "intra_frechet"):
        score = getattr(formulas, name)
        for x in (*pair, *reduced):
            x.num_classes = 2
        expected = score(reduced[0], NONE, reduced[1])
        assert score(pair[0], of(train), pair[1]) == pytest.approx(expected, rel=1e-9)


def naive_kernel(x: Tensor, y: Tensor) -> float:
    """Binkowski et al. 2018, eq. 4, term by term."""

    def mean(a: Tensor, b: Tensor, same: bool) -> float:
        values = [
            float(a[i] @ b[j] / a.shape[1] + 1) ** 3
            for i in range(len(a))
            for j in range(len(b))
            if not (same and i == j)
        ]
        return sum(values) / len(values)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


@chunks
def test_kernel_distance_is_that_of_all_pairs_of_different_samples():
    first, second = cloud(23, size=6), 0.5 + cloud(17, 1, 6)
    expected = pytest.approx(naive_kernel(first, second), rel=1e-11)
    assert kernel_distance(first, second) == expected
    assert formulas.kid(of(first), NONE, of(second)) == expected


def test_kernel_error_is_that_of_the_mean_of_ten_groups():
    """Classes that take turns are spread over the groups."""
    features = [cloud(60), 0.5 + cloud(50, 1)]
    dealt = [(torch.arange(len(x)) + torch.arange(len(x)) // 10) % 10 for x in features]
    groups = [[x[d == g] for x, d in zip(features, dealt, strict=True)] for g in range(10)]
    estimates = torch.tensor([naive_kernel(*pair) for pair in groups])
    found = formulas.kid_error(of(features[0]), NONE, of(features[1]))
    assert found == pytest.approx(estimates.std().item() / math.sqrt(10), rel=1e-6)
    assert math.isnan(formulas.kid_error(of(features[0][:19]), NONE, of(features[1])))
    assert math.isnan(formulas.kid(of(features[0][:1]), NONE, of(features[1])))


def naive_neighbors(generated: Tensor, real: Tensor) -> list[float]:
    """Precision, recall, density and coverage, one sample at a time."""

    def radius(x: Tensor, i: int, k: int) -> float:
        return sorted(float((x[i] - x[j]).norm()) for j in range(len(x)) if j != i)[k - 1]

    def inside(points: Tensor, balls: Tensor, k: int) -> Tensor:
        radii = [radius(balls, i, k) for i in range(len(balls))]
        rows = [
            [float((p - balls[i]).norm()) <= radii[i] for i in range(len(balls))] for p in points
        ]
        return torch.tensor(rows)  # (points, balls)

    dense = inside(generated, real, 5).double()
    return [
        inside(generated, real, 3).any(dim=1).double().mean().item(),
        inside(real, generated, 3).any(dim=1).double().mean().item(),
        dense.sum(dim=1).mean().item() / 5,
        dense.amax(dim=0).mean().item(),
    ]


def neighbors(generated: Tensor, real: Tensor) -> list[float]:
    names = ("precision", "recall", "density", "coverage")
    return [getattr(formulas, name)(of(generated), NONE, of(real)) for name in names]


@chunks
def test_scores_of_neighbors_are_their_definitions():
    generated, real = cloud(30, 1, scale=0.8) + 0.8, cloud(40)
    expected = naive_neighbors(generated, real)
    assert min(expected) > 0
    assert max(expected) < 1  # so that no score is met by chance
    assert neighbors(generated, real) == pytest.approx(expected, rel=1e-12)


def test_scores_of_neighbors_by_hand():
    """A set lies within itself, and each ball of 5 neighbors holds its center too: 6 / 5."""
    one = cloud(40)
    assert neighbors(one, one) == [1, 1, pytest.approx(6 / 5, abs=0.02), 1]
    assert neighbors(one + 100, one) == [0, 0, 0, 0]
    precision, recall, _, coverage = neighbors(one, torch.cat([one, one + 100]))
    assert (precision, recall, coverage) == (1, 0.5, 0.5)  # a lost mode
    assert all(math.isnan(score) for score in neighbors(one[:5], one) + neighbors(one, one[:5]))


@chunks
def test_memorization_of_copies_of_shifts_and_of_training_images():
    """At 0, 1, ..., 9. The nearest other is at 1; the nearest test sample but the own at 0.75.

    For 0, which has none at its left, it is at 1.25.
    """
    line = torch.arange(10.0, dtype=torch.float64)[:, None]
    train, test = of(line + 0.1), of(line - 0.4)
    assert formulas.memorization(of(line), train, test) == pytest.approx(0.25, rel=1e-6)
    assert formulas.memorization(of(line + 0.1), train, test) == pytest.approx(0, abs=1e-6)
    right, train = of(line + 0.25), of(line)
    expected = 1 / ((9 * 0.75 + 1.25) / 10)
    assert formulas.memorization(train, train, right) == pytest.approx(expected, rel=1e-6)
    more = of(torch.cat([line, line + 20]))  # divides by the ratio of training images
    of_train = 1 / ((9 * 0.35 + 1.65) / 10)
    found = formulas.memorization(of(line + 0.4), of(line + 0.65), more)
    assert found == pytest.approx(0.25 / 0.4 / of_train, rel=1e-6)
    for few in (NONE, of(cloud(1))):
        assert math.isnan(formulas.memorization(few, few, of(cloud(3))))


def test_memorization_of_fresh_samples_is_1_for_unequal_references():
    """Of ten times as many references the nearest is at 10^(-1/4) = 0.56 the distance.

    Copies of any of these are found.
    """
    ratios = [
        formulas.memorization(*(of(cloud(n, 3 * i + j)) for j, n in enumerate((500, 1000, 100))))
        for i in range(10)
    ]
    assert sum(ratios) / 10 == pytest.approx(1, abs=0.05)
    train, test = of(cloud(1000)), of(cloud(100, 1))
    assert formulas.memorization(train.take(slice(-50, None)), train, test) < 1e-6
    assert formulas.memorization(train, train, test) == 1


@chunks
def test_the_farthest_samples_and_their_nearest_references():
    samples = of(matrix([0, 7, 1.2, -3, 9]).T)  # 0, 3.5, 0.2, 3 and 1.5 away
    places, nearest = farthest(samples, of(matrix([0, 1, 10.5]).T), 2)
    assert (places.tolist(), nearest.tolist()) == ([1, 3], [2, 0])
    assert len(farthest(samples, of(matrix([0, 1]).T), 20)[0]) == 5


def seen(predicted: list[int], labels: list[int] | None = None) -> Samples:
    asked = None if labels is None else torch.tensor(labels)
    return of(torch.zeros(len(predicted), 1), asked, torch.tensor(predicted, dtype=torch.int64))


def test_label_accuracy_by_hand():
    samples = seen([0, 0, 0, 1, 1, 0], labels=[0, 0, 0, 0, 1, 1])
    assert formulas.label_accuracy(samples, NONE, NONE) == 4 / 6
    found = formulas.accuracy_by_class(samples, NONE, NONE)
    assert found[:2] == [0.75, 0.5]
    assert math.isnan(found[2])
    assert formulas.confusion(samples).tolist() == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_modes_and_their_divergence_by_hand():
    def both(samples: Samples, test: Samples) -> tuple[float, float]:
        return formulas.modes(samples, NONE, test), formulas.modes_kl(samples, NONE, test)

    assert both(seen([0, 1, 2]), seen([0, 1, 2] * 7)) == (3, pytest.approx(0, abs=1e-12))
    expected = 0.5 * math.log(0.5 / 0.6) + 0.5 * math.log(0.5 / 0.2)
    assert both(seen([0, 1]), seen([0] * 6 + [1] * 2 + [2] * 2)) == (2, pytest.approx(expected))
    assert both(seen([0, 1]), seen([0])) == (2, math.inf)
    assert both(seen([]), seen([0])) == (0, pytest.approx(math.nan, nan_ok=True))


def test_gan_train_learns_from_samples_alone(monkeypatch):
    """Labels of another class teach that class. The run's random numbers stay as they are."""
    monkeypatch.setattr("metrics.gan_train.STEPS", 30)
    state = torch.get_rng_state()
    samples, wrong, (_, train, test) = draw(120, 0), draw(120, 0), sets()
    for part in (wrong, train):  # what the training images show does not count
        part.labels = (part.labels + 1) % CLASSES
    found = formulas.gan_train(samples, train, test)
    assert found == formulas.gan_train(samples, train, test) > 0.9
    assert formulas.gan_train(wrong, train, test) < 1 / CLASSES
    for k in range(CLASSES):  # what an image is taken for does not depend on the others
        assert formulas.gan_train(samples, train, test.take(test.labels == k)) > 0.9
    assert torch.equal(torch.get_rng_state(), state)


def test_gan_train_depends_on_its_own_seed_alone(monkeypatch):
    monkeypatch.setattr("metrics.gan_train.STEPS", 2)  # its accuracy is that of its first weights
    samples, (_, train, test) = draw(120, 0), sets()
    found = formulas.gan_train(samples, train, test, seed=3)
    torch.manual_seed(1)
    assert formulas.gan_train(samples, train, test, seed=3) == found
    assert formulas.gan_train(samples, train, test, seed=4) != found


class OnApple(torch.Tensor):
    """A tensor of a device that is not here: it says so, and refuses float64, until it is moved."""

    @property
    def device(self) -> torch.device:
        return torch.device("mps")

    def cpu(self) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)

    def double(self) -> torch.Tensor:
        raise TypeError("the MPS framework doesn't support float64")


def test_scores_of_an_apple_gpu_are_computed_on_the_cpu():
    random = torch.Generator().manual_seed(0)
    features, labels = torch.randn(40, 3, generator=random), torch.arange(40) % 4
    images = torch.zeros(40, 1, 2, 2, dtype=torch.uint8)
    parts = [x.as_subclass(OnApple) for x in (features, labels, labels, images)]
    there = Samples(parts[0], parts[1], 4, *parts[2:])
    here = Samples(features, labels, 4, labels, images)
    with pytest.raises(TypeError, match="float64"):
        parts[0].double()
    for name in ("frechet", "precision", "recall", "kid", "label_accuracy", "modes_kl"):
        score = getattr(formulas, name)
        torch.testing.assert_close(score(there, here, here), score(here, here, here))


@pytest.mark.parametrize("count", [200, 250])
def test_gan_train_takes_each_image_once_before_any_twice(count):
    torch.manual_seed(0)
    batches = [*gan_train_module._batches(count, 4)]
    assert all(len(batch) == 100 for batch in batches)
    for first, second in (batches[:2], batches[2:]):
        assert len(torch.cat([first, second]).unique()) == 200
    assert not torch.equal(batches[0], batches[2])


def test_gan_train_lowers_its_rate_to_nothing(monkeypatch):
    monkeypatch.setattr("metrics.gan_train.STEPS", 10)
    rates: list[float] = []
    real = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    formulas.gan_train(draw(120, 0), draw(9, 1), draw(9, 2))
    assert rates[0] == pytest.approx(0.005 / 25)
    assert max(rates) > 0.004
    assert rates[-1] < 1e-6
