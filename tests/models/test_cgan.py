"""What conditioning adds."""

from typing import Any, get_args

import pytest
import torch
from lightning import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.nn import functional as F

from models import ConditionalGAN
from models.cgan import Head
from tests.models.gans import fit, same, small, state

HEADS = get_args(Head)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_trains_both_networks(head: Head) -> None:
    model = small(ConditionalGAN, head=head)
    generator, discriminator = state(model.generator), state(model.discriminator)
    fit(model, max_steps=2)
    assert not same(generator, state(model.generator))
    assert not same(discriminator, state(model.discriminator))


def test_the_class_enters_one_hot_beside_the_noise() -> None:
    model = small(ConditionalGAN, num_classes=3)
    latents = torch.randn(2, 4)
    inputs = model.generator_input(latents, torch.tensor([2, 0]))
    torch.testing.assert_close(inputs, torch.cat([latents, torch.eye(3)[[2, 0]]], dim=1))


def fixed_logits(model: ConditionalGAN, logits: Tensor) -> None:
    """Replaces the discriminator by one that says `logits`, row by row."""
    model.discriminator = torch.nn.Identity()
    model.discriminator.forward = lambda images, labels=None: logits[: len(images)]  # type: ignore


def test_k_plus_one_targets_are_zero_for_fakes_and_the_digit_plus_one_for_reals() -> None:
    logits = torch.randn(4, 11)
    real, fake = torch.zeros(2, 1, 28, 28), torch.zeros(2, 1, 28, 28)
    labels, fake_labels = torch.tensor([3, 9]), torch.tensor([5, 0])
    target = torch.tensor([4, 10, 0, 0])
    log_sum = torch.logsumexp(F.logsigmoid(logits), dim=1)
    sigmoid = (log_sum - F.logsigmoid(logits)[range(4), target]).mean()
    for head, expected in (
        ("softmax", F.cross_entropy(logits, target)),
        ("normalized_sigmoid", sigmoid),
    ):
        model = small(ConditionalGAN, head=head)
        fixed_logits(model, logits)
        loss, _ = model.discriminator_loss(real, labels, fake, fake_labels)
        torch.testing.assert_close(loss, expected)
    # the generator wants its fakes taken for the digits that were asked for
    generator_loss = small(ConditionalGAN, head="softmax")
    fixed_logits(generator_loss, logits)
    expected = F.cross_entropy(logits[:2], torch.tensor([6, 1]))
    torch.testing.assert_close(generator_loss.generator_loss(fake, fake_labels), expected)


@pytest.mark.parametrize("head", ["softmax", "normalized_sigmoid"])
def test_realness_is_the_odds_against_fake(head: Head) -> None:
    logits = torch.randn(5, 11)
    model = small(ConditionalGAN, head=head)
    fixed_logits(model, logits)
    probability = logits.softmax(1) if head == "softmax" else F.normalize(logits.sigmoid(), 1, 1)
    expected = 1 - probability[:, 0]
    torch.testing.assert_close(model.realness(torch.zeros(5, 1, 28, 28)).sigmoid(), expected)


def test_auxiliary_loss_adds_the_class_of_real_images_to_realness() -> None:
    model = small(ConditionalGAN, head="auxiliary", class_weight=0.5)
    realness, classes = torch.randn(4), torch.randn(4, 10)
    model.discriminator = torch.nn.Identity()
    model.discriminator.forward = lambda images, labels: (realness, classes)  # type: ignore
    images, labels = torch.zeros(2, 1, 28, 28), torch.tensor([1, 2])
    loss, stats = model.discriminator_loss(images, labels, images, labels)
    target = torch.tensor([1.0, 1.0, 0.0, 0.0])
    expected = F.binary_cross_entropy_with_logits(realness, target)
    expected = expected + 0.5 * F.cross_entropy(classes[:2], labels)
    torch.testing.assert_close(loss, expected)
    assert stats["acc_real"] == (realness[:2] > 0).float().mean()


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


def test_the_grid_has_a_row_for_each_class_and_a_column_for_each_latent() -> None:
    model = small(ConditionalGAN)
    latents = model.grid_latents.unflatten(0, (10, 10))
    assert (latents == latents[:1]).all()
    assert (latents[0, 0] != latents[0, 1]).all()
    assert model.grid_labels.tolist() == [digit for digit in range(10) for _ in range(10)]


@pytest.mark.parametrize("head", ["softmax", "normalized_sigmoid"])
def test_smoothing_is_refused_where_no_logit_says_real(head: str) -> None:
    with pytest.raises(MisconfigurationException, match=f"label_smoothing is not for head: {head}"):
        small(ConditionalGAN, head=head, label_smoothing=0.1)
