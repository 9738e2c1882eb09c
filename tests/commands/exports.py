"""Exports small models, and runs the files where neither torch nor this project is known."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from torch import Tensor, nn

from commands.export import Export
from datamodules.frame import Frame
from models import (
    GAN,
    ImageClassifier,
)
from tests.models.classifiers import SHAPE, trainer

NAMES = tuple(f"class {k}" for k in range(10))


WITHOUT = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
"""


PROJECT = {"callbacks", "cli", "commands", "datamodules", "metrics", "models", "runtime"}


class ExportingTrainer(Export, Trainer):
    pass


class Sorting(nn.Module):
    """Singular values, for which ONNX has no operator."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.linalg.svdvals(features.unflatten(1, (2, -1)))


class Branching(nn.Module):
    """Computes what depends on the data, which cannot be traced."""

    def forward(self, features: Tensor) -> Tensor:
        return features if features.sum() > 0 else -features


class Custom(nn.Sequential):
    """A network with a layer of the user's."""

    def __init__(self, input_shape: Any, num_outputs: int, layer: str = "Sorting") -> None:
        custom = {"Sorting": Sorting, "Branching": Branching}[layer]()
        super().__init__(nn.Flatten(), nn.Linear(784, 20), custom, nn.LazyLinear(num_outputs))
        self(torch.zeros(1, *input_shape))


def image_classifier(network: Any, **kwargs: Any) -> ImageClassifier:
    return ImageClassifier(SHAPE, 10, network, **kwargs)


def shaken(model: Any) -> Any:
    """Moves all weights and batch statistics, so that no network equals its average."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.03 * torch.rand_like(tensor)  # variances stay positive
    return model


def checkpoint(model: Any, path: Path, scale: float | None = 255.0) -> Path:
    """Writes a checkpoint whose data have this scale; None: it does not say."""
    shape = model.image_shape if isinstance(model, GAN) else model.input_shape
    names = NAMES[: getattr(model, "num_classes", 0)]
    data = {"identity": {"standardize": True}, "frame": Frame(shape, scale or 1.0, names)._asdict()}
    hparams = {"_class_path": f"models.{type(model).__name__}", **model.hparams}
    content = {"state_dict": model.state_dict(), "hyper_parameters": hparams}
    torch.save(content | ({"Iris": data} if scale else {}), path)
    return path


def export(model: Any, folder: Path, *formats: Any, scale: float | None = 255.0) -> Path:
    """Exports a model into `folder/out`."""
    path = checkpoint(model, folder / "model.ckpt", scale)
    trainer(kind=ExportingTrainer).export(model, path, format=formats, out=folder / "out")
    return folder / "out"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def code(readme: Path, title: str) -> str:
    """Returns the code in a README below a heading."""
    (found,) = re.findall(rf"## Run with {title}\n.*?```python\n(.*?)```", readme.read_text(), re.S)
    return found


def python(script: str, folder: Path, *args: str, blocked: set[str] = PROJECT) -> str:
    """Runs a script in a folder, in a process without the blocked packages."""
    start = f"BLOCKED = {blocked!r}\n{WITHOUT}"
    command = [sys.executable, "-I", "-c", start + script, *args]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
