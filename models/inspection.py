"""Views into a network: activation maximization, its first filters, and occlusion maps."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from models.base import eval_mode
from runtime.errors import UserError

Forward = Callable[[Tensor], Any]
CHUNK = 128  # independent inputs, optimized as one batch


def maximize(
    network: nn.Module,
    layer_name: str,
    units: Sequence[int] | None,
    input_shape: Sequence[int],
    steps: int = 200,
    lr: float = 0.05,
    jitter: int = 0,
    blur: float = 0.0,
    l2: float = 0.0,
    seed: int = 0,
    *,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    forward: Forward | None = None,
) -> Tensor:
    """Computes inputs (U, *input_shape) that excite a layer's units, by gradient ascent from noise.

    Erhan et al. 2009, "Visualizing higher-layer features of a deep network". Each step adds the
    gradient of the unit's activation, scaled to unit root mean square, then decays, blurs and
    clips the input. All units start from the same noise. The network does not change.

    Args:
        network: The network.
        layer_name: A submodule with output (B, units, ...), as `network.named_modules()` calls it.
            Before the activation function gradients do not vanish.
        units: U features or channels of that layer; a channel's activation is its mean over
            positions. None: all.
        input_shape: Shape of one input without the batch.
        steps: Steps of gradient ascent.
        lr: Root mean square of a step, in parts of the input's range.
        jitter: Largest cyclic shift in pixels before each step, undone after it, so the result does
            not depend on exact positions (Mordvintsev et al. 2015, "Inceptionism").
        blur: Standard deviation in pixels of a Gaussian that smooths the image after each step
            (Yosinski et al. 2015, "Understanding neural networks through deep visualization").
        l2: Share by which the input shrinks towards 0 at each step: L2 decay.
        seed: Seed of the noise and the jitter.
        bounds: The valid range of inputs, kept at every step; None: no bounds.
        forward: Runs the network on inputs (B, *input_shape), if it is not called directly.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    low, high = bounds or (-0.5, 0.5)  # unbounded inputs start at noise around 0
    random = torch.Generator().manual_seed(seed)
    noise = torch.rand(1, *input_shape, generator=random) * (high - low) + low
    shifts = torch.randint(-jitter, jitter + 1, (steps, 2), generator=random).tolist()
    run = forward or network
    with frozen(network), torch.enable_grad():
        count = _record(network, layer_name, noise.to(device), run).shape[1]
        wanted = torch.tensor(range(count) if units is None else list(units), device=device)
        for unit in wanted.tolist():
            if not 0 <= unit < count:
                raise UserError(
                    f"layer {layer_name!r} has no unit {unit}: choose one of 0..{count - 1}"
                )
        images = []
        for chunk in wanted.split(CHUNK):
            image = noise.to(device).repeat(len(chunk), *[1] * len(input_shape))
            for shift in shifts:
                image = torch.roll(image, shift, dims=(-2, -1)) if jitter else image
                image = image + lr * (high - low) * _ascent(network, layer_name, chunk, image, run)
                image = torch.roll(image, [-s for s in shift], dims=(-2, -1)) if jitter else image
                image = image * (1 - l2)
                image = gaussian_blur(image, 2 * math.ceil(2 * blur) + 1, blur) if blur else image
                image = image if bounds is None else image.clamp(*bounds)
            images.append(image)
    return torch.cat(images)


def _ascent(
    network: nn.Module, layer_name: str, units: Tensor, image: Tensor, run: Forward
) -> Tensor:
    """Returns the gradients (U, ...) of unit u at image u, each with root mean square 1."""
    image = image.detach().requires_grad_()
    activation = _record(network, layer_name, image, run)  # (U, units)
    if not activation.requires_grad:
        raise UserError(f"layer {layer_name!r} does not depend on the input")
    (gradient,) = torch.autograd.grad(activation.gather(1, units[:, None]).sum(), image)
    norm = gradient.flatten(1).norm(dim=1) / math.sqrt(gradient[0].numel())
    return gradient / norm.clamp(min=1e-30).view(-1, *[1] * (image.dim() - 1))


