"""A run's networks: their summary in the terminal, and their picture."""

from functools import partial

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_summary import ModelSummary, summarize
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from figures.network import draw_networks, layers_of
from figures.pictures import figures_folder, publish, warn_if_it_fails


class Summary(Callback):
    """Prints the parts of the model that have parameters, before the first step.

    Lightning's own callback prints question marks for a model with several networks.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rank_zero_info(table(summarize(pl_module)))  # Every rank runs the model.


def table(summary: ModelSummary) -> str:
    """Formats names, types and numbers of parameters as lines of text."""
    parts = zip(summary.layer_names, summary.layer_types, summary.param_nums, strict=True)
    rows = [part for part in parts if part[2]]
    names = max((len(name) for name, _, _ in rows), default=0)
    types = max((len(kind) for _, kind, _ in rows), default=0)
    lines = [f"  {name:<{names}}  {kind:<{types}}  {count:,}" for name, kind, count in rows]
    total, fixed = summary.total_parameters, summary.total_parameters - summary.trainable_parameters
    lines.append(f"  {total:,} parameters" + f", {fixed:,} of them not trained" * bool(fixed))
    return "\n".join(lines)


class NetworkFigure(Callback):
    """Draws `network.png` and `.svg` of a new run's networks."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = figures_folder(trainer)
        if folder is None or trainer.ckpt_path:
            return
        with warn_if_it_fails("network.png"):
            if networks := layers_of(pl_module):
                publish(trainer, folder, "network", partial(draw_networks, networks), vector=True)
