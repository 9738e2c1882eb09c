"""The lecture's networks to the last parameter; the fast forms equal to the plain ones."""

import pytest
import torch
from torch import nn

from models import GAN, ConditionalGAN
from models.gan_networks import TwoHeadedDiscriminator, modern_trunk


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_lecture_gan_has_the_parameters_of_the_slides() -> None:
    model = GAN(architecture="lecture", latent_dim=100)
    generator = (
        (100 * 1024 + 1024)  # Dense(1024) on 100 features
        + (1024 * 6272 + 6272)  # Dense(128 * 7 * 7)
        + 2 * 6272  # batch norm's scale and shift (its moving mean and variance are buffers)
        + (5 * 5 * 128 * 64 + 64)  # Conv2D(64, 5 x 5) on 128 channels
        + (5 * 5 * 64 * 1 + 1)  # Conv2D(1, 5 x 5) on 64 channels
    )
    discriminator = (
        (5 * 5 * 1 * 64 + 64)  # Conv2D(64, 5 x 5, same): 28 x 28, pooled 14 x 14
        + (5 * 5 * 64 * 128 + 128)  # Conv2D(128, 5 x 5, valid): 10 x 10, pooled 5 x 5
        + (128 * 5 * 5 * 1024 + 1024)  # Dense(1024)
        + (1024 * 1 + 1)  # Dense(1)
    )
    assert count(model.generator) == generator == 6_751_233
    assert count(model.discriminator) == discriminator == 3_485_441


def test_lecture_cgan_has_the_parameters_of_the_slides() -> None:
    model = ConditionalGAN(architecture="lecture", head="softmax", latent_dim=100)
    discriminator = (
        (5 * 5 * 1 * 128 + 128)
        + (5 * 5 * 128 * 256 + 256)
        + (256 * 5 * 5 * 1024 + 1024)
        + (1024 * 11 + 11)  # fake, and ten digits
    )
    assert count(model.generator) == 6_751_233 + 10 * 1024  # ten one-hot features more
    assert count(model.discriminator) == discriminator == 7_388_683


@pytest.mark.parametrize("architecture", ["lecture", "modern"])
def test_images_have_the_size_and_range_of_mnist(architecture: str) -> None:
    model = GAN(architecture=architecture, width=4, latent_dim=7)  # type: ignore[arg-type]
    images = model.generator(torch.randn(3, 7))
    assert images.shape == (3, 1, 28, 28)
    assert 0 <= images.min() < images.max() <= 1
    assert model.discriminator(images).shape == (3,)


def test_projection_judges_realness_by_the_class_asked_for() -> None:
    torch.manual_seed(0)
    head = TwoHeadedDiscriminator(modern_trunk(2), 64 * 2, num_classes=3, projection=True)
    image = torch.rand(1, 1, 28, 28).expand(3, -1, -1, -1)
    labels = torch.arange(3)
    realness, classes = head(image, labels)
    torch.testing.assert_close(realness, realness[:1].expand(3))  # embeddings start at zero
    assert head.embedding is not None
    with torch.no_grad():
        head.embedding.weight[1] = 1.0
    changed, same_classes = head(image, labels)
    features = head.trunk(image[:1])
    torch.testing.assert_close(changed - realness, torch.tensor([0, features.sum().item(), 0]))
    torch.testing.assert_close(classes, same_classes)
