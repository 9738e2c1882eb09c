"""Picture of a model's networks: layers, output shapes and parameters, as Keras' `plot_model`."""

from collections.abc import Sequence

import torch
from lightning import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from callbacks.figures import figures_folder, publish, styled
from models.gan import GAN
from models.layer_table import Layer, list_layers

ROW, BOX = 0.62, 0.42  # inches from layer to layer, and of a box


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
    if isinstance(model, GAN):
        latents = model.generator_input(*model.draw(2, torch.Generator().manual_seed(0)))
        latents = latents.to(next(model.parameters()))
        labels = None if model.grid_labels is None else model.grid_labels[:2]
        images = torch.zeros(2, *model.image_shape).to(latents)
        return {
            "generator": list_layers(model.generator, lambda: model.generator(latents)),
            "discriminator": list_layers(
                model.discriminator, lambda: model.realness(images, labels)
            ),
        }
    network, example = vars(model)["_modules"].get("network"), model.example_input_array
    if network is None or not isinstance(example, torch.Tensor):
        return {}
    inputs = example.to(next(model.parameters()))
    return {"network": list_layers(network, lambda: network(inputs))}


@styled
def draw_networks(networks: dict[str, list[Layer]]) -> Figure:
    """Draws each network as a column of boxes, from its first layer to its last."""
    rows = max(map(len, networks.values())) + 1
    figure = Figure((5.2 * len(networks), ROW * (rows + 0.6)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 5.2 * len(networks)), ylim=(-ROW * (rows + 0.1), 0.5 * ROW))
    axes.axis("off")
    for column, (name, layers) in enumerate(networks.items()):
        total = sum(layer.parameters for layer in layers)
        title = f"{name}: {total:,} parameters"
        axes.text(5.2 * column + 2.6, -0.1, title, size=14, weight="bold", ha="center", va="center")
        _draw_column(axes, layers, 5.2 * column + 0.3)
    return figure


def _draw_column(axes: object, layers: Sequence[Layer], left: float) -> None:
    for row, layer in enumerate(layers, 1):
        bottom = -ROW * row - BOX / 2
        colour = "#cfe3f5" if layer.parameters else "#f2f2f2"
        box = FancyBboxPatch((left, bottom), 4.6, BOX, "round,pad=0.02", fc=colour, ec="#666666")
        axes.add_patch(box)  # type: ignore[attr-defined]
        shape = " x ".join(map(str, layer.output_shape))
        count = f"{layer.parameters:,}" if layer.parameters else ""
        cells = ((0.12, layer.kind, "left"), (2.75, shape, "center"), (4.5, count, "right"))
        for x, text, side in cells:
            middle = (left + x, bottom + BOX / 2)
            axes.text(*middle, text, size=11, ha=side, va="center")  # type: ignore[attr-defined]
        if row > 1:
            ends = ((left + 2.3, bottom + BOX + 0.02), (left + 2.3, bottom + ROW - 0.02))
            arrow = {"arrowstyle": "->", "color": "#666666"}
            axes.annotate("", *ends, arrowprops=arrow)  # type: ignore[attr-defined]
