"""The user's own images: a folder of image files, or arrays in one file."""

import difflib
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor

from datamodules.base import InMemoryDataModule, Split, Splits, cut_validation
from datamodules.image_files import SUFFIXES, Decoded, Fit, count_channels, decode, find_images
from runtime.errors import UserError
from runtime.ranges import Positive, PositiveFloat, Seed, Share

SPLITS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
EXPECTED = "one sub-folder for each class, or train/ and test/ with such sub-folders"


class OwnImages(InMemoryDataModule):
    """Base class of data sets of images that the user brings: cuts the splits that are not given.

    A subclass implements `load_parts` and has the arguments `val_fraction`, `test_fraction` and
    `split_seed`.
    """

    not_in_identity = InMemoryDataModule.not_in_identity | {"path", "mirrors"}
    content: str | None = None  # SHA-256 of the images; `load_parts` sets it
    source: str = ""  # of the images, in words for the report; `load_parts` sets it

    def load_parts(self) -> dict[str, Split]:
        """Reads `train` and, if they are given, `val` and `test`."""
        raise NotImplementedError

    def load_splits(self) -> Splits:
        parts = self.load_parts()
        train, val, test = parts["train"], parts.get("val"), parts.get("test")
        if test is None:
            train, test = self._cut(train, "test_fraction")
        if test is None:
            raise UserError(
                "test_fraction is 0 and there are no test images: set --data.test_fraction to 0.1, "
                "or add test images"
            )
        if val is None:
            train, val = self._cut(train, "val_fraction")
        splits = Splits(train, val, test)
        self._warn_of_copies(splits)
        self._report(splits)
        return splits

    def _cut(self, train: Split, option: str) -> tuple[Split, Split | None]:
        fraction, seed = self.hparams[option], self.hparams["split_seed"]
        return cut_validation(train, fraction, seed, option, self.class_names)

    def _warn_of_copies(self, splits: Splits) -> None:
        """Names splits that share images, whose scores would be better than deserved."""
        known = {image.numpy().tobytes() for image in splits.train.inputs}
        for name, split in (("validation", splits.val), ("test", splits.test)):
            images = [image.numpy().tobytes() for image in split.inputs] if split else []
            if copies := sum(image in known for image in images):
                rank_zero_warn(
                    f"{copies} of {len(images)} {name} images are also training images, pixel by "
                    "pixel: remove duplicates, or scores are better than they should be."
                )

    def _report(self, splits: Splits) -> None:
        counts = {"training": splits.train, "validation": splits.val, "test": splits.test}
        sizes = ", ".join(f"{len(s.targets):,} {name}" for name, s in counts.items() if s)
        classes = f" of {self.num_classes} classes" if self.num_classes else ""
        shape = " x ".join(map(str, self.input_shape))
        rank_zero_info(f"Images {shape}{classes}: {sizes}; {self.source}.")

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"content": self.content}


