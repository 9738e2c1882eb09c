"""A run of this user may name any class. A run of somebody else may not."""

import os
import shutil
from pathlib import Path

import pytest
import torch

import cli
from commands.fit import ladder_cli
from results import Run
from runtime import own_configs
from tests.test_cli import fails

OWN = """
from pathlib import Path
from lightning import Callback
from models import IrisMLP
class Mine(IrisMLP): pass
class Marks(Callback):
    def setup(self, *args, **kwargs): Path("marked").touch()
"""
FEW = ["--trainer.max_steps=2", "--trainer.enable_progress_bar=false"]
FIT = ["fit", "--model=my_own.Mine", "--data=Iris", "--trainer.callbacks=my_own.Marks"]
FIT += ["--experiment=own", *FEW]


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("LADDER_STATE", str(tmp_path / "state"))
    return tmp_path / "state" / "configs"


@pytest.fixture
def run(state, tmp_path, monkeypatch):
    """A run of a user's own model and callback."""
    (tmp_path / "my_own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "my_own", raising=False)
    cli.main(FIT)
    Path("marked").unlink()
    return Path("runs/own/version_0")


def test_a_run_of_the_user_needs_no_word_of_trust(run, capsys):
    cli.main(["test", str(run), "--trainer.enable_progress_bar=false"])
    assert Path("marked").exists()
    cli.main(["predict", str(run)])
    cli.main(["fit", f"--ckpt_path={run}", "--trainer.max_steps=4"])
    cli.main(["fit", f"--init_from={run}", *FEW])
    assert "--trust" not in capsys.readouterr().out


@pytest.mark.parametrize("how", ["forgotten", "changed", "a link", "open to others"])
def test_another_is_tested_by_its_model_and_data_alone(how, run, state, capsys):
    config = run / "config.yaml"
    if how == "forgotten":
        shutil.rmtree(state)
    if how == "changed":
        config.write_text(config.read_text() + "\n")
    if how == "a link":
        config.rename(run / "elsewhere.yaml")
        config.symlink_to("elsewhere.yaml")
    if how == "open to others":
        state.chmod(0o777)
    for command in ("test", "predict"):
        assert "names the class my_own.Mine, which is not of" in fails(capsys, command, str(run))
    assert not Path("marked").exists()
    line = fails(capsys, "fit", f"--ckpt_path={run}", "--trainer.max_steps=4")
    remedies = ("--config FILE", "--init_from", "--trust true")
    assert "config.yaml was not written by a command of yours, or was changed since" in line
    assert sorted(remedies, key=line.index) == [*remedies]
    line = fails(capsys, "fit", f"--init_from={run}", *FEW)
    assert "--config FILE, or --model and --data" in line


def test_with_a_config_or_model_of_the_user_any_run_continues(run, state):
    shutil.rmtree(state)
    cli.main([*FIT, f"--ckpt_path={run}", "--trainer.max_steps=4"])
    assert Run(run).logged["step"] == 4
    shutil.rmtree(state)
    cli.main([*FIT, f"--init_from={run}"])


def test_services_continue_runs_of_the_user_alone(run, state, monkeypatch):
    """A checkpoint of somebody else could name any run of W&B or MLflow."""
    asked: list[Path] = []
    monkeypatch.setattr(ladder_cli, "continue_logger_runs", lambda parser, path: asked.append(path))
    cli.main([*FIT, f"--ckpt_path={run}", "--trainer.max_steps=4"])
    assert len(asked) == 1
    shutil.rmtree(state)
    cli.main([*FIT, f"--ckpt_path={run}", "--trainer.max_steps=6"])
    assert len(asked) == 1


def test_the_config_of_another_run_is_not_the_users_own(run, state, capsys):
    """Also by its name, and as a file next to `--ckpt_path`."""
    shutil.rmtree(state)
    config = f"--config={run / 'config.yaml'}"
    for more in ([], [f"--ckpt_path={run}"]):
        assert "was not written by a command of yours" in fails(capsys, "fit", config, *more)
    line = fails(capsys, "test", str(run), config)
    assert "names the class my_own.Mine, which is not of this project" in line
    assert not Path("marked").exists()


def test_trust_is_remembered(run, state):
    shutil.rmtree(state)
    cli.main(["predict", str(run), "--trust=true"])
    cli.main(["test", str(run), "--trainer.enable_progress_bar=false"])
    assert Path("marked").exists()


def test_a_foreign_checkpoint_in_a_run_of_the_user_names_no_class_of_others(run, capsys):
    """The record vouches for the config alone."""
    last = run / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    content["hyper_parameters"]["_class_path"] = "evil.X"
    torch.save(content, last)
    assert "names the class evil.X" in fails(capsys, "predict", str(run))


def test_where_nothing_can_be_recorded_commands_say_trust(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LADDER_STATE", str(tmp_path / "file"))
    monkeypatch.chdir(tmp_path)
    assert not own_configs.remember(b"a")
    with caplog.at_level("INFO"):
        cli.main(["fit", "--model=IrisMLP", "--data=Iris", "--experiment=x", *FEW])
    assert "test runs/x/version_0 --trust true" in caplog.text


def test_a_record_is_private_and_holds_nothing(state):
    assert own_configs.remember(b"a")
    assert own_configs.remember(b"a")
    (record,) = state.iterdir()
    assert record.stat().st_size == 0
    assert state.stat().st_mode & 0o077 == 0
    assert own_configs.is_recorded(b"a")
    assert not own_configs.is_recorded(b"b")
    record.unlink()
    record.symlink_to(os.devnull)
    assert not own_configs.is_recorded(b"a")
