"""A generative adversarial network, trained by manual optimization."""

from contextlib import nullcontext
from typing import Any, Literal, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from models.alternating import AlternatingOptimization
from models.base import eval_mode
from models.ema import MovingAverage
from models.gan_heads import PlainHead
from models.gan_networks import (
    GeneratorCallable,
    ImageShape,
    ModernGenerator,
    ModernTrunk,
    TrunkCallable,
    count_features,
)
from models.generative import Generative
from models.head import HeadCallable
from models.layers import Initialization, initialize_, spectral_normalize_
from models.optimizers import Schedule, rescaled
from models.penalties import Penalties
from models.views import View, ViewCallable
from runtime.errors import UserError
from runtime.ranges import NonNegativeFloat, Positive, PositiveFloat, Share


class GAN(AlternatingOptimization, Generative):
    """Generator against discriminator, one update of each per batch (Goodfellow et al. 2014).

    Args:
        image_shape: (C, H, W) of the data's images.
        generator: From (input_dim, image_shape) to the generator.
        trunk: From image_shape to the discriminator up to its last layer.
        head: From (trunk, num_features, num_classes) to the discriminator with its losses.
        initialization: Weights as torch initializes them; `glorot`, as Keras does; or `normal`.
        latent_dim: Size of the noise that the generator turns into an image.
        latent: `uniform` on [0, 1), the lecture's, or `gaussian`.
        discriminator_steps: Discriminator updates, each on one batch, per generator update.
        reuse_fakes: Train both networks on the same fakes, which saves a forward pass per batch.
        fakes_in_eval_mode: Generate D's fakes in eval mode, as the slides' `generate.predict` does.
        ema_decay: Keep a moving average of the generator's weights and sample from it; 0: do not.
        ema_half_life: The same, as the number of images in which an old weight counts half.
        view: Augmentations and noise of all that the discriminator sees in training.
        spectral_norm: Divide D's weights by their largest singular value.
        r1_gamma: Weight of the R1 gradient penalty on real images; 0: none.
        r2_gamma: Weight of the R2 gradient penalty, R1 on generated images; 0: none.
        r1_every: Batches from one R1 and R2 to the next; they are multiplied by this.
        gradient_penalty: Weight of the gradient penalty of WGAN-GP; 0: none.
        lazy_rescaling: Lower D's learning rate and betas to fit `r1_every` (Karras et al. 2020, B).
        schedule: Learning rates of both networks: `constant`, `cosine` or `linear` to 0 at the end.
        hold: Share of the run before they begin to fall.
        gradient_clip_val: Largest gradient norm of each network; None: no limit.
        accumulate_grad_batches: Batches whose gradients make one update, as in one large batch.
        generator_optimizer: From parameters to an optimizer.
        discriminator_optimizer: The same for the discriminator.
        generator_scheduler: From an optimizer to a learning-rate schedule, stepped with it.
        discriminator_scheduler: The same for the discriminator.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        generator: GeneratorCallable = ModernGenerator,
        trunk: TrunkCallable = ModernTrunk,
        head: HeadCallable = PlainHead,
        initialization: Initialization = "torch",
        latent_dim: Positive = 100,
        latent: Literal["uniform", "gaussian"] = "gaussian",
        discriminator_steps: Positive = 1,
        reuse_fakes: bool = False,
        fakes_in_eval_mode: bool = False,
        ema_decay: Share = 0.0,
        ema_half_life: NonNegativeFloat = 0.0,
        view: ViewCallable = View,
        spectral_norm: bool = False,
        r1_gamma: NonNegativeFloat = 0.0,
        r2_gamma: NonNegativeFloat = 0.0,
        r1_every: Positive = 8,
        gradient_penalty: NonNegativeFloat = 0.0,
        lazy_rescaling: bool = False,
        schedule: Schedule = "constant",
        hold: Share = 0.0,
        gradient_clip_val: PositiveFloat | None = None,
        accumulate_grad_batches: Positive = 1,
        generator_optimizer: OptimizerCallable = torch.optim.Adam,
        discriminator_optimizer: OptimizerCallable = torch.optim.Adam,
        generator_scheduler: LRSchedulerCallable | None = None,
        discriminator_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(
            {
                "discriminator": (
                    rescaled(discriminator_optimizer, r1_every)
                    if lazy_rescaling
                    else discriminator_optimizer,
                    discriminator_scheduler,
                ),
                "generator": (generator_optimizer, generator_scheduler),
            },
            gradient_clip_val,
            accumulate_grad_batches,
            schedule,
            hold,
        )
        self.save_hyperparameters()
        if not image_shape:
            raise UserError(
                f"{type(self).__name__} generates images, and the data have none: choose a data "
                "set of images, such as --data Images, or another model"
            )
        if reuse_fakes and (fakes_in_eval_mode or accumulate_grad_batches > 1):
            raise UserError(
                "model.reuse_fakes needs fakes drawn in train mode for each update: leave out "
                "fakes_in_eval_mode and accumulate_grad_batches, or reuse_fakes."
            )
        self.image_shape = image_shape
        self.latent_dim, self.latent = latent_dim, latent
        self.discriminator_steps = discriminator_steps
        self.reuse_fakes, self.fakes_in_eval_mode = reuse_fakes, fakes_in_eval_mode
        self.penalties = Penalties(r1_gamma, r2_gamma, r1_every, gradient_penalty)
        self.view = view()

        self.generator = self.build_generator(generator)
        initialize_(self.generator, initialization)
        features = trunk(image_shape)
        self.discriminator = head(
            features, count_features(features, image_shape), self.num_conditions
        )
        initialize_(self.discriminator, initialization)
        if spectral_norm:
            spectral_normalize_(self.discriminator)
        averages = ema_decay or ema_half_life
        self.ema = MovingAverage(self.generator, ema_decay, ema_half_life) if averages else None
        latents, labels = self.sample_grid()
        self.example_input_array = (latents[:2],) if labels is None else (latents[:2], labels[:2])

    @property
    def num_conditions(self) -> int | None:
        """Number of classes that the discriminator is told; None: it is told none."""
        return self.num_classes

    def build_generator(self, generator: GeneratorCallable) -> nn.Module:
        """Builds the network that takes `generator_input`."""
        return generator(self.latent_dim, self.image_shape)

    def generator_input(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Returns what the generator gets: latents (B, latent_dim) and, if conditional, classes."""
        return latents

    def condition(self, images: Tensor, labels: Tensor | None) -> Tensor | None:
        """Returns the classes (B,) that the discriminator is told for images (B, C, H, W)."""
        return labels

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        real, real_labels = batch[0], cast(Tensor, self.condition(*batch))
        discriminator_optimizer, generator_optimizer = cast(Any, self.optimizers())
        random, window = self.batch_generator(batch_idx), self.accumulate_grad_batches
        update = (batch_idx + 1) % window == 0 or self.trainer.is_last_batch
        updates_generator = update and self.generator_is_due(batch_idx)

        latents, labels = self.draw_share(len(real), random)
        mode = eval_mode(self.generator) if self.fakes_in_eval_mode else nullcontext()
        with mode, torch.set_grad_enabled(self.reuse_fakes and updates_generator):
            fake = self.generator(self.generator_input(latents, labels))
        with discriminator_optimizer.toggle_model(sync_grad=False):
            seen, seen_fake = (self.view.of(x, self.global_step) for x in (real, fake.detach()))
            loss, stats = self.discriminator.discriminator_loss(
                seen, real_labels, seen_fake, labels
            )
            loss = loss + self.penalties(
                self._real_logits, seen, real_labels, seen_fake, labels, self.global_step
            )
            self.add_gradients("discriminator", loss, complete=update)
            if update:
                self.update_network(discriminator_optimizer)
        stats["d_loss"] = loss.detach()

        if updates_generator:
            with generator_optimizer.toggle_model(sync_grad=False):
                for turn in range(window):
                    if not self.reuse_fakes:
                        latents, labels = self.draw_share(len(real), random)
                        fake = self.generator(self.generator_input(latents, labels))
                    seen_fake = self.view.of(fake, self.global_step)
                    pair = (seen, real_labels) if self.discriminator.pairs else None
                    loss, fooled = self.discriminator.generator_loss(seen_fake, labels, pair)
                    self.add_gradients("generator", loss, complete=turn == window - 1)
                self.update_network(generator_optimizer)
            if self.ema is not None:
                images = len(real) * window * self.trainer.world_size
                self.ema.update(self.generator, self.global_step, images)
            stats |= {"g_loss": loss.detach(), **fooled}
        self.log_means(stats)
        self.count_steps(1)

    def on_train_start(self) -> None:
        window, batches = self.accumulate_grad_batches, self.trainer.num_training_batches
        if window > 1 and self.discriminator_steps * window > batches:
            raise UserError(
                f"model.discriminator_steps x accumulate_grad_batches is more than the {batches} "
                "batches of an epoch, so the generator would never learn: lower one of them, "
                "or data.batch_size"
            )

    def generator_is_due(self, batch_idx: int) -> bool:
        """Returns True if this batch ends a round of `discriminator_steps` updates."""
        window = self.accumulate_grad_batches  # which starts again with each epoch
        done = self.global_step + 1 if window == 1 else batch_idx + 1
        return done % (self.discriminator_steps * window) == 0

    def draw_share(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Draws for the global batch, and moves this rank's `count` of it to its device."""
        latents, labels = self.draw(count * self.trainer.world_size, random)
        share = slice(self.global_rank * count, (self.global_rank + 1) * count)
        latents = latents[share].to(self.device, non_blocking=True)
        if labels is not None:
            labels = labels[share].to(self.device, non_blocking=True)
        return latents, labels

    @property
    def sampler(self) -> nn.Module:
        """The network to sample from: the moving average if there is one."""
        return self.generator if self.ema is None else self.ema.network

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (B, latent_dim) -> images (B, C, H, W) in [0, 1]."""
        return self.sampler(self.generator_input(latents.to(self.dtype), labels))

    def realness(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Computes the discriminator's logits (B,) for "these images (B, C, H, W) are real"."""
        return self._real_logits(images, self.condition(images, labels))

    def _real_logits(self, images: Tensor, classes: Tensor | None) -> Tensor:
        return self.discriminator.real_logits(images.to(self.dtype), classes)

    def whole(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Generates images from latents and labels, and computes the logits "real" for them."""
        images = self(*inputs)
        return images, self.realness(images, *inputs[1:])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._evaluate(batch, "test")

    def _evaluate(self, batch: tuple[Tensor, Tensor], stage: str) -> None:
        loss, accuracy = self.discriminator.evaluate(batch[0], cast(Tensor, self.condition(*batch)))
        values = {f"{stage}/d_loss": loss, f"{stage}/d_accuracy": accuracy}
        self.log_means_of_examples(values, len(batch[0]))
