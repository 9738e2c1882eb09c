"""Clusters of images whose groups are known."""

import pytest
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from models.clusters import Clusters

SHAPE = (1, 28, 28)


def groups() -> torch.Tensor:
    """300 dark images and 100 bright ones, each with a little noise."""
    level = torch.cat([torch.full((300,), 0.1), torch.full((100,), 0.9)])
    random = torch.Generator().manual_seed(0)
    return level[:, None, None, None] + 0.02 * torch.randn(400, *SHAPE, generator=random)


@pytest.fixture(params=[False, True], ids=["normal", "uniform"])
def clusters(request: pytest.FixtureRequest) -> Clusters:
    found = Clusters(2, SHAPE, uniform=request.param)
    found.learn(found.small_copies(groups()), seed=0)
    return found


def test_each_group_is_a_cluster(clusters: Clusters) -> None:
    numbers = clusters.of_images(groups())
    assert len(numbers[:300].unique()) == len(numbers[300:].unique()) == 1
    assert numbers[0] != numbers[-1]
    levels = clusters.centres.mean(dim=1).sort().values
    torch.testing.assert_close(levels, torch.tensor([0.1, 0.9]), rtol=0, atol=0.01)


def test_a_cluster_is_drawn_as_often_as_it_occurs(clusters: Clusters) -> None:
    random = torch.Generator().manual_seed(1)
    draw = torch.rand if clusters.uniform else torch.randn
    drawn = clusters.of_noise(draw(40_000, generator=random))
    dark = int(clusters.of_images(groups()[:1]))
    share = (drawn == dark).double().mean().item()
    assert share == pytest.approx(0.75, abs=0.01)  # 4.6 standard deviations


def test_vectors_name_the_cluster(clusters: Clusters) -> None:
    noise = torch.linspace(0.01, 0.99, 9)
    vectors = clusters.one_hot(noise)
    assert vectors.shape == (9, 2)
    assert torch.equal(vectors.argmax(dim=1), clusters.of_noise(noise))
    assert torch.equal(vectors.sum(dim=1), torch.ones(9))


def test_copies_are_means_of_squares() -> None:
    images = torch.arange(2 * 56 * 28, dtype=torch.float32).view(1, 2, 56, 28)
    copies = Clusters(2, (2, 56, 28), False).small_copies(images).view(2, 28, 14)
    assert copies[1, 3, 5] == images[0, 1, 6:8, 10:12].mean()
    assert Clusters(2, (1, 16, 16), False).centres.shape == (2, 256)


def test_fewer_images_than_clusters_are_refused() -> None:
    with pytest.raises(MisconfigurationException, match=r"model\.clusters is 8, and there are 5"):
        Clusters(8, SHAPE, uniform=False).learn(torch.rand(5, 196), seed=0)
