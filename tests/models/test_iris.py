"""The iris network: the lecture's parameters, its noise, and what it reaches."""

import pytest
import torch
from lightning import seed_everything
from torch import nn

from datamodules import Iris
from models import IrisMLP
from models.iris import within_class_noise
from tests.models.classifiers import count_parameters, fit, trainer


def test_the_default_is_the_slides_network():
    model = IrisMLP()
    dense = [layer for layer in model.network if isinstance(layer, nn.Linear)]
    assert [count_parameters(layer) for layer in dense] == [640, 387]  # 5 * 128, 129 * 3
    assert count_parameters(model.network) == 1_027
    assert isinstance(model.network[2], nn.Sigmoid)


def test_noise_has_the_pooled_covariance_within_classes():
    torch.manual_seed(0)
    scales = torch.tensor([[1.0, 0.0], [2.0, 0.5]])  # inputs are correlated
    targets = torch.arange(3).repeat_interleave(200)
    inputs = torch.randn(600, 2) @ scales + 10.0 * targets[:, None]  # classes far apart
    noise = torch.cat([within_class_noise(inputs, targets) for _ in range(20)])
    within = inputs - torch.stack([inputs[targets == k].mean(dim=0) for k in range(3)])[targets]
    torch.testing.assert_close(noise.T.cov(), within.T @ within / 597, atol=0.02, rtol=0.05)
    assert noise.mean(dim=0).abs().max() < 0.05


def test_an_example_is_compared_with_others_of_its_class():
    inputs = torch.randn(200, 4)
    noise = within_class_noise(inputs, torch.arange(200) // 2)
    assert noise.abs().amax(dim=1).min() > 0  # with the other of two, never with itself


def test_noise_of_a_class_is_given_to_examples_of_any():
    targets = torch.arange(40) % 2
    noise = within_class_noise(torch.randn(40, 4) * targets[:, None], targets)
    assert noise[targets == 0].abs().max() > 0  # whose own examples are equal


def test_variation_is_a_factor_of_the_noise():
    inputs, targets = torch.randn(30, 4), torch.arange(30) % 3
    torch.manual_seed(1)
    moved = IrisMLP(variation=0.25).augment(inputs, targets) - inputs
    torch.manual_seed(1)
    IrisMLP()  # draws its weights, as the other did
    torch.testing.assert_close(moved, 0.25 * within_class_noise(inputs, targets))
    assert torch.equal(IrisMLP().augment(inputs, targets), inputs)


def test_an_example_alone_of_its_class_gives_no_noise():
    noise = within_class_noise(torch.randn(3, 4), torch.tensor([0, 1, 2]))
    assert torch.equal(noise, torch.zeros(3, 4))


@pytest.mark.slow
def test_it_learns_the_lectures_split():
    seed_everything(0, verbose=False)
    model, data = IrisMLP(initialization="glorot"), Iris(batch_size=1, standardize=False)
    fit(model, data, max_epochs=30)
    (result,) = trainer().test(model, datamodule=data, verbose=False)
    assert result["test/accuracy"] >= 28 / 30
    assert result["test/loss"] < 0.2
