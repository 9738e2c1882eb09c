"""The U-Net of flows against its layers, written out, and what it refuses."""

import pytest
import torch
from torch.nn import functional as F

from models import UNet
from models.unet import FREQUENCIES, time_embedding
from runtime.errors import UserError


def embedding(times: torch.Tensor) -> torch.Tensor:
    """Sines, then cosines, of 16 rates from 1 to 100 that grow by equal factors."""
    rates = 100 ** (torch.arange(16, dtype=times.dtype) / 15)
    return torch.cat([(times[:, None] * rates).sin(), (times[:, None] * rates).cos()], dim=1)


def test_a_time_is_told_by_its_sines_and_cosines():
    found = time_embedding(torch.tensor([0.0, 0.25]))
    assert torch.equal(found[0], torch.tensor([0.0, 1.0]).repeat_interleave(FREQUENCIES))
    times = torch.linspace(0, 1, 7, dtype=torch.float64)
    torch.testing.assert_close(time_embedding(times), embedding(times))
    # Half precision has three digits only
    assert time_embedding(times.bfloat16()).dtype == torch.float32


def written_out(network: UNet, points: torch.Tensor, times: torch.Tensor, classes: torch.Tensor):
    """The network of one block on each side and in the middle, from its weights alone."""
    w = dict(network.named_parameters())

    def linear(name, values):
        return values @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm_silu_convolution(name, images):
        return F.conv2d(F.silu(norm(f"{name}.0", images)), w[f"{name}.2.weight"],
                        w[f"{name}.2.bias"], padding=1)  # fmt: skip

    def norm(name, images):
        centered = images - images.mean(dim=1, keepdim=True)
        scaled = centered / (centered.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
        return scaled * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]

    def block(name, images):
        scale, shift = linear(f"{name}.tell", told)[:, :, None, None].chunk(2, dim=1)
        inner = norm(f"{name}.norm", norm_silu_convolution(f"{name}.first", images))
        inner = F.silu(inner * (1 + scale) + shift)
        second = w[f"{name}.second.weight"], w[f"{name}.second.bias"]
        return images + F.conv2d(inner, *second, padding=1)

    told = F.silu(linear("time.0", embedding(times)))
    told = F.silu(linear("time.2", told) + classes @ w["label.weight"].T)
    t = times[:, None, None, None]
    # of a point t x + (1 - t) noise, where the clean x has a standard deviation of a half
    variance = t.square() / 4 + (1 - t).square()
    patches = F.pixel_unshuffle(points / variance.sqrt(), 2)
    fine = F.conv2d(patches, w["enter.weight"], w["enter.bias"], padding=1)
    fine = block("levels.down.0", fine)
    coarse = F.conv2d(fine, w["levels.shrink.weight"], w["levels.shrink.bias"], stride=2)
    coarse = block("levels.inner.0", coarse)
    back = F.conv_transpose2d(
        coarse, w["levels.enlarge.weight"], w["levels.enlarge.bias"], stride=2
    )
    fine = block("levels.up.0", fine + back)
    output = F.pixel_shuffle(norm_silu_convolution("leave", fine), 2)
    return t / 4 / variance * points + (1 - t) / 2 / variance.sqrt() * output


def network(shape: tuple[int, ...] = (3, 8, 12), classes: int = 2) -> UNet:
    """A small network, in which the layers that begin at 0 have weights as well."""
    made = UNet(shape, classes, (4, 6), (1, 1)).double()
    for values in made.parameters():
        torch.nn.init.normal_(values, std=0.3)
    return made


def test_the_network_is_its_layers_written_out():
    model = network()
    points, times = torch.randn(5, 3, 8, 12).double(), torch.rand(5).double()
    classes = torch.rand(5, 2).double()
    found, expected = model(points, times, classes), written_out(model, points, times, classes)
    assert found.shape == points.shape
    torch.testing.assert_close(found, expected)


