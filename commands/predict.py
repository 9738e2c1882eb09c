"""Predictions of a trained model for its test data, or for image files."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from commands.loading import class_names, folder_of, inference, load, splits_of
from datamodules.base import InMemoryDataModule
from datamodules.frame import Frame, as_pixels, to_frame
from datamodules.image_files import SUFFIXES, UnreadableImageError, find_images, read_image
from figures.pictures import mosaic, output_folder
from models.classifier import is_classifier
from models.regressor import is_regressor
from runtime.errors import UserError
from runtime.files import write

ROWS = 10  # printed
NAMED = 5  # files that a message names
SMALL = 10  # inputs of an example that a table shows
SHOWN = 24  # files in the figure
CELL = 160  # pixels of each side of a picture; a file and the network's input are two
TOP = 3  # classes
LETTERS, SIZE = 28, 11  # of a file's name; points


class ImageFile(NamedTuple):
    """An image file, as the figure shows it and as the network gets it."""

    name: str
    thumbnail: Image.Image
    pixels: Tensor  # uint8 (C, H, W)


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
        table, name = predict_test(model, splits_of(run, data_dir, trust)), "predictions"
    else:
        table, images = classify_files(model, files)
        name = "predictions_files"
    head = table.head(ROWS).to_string(index=False, max_cols=13, float_format="{:.4f}".format)
    count = f"The first {ROWS} of {len(table):,}" if len(table) > ROWS else "All"
    print(f"{count} predictions:\n{head}")
    path = output_folder(out or folder_of(run)) / f"{name}.csv"
    write(path, lambda file: table.to_csv(file, index=False, float_format="%.6g"))
    print(f"Predictions: {path}")
    if files is not None:
        figure = draw_files(images, table)
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
    _frame_of(model)
    paths = [images] if isinstance(images, str | Path) else images
    if isinstance(paths, list | tuple) and all(isinstance(path, str | Path) for path in paths):
        return classify_files(model, map(Path, paths))[0]
    pixels = as_pixels(images, model.input_shape)
    table = _tabulate(classify(model, pixels), class_names(model))
    table.insert(0, "index", [*map(str, range(len(pixels)))])
    return table


def classify_files(model: Any, paths: Iterable[Path]) -> tuple[pd.DataFrame, list[ImageFile]]:
    """Makes a table of image files and their classes, and returns the images too."""
    images = read_files(find_files(paths), _frame_of(model))
    probabilities = classify(model, torch.stack([image.pixels for image in images]))
    table = _tabulate(probabilities, class_names(model))
    table.insert(0, "file", [image.name for image in images])
    return table, images


@torch.no_grad()
def classify(model: Any, pixels: Tensor, batch_size: int = 500) -> Tensor:
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
    """Reads image files and brings them to the frame.

    Prints which cannot be read, and what was done to others beyond scaling.

    Raises:
        UserError: If none can be read.
    """
    images, problems = [], []
    notes: dict[str, list[str]] = {}
    for path in paths:
        try:
            image = read_image(path)
        except UnreadableImageError as error:
            problems.append(f"{path} ({error})")
            continue
        pixels, note = to_frame(image, frame)
        image.thumbnail((CELL, CELL))
        images.append(ImageFile(str(path), image, pixels))
        notes.setdefault(note, []).append(str(path))
    if not images:
        raise UserError(f"--files: no file can be read as an image: {_listed(problems)}")
    if problems:
        print(f"{len(problems)} of {len(paths)} files cannot be read and are left out: "
              f"{_listed(problems)}")  # fmt: skip
    for note in filter(None, notes):
        print(f"{_listed(notes[note])}: {note}")
    return images


def _tabulate(probabilities: Tensor, names: Sequence[str]) -> pd.DataFrame:
    """Makes a table of the predicted class and each class's probability."""
    best = [names[k] for k in probabilities.argmax(dim=1).tolist()]
    shares = dict(zip(names, np.asarray(probabilities.double()).T, strict=True))
    return pd.DataFrame({"predicted": best, **{f"p_{name}": p for name, p in shares.items()}})


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def draw_files(images: Sequence[ImageFile], table: pd.DataFrame) -> Figure:
    """Draws the first files, each beside the network's input and below its likely classes.

    Args:
        images: The files.
        table: A row for each, with the column `p_NAME` for each class.
    """
    shown, titles = images[:SHOWN], []
    for image, (_, row) in zip(shown, table.filter(like="p_").iterrows(), strict=False):
        texts = [f"{k.removeprefix('p_')} {100 * p:.1f} %" for k, p in row.nlargest(TOP).items()]
        short = Path(image.name).name
        short = short if len(short) <= LETTERS else "…" + short[-LETTERS + 1 :]
        titles.append(f"{short}\n{texts[0]}\n{', '.join(texts[1:])}")
    which = f"The first {SHOWN} of {len(images):,}" if len(images) > SHOWN else "The"
    pairs = [(_square(image.thumbnail), _square(to_pil_image(image.pixels))) for image in shown]
    tiles = torch.stack([torch.cat(pair, dim=2) for pair in pairs])
    heading = f"{which} files, each beside what the network gets"
    return mosaic(tiles, titles, min(4, len(shown)), heading, cell=2.7, letters=SIZE)


def _square(image: Image.Image) -> Tensor:
    """Pads a picture to a white square, uint8 (3, CELL, CELL)."""
    method = Image.Resampling.NEAREST if max(image.size) < CELL else Image.Resampling.BICUBIC
    return pil_to_tensor(ImageOps.pad(image.convert("RGB"), (CELL, CELL), method, "white"))
