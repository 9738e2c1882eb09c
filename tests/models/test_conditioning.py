"""Two ways to tell a generator the class."""

import pytest
import torch
from torch import nn

from models import ConditionalGAN
from models.averaging import Averaging
from models.gan.conditional import EmbeddedClass
from tests.models.gans import SHAPE, fit, same, small, state


def test_an_embedding_is_the_classes_vector_beside_the_latents() -> None:
    network = EmbeddedClass(nn.Identity(), num_classes=3, embedding_dim=2)
    latents, classes = torch.randn(3, 4), torch.eye(3)
    found = network(torch.cat([latents, classes], dim=1))
    assert torch.equal(found, torch.cat([latents, network.embedding.weight.T], dim=1))


@pytest.mark.parametrize("conditioning", ["one_hot", "embedding"])
def test_the_class_changes_what_is_drawn(conditioning: str) -> None:
    model = small(ConditionalGAN, conditioning=conditioning, average=Averaging(0.5))
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
