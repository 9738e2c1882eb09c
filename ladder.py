"""Ladder in Python and in notebooks: each function is a thin layer over a command of `cli.py`.

A user's mistake raises `UserError` with the line that the command prints.
"""

import json
import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from PIL import Image
from torch import Tensor

import cli
from commands import COMMANDS, trained
from commands import predict as prediction
from commands import sample as generation
from datamodules.frame import Frame, as_pixels
from figures.network import layers_of
from figures.pictures import mosaic
from models import generative as sampling
from models.base import Module
from runtime import checkpoints, signals
from runtime.cpu import choose_precision
from runtime.errors import UserError
from runtime.files import METRICS, read_json
from runtime.run_folder import run_folder_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

RUNS = Path("runs")
Run = str | Path  # a run's folder, a checkpoint file, `last` or `best`
Options = Mapping[str, Any]  # like flags of the command line: {"trainer.max_epochs": 5}


class Samples(NamedTuple):
    """Images drawn from a generator."""

    images: np.ndarray  # uint8 (N, H, W), or (N, H, W, 3) in colour
    labels: np.ndarray | None  # (N,); None for an unconditional GAN


def quiet() -> None:
    """Hides what Lightning tells about the machine and the run; warnings still appear."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def train(config: str | Path, options: Options | None = None) -> Path:
    """Trains what a config describes, as `cli.py fit` does, and returns the run's folder."""
    args = ["--config", str(config), *_arguments(options)]
    return Path(_command("fit", args).trainer.log_dir)


def load(run: Run, trust: bool = False) -> Module:
    """Loads a trained model with its weights, in eval mode, on the CPU.

    Its attribute `frame` describes the training data. With `trust`, classes of other modules than
    this project's are imported, which runs their code.
    """
    with isolate_rng():
        return trained.load(checkpoints.resolve(run, RUNS, option="run"), trust)


def sample(
    model: Module, count: int = 25, classes: Sequence[int | str] | None = None, seed: int = 0
) -> Samples:
    """Draws images from a GAN, the same as `cli.py sample` with this seed on this device.

    Args:
        model: A GAN.
        count: Number of images. A conditional GAN draws every class equally often, in turn.
        classes: The classes to draw, by number or name; None: all.
        seed: Seed of the latents.
    """
    chosen = generation.numbers_of("classes", classes, model)
    gan = generation.check(model, generation.Wanted(count, chosen, seed, 0.0, 1.0, 1))
    half = "bf16" in choose_precision(gan.device.type)[0]
    draws = sampling.Draws(gan, count, seed, chosen)
    images: list[Tensor] = []
    labels: list[Tensor] = []
    with torch.autocast(gan.device.type, torch.bfloat16, enabled=half):
        for latents, classes_drawn, _ in draws:
            given = None if classes_drawn is None else classes_drawn.to(gan.device)
            images.append(sampling.to_pixels(sampling.sample(gan, latents.to(gan.device), given)))
            labels += [] if classes_drawn is None else [classes_drawn]
    pixels = torch.cat(images).movedim(1, -1).squeeze(-1).cpu().numpy()
    return Samples(pixels, torch.cat(labels).numpy() if labels else None)


def layers(model: Module) -> "DataFrame":
    """Lists a model's inputs, layers and joining operations, with their output shapes."""
    import pandas as pd

    rows = [
        (part, layer.kind, layer.output_shape, layer.parameters)
        for part, found in layers_of(model).items()
        for layer in found
    ]
    return pd.DataFrame(rows, columns=["network", "layer", "output shape", "parameters"])


def plot(
    images: Any,
    labels: Sequence[Any] | np.ndarray | None = None,
    columns: int | None = None,
    width: float = 1.4,
) -> "Figure":
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


def predict(model: Module, images: Any) -> "DataFrame":
    """Computes the classes of images and their probabilities, as `cli.py predict --files` does.

    Args:
        model: A classifier of images.
        images: A path of an image file or folder, or several. Or an array of images of the training
            shape, such as (N, H, W) or (N, H, W, 3): uint8, or floats from 0 to 1.
    """
    classifier = trained.check_classifies_images(model)
    frame = model.frame or Frame(classifier.input_shape, 255.0)
    paths = [images] if isinstance(images, str | Path) else images
    if isinstance(paths, list | tuple) and all(isinstance(path, str | Path) for path in paths):
        files = prediction.read_files(prediction.find_files(paths), frame)
        for note in prediction.notes(files):
            print(note)
        pixels = prediction.stack(files)
        rows, column = [file.name for file in files], "file"
    else:
        pixels = as_pixels(images, classifier.input_shape)
        rows, column = [*map(str, range(len(pixels)))], "index"
    probabilities = prediction.classify(classifier, pixels, frame)
    return prediction.tabulate_images(rows, probabilities, frame, column)


