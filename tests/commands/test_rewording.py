"""Errors of libraries in one line, and those of a user's own code with their place."""

import traceback
from typing import Any
from unittest.mock import Mock
from urllib.error import URLError

import pytest
from torch import nn

import cli
from commands.rewording import explain_constructor, explain_error
from datamodules import ImageFolder
from models.gan.networks import ModernGenerator
from runtime.errors import UserError


class Own(nn.Module):
    """A network with a mistake in its own code."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()
        nothing: Any = None
        self.layers = nothing[0]


def wrapped(make):
    """Returns the error of a constructor as jsonargparse raises it."""
    try:
        try:
            make()
        except Exception as error:
            raise ValueError("Does not validate against any of the Union subtypes") from error
    except ValueError as error:
        return error


def test_a_constructor_of_the_project_that_got_something_else_is_a_mistake():
    found = explain_constructor(wrapped(lambda: ModernGenerator(5, 10)))
    assert isinstance(found, UserError)
    assert "cannot be used there" in str(found)


def test_a_path_that_is_too_long_is_no_wrong_class(tmp_path):
    found = explain_constructor(wrapped(lambda: ImageFolder(str(tmp_path / ("x" * 300)))))
    assert isinstance(found, OSError)
    assert explain_error(found)[1].endswith("...: File name too long: shorten it")


def test_a_constructor_that_cannot_download_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.is_dir", Mock(side_effect=URLError("no network")))
    found = explain_constructor(wrapped(lambda: ImageFolder(str(tmp_path))))
    assert "no network" in explain_error(found)[1]


def test_an_error_in_code_of_ones_own_keeps_its_kind_and_place():
    found = explain_constructor(wrapped(Own))
    assert isinstance(found, TypeError)
    frames = traceback.extract_tb(found.__traceback__)
    assert "self.layers" in str(frames[-1].line)


def test_a_network_with_a_mistake_of_ones_own_ends_with_its_traceback(tmp_path):
    options = ["--config=configs/iris.yaml", f"--trainer.default_root_dir={tmp_path}"]
    with pytest.raises(TypeError, match="not subscriptable"):
        cli.main(["fit", *options, f"--model.network={__name__}.Own"])
