"""Discriminators: a trunk that computes features, output layers, and the losses of both networks.

Each is built as `discriminator(trunk, num_features, num_classes)`, where `num_classes` may be None.
Your own can be in any file: a config names it by its import path.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import full_precision, joined_batches
from runtime.errors import UserError
from runtime.ranges import Fraction

Stats = dict[str, Tensor]  # scalars that are logged
Examples = tuple[Tensor, Tensor | None]  # images (B, C, H, W), labels (B,) or None


class AdversarialLoss(ABC):
    """The losses of both players. All arguments are realness (B,), all results scalars.

    Realness above `threshold` means "real".
    """

    threshold = 0.0
    pairs = False  # True: `generator(fake, real)` gets the realness of real images, too

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Computes the discriminator's loss on real and fake images."""

    @abstractmethod
    def generator(self, fake: Tensor) -> Tensor:
        """Computes the generator's loss. If `pairs` is True, it gets `real` as well."""

    @abstractmethod
    def evaluation(self, real: Tensor) -> Tensor:
        """Computes the discriminator's loss on real images alone, for validation and test."""


LossCallable = Callable[[], AdversarialLoss]


class NonSaturating(AdversarialLoss):
    """Binary cross-entropy of real (1) and fake (0) images (Goodfellow et al. 2014).

    Args:
        label_smoothing: The target of real images is 1 minus this (Salimans et al. 2016, 3.4).
    """

    def __init__(self, label_smoothing: Fraction = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Equation 1, divided by 2: the mean over real and fake images."""
        # = BCE(sigmoid(real), 1 - label_smoothing)
        real_loss = F.softplus(-real) + self.label_smoothing * real
        return (real_loss.mean() + F.softplus(fake).mean()) / 2

    def generator(self, fake: Tensor) -> Tensor:
        """-log D(G(z)), which has a gradient where D is certain (section 3)."""
        return F.softplus(-fake).mean()

    def evaluation(self, real: Tensor) -> Tensor:
        """-log D(x), as the slides print it."""
        return F.softplus(-real).mean()


class Discriminator(nn.Module, ABC):
    """A trunk with output layers, and the losses of discriminator and generator.

    Args:
        trunk: Images (B, C, H, W) -> features (B, num_features).
        num_features: Number of features.
        num_classes: Number of classes, or None.
    """

    takes_classes = True

    def __init__(self, trunk: nn.Module, num_features: int, num_classes: int | None) -> None:
        super().__init__()
        if self.takes_classes != (num_classes is not None):
            model = "ConditionalGAN or SelfConditionedGAN" if self.takes_classes else "GAN"
            raise UserError(
                f"model.discriminator: {type(self).__name__} is for model.class_path {model}: "
                "choose that model or another discriminator"
            )
        self.trunk = trunk

    @abstractmethod
    def discriminator_loss(self, real: Examples, fake: Examples) -> tuple[Tensor, Stats]:
        """Computes D's loss on equally many real and fake images, and its accuracy on each."""

    @abstractmethod
    def generator_loss(self, fake: Examples, real: Examples) -> tuple[Tensor, Stats]:
        """Computes the generator's loss, and the fraction of its images that D classifies as real.

        The real images are for losses that compare pairs.
        """

    @abstractmethod
    def compute_realness(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Computes the logits (B,) for "these images are real"."""

    @abstractmethod
    def evaluate_real(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Computes loss and accuracy on real images alone, as the lecture prints them."""


DiscriminatorCallable = Callable[[nn.Module, int, int | None], Discriminator]


class PlainDiscriminator(Discriminator):
    """One logit: real or not (Goodfellow et al. 2014), with any adversarial loss.

    A subclass may also return logits of classes. Their cross-entropy, times `class_weight`, is then
    a part of both losses.
    """

    takes_classes = False
    class_weight = 0.0

    def __init__(
        self,
        trunk: nn.Module,
        num_features: int,
        num_classes: int | None,
        loss: LossCallable = NonSaturating,
    ) -> None:
        super().__init__(trunk, num_features, num_classes)
        self.loss = loss()
        self.realness = nn.Linear(num_features, 1)

    def forward(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Images (B, C, H, W), labels (B,) -> realness (B,), class logits (B, K) if any."""
        return full_precision(self.realness(self.trunk(images)).squeeze(1)), None

    def discriminator_loss(self, real: Examples, fake: Examples) -> tuple[Tensor, Stats]:
        with joined_batches(self, 2):
            realness, classes = self(*join(real, fake))
        of_real, of_fake = realness.chunk(2)
        limit, loss = self.loss.threshold, self.loss.discriminator(of_real, of_fake)
        stats = {"acc_real": accuracy(of_real > limit), "acc_fake": accuracy(of_fake < limit)}
        if classes is not None and real[1] is not None:
            real_classes = classes.chunk(2)[0]  # D is not trained on the classes of fakes
            loss = loss + self.class_weight * F.cross_entropy(real_classes, real[1])
            stats["acc_class"] = accuracy(real_classes.argmax(dim=1) == real[1])
        return loss, stats

    def generator_loss(self, fake: Examples, real: Examples) -> tuple[Tensor, Stats]:
        realness, classes = self(*fake)
        pair = [self(*real)[0]] if self.loss.pairs else []
        loss = self.loss.generator(realness, *pair)
        if classes is not None and fake[1] is not None:
            loss = loss + self.class_weight * F.cross_entropy(classes, fake[1])
        return loss, {"acc_generator": accuracy(realness > self.loss.threshold)}

    def compute_realness(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self(images, labels)[0] - self.loss.threshold

    def evaluate_real(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        realness, classes = self(images, labels)
        loss, hits = self.loss.evaluation(realness), realness > self.loss.threshold
        if classes is not None and labels is not None:
            loss = loss + self.class_weight * F.cross_entropy(classes, labels)
            hits = hits & (classes.argmax(dim=1) == labels)
        return loss, accuracy(hits)


def join(real: Examples, fake: Examples) -> Examples:
    """Concatenates real and generated images, because one batch takes less time than two."""
    labels = None if real[1] is None or fake[1] is None else torch.cat([real[1], fake[1]])
    return torch.cat([real[0], fake[0]]), labels


def accuracy(hits: Tensor) -> Tensor:
    """Returns the fraction of True in a batch (B,) of booleans."""
    return hits.float().mean()
