"""The trained models that `demo` shows: the newest classifiers and GANs of images below a folder.

A run folder that cannot be used is left out, with a line that says why. Nothing that a folder
contains can end the search.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

import torch
from torch import Tensor

from callbacks.results import class_names
from commands import trained
from datamodules.base import InMemoryDataModule
from datamodules.frame import Frame
from models.base import Module
from models.classifier import Classifier
from models.gan import GAN
from runtime import checkpoints
from runtime.trust import check_trust

MOST = 8  # models of each kind; a page with more of them helps nobody
LOOKED_AT = 200  # run folders


@dataclass(eq=False)  # so that results can be cached by the model
class Trained:
    """A trained model."""

    name: str  # its run's folder, below the folder of all runs
    checkpoint: Path
    model: Module
    frame: Frame  # of its training data

    @property
    def classes(self) -> list[str]:
        return class_names(self.frame, getattr(self.model, "num_classes", 0) or 0)


@dataclass
class Found:
    """Models by their names, the newest first, and a line for each folder that was left out."""

    classifiers: dict[str, Trained] = field(default_factory=dict)
    gans: dict[str, Trained] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def find(runs: Path, trust: bool = False) -> Found:
    """Loads the newest models of images in and below a folder.

    Args:
        runs: The folder of all runs.
        trust: Also import classes that are not of this project: see `runtime.trust`.
    """
    found = Found()
    folders = [*_run_folders(runs)]
    if len(folders) > LOOKED_AT:
        found.skipped.append(
            f"{len(folders) - LOOKED_AT} older ones, behind {LOOKED_AT} newer ones"
        )
    for folder in folders[:LOOKED_AT]:
        name = str(folder.relative_to(runs)) if folder != runs else folder.name
        try:
            one = _newest(folder, name, trust)
        except Exception as error:  # files that others made can fail in any way
            found.skipped.append(f"{name}: {_reason(error, folder)}")
            continue
        models = found.gans if isinstance(one.model, GAN) else found.classifiers
        if _shows_images(one.model) and len(models) < MOST:
            models[name] = one
    return found


def _run_folders(runs: Path) -> Iterator[Path]:
    """Yields the folders of runs that have checkpoints, the newest first."""
    times: dict[Path, float] = {}
    for path in runs.glob("**/checkpoints/[!.]*.ckpt"):
        folder = path.parent.parent
        times[folder] = max(times.get(folder, 0.0), path.lstat().st_mtime)
    yield from sorted(times, key=lambda folder: times[folder], reverse=True)


def _newest(folder: Path, name: str, trust: bool) -> Trained:
    """Loads the newest sound checkpoint of a run, once for each state of the file."""
    with warnings.catch_warnings(action="ignore"):  # the page says what is left out
        path = checkpoints.newest(folder / "checkpoints")
        if path is None:
            first = min((folder / "checkpoints").glob("[!.]*.ckpt"))
            raise ValueError(checkpoints.problem_of(first) or "it has no sound checkpoint")
        return _load(path.resolve(), path.stat().st_mtime_ns, name, trust)


@lru_cache(maxsize=4 * MOST)
def _load(path: Path, modified: int, name: str, trust: bool) -> Trained:
    model = trained.load(path, trust)
    shape = getattr(model, "input_shape", getattr(model, "image_shape", ()))
    return Trained(name, path, model, model.frame or Frame(shape, 255.0))


def _shows_images(model: Module) -> bool:
    is_image_classifier = isinstance(model, Classifier) and len(model.input_shape) == 3
    return isinstance(model, GAN) or is_image_classifier


def _reason(error: Exception, folder: Path) -> str:
    """Returns an error in one line, which does not repeat where the folder is."""
    text = _one_line(error)
    for path in (folder.resolve(), folder):
        text = text.replace(f"{path}/", "")
    return text


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."


class TrainingImages(NamedTuple):
    """The images that a model was trained on."""

    images: Tensor | None  # uint8 (N, C, H, W)
    missing: str = ""  # why there are none, in one sentence


@cache
def training_images(one: Trained) -> TrainingImages:
    """Reads the images that a model was trained on, or says why they cannot be shown.

    Nothing is downloaded. Other images than those of the training run do not count.
    """
    try:
        return TrainingImages(_training_images(one))
    except Exception as error:  # files that others made can fail in any way
        return TrainingImages(None, f"The training images cannot be shown: {_one_line(error)}")


def _training_images(one: Trained) -> Tensor:
    content = torch.load(one.checkpoint, map_location="meta", weights_only=True, mmap=True)
    saved = dict(content.get("datamodule_hyper_parameters") or {})
    check_trust(saved, str(one.checkpoint))
    if "_class_path" not in saved:
        raise ValueError("the checkpoint does not say what they were.")
    kind = resolve_name(saved["_class_path"])
    if not issubclass(kind, InMemoryDataModule):
        raise ValueError(f"{kind.__name__} does not keep them in memory.")
    given = {name: value for name, value in saved.items() if not name.startswith("_")}
    found = given.pop("dataset_found", None)  # what `auto` meant in the training run
    data = kind(**(given | ({"dataset": found} if found else {})))
    data.setup("fit")
    if data.splits is None or data.identity() != content[kind.__name__]["identity"]:
        raise ValueError(f"what {kind.__name__} finds on this machine are others.")
    images = data.splits.train.inputs
    if images.dtype != torch.uint8 or images.dim() != 4:
        raise ValueError(f"{kind.__name__} has no images of whole numbers.")
    return images
