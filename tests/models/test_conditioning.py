"""Three ways to tell a generator the class."""

from functools import partial

import pytest
import torch
from models.conditioning import ConditionalBatchNorm2d, EmbeddedClass
from torch import nn

from models import ConditionalGAN
from models.gan.networks import LectureGenerator, ModernGenerator
from runtime.errors import UserError
from tests.models.gans import SHAPE, fit, same, small, state


def test_conditional_batch_norm_begins_as_batch_norm() -> None:
    features = torch.randn(6, 3, 4, 4)
    classes = torch.eye(2)[[0, 1, 0, 1, 0, 1]]
    found = ConditionalBatchNorm2d(3, 2)(features, classes)
    torch.testing.assert_close(found, nn.BatchNorm2d(3)(features))


def test_each_class_has_its_scale_and_shift() -> None:
    layer = ConditionalBatchNorm2d(1, 2).eval()  # no statistics yet: mean 0, variance 1
    with torch.no_grad():
        layer.scale.weight.copy_(torch.tensor([[2.0, 3.0]]))
        layer.shift.weight.copy_(torch.tensor([[10.0, 20.0]]))
    classes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    found = layer(torch.ones(3, 1, 1, 1), classes).flatten()
    torch.testing.assert_close(found, torch.tensor([12.0, 23.0, 17.5]), rtol=1e-4, atol=0)


def test_an_embedding_is_the_classes_vector_beside_the_latents() -> None:
    network = EmbeddedClass(nn.Identity(), num_classes=3, embedding_dim=2)
    latents, classes = torch.randn(3, 4), torch.eye(3)
    found = network(torch.cat([latents, classes], dim=1))
    assert torch.equal(found, torch.cat([latents, network.embedding.weight.T], dim=1))


@pytest.mark.parametrize("conditioning", ["one_hot", "embedding", "batch_norm"])
def test_the_class_changes_what_is_drawn(conditioning: str) -> None:
    model = small(ConditionalGAN, conditioning=conditioning, ema_decay=0.5)
    before = state(model)
    fit(model, max_steps=3)
    assert not same(before, state(model))
    model.eval()
    latents = torch.randn(2, model.latent_dim)
    zero, one = (model(latents, torch.full((2,), label)) for label in (0, 1))
    assert zero.shape == (2, *SHAPE)
    assert (zero - one).abs().max() > 1e-4
    mixed = model(latents, torch.eye(10)[[0, 1]] / 2 + torch.eye(10)[[1, 0]] / 2)
    assert torch.isfinite(mixed).all()


def test_batch_norm_needs_a_generator_that_has_it_by_class() -> None:
    with pytest.raises(UserError, match="choose that one, or another conditioning"):
        ConditionalGAN(SHAPE, 10, generator=LectureGenerator, conditioning="batch_norm")


def test_an_error_inside_a_generator_is_not_taken_for_a_missing_argument() -> None:
    def broken(input_dim: int, image_shape: object, num_classes: int) -> nn.Module:
        return ModernGenerator(*())  # type: ignore[call-arg]

    with pytest.raises(TypeError, match="input_dim"):
        ConditionalGAN(SHAPE, 10, generator=partial(broken), conditioning="batch_norm")
