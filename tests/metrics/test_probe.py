"""A judge with the features of another network, and how it ranks sets of color pictures."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from callbacks.judges import pretrained_judge
from metrics import SCORES
from metrics.probe import ProbedJudge
from metrics.samples import Samples
from tests.callbacks.runs import Pictures

SIDE, KINDS = 24, 3


class Corners(nn.Module):
    """Levels of 2 x 2 parts of an image as features; keeps the sizes of what it sees."""

    def forward(self, images: Tensor) -> Tensor:
        self.seen = (len(images), *images.shape[1:])
        assert images.dtype == torch.float32
        return nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


@pytest.mark.parametrize(
    ("shape", "seen"),
    [((1, 20, 30), (96, 144)), ((3, 96, 96), (96, 96)), ((3, 128, 100), (128, 100))],
)
def test_small_images_are_enlarged_and_features_have_one_length(shape, seen):
    network = Corners()
    judge = ProbedJudge(network, shape, 4 * shape[0], 2)
    images = torch.randint(256, (18, *shape), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):  # a run's precision does not count
        features, _ = judge.judge(images)
    assert network.seen == (2, shape[0], *seen)  # of the second block
    torch.testing.assert_close(features.square().mean(dim=1), torch.ones(18))
    dark, _ = judge.judge(images // 2)
    torch.testing.assert_close(dark, features, atol=0.02, rtol=0)
    with pytest.raises(ValueError, match="cannot score images of shape"):
        judge.judge(images[:, :, :9])


def known(labels: list[int] | None) -> Samples:
    """Features (N, 5) that depend on the class; without labels, eight of them."""
    random = torch.Generator().manual_seed(0)
    classes = torch.tensor(labels or [0] * 8)
    features = torch.randn(len(classes), 5, generator=random) + classes[:, None]
    zeros = torch.zeros(len(classes), dtype=torch.int64)
    return Samples(features, zeros, 4, classes if labels else None)


@pytest.mark.parametrize("labels", [[0, 1, 3] * 9, [1, 2] * 9, [2, 1, 1, 1, 1]])
def test_classes_are_those_of_a_logistic_regression(labels):
    """Class 0, 2 or 3 has no training image, or class 2 has one."""
    judge, train = ProbedJudge(nn.Flatten(), (5, 1, 1), 5, 4), known(labels)
    judge.fit(train)
    wanted = LogisticRegression(C=0.03, max_iter=1000).fit(train.features.double(), labels)
    assert train.predicted.tolist() == wanted.predict(train.features.double()).tolist()
    again = known(labels)
    judge.fit(again)
    assert torch.equal(judge.classes(train.features), judge.classes(again.features))
    assert not any(parameter.requires_grad for parameter in judge.parameters())


@pytest.mark.parametrize(("labels", "seen"), [([2] * 6, 2), (None, 0)])
def test_one_class_or_none_is_always_predicted(labels, seen):
    judge, train = ProbedJudge(nn.Flatten(), (5, 1, 1), 5, 4), known(labels)
    judge.fit(train)
    assert {*train.predicted.tolist()} == {seen}


def draw_pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draws discs, squares and crosses, uint8 (N, 3, 24, 24), of any color, size and place."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % KINDS
    colors = torch.randint(256, (2, count, 3, 1, 1), generator=random).float()
    y0, x0 = 8 + 8 * torch.rand(2, count, 1, 1, generator=random)
    size = 4 + 3 * torch.rand(count, 1, 1, generator=random)
    y, x = torch.arange(SIDE).view(-1, 1) - y0, torch.arange(SIDE) - x0
    disc, square = x.square() + y.square() < size.square(), x.abs().maximum(y.abs()) < size
    cross = square & (x.abs().minimum(y.abs()) < size / 3)
    shapes = torch.stack([disc, square, cross])[labels, torch.arange(count)][:, None]
    return torch.where(shapes, *colors).byte(), labels


@pytest.mark.extras
def test_noise_blur_and_copies_rank_below_real_pictures(monkeypatch):
    """Only memorization sees copies. Modes do not see a blur, which may leave the classes."""
    monkeypatch.setattr("metrics.gan_train.STEPS", 60)
    judge = pretrained_judge(Pictures((3, SIDE, SIDE), KINDS)).network

    def judged(images: Tensor, labels: Tensor) -> Samples:
        return Samples(*judge.judge(images), KINDS, labels, images)

    train = judged(*draw_pictures(360, 0))
    judge.fit(train)
    test, fresh = (judged(*draw_pictures(150, seed)) for seed in (1, 2))
    noise = torch.randint(256, fresh.images.shape, dtype=torch.uint8)
    blur, copies = gaussian_blur(fresh.images, 9, [2.0, 2.0]), train.take(slice(150))
    sets = {"noise": judged(noise, fresh.labels), "blur": judged(blur, fresh.labels)}
    assert (test.predicted == test.labels).double().mean() > 0.95
    for score in SCORES:
        real = score.compute(fresh, train, test)
        if score.name == "memorization":
            assert real == pytest.approx(1, abs=0.1)
            assert score.compute(copies, train, test) < 0.01
        for name, found in sets.items() if score.better else ():
            worse = score.compute(found, train, test) - real
            worse = worse if score.better == "lower" else -worse
            assert worse > 0 or (worse == 0 and score.name == "modes"), (name, score.name)
