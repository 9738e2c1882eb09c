"""The variational autoencoder: its ELBO in closed form, its encoder and decoder."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from models import VariationalAutoencoder
from models.autoencoder import _parts_of, kl
from models.sampling import generate
from models.training import EMAOptions
from tests.models.closed_form import assert_same, seeded, step


class Decoder(nn.Sequential):
    """Features -> images between 0 and 1, by one layer."""

    def __init__(self, size, shape):
        super().__init__(nn.Linear(size, math.prod(shape)), nn.Sigmoid(), nn.Unflatten(1, shape))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_a_training_step_is_the_evidence_lower_bound(likelihood):
    """With weight 0.7 on the KL divergence."""
    options = {"likelihood": likelihood, "sigma": 0.3, "beta": 0.7}
    model = VariationalAutoencoder(
        (1, 2, 3), 2, lambda shape: nn.Flatten(), Decoder, latent_dim=4, **options
    ).double()
    images, labels = torch.rand(5, 1, 2, 3).double(), torch.tensor([0, 1, 1, 0, 1])
    posterior, decoder = model.network["posterior"], model.network["decoder"][0]
    found = step(model, images, labels)

    with seeded():
        noise = torch.randn(5, 4)
    pixels, classes = images.flatten(1), torch.eye(2).double()[labels]
    known = torch.cat([pixels, 6**0.5 * classes], dim=1)  # as long as six pixels
    mean, log_variance = (known @ posterior.weight.T + posterior.bias).split(4, dim=1)
    deviation = log_variance.exp() ** 0.5
    latents = torch.cat([mean + deviation * noise, 4**0.5 * classes], dim=1)
    decoded = 1 / (1 + (-(latents @ decoder.weight.T + decoder.bias)).exp())
    if likelihood == "bernoulli":
        log = pixels * decoded.log() + (1 - pixels) * (1 - decoded).log()
    else:
        log = -((pixels - decoded) ** 2) / (2 * 0.3**2) - math.log(0.3 * (2 * math.pi) ** 0.5)
    divergence = (mean**2 + deviation**2 - 1 - 2 * deviation.log()) / 2
    expected = (0.7 * divergence.sum() - log.sum()) / 5
    assert_same(found, expected, model.network.parameters())


def test_the_kl_divergence_equals_its_closed_form():
    mean, log_variance = torch.randn(2, 50, 3, dtype=torch.float64)
    exact = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    assert torch.allclose(kl(mean, log_variance), exact)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_likelihoods_are_those_of_the_distributions(likelihood):
    model = VariationalAutoencoder((1, 16, 16), likelihood=likelihood, sigma=0.3)
    decoded, images = torch.rand(2, 4, 1, 16, 16) * 0.98 + 0.01
    kind = Bernoulli(decoded, validate_args=False) if likelihood == "bernoulli" else None
    exact = (kind or Normal(decoded, 0.3)).log_prob(images).flatten(1).sum(dim=1)
    assert torch.allclose(model.log_likelihood(decoded, images), exact, rtol=1e-4)


def test_a_conditional_one_tells_both_networks_the_class():
    model = VariationalAutoencoder((1, 16, 16), 3, latent_dim=5).eval()
    images, labels = torch.rand(2, 1, 16, 16), torch.tensor([0, 2])
    mean, log_variance = model.encode(images, labels)
    assert mean.shape == log_variance.shape == (2, 5)
    assert not torch.equal(model.encode(images, labels.flip(0))[0], mean)
    assert not torch.equal(model(mean, labels), model(mean, labels.flip(0)))
    assert model.reconstruct(images, labels).shape == images.shape


def test_samples_in_training_are_of_the_average():
    """So the grid at a run's end shows what `sample` draws."""
    model = VariationalAutoencoder((1, 16, 16), latent_dim=4, average=EMAOptions(0.9))
    for weights in model.network["decoder"].parameters():
        torch.nn.init.zeros_(weights)
    latents = torch.randn(2, 4)
    assert torch.equal(generate(model.train(), latents), generate(model.eval(), latents))
    assert not torch.equal(generate(model, latents), torch.full((2, 1, 16, 16), 0.5))


def test_images_are_within_their_range():
    model = VariationalAutoencoder((1, 16, 16), latent_dim=4, likelihood="gaussian").eval()
    images = model(1000 * torch.randn(8, 4))
    assert (images.min(), images.max()) == (0, 1)


def test_an_evaluation_is_of_the_average_with_the_same_noise_each_time():
    model = VariationalAutoencoder(
        (1, 2, 3), None, lambda shape: nn.Flatten(), Decoder, average=EMAOptions(0.9)
    ).eval()
    logged, batch = [], (torch.rand(5, 1, 2, 3), torch.zeros(5))
    model.log_means_of_examples = lambda values, count: logged.append(values)
    model.validation_step(batch, 0)
    nn.init.constant_(model.network["posterior"].weight, 9.0)
    model.validation_step(batch, 0)
    model.validation_step(batch, 1)
    first, again, other = (values["val/elbo"].item() for values in logged)
    assert first == again != other


def test_the_logged_bound_is_that_of_a_likelihood_less_the_divergence():
    parts = _parts_of(torch.tensor([-3.0, -5.0]), torch.tensor([[0.5, 1.0], [0.0, 0.5]]))
    assert parts == {"reconstruction": 4, "kl": 1, "elbo": -5}
