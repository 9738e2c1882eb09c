"""A run's networks: their summary in the terminal, and their picture."""

from functools import partial
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelSummary
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from figures.network import draw_networks, layers_of
from figures.pictures import figures_folder, publish, warn_if_it_fails


class Summary(ModelSummary):
    """Lightning's summary, without the columns that it cannot fill for several networks."""

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]],
        total_parameters: int,
        trainable_parameters: int,
        *_: Any,
        **__: Any,
    ) -> None:
        """Prints the parts that have parameters."""
        columns = {name: values for name, values in summary_data}
        parts = zip(columns["Name"], columns["Type"], columns["Params"], strict=True)
        rows = [[cell.strip() for cell in part] for part in parts if part[2].strip() != "0"]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for cells in rows:
            padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
            rank_zero_info("  " + "  ".join(padded).rstrip())
        fixed = total_parameters - trainable_parameters
        untrained = f", {fixed:,} of them not trained" if fixed else ""
        rank_zero_info(f"  {total_parameters:,} parameters{untrained}")


class NetworkFigure(Callback):
    """Draws `network.png` and `.svg` of a new run's networks."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = figures_folder(trainer)
        if folder is None or trainer.ckpt_path:
            return
        with warn_if_it_fails("network"):
            if networks := layers_of(pl_module):
                publish(trainer, folder, "network", partial(draw_networks, networks), vector=True)
