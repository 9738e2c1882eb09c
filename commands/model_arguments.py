"""The model's init arguments: from the config, from the data and from a checkpoint."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
from jsonargparse import ArgumentParser, Namespace
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser

from runtime import trust
from runtime.errors import UserError

FROM_DATA = ("input_shape", "image_shape", "num_classes", "mirrors")  # the data decide these


def link_to_data(parser: LightningArgumentParser) -> None:
    """Gives the model what the data decide. Values of the command line are not used."""
    for name in FROM_DATA:
        parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")


def check_against_data(model: Namespace, data: LightningDataModule, trained: bool) -> None:
    """Refuses init arguments that contradict the data.

    A default does not count, unless it is of a trained model, whose weights depend on it.
    """
    for name in FROM_DATA[:-1]:
        given, decided = model.init_args.get(name), getattr(data, name)
        default = default_init_args(model.class_path).get(name)
        allowed = [None, _plain(decided), *([] if trained else [_plain(default)])]
        if _plain(given) in allowed:
            continue
        has = f"{_plain(given)}, and data {type(data).__name__} has {_plain(decided)}"
        if trained:
            raise UserError(
                f"the checkpoint's model was trained with {name} {has}: choose data like those "
                "that it was trained on, or another checkpoint."
            )
        raise UserError(f"model.{name} is {has}: leave out --model.{name}, which the data decide.")


def keep_own_hyperparameters(model: LightningModule) -> None:
    """Removes what the data offered and the model's class does not take from its `hparams`."""
    own = default_init_args(f"{type(model).__module__}.{type(model).__qualname__}")
    for name in FROM_DATA:
        if name not in own:
            model.hparams.pop(name, None)


def saved_in(checkpoint: Path, own: Iterable[str] | None = None) -> dict[str, Any] | None:
    """Returns class path and init arguments of a checkpoint's model; None if it does not say.

    Args:
        checkpoint: The file.
        own: Import paths that the user named, see `runtime.trust`; None: every class is trusted.
    """
    content = torch.load(checkpoint, map_location="meta", weights_only=True, mmap=True)
    hparams = dict(content.get("hyper_parameters", {}))
    if own is not None:
        trust.check_trust(hparams, str(checkpoint), own)
    class_path = hparams.pop("_class_path", None)
    hparams.pop("_instantiator", None)
    return {"class_path": class_path, "init_args": hparams} if class_path else None


@cache
def default_init_args(class_path: str) -> dict[str, Any]:
    """Returns the init arguments that a class and its bases take, with their defaults."""
    parser = ArgumentParser()
    parser.add_class_arguments(resolve_name(class_path), "cls", fail_untyped=False)
    defaults = parser.get_defaults()
    return defaults.cls.as_dict() if "cls" in defaults else {}  # a class without arguments


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
