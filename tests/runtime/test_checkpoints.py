"""Checkpoints are whole or absent, damage is found, and the newest sound one is used."""

import os
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from runtime import checkpoints
from runtime.checkpoints import (
    AtomicCheckpointIO,
    BadCheckpointError,
    epoch_is_due,
    is_over,
    newest,
    resolve,
)
from runtime.errors import RunFailedError, UserError
from tests.callbacks.test_checkpointing import fit
from tests.conftest import ROOT
from tests.faults.bombs import BOMBS

pytestmark = pytest.mark.filterwarnings(  # Lightning's, of folders that these tests use twice
    "ignore:Checkpoint directory .* exists and is not empty",
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
def last(tmp_path):
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


def test_what_is_saved_is_what_is_loaded(tmp_path):
    path = save(tmp_path / "new" / "a.ckpt", 7)
    assert AtomicCheckpointIO().load_checkpoint(path, weights_only=True)["value"] == 7
    assert [p.name for p in path.parent.iterdir()] == ["a.ckpt"]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
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


def test_weights_that_are_not_finite_replace_no_checkpoint(tmp_path):
    path = save(tmp_path / "a.ckpt", 1)
    with pytest.raises(RunFailedError, match="weights w contain NaN or infinity"):
        save(path, 2, state_dict={"w": torch.full((2,), torch.nan)})
    assert torch.load(path, weights_only=True)["value"] == 1


def test_a_checkpoint_that_a_run_replaces_meanwhile_is_read(tmp_path, monkeypatch):
    path, check = save(tmp_path / "a.ckpt", 1, age=9), checkpoints._damage_of

    def replace(file: Path) -> str:
        damage = check(file)
        save(path, 2)
        return damage

    monkeypatch.setattr(checkpoints, "_damage_of", replace)
    assert checkpoints.contents(path)["value"] in (1, 2)


def test_files_are_removed_from_folders_alone_into_which_a_run_has_saved(tmp_path):
    plugin, (own, other) = AtomicCheckpointIO(), (tmp_path / "own", tmp_path / "other.txt")
    other.touch()
    for name in ("a", "b"):
        plugin.save_checkpoint({"state_dict": {}}, own / name)
    for path in (own / "a", own / ".." / "other.txt", other):
        plugin.remove_checkpoint(path)
    assert [*own.iterdir()] == [own / "b"]
    assert other.exists()


@pytest.mark.parametrize("size", [1, 4096])
def test_damage_is_found_or_harmless(last, size):
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


def test_a_file_after_another_is_refused(last):
    """Of two checkpoints in one file, zipfile checks the second, and torch reads the first."""
    last.write_bytes(2 * last.read_bytes())
    with pytest.raises(BadCheckpointError, match="bytes of something else come before it"):
        AtomicCheckpointIO().load_checkpoint(last)


def test_a_record_that_is_marked_as_a_folder_is_refused(last):
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
def test_strange_contents_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"--ckpt_path .*a\.ckpt: (a file of torch|not a check)"):
        resolve(tmp_path / "a.ckpt", tmp_path)


@pytest.mark.filterwarnings("ignore:.*[Ss]parse CSR|.*quantize")
@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_stands_for_much_is_refused_at_once(name, last):
    """Before, four had no answer after 10 s, four were a traceback, and one took 1.7 GB."""
    BOMBS[name](last)
    assert last.stat().st_size < 100_000
    began = time.process_time()
    with pytest.raises(UserError) as refused:
        resolve(last, last.parent)
    assert time.process_time() - began < 2  # seconds
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "dtype", [torch.uint16, torch.float8_e4m3fn, torch.bfloat16, torch.complex64], ids=str
)
def test_weights_of_any_dense_type_are_read(dtype, tmp_path):
    path = save(tmp_path / "a.ckpt", state_dict={"w": torch.ones(3).to(dtype)})
    assert not checkpoints.problem_of(path)


def test_a_mask_of_minus_infinity_is_no_diverged_weight(tmp_path):
    mask = torch.full((3, 3), -torch.inf).triu(1)
    assert not checkpoints.problem_of(save(tmp_path / "a.ckpt", state_dict={"mask": mask}))
    mask[0, 0] = torch.inf
    with pytest.raises(RunFailedError, match="weights mask contain NaN"):
        save(tmp_path / "b.ckpt", state_dict={"mask": mask})


@pytest.mark.parametrize(
    ("value", "kind"), [(np.float64(1), "numpy.*scalar"), (Path("x"), r"pathlib\.PosixPath")]
)
def test_what_is_no_plain_value_is_named(value, kind, tmp_path):
    torch.save({"state_dict": {}, "hyper_parameters": {"a": value}}, path := tmp_path / "a.ckpt")
    assert re.search(
        f"not a checkpoint of plain values: it has a .*{kind}", checkpoints.problem_of(path)
    )


