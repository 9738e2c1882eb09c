"""Where images are: in a folder for each class, in tars (WebDataset) or in Parquet files."""

import json
import os
import re
import tarfile
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from datamodules.image_files import SUFFIXES, find_images
from runtime.errors import UserError, printable

SPLITS = {  # by the names of folders and the beginnings of shards' names, in small letters
    "train": "train", "training": "train", "val": "val", "validation": "val", "valid": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
EXPECTED = "one sub-folder for each class, or train/ and test/ with such sub-folders"
PARQUET, TAR = ".parquet", ".tar"
END_OF_TAR = bytes(1024)


class ImageSource(NamedTuple):
    """An image: a file, or a part of one."""

    path: Path
    name: str  # within the data set
    label: int
    size: int  # bytes
    changed: int  # time of the file, in nanoseconds
    start: int | None = None  # in a tar, in bytes, or in a group of rows; None: all of the file
    group: int = 0  # of rows in a Parquet file

    def __str__(self) -> str:
        return str(self.path) if self.start is None else self.name

    def read(self) -> bytes:
        """Returns the bytes of an image file.

        Raises:
            OSError: If the file cannot be read.
        """
        if self.start is None:
            return self.path.read_bytes()
        if self.path.suffix == PARQUET:
            return _read_row(self)
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)


Parts = dict[str, list[ImageSource]]  # by split: train and, if they are given, val and test


def find_parts(root: Path, labelled: bool) -> tuple[Parts, tuple[str, ...] | None]:
    """Lists the images in a folder or in shards, without decoding them.

    Args:
        root: A folder; or a tar or Parquet file, or a pattern of these, such as
            `images-{000..099}.tar` or `data/*.parquet`.
        labelled: The images have classes: their sub-folders, or the labels in the shards.

    Returns:
        The parts, and the names of the classes; None: there are no names. Without classes, all
        images are of class 0.
    """
    if root.suffix in (TAR, PARQUET):
        return _find_in_shards(root, labelled)
    if not root.is_dir():
        raise UserError(f"there is no folder {root}: set --data.path to a folder with {EXPECTED}")
    folders = _split_folders(root)
    if not labelled:
        return {name: _images(root, folder, 0) for name, folder in folders.items()}, None
    names = tuple(folder.name for folder in _subfolders(folders["train"]))
    if not names:
        raise UserError(
            f"{folders['train']} has no folders of classes: it needs {EXPECTED}; or set "
            "--data.labels none for images without classes"
        )
    parts: Parts = {}
    for split, folder in folders.items():
        if wrong := sorted({path.name for path in _subfolders(folder)} ^ {*names}):
            raise UserError(
                f"{folder} and {folders['train']} have different classes, such as {wrong[0]!r}: "
                "all splits need the same sub-folders"
            )
        parts[split] = [p for k, it in enumerate(names) for p in _images(root, folder / it, k)]
    inside = (source for source in parts["train"] if source.path.parent.parent == folders["train"])
    flat = {names[source.label] for source in inside}
    odd = [name for name in names if len(names) == 1 or name.lower() in SPLITS]
    wrong = [name for name in odd if name not in flat]
    if wrong:
        raise UserError(
            f"{folders['train'] / wrong[0]} has no images but folders of images: set --data.path "
            f"to a folder with {EXPECTED}, and nothing else beside these"
        )
    return parts, tuple(map(printable, names))


def _split_folders(root: Path) -> dict[str, Path]:
    """Returns the folder of each split; only that of `train`, `root`, if it has other folders."""
    inside = _subfolders(root)
    splits = [SPLITS.get(folder.name.lower(), "") for folder in inside]
    if {"train", ""} < {*splits}:
        found, odd = " and ".join(sorted({*splits} - {""})), inside[splits.index("")].name
        raise UserError(f"{root} has the splits {found}, and {odd}, which is none: move it away")
    if "train" not in splits or "" in splits:
        return {"train": root}
    if len({*splits}) < len(splits):
        pairs = zip(inside, splits, strict=True)
        twice = " and ".join(folder.name for folder, split in pairs if splits.count(split) > 1)
        raise UserError(f"{root} has two folders for one split, {twice}: keep one of them")
    return dict(zip(splits, inside, strict=True))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _images(root: Path, folder: Path, label: int) -> list[ImageSource]:
    found, start = [], len(os.fspath(root)) + 1
    for path in find_images(folder):
        stat = path.stat()
        name = os.fspath(path)[start:]
        found.append(ImageSource(path, name, label, stat.st_size, stat.st_mtime_ns))
    if found:
        return found
    raise UserError(
        f"{folder} has no images: remove it, or put images ({' '.join(SUFFIXES)}) there"
    )