@torch.no_grad()
def activations(
    network: nn.Module, layer_name: str, inputs: Tensor, forward: Forward | None = None
) -> Tensor:
    """Computes a layer's activation (B, units) for inputs (B, ...), as means over positions."""
    with frozen(network):
        chunks = inputs.split(CHUNK)
        return torch.cat([_record(network, layer_name, x, forward or network) for x in chunks])


class _LayerReachedError(Exception):
    """Ends a forward pass at the requested layer; the layers behind it need not run."""

    def __init__(self, features: Tensor) -> None:
        self.features = features


def _record(network: nn.Module, layer_name: str, inputs: Tensor, run: Forward) -> Tensor:
    """Runs the network up to the named submodule and returns its output (B, units)."""

    def stop(module: nn.Module, args: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() > 1:
            features = output.float()
            raise _LayerReachedError(features.flatten(2).mean(2) if output.dim() > 2 else features)

    hook = find_layer(network, layer_name).register_forward_hook(stop)
    try:
        run(inputs)
    except _LayerReachedError as reached:
        return reached.features
    finally:
        hook.remove()
    raise UserError(
        f"layer {layer_name!r} gives no features of a batch: choose one of {_names(network)}"
    )


def find_layer(network: nn.Module, layer_name: str) -> nn.Module:
    """Returns the submodule of this name."""
    layers = dict(network.named_modules())
    if not layer_name or layer_name not in layers:
        raise UserError(f"the network has no layer {layer_name!r}: choose one of {_names(network)}")
    return layers[layer_name]


def _names(network: nn.Module) -> str:
    """Lists all layers by name and type."""
    layers = network.named_modules()
    return ", ".join(f"{name} ({type(layer).__name__})" for name, layer in layers if name)


def last_layer(network: nn.Module) -> str:
    """Returns the name of the last layer with weights: in a classifier, that of the logits."""
    layers = network.named_modules()
    names = [name for name, layer in layers if name and list(layer.parameters(recurse=False))]
    if not names:
        raise UserError("the network has no layer with weights")
    return names[-1]


def first_layer_filters(network: nn.Module, input_shape: Sequence[int]) -> Tensor:
    """Returns the weights of the first layer as pictures (units, height, width).

    The pictures are the kernels of a convolution, or have the size of the images (C, H, W) if the
    layer is fully connected. Both are means over the input's channels.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            return layer.weight.detach().float().mean(dim=1)
        if isinstance(layer, nn.Linear) and layer.in_features == math.prod(input_shape):
            return layer.weight.detach().float().unflatten(1, tuple(input_shape)).mean(dim=1)
    raise UserError("no convolution or fully connected layer of the network gets the image")


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Sets eval mode and no gradients for parameters inside the block; restores both afterwards."""
    flags = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    with eval_mode(network):
        network.requires_grad_(False)
        try:
            yield
        finally:
            for parameter, flag in flags:
                parameter.requires_grad_(flag)


@torch.no_grad()
def occlusion_map(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    size: int,
    stride: int,
    *,
    fill: float,
    probabilities: Forward,
) -> Tensor:
    """Computes the probability of the true class while a grey square covers each place in turn.

    Zeiler and Fergus 2013, "Visualizing and understanding convolutional networks", section 4.2.

    Args:
        network: Images (B, C, H, W) -> logits (B, classes); run in eval mode.
        images: Images (N, C, H, W).
        targets: True classes (N,), int64.
        size: Side of the square in pixels.
        stride: Pixels from one place to the next.
        fill: Value of the square's pixels.
        probabilities: From logits (B, classes) to probabilities.

    Returns:
        Probabilities (N, H', W') with H' = (H - size) // stride + 1, and W' alike. Entry (i, j)
        is for the square with its corner at (i * stride, j * stride).
    """
    rows, columns = (range(0, side - size + 1, stride) for side in images.shape[2:])
    found = []
    with eval_mode(network):
        for top, left in itertools.product(rows, columns):
            covered = images.clone()
            covered[:, :, top : top + size, left : left + size] = fill
            shares = probabilities(network(covered).float())
            found.append(shares.gather(1, targets[:, None]))
    return torch.cat(found, dim=1).view(len(images), len(rows), len(columns))
