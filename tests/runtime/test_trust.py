"""A run folder or checkpoint that somebody else made cannot run code."""

import shutil
import sys
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from datamodules import images
from models import ConditionalGAN
from results import Run
from runtime import trust
from runtime.errors import UserError
from tests.conftest import ROOT
from tests.test_cli import fails, parsed, run

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
    [(poison_network, "validate"), (poison_network, "test"), (poison_checkpoint, "sample")],
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
    ["models.GAN", "models.gan.gan.GAN", "torch.nn.Linear", "torch.optim.Adam", "datamodules.Iris"],
)
def test_listed_classes_are_trusted_by_any_of_their_names(path):
    assert trust.trusted_class(path)


FILES = [*(ROOT / "configs").rglob("*.yaml"), *(ROOT / "tests" / "fixtures").rglob("config.yaml")]
CHECKPOINTS = [*(ROOT / "tests" / "fixtures").rglob("*.ckpt"), *(ROOT / "metrics").rglob("*.ckpt")]


def test_every_class_of_models_and_data_that_this_project_writes_is_listed():
    """A class that is new there belongs to the list."""
    parts = [yaml.safe_load(file.read_text()) for file in FILES]
    values: list[Any] = [part.get(name) for part in parts for name in ("model", "data")]
    values += [torch.load(file, weights_only=True)["hyper_parameters"] for file in CHECKPOINTS]
    names = {*trust.classes_in(values)}
    assert len(names) > 20
    listed = {kind.__name__ for kind in trust.listed() if kind}
    known = {name for name in names if trust.trusted_class(name) or name in listed}
    assert known == names


@pytest.mark.parametrize(
    "path",
    [
        "torch.os.system",  # a library's own imports
        "torch.os._wrap_close",
        "models.base.UserError",
        "models.base.derive_seed",  # no class
        "torch.nn.functional.relu",
        "lightning.pytorch.loggers.CSVLogger",  # writes anywhere
        "lightning.pytorch.callbacks.ModelCheckpoint",
        "callbacks.EpochCheckpoint",
        "models.base.Module",
        "torch.jit.ScriptModule",
        "torchmetrics.MeanMetric",  # a module, but no network
        "runs.x.evil.X",
        "evil:X",
        "evil",
    ],
)
def test_nothing_else_is(path):
    assert trust.trusted_class(path) is None


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


@pytest.mark.parametrize("many", [[[0] * 1000] * 1000, "deep"])
def test_values_are_counted_before_they_are_built(many):
    if many == "deep":
        many = []
        for _ in range(3000):
            many = [many]
    with pytest.raises(UserError, match="100,000 values, or more than 100 levels"):
        trust.refusal(many)


def network_named(folder: Path, module: str) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["model"]["init_args"]["generator"] = {"class_path": f"{module}.X"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def test_the_name_of_a_run_is_no_class(made_by_another, tmp_path, monkeypatch, capsys):
    """A folder `evil.v1` beside a class `evil.X`."""
    network_named(made_by_another, "evil")
    monkeypatch.chdir(tmp_path)
    made_by_another.rename("evil.v1")
    monkeypatch.syspath_prepend(tmp_path / "evil.v1")
    line = fails(capsys, "test", "evil.v1", "--data.data_dir=evil.X")
    assert "names the class evil.X" in line
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("key", ["model.init_args.generator", "model", "data+"])
def test_a_key_that_would_be_joined_is_refused(key, made_by_another, capsys):
    with (made_by_another / "config.yaml").open("a") as file:
        file.write(f"{key}.class_path: evil.X\n")
    assert f"has the key '{key}.class_path'" in fails(capsys, "test", str(made_by_another))


def test_a_tool_refuses_such_a_key_too(made_by_another):
    config = yaml.safe_load((made_by_another / "config.yaml").read_text())
    config["data"] |= {"init_args.dataset": "mnist"}
    (made_by_another / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=r"has the key 'init_args\.dataset'"):
        Run.find(made_by_another).data()


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["--config={}"],
        ["--config", "{}"],
        ["--config", "./{}"],
        ["--config=./{}"],
        ["-c", "cgan/../{}"],
    ],
    ids=str,
)
def test_only_model_data_and_numbers_of_a_run_are_used(given, made_by_another, monkeypatch):
    """Neither its trainer nor its callbacks, loggers or folders, also if it is named as a file."""
    monkeypatch.chdir(made_by_another.parents[1])
    config = yaml.safe_load((made_by_another / "config.yaml").read_text())
    config["trainer"] |= {"devices": 7, "strategy": "ddp", "profiler": "evil.X", "max_time": "?"}
    config["trainer"] |= {"callbacks": [{"class_path": "evil.X"}], "precision": "64-true"}
    config |= {"experiment": "../x", "weights_only": False, "unknown": 1}
    config["quality"] |= {
        "judge": "/",
        "samples": 9,
        "final_samples": 9,
        "extra_scores": ["evil.X"],
    }
    (made_by_another / "config.yaml").write_text(yaml.safe_dump(config))
    file = "cgan/version_0/config.yaml"
    command = parsed("test", str(made_by_another), *(word.format(file) for word in given))
    options = command.options
    assert (options.trainer.precision, options.quality.samples) == ("64-true", 9)
    assert (options.trainer.devices, options.trainer.callbacks) == ("auto", None)
    assert options.quality.judge is options.quality.extra_scores is options.experiment is None


def test_nothing_is_downloaded_into_a_folder_that_a_run_names(
    made_by_another, tmp_path, monkeypatch, capsys
):
    config = yaml.safe_load((made_by_another / "config.yaml").read_text())
    config["data"]["init_args"] |= {"dataset": "mnist", "data_dir": str(tmp_path)}
    (made_by_another / "config.yaml").write_text(yaml.safe_dump(config))
    asked: list[Any] = []
    monkeypatch.setattr(images, "download", lambda *args: asked.append(args) or "offline")
    fails(capsys, "test", str(made_by_another))
    with pytest.raises(UserError, match="no download"):
        Run.find(made_by_another).data()
    assert not asked
    fails(capsys, "test", str(made_by_another), f"--data.data_dir={tmp_path}")
    with pytest.raises(UserError, match="no download"):
        Run.find(made_by_another).data(tmp_path)
    assert len(asked) == 2
