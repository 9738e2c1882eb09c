"""A whole training step equals that of the plain loop: layers one by one, the default layout."""

from typing import Any

import pytest
import torch
from lightning import Callback
from torch import nn

from benchmarks.plain_worker import Plain
from models import GAN, ConditionalGAN
from models.gan.heads import Head, NormalizedSigmoidHead, PlainHead, SoftmaxHead
from tests.models.gans import LECTURE, LECTURE_CGAN, fit, small

# Steps, and the tolerance for sums over as many as 6,400 products. Each further step multiplies
# differences by 20, so float32 gets one: some CPUs add in another order for channels_last.
CASES = {"64-true": (3, 1e-11), "32-true": (1, 2e-5)}


class Record(Callback):
    """Records the inputs and the draws of the model in each batch."""

    def __init__(self) -> None:
        self.batches: list[tuple[Any, ...]] = []
        self.losses: list[tuple[float, float]] = []

    def on_train_batch_start(self, trainer: Any, model: Any, batch: Any, batch_idx: int) -> None:
        random = model.batch_generator(batch_idx)
        with trainer.precision_plugin.train_step_context():  # draws in its floating-point type
            draws = [model.draw(len(batch[0]), random) for _ in range(2)]
        labelled = [(z, torch.zeros(len(z)).long() if y is None else y) for z, y in draws]
        self.batches.append((*(t.clone() for t in batch), *labelled))

    def on_train_batch_end(self, trainer: Any, model: Any, *_: Any) -> None:
        metrics = trainer.callback_metrics
        self.losses.append((metrics["train/d_loss"].item(), metrics["train/g_loss"].item()))


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, nesterov=True, fused=True)


def without_dropout(*networks: nn.Module) -> None:
    """Its draws differ between any two layouts; another test covers it."""
    for network in networks:
        for layer in network.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0


@pytest.mark.parametrize("precision", CASES)
@pytest.mark.parametrize("head", [PlainHead, NormalizedSigmoidHead, SoftmaxHead])
def test_losses_and_weights_are_those_of_the_plain_loop(head: type[Head], precision: str) -> None:
    kind = GAN if head is PlainHead else ConditionalGAN
    model = small(
        kind,
        **(LECTURE if kind is GAN else LECTURE_CGAN),
        head=head,
        latent_dim=100,
        latent="uniform",
        fakes_in_eval_mode=True,
        generator_optimizer=sgd,
        discriminator_optimizer=sgd,
    )
    plain = Plain(kind is ConditionalGAN, "cpu", softmax=head is SoftmaxHead)
    without_dropout(model, plain.d)
    dtype = torch.float64 if precision == "64-true" else torch.float32
    for ours, theirs in ((model.generator, plain.g), (model.discriminator, plain.d)):
        theirs.to(dtype)
        for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
            its.data.copy_(mine)
    for optimizer in (plain.d_optimizer, plain.g_optimizer):
        optimizer.param_groups[0]["lr"] = 0.01

    record, (steps, tolerance) = Record(), CASES[precision]
    fit(model, record, batch_size=4, max_steps=steps, precision=precision, log_every_n_steps=1)
    losses = [
        plain.step(real.to(dtype), labels, *((z.to(dtype), y) for z, y in draws))
        for real, labels, *draws in record.batches
    ]
    assert len(losses) == steps
    torch.testing.assert_close(record.losses, losses, rtol=1e-6, atol=1e-6)  # logged as float32
    for ours, theirs in ((model.generator, plain.g), (model.discriminator, plain.d)):
        for mine, its in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            torch.testing.assert_close(mine, its, rtol=tolerance, atol=tolerance)
