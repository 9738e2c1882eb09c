"""Picture of a model's networks, layer by layer."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from figures.style import styled

ROW, BOX, COLUMN, GAP = 0.5, 0.34, 6.0, 0.3  # inches: a row, its box, a column, between columns
MAX_ROWS, MAX_COLUMNS = 16, 6  # rows per column, and columns; with more layers columns are longer
MAX_NUMBERS = 4  # sources that a box names
GRAY = "#555555"
HEADINGS = "layer", "from", "output shape", "parameters"


class Layer(NamedTuple):
    """A layer of a network, or one of the network's inputs."""

    kind: str
    output_shape: tuple[int, ...]  # without the batch
    parameters: int = 0
    sources: Collection[int] = ()  # indices of the layers and inputs that it is computed from

    @property
    def is_input(self) -> bool:
        return not self.sources


@styled
def plot_networks(networks: dict[str, list[Layer]]) -> Figure:
    """Plots each network as boxes from top to bottom, in several columns if there are many.

    A line leads from a layer to the next one that is computed from it. A layer that is computed
    from others has their numbers.
    """
    columns: list[tuple[str, int, list[Layer]]] = []
    for name, layers in networks.items():
        rows = -(-len(layers) // min(MAX_COLUMNS, -(-len(layers) // MAX_ROWS)))
        title = f"{name}: {sum(layer.parameters for layer in layers):,} parameters"
        for start in range(0, len(layers), rows):
            columns.append(("" if start else title, start, layers[start : start + rows]))
    longest = max(len(layers) for *_, layers in columns)
    width = len(columns) * (COLUMN + GAP) + GAP
    figure = Figure((width, ROW * (longest + 1.8)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(ROW * (longest + 0.2), -1.6 * ROW))
    axes.axis("off")
    for position, (title, start, layers) in enumerate(columns):
        left = GAP + position * (COLUMN + GAP)
        axes.text(left, -1.1 * ROW, title, size=14, weight="bold", va="center")
        _write_cells(axes, left, -0.4 * ROW, HEADINGS, color=GRAY)
        for row, layer in enumerate(layers):
            y, index, sources = (row + 0.5) * ROW, start + row, sorted(layer.sources)
            if row and index - 1 in sources:
                axes.vlines(left + COLUMN / 2, y - ROW + BOX / 2, y - BOX / 2, color=GRAY)
            numbers = [str(k + 1) for k in sources if sources != [index - 1]]
            if len(numbers) > MAX_NUMBERS:
                numbers[1:-2] = ["..."]
            color = "white" if layer.is_input else "#cfe3f5" if layer.parameters else "#f2f2f2"
            corner = left, y - BOX / 2
            axes.add_patch(FancyBboxPatch(corner, COLUMN, BOX, "round,pad=0", fc=color, ec=GRAY))
            shape = " x ".join(map(str, layer.output_shape))
            count = f"{layer.parameters:,}" if layer.parameters else ""
            _write_cells(
                axes, left, y, (f"{index + 1}  {layer.kind}", ", ".join(numbers), shape, count)
            )
    return figure


def _write_cells(axes: Any, left: float, y: float, cells: Sequence[str], **style: Any) -> None:
    anchors = ((0.12, "left"), (3.0, "center"), (4.2, "center"), (COLUMN - 0.1, "right"))
    for (x, side), text in zip(anchors, cells, strict=True):
        axes.text(left + x, y, text, size=12, ha=side, va="center", **style)
