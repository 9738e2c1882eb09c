"""Finds the images and the classes in a folder, by the names of its sub-folders."""

import difflib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from datamodules.image_files import SUFFIXES, find_files, is_image
from runtime.errors import UserError

SPLITS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
EXPECTED = "one sub-folder for each class, or train/ and test/ with such sub-folders"


class Part(NamedTuple):
    """The images of one split and their classes; classes are 0 if images have none."""

    files: list[Path]
    targets: list[int]


class Layout(NamedTuple):
    """The images of a folder: `train` and, if they have folders, `val` and `test`."""

    parts: dict[str, Part]
    class_names: tuple[str, ...] | None


def find_layout(root: Path, labelled: bool) -> Layout:
    """Lists the images in a folder, without reading them; `labelled`: sub-folders are classes.

    Files that are no images are counted in a warning.

    Raises:
        UserError: If the folder is not laid out like that.
    """
    _require_folder(root)
    folders = _split_folders(root)
    others: Counter[str] = Counter()
    if not labelled:
        found = {name: {folder: _images(folder, others)} for name, folder in folders.items()}
        names = None
    else:
        found = {name: _by_class(folder, others) for name, folder in folders.items()}
        names = tuple(folder.name for folder in found["train"])
        _require_equal_classes(folders, found)
    if others:
        suffixes = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
        count = sum(others.values())
        rank_zero_warn(
            f"{root} holds {count} file(s) that are no images and are ignored ({suffixes}); images "
            f"end in {' '.join(SUFFIXES)}."
        )
    for classes in found.values():
        for folder, files in classes.items():
            if not files:
                raise UserError(
                    f"{folder} has no images: remove it, or put images ({' '.join(SUFFIXES)}) there"
                )
    return Layout({name: _part(classes.values()) for name, classes in found.items()}, names)


def _part(classes: Iterable[list[Path]]) -> Part:
    pairs = [(file, k) for k, files in enumerate(classes) for file in files]
    return Part([file for file, _ in pairs], [k for _, k in pairs])


def _require_folder(root: Path) -> None:
    if root.is_dir():
        return
    remedy = f"set --data.path to a folder with {EXPECTED}"
    if root.is_file():
        archive = root.suffix in (".zip", ".tar", ".gz", ".tgz")
        arrays = "; for arrays use --data ImageArrays" if root.suffix in (".npz", ".npy") else ""
        hint = "unpack it, and " if archive else ""
        raise UserError(f"{root} is a file, not a folder: {hint}{remedy}{arrays}")
    parent = next(folder for folder in root.absolute().parents if folder.is_dir())
    siblings = [folder.name for folder in _subfolders(parent)]
    missing = root.absolute().relative_to(parent).parts[0]
    near = [str(parent / name) for name in difflib.get_close_matches(missing, siblings)]
    question = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UserError(f"there is no folder {root}: {remedy}.{question}")


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _split_folders(root: Path) -> dict[str, Path]:
    """Returns the folder of each split by its name; the root alone if it has none."""
    folders = _subfolders(root)
    splits = [folder for folder in folders if folder.name in SPLITS]
    if root / "train" not in folders or (len(splits) == 1 < len(folders)):
        return {"train": root}
    if len(splits) < len(folders):
        other = next(folder for folder in folders if folder.name not in SPLITS)
        names = ", ".join(f"{folder.name}/" for folder in splits)
        raise UserError(
            f"{root} has {names} and also {other.name}/: keep either splits or classes there"
        )
    found: dict[str, Path] = {}
    for folder in splits:
        if (first := found.setdefault(SPLITS[folder.name], folder)) != folder:
            problem = f"{first} and {folder} are both for validation: remove one"
            raise UserError(problem)
    return found


def _images(folder: Path, others: Counter[str]) -> list[Path]:
    """Returns the images in and below a folder, and counts other files by suffix."""
    files = [*find_files(folder)]
    others.update(file.suffix or file.name for file in files if not is_image(file))
    return [file for file in files if is_image(file)]


def _by_class(folder: Path, others: Counter[str]) -> dict[Path, list[Path]]:
    """Returns the images of each class's folder."""
    direct = [path for path in sorted(folder.iterdir()) if is_image(path)]
    classes = _subfolders(folder)
    if direct:
        raise UserError(
            f"{folder} has images outside of class folders, such as {direct[0].name}: it needs "
            f"{EXPECTED}; or set --data.labels none for images without classes"
        )
    if not classes:
        raise UserError(f"{folder} is empty: it needs {EXPECTED}")
    found = {path: _images(path, others) for path in classes}
    inner = _subfolders(classes[0])
    if len(classes) == 1 and inner and not any(map(is_image, classes[0].iterdir())):
        raise UserError(
            f"{folder} has a single sub-folder, {classes[0].name}, which again has only "
            f"sub-folders: set --data.path {classes[0]} if those are the classes"
        )
    return found


def _require_equal_classes(folders: dict[str, Path], found: dict[str, dict[Path, list]]) -> None:
    expected = {folder.name for folder in found["train"]}
    for name, classes in found.items():
        names = {folder.name for folder in classes}
        for wrong in sorted(names ^ expected):
            has, lacks = ("train", name) if wrong in expected else (name, "train")
            raise UserError(
                f"{folders[has]} has the class {wrong!r} and {folders[lacks]} has not: all splits "
                "need the same sub-folders"
            )
