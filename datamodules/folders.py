"""Pictures in folders: one for each class, perhaps in one for each split."""

import os
from pathlib import Path

from datamodules.image_files import SUFFIXES, find_images
from datamodules.store import Picture, Source
from runtime.errors import UserError

SPLITS = {  # by the names of folders and the beginnings of shards' names, in small letters
    "train": "train", "training": "train", "val": "val", "validation": "val", "valid": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
EXPECTED = "one sub-folder for each class, or train/ and test/ with such sub-folders"


def find_in_folder(root: Path, labeled: bool) -> Source:
    """Lists the pictures in a folder, whose classes are sub-folders, or which have none."""
    if not root.is_dir():
        raise UserError(f"there is no folder {root}: set --data.path to a folder with {EXPECTED}")
    folders = _split_folders(root)
    names = _class_folders(folders) if labeled else ()
    files, pictures = dict[str, Path](), list[Picture]()
    for split, folder in folders.items():
        for label, name in enumerate(names or ("",)):
            images = _images(folder / name, len(os.fspath(root)) + 1)
            files |= images
            pictures += [Picture(it, path, split, label, root) for it, path in images.items()]
    _require_flat(folders["train"], names)
    return Source(files, lambda: (pictures, names or None), len(pictures))


def _class_folders(folders: dict[str, Path]) -> tuple[str, ...]:
    """Returns the names of the classes, which all splits have."""
    names = tuple(folder.name for folder in _subfolders(folders["train"]))
    if not names and any(folders["train"].glob("data-*.arrow")):
        raise UserError(
            f"{folders['train']} is a data set that `datasets` saved: set --data.path to "
            f"'{folders['train']}/data-*.arrow', or write its splits with `to_parquet` into files "
            "train.parquet and test.parquet"
        )
    if not names:
        raise UserError(
            f"{folders['train']} has no folders of classes: it needs {EXPECTED}; or set "
            "--data.labels none for images without classes"
        )
    for folder in folders.values():
        if wrong := sorted({path.name for path in _subfolders(folder)} ^ {*names}):
            raise UserError(
                f"{folder} and {folders['train']} have different classes, such as {wrong[0]!r}: "
                "all splits need the same sub-folders"
            )
    return names


def _split_folders(root: Path) -> dict[str, Path]:
    """Returns the folder of each split; only that of `train`, `root`, if it has other folders."""
    inside = _subfolders(root)
    splits = [SPLITS.get(folder.name.lower(), "") for folder in inside]
    if {"train", ""} < {*splits}:
        given, odd = " and ".join(sorted({*splits} - {""})), inside[splits.index("")].name
        raise UserError(f"{root} has the splits {given}, and {odd}, which is none: move it away")
    if "train" not in splits or "" in splits:
        return {"train": root}
    if len({*splits}) < len(splits):
        pairs = zip(inside, splits, strict=True)
        twice = " and ".join(folder.name for folder, split in pairs if splits.count(split) > 1)
        raise UserError(f"{root} has two folders for one split, {twice}: keep one of them")
    return dict(zip(splits, inside, strict=True))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _images(folder: Path, start: int) -> dict[str, Path]:
    """Returns the images in and below a folder by their names, which begin at letter `start`."""
    if images := {os.fspath(path)[start:]: path for path in find_images(folder)}:
        return images
    raise UserError(
        f"{folder} has no images: remove it, or put images ({' '.join(SUFFIXES)}) there"
    )


def _require_flat(train: Path, names: tuple[str, ...]) -> None:
    """Refuses a folder above the one that is meant, whose "classes" are no classes."""
    odd = [name for name in names if len(names) == 1 or name.lower() in SPLITS]
    for folder in (train / name for name in odd):
        if all(path.parent != folder for path in find_images(folder)):
            raise UserError(
                f"{folder} has no images but folders of images: set --data.path to a folder with "
                f"{EXPECTED}, and nothing else beside these"
            )
