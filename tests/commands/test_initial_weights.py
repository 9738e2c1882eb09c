"""`fit --init_from RUN`: a new run that starts from the weights of another."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from commands.initial_weights import load_into
from models import IrisMLP
from runtime.errors import UserError
from tests.test_cli import fails, run

IRIS = ["--model=IrisMLP", "--data=Iris", "--trainer.max_epochs=1", "--data.batch_size=32"]
STILL = "--model.optimizer.lr=1e-30"  # changes no weight


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    run("fit", *IRIS)
    return Path("runs/irismlp/version_0")


def last(run_folder: str) -> dict[str, Any]:
    return torch.load(Path(run_folder) / "checkpoints/last.ckpt", weights_only=True)


def test_a_new_run_has_the_weights_and_settings_of_its_own(first: Path) -> None:
    run("fit", "--init_from", str(first), STILL, "--seed_everything=5", "--trainer.max_steps=2")
    before, after = last(str(first)), last("runs/irismlp/version_1")
    assert after["global_step"] == 2
    for name, weights in before["state_dict"].items():
        assert torch.equal(after["state_dict"][name], weights), name
    config = yaml.safe_load(Path("runs/irismlp/version_1/config.yaml").read_text())
    assert config["init_from"] == str(first)
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 1e-30


def test_such_a_run_goes_on_from_its_own_checkpoint(first: Path) -> None:
    run("fit", "--init_from", str(first), STILL, "--trainer.max_steps=2")
    run(
        "fit",
        "--ckpt_path=runs/irismlp/version_1",
        "--trainer.max_steps=3",
    )
    assert last("runs/irismlp/version_1")["global_step"] == 3
    run("test", "--ckpt_path=runs/irismlp/version_1")


def test_weights_of_other_shapes_keep_their_initial_values_with_a_warning(tmp_path: Path) -> None:
    given, model = IrisMLP(), IrisMLP(num_classes=5)
    torch.save({"state_dict": given.state_dict()}, tmp_path / "x.ckpt")
    own = {name: weights.clone() for name, weights in model.state_dict().items()}
    names = [n for n, w in given.state_dict().items() if w.shape != own[n].shape]
    assert len(names) == 2
    with pytest.warns(UserWarning, match=", ".join(names)):
        load_into(model, tmp_path / "x.ckpt")
    for name, weights in model.state_dict().items():
        expected = own if name in names else given.state_dict()
        assert torch.equal(weights, expected[name]), name


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"other": torch.zeros(3)}}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="Give a run of the same kind of model"):
        load_into(IrisMLP(), tmp_path / "x.ckpt")


def test_mistakes(first: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = f"--init_from={first}", f"--ckpt_path={first}"
    assert fails(capsys, "fit", *both) == (
        "error: --init_from starts a new run and --ckpt_path continues one: give one of them."
    )
    line = fails(capsys, "fit", *IRIS, "--init_from=runs/nothing")
    assert line.startswith("error: --init_from runs/nothing: no such file or folder.")
    (first / "checkpoints/last.ckpt").resolve().write_text("nothing")
    file = str((first / "checkpoints/last.ckpt").resolve())
    line = fails(capsys, "fit", *IRIS, f"--init_from={file}")
    assert line.startswith(f"error: --init_from {file}: not a checkpoint")
    assert not Path("runs/irismlp/version_1").exists()
