"""A model's networks, layer by layer: as a list, and as a picture."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from lightning import LightningModule
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor, nn

from figures.style import styled
from models.base import eval_mode
from models.generative import is_generative

ROW, BOX, WIDTH, GAP = 0.5, 0.34, 5.0, 0.3  # inches: a row, its box, a column, between columns
LONGEST, COLUMNS = 16, 6  # rows of a column; columns, which are longer if these do not suffice
GREY = "#555555"


class Layer(NamedTuple):
    """A layer of a network, or one of the network's inputs."""

    kind: str
    output_shape: tuple[int, ...]  # without the batch
    parameters: int = 0
    is_input: bool = False


def layers_of(model: LightningModule) -> dict[str, list[Layer]]:
    """Returns inputs and layers of each network of a model, in the order of computation.

    Empty for a model that is not generative and has no tensor as `example_input_array`.
    """
    example: Any = model.example_input_array
    if not is_generative(model):
        if not isinstance(example, Tensor):
            return {}
        example = example.to(model.device)
        return {"network": _layers(model, lambda: model(example), {"input": example})}
    drawn = model.draw(2, torch.Generator().manual_seed(0))
    latents, labels = (x if x is None else x.to(model.device) for x in drawn)
    assert latents is not None
    given = {"noise": latents}
    if labels is not None:
        given["class"] = latents.new_zeros(2, model.num_classes or 1)
    images = latents.new_zeros(2, *model.image_shape)
    networks = {
        "generator": _layers(model.sampler, lambda: model(latents, labels), given),
        "discriminator": _layers(model, lambda: model.realness(images, labels), {"image": images}),
    }
    return {name: layers for name, layers in networks.items() if not layers[-1].is_input}


@torch.no_grad()
def _layers(
    network: nn.Module, compute: Callable[[], Any], inputs: dict[str, Tensor]
) -> list[Layer]:
    """Returns the inputs, and the modules with weights or without parts, as they are called.

    A module that is called twice has its parameters once.
    """
    found = [Layer(name, _shape(tensor), 0, True) for name, tensor in inputs.items()]
    counted: set[Tensor] = set()

    def record(module: nn.Module, args: Any, output: Any) -> None:
        leaf = all(name == "parametrizations" for name, _ in module.named_children())
        own = {p for name, p in module.named_parameters() if leaf or "." not in name} - counted
        counted.update(own)
        if isinstance(output, Tensor) and (leaf or own):
            kind = type(module).__name__.removeprefix("Parametrized")
            found.append(Layer(kind, _shape(output), sum(p.numel() for p in own)))

    parts = [part for name, part in network.named_modules() if "parametrizations" not in name]
    hooks = [part.register_forward_hook(record) for part in parts]
    try:
        with eval_mode(network):
            compute()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(tensor.shape[1:]) or (1,)


@styled
def draw_networks(networks: dict[str, list[Layer]]) -> Figure:
    """Draws each network as boxes from top to bottom, in several columns if there are many."""
    columns: list[tuple[str, list[Layer]]] = []
    for name, layers in networks.items():
        rows = -(-len(layers) // min(COLUMNS, -(-len(layers) // LONGEST)))
        title = f"{name}: {sum(layer.parameters for layer in layers):,} parameters"
        for start in range(0, len(layers), rows):
            columns.append(("" if start else title, layers[start : start + rows]))
    longest = max(len(layers) for _, layers in columns)
    width = len(columns) * (WIDTH + GAP) + GAP
    figure = Figure((width, ROW * (longest + 1.8)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(ROW * (longest + 0.2), -1.6 * ROW))
    axes.axis("off")
    for place, (title, layers) in enumerate(columns):
        left = GAP + place * (WIDTH + GAP)
        axes.text(left, -1.1 * ROW, title, size=14, weight="bold", va="center")
        _write_cells(axes, left, -0.4 * ROW, ("layer", "output shape", "parameters"), color=GREY)
        for row, layer in enumerate(layers):
            y = (row + 0.5) * ROW
            colour = "white" if layer.is_input else "#cfe3f5" if layer.parameters else "#f2f2f2"
            corner = left, y - BOX / 2
            axes.add_patch(FancyBboxPatch(corner, WIDTH, BOX, "round,pad=0", fc=colour, ec=GREY))
            shape = " x ".join(map(str, layer.output_shape))
            count = f"{layer.parameters:,}" if layer.parameters else ""
            _write_cells(axes, left, y, (layer.kind, shape, count))
    return figure


def _write_cells(axes: Any, left: float, y: float, cells: Sequence[str], **style: Any) -> None:
    places = ((0.12, "left"), (3.2, "center"), (WIDTH - 0.1, "right"))
    for (x, side), text in zip(places, cells, strict=True):
        axes.text(left + x, y, text, size=12, ha=side, va="center", **style)
