"""A run folder or checkpoint that somebody else made cannot run code."""

import importlib
import shutil
import sys
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser

from models import ConditionalGAN
from runtime import trust
from runtime.errors import UserError
from tests.conftest import ROOT
from tests.test_cli import fails, run

EVIL = """
from pathlib import Path
from torch import nn
Path({mark!r}).touch()
class X(nn.Linear): pass
"""


@pytest.fixture
def made_by_another(tmp_path, monkeypatch):
    """A copy of a GAN's run, and a module `evil` in it that can be imported and leaves a mark."""
    folder = tmp_path / "cgan" / "version_0"
    shutil.copytree(ROOT / "tests" / "fixtures" / "cgan", folder, symlinks=True)
    (folder / "evil.py").write_text(EVIL.format(mark=str(tmp_path / "ran")))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return folder


def poison_config(folder: Path) -> None:
    config = folder / "config.yaml"
    text = "  callbacks:\n  - class_path: evil.X\n"
    config.write_text(config.read_text().replace("  callbacks: null\n", text, 1))


def poison_network(folder: Path) -> None:
    """The short form: a class without a key."""
    config = folder / "config.yaml"
    config.write_text("model:\n  class_path: ConditionalGAN\n  init_args: {trunk: evil.X}\n")


def poison_checkpoint(folder: Path, **hparams: Any) -> None:
    last = folder / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    content["hyper_parameters"] |= hparams or {"_class_path": "evil.X"}
    torch.save(content, last)


@pytest.mark.parametrize(
    ("poison", "command"),
    [(poison_config, "test"), (poison_network, "test"), (poison_checkpoint, "sample")],
)
def test_a_foreign_class_is_refused_and_not_imported(
    poison, command, made_by_another, tmp_path, capsys
):
    poison(made_by_another)
    line = fails(capsys, command, str(made_by_another))
    assert "names the class evil.X, which is not of this project" in line
    assert str(made_by_another) in line
    assert line.endswith("add --trust true.")
    assert not (tmp_path / "ran").exists()


def test_a_class_that_an_older_version_had_is_not_called_foreign(made_by_another, capsys):
    head = {"class_path": "models.ProjectionHead", "init_args": {}}
    poison_checkpoint(made_by_another, discriminator=head)
    line = fails(capsys, "sample", str(made_by_another))
    assert "names the class models.ProjectionHead, which this version does not have. Use" in line


def test_python_refuses_it_too(made_by_another, tmp_path):
    last = made_by_another / "checkpoints" / "last.ckpt"
    head = {"class_path": "evil.X", "init_args": {}}
    for hparams in ({"discriminator": head}, {"_instantiator": "evil.X"}):
        poison_checkpoint(made_by_another, **hparams)
        with pytest.raises(UserError, match="evil"):
            ConditionalGAN.load_from_checkpoint(last)
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore:.*not a checkpoint of plain values")
def test_a_program_in_a_checkpoint_is_not_run(made_by_another, tmp_path, capsys):
    class Program:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    last = made_by_another / "checkpoints" / "last.ckpt"
    torch.save(torch.load(last, weights_only=True) | {"more": Program()}, last)
    with pytest.raises(UnpicklingError):
        ConditionalGAN.load_from_checkpoint(last)
    for trusted in ("false", "true"):
        fails(capsys, "sample", str(made_by_another), f"--trust={trusted}")
    assert not (tmp_path / "ran").exists()


def test_the_user_may_trust_it(made_by_another, tmp_path):
    poison_config(made_by_another)
    with pytest.raises(SystemExit):  # evil.X is no callback, which is found out by importing it
        run("test", str(made_by_another), "--trust=true")
    assert (tmp_path / "ran").exists()


def test_classes_that_the_user_names_are_trusted():
    hparams = {"network": {"class_path": "my_file.Net"}}
    assert not trust.refusal(hparams, own=["my_file.Other"])
    with (
        pytest.raises(UserError, match=r"run names the class my_file\.Net"),
        trust.only_trusted(hparams, "run", own=["other_file.Net", 5, None]),
    ):
        pass


@pytest.mark.parametrize(
    "path",
    ["models.GAN", "torch.nn.Linear", "torch.optim.Adam", "lightning.pytorch.callbacks.Timer"],
)
def test_classes_of_the_project_and_of_libraries_are_trusted(path):
    assert trust.trusted_class(path)


@pytest.mark.parametrize(
    "path",
    [
        "torch.os.system",  # a library's own imports
        "torch.os._wrap_close",
        "models.base.UserError",
        "models.base.derive_seed",  # no class
        "torch.nn.functional.relu",
        "lightning.pytorch.loggers.CSVLogger",  # writes anywhere
        "torch.jit.ScriptModule",
        "torchmetrics.MeanMetric",  # a module, but no network
        "runs.x.evil.X",
        "evil:X",
        "evil",
    ],
)
def test_nothing_else_is(path):
    assert trust.trusted_class(path) is None


def test_a_module_is_trusted_by_where_it_lies(tmp_path, monkeypatch):
    """Not by a name such as `models`, which another project's module may have as well."""
    monkeypatch.setattr(trust, "PROJECT", tmp_path)  # the project lies elsewhere
    assert trust.trusted_class("models.GAN") is None


def test_a_string_is_neither_parsed_nor_opened(tmp_path):
    """Wherever it stands, and the user's own words are."""
    (tmp_path / "sub.yaml").write_text("class_path: torch.nn.Linear\n")
    texts = ["{class_path: torch.nn.Linear}", str(tmp_path / "sub.yaml")]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=Any)
    parser.add_subclass_arguments(torch.nn.Module, "network")
    with trust.only_trusted(texts, "run"):
        for text in texts:
            assert parser.parse_object({"part": text}).part == text
        assert parser.parse_args(["--part={a: 1}"]).part == {"a": 1}
    for text in texts:
        with pytest.raises(UserError, match="names the class"), trust.only_trusted(texts, "run"):
            parser.parse_object({"network": text})


def test_no_module_is_imported_from_elsewhere(made_by_another, monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with trust.only_trusted({}, "run"):
        importlib.import_module("colorsys")  # of Python
    with (
        pytest.raises(UserError, match="names the module evil"),
        trust.only_trusted({}, "run"),
    ):
        importlib.import_module("evil")
    assert "evil" not in sys.modules


@pytest.mark.parametrize("many", [[[0] * 1000] * 1000, "deep"])
def test_values_are_counted_before_they_are_built(many):
    if many == "deep":
        many = []
        for _ in range(3000):
            many = [many]
    with pytest.raises(UserError, match="100,000 values, or more than 100 levels"):
        trust.refusal(many)
