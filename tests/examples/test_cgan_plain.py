"""The page of plain PyTorch has the losses of `configs/lecture/cgan.yaml`."""

from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningArgumentParser
from torch import nn

from examples import cgan_plain
from models import ConditionalGAN
from tests.conftest import ROOT

COUNT = 4


@pytest.fixture(scope="module")
def pair():
    """The model of the config, and the page's networks with its weights, in float64."""
    config = yaml.safe_load((ROOT / "configs" / "lecture" / "cgan.yaml").read_text())["model"]
    config["init_args"] |= {"image_shape": [1, 28, 28], "num_classes": 10}
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(ConditionalGAN, "model", subclass_mode=True)
    model: Any = parser.instantiate(parser.parse_object({"model": config})).model.double()
    plain = cgan_plain.make_generator().double(), cgan_plain.make_discriminator().double()
    for ours, theirs in zip((model.generator, model.discriminator), plain, strict=True):
        for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert mine.shape == its.shape
            its.data.copy_(mine)
    for network in (model.discriminator, plain[1]):
        next(part for part in network.modules() if isinstance(part, nn.Dropout)).p = 0.0
    return model, *plain


def test_both_losses_and_their_gradients_are_the_configs(pair):
    model, generate, discriminate = pair
    torch.manual_seed(0)
    images, digits = torch.rand(COUNT, 1, 28, 28).double(), torch.tensor([3, 1, 4, 1])
    latents, wanted = torch.rand(COUNT, 100).double(), torch.tensor([5, 9, 2, 6])
    inputs = cgan_plain.generator_inputs(latents, wanted)
    assert torch.equal(inputs, model.generator_input(latents, wanted))

    ours, _ = model.discriminator.discriminator_loss(
        (images, digits), (model.generator.eval()(inputs).detach(), wanted)
    )
    theirs = cgan_plain.discriminator_loss(generate, discriminate, images, digits, inputs)
    compare(ours, theirs, model.discriminator, discriminate)
    fake = model.generator.train()(inputs), wanted
    ours, _ = model.discriminator.generator_loss(fake, (images, digits))
    theirs = cgan_plain.generator_loss(generate, discriminate, inputs, wanted)
    compare(ours, theirs, model.generator, generate)


def compare(ours: torch.Tensor, theirs: torch.Tensor, mine: nn.Module, its: nn.Module) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    gradients = (
        torch.autograd.grad(loss, [*network.parameters()])
        for loss, network in ((ours, mine), (theirs, its))
    )
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_the_optimizer_and_the_settings_are_the_configs(pair):
    model, generate, _ = pair
    (expected,) = model.factories["generator"](model.generator.parameters()).param_groups
    (found,) = cgan_plain.make_optimizer(generate).param_groups
    assert all(found[name] == expected[name] for name in ("lr", "momentum", "nesterov"))
    assert (model.latent_dim, model.latent, model.pretrain_epochs) == (100, "uniform", 5)


def test_the_page_trains_and_draws_a_grid(tmp_path, monkeypatch):
    monkeypatch.setattr(cgan_plain, "BATCH_SIZE", 2)
    images = torch.randint(256, (2, 28, 28), dtype=torch.uint8)
    generate = cgan_plain.train(images, torch.tensor([1, 2]), 1, 1, tmp_path)
    assert all(p.isfinite().all() for p in generate.parameters())
    assert len(list(tmp_path.glob("*.png"))) == 2
