"""Curves of the logged losses and accuracies, drawn at the end of a run."""

from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from matplotlib.figure import Figure

from callbacks.figures import figures_folder, new_figure
from runtime.files import write


class Curves(Callback):
    """Draws `figures/curves.png` from metrics.csv, which includes the past of a resumed run."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (folder := figures_folder(trainer)) is None:
            return
        for logger in trainer.loggers:
            logger.save()
        metrics = folder.parent / "metrics.csv"
        if metrics.is_file():
            write(folder / "curves.png", draw_curves(metrics).savefig)


def draw_curves(metrics: Path) -> Figure:
    """Draws one panel with the losses and one with the accuracies of a metrics.csv."""
    import pandas as pd
    import seaborn as sns

    table = pd.read_csv(metrics)
    panels = {}
    for label, part in {"loss": "loss", "accuracy": "acc"}.items():
        if names := [name for name in table if part in name]:
            panels[label] = table.melt("step", names, "series", label).dropna()
    if not panels:
        return Figure()
    figure, grid = new_figure(5.5 * len(panels), 4, 1, len(panels), squeeze=False)
    for axes, (label, long) in zip(grid[0], panels.items(), strict=True):
        sns.lineplot(long, x="step", y=label, hue="series", ax=axes, errorbar=None)
        axes.legend(title=None)
    return figure
