"""The contract of generative models, fulfilled by a model that is no GAN."""

import pytest
import torch

from models import ConditionalGAN, IrisMLP
from models.generative import Generative, LatentBatch, to_pixels
from models.sampling import LatentBatches, generate
from tests.conftest import ROOT
from tests.models.gans import small
from tests.models.own_autoencoder import Autoencoder
from tests.test_cli import run

SHAPE = (1, 28, 28)


def test_an_own_model_trains_draws_a_grid_and_resumes(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    common = [
        "--model=tests.models.own_autoencoder.Autoencoder", "--model.hidden=8", "--data=Images",
        "--data.dataset=digits", "--quality.samples=100", "--samples.min_steps=0",
        "--checkpoint.min_steps=0", f"--trainer.default_root_dir={tmp_path}",
    ]  # fmt: skip
    run("fit", *common, "--experiment=own", "--trainer.max_steps=2")
    (folder,) = (tmp_path / "own").iterdir()
    assert (folder / "figures" / "samples.png").is_file()
    run("fit", *common, f"--ckpt_path={folder}", "--trainer.max_steps=4")
    files = [*folder.glob("checkpoints/*.ckpt")]
    assert max(torch.load(file, weights_only=True)["global_step"] for file in files) == 4


def test_the_base_draws_and_samples():
    model = Autoencoder(SHAPE, latent_dim=3)
    assert isinstance(model, Generative)
    assert not isinstance(IrisMLP(), Generative)
    latents, labels = model.sample_grid()
    assert (latents.shape, labels, model.grid_rows) == ((25, 3), None, 5)
    images = generate(model, latents, batch_size=7)
    assert images.shape == (25, *SHAPE)
    assert to_pixels(images).dtype == torch.uint8
    offers = model.realness(images), model.path(latents), model.directions(images, images)
    assert (*offers, model.cluster_limits, model.encodes) == (None, None, None, None, False)


def test_predictions_have_the_probability_that_an_image_is_real():
    model, places = small().eval(), torch.tensor([7, 3])
    with torch.no_grad():
        model.discriminator.realness.bias.fill_(3.0)
        found = model.predict_step(LatentBatch(torch.randn(2, 4), None, places), 0)
        logits = model.realness(found["images"] / 255)
    torch.testing.assert_close(found["scores"], 1 / (1 + (-logits).exp()), rtol=0, atol=1e-3)
    assert torch.equal(found["index"], places)


def test_pixels_are_rounded_and_stay_in_their_range():
    assert to_pixels(torch.tensor([-1.0, 0.0, 0.1, 0.999, 1.0, 2.0])).tolist() == [
        0,
        0,
        26,
        255,
        255,
        255,
    ]


def test_the_grid_has_a_row_for_each_class_and_a_column_for_each_latent():
    latents, labels = small(ConditionalGAN).sample_grid()
    latents = latents.unflatten(0, (10, 10))
    assert (latents == latents[:1]).all()
    assert (latents[0, 0] != latents[0, 1]).all()
    assert labels.tolist() == [digit for digit in range(10) for _ in range(10)]


@pytest.mark.parametrize("world_size", [1, 2, 4])  # for three blocks
def test_an_image_does_not_depend_on_the_processes_that_draw(world_size):
    model = small(ConditionalGAN)
    assert len([*LatentBatches(model, 1200)]) == len(LatentBatches(model, 1200))
    whole = {
        int(i): z
        for d in LatentBatches(model, 1200)
        for i, z in zip(d.indices, d.latents, strict=True)
    }
    parts = [
        d
        for r in range(world_size)
        for d in LatentBatches(model, 1200, rank=r, world_size=world_size)
    ]
    assert sorted(int(i) for d in parts for i in d.indices) == list(range(1200))
    for draw in parts:
        assert torch.equal(draw.latents, torch.stack([whole[int(i)] for i in draw.indices]))
        assert torch.equal(draw.labels, draw.indices % 10)


def test_a_sample_has_its_own_label_in_blocks_of_any_size():
    model, labels = small(ConditionalGAN), torch.arange(10)
    latents = torch.randn(10, 4)
    torch.testing.assert_close(
        generate(model, latents, labels, 3), generate(model, latents, labels)
    )


def test_latents_are_normal_or_uniform():
    random = torch.Generator().manual_seed(0)
    normal, uniform = (
        small(latent=kind).draw_latents(500, random)[0] for kind in ("gaussian", "uniform")
    )
    assert normal.mean().abs() < 0.1
    assert normal.std().item() == pytest.approx(1, abs=0.05)
    assert 0 <= uniform.min() < uniform.max() < 1
    assert uniform.std().item() == pytest.approx(12**-0.5, abs=0.02)


@pytest.mark.parametrize("classes", [None, [2, 0, 1]])
def test_a_later_draw_continues_with_other_latents_and_the_next_classes(classes):
    model = small(ConditionalGAN, num_classes=3)
    first, second, rest = LatentBatches(model, 1100, classes=classes)
    assert not torch.equal(first.latents, second.latents)
    turns = torch.tensor(classes or [0, 1, 2])
    for draw in (first, second, rest):
        assert torch.equal(draw.labels, turns[draw.indices % 3])


def test_classes_beside_values_are_vectors_as_long_as_these():
    model, values = small(ConditionalGAN, num_classes=3), torch.zeros(3, 16)
    classes = model.append_class_vectors(values, torch.tensor([2, 0, 1]))[:, 16:]
    assert torch.equal(classes, 4 * torch.eye(3)[[2, 0, 1]])
    mixed = model.append_class_vectors(values, torch.full((3, 3), 0.5))[:, 16:]
    assert torch.equal(mixed, torch.full((3, 3), 2.0))
    assert model.append_class_vectors(values, None) is values
