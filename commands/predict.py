"""Classes of image files: the Trainer's method `predict`, with `files`."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from PIL import Image
from torch import Tensor

from callbacks.predictions import tabulate
from callbacks.results import class_names
from commands.predict_figures import SHOWN, draw_files
from commands.trained import check_classifies_images, frame_of
from datamodules.frame import Frame, to_frame
from datamodules.image_files import SUFFIXES, UnreadableImageError, find_images, read_image
from figures.pictures import output_folder
from models.base import eval_mode
from models.classifier import Classifier
from runtime.errors import UserError
from runtime.files import write
from runtime.run_folder import run_folder_of

if TYPE_CHECKING:
    from pandas import DataFrame

ROWS = 10  # Printed.
NAMED = 5  # Files that a message names.
THUMBNAIL = 160  # Pixels.


class ImageFile(NamedTuple):
    """An image file, as the figure shows it and as the network gets it."""

    name: str
    thumbnail: Image.Image
    pixels: Tensor  # uint8 (C, H, W)
    note: str  # what was done to it beyond scaling


class Prediction:
    """Mixin that adds `files` to a Trainer's method `predict`."""

    def predict(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        return_predictions: bool | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
        files: list[str] | None = None,
        out: str | Path | None = None,
    ) -> Any:
        """Predicts the test split, or with `files` the classes of image files.

        With `files`, writes `predictions_files.csv`, with each class's probability, and
        `predictions_files.png`, which shows each file beside what the network gets.

        Args:
            model: A trained model.
            dataloaders: Batches to predict.
            datamodule: The data set whose test split is predicted.
            return_predictions: Whether to return predictions.
            ckpt_path: The trained weights: a checkpoint, a run folder, `last` or `best`.
            weights_only: Refuse a checkpoint that contains more than plain values.
            files: Image files, or folders of them, to classify: `--files a.png b.png scans/`.
                They are brought to the form of the training images, which the checkpoint knows.
            out: Folder of the two files; by default the run's folder.
        """
        if files is None:
            if out is not None:
                raise UserError(
                    "--out is for the predictions of --files: leave it out, or give --files"
                )
            data = dataloaders, datamodule, return_predictions, ckpt_path, weights_only
            return cast(Any, super()).predict(model, *data)
        trainer = cast(Trainer, self)
        if trainer.is_global_zero:  # One process is enough.
            classifier, paths = check_classifies_images(model), find_files(files)
            frame = _load_weights(trainer, classifier, ckpt_path, weights_only)
            images = read_files(paths, frame)
            run = run_folder_of(Path(ckpt_path)) if ckpt_path else None
            folder = output_folder(Path(out or run or trainer.default_root_dir))
            classifier.to(trainer.strategy.root_device)
            _report(folder, images, classify(classifier, stack(images), frame), frame)
        return None


def _load_weights(
    trainer: Trainer, model: Classifier, ckpt_path: str | Path | None, safe: bool | None
) -> Frame:
    """Loads the trained weights, if any, and returns the frame of their training images."""
    if ckpt_path is None:
        print("No --ckpt_path: these are the predictions of an untrained network.")
        return Frame(model.input_shape, 255.0)
    checkpoint = trainer.strategy.load_checkpoint(str(ckpt_path), safe)
    model.on_load_checkpoint(checkpoint)
    model.load_state_dict(checkpoint["state_dict"])
    return cast(Frame, frame_of(model, checkpoint))  # None only for other data than images


def _report(folder: Path, images: Sequence[ImageFile], probabilities: Tensor, frame: Frame) -> None:
    """Prints the first predictions, and writes the table and the figure."""
    table = tabulate_images([image.name for image in images], probabilities, frame)
    for line in notes(images):
        print(line)
    # At most file, predicted and ten classes.
    head = table.head(ROWS).to_string(index=False, max_cols=12, float_format="{:.4f}".format)
    count = f"The first {ROWS} of {len(table):,}" if len(table) > ROWS else "All"
    print(f"{count} predictions:\n{head}")
    csv, png = (folder / f"predictions_files.{suffix}" for suffix in ("csv", "png"))
    write(csv, lambda file: table.to_csv(file, index=False, float_format="%.6g"))
    names = class_names(frame, probabilities.shape[1])
    shown = [(image.name, image.thumbnail, image.pixels) for image in images[:SHOWN]]
    write(png, draw_files(shown, probabilities, names, len(images)).savefig)
    print(f"Wrote into {folder}: {csv.name}, {png.name}")


def find_files(given: Iterable[str | Path]) -> list[Path]:
    """Returns the files given, and the image files in and below the folders given."""
    found: list[Path] = []
    for path in map(Path, given):
        if path.is_dir():
            inside = list(find_images(path))
            if not inside:
                raise UserError(
                    f"--files {path}: there is no image in or below this folder "
                    f"({', '.join(SUFFIXES)})"
                )
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"--files {path}: there is no such file or folder")
    if not found:
        raise UserError(
            "--files names no file: give image files or folders, such as --files a.png scans/"
        )
    return found


def read_files(paths: Sequence[Path], frame: Frame) -> list[ImageFile]:
    """Reads image files and brings them to the frame; warns of those that cannot be read.

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
        rank_zero_warn(
            f"{len(problems)} of {len(paths)} files cannot be read and are left out: "
            f"{_listed(problems)}"
        )
    return images


def stack(images: Iterable[ImageFile]) -> Tensor:
    """Returns what the network gets, uint8 (N, C, H, W)."""
    return torch.stack([image.pixels for image in images])


@torch.no_grad()
def classify(model: Classifier, pixels: Tensor, frame: Frame, batch_size: int = 500) -> Tensor:
    """Computes class probabilities (N, K) of images uint8 (N, C, H, W), in full precision."""
    with eval_mode(model):
        logits = [
            model(part.to(model.device, torch.float32) / frame.scale).float()
            for part in pixels.split(batch_size)
        ]
    return model.as_probabilities(torch.cat(logits)).cpu()


def tabulate_images(
    images: Sequence[Any], probabilities: Tensor, frame: Frame, column: str = "file"
) -> "DataFrame":
    """Makes a table of image, predicted class and each class's probability."""
    names = class_names(frame, probabilities.shape[1])
    table = tabulate(probabilities.argmax(dim=1), probabilities, names)
    table = table.drop(columns=["index", "truth"])
    table.insert(0, column, list(images))
    return table


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
