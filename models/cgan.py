"""A GAN told which class to draw: what conditioning adds to `GAN`, and nothing else."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from models.gan import GAN, Stats, share
from models.gan_networks import KPlusOneDiscriminator, TwoHeadedDiscriminator, lecture_trunk
from models.losses import normalized_sigmoid_cross_entropy

Head = Literal["softmax", "normalized_sigmoid", "auxiliary", "projection"]
FAKE = 0  # the class of generated images among the lecture's 1 + num_classes


class ConditionalGAN(GAN):
    """The generator gets the class one-hot beside its noise, and must draw that class.

    Args:
        num_classes: How many classes there are.
        head: What the discriminator says. `softmax`: one of 1 + num_classes, 0 being "fake"
            (the lecture's 11 outputs). `normalized_sigmoid`: the same, as sigmoids divided by
            their sum, to the letter of the slides. `auxiliary`: how likely real, and which class
            (AC-GAN, the lecture's exercise). `projection`: the same, with realness judged for
            the class that was asked for.
        class_weight: Weight of the class loss of the last two, 1 in AC-GAN.
        pretrain_epochs: Epochs in which the discriminator alone learns, from real images and the
            untrained generator's.
        **gan: As for `GAN`.
    """

    def __init__(
        self,
        num_classes: int = 10,
        head: Head = "projection",
        class_weight: float = 1.0,
        pretrain_epochs: int = 0,
        **gan: Any,
    ) -> None:
        # plain values, which GAN's constructor reads back through the methods below
        self.num_classes, self.head = num_classes, head
        self.class_weight, self.pretrain_epochs = class_weight, pretrain_epochs
        self.grid_rows = num_classes
        if self._one_output_more and gan.get("label_smoothing"):
            raise MisconfigurationException(
                f"model.label_smoothing is not for head: {head}, which has no logit of 'real': "
                "leave it out, or choose head: auxiliary or projection"
            )
        super().__init__(**gan)

    conditional = True

    @property
    def generator_input_dim(self) -> int:
        return self.latent_dim + self.num_classes

    def lecture_trunk(self) -> nn.Module:
        return lecture_trunk(128, nn.ReLU)

    def build_discriminator(self, trunk: nn.Module, num_features: int) -> nn.Module:
        if self._one_output_more:
            return KPlusOneDiscriminator(trunk, num_features, self.num_classes)
        projection = self.head == "projection"
        return TwoHeadedDiscriminator(trunk, num_features, self.num_classes, projection)

    @property
    def _one_output_more(self) -> bool:
        return self.head in ("softmax", "normalized_sigmoid")

    def draw(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        latents, _ = super().draw(count, random)
        return latents, torch.randint(self.num_classes, (count,), generator=random)

    def draw_grid(self, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """One row a class; a column shares its latent, so that only the class differs."""
        columns = 10
        latents, _ = super().draw(columns, random)
        labels = torch.arange(self.num_classes).repeat_interleave(columns)
        return latents.repeat(self.num_classes, 1), labels

    def generator_input(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Labels are classes (B,), or a mixture of classes (B, num_classes) for each image."""
        assert labels is not None
        if not labels.is_floating_point():
            labels = F.one_hot(labels, self.num_classes)
        return torch.cat([latents, labels.to(latents.dtype)], dim=1)

    def generator_is_due(self, batch_idx: int) -> bool:
        return self.current_epoch >= self.pretrain_epochs and super().generator_is_due(batch_idx)

    def on_train_epoch_end(self) -> None:
        """When pre-training ends, prints what the slide prints, on held-out images."""
        metrics = self.trainer.callback_metrics
        if self.current_epoch + 1 == self.pretrain_epochs and "val/d_loss" in metrics:
            loss, accuracy = (metrics[f"val/d_{name}"] for name in ("loss", "accuracy"))
            self.print(f"Pre-trained discriminator: Loss={loss:.3f}, Accuracy = {accuracy:.3f}")

    # -- losses ---------------------------------------------------------------------------------

    def discriminator_loss(
        self, real: Tensor, real_labels: Tensor, fake: Tensor, fake_labels: Tensor | None
    ) -> tuple[Tensor, Stats]:
        assert fake_labels is not None
        images = torch.cat([real, fake])
        if self._one_output_more:
            logits = self.discriminator(images)
            target = torch.cat([real_labels + 1, torch.full_like(fake_labels, FAKE)])
            hits = (logits.argmax(dim=1) == target).float()
            acc_real, acc_fake = hits.chunk(2)
            loss = self._k_plus_one_loss(logits, target)
            return loss, {"acc_real": acc_real.mean(), "acc_fake": acc_fake.mean()}
        realness, classes = self.discriminator(images, torch.cat([real_labels, fake_labels]))
        real_logits, fake_logits = realness.chunk(2)
        real_classes = classes.chunk(2)[0]  # D need not know what a bad fake shows
        loss = self.loss.discriminator(real_logits, fake_logits, self.label_smoothing)
        loss = loss + self.class_weight * F.cross_entropy(real_classes, real_labels)
        return loss, {
            "acc_real": share(real_logits > 0),
            "acc_fake": share(fake_logits < 0),
            "acc_class": share(real_classes.argmax(dim=1) == real_labels),
        }

    def generator_loss(self, fake: Tensor, labels: Tensor | None) -> Tensor:
        assert labels is not None
        if self._one_output_more:
            return self._k_plus_one_loss(self.discriminator(fake), labels + 1)
        realness, classes = self.discriminator(fake, labels)
        class_loss = F.cross_entropy(classes, labels)
        return self.loss.generator(realness) + self.class_weight * class_loss

    def _k_plus_one_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.head == "softmax":
            return F.cross_entropy(logits, target)
        return normalized_sigmoid_cross_entropy(logits, target)

    def realness(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The logits (B,) of "real"; for `projection`, real as an image of the class `labels`."""
        if self._one_output_more:
            logits = self._log_probability(self.discriminator(images))
            return logits[:, 1:].logsumexp(dim=1) - logits[:, FAKE]
        assert labels is not None
        return self.discriminator(images, labels)[0]

    def _log_probability(self, logits: Tensor) -> Tensor:
        """Logits whose softmax is what the head says, up to a constant an image."""
        return logits if self.head == "softmax" else F.logsigmoid(logits)

    def judge_real(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self._one_output_more:
            logits = self.discriminator(images)
            loss = self._k_plus_one_loss(logits, labels + 1)
            return loss, share(logits.argmax(dim=1) == labels + 1)
        realness, classes = self.discriminator(images, labels)
        loss = F.softplus(-realness).mean()
        loss = loss + self.class_weight * F.cross_entropy(classes, labels)
        return loss, share((realness > 0) & (classes.argmax(dim=1) == labels))
