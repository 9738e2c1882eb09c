"""A GAN that is told which class to draw: what conditioning adds to `GAN`, and nothing else."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.gan.discriminator import HeadCallable
from models.gan.gan import GAN
from models.gan.heads import ProjectionHead
from models.gan.networks import GeneratorCallable, ImageShape, ModernGenerator
from runtime.errors import UserError
from runtime.ranges import NonNegative, Positive


class ConditionalGAN(GAN):
    """The generator gets the class beside its noise, and must draw that class.

    Args:
        image_shape: (C, H, W) of the data's images.
        num_classes: Number of classes.
        generator: From (input_dim, image_shape) to the generator.
        head: From (trunk, num_features, num_classes) to the discriminator with its losses.
        pretrain_epochs: Epochs in which only D learns; the fakes are the untrained generator's.
        conditioning: How the generator gets the class: as a `one_hot` vector beside the latents, or
            as a learned `embedding` beside them.
        embedding_dim: Size of the embedding.
        **gan: As for `GAN`.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        generator: GeneratorCallable = ModernGenerator,
        head: HeadCallable = ProjectionHead,
        pretrain_epochs: NonNegative = 0,
        conditioning: Literal["one_hot", "embedding"] = "one_hot",
        embedding_dim: Positive = 64,
        **gan: Any,
    ) -> None:
        if not num_classes:
            raise UserError(
                "ConditionalGAN needs data with classes: choose such a data set, or the model GAN"
            )

        def told_the_class(latent_dim: int, image_shape: ImageShape) -> nn.Module:
            if conditioning == "one_hot":
                return generator(latent_dim + num_classes, image_shape)
            inner = generator(latent_dim + embedding_dim, image_shape)
            return EmbeddedClass(inner, num_classes, embedding_dim)

        super().__init__(
            image_shape,
            generator=told_the_class,
            head=lambda trunk, num_features, _: head(trunk, num_features, num_classes),
            **gan,
        )
        self.num_classes, self.pretrain_epochs = num_classes, pretrain_epochs

    def generator_input(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Labels are classes (B,), or a mixture of classes (B, num_classes) for each image."""
        assert labels is not None
        return torch.cat([latents, self.told(labels, latents)], dim=1)

    def generator_is_due(self, batch_idx: int) -> bool:
        return self.current_epoch >= self.pretrain_epochs and super().generator_is_due(batch_idx)

    @property
    def generator_updates(self) -> int:
        pretraining = self.pretrain_epochs * int(self.trainer.num_training_batches)
        return (self.global_step - pretraining) // self.round

    def on_train_epoch_end(self) -> None:
        """Prints what the slide prints, on held-out images, when pre-training ends."""
        metrics = self.trainer.callback_metrics
        if self.current_epoch + 1 == self.pretrain_epochs and "val/d_loss" in metrics:
            loss, accuracy = (metrics[f"val/d_{name}"] for name in ("loss", "accuracy"))
            self.print(f"Pre-trained discriminator: Loss={loss:.3f}, Accuracy = {accuracy:.3f}")


class EmbeddedClass(nn.Module):
    """A generator whose class becomes a learned vector beside the latents.

    Args:
        generator: From (B, latent_dim + embedding_dim) to images.
        num_classes: Number of classes.
        embedding_dim: Size of the vector.
    """

    def __init__(self, generator: nn.Module, num_classes: int, embedding_dim: int) -> None:
        super().__init__()
        self.generator, self.num_classes = generator, num_classes
        self.embedding = nn.Linear(num_classes, embedding_dim, bias=False)
        nn.init.normal_(self.embedding.weight)  # as the latents are

    def forward(self, inputs: Tensor) -> Tensor:
        """Latents and then classes, (B, latent_dim + num_classes) -> images (B, C, H, W)."""
        latents, classes = inputs[:, : -self.num_classes], inputs[:, -self.num_classes :]
        return self.generator(torch.cat([latents, self.embedding(classes)], dim=1))
