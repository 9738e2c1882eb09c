"""A GAN that finds its classes itself: they come from the images, not from the labels."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer

from models import SelfConditionedGAN
from models.gan.self_conditioned import Clusters
from runtime.errors import UserError
from tests.models.gans import SHAPE, fit, same, small, state


class OtherLabels(Callback):
    """Replaces the labels of each batch by zeros."""

    def on_train_batch_start(
        self, trainer: Trainer, model: Any, batch: Any, batch_idx: int
    ) -> None:
        batch[1].zero_()


def self_conditioned(**options: Any) -> SelfConditionedGAN:
    return small(SelfConditionedGAN, **({"clusters": 6} | options))


def test_labels_are_not_used():
    ours, other = self_conditioned(), self_conditioned()
    fit(ours)
    fit(other, OtherLabels())
    assert same(state(ours), state(other))


def test_a_new_run_finds_clusters_and_a_continued_one_keeps_them():
    model = self_conditioned()
    fit(model)
    learned = model.clusters.centres.clone()
    assert learned.std(dim=0).max() > 0.01

    class Continue(Callback):
        """Begins at a step that is not the first, like a continued run."""

        def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
            trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total.completed = 1

    model.clusters.centres.zero_()
    fit(model, Continue())
    assert not model.clusters.centres.any()
    fit(model)
    assert torch.equal(model.clusters.centres, learned)


def groups() -> torch.Tensor:
    """300 images with a flat bar and 100 with an upright one, all with a little noise."""
    random = torch.Generator().manual_seed(0)
    images = 0.02 * torch.randn(400, *SHAPE, generator=random)
    images[:300, 0, 13:15, 4:24] += 0.9
    images[300:, 0, 4:24, 13:15] += 0.9
    return images


@pytest.fixture(params=[False, True], ids=["normal", "uniform"])
def clusters(request):
    found = Clusters(2, SHAPE, uniform=request.param)
    found.learn(found.describe(groups()), seed=0)
    return found


def test_each_group_is_a_cluster(clusters):
    numbers = clusters.of_images(groups())
    assert len(numbers[:300].unique()) == len(numbers[300:].unique()) == 1
    assert numbers[0] != numbers[-1]


def test_the_nearest_center_is_found_in_full_precision(clusters):
    clusters.cluster_of_centre = torch.arange(len(clusters.centres))
    expected = torch.cdist(clusters.describe(groups()), clusters.centres[:400]).argmin(dim=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(clusters.of_images(groups()), expected)


def test_neither_brightness_nor_contrast_counts(clusters):
    images = groups()
    same_edges = clusters.describe(0.5 * images + 0.2)
    torch.testing.assert_close(same_edges, clusters.describe(images), atol=0.01, rtol=0)


def test_a_cluster_need_not_be_round():
    """Bars at all angles but for two gaps: k-means would cut across them, neighbors do not."""
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


def test_a_cluster_is_drawn_as_often_as_it_occurs(clusters):
    random = torch.Generator().manual_seed(1)
    draw = torch.rand if clusters.uniform else torch.randn
    drawn = clusters.of_noise(draw(40_000, generator=random))
    flat = int(clusters.of_images(groups()[:1]))
    share = (drawn == flat).double().mean().item()
    assert share == pytest.approx(0.75, abs=0.01)  # 4.6 standard deviations


def test_ranges_end_where_the_shares_of_the_clusters_do():
    found = [Clusters(4, SHAPE, uniform) for uniform in (True, False)]
    for clusters in found:
        clusters.limits.copy_(clusters._limits(torch.tensor([10, 50, 20, 20])))
    ends = torch.tensor([0.1, 0.6, 0.8])
    torch.testing.assert_close(found[0].limits, ends)
    torch.testing.assert_close(torch.distributions.Normal(0, 1).cdf(found[1].limits), ends)
    numbers = torch.tensor([0.0, 0.1, 0.5999, 0.6, 0.9])
    assert found[0].of_noise(numbers).tolist() == [0, 1, 1, 2, 3]


def test_clusters_of_noise_are_vectors_on_its_device():
    clusters = Clusters(3, SHAPE, uniform=True)
    assert torch.equal(clusters.one_hot(torch.tensor([0.1, 0.5, 0.9])), torch.eye(3))
    noise = torch.empty(3, device="meta")  # as on a GPU
    assert clusters.to("meta").one_hot(noise).device == noise.device


def test_both_networks_are_told_the_cluster_of_the_last_number():
    model: Any = self_conditioned()
    latents = torch.randn(50, 4)
    clusters = model.clusters.of_noise(latents[:, 3])
    assert len(clusters.unique()) == 6
    expected = torch.cat([latents[:, :3], torch.eye(6)[clusters]], dim=1)
    assert torch.equal(model.generator_input(latents, None), expected)
    model._trainer = SimpleNamespace(world_size=1, global_rank=0)
    latents, told = model.local_latents(50, torch.Generator().manual_seed(0))
    assert torch.equal(told, model.clusters.of_noise(latents[:, 3]))


def test_large_images_are_described_at_the_size_of_small_ones():
    images = groups()[:5]
    large = images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    found = Clusters(2, (1, 56, 56), uniform=False).describe(large)
    torch.testing.assert_close(found, Clusters(2, SHAPE, uniform=False).describe(images))


def test_as_many_images_as_clusters_are_enough():
    images = torch.rand(5, *SHAPE)
    found = Clusters(5, SHAPE, uniform=False)
    found.learn(found.describe(images), seed=0)
    assert sorted(found.of_images(images)) == [*range(5)]


@pytest.mark.parametrize(
    ("count", "images"), [(8, torch.rand(5, 392)), (2, torch.ones(9, 392))], ids=["few", "equal"]
)
def test_fewer_images_than_clusters_are_refused(count, images):
    message = rf"model\.clusters is {count}, and there are \d different training images"
    with pytest.raises(UserError, match=message):
        Clusters(count, SHAPE, uniform=False).learn(images, seed=0)
