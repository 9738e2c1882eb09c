"""Checkpoints are whole or absent, damage is found, and the newest sound one is used."""

import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from datamodules import Iris, Points
from models import GAN, IrisMLP
from models.plane import PlaneGenerator, PlaneTrunk
from runtime import checkpoints
from runtime.checkpoints import (
    AtomicCheckpointIO,
    BadCheckpointError,
    BestCheckpoint,
    EpochCheckpoint,
    epoch_is_due,
    is_over,
    newest,
    resolve,
)
from runtime.errors import RunFailedError, UserError
from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings(  # Lightning's, of folders that these tests use twice
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:The dirpath has changed",
    "ignore:Be aware that when using `ckpt_path`, callbacks",
)
FIXTURE = ROOT / "tests" / "fixtures" / "iris" / "checkpoints" / "last.ckpt"


def save(path: Path, value: int = 0, age: int = 0, **more: Any) -> Path:
    content = {"value": value, "global_step": value, "state_dict": {"w": torch.zeros(9)}} | more
    AtomicCheckpointIO().save_checkpoint(content, path)
    when = time.time() - age
    os.utime(path, (when, when))
    return path


@pytest.fixture
def last(tmp_path: Path) -> Path:
    """A checkpoint of a run of the lecture's iris classifier."""
    folder = tmp_path / "iris" / "version_0" / "checkpoints"
    folder.mkdir(parents=True)
    return Path(shutil.copy(FIXTURE, folder / "last.ckpt"))


