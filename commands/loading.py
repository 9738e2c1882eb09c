"""A trained model and its data, for the tools, which use no Trainer."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from pkgutil import resolve_name
from textwrap import shorten
from typing import Any

import torch
from jsonargparse import ArgumentError, ArgumentParser
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.utilities.seed import isolate_rng

from commands import config_files
from commands.errors import user_error_in
from datamodules.base import InMemoryDataModule
from datamodules.frame import Frame
from models.base import Module
from runtime import checkpoints
from runtime.cpu import choose_precision
from runtime.errors import UserError
from runtime.files import check_links
from runtime.run_folder import run_folder_of
from runtime.trust import hyperparameters, only_trusted, trusted_class

RUNS = Path("runs")


def find(run: str | Path) -> Path:
    """Returns the checkpoint of a run's folder, a checkpoint file, `last` or `best`."""
    return checkpoints.resolve(run, RUNS, option="RUN")


def folder_of(run: str | Path) -> Path:
    """Returns the folder of a run, or that of a checkpoint which is in none."""
    checkpoint = find(run)
    return run_folder_of(checkpoint) or checkpoint.parent


def load(run: str | Path, trust: bool = False) -> Any:
    """Loads a trained model with its weights, in eval mode, on the CPU.

    Its attribute `frame` describes the training data; it is None if the checkpoint does not.

    Args:
        run: A run's folder, a checkpoint file, `last` or `best`.
        trust: Import the classes that the checkpoint names, whoever wrote it.
    """
    path = find(run)
    if not trust and (folder := run_folder_of(path)):
        check_links(folder)
    content = torch.load(path, map_location="meta", weights_only=True, mmap=True)
    name = hyperparameters(content).get("_class_path")
    if not name:
        raise UserError(f"{path} does not say its model's class, because it is not from "
                        "`cli.py fit`: use the class's load_from_checkpoint")  # fmt: skip
    with nullcontext() if trust else only_trusted(hyperparameters(content), path):
        try:
            found = resolve_name(name) if trust else trusted_class(name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(f"{path} is of model {name}, which cannot be imported ({error}): put "
                            "its file on Python's path") from None  # fmt: skip
        if not (isinstance(found, type) and issubclass(found, LightningModule)):
            raise UserError(f"{path} is of {name}, which is no LightningModule")
        checked: dict[str, Any] = {"trust": True} if issubclass(found, Module) else {}
        with _explained(name, path), isolate_rng():
            model: Any = found.load_from_checkpoint(path, weights_only=True, **checked).eval()
    model.frame = Frame.of_checkpoint(torch.load(path, "cpu", weights_only=True, mmap=True))
    return model


def data_of(run: str | Path, data_dir: Path | None = None, trust: bool = False) -> Any:
    """Builds the DataModule that a run's config.yaml describes, with its splits.

    Args:
        run: As for `load`.
        data_dir: Another folder for the data set; None: the run's.
        trust: As for `load`.
    """
    file = folder_of(run) / "config.yaml"
    if not file.is_file():
        raise UserError(f"{run}: there is no config.yaml beside it, which names the data: give the "
                        "folder of a run")  # fmt: skip
    data = config_files.read(file).get("data")
    if not isinstance(data, dict):
        raise UserError(f"{file} names no data set")
    if data_dir is not None:
        given = data.get("init_args") or {}
        folder = next((name for name in ("data_dir", "path") if name in given), None)
        if folder is None:
            name = data["class_path"].rpartition(".")[2]
            raise UserError(f"--data_dir: {name} reads no files: leave it out")
        given[folder] = str(data_dir)
    try:
        with nullcontext() if trust else only_trusted(data, file):
            found = _build(data, file)
        found.prepare_data()
        found.setup()
    except UserError as error:  # which names the option of `fit`
        raise UserError(re.sub(r"--data\.(data_dir|path)", "--data_dir", str(error))) from None
    trained = torch.load(find(run), map_location="meta", weights_only=True, mmap=True)
    if state := trained.get(type(found).__qualname__):
        found.check_test_split(state)
    return found


def _build(data: dict[str, Any], file: Path) -> InMemoryDataModule:
    """Builds the DataModule that the config `file` describes as `data`."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    with _explained("data", file):
        found = parser.instantiate_classes(parser.parse_object({"data": data})).data
    if not isinstance(found, InMemoryDataModule):
        raise UserError(f"{type(found).__name__} is no datamodules.base.InMemoryDataModule")
    return found


@contextmanager
def _explained(part: str, file: Path) -> Iterator[None]:
    """Says in one line why a part of a run cannot be built, as jsonargparse says in many."""
    try:
        yield
    except (ArgumentError, ValueError, TypeError, KeyError) as error:
        unknown = re.search(r"(?:keyword argument|[Oo]ption) '([^']+)'", str(error))
        reason = shorten(str(error).rpartition("Parser key ")[2], 200)
        reason = f"this version does not know '{unknown[1]}'" if unknown else reason
        problem = UserError(f"{file}: its {part} cannot be built: {reason}. Use the version of "
                            "this project that wrote it")  # fmt: skip
        raise user_error_in(error) or problem from error


def check_classes(frame: Frame | None, data: InMemoryDataModule) -> None:
    """Refuses data whose classes have other names than those in a trained model's frame."""
    known, found = frame and frame.class_names, data.class_names
    if not known or not found or tuple(known) == tuple(found):
        return
    gone, new = (
        shorten(", ".join(name for name in names if name not in others) or "none", 80)
        for names, others in ((known, found), (found, known))
    )
    raise UserError(
        f"{data.hparams.get('path', type(data).__name__)} has other classes than this run (only "
        f"the run: {gone}; only the data: {new}): rename the folders of the classes, or give data "
        "of the same classes"
    )


@contextmanager
def inference(model: LightningModule) -> Iterator[None]:
    """Computes without gradients, on a GPU if there is one, in the precision that is fast there."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    half = "bf16" in choose_precision(device)[0]
    with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=half):
        yield
