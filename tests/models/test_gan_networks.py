"""The networks of the GANs: the lecture's parameters, and images of any shape."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import GAN, ConditionalGAN
from models.gan.lecture import LectureGenerator, LectureTrunk, SoftmaxDiscriminator
from models.gan.networks import (
    ModernGenerator,
    ModernTrunk,
    count_doublings,
    count_features,
)
from models.layers import initialize_
from models.plane import PlaneGenerator, PlaneTrunk, PlaneVelocity
from models.unet import time_embedding
from runtime.errors import UserError
from tests.models.gans import LECTURE, LECTURE_CGAN, SHAPE


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_lecture_gan_has_the_parameters_of_the_slides():
    model = GAN(SHAPE, **LECTURE, latent_dim=100)
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
    assert model.generator(torch.zeros(2, 100)).shape == (2, *SHAPE)
    assert count(model.discriminator) == discriminator == 3_485_441


def test_the_lectures_layers_are_as_keras_makes_them():
    (norm,) = (part for part in LectureGenerator(4, SHAPE) if isinstance(part, nn.BatchNorm1d))
    assert (norm.eps, norm.momentum) == (1e-3, 0.01)
    (dropout,) = (part for part in LectureTrunk(SHAPE, 2) if isinstance(part, nn.Dropout))
    assert dropout.p == 0.5


def test_lecture_cgan_has_the_parameters_of_the_slides():
    model = ConditionalGAN(
        SHAPE, 10, discriminator=SoftmaxDiscriminator, **LECTURE_CGAN, latent_dim=100
    )
    discriminator = (
        (5 * 5 * 1 * 128 + 128)
        + (5 * 5 * 128 * 256 + 256)
        + (256 * 5 * 5 * 1024 + 1024)
        + (1024 * 11 + 11)  # fake, and ten digits
    )
    assert count(model.generator) == 6_751_233 + 10 * 1024  # ten one-hot features more
    assert count(model.discriminator) == discriminator == 7_388_683


def test_drawn_points_start_around_the_middle_of_the_plane():
    generator = PlaneGenerator(4, (2,))
    points = generator(torch.randn(2000, 4))
    torch.testing.assert_close(points.mean(dim=0), torch.tensor([0.5, 0.5]), atol=0.1, rtol=0)


def test_networks_of_the_plane_see_it_four_times_as_large():
    generator, trunk, velocity = PlaneGenerator(3, (2,)), PlaneTrunk((2,)), PlaneVelocity((2,), 2)
    features, points, times = torch.randn(5, 3), torch.rand(5, 2), torch.rand(5)
    layers = nn.Sequential(*generator)
    torch.testing.assert_close(generator(features), 0.5 + layers(features) / 4)
    torch.testing.assert_close(trunk(points), nn.Sequential(*trunk)(8 * points - 4))
    classes = torch.eye(2)[torch.arange(5) % 2]
    known = torch.cat([4 * points, time_embedding(times), classes], dim=1)
    expected = points + (1 - times[:, None]) * velocity.layers(known)
    torch.testing.assert_close(velocity(points, times, classes), expected)


SHAPES = [  # with the sizes of the smallest feature maps of generator and trunk
    (SHAPE, (7, 7), (4, 4)), ((3, 16, 64), (4, 16), (2, 8)), ((3, 32, 32), (4, 4), (4, 4)),
    ((3, 20, 36), (5, 9), (3, 5)), ((1, 64, 64), (4, 4), (4, 4)), ((3, 96, 48), (12, 6), (12, 6)),
    ((3, 256, 256), (4, 4), (4, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "first", "last"), SHAPES)
@pytest.mark.parametrize("options", [{}, {"detail": 3}], ids=str)
def test_modern_networks_take_images_of_any_allowed_shape(shape, first, last, options):
    generator = ModernGenerator(7, shape, width=2, **options)
    images = generator(torch.randn(3, 7))
    assert images.shape == (3, *shape)
    assert 0 <= images.min() < images.max() <= 1
    doublings = int(math.log2(shape[1] // first[0]))
    assert next(p for p in generator if isinstance(p, nn.Unflatten)).unflattened_size == (
        min(2**doublings, 16), *first
    )  # fmt: skip
    trunk = ModernTrunk(shape, width=2, **options)
    features = 2 * min(2 ** (max(3, doublings) - 1), 8) * last[0] * last[1]
    assert count_features(trunk, shape) == features
    assert trunk(images).shape == (3, features)


def test_every_multiple_of_four_is_reached_by_doublings():
    for side in range(16, 257, 4):
        doublings = count_doublings((side, side))
        assert side >> doublings >= 4
        assert side % 2**doublings == 0
        assert side % 2 ** (doublings + 1) or side >> (doublings + 1) < 4
    assert count_doublings((64, 36)) == 2


def test_the_modern_generator_is_its_layers_written_out():
    model = ModernGenerator(3, (1, 16, 20), width=2, hidden=(5,)).double().eval()
    with_weights: Any = [part for part in model if [*part.parameters()]]
    hidden, norm_1, dense, norm_2, up, norm_3, out = with_weights

    def normed(values: Tensor, norm: Any) -> Tensor:
        nn.init.normal_(norm.weight)  # its running mean is 0, its variance 1
        nn.init.normal_(norm.bias)
        scaled = values.movedim(1, -1) / (1 + 1e-5) ** 0.5 * norm.weight + norm.bias
        return scaled.clamp(min=0).movedim(-1, 1)

    def doubled(images: Tensor, layer: Any) -> Tensor:
        large = images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return F.conv2d(large, layer.weight, layer.bias, padding=2)

    features = torch.randn(4, 3).double()
    images = normed(features @ hidden.weight.T, norm_1) @ dense.weight.T
    images = normed(doubled(normed(images.view(4, 4, 4, 5), norm_2), up), norm_3)
    expected = 1 / (1 + (-doubled(images, out)).exp())
    torch.testing.assert_close(model(features), expected)


def test_the_modern_trunk_is_its_layers_written_out():
    model, images = ModernTrunk((1, 16, 20), width=2).double(), torch.rand(4, 1, 16, 20).double()
    expected = images
    for layer in (part for part in model if isinstance(part, nn.Conv2d)):
        expected = F.conv2d(expected, layer.weight, layer.bias, stride=2, padding=1)
        expected = torch.where(expected > 0, expected, 0.2 * expected)
    torch.testing.assert_close(model(images), expected.flatten(1))


def test_features_may_also_go_around_the_hidden_layers():
    generator = ModernGenerator(6, SHAPE, width=2, hidden=(16, 8), skip=True).eval()
    layers, last = generator[0], generator[1]
    nn.init.zeros_(layers[0].weight)  # so the hidden layers say nothing
    features = torch.randn(3, 6)
    around = features @ last.weight[:, 8:].T
    assert torch.allclose(last(layers(features)), around + last(layers(torch.zeros(1, 6))))


def test_a_transposed_convolution_doubles_the_size_and_starts_as_glorot_says():
    plain, transposed = (ModernGenerator(6, SHAPE, width=2, transposed=t) for t in (False, True))
    assert plain(torch.randn(2, 6)).shape == transposed(torch.randn(2, 6)).shape == (2, *SHAPE)
    (layer,) = (part for part in transposed if isinstance(part, nn.ConvTranspose2d))
    initialize_(transposed, "glorot")
    assert not layer.bias.any()
    assert 0.9 < layer.weight.abs().max() / (6 / ((4 + 2) * 16)) ** 0.5 <= 1


@pytest.mark.parametrize("shape", [(2, 28, 28), (1, 30, 28), (1, 12, 28), (1, 28, 260)])
@pytest.mark.parametrize("network", [partial(ModernGenerator, 7), ModernTrunk])
def test_modern_networks_refuse_other_shapes_in_one_line(network, shape):
    with pytest.raises(UserError, match="multiples of 4 from 16 to 256") as caught:
        network(shape)
    assert "\n" not in str(caught.value)


def test_a_trunk_must_end_in_features():
    with pytest.raises(UserError, match=r"returns shape \(1, 1, 28, 28\)"):
        count_features(nn.Identity(), SHAPE)
