"""Damaged checkpoints are refused in one line, or read as what they are."""

import io
import struct
import warnings
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import torch

from runtime import checkpoints
from runtime.checkpoints import AtomicCheckpointIO, newest
from runtime.errors import UserError
from tests.conftest import ROOT
from tests.faults.ledger import Ledger, rounds
from tests.faults.mutations import mutated, run


def small_checkpoint(path: Path) -> dict[str, Any]:
    """Writes a checkpoint of a few weights and returns what is in it."""
    weights = {name: torch.randn(size) for name, size in (("a", 40), ("b", 7), ("c", 40))}
    content = {"state_dict": weights, "global_step": 4, "epoch": 0, "loops": {"x": [1, 2.5, "y"]}}
    AtomicCheckpointIO().save_checkpoint(content, path)
    return torch.load(path, weights_only=True)


def equal(one: Any, other: Any) -> bool:
    """Compares plain values and tensors, bit by bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(equal(one[key], other[key]) for key in one)
        )
    return bool(one == other)


def with_other_pickle(data: bytes, random: Random) -> bytes:
    """Damages the pickle of a checkpoint and stores its new checksum, as a forger would."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("data.pkl"):
                content = random.choice(
                    (mutated(content, [content], random), random.randbytes(len(content)))
                )
            new.writestr(name, content)
    return out.getvalue()


def with_swapped_members(data: bytes, random: Random) -> bytes:
    """Exchanges the bytes of two records of a checkpoint, but not their checksums."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = [record for record in archive.infolist() if "/data/" in record.filename]
        a, b = random.sample(records, 2)
        first, second = archive.read(a), archive.read(b)
    swapped = bytearray(data)
    size = min(len(first), len(second))
    for record, other in ((a, second), (b, first)):
        name, extra = struct.unpack_from("<HH", data, record.header_offset + 26)
        start = record.header_offset + 30 + name + extra
        swapped[start : start + size] = other[:size]
    return bytes(swapped)


def test_damaged_checkpoints(ledger: Ledger, tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = small_checkpoint(tmp_path / "sound.ckpt")
    changed = small_checkpoint(tmp_path / "other.ckpt")
    sound, other = ((tmp_path / f"{name}.ckpt").read_bytes() for name in ("sound", "other"))
    path = tmp_path / "run" / "last.ckpt"
    path.parent.mkdir()

    def one_round(random: Random) -> None:
        kind, forged = random.random(), False
        if kind < 0.1:
            data = with_swapped_members(sound, random)
        elif kind < 0.25:
            data, forged = with_other_pickle(sound, random), True
        else:
            data = mutated(sound, [other, sound, (ROOT / "README.md").read_bytes()], random)
        path.write_bytes(data)
        checkpoints._sound.clear()
        with warnings.catch_warnings(record=True):  # the line on the file that is passed over
            found = newest(path.parent)
        try:
            loaded = AtomicCheckpointIO().load_checkpoint(path)
        except UserError as error:
            assert found is None
            line = " ".join(str(error).split())
            assert len(line) < 1000, line[:2000]
            assert str(path) in line
            return
        assert found == path
        if forged:  # nothing but plain values and finite weights, whatever they are
            assert all(weight.isfinite().all() for weight in loaded["state_dict"].values())
        else:
            assert equal(loaded, expected) or equal(loaded, changed)

    run(ledger, "mutated checkpoint", rounds(10_000, 400), one_round)
