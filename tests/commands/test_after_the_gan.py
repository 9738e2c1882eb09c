"""Flow and autoencoder as a user meets them: their own pictures and options."""

import pytest
from PIL import Image

import ladder
from runtime.errors import UserError
from tests.commands.runs import train

SMALL_FLOW = [
    "--model.network=UNet",
    "--model.network.widths=[4,8]",
    "--model.network.blocks=[1,1]",
]
SMALL_VAE = ["--model.encoder.width=2", "--model.decoder.width=2", "--model.latent_dim=2"]


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs"), "Flow", *SMALL_FLOW, "--model.steps=2")


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return train(
        tmp_path_factory.mktemp("runs"),
        "VariationalAutoencoder",
        *SMALL_VAE,
        "--model.conditional=false",
    )


def test_the_steps_of_a_flow_can_be_chosen_and_filmed(flow, tmp_path):
    drawn = ladder.sample(flow, 10, steps=3, gif=True, out=tmp_path)
    film = Image.open(tmp_path / "path.gif")
    assert film.n_frames == 4
    film.seek(3)
    assert film.size == (5 * 60 + 4, 2 * 60 + 4)
    as_trained = ladder.sample_images(ladder.load(flow), 10)
    assert (drawn.images != as_trained.images).any()


def test_steps_of_a_generator_are_refused(cgan):
    with pytest.raises(UserError, match="--steps is for flows, and ConditionalGAN draws at once"):
        ladder.sample(cgan, steps=3)


def test_an_autoencoder_shows_what_its_latents_hold(vae):
    figures = vae / "figures"
    assert Image.open(figures / "reconstructions.png").size == (10 * 60 + 4, 4 * 60 + 4)
    assert Image.open(figures / "paths.png").size == (10 * 60 + 4, 5 * 60 + 4)
    wide = Image.open(figures / "plane.png")
    assert wide.width > 1.8 * wide.height


def test_the_plane_needs_a_latent_of_two_numbers(vae, cgan, tmp_path):
    assert ladder.sample(vae, 4, plane=True, out=tmp_path).labels is None
    plane = Image.open(tmp_path / "plane.png")
    assert abs(plane.width - plane.height) < 0.1 * plane.width
    with pytest.raises(UserError, match=r"this model's has \d+: train with --model.latent_dim 2"):
        ladder.sample(cgan, 4, plane=True, out=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
