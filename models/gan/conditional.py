"""A class-conditional GAN: only what conditioning adds to `GAN`."""

from typing import Any, Literal

import torch
from torch import Tensor

from models.gan.conditional_discriminators import ProjectionDiscriminator
from models.gan.discriminator import DiscriminatorCallable
from models.gan.gan import GAN
from models.gan.networks import GeneratorCallable, ImageShape, ModernGenerator
from runtime.errors import UserError
from runtime.ranges import NonNegative


class ConditionalGAN(GAN):
    """The generator gets a class vector beside the latents, and generates that class.

    Args:
        image_shape: (C, H, W) of the data's images.
        num_classes: Number of classes.
        generator: Function (input_dim, image_shape) -> generator.
        discriminator: Function (trunk, num_features, num_classes) -> discriminator with its losses.
        pretrain_epochs: Epochs in which only D learns, with fakes of the untrained generator.
        fake_labels: Classes of fakes in training: each equally often, or as often as in the `data`.
            With `uniform` and unequal classes, D can recognize real images by their class alone.
        **gan: As for `GAN`.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        generator: GeneratorCallable = ModernGenerator,
        discriminator: DiscriminatorCallable = ProjectionDiscriminator,
        pretrain_epochs: NonNegative = 0,
        fake_labels: Literal["uniform", "data"] = "uniform",
        **gan: Any,
    ) -> None:
        if not num_classes:
            raise UserError(
                "ConditionalGAN needs data with classes: choose such a data set, or the model GAN"
            )
        self.num_classes = num_classes  # before the networks, whose sizes depend on it
        super().__init__(image_shape, generator=generator, discriminator=discriminator, **gan)
        self.pretrain_epochs, self.fake_labels = pretrain_epochs, fake_labels

    @property
    def generator_input_dim(self) -> int:
        return self.latent_dim + self.num_conditions

    @property
    def num_conditions(self) -> int:
        assert self.num_classes is not None
        return self.num_classes

    def on_fit_start(self) -> None:
        """Reads the frequencies of the classes from the data for `fake_labels: data`."""
        if self.fake_labels == "data":
            counts = self.class_counts("fake_labels data").cpu().float()
            self.label_weights = counts if counts.unique().numel() > 1 else None

    def generator_input(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Returns latents and class vectors side by side, (B, latent_dim + num_classes).

        Labels are classes (B,), or a mixture of classes (B, num_classes) for each image.
        """
        assert labels is not None
        return torch.cat([latents, self.class_vectors(labels, latents)], dim=1)

    def generator_is_due(self) -> bool:
        return self.current_epoch >= self.pretrain_epochs and super().generator_is_due()

    @property
    def generator_updates(self) -> int:
        if not self.pretrain_epochs:  # epochs may have no length
            return super().generator_updates
        pretraining = self.pretrain_epochs * int(self.trainer.num_training_batches)
        return (self.global_step - pretraining) // self.discriminator_steps

    def on_train_epoch_end(self) -> None:
        """Prints D's loss and accuracy on held-out images at the end of pre-training."""
        metrics = self.trainer.callback_metrics
        if self.current_epoch + 1 == self.pretrain_epochs and "val/d_loss" in metrics:
            loss, accuracy = (metrics[f"val/d_{name}"] for name in ("loss", "accuracy"))
            self.print(f"Pre-trained discriminator: Loss={loss:.3f}, Accuracy = {accuracy:.3f}")
