"""A trained model with the frame of its training data, for use outside of Lightning's loops."""

from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from commands.model_arguments import saved_in
from datamodules.frame import Frame
from models.base import Module
from models.classifier import Classifier
from runtime.errors import UserError


def load(path: Path, trust: bool = False) -> Module:
    """Builds the model of a checkpoint with its weights, in eval mode, on the CPU.

    Args:
        path: The checkpoint.
        trust: Import the classes that it names, whoever wrote it: see `runtime.trust`.

    Raises:
        UserError: If the checkpoint does not say its model's class, or the class is
            not one of this project's kind.
    """
    saved = saved_in(path, own=None if trust else [])
    if saved is None:
        raise UserError(
            f"{path} does not say its model's class, because it is not from `cli.py fit`: load it "
            "with the class's method load_from_checkpoint"
        )
    name = saved["class_path"]
    try:
        found = resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path} is of model {name}, which cannot be imported ({error}): put its file on "
            "Python's path"
        ) from None
    if not (isinstance(found, type) and issubclass(found, Module)):
        raise UserError(f"{path} is of {name}, which is no models.base.Module")
    model = found.load_from_checkpoint(path, trust=trust).eval()
    model.frame = frame_of(model, torch.load(path, "cpu", weights_only=True, mmap=True))
    return model


def check_classifies_images(model: object) -> Classifier:
    """Refuses a model that cannot classify image files."""
    wanted = "image files are for a classifier of images"
    if not isinstance(model, Classifier):
        raise UserError(f"{wanted}, but this model is {type(model).__name__}")
    if len(model.input_shape) != 3:
        shape = tuple(model.input_shape)
        raise UserError(
            f"{wanted}, but the inputs of this {type(model).__name__} have shape {shape}"
        )
    return model


def frame_of(model: LightningModule, checkpoint: Mapping[str, Any]) -> Frame | None:
    """Returns the frame of a model's training data; for images, a warning says what is not known.

    None if an old checkpoint of a model of other data does not say.
    """
    frame = Frame.of_checkpoint(checkpoint)
    if frame is not None or not isinstance(model, Classifier) or len(model.input_shape) != 3:
        return frame
    scale = checkpoint.get("datamodule_hyper_parameters", {}).get("scale")
    assumed = ", and pixels are divided by 255" if scale is None else ""
    rank_zero_warn(
        "An older version wrote this checkpoint, which does not say what its training images "
        f"looked like: image files are only resized, and classes are numbered{assumed}. Train "
        "again to classify scans well."
    )
    return Frame(model.input_shape, 255.0 if scale is None else scale)
