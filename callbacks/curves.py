"""Curves of the logged losses and accuracies, drawn at the end of a run."""

from pathlib import Path
from typing import TYPE_CHECKING

from lightning import Callback, LightningModule, Trainer

from callbacks.figures import figures_folder
from runtime.files import write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Curves(Callback):
    """Draws `figures/curves.png` from metrics.csv, which includes the past of a resumed run."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = figures_folder(trainer)
        if folder is None:
            return
        for logger in trainer.loggers:
            logger.save()
        metrics = folder.parent / "metrics.csv"
        if metrics.is_file():
            write(folder / "curves.png", draw_curves(metrics).savefig)


def draw_curves(metrics: Path) -> "Figure":
    """Draws one panel with the losses and one with the accuracies of a metrics.csv."""
    import pandas as pd
    import seaborn as sns
    from matplotlib.figure import Figure

    table = pd.read_csv(metrics)
    panels = {
        "loss": [name for name in table if "loss" in name],
        "accuracy": [name for name in table if "acc" in name],
    }
    panels = {label: names for label, names in panels.items() if names}
    figure = Figure(figsize=(5.5 * max(1, len(panels)), 4), layout="constrained")
    if not panels:
        return figure
    for axes, (label, names) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        long = table.melt("step", names, "series", label).dropna()
        sns.lineplot(long, x="step", y=label, hue="series", ax=axes, errorbar=None)
        axes.legend(title=None)
        sns.despine(ax=axes)
    return figure
