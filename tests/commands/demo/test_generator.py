"""`demo` draws what `sample` draws, and moves from one image to another."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ladder
from commands.demo import generator
from commands.demo.generator import (
    SLIDERS,
    Wish,
    draw,
    inputs_of,
    latents_of,
    moved,
    slider_range,
    slider_values,
)
from commands.demo.models import Trained, TrainingImages
from datamodules.frame import Frame
from models import GAN, ConditionalGAN
from tests.models.gans import SHAPE, small

ENDS = torch.tensor([0.0, 1.0])
ABSENT = TrainingImages(None, "They are gone.")


@pytest.fixture
def gan() -> ConditionalGAN:
    return small(ConditionalGAN, latent_dim=12).eval()


def as_trained(model: GAN) -> Trained:
    return Trained("run", Path(), model, Frame(SHAPE, 255.0))


def test_sliders_replace_the_first_latents() -> None:
    latents = torch.arange(12.0)[None]
    assert moved(latents, [9.0, 8.0]).tolist() == [[9, 8, *range(2, 12)]]
    assert torch.equal(moved(latents, []), latents)
    assert moved(latents[:, :3], [9.0] * SLIDERS).tolist() == [[9, 9, 9]]


def test_sliders_begin_at_the_seed(gan: ConditionalGAN) -> None:
    values = slider_values(gan, 3)
    assert values == pytest.approx(latents_of(gan, 3)[0, :SLIDERS].tolist(), abs=0.005)
    assert slider_values(small(GAN, latent_dim=2), 3)[2:] == [0.0] * 6
    assert slider_range(gan) == (-3, 3)
    assert slider_range(small(GAN, latent="uniform")) == (0, 1)


def test_an_image_is_the_one_that_sample_draws(
    gan: ConditionalGAN, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "training_images", lambda one: ABSENT)
    monkeypatch.setattr(ladder, "choose_precision", lambda device: ("32-true", ""))
    shown = draw(as_trained(gan), Wish(seed=5, label=7))
    expected = ladder.sample(gan, 1, [7], seed=5).images[0]
    assert np.array_equal(np.asarray(shown.image)[::12, ::12], expected)
    assert 0 < shown.score < 1
    assert (shown.neighbors, shown.missing) == (None, "They are gone.")
    assert [t.get_text() for t in shown.path.axes[0].texts] == [f"P {shown.score:.2f}"] * 10


def test_a_path_ends_at_the_other_seed_and_class(gan: ConditionalGAN) -> None:
    latents, mixtures = inputs_of(gan, Wish(1, (), 2, 6, 8), ENDS)
    assert torch.allclose(latents[0], latents_of(gan, 1)[0], atol=1e-5)
    assert torch.allclose(latents[1], latents_of(gan, 6)[0], atol=1e-5)
    assert mixtures is not None
    assert mixtures.nonzero().tolist() == [[0, 2], [1, 8]]


def test_the_same_seed_stays(gan: ConditionalGAN) -> None:
    latents, mixtures = inputs_of(gan, Wish(1, (), 2, 1, None), ENDS)
    assert torch.allclose(latents, latents_of(gan, 1).expand(2, -1))
    assert mixtures is not None
    assert mixtures.argmax(dim=1).tolist() == [2, 2]


def test_a_gan_without_classes_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "training_images", lambda one: ABSENT)
    shown = draw(as_trained(small(GAN).eval()), Wish(0, other_seed=1), 0.5)
    assert isinstance(shown.image, Image.Image)


def test_the_nearest_training_image_of_a_training_image_is_itself(
    gan: ConditionalGAN, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = Wish(seed=5, label=7)
    monkeypatch.setattr(generator, "training_images", lambda one: ABSENT)
    drawn = torch.from_numpy(np.array(draw(as_trained(gan), wish).image)[::12, ::12])[None, None]
    others = torch.randint(256, (9, *SHAPE), dtype=torch.uint8)
    train = torch.cat([others, drawn])
    monkeypatch.setattr(generator, "training_images", lambda one: TrainingImages(train))
    shown = draw(as_trained(gan), wish)
    assert shown.neighbors is not None
    titles = [text.get_text() for text in shown.neighbors.axes[0].texts]
    assert len(titles) == 5
    assert titles[0] == "0.0"
    assert float(titles[1]) > 1
