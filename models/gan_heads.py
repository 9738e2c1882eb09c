"""Discriminators: a trunk of features, one of these heads on top of it, and the losses with it.

A head is called as `head(trunk, num_features, num_classes)`, where `num_classes` may be None. A new
head is one class, here or in any other file, used by its import path.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.class_evidence import ClassProjection, nearness_within_classes
from models.distributed import stacked
from models.head import Examples, Head, Stats, full_precision, share
from models.losses import LossCallable, NonSaturating, normalized_sigmoid_cross_entropy
from runtime.ranges import NonNegative, NonNegativeFloat

FAKE = 0  # the class of generated images among the lecture's 1 + num_classes


class PlainHead(Head):
    """One logit: real or not (Goodfellow et al. 2014), with any adversarial loss."""

    takes_classes = False

    def __init__(
        self,
        trunk: nn.Module,
        num_features: int,
        num_classes: int | None,
        loss: LossCallable = NonSaturating,
    ) -> None:
        super().__init__(trunk, num_features, num_classes)
        self.loss = loss()
        self.pairs = self.loss.pairs
        self.realness = nn.Linear(num_features, 1)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) -> logits (B,)."""
        return full_precision(self.realness(self.trunk(images)).squeeze(1))

    def discriminator_loss(
        self, real: Tensor, real_labels: Tensor, fake: Tensor, fake_labels: Tensor | None
    ) -> tuple[Tensor, Stats]:
        with stacked(2):
            real_logits, fake_logits = self(torch.cat([real, fake])).chunk(2)
        limit = self.loss.threshold
        stats = {"acc_real": share(real_logits > limit), "acc_fake": share(fake_logits < limit)}
        return self.loss.discriminator(real_logits, fake_logits), stats

    def generator_loss(
        self, fake: Tensor, labels: Tensor | None, real: Examples | None = None
    ) -> tuple[Tensor, Stats]:
        logits, real_logits = self(fake), [] if real is None else [self(*real)]
        hits = share(logits > self.loss.threshold)
        return self.loss.generator(logits, *real_logits), {"acc_generator": hits}

    def real_logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self(images) - self.loss.threshold

    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self(images)
        return self.loss.evaluation(logits), share(logits > self.loss.threshold)


class SoftmaxHead(Head):
    """The lecture's 11 outputs for ten classes: 0 is "fake", k + 1 is class k."""

    def __init__(self, trunk: nn.Module, num_features: int, num_classes: int | None) -> None:
        super().__init__(trunk, num_features, num_classes)
        self.classes = nn.Linear(num_features, (num_classes or 0) + 1)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) -> logits (B, 1 + num_classes)."""
        return full_precision(self.classes(self.trunk(images)))

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss of logits (B, 1 + num_classes) for targets (B,)."""
        return F.cross_entropy(logits, target)

    def log_probability(self, logits: Tensor) -> Tensor:
        """Returns the log-probability of each class, up to a constant for each image."""
        return logits

    def discriminator_loss(
        self, real: Tensor, real_labels: Tensor, fake: Tensor, fake_labels: Tensor | None
    ) -> tuple[Tensor, Stats]:
        with stacked(2):
            logits = self(torch.cat([real, fake]))
        target = torch.cat([real_labels + 1, torch.full_like(real_labels, FAKE)])
        acc_real, acc_fake = (logits.argmax(dim=1) == target).float().chunk(2)
        stats = {"acc_real": acc_real.mean(), "acc_fake": acc_fake.mean()}
        return self.cross_entropy(logits, target), stats

    def generator_loss(
        self, fake: Tensor, labels: Tensor | None, real: Examples | None = None
    ) -> tuple[Tensor, Stats]:
        assert labels is not None
        logits, target = self(fake), labels + 1
        hits = share(logits.argmax(dim=1) == target)
        return self.cross_entropy(logits, target), {"acc_generator": hits}

    def real_logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        log_probability = self.log_probability(self(images))
        return log_probability[:, 1:].logsumexp(dim=1) - log_probability[:, FAKE]

    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits, target = self(images), labels + 1
        return self.cross_entropy(logits, target), share(logits.argmax(dim=1) == target)


