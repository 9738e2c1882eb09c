"""The parts that conditioning adds to a GAN."""

from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback
from torch import Tensor

from models import ConditionalGAN
from models.training import Averaging, MovingAverage
from tests.models.gans import SHAPE, fit, same, small, state


def test_the_class_enters_one_hot_beside_the_noise():
    model = small(ConditionalGAN, num_classes=3)
    latents = torch.randn(2, 4)
    inputs = model.generator_input(latents, torch.tensor([2, 0]))
    torch.testing.assert_close(inputs, torch.cat([latents, torch.eye(3)[[2, 0]]], dim=1))


class Epochs(Callback):
    """The generator's weights at the end of each epoch, and what was said before each."""

    def __init__(self, said: Callable[[], str]) -> None:
        self.generators: list[list[Tensor]] = []
        self.said, self.before = said, list[int]()

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.before.append(self.said().count("Pre-trained discriminator: Loss="))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.generators.append([p.detach().clone() for p in pl_module.generator.parameters()])


def test_pretraining_leaves_the_generator_untrained(capsys):
    model = small(ConditionalGAN, pretrain_epochs=2)
    untrained = [p.detach().clone() for p in model.generator.parameters()]
    epochs = Epochs(lambda: capsys.readouterr().out)
    fit(model, epochs, max_steps=-1, max_epochs=3, limit_train_batches=2, limit_val_batches=1)
    assert [same(untrained, weights) for weights in epochs.generators] == [True, True, False]
    assert epochs.before == [0, 0, 1]
    assert "Pre-trained" not in capsys.readouterr().out


def test_the_average_counts_the_updates_of_the_generator_alone(monkeypatch):
    """Otherwise it would keep the untrained generator for long after pre-training."""
    steps: list[int] = []
    monkeypatch.setattr(MovingAverage, "update", lambda *args: steps.append(args[2]))
    model = small(ConditionalGAN, pretrain_epochs=2, average=Averaging(0.9), discriminator_steps=2)
    fit(model, max_steps=-1, max_epochs=4, limit_train_batches=4)
    assert steps == [0, 1, 2, 3]


def test_the_class_changes_what_is_drawn():
    model = small(ConditionalGAN, average=Averaging(0.5))
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


def test_both_networks_know_as_many_classes_as_the_data():
    model = small(ConditionalGAN, num_classes=3)
    head, (first, *_) = model.discriminator, model.generator.parameters()
    assert head.classes.out_features == len(head.embedding.weight) == 3
    assert first.shape[1] == model.latent_dim + 3
