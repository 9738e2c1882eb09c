"""Damaged IDX files and checkpoints are refused in one line, or read as what they are."""

import gzip
import io
import struct
import warnings
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from runtime.checkpoint_files import AtomicCheckpointIO

from datamodules import sources
from runtime import checkpoints
from runtime.checkpoints import newest
from runtime.errors import UserError
from tests.conftest import ROOT
from tests.faults.ledger import Ledger, rounds
from tests.faults.mutations import mutated, run
from tests.runtime.test_checkpoints import contents_equal

CODES = {0x08: "B", 0x09: "b", 0x0B: "h", 0x0C: "i", 0x0D: "f", 0x0E: "d"}  # of struct


def idx(code: int, shape: tuple[int, ...], values: list[Any]) -> bytes:
    header = struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)
    return header + struct.pack(f">{len(values)}{CODES[code]}", *values)


def expected_of(data: bytes, dims: int) -> tuple[tuple[int, ...], bytes, str]:
    """Reads an IDX file with `struct` alone: shape, bytes of the values, and their type."""
    assert data[:2] == b"\0\0"
    assert data[3] == dims
    shape = struct.unpack(f">{dims}I", data[4 : 4 + 4 * dims])
    kind = CODES[data[2]]
    values = data[4 + 4 * dims :]
    count = 1
    for size in shape:
        count *= size
    assert len(values) == count * struct.calcsize(kind)
    return shape, values, kind


def unpacked(data: bytes) -> bytes:
    """Unpacks the members of a `.gz` file with zlib alone. Zeros may follow them."""
    out = b""
    while data.strip(b"\0"):
        data = data[:3] + bytes([data[3] & 0x1F]) + data[4:]  # gzip ignores the reserved flags
        member = zlib.decompressobj(31)
        out += member.decompress(data) + member.flush()
        data = member.unused_data
    return out


def check_refusal(error: BaseException, *names: str) -> None:
    line = " ".join(str(error).split())
    assert len(line) < 1000, line[:2000]
    assert any(name in line for name in names), line


def idx_files(random: Random) -> list[bytes]:
    pixels = [random.randrange(256) for _ in range(60)]
    return [
        idx(0x08, (3, 5, 4), pixels),
        idx(0x08, (6,), pixels[:6]),
        idx(0x0C, (3, 8), [-value for value in pixels[:24]]),
        idx(0x0E, (2, 2, 3), [value / 7 for value in pixels[:12]]),
    ]


def read_one_idx(random: Random, folder: Path) -> None:
    seeds = idx_files(random)
    which = random.randrange(len(seeds))
    dims = seeds[which][3] if random.random() < 0.9 else random.choice((1, 2, 3))
    packed = random.random() < 0.3
    others = [gzip.compress(seed, mtime=0) for seed in seeds] if packed else seeds
    data = mutated(others[which], others, random)
    path = folder / ("images.gz" if packed else "images")
    path.write_bytes(data)
    try:
        tensor = sources.read_idx(path, dims)
    except UserError as error:
        check_refusal(error, path.name)
        return
    shape, values, kind = expected_of(unpacked(data) if packed else data, dims)
    assert tuple(tensor.shape) == shape
    order = tensor.numpy().dtype.newbyteorder(">")
    assert order.str[1:] == {"B": "u1", "b": "i1", "h": "i2", "i": "i4", "f": "f4", "d": "f8"}[kind]
    assert tensor.numpy().astype(order).tobytes() == values


SPEC = replace(sources.DATASETS["mnist"], num_train=3, num_test=2)


def load_one_data_set(random: Random, folder: Path) -> None:
    """Damages one of the four files of a data set, or gives it another's name."""
    files: dict[str, bytes] = {}
    for (images, labels), count in ((SPEC.train, 3), (SPEC.test, 2)):
        files[images] = idx(0x08, (count, 28, 28), list(random.randbytes(count * 784)))
        files[labels] = idx(0x08, (count,), [random.randrange(10) for _ in range(count)])
    name = random.choice([*files])
    if random.random() < 0.1:
        files[name] = files[random.choice([*files])]
    else:
        files[name] = mutated(files[name], [*files.values()], random)
    for path, data in files.items():
        (folder / "MNIST" / "raw" / path).write_bytes(data)
    try:
        splits = sources.load_idx_dataset("mnist", folder)
    except UserError as error:
        check_refusal(error, *files)
        return
    for split, (images, labels) in zip(splits, (SPEC.train, SPEC.test), strict=True):
        (count, *size), pixels, _ = expected_of(files[images], 3)
        assert (size, split.inputs.dtype) == ([28, 28], torch.uint8)
        assert tuple(split.inputs.shape) == (count, 1, 28, 28)
        assert split.inputs.numpy().tobytes() == pixels
        shape, values, kind = expected_of(files[labels], 1)
        assert split.targets.dtype == torch.int64
        assert split.targets.tolist() == [*struct.unpack(f">{count}{kind}", values)]
        assert shape == (count,)


def test_damaged_idx_files(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sources.DATASETS, "mnist", SPEC)
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)

    def one_round(random: Random) -> None:
        kind = load_one_data_set if random.random() < 0.3 else read_one_idx
        kind(random, tmp_path)

    run(ledger, "mutated IDX file", rounds(100_000, 3_000), one_round)


FIXTURE = ROOT / "tests" / "fixtures" / "iris" / "checkpoints" / "last.ckpt"


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
    sound, other = FIXTURE.read_bytes(), tmp_path / "other.ckpt"
    expected = torch.load(FIXTURE, weights_only=True)
    changed = expected | {"state_dict": {n: w + 1 for n, w in expected["state_dict"].items()}}
    AtomicCheckpointIO().save_checkpoint(changed, other)
    others = [other.read_bytes(), sound, (ROOT / "README.md").read_bytes()]
    path = tmp_path / "run" / "last.ckpt"
    path.parent.mkdir()

    def one_round(random: Random) -> None:
        kind, forged = random.random(), False
        if kind < 0.1:
            data = with_swapped_members(sound, random)
        elif kind < 0.25:
            data, forged = with_other_pickle(sound, random), True
        else:
            data = mutated(sound, others, random)
        path.write_bytes(data)
        checkpoints._sound.clear()
        with warnings.catch_warnings(record=True):  # the line on the file that is passed over
            found = newest(path.parent)
        try:
            loaded = AtomicCheckpointIO().load_checkpoint(path)
        except UserError as error:
            assert found is None
            check_refusal(error, str(path))
            return
        assert found == path
        if forged:  # nothing but plain values and finite weights, whatever they are
            assert all(weight.isfinite().all() for weight in loaded["state_dict"].values())
        else:
            assert contents_equal(loaded, expected) or contents_equal(
                {key: loaded[key] for key in changed}, changed
            )

    run(ledger, "mutated checkpoint", rounds(10_000, 400), one_round)
