"""Ladder in Python and in notebooks: the commands of `cli.py` as functions.

The tools are the same functions that the command line calls, and take the same: text for a path,
one value for a list. A user's mistake raises `UserError` with the line that the command prints.
"""

import difflib
import logging
import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from lightning import LightningDataModule, LightningModule
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

import commands.demo as showing
import commands.export as exporting
import commands.sweep as sweeping
from callbacks import Quality
from callbacks.network import layers_of
from commands.arguments import checked
from commands.compare import compare
from commands.fit.lightning_run import flags, process_as_before, run_as_function
from commands.maximize import maximize
from commands.predict import classify_images as classify
from commands.predict import predict
from commands.sample import SampledImages, sample, sample_images
from datamodules.loader import BatchLoader
from figures.pictures import mosaic, read_png
from models.generative import Generative
from results import Run
from runtime.errors import UserError, did_you_mean, user_error_in
from runtime.ranges import Positive, PositiveFloat
from runtime.trainer import LadderTrainer

__all__ = [
    "Run", "SampledImages", "UserError", "classify", "compare", "curves", "data_of", "demo",
    "export", "figure", "layers", "load", "maximize", "plot", "predict", "quiet", "sample",
    "sample_images", "score", "sweep", "train",
]  # fmt: skip


@checked
def quiet() -> None:
    """Hides what Lightning tells about the machine and the run; warnings still appear."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


@checked
def train(config: Sequence[Path], options: Any = None) -> Path:
    """Trains what a config describes, as `cli.py fit` does, and returns the run's folder.

    Args:
        config: A config file, or several, of which later ones complete the first.
        options: Flags of the command line by name, `{"trainer.max_epochs": 5}`, or as text,
            `"trainer.max_epochs=5"`.
    """
    return Path(run_as_function(["fit", *_configs(config)], options).trainer.log_dir)


def _configs(files: Sequence[Path]) -> list[str]:
    return [word for file in files for word in ("--config", str(file))]


@checked
def sweep(config: Sequence[Path], options: Any = None, **search: Any) -> None:
    """Repeats a run with several seeds, or searches for the best setting.

    Args:
        config: As for `train`.
        options: As for `train`.
        **search: Options of `cli.py sweep`: `seeds=3`, or `space="space.yaml"` and others.
    """
    sweeping.sweep(fit=[*_configs(config), *flags(options)], **search)


@checked
def export(
    run: LightningModule | Path | None = None,
    format: Sequence[exporting.Format] = ("onnx",),
    out: Path | None = None,
    trust: bool = False,
    real: bool = True,
) -> list[Path]:
    """Writes a trained model into files: see `cli.py export --help`.

    A model in memory stays as it is. Its files are in the folder `export`, unless `out` is given.
    """
    if not isinstance(run, LightningModule):
        return exporting.export(run, format, out, trust, real)
    if "html" in format:
        raise UserError("--format html needs a run: give its folder, not a model in memory")
    trainer = run._trainer  # which the copy shares
    copy = deepcopy(run, {id(trainer): trainer})
    return exporting.export_model(copy, format, out)


@checked
def demo(
    runs: Sequence[Path] | None = None,
    out: Path = showing.PAGE,
    real: bool = True,
    trust: bool = False,
) -> showing.Page:
    """Writes a page to play with runs, which a notebook shows: see `cli.py demo --help`."""
    return showing.demo(runs, out, False, real, trust)


@checked
def load(run: Path, trust: bool = False, model: Any = None) -> Any:
    """Loads a trained model, in eval mode, on the CPU: see `Run.model`.

    Args:
        run: As for `Run.find`; also a checkpoint of Lightning's own Trainer.
        trust: Import the classes that the checkpoint names, whoever made it.
        model: The LightningModule's class, which checkpoints of this project's models name.
    """
    if not (model is None or (isinstance(model, type) and issubclass(model, LightningModule))):
        raise UserError(f"--model: expected a LightningModule's class, got {type(model).__name__}.")
    return Run.find(run, trust).model(model)


@checked
def data_of(run: Path, data_dir: Path | None = None, trust: bool = False) -> Any:
    """Builds the data that a run was trained on: see `Run.data`."""
    return Run.find(run, trust).data(data_dir)


@checked
def score(
    run: LightningModule | Path,
    data: Any = None,
    split: Literal["val", "test"] = "val",
    options: Any = None,
) -> pd.DataFrame:
    """Scores a trained model, as `cli.py validate` and `cli.py test` do.

    Returns a row for each score. The column `floor` is a generator's score if its images were real
    ones; it is empty for other models.

    Args:
        run: A run, or a model in memory.
        data: A DataModule or DataLoader, or "val" or "test" for this split of the run's data.
        split: The split of the data.
        options: Flags of the command line for the run's own data, as for `train`.
    """
    if isinstance(data, str):
        return score(run, split=data, options=options)
    command = "validate" if split == "val" else "test"
    if isinstance(run, LightningModule) or data is not None:
        trainer = _scored(run if isinstance(run, LightningModule) else load(run), data, command)
    else:
        trainer = run_as_function([command, "--ckpt_path", str(run)], options).trainer
    metrics = trainer.callback_metrics.items()
    values = {name.removeprefix(f"{split}/"): float(value) for name, value in metrics}
    scores = {name: value for name, value in values.items() if not name.startswith("floor/")}
    if not scores:
        raise UserError(f"{run}: nothing was scored: its data have no {split} split")
    floors = [values.get(f"floor/{name}") for name in scores]
    return pd.DataFrame({"score": scores, "floor": pd.Series(floors, scores, dtype=float)})


def _scored(model: LightningModule, data: Any, command: str) -> LadderTrainer:
    """Scores a model in memory, and returns the Trainer, which has the scores."""
    if not isinstance(data, LightningDataModule | DataLoader | BatchLoader):
        kind = type(data).__name__
        raise UserError(f"--data: expected a DataModule or a DataLoader, got {kind}.")
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quality = [Quality()] if isinstance(model, Generative) else []
    with process_as_before():
        trainer = LadderTrainer(precision="32-true", callbacks=quality, **quiet)
        try:
            getattr(trainer, command)(model, data, verbose=False)
        except Exception as error:  # models and data of others fail in any way
            reason = str(error).partition("\n")[0]
            text = f"{type(model).__name__} cannot be scored on these data: {reason}"
            raise user_error_in(error) or UserError(text) from error
    return trainer


@checked
def curves(run: Path) -> pd.DataFrame:
    """Returns what a run logged in training: a row for each step, a column for each metric.

    A metric that was not logged at a step is NaN there.
    """
    table = Run.find(run).curves()
    if "step" not in table:
        raise UserError(
            f"{run}: there is no metrics.csv with steps here: give the folder of a run that logged "
            "something, which a run shorter than trainer.log_every_n_steps does not"
        )
    metrics = [name for name in table.columns if "/" in name]
    return table.dropna(subset=metrics, how="all").groupby("step").last()


@checked
def layers(model: LightningModule) -> pd.DataFrame:
    """Lists inputs and layers of a model in memory or of a run, with their output shapes."""
    rows = [
        (part, layer.kind, layer.output_shape, layer.parameters)
        for part, layers in layers_of(model).items()
        for layer in layers
    ]
    return pd.DataFrame(rows, columns=["network", "layer", "output shape", "parameters"])


@checked
def figure(run: Path, name: str) -> Image.Image:
    """Opens a picture of a run's folders `figures` and `samples`, such as `curves`.

    A notebook shows the image that a cell ends with.
    """
    folder = Run.find(run).folder
    files = [*folder.glob("figures/*.png"), *folder.glob("samples*/*.png")]
    figures = {path.stem: path for path in sorted(files, key=lambda path: path.lstat().st_mtime)}
    if name not in figures:
        near = difflib.get_close_matches(name, figures, n=1)
        names = [other for other in sorted(figures) if not re.fullmatch(r"samples_\d+", other)]
        hint = did_you_mean(near) or f" It has {', '.join(names) or 'none'}."
        raise UserError(f"{run} has no figure {name!r}.{hint}")
    return read_png(figures[name])


@checked
def plot(
    images: Any, labels: Any = None, columns: Positive | None = None, width: PositiveFloat = 1.4
) -> Figure:
    """Plots images (N, H, W) or (N, H, W, 3), each below its label.

    Args:
        images: The images, or one of them.
        labels: A label for each image; None: no labels.
        columns: Images per row; None: about as many as rows.
        width: Width of one image in inches.
    """
    try:
        pixels = images if isinstance(images, Tensor) else torch.as_tensor(np.asarray(images))
        if pixels.dim() == 2 or pixels.shape[2:] == (3,):  # one image
            pixels, labels = pixels[None], None if labels is None else [labels]
        titles = [] if labels is None else [str(label) for label in labels]
        pixels = pixels.movedim(-1, 1) if pixels.shape[3:] in ((1,), (3,)) else pixels
        fits = pixels.numel() and (pixels.dim() == 3 or pixels.shape[1] in (1, 3))
    except (TypeError, ValueError, IndexError):
        fits = False
    if not fits or len(titles) not in (0, len(pixels)):
        raise UserError("plot: expected images (N, H, W) or (N, H, W, 3), and a label for each")
    return mosaic(pixels, titles, columns, cell=width)