def test_views_of_the_same_values_are_no_bomb(tmp_path):
    weight = torch.rand(100, 100)
    shared = {"w": weight, "tied": weight, "row": weight[0], "ids": weight[0].expand(5, 100)}
    path = save(tmp_path / "a.ckpt", state_dict=shared, betas=[(0.0, 0.9)] * 1000)
    assert not checkpoints.problem_of(path)


@pytest.mark.parametrize("option", ["last", "run\n\x1b[2J/version_0"])
def test_a_name_that_commands_a_terminal_is_refused(option, tmp_path):
    save(tmp_path / "run\n\x1b[2J" / "version_0" / "checkpoints" / "last.ckpt")
    wanted = option if option == "last" else tmp_path / option
    with pytest.raises(UserError, match=r"run\\n\\x1b\[2J/.* has control characters in its name"):
        resolve(wanted, tmp_path)


# -- finding one ----------------------------------------------------------------------------------


def test_last_is_the_newest_of_all_runs_and_a_folder_its_own(tmp_path):
    old = save(tmp_path / "version_0" / "checkpoints" / "last.ckpt", age=100)
    new = save(tmp_path / "version_1" / "checkpoints" / "last.ckpt", age=10)
    assert resolve("last", tmp_path) == new
    assert resolve(str(tmp_path / "version_0"), tmp_path) == old
    assert resolve(str(old), tmp_path) == old


def test_the_highest_step_of_a_run_is_the_newest_whoever_saved_it(tmp_path):
    """The user's own `ModelCheckpoint` saved step 260, then the run was killed."""
    folder = tmp_path / "checkpoints"
    save(folder / "epoch=000-step=0000164.ckpt", 164)
    (folder / "last.ckpt").symlink_to("epoch=000-step=0000164.ckpt")
    own = save(folder / "mine.ckpt", 260, age=500)  # a clock may jump
    save(folder / "best.ckpt", 300)
    assert resolve("last", tmp_path) == own
    own.write_bytes(own.read_bytes()[:-50])
    with pytest.warns(UserWarning, match="Going back to last.ckpt"):
        assert newest(tmp_path) == folder / "last.ckpt"


def test_a_run_continues_from_the_newest_with_which_it_can(tmp_path):
    everything: dict[str, Any] = {"optimizer_states": [], "loops": {}, "epoch": 0}
    whole = save(tmp_path / "a.ckpt", 5, **everything)
    weights = save(tmp_path / "b.ckpt", 9)
    assert resolve(tmp_path, tmp_path) == weights
    assert resolve(tmp_path, tmp_path, resume=True) == whole
    with pytest.raises(UserError, match="has weights but no optimizer_states, loops, epoch"):
        resolve(weights, tmp_path, resume=True)


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "nan"])
def test_the_file_before_it_takes_its_place(last, damage):
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
    with pytest.warns(UserWarning, match="Going back to epoch="):
        assert resolve("last", last.parents[2]) == good


@pytest.mark.parametrize("wanted", ["last", "nowhere.ckpt", "best"])
def test_no_checkpoint_is_one_clear_error(wanted, tmp_path):
    with pytest.raises(UserError, match=f"--ckpt_path {wanted}: no "):
        resolve(wanted, tmp_path)


def test_only_a_damaged_checkpoint_is_another_error(tmp_path):
    """One that says whether weights are left to begin with."""
    cut = save(tmp_path / "checkpoints" / "last.ckpt")
    cut.write_bytes(cut.read_bytes()[:-50])
    with pytest.warns(UserWarning, match=f"{cut}: .* There is no sound one before it."):
        assert newest(tmp_path) is None
    with pytest.raises(UserError, match=f"no checkpoint below {tmp_path} is sound: train anew"):
        resolve(tmp_path, tmp_path)
    best = save(cut.with_name("best.ckpt"))
    with pytest.raises(UserError, match=f"{best} has weights alone: .* --init_from {best}"):
        resolve(tmp_path, tmp_path, resume=True)
    with pytest.warns(UserWarning, match="Going back to best.ckpt"):
        assert resolve(tmp_path, tmp_path) == best


def test_an_unfinished_file_is_no_checkpoint(tmp_path):
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
def test_short_epochs_are_due_every_few(batches, every):
    due = [e for e in range(10) if epoch_is_due(at(e, batches), min_steps=50)]
    assert due == list(range(every - 1, 10, every))


def test_the_last_epoch_is_due_whatever_its_length():
    assert not epoch_is_due(at(step=7, max_steps=8), min_steps=50)
    assert epoch_is_due(at(step=8, max_steps=8), min_steps=50)
    assert epoch_is_due(at(epoch=2, max_epochs=3), min_steps=50)
    assert is_over(at(should_stop=True))
    assert not is_over(at(epoch=1, should_stop=True, min_epochs=3))
    assert not is_over(at(step=29, should_stop=True, min_steps=30))


def test_a_plain_model_checkpoint_is_found(tmp_path):
    fit(tmp_path, ModelCheckpoint(every_n_train_steps=2), max_steps=4, max_epochs=-1)
    found = newest(tmp_path, resume=True)
    assert checkpoints.saved_step(found) == 4
