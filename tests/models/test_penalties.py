"""Gradient penalties of discriminators whose gradient is known."""

import pytest
import torch
from torch import Tensor

from models.gan.penalties import Penalties, squared_slope

WEIGHT = torch.tensor([3.0, 4.0]).view(1, 1, 2)  # a slope of 5
REAL, FAKE = torch.rand(6, 1, 1, 2), torch.rand(6, 1, 1, 2)


def linear(images: Tensor, labels: Tensor | None = None) -> Tensor:
    return (WEIGHT.to(images.dtype) * images).sum(dim=(1, 2, 3))


def test_the_slope_of_a_linear_discriminator():
    images = REAL.clone().requires_grad_()
    torch.testing.assert_close(squared_slope(linear(images), images), torch.tensor(25.0))


@pytest.mark.parametrize(
    ("penalties", "step", "expected"),
    [
        (Penalties(2.0, 0.0, 1), 5, 25.0),
        (Penalties(0.0, 2.0, 1), 5, 25.0),
        (Penalties(2.0, 4.0, 8), 16, 8 * 75.0),  # lazy: as much in the mean
        (Penalties(2.0, 4.0, 8), 15, 0.0),
    ],
)
def test_penalties_are_weighted_and_due(penalties, step, expected):
    found = penalties.due(linear, (REAL, None), (FAKE, None), step)
    torch.testing.assert_close(torch.as_tensor(found), torch.tensor(expected))


def test_r1_is_of_real_and_r2_of_generated_images():
    """A discriminator that is flat at 0 and has a slope of 2 at 1."""

    def square(images: Tensor, labels: Tensor | None) -> Tensor:
        return images.square().sum(dim=(1, 2, 3))

    ones, zeros = torch.ones(3, 1, 1, 1), torch.zeros(3, 1, 1, 1)
    for weights, expected in (((2.0, 0.0), 4.0), ((0.0, 2.0), 0.0)):
        found = Penalties(*weights, 1).due(square, (ones, None), (zeros, None), 0)
        torch.testing.assert_close(torch.as_tensor(found), torch.tensor(expected))


def test_the_gradient_of_a_penalty_reaches_the_weights_in_bf16():
    """A double backward through a network of this project, as mixed precision runs it."""
    from models.gan.discriminator import PlainDiscriminator
    from models.gan.networks import ModernTrunk, count_features

    torch.manual_seed(0)
    trunk = ModernTrunk((1, 16, 16), width=4, minibatch_std=True)
    discriminator = PlainDiscriminator(trunk, count_features(trunk, (1, 16, 16)), None)
    images = torch.rand(8, 1, 16, 16)
    gradients = []
    for low in (False, True):
        discriminator.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            penalties = Penalties(1.0, 1.0, 1)
            torch.manual_seed(1)
            loss = penalties.due(
                discriminator.compute_realness, (images, None), (images.flip(0), None), 0
            )
            assert isinstance(loss, Tensor)
            loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in discriminator.trunk.parameters()]))
    exact, rounded = gradients
    assert exact.norm() > 1e-3
    assert (exact - rounded).norm() < 0.1 * exact.norm()
