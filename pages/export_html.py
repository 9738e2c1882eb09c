"""A generator as a page that draws in a browser, offline: `export --format html`.

The network becomes a list of steps, and its weights one block of bytes. `generator.html` computes
the steps in JavaScript, `compute` here in PyTorch, both from the weights as they are in the file.
"""

import base64
import html
import json
import re
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.input_spec import class_names
from models.gan.networks import WithInput
from models.generative import Generative
from models.layers import UpsampleConv2d
from runtime.errors import UserError

PAGE_BYTES = 3_000_000  # bytes of the file
LARGE_MATRIX = 2**16  # weights of a matrix that may have fewer than 16 bits each
FINENESS = 0, *range(48, 10, -2)  # levels in a row's standard deviation, see `encode`; 0: float16
PAGE_TOLERANCE = 1e-2  # largest root mean square difference from PyTorch of an image in [0, 1]
LATENTS = 16  # for each class, to compare with
ELSEWHERE = "export it with --format onnx"
ACTIVATION_STEPS: dict[Any, str] = {
    nn.ReLU: "relu", nn.LeakyReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", nn.SiLU: "silu",
}  # fmt: skip
STEP_FUNCTIONS: dict[str, Any] = {
    "linear": F.linear, "convolve": F.conv2d, "up": F.conv_transpose2d, "relu": F.leaky_relu,
    "tanh": torch.tanh, "sigmoid": torch.sigmoid, "silu": F.silu, "reshape": lambda values: values,
}  # fmt: skip
TEMPLATE = Path(__file__).with_name("generator.html")
MODEL = re.compile(r'<script id="model" type="application/json">(.*?)</script>')

Shape = tuple[int, ...]  # (C, H, W) or (N,)


class Step(NamedTuple):
    """One operation on the values of an image."""

    kind: str  # the name of its function in generator.html
    shape: Shape  # of its result
    tensors: dict[str, Tensor] = {}
    settings: dict[str, Any] = {}


@torch.no_grad()
def save_page(model: Any, title: str, path: Path) -> float:
    """Writes a page that draws a generator's images by class, and walks between them.

    Weights are float16. If the file would then be larger than `LIMIT`, those of large matrices have
    8 bits or fewer, with a scale for each row, as fine as the limit allows.

    Args:
        model: A model that draws at once, with layers that the page has.
        title: Heading of the page.
        path: The file.

    Returns:
        The largest difference of a value in [0, 1] from PyTorch.

    Raises:
        UserError: The page cannot draw these images, in this size.
    """
    about, steps = describe(model)
    for fineness in FINENESS:
        content = write_page(title, about, steps, fineness)
        if len(content) <= PAGE_BYTES:
            path.write_bytes(content)
            return compare_with_model(model, *read_page(path.read_bytes()))
    count = sum(value.numel() for step in steps for value in step.tensors.values())
    raise UserError(
        f"{count / 1e6:.1f} million weights do not fit into {PAGE_BYTES / 1e6:.0f} MB: train a "
        f"narrower network (ModernGenerator has a width), or {ELSEWHERE}"
    )


def describe(model: Any) -> tuple[dict[str, Any], list[Step]]:
    """Returns the description of a model's inputs for a page, and the steps to its images."""
    kind = type(model).__name__
    if not isinstance(model, Generative):
        raise UserError(f"a page draws images, and {kind} does not: {ELSEWHERE}")
    if len(model.image_shape) != 3:
        raise UserError(f"a page draws images, and this {kind} points in the plane: {ELSEWHERE}")
    if model.steps is not None:
        raise UserError(f"a page draws at once, and {kind} in {model.steps} steps: {ELSEWHERE}")
    latents, labels = examples(model)
    inputs = inputs_of_sampler(model, latents, labels)
    steps, classes = [], model.num_classes
    if (limits := model.cluster_limits) is not None:
        steps = [Step("cluster", (inputs.shape[1],), {"limits": limits})]
    elif inputs.shape[1] != latents.shape[1] + (classes or 0):
        raise UserError(f"a page has no inputs like those of {kind}: {ELSEWHERE}")
    more, images = trace_steps(model.eval_network, inputs[:1])
    if tuple(images.shape[1:]) != tuple(model.image_shape):
        raise UserError(f"a page needs the network that returns {kind}'s images: {ELSEWHERE}")
    about = {
        "latent": model.latent,
        "latent_dim": model.latent_dim,
        "classes": None if classes is None else class_names(model.input_spec, classes),
        "class_length": 0.0 if classes is None else float(inputs[0, -classes:].max()),
        "image_shape": [*model.image_shape],
    }
    return about, steps + more


