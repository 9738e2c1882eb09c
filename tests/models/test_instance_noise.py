"""The noise on what the discriminator sees."""

import pytest
import torch

from models import InstanceNoise


def test_noise_falls_to_zero_and_lets_gradients_through():
    view = InstanceNoise(noise=0.5, noise_steps=100)
    assert [view.deviation(step) for step in (0, 50, 100, 200)] == [0.5, 0.25, 0, 0]
    assert InstanceNoise(noise=0.5).deviation(10**6) == 0.5
    torch.manual_seed(0)
    images = torch.zeros(100, 1, 10, 10, requires_grad=True)
    noisy = view(images, 50)
    assert noisy.std().item() == pytest.approx(0.25, rel=0.05)
    (gradient,) = torch.autograd.grad(noisy.sum(), images)
    assert torch.equal(gradient, torch.ones_like(images))
