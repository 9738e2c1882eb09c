"""Checkpoints of a few kilobytes that stand for hours of work or gigabytes of memory."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ"


def text(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def tensor(size: int) -> bytes:
    """The operations of a pickle that make a tensor of a storage of one number."""
    shape = b"K\0(" + number(size) + b"t(K\x01t\x89ccollections\nOrderedDict\n)RtR"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + shape


def with_pickle(value: bytes) -> Callable[[Path], None]:
    """Returns what writes a checkpoint, one of whose values has these operations."""

    def write(path: Path) -> None:
        weights = text(b"state_dict") + b"}(" + text(b"w") + tensor(1) + b"u"
        content = b"\x80\x02}(" + weights + text(b"more") + value + b"u."
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/byteorder", "little")
            archive.writestr("archive/version", "3\n")
            archive.writestr("archive/data/0", bytes(4))

    return write


def with_value(make: Callable[[], Any], key: str = "more") -> Callable[[Path], None]:
    """Returns what changes a checkpoint."""

    def write(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        content.setdefault(key, {})["bomb"] = make()
        torch.save(content, path)

    return write


def packed(method: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            records = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, record in records.items():
                archive.writestr(name, record)
            archive.writestr(next(iter(records)).partition("/")[0] + "/data/more", bytes(10**7))

    return write


def twice(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0].upper(), b"")


def two_directories(path: Path) -> None:
    """Hides a record behind a second directory, which the end names and zipfile does not read."""
    sound = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        folder = archive.namelist()[0].partition("/")[0]
    place = path.with_name("hidden.zip")
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr(f"{folder}/version", "3\n")
        archive.writestr(f"{folder}/data.pkl", b"\x80\x02cos\ngetcwd\n)R.")
    hidden = place.read_bytes()
    place.unlink()
    record, locator, end = sound[-98:-42], sound[-42:-22], sound[-22:]
    size, start = struct.unpack("<QQ", record[40:56])
    hidden_size, hidden_start = struct.unpack("<II", hidden[-10:-2])
    directory = bytearray(hidden[hidden_start:-22])
    second = directory.index(b"PK\1\2", 4)
    for entry in (0, second):  # their records have moved
        at = struct.unpack("<I", directory[entry + 42 : entry + 46])[0]
        directory[entry + 42 : entry + 46] = struct.pack("<I", at + start)
    content = sound[:start] + hidden[:hidden_start] + bytes(directory)
    other = record[:24] + struct.pack("<4Q", 2, 2, hidden_size, start + hidden_start)
    named, moved = len(content), len(content) + len(other)
    locator = locator[:8] + struct.pack("<Q", named) + locator[16:]
    record = record[:48] + struct.pack("<Q", moved)
    path.write_bytes(content + other + sound[start : start + size] + record + locator + end)


def nested() -> list[Any]:
    values: list[Any] = [0]
    for _ in range(13):
        values = [values] * 10
    return values


def deep() -> list[Any]:
    values: list[Any] = []
    for _ in range(300):
        values = [values]
    return values


def circle() -> list[Any]:
    values: list[Any] = []
    values.append(values)
    return values


TUPLES = b"".join(b"h" + bytes([k]) + b"\x86q" + bytes([k + 1]) for k in range(40))
BOMBS: dict[str, Callable[[Path], None]] = {
    "ten references nested 13 deep": with_value(nested),
    "nested state": with_value(nested, "callbacks"),
    "300 levels": with_value(deep),
    "a circle": with_value(circle),
    "a key of 2^40 values": with_pickle(b"})q\0" + TUPLES + b"K\x01s"),
    "bytes": with_pickle(b"cbuiltins\nbytearray\n(" + number(2 * 10**9) + b"tR"),
    "an old tensor": with_pickle(b"ctorch\nFloatTensor\n(" + number(2 * 10**9) + b"tR"),
    "a tensor beyond its storage": with_pickle(tensor(10**9)),
    "expanded": with_value(lambda: torch.zeros(1).expand(2 * 10**8), "state_dict"),
    "expanded elsewhere": with_value(lambda: torch.zeros(1).expand(2 * 10**8)),
    "sparse": with_value(lambda: torch.zeros(9).to_sparse(), "state_dict"),
    "sparse rows": with_value(lambda: torch.zeros(9, 9).to_sparse_csr()),
    "quantized": with_value(
        lambda: torch.quantize_per_tensor(torch.zeros(9), 0.1, 0, torch.quint8), "state_dict"
    ),
    "without values": with_value(lambda: torch.zeros(9, device="meta"), "state_dict"),
    "deflated": packed(zipfile.ZIP_DEFLATED),
    "bz2": packed(zipfile.ZIP_BZIP2),
    "lzma": packed(zipfile.ZIP_LZMA),
    "two records of a name": twice,
    "two directories": two_directories,
}