def examples(model: Any) -> tuple[Tensor, Tensor | None]:
    """Returns some latents for each class, and their labels if there are any."""
    latents, _ = model.draw_latents(LATENTS, torch.Generator().manual_seed(0))
    if model.num_classes is None:
        return latents, None
    labels = torch.arange(model.num_classes).repeat_interleave(LATENTS)
    return latents.repeat(model.num_classes, 1), labels


def inputs_of_sampler(model: Any, latents: Tensor, labels: Tensor | None) -> Tensor:
    """Returns the inputs of the network that generates the images."""
    seen: list[Tensor] = []
    hook = model.eval_network.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[:1]))
    model(latents[:1], None if labels is None else labels[:1])
    hook.remove()
    if not seen:
        raise UserError(
            f"{type(model).__name__} does not draw with its `eval_network`: {ELSEWHERE}"
        )
    return seen[0]


def trace_steps(layer: Any, values: Tensor) -> tuple[list[Step], Tensor]:
    """Returns the steps of a layer and of those inside, and its outputs for values (1, ...)."""
    if isinstance(layer, WithInput):
        steps, outputs = trace_steps(nn.Sequential(*layer), values)
        outputs = torch.cat([outputs, values], dim=1)
        shapes = tuple(values.shape[1:]), tuple(outputs.shape[1:])
        return [Step("keep", shapes[0]), *steps, Step("join", shapes[1])], outputs
    if type(layer).forward is nn.Sequential.forward:
        steps = []
        for part in layer:
            more, values = trace_steps(part, values)
            steps += more
        return steps, values
    outputs = layer(values)
    if isinstance(layer, nn.Linear) and values.dim() != 2:
        raise UserError(f"a page needs features (B, N) for {layer}: put a Flatten() before it")
    return [step_of_layer(layer, tuple(outputs.shape[1:]))], outputs


def step_of_layer(layer: Any, shape: Shape) -> Step:
    """Returns the step of a layer without others inside that has outputs of a shape."""
    if isinstance(layer, nn.Identity | nn.Dropout | nn.Flatten | nn.Unflatten):
        return Step("reshape", shape)
    for kind, name in ACTIVATION_STEPS.items():
        if isinstance(layer, kind):
            slope = {"negative_slope": getattr(layer, "negative_slope", 0.0)}
            return Step(name, shape, {}, slope if name == "relu" else {})
    bias = torch.zeros(shape[0]) if getattr(layer, "bias", None) is None else layer.bias
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.running_var is not None:
        scale = (layer.running_var + layer.eps).rsqrt()
        if layer.weight is not None:
            scale = scale * layer.weight
        assert layer.running_mean is not None
        return Step("affine", shape, {"scale": scale, "bias": bias - scale * layer.running_mean})
    if isinstance(layer, nn.Linear):
        return Step("linear", shape, {"weight": layer.weight, "bias": bias})
    if isinstance(layer, UpsampleConv2d):
        half = layer.weight.shape[2] // 2
        tensors = {"weight": transposed(layer.weight), "bias": bias}
        return Step("up", shape, tensors, {"stride": [2, 2], "padding": [half, half]})
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and is_plain(layer):
        settings = {"stride": [*layer.stride], "padding": [*layer.padding]}
        if layer.transposed:
            settings["output_padding"] = [*layer.output_padding]
        name = "up" if layer.transposed else "convolve"
        return Step(name, shape, {"weight": layer.weight, "bias": bias}, settings)
    name = type(layer).__name__ if [*layer.children()] else layer
    raise UserError(f"a page has no layer like {name}: {ELSEWHERE}")


def transposed(weight: Tensor) -> Tensor:
    """Weights (O, I, K, K) of `UpsampleConv2d` -> (I, O, K + 1, K + 1) of a transposed convolution.

    Each pixel of the upsampled image is one of four copies, so the kernels of the four are added.
    """
    taps = F.conv2d(weight.flatten(0, 1)[:, None].flip(2, 3), torch.ones(1, 1, 2, 2), padding=1)
    return taps.unflatten(0, weight.shape[:2])[:, :, 0].transpose(0, 1)


