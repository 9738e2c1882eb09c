"""The model in a checkpoint and the data that a config describes, for tools without a Trainer."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from pkgutil import resolve_name
from textwrap import shorten
from typing import Any

import torch
from jsonargparse import ArgumentError, ArgumentParser
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.utilities.seed import isolate_rng

import metrics.judge  # noqa: F401  # a checkpoint may name its network
from datamodules.data_module import DataModule
from datamodules.input_spec import InputSpec
from datamodules.provenance import check_same
from models.base import Module
from runtime import checkpoints
from runtime.class_defaults import corrected_init_args
from runtime.cpu import choose_precision, correct_bf16
from runtime.errors import UserError, user_error_in
from runtime.trust import hyperparameters, only_trusted, require_plain_keys, trusted_class


def model_of(path: Path, trust: bool, given: type | None = None, own: Sequence[str] = ()) -> Any:
    """Loads the model in a checkpoint: see `results.Run.model`. Classes in `own` are trusted."""
    content = checkpoints.contents(path)
    saved = hyperparameters(content)
    name = str(saved.get("_class_path") or content.get("class_path") or "")
    if given is not None:
        name = f"{given.__module__}.{given.__qualname__}"
    if not name:
        raise UserError(f"{path} does not say its model's class, because it is not a model of this "
                        "project: give it, ladder.load(file, model=Class)")  # fmt: skip
    own = [*own, name] if given is not None else own
    with nullcontext() if trust else only_trusted({**saved, "class_path": name}, path, own):
        try:
            is_own = trust or name in own
            kind = given or (resolve_name(name) if is_own else trusted_class(name))
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(f"{path} is of model {name}, which cannot be imported ({error}): put "
                            "its file on Python's path") from None  # fmt: skip
        if not (isinstance(kind, type) and issubclass(kind, LightningModule)):
            raise UserError(f"{path} is of {name}, which is no LightningModule")
        checked: dict[str, Any] = {"trust": True} if issubclass(kind, Module) else {}
        with _explained(name, path), isolate_rng():
            model: Any = kind.load_from_checkpoint(path, weights_only=True, **checked).eval()
    model.input_spec = InputSpec.of_checkpoint(content)
    return model


def data_of(data: Any, file: Path, checkpoint: Path, data_dir: Path | None, trust: bool) -> Any:
    """Builds the DataModule that a config `file` describes as `data`: see `results.Run.data`."""
    if not isinstance(data, dict):
        raise UserError(f"{file} names no data set")
    chosen = set[str]()  # options
    if data_dir is not None:
        given = data.get("init_args") or {}
        folder = next((name for name in ("data_dir", "path") if name in given), None)
        if folder is None:
            name = data["class_path"].rpartition(".")[2]
            raise UserError(f"--data_dir: {name} reads no files: leave it out")
        data, chosen = {**data, "init_args": {**given, folder: str(data_dir)}}, {folder}
    saved = checkpoints.contents(checkpoint)
    given = data.get("init_args") or {}
    if given.get("dataset") == "auto":  # what it has found in training
        with suppress(KeyError, TypeError):  # files of others may have anything there
            name = saved["Images"]["identity"]["dataset"]
            data = {**data, "init_args": {**given, "dataset": name}}
    try:
        if trust:
            data_module = _build(data, file)
        else:
            require_plain_keys(data, file)
            with only_trusted(data, file, addresses=[data_dir]):
                data_module = _build(data, file)
            data_module.may_download = data_dir is not None
        data_module.prepare_data()
        data_module.setup(None)  # type: ignore[arg-type]  # all splits
        data_module.check_classes(InputSpec.of_checkpoint(saved))
        check_same(data_module, checkpoint, chosen)
    except UserError as error:  # which names the option of `fit`
        raise UserError(re.sub(r"--data\.(data_dir|path)", "--data_dir", str(error))) from None
    return data_module


def _build(data: dict[str, Any], file: Path) -> DataModule:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    with _explained("data", file), corrected_init_args():
        built = parser.instantiate_classes(parser.parse_object({"data": data})).data
    if not isinstance(built, DataModule):
        raise UserError(f"{type(built).__name__} is no datamodules.DataModule")
    return built


@contextmanager
def _explained(part: str, file: Path) -> Iterator[None]:
    """Raises a one-line UserError if a part of a run cannot be built."""
    try:
        yield
    except (ArgumentError, ValueError, TypeError, KeyError) as error:
        unknown = re.search(r"(?:keyword argument|[Oo]ption) '([^']+)'", str(error))
        reason = shorten(str(error).rpartition("Parser key ")[2], 200)
        reason = f"this version does not know '{unknown[1]}'" if unknown else reason
        problem = UserError(f"{file}: its {part} cannot be built: {reason}. Use the version of "
                            "this project that wrote it")  # fmt: skip
        raise user_error_in(error) or problem from error


@contextmanager
def inference(model: LightningModule) -> Iterator[None]:
    """Computes without gradients, on a GPU if there is one, in the precision of the model's run.

    Without a run, or if that is `auto`, the precision is the one that is fast there.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    precision = getattr(model, "run_precision", "auto")
    precision = choose_precision(device)[0] if precision == "auto" else precision
    dtype = torch.float16 if precision[:2] == "16" and device == "cuda" else torch.bfloat16
    if (half := "16" in precision) and device == "cpu":
        correct_bf16(model)
    with torch.no_grad(), torch.autocast(device, dtype, enabled=half):
        yield
