"""The slides' two GANs: their networks, and the conditional discriminator with 11 outputs."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.fast_layers import Dropout, MaxPool2d
from models.gan.discriminator import Discriminator, Examples, Stats, accuracy, join
from models.gan.networks import ImageShape
from models.layers import (
    Flatten,
    Unflatten,
    UpsampleConv2d,
    full_precision,
    joined_batches,
    use_channels_last_,
)
from models.networks import LECTURE_IMAGES, activation_layer
from runtime.ranges import Positive

FAKE = 0  # the class of generated images among the 1 + num_classes


class LectureGenerator(nn.Sequential):
    """The lecture's generator: features (B, input_dim) -> images (B, 1, 28, 28) in [0, 1]."""

    def __init__(self, input_dim: int, image_shape: ImageShape) -> None:
        name = "model.generator: LectureGenerator"
        LECTURE_IMAGES.check(image_shape, name, "use ModernGenerator")
        super().__init__(
            nn.Linear(input_dim, 1024),
            nn.Tanh(),
            nn.Linear(1024, 128 * 7 * 7),
            nn.BatchNorm1d(128 * 7 * 7, eps=1e-3, momentum=0.01),  # Keras' defaults
            nn.Tanh(),
            Unflatten(1, (128, 7, 7)),
            UpsampleConv2d(128, 64, 5),  # 14 x 14
            nn.Tanh(),
            UpsampleConv2d(64, 1, 5),  # 28 x 28
            nn.Sigmoid(),
        )
        use_channels_last_(self)


class LectureTrunk(nn.Sequential):
    """The lecture's discriminators up to their last layer: (B, 1, 28, 28) -> (B, 1024).

    Max pooling comes before the activation, not after it as on the slides. For a monotone
    activation the values and gradients are the same, with a quarter of the activations.
    The slides' conditional GAN has 128 channels and `relu`.
    """

    def __init__(
        self, image_shape: ImageShape, channels: Positive = 64, activation: str = "tanh"
    ) -> None:
        LECTURE_IMAGES.check(image_shape, "model.trunk: LectureTrunk", "use ModernTrunk")
        super().__init__(
            nn.Conv2d(1, channels, 5, padding=2),
            MaxPool2d(2),  # 14 x 14
            activation_layer(activation),
            nn.Conv2d(channels, 2 * channels, 5),  # 10 x 10
            MaxPool2d(2),  # 5 x 5
            activation_layer(activation),
            Dropout(0.5),
            Flatten(),
            nn.Linear(2 * channels * 5 * 5, 1024),
            nn.Tanh(),
        )
        use_channels_last_(self)


class SoftmaxDiscriminator(Discriminator):
    """The lecture's 11 outputs for ten classes: 0 is "fake", k + 1 is class k."""

    def __init__(self, trunk: nn.Module, num_features: int, num_classes: int | None) -> None:
        super().__init__(trunk, num_features, num_classes)
        self.classes = nn.Linear(num_features, (num_classes or 0) + 1)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) -> logits (B, 1 + num_classes)."""
        return full_precision(self.classes(self.trunk(images)))

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss of logits (B, 1 + num_classes) for targets (B,)."""
        return F.cross_entropy(logits, target)

    def log_probability(self, logits: Tensor) -> Tensor:
        """Returns the log-probability of each class, up to a constant for each image."""
        return logits

    def discriminator_loss(self, real: Examples, fake: Examples) -> tuple[Tensor, Stats]:
        assert real[1] is not None
        with joined_batches(self, 2):
            logits = self(join(real, fake)[0])
        target = torch.cat([real[1] + 1, torch.full_like(real[1], FAKE)])
        acc_real, acc_fake = (logits.argmax(dim=1) == target).float().chunk(2)
        stats = {"acc_real": acc_real.mean(), "acc_fake": acc_fake.mean()}
        return self.cross_entropy(logits, target), stats

    def generator_loss(self, fake: Examples, real: Examples) -> tuple[Tensor, Stats]:
        loss, hits = self.evaluate_real(*fake)  # as if they were real
        return loss, {"acc_generator": hits}

    def compute_realness(self, images: Tensor, labels: Tensor | None) -> Tensor:
        log_probability = self.log_probability(self(images))
        return log_probability[:, 1:].logsumexp(dim=1) - log_probability[:, FAKE]

    def evaluate_real(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        assert labels is not None
        logits, target = self(images), labels + 1
        return self.cross_entropy(logits, target), accuracy(logits.argmax(dim=1) == target)


class NormalizedSigmoidDiscriminator(SoftmaxDiscriminator):
    """The same outputs, as sigmoids divided by their sum, exactly as on the slides."""

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        return normalized_sigmoid_cross_entropy(logits, target)

    def log_probability(self, logits: Tensor) -> Tensor:
        return F.logsigmoid(logits)


def normalized_sigmoid_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-log p[target] with p = sigmoid(logits) / sum(sigmoid(logits)); logits (B, C), target (B,).

    Equals Keras' `categorical_crossentropy` after a sigmoid output layer.
    """
    log_sigmoid = F.logsigmoid(logits)
    log_probability = log_sigmoid - log_sigmoid.logsumexp(dim=1, keepdim=True)
    return F.nll_loss(log_probability, target)