def _find_in_shards(pattern: Path, labelled: bool) -> tuple[Parts, tuple[str, ...] | None]:
    found: list[tuple[str, ImageSource, Any]] = []  # split, image and label
    names: tuple[str, ...] | None = None
    for path in _expand(pattern):
        split = SPLITS.get(re.split(r"[^A-Za-z]", path.stem)[0].lower(), "train")
        images, known = (_in_parquet if path.suffix == PARQUET else _in_tar)(path)
        found += [(split, source, label) for source, label in images]
        names = names or known
    labels = [label for _, _, label in found]
    if labelled and (missing := sum(label is None for label in labels)):
        raise UserError(
            f"{pattern}: {missing:,} of {len(labels):,} images have no label (in a tar a file .cls "
            "beside the image, in Parquet a column `label`): set --data.labels none for images "
            "without classes"
        )
    if labelled and any(isinstance(label, str) for label in labels):
        names = tuple(sorted({str(label) for label in labels}))
        numbers = {name: k for k, name in enumerate(names)}
        labels = [numbers[str(label)] for label in labels]
    parts: Parts = {}
    for (split, source, _), label in zip(found, labels, strict=True):
        parts.setdefault(split, []).append(source._replace(label=label if labelled else 0))
    if "train" not in parts:
        raise UserError(f"{pattern} has no training images: there is no shard named train-...")
    if labelled and names is None:
        names = tuple(map(str, range(1 + max(labels))))
    return parts, tuple(map(printable, names)) if labelled and names else None


def _expand(pattern: Path) -> list[Path]:
    """Returns the files of a pattern with numbers {000..099}, or with `*`."""
    text = os.fspath(pattern)
    if numbers := re.search(r"\{(\d+)\.\.(\d+)\}", text):
        first, last = numbers.groups()
        found = [
            Path(f"{text[: numbers.start()]}{k:0{len(first)}}{text[numbers.end() :]}")
            for k in range(int(first), int(last) + 1)
        ]
    else:
        found = sorted(pattern.parent.glob(pattern.name)) if "*" in text else [pattern]
    if missing := next((path for path in found or [pattern] if not path.is_file()), None):
        raise UserError(f"there is no file {missing}: correct --data.path, or add the file")
    return found


def _in_tar(path: Path) -> tuple[list[tuple[ImageSource, Any]], None]:
    """Lists the images of a tar, with the content of the file `.cls` of the same name."""
    images, labels = list[tuple[str, ImageSource]](), dict[str, int | str]()
    stat = path.stat()
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                key, _, ending = name.partition(".")
                key = f"{folder}/{key}"
                if ending == "cls":
                    opened = tar.extractfile(member)
                    text = opened.read().decode() if opened else ""
                    labels[key] = int(text) if text.strip().isdigit() else text.strip()
                elif f".{ending.rpartition('.')[2].lower()}" in SUFFIXES:
                    place = member.size, stat.st_mtime_ns, member.offset_data
                    name = f"{path.name}/{member.name}"
                    images.append((key, ImageSource(path, name, 0, *place)))
            file.seek(-len(END_OF_TAR), os.SEEK_END)
            if file.read() != END_OF_TAR:
                raise tarfile.ReadError("its end is missing")
    except (tarfile.TarError, OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as a tar without compression ({error}): copy or make it again"
        ) from None
    return [(source, labels.get(key)) for key, source in images], None


def _in_parquet(path: Path) -> tuple[list[tuple[ImageSource, Any]], tuple[str, ...] | None]:
    """Lists the images of a Parquet file, with labels and names as Hugging Face writes them."""
    parquet = _open_parquet(path)
    schema, stat = parquet.schema_arrow, path.stat()
    if "image" not in schema.names:
        columns = ", ".join(map(printable, schema.names))
        raise UserError(f"{path} has no column `image` but {columns}: rename the column of images")
    count = parquet.metadata.num_rows
    labels: Iterable[Any] = [None] * count
    if "label" in schema.names:
        labels = parquet.read(["label"])["label"].to_pylist()
    names = None
    with suppress(ValueError, TypeError, KeyError):  # others write these files as well
        about = json.loads(schema.metadata[b"huggingface"])
        names = tuple(map(str, about["info"]["features"]["label"]["names"]))
    place, groups = (stat.st_size // max(1, count), stat.st_mtime_ns), parquet.metadata
    sources = [
        ImageSource(path, f"{path.name}/{group}/{row}", 0, *place, row, group)
        for group in range(groups.num_row_groups)
        for row in range(groups.row_group(group).num_rows)
    ]
    return list(zip(sources, labels, strict=True)), names


def _open_parquet(path: Path) -> Any:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(f'{path} needs pyarrow: pip install -e ".[parquet]"') from None
    try:
        return parquet.ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({error}): copy it again") from None


_reading = Lock()  # so that a group of rows is read once, not by each thread


def _read_row(source: ImageSource) -> bytes:
    with _reading:
        images = _read_group(source.path, source.changed, source.group)
    value = images[source.start].as_py()
    return (value["bytes"] if isinstance(value, dict) else value) or b""


@lru_cache(maxsize=1)
def _read_group(path: Path, changed: int, group: int) -> Any:
    return _open_parquet(path).read_row_group(group, ["image"])["image"]
