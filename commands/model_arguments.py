"""The model's init arguments that the data decide."""

from functools import cache
from pkgutil import resolve_name
from typing import Any

from jsonargparse import ArgumentParser
from lightning import LightningModule
from lightning.pytorch.cli import LightningArgumentParser

FROM_DATA = ("input_shape", "image_shape", "num_classes", "mirrors")


def link_to_data(parser: LightningArgumentParser) -> None:
    """Gives the model what the data decide. Values of the command line are not used."""
    for name in FROM_DATA:
        parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")


def keep_own_hyperparameters(model: LightningModule) -> None:
    """Removes what the data offered and the model's class does not take from its `hparams`."""
    own = default_init_args(f"{type(model).__module__}.{type(model).__qualname__}")
    for name in FROM_DATA:
        if name not in own:
            model.hparams.pop(name, None)


@cache
def default_init_args(class_path: str) -> dict[str, Any]:
    """Returns the init arguments that a class and its bases take, with their defaults."""
    parser = ArgumentParser()
    parser.add_class_arguments(resolve_name(class_path), "cls", fail_untyped=False)
    defaults = parser.get_defaults()
    return defaults.cls.as_dict() if "cls" in defaults else {}  # a class without arguments
