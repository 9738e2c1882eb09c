"""A generative adversarial network, trained by manual optimization (docs/one-step.md)."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal, cast

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from models.base import eval_mode
from models.gan.alternating import AlternatingOptimization
from models.gan.discriminator import DiscriminatorCallable, Examples, PlainDiscriminator, Stats
from models.gan.networks import (
    GeneratorCallable,
    ImageShape,
    ModernGenerator,
    ModernTrunk,
    TrunkCallable,
    count_features,
)
from models.gan.penalties import Penalties
from models.generative import Generative
from models.layers import Initialization, initialize_, spectral_normalize_
from models.training import EMAOptions, Schedule
from runtime.ranges import Positive, PositiveFloat


class GAN(AlternatingOptimization, Generative):
    """Generator against discriminator, by default one update of each per batch.

    Goodfellow et al. 2014.

    Args:
        image_shape: (C, H, W) of the data's images.
        generator: Function (input_dim, image_shape) -> generator.
        trunk: Function (image_shape) -> discriminator without its last layer.
        discriminator: Function (trunk, num_features, num_classes) -> discriminator with its losses.
        initialization: Of the weights: `torch`, `glorot` (Keras' default) or `normal`.
        latent_dim: Size of the noise that the generator turns into an image.
        latent: `uniform` on [0, 1), the lecture's, or `gaussian`.
        discriminator_steps: Discriminator updates per generator update.
        fakes_in_eval_mode: Generate D's fakes in eval mode, as the slides' `generate.predict` does.
        average: Exponential moving average (EMA) of the generator's weights, to sample with.
        augment: Augments all images that D gets in training, `InstanceNoise` or `DiffAugment`;
            None: no augmentation.
        spectral_norm: Divide D's weights by their largest singular value.
        penalties: Gradient penalties of the discriminator.
        schedule: Learning rates of both networks.
        gradient_clip_val: Largest gradient norm of each network; None: no limit.
        generator_optimizer: Function (parameters) -> optimizer.
        discriminator_optimizer: The same for the discriminator.
    """

    removed_options = {"accumulate_grad_batches": 1}

    def __init__(
        self,
        image_shape: ImageShape,
        generator: GeneratorCallable = ModernGenerator,
        trunk: TrunkCallable = ModernTrunk,
        discriminator: DiscriminatorCallable = PlainDiscriminator,
        initialization: Initialization = "torch",
        latent_dim: Positive = 100,
        latent: Literal["uniform", "gaussian"] = "gaussian",
        discriminator_steps: Positive = 1,
        fakes_in_eval_mode: bool = False,
        average: EMAOptions = EMAOptions(),
        augment: Callable[[], nn.Module] | None = None,
        spectral_norm: bool = False,
        penalties: Penalties = Penalties(),
        schedule: Schedule = Schedule(),
        gradient_clip_val: PositiveFloat | None = None,
        generator_optimizer: OptimizerCallable = torch.optim.Adam,
        discriminator_optimizer: OptimizerCallable = torch.optim.Adam,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.set_shapes(image_shape, latent_dim, self.num_classes)
        factories = {"discriminator": discriminator_optimizer, "generator": generator_optimizer}
        self.factories, self.schedule = factories, schedule
        self.gradient_clip_val = gradient_clip_val
        self.latent, self.discriminator_steps = latent, discriminator_steps
        self.fakes_in_eval_mode = fakes_in_eval_mode
        self.penalties, self.augment = penalties, augment() if augment else None

        self.generator = generator(self.generator_input_dim, image_shape)
        initialize_(self.generator, initialization)
        features = trunk(image_shape)
        num_features = count_features(features, image_shape)
        self.discriminator = discriminator(features, num_features, self.num_conditions)
        initialize_(self.discriminator, initialization)
        if spectral_norm:
            spectral_normalize_(self.discriminator)
        self.ema = average.build(self.generator)

    @property
    def generator_input_dim(self) -> int:
        """Length of G's input for one image. A conditional model adds that of a class vector."""
        return self.latent_dim

    @property
    def num_conditions(self) -> int | None:
        """Number of classes that D gets; None: none. `num_classes` is the number of the data's."""
        return None

    @property  # type: ignore[misc]  # Lightning has an attribute
    def example_input_array(self) -> tuple[Tensor, ...]:
        """Latents (2, latent_dim) and, if conditional, labels (2,)."""
        return tuple(part[:2] for part in self.sample_grid() if part is not None)

    def generator_input(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Returns G's input: latents (B, latent_dim). A conditional model adds class vectors."""
        return latents

    def condition(self, images: Tensor, labels: Tensor | None) -> Tensor | None:
        """Returns the classes (B,) of real images for D: the labels, or clusters of a subclass."""
        return labels

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        d_optimizer, g_optimizer = cast(Any, self.optimizers())
        rng = self.batch_rng(batch_idx)
        real = self.augmented(batch[0]), self.condition(*batch)

        fake = self.fakes_for_discriminator(len(batch[0]), rng)
        # The other network gets no gradients. `update_network` averages them, not DDP.
        with d_optimizer.toggle_model(sync_grad=False):
            loss, stats = self.discriminator_loss(real, fake)
            self.update_network(d_optimizer, loss)

        if self.generator_is_due():
            with g_optimizer.toggle_model(sync_grad=False):
                fake = self.generate_fakes(len(batch[0]), rng)
                loss, g_stats = self.generator_loss(fake, real)
                self.update_network(g_optimizer, loss)
            stats |= g_stats
            if self.ema is not None:
                self.ema.update(self.generator, self.generator_updates)
        self.log_means(stats)  # over the batches since the last logging step
        self.count_batch()

    def generate_fakes(self, count: int, rng: torch.Generator) -> Examples:
        """Generates images (count, C, H, W) as D gets them, with their labels."""
        latents, labels = self.local_latents(count, rng)
        fake = self.generator(self.generator_input(latents, labels))
        return self.augmented(fake), labels

    @torch.no_grad()
    def fakes_for_discriminator(self, count: int, rng: torch.Generator) -> Examples:
        """Generates images (count, C, H, W) without gradients, with their labels."""
        with eval_mode(self.generator) if self.fakes_in_eval_mode else nullcontext():
            return self.generate_fakes(count, rng)

    def discriminator_loss(self, real: Examples, fake: Examples) -> tuple[Tensor, Stats]:
        """Computes D's loss and the values to log.

        The loss includes gradient penalties, which are 0 in most steps: see `Penalties.every`.
        """
        loss, stats = self.discriminator.discriminator_loss(real, fake)
        realness = self.discriminator.compute_realness
        loss = loss + self.penalties.due(realness, real, fake, self.global_step)
        return loss, stats | {"d_loss": loss.detach()}

    def generator_loss(self, fake: Examples, real: Examples) -> tuple[Tensor, Stats]:
        """Computes G's loss on images with gradients, and the values to log."""
        loss, stats = self.discriminator.generator_loss(fake, real)
        return loss, stats | {"g_loss": loss.detach()}

    def augmented(self, images: Tensor) -> Tensor:
        """Returns images (B, C, H, W) as the discriminator gets them."""
        return images if self.augment is None else self.augment(images, self.global_step)

    def generator_is_due(self) -> bool:
        """Returns whether the generator is updated in this step."""
        return (self.global_step + 1) % self.discriminator_steps == 0

    @property
    def generator_updates(self) -> int:
        """Updates of the generator in the steps before this one."""
        return self.global_step // self.discriminator_steps

    @property
    def eval_network(self) -> nn.Module:
        """The network to sample from: the EMA if there is one."""
        return self.generator if self.ema is None else self.ema.network

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (B, latent_dim) -> images (B, C, H, W) in [0, 1]."""
        return self.eval_network(self.generator_input(latents.to(self.dtype), labels))

    def realness(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Computes the discriminator's logits (B,) for "these images (B, C, H, W) are real"."""
        classes = self.condition(images, labels)
        return self.discriminator.compute_realness(images.to(self.dtype), classes)

    def evaluate(self, batch: tuple[Tensor, Tensor], batch_idx: int, stage: str) -> None:
        """Logs D's loss and accuracy on real images. In training, fakes count, too."""
        loss, accuracy = self.discriminator.evaluate_real(batch[0], self.condition(*batch))
        values = {f"{stage}/d_loss": loss, f"{stage}/d_accuracy": accuracy}
        self.log_means_of_examples(values, len(batch[0]))
