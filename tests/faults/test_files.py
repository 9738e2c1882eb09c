"""Files that vanish, are damaged or have two users are one line, and lose nothing."""

import io
import re
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from runtime import checkpoints
from runtime.checkpoints import AtomicCheckpointIO, newest
from runtime.errors import UserError
from tests import ranks
from tests.faults import runs
from tests.faults.runs import at_batch, rounds
from tests.runtime.test_checkpoints import contents_equal


def test_data_that_vanish_during_a_run_change_nothing(tmp_path: Path) -> None:
    """All examples are in memory."""
    file, roots = tmp_path / "data.npz", (tmp_path / "whole", tmp_path / "robbed")
    pixels = np.random.default_rng(0).integers(0, 255, (80, 16, 16), dtype=np.uint8)
    np.savez(file, images=pixels, labels=np.arange(80) % 2)
    for root in roots:
        fault = partial(at_batch, 3, file.unlink) if root.name == "robbed" else lambda: None
        started = runs.start(
            root, "classifier", "--data=ImageArrays", f"--data.path={file}", "--data.batch_size=8",
            "--data.val_fraction=0.25", data=False, fault=fault,
        )  # fmt: skip
        runs.finish(started, root)
    assert not file.exists()
    runs.check_equal(*roots[::-1])


# -- the run's folder -----------------------------------------------------------------------------


@pytest.fixture
def whole(uninterrupted: Callable[..., Path]) -> Path:
    return uninterrupted("classifier")


def test_a_run_whose_last_checkpoint_is_removed_goes_on(tmp_path: Path, whole: Path) -> None:
    """It is also killed before it links the next."""
    last = tmp_path / "run" / "version_0" / "checkpoints" / "last.ckpt"

    def remove() -> None:
        last.unlink()
        runs.kill()

    started = runs.start(tmp_path, "classifier", fault=partial(at_batch, 10, remove))
    ranks.end(started, runs.PATIENCE)
    assert not last.exists()
    runs.finish(runs.start(tmp_path, "classifier"), tmp_path)
    runs.check_equal(tmp_path, whole, spare=1)


def two_logs(root: Path) -> list[Path]:
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
    return [root / "a", root / "b"]


def test_runs_that_start_at_once_get_a_folder_each(tmp_path: Path, whole: Path) -> None:
    for number in range(rounds(full=10, short=1)):
        root = tmp_path / str(number)
        logs = two_logs(root)
        started = [runs.start(root, "classifier", logs=folder) for folder in logs]
        for processes, folder in zip(started, logs, strict=True):
            runs.finish(processes, folder)
        versions = [*(root / "run").glob("version_*")]
        assert len(versions) == 2
        for version in versions:
            shutil.copytree(version, root / version.name / "run" / "version_0", symlinks=True)
            runs.check_equal(root / version.name, whole)


def test_a_run_is_not_trained_twice_at_once(tmp_path: Path, whole: Path) -> None:
    """The first that locks the folder waits in its first batch until the other has ended."""
    for number in range(rounds(full=20, short=1)):
        root = tmp_path / str(number)
        logs, go = two_logs(root), root / "go"
        ranks.end(runs.start(root, "classifier", fault=partial(at_batch, 6, runs.kill)), 300)
        hold = partial(at_batch, 1, partial(runs.wait_for, go.exists))
        started = [runs.start(root, "classifier", fault=hold, logs=folder) for folder in logs]
        runs.wait_for(lambda started=started: not all(p.is_alive() for (p,) in started))
        loser = next(i for i, (process,) in enumerate(started) if not process.is_alive())
        line = runs.fails(started[loser], logs[loser], code=2)
        assert "is being trained by another process" in line
        go.touch()
        runs.finish(started[1 - loser], logs[1 - loser])
        runs.check_equal(root, whole)


# -- checkpoints ----------------------------------------------------------------------------------


def small_checkpoint(path: Path) -> bytes:
    """Writes a checkpoint of a few weights."""
    weights = {name: torch.randn(size) for name, size in (("a", 40), ("b", 7), ("c", 40))}
    content = {"state_dict": weights, "global_step": 4, "epoch": 0, "loops": {"x": [1, 2.5, "y"]}}
    AtomicCheckpointIO().save_checkpoint(content, path)
    return path.read_bytes()


def damaged(sound: bytes, other: bytes, random: Random) -> bytes:
    """Returns bytes with one to three kinds of damage."""
    data = bytearray(sound)
    for _ in range(random.choice((1, 1, 2, 3))):
        start, size = random.randrange(len(data) + 1), random.choice((1, 4, 64, 512))
        match random.randrange(7):
            case 0 if start < len(data):
                data[start] ^= 1 << random.randrange(8)
            case 1:
                fill = random.choice((bytes(size), b"\xff" * size, random.randbytes(size)))
                data[start : start + size] = fill[: len(data) - start]
            case 2:
                del data[start:]
            case 3:
                del data[start : start + size]
            case 4:
                data[start:start] = random.randbytes(size)
            case 5:
                data[start:] = other[start:]
            case _:
                data = bytearray(random.choice((data + other, other + data)))
    return bytes(data)


def with_other_pickle(sound: bytes, other: bytes, random: Random) -> bytes:
    """Damages the pickle of a checkpoint and stores its new checksum, as a forger would."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(sound)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("data.pkl"):
                content = damaged(content, content, random)
            new.writestr(name, content)
    return out.getvalue()


def with_swapped_records(sound: bytes, other: bytes, random: Random) -> bytes:
    """Exchanges the bytes of two records of a checkpoint, but not their checksums."""
    with zipfile.ZipFile(io.BytesIO(sound)) as archive:
        records = [record for record in archive.infolist() if "/data/" in record.filename]
        a, b = random.sample(records, 2)
        first, second = archive.read(a), archive.read(b)
    swapped, size = bytearray(sound), min(len(first), len(second))
    for record, content in ((a, second), (b, first)):
        name, extra = struct.unpack_from("<HH", sound, record.header_offset + 26)
        start = record.header_offset + 30 + name + extra
        swapped[start : start + size] = content[:size]
    return bytes(swapped)


@pytest.mark.parametrize("damage", [damaged, with_other_pickle, with_swapped_records])
def test_damaged_checkpoints_are_refused_in_one_line_or_harmless(
    damage: Callable[[bytes, bytes, Random], bytes], tmp_path: Path
) -> None:
    sound = small_checkpoint(tmp_path / "sound.ckpt")
    other = small_checkpoint(tmp_path / "other.ckpt")
    expected = [torch.load(tmp_path / f"{n}.ckpt", weights_only=True) for n in ("sound", "other")]
    path = tmp_path / "run" / "last.ckpt"
    path.parent.mkdir()
    for number in range(rounds(full=3000, short=130)):
        path.write_bytes(damage(sound, other, Random(number)))
        checkpoints._sound.clear()
        with warnings.catch_warnings(record=True):  # the line on the file that is passed over
            found = newest(path.parent)
        if found is None:
            with pytest.raises(UserError, match=re.escape(str(path))) as refused:
                AtomicCheckpointIO().load_checkpoint(path)
            assert len(" ".join(str(refused.value).split())) < 1000
            continue
        assert found == path
        loaded = AtomicCheckpointIO().load_checkpoint(path)
        if damage is with_other_pickle:  # only plain values and finite weights, whatever they are
            assert all(weight.isfinite().all() for weight in loaded["state_dict"].values())
        else:
            assert any(contents_equal(loaded, content) for content in expected), number