def contents_equal(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(contents_equal(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(contents_equal, left, right))
    return bool(torch.equal(left, right)) if isinstance(left, torch.Tensor) else left == right


# -- files ----------------------------------------------------------------------------------------


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
    with pytest.raises(OSError, match="disk full"):
        save(path, 2)
    monkeypatch.undo()
    assert torch.load(path, weights_only=True)["value"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


def test_weights_that_are_not_finite_replace_no_checkpoint(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt", 1)
    with pytest.raises(RunFailedError, match="weights w contain NaN or infinity"):
        save(path, 2, state_dict={"w": torch.full((2,), torch.nan)})
    assert torch.load(path, weights_only=True)["value"] == 1


@pytest.mark.parametrize("size", [1, 4096])
def test_damage_is_found_or_harmless(last: Path, size: int) -> None:
    sound, random = last.read_bytes(), np.random.default_rng(size)
    expected = torch.load(last, weights_only=True)
    found = 0
    for start in random.integers(0, len(sound) - size, 100).tolist():
        damaged = bytearray(sound)
        if size == 1:
            damaged[start] ^= 1 << int(random.integers(8))
        else:
            damaged[start : start + size] = bytes(size)
        last.write_bytes(damaged)
        checkpoints._sound.clear()
        try:
            assert contents_equal(AtomicCheckpointIO().load_checkpoint(last), expected), start
        except BadCheckpointError:
            found += 1
    assert found > 50  # the others are padding, or were zero before


def test_a_file_after_another_is_refused(last: Path) -> None:
    """Of two checkpoints in one file, zipfile checks the second, and torch reads the first."""
    last.write_bytes(2 * last.read_bytes())
    with pytest.raises(BadCheckpointError, match="bytes of something else come before it"):
        AtomicCheckpointIO().load_checkpoint(last)


def test_a_record_that_is_marked_as_a_folder_is_refused(last: Path) -> None:
    """Torch would read its weights as zeros, although their checksum is right."""
    damaged = bytearray(last.read_bytes())
    entry = damaged.rfind(b"archive/data/0") - 46  # in the archive's table of contents
    assert damaged[entry : entry + 4] == b"PK\1\2"
    damaged[entry + 38] |= 0x10
    last.write_bytes(damaged)
    with pytest.raises(BadCheckpointError, match="data/0 is marked as a folder"):
        AtomicCheckpointIO().load_checkpoint(last)


@pytest.mark.parametrize(
    "content", [[1, 2], torch.zeros(3), {"weights": torch.zeros(3)}, {"code": print}]
)
def test_strange_contents_are_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"--ckpt_path .*a\.ckpt: (a file of torch|not a check)"):
        resolve(tmp_path / "a.ckpt", tmp_path)


@pytest.mark.parametrize("option", ["last", "run\n\x1b[2J/version_0"])
def test_a_name_that_commands_a_terminal_is_refused(option: str, tmp_path: Path) -> None:
    save(tmp_path / "run\n\x1b[2J" / "version_0" / "checkpoints" / "last.ckpt")
    wanted = option if option == "last" else tmp_path / option
    with pytest.raises(UserError, match=r"run\\n\\x1b\[2J/.* has control characters in its name"):
        resolve(wanted, tmp_path)


# -- finding one ----------------------------------------------------------------------------------


def test_last_is_the_newest_of_all_runs_and_a_folder_its_own(tmp_path: Path) -> None:
    old = save(tmp_path / "version_0" / "checkpoints" / "last.ckpt", age=100)
    new = save(tmp_path / "version_1" / "checkpoints" / "last.ckpt", age=10)
    assert resolve("last", tmp_path) == new
    assert resolve(str(tmp_path / "version_0"), tmp_path) == old
    assert resolve(str(old), tmp_path) == old


def test_the_highest_step_of_a_run_is_the_newest_whoever_saved_it(tmp_path: Path) -> None:
    """The user's own `ModelCheckpoint` saved step 260, then the run was killed."""
    folder = tmp_path / "checkpoints"
    save(folder / "epoch=000-step=0000164.ckpt", 164)
    (folder / "last.ckpt").symlink_to("epoch=000-step=0000164.ckpt")
    own = save(folder / "mine.ckpt", 260, age=500)  # a clock may jump
    save(folder / "best.ckpt", 300)
    assert resolve("last", tmp_path) == own
    own.write_bytes(own.read_bytes()[:-50])
    with pytest.warns(UserWarning, match="Going back to the checkpoint before it"):
        assert newest(tmp_path) == folder / "last.ckpt"


def test_a_run_goes_on_from_the_newest_with_which_it_can(tmp_path: Path) -> None:
    everything: dict[str, Any] = {"optimizer_states": [], "loops": {}, "epoch": 0}
    whole = save(tmp_path / "a.ckpt", 5, **everything)
    weights = save(tmp_path / "b.ckpt", 9)
    assert resolve(tmp_path, tmp_path) == weights
    assert resolve(tmp_path, tmp_path, resume=True) == whole
    with pytest.raises(UserError, match="has weights but no optimizer_states, loops, epoch"):
        resolve(weights, tmp_path, resume=True)


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "nan"])
def test_the_file_before_it_takes_its_place(last: Path, damage: str) -> None:
    good = Path(shutil.copy(last, last.with_name("epoch=000-step=0000005.ckpt")))
    content = torch.load(last, weights_only=True) | {"global_step": 10**6}
    bad = last.with_name("epoch=001-step=0000010.ckpt")
    torch.save(content, bad)
    last.unlink()
    last.symlink_to(bad.name)
    if damage == "cut":
        bad.write_bytes(bad.read_bytes()[:-100])
    elif damage == "flipped":
        damaged = bytearray(bad.read_bytes())
        damaged[len(damaged) // 2] ^= 255
        bad.write_bytes(damaged)
    elif damage == "nan":
        next(iter(content["state_dict"].values())).fill_(torch.nan)
        torch.save(content, bad)
    if damage == "gone":
        bad.unlink()
        assert resolve("last", last.parents[2]) == good
        return
    with pytest.warns(UserWarning, match="Going back to the checkpoint before it"):
        assert resolve("last", last.parents[2]) == good


@pytest.mark.parametrize("wanted", ["last", "nowhere.ckpt", "best"])
def test_no_checkpoint_is_one_clear_error(wanted: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--ckpt_path {wanted}: no "):
        resolve(wanted, tmp_path)


def test_an_unfinished_file_is_no_checkpoint(tmp_path: Path) -> None:
    whole = save(tmp_path / "checkpoints" / "epoch=0.ckpt", age=100)
    save(tmp_path / "checkpoints" / ".last.partial.ckpt")  # of a process that was killed
    assert resolve(str(tmp_path), tmp_path) == whole


# -- times ----------------------------------------------------------------------------------------


def at(epoch: int = 0, batches: int = 10, step: int = 10, **more: Any) -> Any:
    progress = SimpleNamespace(current=SimpleNamespace(processed=epoch + 1))
    settings = {"max_steps": -1, "max_epochs": -1, "should_stop": False} | more
    return SimpleNamespace(
        current_epoch=epoch, num_training_batches=batches, global_step=step,
        fit_loop=SimpleNamespace(epoch_progress=progress),
        **{"min_epochs": None, "min_steps": None} | settings,
    )  # fmt: skip


@pytest.mark.parametrize(("batches", "every"), [(10, 5), (49, 2), (50, 1), (500, 1)])
def test_short_epochs_are_due_every_few(batches: int, every: int) -> None:
    due = [e for e in range(10) if epoch_is_due(at(e, batches), min_steps=50)]
    assert due == list(range(every - 1, 10, every))


def test_the_last_epoch_is_due_whatever_its_length() -> None:
    assert not epoch_is_due(at(step=7, max_steps=8), min_steps=50)
    assert epoch_is_due(at(step=8, max_steps=8), min_steps=50)
    assert epoch_is_due(at(epoch=2, max_epochs=3), min_steps=50)
    assert is_over(at(should_stop=True))
    assert not is_over(at(epoch=1, should_stop=True, min_epochs=3))
    assert not is_over(at(step=29, should_stop=True, min_steps=30))


def fit(
    tmp_path: Path, *callbacks: Callback, batch_size: int = 40, ckpt_path: Path | None = None,
    **kwargs: Any,
) -> Trainer:  # fmt: skip
    trainer = Trainer(
        default_root_dir=tmp_path, callbacks=list(callbacks), logger=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, **kwargs,
    )  # fmt: skip
    data = Iris(batch_size=batch_size, val_fraction=0.2)
    trainer.fit(IrisMLP(), datamodule=data, ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize(("keep", "left"), [(2, 2), (-1, 4)])
def test_as_many_checkpoints_stay_as_a_run_keeps(tmp_path: Path, keep: int, left: int) -> None:
    folder = tmp_path / "checkpoints"
    fit(tmp_path, EpochCheckpoint(keep, min_steps=0), max_epochs=4)
    files = sorted(folder.glob("epoch=*.ckpt"))
    assert len(files) == left
    assert (folder / "last.ckpt").readlink() == Path(files[-1].name)  # also after a move


def test_what_kills_have_left_is_removed_when_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between a save and the removal of an older file leaves one that nobody mentions."""
    folder = tmp_path / "checkpoints"
    with monkeypatch.context() as killed:
        killed.setattr(AtomicCheckpointIO, "remove_checkpoint", lambda *_: None)
        plugins = [AtomicCheckpointIO()]
        other = ModelCheckpoint(save_top_k=-1)
        fit(tmp_path, EpochCheckpoint(min_steps=0), other, plugins=plugins, max_epochs=5)
    (folder / "epoch=000-step=0000003.ckpt").write_bytes(b"damaged")
    (folder / "epoch=009-step=0000030.ckpt").write_bytes(b"later, if the run has gone back")
    last = folder / "last.ckpt"
    fit(tmp_path, EpochCheckpoint(min_steps=0), ckpt_path=last, max_epochs=6)
    ours = [checkpoints._named_step(path) for path in sorted(folder.glob("epoch=00*"))]
    assert ours == [3, 10, 12, 30]
    assert len([*folder.glob("epoch=?-*")]) == 5  # of the other callback


def test_only_rank_zero_reads_what_it_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "epoch=000-step=0000003.ckpt").write_bytes(b"")
    saves, read = EpochCheckpoint(), list[Path]()
    saves.best_k_models = {str(tmp_path / "epoch=001-step=0000006.ckpt"): torch.tensor(6)}
    monkeypatch.setattr(saves, "_has_saved", lambda path: read.append(path))
    for first in (False, True):
        trainer: Any = SimpleNamespace(global_step=6, is_global_zero=first)
        saves.on_train_start(trainer, IrisMLP())
        assert len(read) == first


def test_a_run_in_another_folder_keeps_what_was_there(tmp_path: Path) -> None:
    fit(tmp_path / "first", EpochCheckpoint(-1, min_steps=0), max_epochs=4)
    folder = shutil.move(tmp_path / "first", tmp_path / "second") / "checkpoints"
    last = folder / "last.ckpt"
    fit(tmp_path / "second", EpochCheckpoint(min_steps=0), ckpt_path=last, max_epochs=6)
    assert len([*folder.glob("epoch=*")]) == 6


def test_a_run_saves_its_end_whenever_it_validates(tmp_path: Path) -> None:
    trainer = fit(tmp_path, EpochCheckpoint(min_steps=0), max_epochs=3, check_val_every_n_epoch=2)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 2
    assert last["global_step"] == trainer.global_step


def test_an_epoch_is_saved_within_but_not_at_its_last_batch(tmp_path: Path) -> None:
    """There are eight batches an epoch, and gradients accumulate over two of them."""
    saves = EpochCheckpoint(keep_last=-1, min_steps=10**6, every_n_steps=1)
    fit(tmp_path, saves, batch_size=12, max_epochs=2, accumulate_grad_batches=2)
    names = {path.stem for path in (tmp_path / "checkpoints").glob("epoch=*")}
    assert names == {f"epoch={(s - 1) // 4:03d}-step={s:07d}" for s in (1, 2, 3, 5, 6, 7, 8)}


class Validations(Callback):
    """Keeps the steps at which a run was validated, as early stopping keeps its best score."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.steps.append(trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": [*self.steps]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = [*state_dict["steps"]]


def test_a_checkpoint_within_an_epoch_follows_the_validation_of_its_step(tmp_path: Path) -> None:
    """Lightning resumes behind that validation."""
    options: dict[str, Any] = {"batch_size": 12, "max_epochs": 1, "val_check_interval": 2}
    whole, resumed = Validations(), Validations()
    fit(tmp_path, whole, EpochCheckpoint(-1, 10**6, every_n_steps=2), **options)
    (saved,) = tmp_path.glob("checkpoints/*step=0000004.ckpt")
    fit(tmp_path / "again", resumed, ckpt_path=saved, **options)
    assert resumed.steps == whole.steps == [2, 4, 6, 8]


@pytest.mark.parametrize("place", ["moved", "named otherwise"])
def test_the_best_weights_stay_the_best_in_a_folder_with_another_name(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    callbacks = Scores([2.0, 1.0]), BestCheckpoint(), EpochCheckpoint(min_steps=0)
    fit(Path("first"), *callbacks, max_epochs=2)
    folder = tmp_path / "first" if place == "named otherwise" else tmp_path / "second"
    if place == "moved":
        shutil.copytree("first", folder)
    last = folder / "checkpoints" / "last.ckpt"
    callbacks = Scores([0, 0, 3.0, 3.0]), BestCheckpoint(), EpochCheckpoint(min_steps=0)
    fit(folder, *callbacks, ckpt_path=last, max_epochs=4)
    for root in ("first", folder):
        best = torch.load(Path(root, "checkpoints", "best.ckpt"), weights_only=True)
        assert best["epoch"] == 1
    kept = len([*folder.glob("checkpoints/epoch=*")])
    assert kept == (2 if place == "named otherwise" else 4)


def test_a_gan_is_not_saved_while_gradients_accumulate(tmp_path: Path) -> None:
    """Each of its batches counts as a step."""
    trainer = Trainer(
        default_root_dir=tmp_path, callbacks=[EpochCheckpoint(-1, 10**6, every_n_steps=1)],
        logger=False, enable_progress_bar=False, enable_model_summary=False, max_steps=7,
        limit_val_batches=0,
    )  # fmt: skip
    plane = {"generator": PlaneGenerator, "trunk": PlaneTrunk}
    trainer.fit(GAN((2,), **plane, accumulate_grad_batches=2), datamodule=Points(count=2048))
    names = {path.stem for path in (tmp_path / "checkpoints").glob("epoch=*")}
    assert names == {f"epoch=000-step={step:07d}" for step in (2, 4, 6, 7)}  # 7: the run's end


class Scores(Callback):
    """Logs the score that the best checkpoint is chosen by."""

    def __init__(self, scores: list[float]) -> None:
        self.scores = scores

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch < len(self.scores):
            pl_module.log("val/frechet", self.scores[trainer.current_epoch])


@pytest.mark.parametrize("every", [1, 2])  # Lightning then saves at another hook
@pytest.mark.parametrize(("scores", "best"), [([2.0, 1.0, 3.0], 1), ([], None)])
def test_the_best_weights_are_kept_where_there_are_scores(
    scores: list[float], best: int | None, every: int, tmp_path: Path
) -> None:
    fit(tmp_path, Scores(scores), BestCheckpoint(), max_epochs=3, check_val_every_n_epoch=every)
    path = tmp_path / "checkpoints" / "best.ckpt"
    found = torch.load(path, weights_only=True) if path.exists() else {}
    assert found.get("epoch") == best
    assert "optimizer_states" not in found


def test_a_plain_model_checkpoint_is_found(tmp_path: Path) -> None:
    fit(tmp_path, ModelCheckpoint(every_n_train_steps=2), max_steps=4, max_epochs=-1)
    found = newest(tmp_path, resume=True)
    assert found is not None
    assert checkpoints.step_of(found) == 4
