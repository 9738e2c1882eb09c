"""Checkpoints are whole or absent, and found by name."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from runtime.checkpoint_files import AtomicCheckpointIO

from datamodules import Iris
from models import IrisMLP
from runtime.checkpoints import BestCheckpoint, EpochCheckpoint, problem_of, resolve
from runtime.errors import RunFailedError, UserError
from tests.conftest import ROOT
from tests.models.gans import small


@pytest.mark.parametrize("keep", [0, -2])
def test_a_run_that_would_keep_no_checkpoint_is_refused(keep: int) -> None:
    with pytest.raises(UserError, match=f"checkpoint.keep_last is {keep}: set"):
        EpochCheckpoint(keep_last=keep)


def save(path: Path, value: int = 0, age: int = 0) -> Path:
    content = {"value": value, "state_dict": {"weights": torch.zeros(9)}}
    AtomicCheckpointIO().save_checkpoint(content, path)
    when = time.time() - age
    os.utime(path, (when, when))
    return path


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    path = save(tmp_path / "new" / "a.ckpt", 7)
    assert AtomicCheckpointIO().load_checkpoint(path, weights_only=True)["value"] == 7
    assert [p.name for p in path.parent.iterdir()] == ["a.ckpt"]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.ckpt", 1)

    def half(checkpoint: object, file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(RunFailedError, match=r"a\.ckpt cannot be written \(disk full"):
        save(path, 2)
    monkeypatch.undo()
    assert torch.load(path, weights_only=True)["value"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.slow
def test_kill_minus_nine_never_leaves_a_broken_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    script = (
        "import sys, torch; from runtime.checkpoint_files import AtomicCheckpointIO\n"
        "io, state = AtomicCheckpointIO(), {'state_dict': {'w': torch.zeros(3_000_000)}}\n"
        "while True: io.save_checkpoint(state, sys.argv[1])"
    )
    for attempt in range(8):
        process = subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=ROOT)
        while not path.exists():
            time.sleep(0.01)
        time.sleep(0.02 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert problem_of(path) == ""
        path.unlink()


def test_last_is_the_newest_of_all_runs_and_a_folder_its_own(tmp_path: Path) -> None:
    old = save(tmp_path / "version_0" / "checkpoints" / "last.ckpt", age=100)
    new = save(tmp_path / "version_1" / "checkpoints" / "last.ckpt", age=10)
    assert resolve("last", tmp_path) == new
    assert resolve(str(tmp_path / "version_0"), tmp_path) == old
    assert resolve(str(old), tmp_path) == old


def test_a_broken_last_falls_back_to_the_newest_that_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    save(folder / "epoch=0.ckpt", age=100)
    whole = save(folder / "epoch=1.ckpt", age=50)
    (folder / "last.ckpt").write_bytes(whole.read_bytes()[:-50])
    with pytest.warns(UserWarning, match="not a checkpoint, or an incomplete one. Going back"):
        assert resolve("last", tmp_path) == whole


@pytest.mark.parametrize("wanted", ["last", "nowhere.ckpt"])
def test_no_checkpoint_is_one_clear_error(wanted: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--ckpt_path {wanted}: no "):
        resolve(wanted, tmp_path)


def test_a_named_file_that_is_no_checkpoint_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("no checkpoint")
    torch.save({"code": print}, tmp_path / "code.ckpt")  # more than plain values
    for name in ("notes.md", "code.ckpt"):
        with pytest.raises(UserError, match=f"{name}: not a checkpoint"):
            resolve(str(tmp_path / name), tmp_path)


def test_an_unfinished_file_is_no_checkpoint(tmp_path: Path) -> None:
    whole = save(tmp_path / "checkpoints" / "epoch=0.ckpt", age=100)
    save(tmp_path / "checkpoints" / ".last.partial.ckpt")  # of a process that was killed
    assert resolve(str(tmp_path), tmp_path) == whole


def fit(tmp_path: Path, *callbacks: Callback, **kwargs: Any) -> Trainer:
    trainer = Trainer(
        default_root_dir=tmp_path, callbacks=list(callbacks), logger=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, **kwargs,
    )  # fmt: skip
    trainer.fit(IrisMLP(), datamodule=Iris(batch_size=40, val_fraction=0.2))
    return trainer


def test_a_run_saves_its_end_whenever_it_validates(tmp_path: Path) -> None:
    saves = EpochCheckpoint(min_steps=0)
    trainer = fit(tmp_path, saves, max_epochs=3, check_val_every_n_epoch=2)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 2
    assert last["global_step"] == trainer.global_step


def test_last_is_a_link_that_exists_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, targets = tmp_path / "checkpoints", []
    replace = Path.replace

    def look(link: Path, target: Path) -> Path:
        if target.name == "last.ckpt":
            targets.append(target.is_file())
        return replace(link, target)

    monkeypatch.setattr(Path, "replace", look)
    fit(tmp_path, EpochCheckpoint(keep_last=1, min_steps=0), max_epochs=3)
    assert len(targets) == 3
    (newest,) = folder.glob("epoch=*.ckpt")
    assert (folder / "last.ckpt").readlink() == Path(newest.name)  # also after the run is moved
    assert {path.name for path in folder.iterdir()} == {"last.ckpt", newest.name}


class Scores(Callback):
    """Logs the score that the best checkpoint is chosen by."""

    def __init__(self, scores: list[float]) -> None:
        self.scores = scores

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch < len(self.scores):
            pl_module.log("val/frechet", self.scores[trainer.current_epoch])


@pytest.mark.parametrize("every", [1, 2])  # Lightning then saves at another hook
@pytest.mark.parametrize(("scores", "best"), [([2.0, 1.0, 3.0], 1), ([], None)])
def test_the_best_is_kept_where_there_are_scores(
    scores: list[float], best: int | None, every: int, tmp_path: Path
) -> None:
    fit(tmp_path, Scores(scores), BestCheckpoint(), max_epochs=3, check_val_every_n_epoch=every)
    path = tmp_path / "checkpoints" / "best.ckpt"
    found = torch.load(path, weights_only=True)["epoch"] if path.exists() else None
    assert found == best


def test_a_checkpoint_of_a_model_loads_with_weights_only(tmp_path: Path) -> None:
    model, trainer = small(), Trainer(logger=False, barebones=True)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = type(model).load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
