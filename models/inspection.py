"""Views into a network: activation maximization, its first filters, and occlusion maps."""

import itertools
import math
from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from runtime.errors import UserError

MIN_FILTER_SIDE = 5  # least side of a filter whose picture shows a shape


def maximize_units(
    network: nn.Module,
    layer_name: str,
    input_shape: Sequence[int],
    steps: int = 200,
    lr: float = 0.05,
    jitter: int = 1,
    blur: float = 0.5,
    l2: float = 0.02,
    seed: int = 0,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    most: int = 100,
) -> tuple[Tensor, Tensor]:
    """Computes inputs that excite a layer's units, by gradient ascent from noise.

    Erhan et al. 2009, "Visualizing higher-layer features of a deep network". Each step adds the
    gradient of the unit's activation, scaled to unit root mean square, then decays, blurs and
    clips the input. All units start from the same noise. The network does not change.

    Args:
        network: The network.
        layer_name: A submodule with output (B, units, ...), as `network.named_modules()` calls it.
            Before the activation function gradients do not vanish. The activation of a channel is
            its mean over positions.
        input_shape: Shape of one input without the batch.
        steps: Steps of gradient ascent.
        lr: Root mean square of a step, in parts of the input's range.
        jitter: Largest cyclic shift in pixels before each step, undone after it, so the result does
            not depend on exact positions (Mordvintsev et al. 2015, "Inceptionism").
        blur: Standard deviation in pixels of a Gaussian that smooths the image after each step
            (Yosinski et al. 2015, "Understanding neural networks through deep visualization").
        l2: L2 decay: fraction by which the input shrinks toward 0 at each step.
        seed: Seed of the noise and the jitter.
        bounds: The valid range of inputs, kept at every step.
        most: Only the layer's first units, at most this many.

    Returns:
        The inputs (U, *input_shape) of U units, and the activation (U,) that each reaches.

    Raises:
        UserError: If there is no such layer.
    """
    network = deepcopy(network).eval().requires_grad_(False)
    device = next(network.parameters()).device
    low, high = bounds
    random = torch.Generator().manual_seed(seed)
    noise = torch.rand(1, *input_shape, generator=random) * (high - low) + low
    shifts = torch.randint(-jitter, jitter + 1, (steps, 2), generator=random).tolist()
    count = min(most, _features(network, layer_name, noise.to(device)).shape[1])
    image = noise.to(device).repeat(count, *[1] * len(input_shape))
    for shift in shifts:
        image = torch.roll(image, shift, dims=(-2, -1)).requires_grad_()
        features = _features(network, layer_name, image)
        (gradient,) = torch.autograd.grad(features.diagonal().sum(), image)
        norm = gradient.flatten(1).norm(dim=1) / math.sqrt(noise.numel())
        gradient /= norm.clamp(min=1e-30).view(-1, *[1] * len(input_shape))
        image = image.detach() + lr * (high - low) * gradient
        image = torch.roll(image, [-s for s in shift], dims=(-2, -1)) * (1 - l2)
        image = gaussian_blur(image, 2 * math.ceil(2 * blur) + 1, blur) if blur else image
        image = image.clamp(low, high)
    return image, _features(network, layer_name, image).diagonal()


def _features(network: nn.Module, layer_name: str, inputs: Tensor) -> Tensor:
    """Returns the output (B, units) of a submodule for inputs (B, ...), averaged over positions."""
    layers = dict(network.named_modules())
    if not layer_name or layer_name not in layers:
        names = ", ".join(
            f"{name} ({type(part).__name__})" for name, part in layers.items() if name
        )
        raise UserError(f"the network has no layer {layer_name!r}: choose one of {names}")
    features = []

    def record(module: nn.Module, args: object, output: Tensor) -> None:
        # A copy, because the next layer may change the output in place.
        features.append(output.flatten(2).mean(2) if output.dim() > 2 else output.clone())

    with layers[layer_name].register_forward_hook(record):
        network(inputs)
    return features[-1].float()


def last_layer(network: nn.Module) -> str:
    """Returns the name of the last layer with weights: in a classifier, that of the logits."""
    layers = network.named_modules()
    return [name for name, layer in layers if list(layer.parameters(recurse=False))][-1]


def first_layer_filters(network: nn.Module, input_shape: Sequence[int]) -> Tensor | None:
    """Returns the weights of the first layer as pictures (units, height, width).

    The pictures are the kernels of a convolution, or have the size of the images (C, H, W) if the
    layer is fully connected. Both are means over the input's channels. None if they are too small
    to show a shape.
    """
    for layer in network.modules():
        weight = None
        if isinstance(layer, nn.Conv2d):
            weight = layer.weight
        elif isinstance(layer, nn.Linear) and layer.in_features == math.prod(input_shape):
            weight = layer.weight.unflatten(1, tuple(input_shape))
        if weight is not None:
            filters = weight.detach().float().mean(dim=1)
            return filters if min(filters.shape[1:]) >= MIN_FILTER_SIDE else None
    return None


@torch.no_grad()
def occlusion_map(
    probabilities: Callable[[Tensor], Tensor],
    images: Tensor,
    targets: Tensor,
    size: int,
    stride: int,
    fill: float,
) -> Tensor:
    """Computes the probability of the true class with a gray square at each position.

    Zeiler and Fergus 2013, "Visualizing and understanding convolutional networks", section 4.2.

    Args:
        probabilities: From images (B, C, H, W) to probabilities (B, classes).
        images: Images (N, C, H, W).
        targets: True classes (N,), int64.
        size: Side of the square in pixels.
        stride: Pixels from one place to the next.
        fill: Value of the square's pixels.

    Returns:
        Probabilities (N, H', W') with H' = (H - size) // stride + 1, and W' alike. Entry (i, j)
        is for the square with its corner at (i * stride, j * stride).
    """
    rows, columns = (range(0, side - size + 1, stride) for side in images.shape[2:])
    maps = []
    for top, left in itertools.product(rows, columns):
        covered = images.clone()
        covered[:, :, top : top + size, left : left + size] = fill
        maps.append(probabilities(covered).gather(1, targets[:, None]))
    return torch.cat(maps, dim=1).view(len(images), len(rows), len(columns))