class ImageFolder(OwnImages):
    """Images (B, C, H, W) of files of any size, float32 in `[0, 255 / scale]`, and labels (B,).

    The folder has one sub-folder for each class, whose name is the class's name. It may instead
    have `train`, and optionally `val` and `test`, each with these sub-folders. The files are PNG,
    JPEG, BMP, WebP, TIFF, PPM or GIF (the first frame). They are decoded once, into memory and into
    a cache beside them.

    Args:
        path: The folder.
        size: Height and width in pixels: one number, or `[height, width]`.
        channels: 3 for colour, 1 for grey; None: 3 if a file is in colour, otherwise 1.
        fit: `crop` cuts off what does not fit, `pad` adds white edges, `stretch` changes the
            proportions.
        labels: `folders`, or `none` for images without classes, in and below the folder.
        val_fraction: Share of the training images that becomes the validation split, unless there
            is a folder `val`; 0: none.
        test_fraction: Share of the images that becomes the test split, unless there is a folder
            `test`.
        split_seed: Decides which images are cut, independently of the run's seed.
        skip_unreadable: Leave out files that cannot be read, with a warning.
        mirrors: The mirror image of each image is an equally valid image.
        batch_size: Images per batch, summed over all processes.
        scale: Divisor of the pixels 0..255.
        cache: Keep decoded images in `<path>/.ladder` or the user's cache folder for the next run.
    """

    not_in_identity = OwnImages.not_in_identity | {"skip_unreadable", "cache"}

    def __init__(
        self,
        path: str,
        size: Positive | tuple[Positive, Positive] = 32,
        channels: Literal[1, 3] | None = 3,
        fit: Fit = "crop",
        labels: Literal["folders", "none"] = "folders",
        val_fraction: Share = 0.1,
        test_fraction: Share = 0.1,
        split_seed: Seed = 0,
        skip_unreadable: bool = False,
        mirrors: bool = False,
        batch_size: Positive = 64,
        scale: PositiveFloat = 255.0,
        cache: bool = True,
    ) -> None:
        super().__init__(batch_size, scale)
        height, width = (size, size) if isinstance(size, int) else size
        self.root = Path(path).expanduser()
        self.parts, self.class_names = find_parts(self.root, labelled=labels == "folders")
        self.files = [file for part in self.parts.values() for file in part.files]
        self.image_shape = (channels or count_channels(self.files), height, width)
        self.num_classes = len(self.class_names) if self.class_names else None
        self.title = self.root.resolve().name
        self.fit, self.skip_unreadable, self.cache = fit, skip_unreadable, cache
        self.mirrors = mirrors
        self._decoded: Decoded | None = None

    def prepare_data(self) -> None:
        """Decodes in one process of each machine; the others then find the cache."""
        self._decode()

    def _decode(self) -> Decoded:
        assert self.image_shape is not None
        if self._decoded is None:
            self._decoded = decode(self.root, self.files, self.image_shape, self.fit, self.cache)
        return self._decoded

    def load_parts(self) -> dict[str, Split]:
        images, sizes, failures, self.content, self.source = self._decode()
        self._decoded = None  # The splits copy it.
        self._report_failures(failures)
        if self.fit == "crop":
            self._warn_of_crops(sizes)
        parts, first = {}, 0
        for name, part in self.parts.items():
            rows = range(first, first + len(part.files))
            first = rows.stop
            split = Split(images[rows.start : rows.stop], torch.tensor(part.targets))
            read = [k for k, i in enumerate(rows) if i not in failures]
            parts[name] = split.take(torch.tensor(read, dtype=torch.int64))
        return parts

    def _report_failures(self, failures: dict[int, str]) -> None:
        if not failures:
            return
        listed = [f"{self.files[i]} ({reason})" for i, reason in failures.items()]
        more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
        problem = f"{len(listed)} image(s) cannot be read: {', '.join(listed[:3])}{more}"
        if not self.skip_unreadable:
            raise UserError(
                f"{problem}: replace them, or set --data.skip_unreadable true to leave them out"
            )
        rank_zero_warn(f"{problem}. They are left out.")

    def _warn_of_crops(self, sizes: np.ndarray) -> None:
        """Warns if `crop` cuts a third or more off the longer side of images, int64 (N, 2)."""
        _, height, width = self.input_shape
        longer, shorter = sizes.max(axis=1), sizes.min(axis=1)
        wide = sizes[:, 0] >= sizes[:, 1]
        # Kept part of the longer side: as long as the shorter side and the new proportions allow.
        kept = shorter * np.where(wide, width / height, height / width)
        cut = np.flatnonzero(longer - kept >= longer / 3 - 1e-6 * longer)
        cut = cut[longer[cut] > 0]  # without unreadable files
        if len(cut):
            rank_zero_warn(
                f"fit crop cuts off a third or more of the longer side of {len(cut)} of "
                f"{len(sizes)} images ({len(cut) / len(sizes):.0%}), such as {self.files[cut[0]]}: "
                "to keep all of each image, set --data.fit to pad or stretch."
            )


class Part(NamedTuple):
    """The image files of one split and their classes; classes are 0 if images have none."""

    files: list[Path]
    targets: list[int]


