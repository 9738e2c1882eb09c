"""Predictions of a trained model for its test data, or for image files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning import LightningModule
from matplotlib.figure import Figure
from torch import Tensor

from commands.arguments import checked
from datamodules.data_module import DataModule
from datamodules.image_files import SUFFIXES, UnreadableImageError, find_images, read_image
from datamodules.input_spec import InputSpec, as_pixels, class_names, match_spec
from datamodules.provenance import check_unseen
from figures.pictures import mosaic, output_folder
from models.classifier import Classifier
from models.regressor import FunctionMLP
from results import Run
from results.building import inference
from runtime.errors import UserError, printable
from runtime.files import write

ROWS = 10  # printed
MAX_TABLE_INPUTS = 10  # inputs of an example that a table shows
FILES_SHOWN = 24  # files in the figure


@checked
def predict(
    run: Path,
    files: list[Path] | None = None,
    data_dir: Path | None = None,
    out: Path | None = None,
    trust: bool = False,
    allow_seen: bool = False,
) -> pd.DataFrame:
    """Writes a trained model's predictions for its test split, or for image files.

    `predictions.csv` has the truth and the prediction of each test example, each class's
    probability, and the inputs of small data. With `files`, `predictions_files.csv` has a row for
    each file, and `predictions_files.png` shows what the network gets of the first ones.

    Args:
        run: The trained model: a run's folder, a checkpoint, `last` or `best`.
        files: Image files, or folders of them, to classify: `--files a.png b.png scans/`. They are
            converted to the format of the training images, which is in the checkpoint.
        data_dir: Another folder for the run's data set.
        out: Folder of the tables; by default the run's folder.
        trust: Import the classes that the run names, also if its author is unknown.
        allow_seen: Predict other data also if more than 1 % of them are training images of the run.

    Returns:
        The table.
    """
    trained = Run.find(run, trust)
    model = trained.model()
    if not isinstance(model, Classifier | FunctionMLP):
        raise UserError(
            f"predict is for classifiers and regressors, and this run's model is "
            f"{type(model).__name__}. Draw from a generator with `python cli.py sample {run}`."
        )
    if files is None:
        data = trained.data(data_dir)
        check_unseen(data, trained.checkpoint, "test", allow_seen)
        table, name = predict_test(model, data), "predictions"
    else:
        table, pixels = classify_files(model, files)
        name = "predictions_files"
    head = table.head(ROWS).to_string(index=False, max_cols=13, float_format="{:.4f}".format)
    count = f"The first {ROWS} of {len(table):,}" if len(table) > ROWS else "All"
    print(f"{count} predictions:\n{head}")
    path = output_folder(out or trained.folder) / f"{name}.csv"
    write(path, lambda file: table.to_csv(file, index=False, float_format="%.6g"))
    print(f"Predictions: {path}")
    if files is not None:
        write(path.with_suffix(".png"), plot_files(pixels, table).savefig)
        print(f"Picture: {path.with_suffix('.png')}")
    return table


def predict_test(model: Any, data: DataModule) -> pd.DataFrame:
    """Makes a table of the test split: index, inputs of small data, truth, prediction."""
    outputs, known = list[Tensor](), list[tuple[Tensor, Tensor]]()
    with inference(model):
        for batch in data.test_dataloader():
            known.append((batch[0], batch[1]))
            inputs, _ = data.on_after_batch_transfer([part.to(model.device) for part in batch], 0)
            classifies = isinstance(model, Classifier)
            outputs.append((model.probabilities(inputs) if classifies else model(inputs)).cpu())
    targets = torch.cat([part for _, part in known])
    answers = torch.cat(outputs)
    if isinstance(model, Classifier):
        names = class_names(model.input_spec, model.num_classes)
        table = _tabulate(model, answers)
        truth: list[Any] = [names[k] for k in targets.tolist()]
    else:
        table = pd.DataFrame({"predicted": answers[:, 0].float()})
        truth = targets[:, 0].tolist()
    table.insert(0, "truth", truth)
    shape = known[0][0].shape[1:]
    if len(shape) == 1 and shape[0] <= MAX_TABLE_INPUTS:
        inputs = torch.cat([part for part, _ in known])
        named = data.feature_names or [f"x{k + 1}" for k in range(inputs.shape[1])]
        table = pd.concat(
            [pd.DataFrame(data.in_units(inputs).numpy(), columns=[*named]), table], axis=1
        )
    table.insert(0, "index", range(len(table)))
    return table


@checked
def classify_images(model: LightningModule, images: Any) -> pd.DataFrame:
    """Computes the classes of images and their probabilities.

    Args:
        model: A classifier of images in memory, or a run.
        images: A path of an image file or folder, or several. Or an array of images of the training
            shape, such as (N, H, W) or (N, H, W, 3): uint8, or floats from 0 to 1.
    """
    shape = _input_spec_of(model).input_shape
    paths = [images] if isinstance(images, str | Path) else images
    if isinstance(paths, list | tuple) and all(isinstance(path, str | Path) for path in paths):
        return classify_files(model, map(Path, paths))[0]
    pixels = as_pixels(images, shape)
    table = _tabulate(model, class_probabilities(model, pixels))
    table.insert(0, "index", [*map(str, range(len(pixels)))])
    return table


def classify_files(model: Any, given: Iterable[Path]) -> tuple[pd.DataFrame, Tensor]:
    """Makes a table of image files and their classes; returns what the network got as well.

    Prints which files cannot be read, and what was done to others beyond scaling.
    """
    spec = _input_spec_of(model)
    images: dict[str, Tensor] = {}
    for path in list_given_files(given):
        try:
            images[str(path)], note = match_spec(read_image(path), spec)
        except UnreadableImageError as error:
            note = f"left out, because it cannot be read ({error})"
        if note:
            print(printable(f"{path}: {note}"))
    if not images:
        raise UserError("--files: no file can be read as an image")
    pixels = torch.stack([*images.values()])
    table = _tabulate(model, class_probabilities(model, pixels))
    table.insert(0, "file", [*map(printable, images)])
    return table, pixels


@torch.no_grad()
def class_probabilities(model: Any, pixels: Tensor, batch_size: int = 500) -> Tensor:
    """Computes class probabilities (N, K) of images uint8 (N, C, H, W), in full precision."""
    scale = _input_spec_of(model).scale
    parts = (part.to(model.device, torch.float32) / scale for part in pixels.split(batch_size))
    return torch.cat([model.probabilities(part) for part in parts]).cpu()


def _input_spec_of(model: Any) -> InputSpec:
    """Returns the form of a model's training images; refuses a model of something else."""
    wanted = "image files are for a classifier of images"
    if not isinstance(model, Classifier):
        raise UserError(f"{wanted}, but this model is {type(model).__name__}")
    if len(model.input_shape) != 3:
        shape = tuple(model.input_shape)
        raise UserError(
            f"{wanted}, but the inputs of this {type(model).__name__} have shape {shape}"
        )
    return model.input_spec or InputSpec(model.input_shape, 255.0)


