"""Ladder in Python and in notebooks: the commands of `cli.py` as functions.

The tools are the same functions that the command line calls. A user's mistake raises `UserError`
with the line that the command prints.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from PIL import Image

from callbacks.network import layers_of
from commands.compare import compare
from commands.export import export
from commands.fit.lightning_run import Options, run_as_function, train
from commands.maximize import maximize
from commands.predict import classify_images as classify
from commands.predict import predict
from commands.sample import SampledImages, sample, sample_images
from commands.sweep import sweep
from figures.pictures import mosaic, read_png
from models.base import Module
from pages.demo import demo
from results import Run
from runtime.errors import UserError
from runtime.files import METRICS, read_json

__all__ = [
    "Run", "SampledImages", "UserError", "classify", "compare", "curves", "data_of", "demo",
    "export", "figure", "layers", "load", "maximize", "plot", "predict", "quiet", "sample",
    "sample_images", "score", "sweep", "train",
]  # fmt: skip

COMMAND_OF_SPLIT = {"val": "validate", "test": "test"}


def quiet() -> None:
    """Hides what Lightning tells about the machine and the run; warnings still appear."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def load(run: str | Path, trust: bool = False) -> Any:
    """Loads a trained model: see `Run.model`, and `Run.find` for what may stand for a run."""
    return Run.find(run, trust).model()


def data_of(run: str | Path, data_dir: Path | None = None, trust: bool = False) -> Any:
    """Builds the data that a run was trained on: see `Run.data`."""
    return Run.find(run, trust).data(data_dir)


def score(
    run: str | Path, split: Literal["val", "test"] = "val", options: Options | None = None
) -> pd.DataFrame:
    """Scores a trained model on its data, as `cli.py validate` and `cli.py test` do.

    Returns a row for each score. The column `floor` is a generator's score if its images were real
    ones; it is empty for other models.
    """
    if split not in COMMAND_OF_SPLIT:
        raise UserError(f"there is no split {split!r}: one of {', '.join(COMMAND_OF_SPLIT)}")
    trainer = run_as_function([COMMAND_OF_SPLIT[split], "--ckpt_path", str(run)], options).trainer
    scores = {
        name.removeprefix(f"{split}/"): float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith(f"{split}/")
    }
    if not scores:
        raise UserError(f"{run}: nothing was scored: its data have no {split} split")
    recorded = read_json(Path(trainer.log_dir) / METRICS).get(split, {})
    floors = [recorded.get("floor", {}).get(name) for name in scores]
    return pd.DataFrame({"score": scores, "floor": pd.Series(floors, scores, dtype=float)})


def curves(run: str | Path) -> pd.DataFrame:
    """Returns what a run logged in training: a row for each step, a column for each metric.

    A metric that was not logged at a step is NaN there. Scores of a later `test` are left out.
    """
    table = Run.find(run).curves()
    if "step" not in table:
        raise UserError(
            f"{run}: there is no metrics.csv with steps here: give the folder of a run that logged "
            "something, which a run shorter than trainer.log_every_n_steps does not"
        )
    later = [name for name in table.columns if name.startswith("test/")]
    metrics = [name for name in table.columns if "/" in name and name not in later]
    table = table.drop(columns=later).dropna(subset=metrics, how="all")
    return table.groupby("step").last()


def layers(model: Module) -> pd.DataFrame:
    """Lists a model's inputs and layers, with their output shapes."""
    rows = [
        (part, layer.kind, layer.output_shape, layer.parameters)
        for part, found in layers_of(model).items()
        for layer in found
    ]
    return pd.DataFrame(rows, columns=["network", "layer", "output shape", "parameters"])


def figure(run: str | Path, name: str) -> Image.Image:
    """Opens a picture of a run's folders `figures` and `samples`, such as `curves`.

    A notebook shows the image that a cell ends with.
    """
    folder = Run.find(run).folder
    files = [*folder.glob("figures/*.png"), *folder.glob("samples*/*.png")]
    found = {path.stem: path for path in sorted(files, key=lambda path: path.lstat().st_mtime)}
    if name not in found:
        raise UserError(f"{run} has no figure {name!r}: one of {', '.join(sorted(found))}")
    return read_png(found[name])


def plot(
    images: Any,
    labels: Sequence[Any] | np.ndarray | None = None,
    columns: int | None = None,
    width: float = 1.4,
) -> Figure:
    """Plots images (N, H, W) or (N, H, W, 3), each below its label.

    Args:
        images: The images.
        labels: A label for each image; None: no labels.
        columns: Images per row; None: about as many as rows.
        width: Width of one image in inches.
    """
    pixels = torch.as_tensor(np.asarray(images))
    if pixels.dim() == 4:
        pixels = pixels.movedim(-1, 1)
    titles = [] if labels is None else [str(label) for label in labels]
    return mosaic(pixels, titles, columns, cell=width)
