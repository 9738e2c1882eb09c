"""Picture of a model's networks: layers, output shapes, parameters and what each layer gets."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from figures.pictures import figures_folder, publish, styled
from models.gan import GAN
from models.layer_table import Layer, list_layers

ROW, BOX = 0.52, 0.36  # inches from layer to layer, and of a box
MARGIN, WIDTH = 0.7, 4.5  # inches to the left of a column, for arrows, and of its boxes
LANE = 0.11  # inches between arrows beside a column
LONGEST, COLUMNS = 16, 6  # rows of a column; columns, which are longer if these do not suffice
PAD, GREY = 0.02, "#555555"


class NetworkFigure(Callback):
    """Draws `network.png` and `.svg` of a new run's networks."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = figures_folder(trainer)
        if folder is None or trainer.ckpt_path:
            return
        if networks := layers_of(pl_module):
            publish(trainer, folder, "network", draw_networks(networks), vector=True)


def layers_of(model: LightningModule) -> dict[str, list[Layer]]:
    """Returns the layers of each network of a model; empty for a model that has no example."""
    example = model.example_input_array
    if isinstance(model, GAN):
        parameter = next(model.parameters())
        drawn, labels = model.draw(2, torch.Generator().manual_seed(0))
        latents = drawn.to(parameter)
        images = torch.zeros(2, *model.image_shape).to(parameter)
        given = {} if labels is None else {"class": labels.to(parameter.device)}
        classes = given.get("class")

        def generate() -> torch.Tensor:
            return model.generator(model.generator_input(latents, classes))

        def discriminate() -> torch.Tensor:
            return model.realness(images, classes)

        return {
            "generator": list_layers(model.generator, generate, {"noise": latents} | given),
            "discriminator": list_layers(
                model.discriminator, discriminate, {"image": images} | given
            ),
        }
    network = vars(model)["_modules"].get("network")
    if network is None or not isinstance(example, torch.Tensor):
        return {}
    inputs = example.to(next(model.parameters()))
    return {"network": list_layers(network, lambda: network(inputs), {"input": inputs})}


@styled
def draw_networks(networks: dict[str, list[Layer]]) -> Figure:
    """Draws each network as boxes from top to bottom, in several columns if there are many."""
    columns = [(name, *part) for name, layers in networks.items() for part in _parts(layers)]
    rows = max(stop - start for _, start, stop in columns)
    width = len(columns) * (MARGIN + WIDTH) + 0.2
    figure = Figure((width, ROW * (rows + 1.9)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(ROW * (rows + 0.3), -1.6 * ROW))
    axes.axis("off")
    for place, (name, start, stop) in enumerate(columns):
        left, layers = place * (MARGIN + WIDTH) + MARGIN, networks[name]
        if start == 0:
            total = sum(layer.parameters for layer in layers)
            title = f"{name}: {total:,} parameters"
            axes.text(left + 0.1, -1.1 * ROW, title, size=14, weight="bold", va="center")
        _write_cells(axes, left, -0.4 * ROW, ("layer", "output shape", "parameters"), color=GREY)
        for row, layer in enumerate(layers[start:stop]):
            _draw_box(axes, left, row, layer)
        _draw_arrows(axes, left, layers, start, stop)
    return figure


def _parts(layers: Sequence[Layer]) -> Iterator[tuple[int, int]]:
    """Yields the first layer of each column of a network, and the one behind its last."""
    rows = -(-len(layers) // min(COLUMNS, -(-len(layers) // LONGEST)))
    for start in range(0, len(layers), rows):
        yield start, min(start + rows, len(layers))


def _middle(row: int) -> float:
    return (row + 0.5) * ROW


def _draw_box(axes: Any, left: float, row: int, layer: Layer) -> None:
    colour = "#cfe3f5" if layer.parameters else "#f2f2f2" if layer.inputs else "white"
    corner = left, _middle(row) - BOX / 2
    axes.add_patch(FancyBboxPatch(corner, WIDTH, BOX, f"round,pad={PAD}", fc=colour, ec=GREY))
    shape = " x ".join(map(str, layer.output_shape))
    count = f"{layer.parameters:,}" if layer.parameters else ""
    _write_cells(axes, left, _middle(row), (layer.kind, shape, count))


def _write_cells(axes: Any, left: float, y: float, cells: Sequence[str], **style: Any) -> None:
    places = ((0.12, "left"), (2.6, "center"), (WIDTH - 0.1, "right"))
    for (x, side), text in zip(places, cells, strict=True):
        axes.text(left + x, y, text, size=12, ha=side, va="center", **style)


def _draw_arrows(axes: Any, left: float, layers: Sequence[Layer], start: int, stop: int) -> None:
    """Draws an arrow from the box above, and those from other boxes beside the column.

    An arrow from or to another column ends above or below this one.
    """
    targets: dict[int, list[int]] = {}
    for place, layer in enumerate(layers):
        for source in layer.inputs:
            if source != place - 1:
                targets.setdefault(source, []).append(place)
            elif start <= place < stop:
                x, end = left + WIDTH / 2, _middle(place - start) - BOX / 2 - PAD
                _arrow(axes, (x, end - ROW + BOX + 2 * PAD), (x, end))
    busy: list[int] = []  # the last row of each lane
    for source, ends in targets.items():
        lane = next((k for k, last in enumerate(busy) if last <= source), len(busy))
        busy[lane : lane + 1] = [ends[-1]]
        if source >= stop or ends[-1] < start:
            continue
        x = left - 0.2 - min(LANE * lane, MARGIN - 0.25)
        top, bottom = _middle(max(source, start - 1) - start), _middle(min(ends[-1], stop) - start)
        axes.plot([x, x], [top, bottom], color=GREY, linewidth=1.2)
        if source >= start:
            axes.plot([left - PAD, x], [top, top], color=GREY, linewidth=1.2)
        for end in ends:
            if start <= end < stop:
                _arrow(axes, (x, _middle(end - start)), (left - PAD, _middle(end - start)))


def _arrow(axes: Any, tail: tuple[float, float], head: tuple[float, float]) -> None:
    style = {"arrowstyle": "->", "color": GREY, "shrinkA": 0, "shrinkB": 0, "linewidth": 1.2}
    axes.annotate("", head, tail, arrowprops=style)