def test_details_go_around_the_coarse_half():
    """Without what comes back from it, the input still decides the output."""
    model, points = network(), torch.randn(2, 3, 8, 12).double()
    for values in model.levels.enlarge.parameters():
        torch.nn.init.zeros_(values)
    one, other = model.layers(points, torch.zeros(2).double(), torch.zeros(2, 2).double())
    assert (one - other).abs().max() > 0.01


def test_a_new_block_returns_its_input():
    images, told = torch.randn(2, 4, 4, 4), torch.randn(2, 16)
    block = UNet((1, 8, 8), 0, (4, 6), (1, 1)).levels.down[0]
    assert torch.equal(block(images, told), images)


def test_a_pixel_depends_on_its_surroundings_alone():
    """The work grows with the number of pixels only."""
    points = torch.randn(1, 3, 4, 160).double().requires_grad_()
    clean = network((3, 4, 160))(points, torch.zeros(1).double(), torch.zeros(1, 2).double())
    (gradient,) = torch.autograd.grad(clean[0, 0, 0, 0], points)
    assert gradient[..., :4].abs().min() > 0
    assert gradient[..., 80:].abs().max() == 0


def test_the_network_returns_a_point_that_is_clean_already():
    points = torch.randn(3, 1, 8, 8)
    clean = UNet((1, 8, 8), 2, (4, 8), (1, 1))(
        points, torch.tensor([1.0, 1.0, 0.5]), torch.zeros(3, 2)
    )
    assert torch.equal(clean[:2], points[:2])
    assert not torch.allclose(clean[2], points[2])


def test_the_network_has_the_weights_of_its_layers():
    def convolution(inputs: int, outputs: int, side: int) -> int:
        return inputs * outputs * side**2 + outputs

    def block(width: int) -> int:
        return 2 * convolution(width, width, 3) + 4 * width + 2 * width * (told + 1)

    width, inner, told = 32, 64, 128
    expected = (2 * FREQUENCIES + 1) * told + (told + 1) * told + 10 * told  # the time, the class
    expected += convolution(4, width, 3) + 4 * block(width) + 2 * width + convolution(width, 4, 3)
    expected += convolution(width, inner, 2) + 2 * block(inner) + convolution(inner, width, 2)
    assert sum(values.numel() for values in UNet((1, 28, 28), 10).parameters()) == expected


@pytest.mark.parametrize(("side", "widths", "sizes"), [(30, (4, 4), 4), (28, (4, 4, 4), 8)])
def test_images_that_the_levels_do_not_divide_are_refused(side, widths, sizes):
    with pytest.raises(UserError, match=f"multiples of {sizes}"):
        UNet((1, side, side), 10, widths)
    with pytest.raises(UserError, match="widths is empty"):
        UNet((1, side, side), 10, ())


def seen_by_the_first_pixel(model: UNet, points: torch.Tensor) -> torch.Tensor:
    """Where a change of the input (1, C, H, W) changes the first pixel: (H, W)."""
    points = points.double().requires_grad_()
    clean = model(points, torch.zeros(1).double(), torch.zeros(1, 2).double())
    return torch.autograd.grad(clean[0, 0, 0, 0], points)[0][0].abs().sum(dim=0) > 0


def test_each_level_halves_the_size():
    points = torch.randn(1, 1, 64, 64)
    reach = []
    for widths in ((4,), (4, 4), (4, 4, 4), (4, 4, 4, 4)):
        model = UNet((1, 64, 64), 2, widths, (1, 1)).double()
        for values in model.parameters():
            torch.nn.init.normal_(values, std=0.3)
        reach.append(int(seen_by_the_first_pixel(model, points).any(dim=0).sum()))
        assert (
            model(points.double(), torch.zeros(1).double(), torch.zeros(1, 2).double()).shape
            == points.shape
        )
    assert reach == sorted(set(reach))  # each level sees farther