def score(
    run: Run, split: Literal["val", "test"] = "val", options: Options | None = None
) -> "DataFrame":
    """Scores a trained model on its data, as `cli.py validate` and `cli.py test` do.

    Returns a row for each score. The column `floor` is a generator's score if its images were real
    ones; it is empty for other models.
    """
    import pandas as pd

    names = {"val": "validate", "test": "test"}
    if split not in names:
        raise UserError(f"there is no split {split!r}: one of {', '.join(names)}")
    trainer = _command(names[split], ["--ckpt_path", str(run), *_arguments(options)]).trainer
    scores = {
        name.removeprefix(f"{split}/"): float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith(f"{split}/")
    }
    if not scores:
        raise UserError(
            f"{run}: nothing was scored: its data have no {split} split (data.val_fraction), "
            f"or trainer.limit_{split}_batches is 0; options can change either"
        )
    recorded = read_json(Path(trainer.log_dir) / METRICS).get(split, {})
    floors = [recorded.get("floor", {}).get(name) for name in scores]
    return pd.DataFrame({"score": scores, "floor": pd.Series(floors, scores, dtype=float)})


def curves(run: Run) -> "DataFrame":
    """Returns what a run logged in training: a row for each step, a column for each metric.

    A metric that was not logged at a step is NaN there.
    """
    import pandas as pd

    folder = _folder(run, "metrics.csv")
    if not (folder / "metrics.csv").is_file():
        raise UserError(
            f"{run}: there is no metrics.csv here: give the folder of a run that logged something, "
            "which a run shorter than trainer.log_every_n_steps does not"
        )
    return pd.read_csv(folder / "metrics.csv").groupby("step").last()


def command(name: str, run: Run, options: Options | None = None) -> None:
    """Runs `predict`, `sample`, `maximize` or `export` on a trained model, as `cli.py` does.

    `figure` opens the pictures that it draws.
    """
    known = [key for key, value in COMMANDS.items() if value.path and not value.light]
    if name not in known:
        raise UserError(f"no such command: {name!r}: one of {', '.join(known)}")
    _command(name, ["--ckpt_path", str(run), *_arguments(options)])


def figure(run: Run, name: str) -> Image.Image:
    """Opens a picture of a run's folders `figures` and `samples`, such as `curves`.

    A notebook shows the image that a cell ends with.
    """
    folder = _folder(run, "figures")
    files = [*folder.glob("figures/*.png"), *folder.glob("samples/*.png")]
    found = {path.stem: path for path in sorted(files)}
    if name not in found:
        raise UserError(f"{run} has no figure {name!r}: one of {', '.join(found)}")
    with Image.open(found[name]) as image:
        return image.copy()


def _folder(run: Run, content: str) -> Path:
    """Returns the folder of a run, which usually has this content."""
    folder = Path(run)
    if (folder / content).exists():
        return folder
    return run_folder_of(checkpoints.resolve(run, RUNS, option="run")) or folder


def _arguments(options: Options | None) -> list[str]:
    """Writes options as flags of the command line."""
    return [
        f"--{name}={value if isinstance(value, str | Path) else json.dumps(value, default=str)}"
        for name, value in (options or {}).items()
    ]


def _command(name: str, args: list[str]) -> Any:
    """Runs a command of `cli.py` in this process, which is afterwards as it was before."""
    with _process_as_before():
        return cli.run_lightning([name, *args])


@contextmanager
def _process_as_before() -> Iterator[None]:
    """Restores signal handlers, environment, random numbers and the rounding of tiny numbers."""
    handlers = {
        number: signal.getsignal(number) for number in (*signals.STOP_SIGNALS, signal.SIGINT)
    }
    environment = dict(os.environ)
    rounds = not torch.full((1,), 2e-38).div(4).item()
    try:
        with isolate_rng():
            yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(environment)
        torch.set_flush_denormal(rounds)
