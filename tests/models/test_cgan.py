"""The parts that conditioning adds to a GAN."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning import Callback, LightningDataModule
from torch import Tensor

from models import ConditionalGAN
from models.training import EMA, EMAOptions
from runtime.errors import UserError
from tests.datasets import Stripes
from tests.models.classifiers import fit as fit_with
from tests.models.classifiers import trainer
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


def test_a_moving_average_needs_no_length_of_an_epoch():
    model = small(ConditionalGAN, average=EMAOptions(decay=0.9))
    batch = torch.rand(2, *SHAPE), torch.tensor([0, 1])
    made = trainer(max_epochs=None, max_steps=2)
    made.fit(model, iter([batch] * 3))
    assert made.global_step == 2


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
    monkeypatch.setattr(EMA, "update", lambda *args: steps.append(args[2]))
    model = small(ConditionalGAN, pretrain_epochs=2, average=EMAOptions(0.9), discriminator_steps=2)
    fit(model, max_steps=-1, max_epochs=4, limit_train_batches=4)
    assert steps == [0, 1, 2, 3]


def test_the_class_changes_what_is_drawn():
    model = small(ConditionalGAN, average=EMAOptions(0.5))
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


class Unequal(Stripes):
    """90 images of class 0, 10 of class 2 and none of class 1."""

    def load_splits(self):
        splits, labels = super().load_splits(), torch.tensor([0] * 90 + [2] * 10)
        return splits._replace(train=splits.train._replace(targets=labels))


@pytest.mark.parametrize(
    ("kind", "balanced", "frequencies"),
    [
        ("uniform", False, [1 / 3, 1 / 3, 1 / 3]),
        ("data", False, [0.9, 0.0, 0.1]),
        ("data", True, [0.5, 0.0, 0.5]),  # the real images of a batch
    ],
)
def test_labels_of_fakes_are_as_frequent_as_those_of_real_images(kind, balanced, frequencies):
    model = small(ConditionalGAN, num_classes=3, fake_labels=kind)
    data = Unequal(1, 28, num_classes=3, num_train=100, batch_size=50)
    data.balanced = balanced
    fit_with(model, data, max_steps=1, limit_val_batches=0)
    labels = model.local_latents(4000, torch.Generator().manual_seed(0))[1]
    found = labels.bincount(minlength=3) / 4000
    torch.testing.assert_close(found, torch.tensor(frequencies), atol=0.03, rtol=0)
    drawn = model.draw_latents(4000, torch.Generator().manual_seed(0))[1].bincount(minlength=3)
    assert drawn.min() > 1200  # samples have all classes equally often


def test_equal_classes_draw_the_bits_of_uniform():
    weights = []
    for kind in ("uniform", "data"):
        model = small(ConditionalGAN, num_classes=4, fake_labels=kind)
        fit_with(model, Stripes(1, 28), max_steps=1, limit_val_batches=0)
        weights.append(state(model))
    assert same(*weights)


def test_data_that_do_not_count_their_classes_are_refused():
    class Foreign(LightningDataModule):
        def train_dataloader(self):
            return []

    with pytest.raises(UserError, match=r"model.fake_labels data needs .* leave it out"):
        fit_with(small(ConditionalGAN, fake_labels="data"), Foreign())
