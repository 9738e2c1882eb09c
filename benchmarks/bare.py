"""Training steps without Lightning: the model's networks and losses in a plain loop."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from models import GAN
from models.base import eval_mode
from models.classifier import Classifier

Batch = tuple[Tensor, Tensor]
Autocast = Callable[[], AbstractContextManager[Any]]
Step = Callable[[Batch, int], None]


def gan_step(model: GAN, optimizers: Sequence[Optimizer], autocast: Autocast) -> Step:
    """Returns a step that updates each network once, like `GAN.training_step`."""
    discriminator_optimizer, generator_optimizer = optimizers
    device = model.device

    def draw(count: int, random: torch.Generator) -> Any:
        latents, labels = model.draw(count, random)
        return latents.to(device), None if labels is None else labels.to(device)

    def step(batch: Batch, index: int) -> None:
        real, real_labels = batch
        random = model.batch_generator(index)
        with autocast():
            latents, labels = draw(len(real), random)
            fake = first_fakes(model, latents, labels)
            arguments = (real, real_labels, fake.detach(), labels)
            loss, _ = model.discriminator.discriminator_loss(*arguments)
        loss.backward()
        discriminator_optimizer.step()
        discriminator_optimizer.zero_grad()
        model.discriminator.requires_grad_(False)
        with autocast():
            if not model.reuse_fakes:
                latents, labels = draw(len(real), random)
                fake = model.generator(model.generator_input(latents, labels))
            loss, _ = model.discriminator.generator_loss(fake, labels)
        loss.backward()
        generator_optimizer.step()
        generator_optimizer.zero_grad()
        model.discriminator.requires_grad_(True)

    return step


def first_fakes(model: GAN, latents: Tensor, labels: Tensor | None) -> Tensor:
    """Generates the discriminator's fakes, with a gradient if the generator reuses them."""
    inputs = model.generator_input(latents, labels)
    if model.reuse_fakes:
        return model.generator(inputs)
    with torch.no_grad():
        if not model.fakes_in_eval_mode:
            return model.generator(inputs)
        with eval_mode(model.generator):
            return model.generator(inputs)


def classifier_step(
    model: Classifier, optimizer: Optimizer, schedulers: Sequence[Any], autocast: Autocast
) -> Step:
    """Returns a step that also advances the schedules and the moving average, if there is one."""

    def step(batch: Batch, index: int) -> None:
        with autocast():
            loss = model.step(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
        if model.ema is not None:
            model.ema.update(model.network, index)

    return step


def endless(loader: Any, prepare: Callable[[Any, int], Any]) -> Iterator[tuple[Any, int]]:
    """Yields batches and their numbers in the epoch, epoch after epoch."""
    while True:
        for index, batch in enumerate(loader):
            yield prepare(batch, 0), index
