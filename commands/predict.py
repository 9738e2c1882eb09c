"""Predictions of a trained model for its test data, or for image files."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from commands.loading import class_names, folder_of, inference, load, splits_of
from commands.predict_figure import SHOWN, draw_files
from datamodules.base import InMemoryDataModule
from datamodules.frame import Frame, as_pixels, to_frame
from datamodules.image_files import SUFFIXES, UnreadableImageError, find_images, read_image
from figures.pictures import output_folder
from models.classifier import Classifier, is_classifier
from models.regressor import is_regressor
from runtime.errors import UserError
from runtime.files import write

ROWS = 10  # printed
NAMED = 5  # files that a message names
THUMBNAIL = 160  # pixels
SMALL = 10  # inputs of an example that a table shows


class ImageFile(NamedTuple):
    """An image file, as the figure shows it and as the network gets it."""

    name: str
    thumbnail: Image.Image
    pixels: Tensor  # uint8 (C, H, W)
    note: str  # what was done to it beyond scaling


def predict(
    run: Path,
    files: list[Path] | None = None,
    data_dir: Path | None = None,
    out: Path | None = None,
    trust: bool = False,
) -> pd.DataFrame:
    """Writes a trained model's predictions for its test split, or for image files.

    `predictions.csv` has the truth and the prediction of each test example, each class's
    probability, and the inputs of small data. With `files`, `predictions_files.csv` has a row for
    each file, and `predictions_files.png` shows each file beside what the network gets.

    Args:
        run: The trained model: a run's folder, a checkpoint, `last` or `best`.
        files: Image files, or folders of them, to classify: `--files a.png b.png scans/`. They are
            brought to the form of the training images, which the checkpoint knows.
        data_dir: Another folder for the run's data set.
        out: Folder of the tables; by default the run's folder.
        trust: Import the classes that the run names, whoever made it.

    Returns:
        The table.
    """
    model = load(run, trust)
    if not (is_classifier(model) or is_regressor(model)):
        raise UserError(
            f"predict is for classifiers and regressors, and this run's model is "
            f"{type(model).__name__}. Draw from a generator with `python cli.py sample {run}`."
        )
    if files is None:
        data = splits_of(run, data_dir, trust)
        table, name = predict_test(model, data), "predictions"
    else:
        images = read_files(find_files(files), _frame_of(model))
        probabilities = classify(
            cast(Classifier, model), torch.stack([image.pixels for image in images])
        )
        table, name = _tabulate(probabilities, class_names(model)), "predictions_files"
        table.insert(0, "file", [image.name for image in images])
        for note in notes(images):
            print(note)
    head = table.head(ROWS).to_string(index=False, max_cols=13, float_format="{:.4f}".format)
    count = f"The first {ROWS} of {len(table):,}" if len(table) > ROWS else "All"
    print(f"{count} predictions:\n{head}")
    path = output_folder(out or folder_of(run)) / f"{name}.csv"
    write(path, lambda file: table.to_csv(file, index=False, float_format="%.6g"))
    print(f"Predictions: {path}")
    if files is not None:
        shown = [(image.name, image.thumbnail, image.pixels) for image in images[:SHOWN]]
        figure = draw_files(shown, probabilities, class_names(model), len(images))
        write(path.with_suffix(".png"), figure.savefig)
        print(f"Picture: {path.with_suffix('.png')}")
    return table


def predict_test(model: Any, data: InMemoryDataModule) -> pd.DataFrame:
    """Makes a table of the test split: index, inputs of small data, truth, prediction."""
    found: list[Tensor] = []
    with inference(model):
        for batch in data.test_dataloader():
            inputs, _ = data.on_after_batch_transfer([part.to(model.device) for part in batch], 0)
            classifies = is_classifier(model)
            found.append((model.probabilities(inputs) if classifies else model(inputs)).cpu())
    assert data.splits is not None
    inputs, targets = data.splits.test
    answers = torch.cat(found)
    if is_classifier(model):
        table, names = _tabulate(answers, class_names(model)), class_names(model)
        truth: list[Any] = [names[k] for k in targets.tolist()]
    else:
        table = pd.DataFrame({"predicted": answers[:, 0].float()})
        truth = targets[:, 0].tolist()
    table.insert(0, "truth", truth)
    if inputs.dim() == 2 and inputs.shape[1] <= SMALL:
        named = getattr(data, "feature_names", [f"x{k + 1}" for k in range(inputs.shape[1])])
        table = pd.concat(
            [pd.DataFrame(data.in_units(inputs).numpy(), columns=[*named]), table], axis=1
        )
    table.insert(0, "index", range(len(table)))
    return table


def classify_images(model: Any, images: Any) -> pd.DataFrame:
    """Computes the classes of images and their probabilities with a model in memory.

    Args:
        model: A classifier of images.
        images: A path of an image file or folder, or several. Or an array of images of the training
            shape, such as (N, H, W) or (N, H, W, 3): uint8, or floats from 0 to 1.
    """
    frame = _frame_of(model)
    paths = [images] if isinstance(images, str | Path) else images
    if isinstance(paths, list | tuple) and all(isinstance(path, str | Path) for path in paths):
        files = read_files(find_files(map(Path, paths)), frame)
        for note in notes(files):
            print(note)
        pixels = torch.stack([file.pixels for file in files])
        column, rows = "file", [file.name for file in files]
    else:
        pixels = as_pixels(images, model.input_shape)
        column, rows = "index", [*map(str, range(len(pixels)))]
    table = _tabulate(classify(model, pixels), class_names(model))
    table.insert(0, column, rows)
    return table


@torch.no_grad()
def classify(model: Classifier, pixels: Tensor, batch_size: int = 500) -> Tensor:
    """Computes class probabilities (N, K) of images uint8 (N, C, H, W), in full precision."""
    scale = _frame_of(model).scale
    parts = (part.to(model.device, torch.float32) / scale for part in pixels.split(batch_size))
    return torch.cat([model.probabilities(part) for part in parts]).cpu()


def _frame_of(model: Any) -> Frame:
    """Returns the form of a model's training images; refuses a model of something else."""
    wanted = "image files are for a classifier of images"
    if not is_classifier(model):
        raise UserError(f"{wanted}, but this model is {type(model).__name__}")
    if len(model.input_shape) != 3:
        shape = tuple(model.input_shape)
        raise UserError(
            f"{wanted}, but the inputs of this {type(model).__name__} have shape {shape}"
        )
    return model.frame or Frame(model.input_shape, 255.0)


