"""Clusters of images whose groups are known."""

import pytest
import torch
from models.clusters import Clusters

from runtime.errors import UserError

SHAPE = (1, 28, 28)


def groups() -> torch.Tensor:
    """300 images with a flat bar and 100 with an upright one, all with a little noise."""
    random = torch.Generator().manual_seed(0)
    images = 0.02 * torch.randn(400, *SHAPE, generator=random)
    images[:300, 0, 13:15, 4:24] += 0.9
    images[300:, 0, 4:24, 13:15] += 0.9
    return images


@pytest.fixture(params=[False, True], ids=["normal", "uniform"])
def clusters(request: pytest.FixtureRequest) -> Clusters:
    found = Clusters(2, SHAPE, uniform=request.param)
    found.learn(found.describe(groups()), seed=0)
    return found


def test_each_group_is_a_cluster(clusters: Clusters) -> None:
    numbers = clusters.of_images(groups())
    assert len(numbers[:300].unique()) == len(numbers[300:].unique()) == 1
    assert numbers[0] != numbers[-1]


def test_a_cluster_need_not_be_round() -> None:
    """Bars at all angles but for two gaps: k-means would cut across them, neighbours do not."""
    random = torch.Generator().manual_seed(0)
    share = torch.rand(600, generator=random)
    long = torch.arange(600) < 450  # 30 to 150 degrees, the others 165 to 195
    angles = torch.where(long, 30 + 120 * share, 165 + 30 * share) * torch.pi / 180
    places = torch.arange(28) - 13.5
    distance = places[:, None] * angles.cos()[:, None, None] - places * angles.sin()[:, None, None]
    images = (2 - distance.abs()).clamp(0, 1)[:, None]
    found = Clusters(2, SHAPE, uniform=False)
    found.learn(found.describe(images), seed=0)
    numbers = found.of_images(images)
    assert len(numbers[:450].unique()) == len(numbers[450:].unique()) == 1
    assert numbers[0] != numbers[-1]


def test_a_cluster_is_drawn_as_often_as_it_occurs(clusters: Clusters) -> None:
    random = torch.Generator().manual_seed(1)
    draw = torch.rand if clusters.uniform else torch.randn
    drawn = clusters.of_noise(draw(40_000, generator=random))
    flat = int(clusters.of_images(groups()[:1]))
    share = (drawn == flat).double().mean().item()
    assert share == pytest.approx(0.75, abs=0.01)  # 4.6 standard deviations


def test_vectors_name_the_cluster(clusters: Clusters) -> None:
    noise = torch.linspace(0.01, 0.99, 9)
    vectors = clusters.one_hot(noise)
    assert vectors.shape == (9, 2)
    assert torch.equal(vectors.argmax(dim=1), clusters.of_noise(noise))
    assert torch.equal(vectors.sum(dim=1), torch.ones(9))


def test_descriptions_are_strengths_of_directions() -> None:
    ramp = torch.arange(28.0).expand(1, 1, 28, 28) / 28  # brighter to the right
    found = Clusters(2, SHAPE, False)
    cells = found.describe(ramp).view(8, 7, 7)[:, 1:-1, 1:-1]
    right, diagonal = cells[0], cells[1]
    torch.testing.assert_close(diagonal / right, torch.full((5, 5), 0.5))  # cos(45 degrees) squared
    torch.testing.assert_close(cells[2:7], torch.zeros(5, 5, 5))
    torch.testing.assert_close(found.describe(ramp).norm(), torch.tensor(1.0))
    torch.testing.assert_close(
        found.describe(ramp), found.describe(ramp * 0.3), rtol=1e-3, atol=1e-4
    )
    assert not found.describe(torch.zeros(1, *SHAPE)).any()
    assert Clusters(2, (3, 16, 56), False).centres.shape == (1000, 3 * 8 * 4 * 14)


@pytest.mark.parametrize(
    ("count", "images"), [(8, torch.rand(5, 392)), (2, torch.ones(9, 392))], ids=["few", "equal"]
)
def test_fewer_images_than_clusters_are_refused(count: int, images: torch.Tensor) -> None:
    message = rf"model\.clusters is {count}, and there are \d different training images"
    with pytest.raises(UserError, match=message):
        Clusters(count, SHAPE, uniform=False).learn(images, seed=0)


@pytest.mark.parametrize("count", [1, 5])
def test_as_many_clusters_as_images_or_one(count: int) -> None:
    found = Clusters(count, SHAPE, uniform=False)
    images = groups()[:5]
    found.learn(found.describe(images), seed=0)
    assert len(found.of_images(images).unique()) == count


def test_clusters_of_an_earlier_version_are_refused() -> None:
    earlier = {"centres": torch.zeros(2, 196), "limits": torch.zeros(1)}
    with pytest.raises(UserError, match="use the version that trained the run"):
        Clusters(2, SHAPE, uniform=False).load_state_dict(earlier)