def is_plain(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Returns whether a convolution has a stride, a padding of zeros, and no other options."""
    in_numbers = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return in_numbers and layer.groups == 1 and {*layer.dilation} == {1}


def write_page(title: str, about: dict[str, Any], steps: list[Step], fineness: int) -> bytes:
    """Returns the file."""
    block, described = b"", []
    for kind, shape, tensors, settings in steps:
        places = {}
        for name, value in tensors.items():
            fine = fineness if value.dim() > 1 and value.numel() >= LARGE_MATRIX else 0
            places[name] = {"at": len(block), "shape": [*value.shape], "scaled": fine > 0}
            block += encode_tensor(value, fine)
        described.append({"kind": kind, "shape": shape, "tensors": places, **settings})
    packer = zlib.compressobj(9, strategy=zlib.Z_HUFFMAN_ONLY)
    weights = base64.b64encode(packer.compress(block) + packer.flush()).decode()
    model = json.dumps(about | {"steps": described, "weights": weights}).replace("<", "\\u003c")
    parts = {"title": html.escape(title), "model": model}
    template = TEMPLATE.read_text(encoding="utf-8")
    return re.sub("%(title|model)%", lambda match: parts[match[1]], template).encode()


def encode_tensor(value: Tensor, fineness: int) -> bytes:
    """Returns a vector in 32 bits, and a matrix in 16, or in 8 after a scale for each row.

    `fineness` is the number of levels per standard deviation of a row. Most weights are near 0 and
    few need all 8 bits, so compression shortens them.
    """
    if value.dim() == 1:
        return value.numpy().astype("<f4").tobytes()
    rows = value.flatten(1)
    if not fineness:
        return rows.numpy().astype("<f2").tobytes()
    spread, largest = rows.std(dim=1, correction=0), rows.abs().amax(dim=1)
    scales = torch.maximum(spread / fineness, largest / 127).clamp(min=1e-30)
    whole = (rows / scales[:, None]).round().to(torch.int8)
    return scales.numpy().astype("<f4").tobytes() + whole.numpy().tobytes()


def read_page(content: bytes) -> tuple[dict[str, Any], list[Step]]:
    """Returns what `describe` does, with the weights that are in the file."""
    match = MODEL.search(content.decode())
    assert match is not None
    about = json.loads(match[1])
    block = zlib.decompress(base64.b64decode(about.pop("weights")))
    steps = []
    for step in about.pop("steps"):
        tensors = {
            name: decode_tensor(block, **tensor) for name, tensor in step.pop("tensors").items()
        }
        steps.append(Step(step.pop("kind"), tuple(step.pop("shape")), tensors, step))
    return about, steps


def decode_tensor(block: bytes, at: int, shape: list[int], scaled: bool) -> Tensor:
    """Returns a tensor that `encode` wrote."""
    rows, count = shape[0], int(np.prod(shape))
    kind = "<f4" if len(shape) == 1 else "<f2"
    if not scaled:
        values = np.frombuffer(block, kind, count, at).astype(np.float32)
    else:
        scales = np.frombuffer(block, "<f4", rows, at)
        whole = np.frombuffer(block, np.int8, count, at + 4 * rows)
        values = whole.reshape(rows, -1) * scales[:, None]
    return torch.from_numpy(values.reshape(shape))


def compute(about: dict[str, Any], steps: list[Step], latents: Tensor, labels: Any) -> Tensor:
    """Generates images (B, C, H, W) in [0, 1] as the page does."""
    values, kept = latents, []
    if labels is not None:
        classes = F.one_hot(labels, len(about["classes"]))
        values = torch.cat([values, about["class_length"] * classes], dim=1)
    for kind, shape, tensors, settings in steps:
        if kind == "cluster":
            cluster = (values[:, -1:] >= tensors["limits"]).sum(dim=1)
            class_vectors = F.one_hot(cluster, len(tensors["limits"]) + 1)
            values = torch.cat([values[:, :-1], class_vectors], dim=1)
        elif kind == "keep":
            kept.append(values)
        elif kind == "join":
            values = torch.cat([values, kept.pop()], dim=1)
        elif kind == "affine":
            channels = -1, *[1] * (len(shape) - 1)
            values = values * tensors["scale"].view(channels) + tensors["bias"].view(channels)
        else:
            values = STEP_FUNCTIONS[kind](values, **tensors, **settings)
        values = values.reshape(-1, *shape)
    return values.clamp(0, 1)


def compare_with_model(model: Any, about: dict[str, Any], steps: list[Step]) -> float:
    """Returns the largest difference of what a page draws from what a model draws.

    Raises:
        UserError: An image differs by more than `TOLERANCE`.
    """
    latents, labels = examples(model)
    largest = 0.0
    for part in range(0, len(latents), 256):
        given = latents[part : part + 256], None if labels is None else labels[part : part + 256]
        differences = compute(about, steps, *given) - model(*given).clamp(0, 1)
        error = float(differences.square().flatten(1).mean(dim=1).sqrt().max())
        if not error <= PAGE_TOLERANCE:  # also if it is not a number
            raise UserError(
                f"an image differs from PyTorch's by {error:.4f}, and {PAGE_TOLERANCE} is allowed "
                f"(root mean square of its pixels): {ELSEWHERE}"
            )
        largest = max(largest, float(differences.abs().max()))
    return largest