def find_files(given: Iterable[Path]) -> list[Path]:
    """Returns the files given, and the image files in and below the folders given."""
    found: list[Path] = []
    for path in given:
        if path.is_dir() and (inside := list(find_images(path))):
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            suffixes = f"no image in or below this folder ({', '.join(SUFFIXES)})"
            reason = suffixes if path.is_dir() else "no such file or folder"
            raise UserError(f"--files {path}: there is {reason}")
    return found


def read_files(paths: Sequence[Path], frame: Frame) -> list[ImageFile]:
    """Reads image files and brings them to the frame; says which cannot be read.

    Raises:
        UserError: If none can be read.
    """
    images, problems = [], []
    for path in paths:
        try:
            image = read_image(path)
        except UnreadableImageError as error:
            problems.append(f"{path} ({error})")
            continue
        pixels, note = to_frame(image, frame)
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        images.append(ImageFile(str(path), image, pixels, note))
    if not images:
        raise UserError(f"--files: no file can be read as an image: {_listed(problems)}")
    if problems:
        print(f"{len(problems)} of {len(paths)} files cannot be read and are left out: "
              f"{_listed(problems)}")  # fmt: skip
    return images


def _tabulate(probabilities: Tensor, names: Sequence[str]) -> pd.DataFrame:
    """Makes a table of the predicted class and each class's probability."""
    best = [names[k] for k in probabilities.argmax(dim=1).tolist()]
    shares = dict(zip(names, np.asarray(probabilities.double()).T, strict=True))
    return pd.DataFrame({"predicted": best, **{f"p_{name}": p for name, p in shares.items()}})


def notes(images: Iterable[ImageFile]) -> Iterator[str]:
    """Yields a line for each thing that was done to images beyond scaling, with their names."""
    groups: dict[str, list[str]] = {}
    for image in images:
        if image.note:
            groups.setdefault(image.note, []).append(image.name)
    for note, names in groups.items():
        yield f"{_listed(names)}: {note}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")