def find_parts(root: Path, labelled: bool) -> tuple[dict[str, Part], tuple[str, ...] | None]:
    """Lists the images in a folder, without reading them; `labelled`: sub-folders are classes.

    Returns the part `train` and, if they have folders, `val` and `test`, and the names of classes.
    """
    if not root.is_dir():
        parent = root.absolute().parent
        siblings = [path.name for path in _subfolders(parent)] if parent.is_dir() else []
        near = difflib.get_close_matches(root.name, siblings, n=1)
        question = f". Did you mean {parent / near[0]}?" if near else ""
        raise UserError(
            f"there is no folder {root}: set --data.path to a folder with {EXPECTED}{question}"
        )
    folders = _split_folders(root)
    if not labelled:
        found = {name: _images(folder) for name, folder in folders.items()}
        return {name: Part(files, [0] * len(files)) for name, files in found.items()}, None
    names = tuple(path.name for path in _subfolders(folders["train"]))
    parts: dict[str, Part] = {}
    for split, folder in folders.items():
        own = [path.name for path in _subfolders(folder)]
        if not own:
            raise UserError(
                f"{folder} has no folders of classes: it needs {EXPECTED}; or set --data.labels "
                "none for images without classes"
            )
        for wrong in sorted({*own} ^ {*names}):
            has, lacks = (folder, folders["train"]) if wrong in own else (folders["train"], folder)
            raise UserError(
                f"{has} has the class {wrong!r} and {lacks} has not: all splits need the same "
                "sub-folders"
            )
        pairs = [(file, k) for k, name in enumerate(names) for file in _images(folder / name)]
        parts[split] = Part([file for file, _ in pairs], [k for _, k in pairs])
    return parts, names


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _split_folders(root: Path) -> dict[str, Path]:
    """Returns the folder of each split by its name; the root alone if it has none."""
    folders = _subfolders(root)
    splits = [folder for folder in folders if folder.name in SPLITS]
    if root / "train" not in splits or (len(splits) == 1 < len(folders)):
        return {"train": root}
    if other := [folder.name for folder in folders if folder not in splits]:
        names = ", ".join(f"{folder.name}/" for folder in splits)
        raise UserError(
            f"{root} has {names} and also {other[0]}/: keep either splits or classes there"
        )
    return {SPLITS[folder.name]: folder for folder in splits}


def _images(folder: Path) -> list[Path]:
    if images := list(find_images(folder)):
        return images
    raise UserError(
        f"{folder} has no images: remove it, or put images ({' '.join(SUFFIXES)}) there"
    )


