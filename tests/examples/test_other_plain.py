"""The pages of plain PyTorch have the losses of the flow and of the autoencoder."""

import pytest
import torch

from examples import cgan_plain, flow_plain, vae_plain
from models import Flow, VariationalAutoencoder

SHAPE, DIGITS = (1, 28, 28), torch.tensor([3, 1, 4, 1])


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.rand(4, *SHAPE).double()


def test_the_loss_and_the_images_of_the_flow(images):
    model = Flow(SHAPE, 10, lambda *_: flow_plain.Network(4), steps=flow_plain.STEPS,
                 solver="euler").double()  # fmt: skip
    noise, times = torch.randn_like(images), torch.rand(4).double()
    times[0] = 0.99  # where the loss divides by no less than 0.05
    expected = model.loss(images, DIGITS, noise, times)
    found = flow_plain.flow_loss(model.network, images, DIGITS, noise, times)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    model.ema = None
    drawn = flow_plain.generate(model.network, noise, DIGITS)
    torch.testing.assert_close(drawn, model(noise.flatten(1), DIGITS), rtol=0, atol=1e-6)


def test_both_terms_of_the_autoencoder(images):
    model = VariationalAutoencoder(
        SHAPE, 10, lambda _: vae_plain.make_encoder(), lambda *_: vae_plain.make_decoder(),
        latent_dim=vae_plain.LATENTS,
    ).double()  # fmt: skip
    page = vae_plain.Autoencoder().double()
    page.load_state_dict(model.network.state_dict())
    noise = torch.randn(4, vae_plain.LATENTS).double()
    likelihoods, divergences = model.elbo(images, DIGITS, noise)
    error, divergence = vae_plain.loss_terms(page, images, DIGITS, noise)
    torch.testing.assert_close(error, -likelihoods.mean(), rtol=0, atol=1e-6)
    torch.testing.assert_close(divergence, divergences.sum(dim=1).mean(), rtol=0, atol=1e-6)
    drawn = page.decode(noise, DIGITS)
    torch.testing.assert_close(drawn, model(noise, DIGITS), rtol=0, atol=1e-6)


@pytest.mark.parametrize("page", [flow_plain, vae_plain])
def test_a_page_trains_and_draws_a_grid(page, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "BATCH_SIZE", 2)
    monkeypatch.setattr(flow_plain, "STEPS", 2)
    pictures = torch.randint(256, (4, 28, 28), dtype=torch.uint8)
    network = page.train(pictures, torch.tensor([1, 2, 3, 4]), 2, tmp_path)
    assert all(p.isfinite().all() for p in network.parameters())
    assert len(list(tmp_path.glob("*.png"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("page", [cgan_plain, flow_plain, vae_plain])
def test_without_mnist_a_page_takes_small_digits(page, tmp_path, monkeypatch, capsys):
    def offline(*args: object, **options: object) -> None:
        raise RuntimeError("Error downloading train-images")

    monkeypatch.setattr(page, "MNIST", offline)
    pictures, digits = page.load_images(str(tmp_path))
    assert (pictures.dtype, tuple(pictures.shape)) == (torch.uint8, (1797, 28, 28))
    assert digits.unique().tolist() == list(range(10))
    assert "small digits instead" in capsys.readouterr().out
