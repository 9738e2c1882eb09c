"""The parts that conditioning adds to a GAN."""

from typing import Any

import pytest
import torch
from lightning import Callback
from torch import Tensor

from models import ConditionalGAN
from tests.models.gans import fit, same, small


def test_the_class_enters_one_hot_beside_the_noise() -> None:
    model = small(ConditionalGAN, num_classes=3)
    latents = torch.randn(2, 4)
    inputs = model.generator_input(latents, torch.tensor([2, 0]))
    torch.testing.assert_close(inputs, torch.cat([latents, torch.eye(3)[[2, 0]]], dim=1))


class Epochs(Callback):
    """The generator's weights at the end of each epoch."""

    def __init__(self) -> None:
        self.generators: list[list[Tensor]] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.generators.append([p.detach().clone() for p in pl_module.generator.parameters()])


def test_pretraining_leaves_the_generator_untrained(capsys: pytest.CaptureFixture[str]) -> None:
    model = small(ConditionalGAN, pretrain_epochs=2)
    untrained = [p.detach().clone() for p in model.generator.parameters()]
    epochs = Epochs()
    fit(model, epochs, max_steps=-1, max_epochs=3, limit_train_batches=2, limit_val_batches=1)
    assert [same(untrained, weights) for weights in epochs.generators] == [True, True, False]
    assert capsys.readouterr().out.count("Pre-trained discriminator: Loss=") == 1
