"""Damaged checkpoints are refused in one line, or are harmless."""

import io
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import torch

from runtime import checkpoints
from runtime.checkpoints import AtomicCheckpointIO, newest
from runtime.errors import UserError
from tests.faults.runs import rounds
from tests.runtime.test_checkpoints import contents_equal


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
