"""The variational autoencoder: its ELBO in closed form, its encoder and decoder."""

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from models import VariationalAutoencoder
from models.autoencoder import kl
from models.averaging import Averaging
from models.sampling import sample


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
    model = VariationalAutoencoder((1, 16, 16), latent_dim=4, average=Averaging(0.9))
    for weights in model.network["decoder"].parameters():
        torch.nn.init.zeros_(weights)
    latents = torch.randn(2, 4)
    assert torch.equal(sample(model.train(), latents), sample(model.eval(), latents))
    assert not torch.equal(sample(model, latents), torch.full((2, 1, 16, 16), 0.5))


def test_images_are_within_their_range():
    model = VariationalAutoencoder((1, 16, 16), latent_dim=4, likelihood="gaussian").eval()
    images = model(1000 * torch.randn(8, 4))
    assert (images.min(), images.max()) == (0, 1)


def test_free_nats_cost_nothing():
    batch = torch.rand(8, 1, 16, 16), torch.zeros(8)
    losses = {}
    for free in (0.0, 100.0):
        torch.manual_seed(0)
        model = VariationalAutoencoder((1, 16, 16), latent_dim=4, free_nats=free)
        model.log_means = losses.setdefault(free, {}).update
        model.count_examples = lambda count: None
        losses[free]["cost"] = model.training_step(batch, 0)
    assert losses[0.0]["cost"].item() == pytest.approx(-losses[0.0]["elbo"].item(), rel=1e-5)
    expected = losses[100.0]["reconstruction"] + 4 * 100.0
    assert losses[100.0]["cost"].item() == pytest.approx(expected.item(), rel=1e-5)