class NormalizedSigmoidHead(SoftmaxHead):
    """The same outputs, as sigmoids divided by their sum, exactly as on the slides."""

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        return normalized_sigmoid_cross_entropy(logits, target)

    def log_probability(self, logits: Tensor) -> Tensor:
        return F.logsigmoid(logits)


class AuxiliaryHead(Head):
    """Two outputs: real or not, and which class (AC-GAN, Odena et al. 2016).

    Args:
        loss: The adversarial loss.
        class_weight: Weight of the class loss, 1 in AC-GAN.
    """

    def __init__(
        self,
        trunk: nn.Module,
        num_features: int,
        num_classes: int | None,
        loss: LossCallable = NonSaturating,
        class_weight: NonNegativeFloat = 1.0,
    ) -> None:
        super().__init__(trunk, num_features, num_classes)
        self.loss, self.class_weight = loss(), class_weight
        self.pairs = self.loss.pairs
        self.realness = nn.Linear(num_features, 1)
        self.classes = nn.Linear(num_features, num_classes or 0)

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W), labels (B,) -> realness (B,), class logits (B, num_classes)."""
        features = self.trunk(images)
        realness = full_precision(self.realness(features).squeeze(1))
        return realness + self.match(features, labels), full_precision(self.classes(features))

    def match(self, features: Tensor, labels: Tensor) -> Tensor | float:
        """Returns how well features fit the requested class, added to the realness."""
        return 0.0

    def discriminator_loss(
        self, real: Tensor, real_labels: Tensor, fake: Tensor, fake_labels: Tensor | None
    ) -> tuple[Tensor, Stats]:
        assert fake_labels is not None
        labels = torch.cat([real_labels, fake_labels])
        with stacked(2):
            realness, classes = self(torch.cat([real, fake]), labels)
        real_logits, fake_logits = realness.chunk(2)
        real_classes = classes.chunk(2)[0]  # D need not recognize what a bad fake shows
        loss = self.loss.discriminator(real_logits, fake_logits)
        return loss + self.class_weight * F.cross_entropy(real_classes, real_labels), {
            "acc_real": share(real_logits > self.loss.threshold),
            "acc_fake": share(fake_logits < self.loss.threshold),
            "acc_class": share(real_classes.argmax(dim=1) == real_labels),
        }

    def generator_loss(
        self, fake: Tensor, labels: Tensor | None, real: Examples | None = None
    ) -> tuple[Tensor, Stats]:
        assert labels is not None
        realness, classes = self(fake, labels)
        real_logits = [] if real is None else [self(*real)[0]]
        loss = self.loss.generator(realness, *real_logits)
        loss = loss + self.class_weight * F.cross_entropy(classes, labels)
        return loss, {"acc_generator": share(realness > self.loss.threshold)}

    def real_logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self(images, labels)[0] - self.loss.threshold

    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        realness, classes = self(images, labels)
        class_loss = F.cross_entropy(classes, labels)
        hits = (realness > self.loss.threshold) & (classes.argmax(dim=1) == labels)
        return self.loss.evaluation(realness) + self.class_weight * class_loss, share(hits)


class ProjectionHead(AuxiliaryHead):
    """Adds features . class embedding to the realness (Miyato and Koyama 2018, equation 4).

    Args:
        nearness: So many learned measures of how near an image is to the others of its class in the
            batch count for its realness: a generator whose images of a class are too much alike is
            found out (Salimans et al. 2016, minibatch discrimination, here within each class).
    """

    def __init__(
        self,
        trunk: nn.Module,
        num_features: int,
        num_classes: int | None,
        nearness: NonNegative = 0,
        **options: Any,
    ) -> None:
        super().__init__(trunk, num_features, num_classes, **options)
        self.embedding = ClassProjection(num_features, num_classes or 0)
        self.measures = None
        if nearness:
            self.measures = nn.Linear(num_features, nearness, bias=False)
            self.nearness = ClassProjection(nearness, num_classes or 0)

    def match(self, features: Tensor, labels: Tensor) -> Tensor:
        matches: Tensor = self.embedding(features, labels)
        if self.measures is None:
            return matches
        near = nearness_within_classes(full_precision(self.measures(features)), labels)
        return matches + self.nearness(near, labels)
