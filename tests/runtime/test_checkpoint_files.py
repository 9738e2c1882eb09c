"""Damage and strange contents of checkpoint files are found before the file is used."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from runtime.checkpoint_files import FORMAT, FORMAT_KEY, AtomicCheckpointIO, BadCheckpointError

from datamodules import Iris
from models import IrisMLP
from runtime import checkpoint_files
from runtime.checkpoints import resolve
from tests.conftest import ROOT
from tests.test_cli import fails

FIXTURE = ROOT / "tests" / "fixtures" / "iris" / "checkpoints" / "last.ckpt"


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


@pytest.mark.parametrize("size", [1, 4096])
def test_damage_is_found_or_harmless(last: Path, size: int) -> None:
    sound, random = last.read_bytes(), np.random.default_rng(size)
    expected = torch.load(last, weights_only=True)
    found = 0
    for start in random.integers(0, len(sound) - size, 150).tolist():
        damaged = bytearray(sound)
        if size == 1:
            damaged[start] ^= 1 << int(random.integers(8))
        else:
            damaged[start : start + size] = bytes(size)
        last.write_bytes(damaged)
        checkpoint_files._sound.clear()
        try:
            assert contents_equal(AtomicCheckpointIO().load_checkpoint(last), expected), start
        except BadCheckpointError:
            found += 1
    assert found > 75  # the others are padding, or were zero before


def test_a_file_after_another_is_refused(last: Path) -> None:
    """Of two checkpoints in one file, zipfile checks the second, and torch reads the first."""
    sound = last.read_bytes()
    last.write_bytes(sound + sound)
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


def nan_weights(content: dict[str, Any]) -> Any:
    next(iter(content["state_dict"].values())).fill_(torch.nan)
    return content


STRANGE = {
    "contain NaN or infinity": nan_weights,
    "it has no state_dict": lambda content: {"weights": torch.zeros(3)},
    "no state_dict of": lambda content: [1, 2],
    "a file of torch, but no checkpoint": lambda content: torch.zeros(3),
    "a newer version of this project": lambda content: content | {FORMAT_KEY: FORMAT + 1},
}


@pytest.mark.parametrize("message", STRANGE)
def test_strange_contents_are_one_line(
    last: Path, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(STRANGE[message](torch.load(last, weights_only=True)), last)
    line = fails(capsys, "test", f"--ckpt_path={last}")
    assert message in line
    assert str(last) in line


def test_a_run_cannot_go_on_from_weights_alone(
    last: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(last, weights_only=True)
    del content["optimizer_states"]
    torch.save(content, last)
    line = fails(capsys, "fit", f"--ckpt_path={last}")
    assert "it has weights but no optimizer_states" in line


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "nan"])
def test_the_file_before_it_takes_its_place(last: Path, damage: str) -> None:
    good = Path(shutil.copy(last, last.with_name("epoch=000-step=0000005.ckpt")))
    bad = Path(shutil.copy(last, last.with_name("epoch=001-step=0000010.ckpt")))
    last.unlink()
    last.symlink_to(bad.name)
    content = bytearray(bad.read_bytes())
    if damage == "cut":
        bad.write_bytes(content[:-100])
    elif damage == "flipped":
        content[len(content) // 2] ^= 255
        bad.write_bytes(content)
    elif damage == "gone":
        bad.unlink()
    else:
        torch.save(nan_weights(torch.load(bad, weights_only=True)), bad)
    with pytest.warns(UserWarning, match="Going back to the checkpoint before it"):
        assert resolve("last", last.parents[2]) == good


def test_removing_a_checkpoint_leaves_no_dangling_link(last: Path) -> None:
    old = last.rename(last.with_name("epoch=000.ckpt"))
    new = Path(shutil.copy(old, last.with_name("epoch=001.ckpt")))
    checkpoint_files.link(last, old)
    AtomicCheckpointIO().remove_checkpoint(old)
    assert last.readlink() == Path(new.name)
    assert not old.exists()


def test_trainer_verifies_what_it_loads(last: Path) -> None:
    torch.save(nan_weights(torch.load(last, weights_only=True)), last)
    from runtime.trainer import LadderTrainer

    trainer: Trainer = LadderTrainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    with pytest.raises(BadCheckpointError, match=r"last\.ckpt: its weights .* contain NaN"):
        trainer.test(IrisMLP(), datamodule=Iris(), ckpt_path=last)