class ImageArrays(OwnImages):
    """Images (B, C, H, W), float32 in `[0, 255 / scale]`, and labels (B,) from `.npz` or `.npy`.

    An `.npz` has `images`, uint8 (N, H, W) or (N, H, W, C), and `labels`, integers (N,). With
    `train_images` and `train_labels`, and optionally those of `val` and `test`, the splits are
    given. Floating-point images in 0..1 become uint8. This reads the `samples.npz` of `sample`.

    Args:
        path: The file. An `.npy` has the images alone.
        labels: An `.npy` file of the labels, or `none` for images without classes; None: in `path`.
        class_names: Names of the classes 0, 1, ...
        val_fraction: Share of the training images that becomes the validation split, if none is
            given; 0: none.
        test_fraction: Share of the images that becomes the test split, if none is given.
        split_seed: Decides which images are cut, independently of the run's seed.
        mirrors: The mirror image of each image is an equally valid image.
        batch_size: Images per batch, summed over all processes.
        scale: Divisor of the pixels 0..255.
    """

    not_in_identity = OwnImages.not_in_identity | {"labels", "class_names"}

    def __init__(
        self,
        path: str,
        labels: str | None = None,
        class_names: list[str] | None = None,
        val_fraction: Share = 0.1,
        test_fraction: Share = 0.1,
        split_seed: Seed = 0,
        mirrors: bool = False,
        batch_size: Positive = 64,
        scale: PositiveFloat = 255.0,
    ) -> None:
        super().__init__(batch_size, scale)
        self.file, self.labels = Path(path).expanduser(), labels
        self.mirrors, self.title = mirrors, self.file.stem
        self.class_names = tuple(class_names) if class_names else None
        self.parts = self._read_parts()
        shapes = sorted({tuple(part.inputs.shape[1:]) for part in self.parts.values()})
        if len(shapes) > 1:
            raise UserError(
                f"{self.file} has images of shapes {', '.join(map(str, shapes))} (C, H, W) in its "
                "splits: give all the same shape"
            )
        channels, height, width = shapes[0]
        self.image_shape = channels, height, width
        self.num_classes = None if labels == "none" else self._count_classes()

    def load_parts(self) -> dict[str, Split]:
        digest, parts = hashlib.sha256(), self.parts
        self.parts = {}  # The splits copy them.
        for part in parts.values():
            digest.update(part.inputs.numpy().tobytes() + part.targets.numpy().tobytes())
        self.content, self.source = digest.hexdigest(), f"read from {self.file}"
        return parts

    def _read_parts(self) -> dict[str, Split]:
        arrays = _load(self.file, "path")
        starts = {"train": ""}
        if "train_images" in arrays:
            starts = {name: f"{name}_" for name in Splits._fields if f"{name}_images" in arrays}
        parts = {}
        for name, start in starts.items():
            self._require(arrays, f"{start}images", "name the array of images so")
            images = _pixels(arrays[f"{start}images"], f"{self.file}: {start}images")
            parts[name] = Split(images, self._labels(arrays, f"{start}labels", len(images)))
        return parts

    def _require(self, arrays: Mapping[str, np.ndarray], name: str, remedy: str) -> None:
        if name not in arrays:
            found = ", ".join(arrays) or "nothing"
            raise UserError(f"{self.file} has no {name!r} but {found}: {remedy}")

    def _labels(self, arrays: Mapping[str, np.ndarray], name: str, count: int) -> Tensor:
        if self.labels == "none":
            return torch.zeros(count, dtype=torch.int64)
        where = f"{self.file}: {name}"
        if self.labels is not None:
            where = self.labels
            arrays = {name: next(iter(_load(Path(self.labels).expanduser(), "labels").values()))}
        self._require(arrays, name, "add them, or set --data.labels to their .npy file, or to none")
        labels = arrays[name]
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1 or labels.dtype.kind not in "iub":
            raise UserError(
                f"{where} has shape {labels.shape} of {labels.dtype}: labels are integers (N,)"
            )
        if len(labels) != count:
            raise UserError(
                f"{where} has {len(labels)} labels for {count} images: give each image one label"
            )
        return torch.from_numpy(labels.astype(np.int64))

    def _count_classes(self) -> int:
        found = torch.cat([part.targets for part in self.parts.values()]).unique().tolist()
        if self.class_names:
            count = len(self.class_names)
            good = 0 <= found[0] <= found[-1] < count
            remedy = f"give as many --data.class_names as classes, not {count}"
        else:
            count = found[-1] + 1
            good = self.parts["train"].targets.unique().tolist() == [*range(count)]
            remedy = (
                "number the classes of the training images 0, 1, ... without gaps, or name all "
                "classes with --data.class_names"
            )
        if not good:
            listed = ", ".join(map(str, found[:12])) + (", ..." if len(found) > 12 else "")
            raise UserError(f"{self.file} has the labels {listed}: {remedy}")
        return count


def _load(file: Path, option: str) -> dict[str, np.ndarray]:
    """Reads all arrays of an `.npz`, or the array `images` of an `.npy`."""
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"images": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise UserError(
            f"there is no file {file}: set --data.{option} to an .npz or .npy file"
        ) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or "not a whole file of numbers"
        raise UserError(
            f"{file} cannot be read as numpy arrays ({reason}): write it with np.savez of arrays "
            "of numbers"
        ) from error


def _pixels(array: np.ndarray, where: str) -> Tensor:
    """Converts images (N, H, W) or (N, H, W, C) to uint8 (N, C, H, W)."""
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[3] not in (1, 3) or 0 in array.shape:
        raise UserError(
            f"{where} has shape {array.shape}: images are N x H x W or N x H x W x C with 1 or 3 "
            "channels, which come last"
        )
    if array.dtype.kind not in "fiub":
        raise UserError(f"{where} has values of {array.dtype}: use uint8")
    kind, limit = ("floating-point", 1) if array.dtype.kind == "f" else ("integer", 255)
    low, high = array.min(), array.max()
    if not 0 <= low <= high <= limit:  # also if NaN
        raise UserError(
            f"{where} has values from {low:g} to {high:g}: {kind} images are in 0..{limit}"
        )
    if limit == 1:
        array = (array * np.float32(255)).round()
    pixels = np.ascontiguousarray(array.astype(np.uint8).transpose(0, 3, 1, 2))
    return torch.from_numpy(pixels)