def list_given_files(given: Iterable[Path]) -> list[Path]:
    """Returns the files given, and the image files in and below the folders given."""
    files: list[Path] = []
    for path in given:
        if path.is_dir() and (inside := list(find_images(path))):
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            reason = "there is no such file or folder"
            if path.exists():
                reason = "it is a pipe, socket or device, not a file"
            if path.is_dir():
                reason = f"there is no image in or below this folder ({', '.join(SUFFIXES)})"
            raise UserError(f"--files {path}: {reason}")
    return files


def _tabulate(model: Any, probabilities: Tensor) -> pd.DataFrame:
    """Makes a table of the predicted class and each class's probability."""
    names = class_names(model.input_spec, model.num_classes)
    best = [names[k] for k in probabilities.argmax(dim=1).tolist()]
    shares = dict(zip(names, np.asarray(probabilities.double()).T, strict=True))
    return pd.DataFrame({"predicted": best, **{f"p_{name}": p for name, p in shares.items()}})


def plot_files(pixels: Tensor, table: pd.DataFrame) -> Figure:
    """Plots what the network gets of the first files, below their names and classes."""
    titles = []
    for _, row in table.head(FILES_SHOWN).iterrows():
        share = f"{100 * row[f'p_{row.predicted}']:.1f} %"
        titles.append(f"{Path(row.file).name[-20:]}\n{row.predicted} {share}")
    return mosaic(
        pixels[:FILES_SHOWN], titles, min(6, len(titles)), "Files as the network gets them"
    )
