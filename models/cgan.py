"""A GAN that is told which class to draw: what conditioning adds to `GAN`, and nothing else."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.conditioning import Conditioning, EmbeddedClass
from models.gan import GAN
from models.gan_heads import ProjectionHead
from models.gan_networks import GeneratorCallable, ImageShape
from models.head import HeadCallable
from runtime.errors import UserError
from runtime.ranges import NonNegative, Positive


class ConditionalGAN(GAN):
    """The generator gets the class beside its noise, and must draw that class.

    Args:
        image_shape: (C, H, W) of the data's images.
        num_classes: Number of classes.
        head: From (trunk, num_features, num_classes) to the discriminator with its losses.
        pretrain_epochs: Epochs in which only D learns; the fakes are the untrained generator's.
        conditioning: How the generator gets the class: as a `one_hot` vector beside the latents, as
            an `embedding` beside them, or through its `batch_norm`s.
        embedding_dim: Size of the embedding.
        **gan: As for `GAN`.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        head: HeadCallable = ProjectionHead,
        pretrain_epochs: NonNegative = 0,
        conditioning: Conditioning = "one_hot",
        embedding_dim: Positive = 64,
        **gan: Any,
    ) -> None:
        if not num_classes:
            raise UserError(
                "ConditionalGAN needs data with classes: choose such a data set, or the model GAN"
            )
        # plain values, which GAN's constructor reads back through the methods below
        self.num_classes, self.pretrain_epochs = num_classes, pretrain_epochs
        self.conditioning, self.embedding_dim = conditioning, embedding_dim
        super().__init__(image_shape, head=head, **gan)

    def build_generator(self, generator: GeneratorCallable) -> nn.Module:
        assert self.num_classes is not None
        if self.conditioning == "embedding":
            inner = generator(self.latent_dim + self.embedding_dim, self.image_shape)
            return EmbeddedClass(inner, self.num_classes, self.embedding_dim)
        inputs = self.latent_dim + self.num_classes
        if self.conditioning == "one_hot":
            return generator(inputs, self.image_shape)
        try:
            return cast(Any, generator)(inputs, self.image_shape, num_classes=self.num_classes)
        except TypeError as error:
            if "num_classes" not in str(error):
                raise
            raise UserError(
                "model.conditioning batch_norm needs a generator that takes num_classes, such as "
                "ModernGenerator: choose that one, or another conditioning"
            ) from error

    def generator_input(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Labels are classes (B,), or a mixture of classes (B, num_classes) for each image."""
        assert labels is not None
        if not labels.is_floating_point():
            labels = F.one_hot(labels, self.num_classes or -1)
        return torch.cat([latents, labels.to(latents.dtype)], dim=1)

    def generator_is_due(self, batch_idx: int) -> bool:
        return self.current_epoch >= self.pretrain_epochs and super().generator_is_due(batch_idx)

    def on_train_epoch_end(self) -> None:
        """Prints what the slide prints, on held-out images, when pre-training ends."""
        metrics = self.trainer.callback_metrics
        if self.current_epoch + 1 == self.pretrain_epochs and "val/d_loss" in metrics:
            loss, accuracy = (metrics[f"val/d_{name}"] for name in ("loss", "accuracy"))
            self.print(f"Pre-trained discriminator: Loss={loss:.3f}, Accuracy = {accuracy:.3f}")
