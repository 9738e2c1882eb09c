"""The user's own images: a folder of image files, or arrays in one file."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor

from datamodules.base import InMemoryDataModule, Split, Splits, cut_validation
from datamodules.image_files import SUFFIXES, Decoded, Fit, decode, find_images
from runtime.errors import UserError
from runtime.ranges import Positive, Seed, Share

SPLITS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
Files = list[tuple[Path, int]]  # of images and their labels
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
    """Images (B, C, H, W) of files of any size, float32 in `[0, 1]`, and labels (B,).

    The folder has one sub-folder for each class, whose name is the class's name. It may instead
    have `train`, and optionally `val` and `test`, each with these sub-folders. The files are PNG,
    JPEG, BMP, WebP, TIFF, PPM or GIF (the first frame). They are decoded once, into memory and into
    a cache beside them.

    Args:
        path: The folder.
        size: Height and width in pixels: one number, or `[height, width]`.
        channels: 3 for colour, 1 for grey.
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
        cache: Keep decoded images in `<path>/.ladder` for the next run.
    """

    not_in_identity = OwnImages.not_in_identity | {"skip_unreadable", "cache"}

    def __init__(
        self,
        path: str,
        size: Positive | tuple[Positive, Positive] = 32,
        channels: Literal[1, 3] = 3,
        fit: Fit = "crop",
        labels: Literal["folders", "none"] = "folders",
        val_fraction: Share = 0.1,
        test_fraction: Share = 0.1,
        split_seed: Seed = 0,
        skip_unreadable: bool = False,
        mirrors: bool = False,
        batch_size: Positive = 64,
        cache: bool = True,
    ) -> None:
        super().__init__(batch_size, scale=255.0)
        height, width = (size, size) if isinstance(size, int) else size
        self.root = Path(path).expanduser()
        self.parts, self.class_names = find_parts(self.root, labelled=labels == "folders")
        self.files = [file for part in self.parts.values() for file, _ in part]
        self.image_shape = (channels, height, width)
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
        counts = [len(part) for part in self.parts.values()]
        readable = torch.tensor([i not in failures for i in range(len(images))])
        pieces = zip(self.parts.items(), images.split(counts), readable.split(counts), strict=True)
        return {
            name: Split(pixels[good], torch.tensor([label for _, label in part])[good])
            for (name, part), pixels, good in pieces
        }

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
        """Warns if `crop` cuts off a third or more of images of some width and height (N, 2)."""
        _, height, width = self.input_shape
        with np.errstate(invalid="ignore"):  # Unreadable files have the size 0.
            ratio = (sizes[:, 0] * height) / (sizes[:, 1] * width)
        cut = np.flatnonzero(np.maximum(ratio, 1 / ratio) >= 1.5)
        if len(cut):
            rank_zero_warn(
                f"fit crop cuts off a third or more of {len(cut)} of {len(sizes)} images "
                f"({len(cut) / len(sizes):.0%}), such as {self.files[cut[0]]}: to keep all of each "
                "image, set --data.fit to pad or stretch."
            )


def find_parts(root: Path, labelled: bool) -> tuple[dict[str, Files], tuple[str, ...] | None]:
    """Lists the images in a folder, without reading them; `labelled`: sub-folders are classes.

    Returns the part `train` and, if they have folders, `val` and `test`, and the names of classes.
    Without classes, all images are of class 0.
    """
    if not root.is_dir():
        raise UserError(f"there is no folder {root}: set --data.path to a folder with {EXPECTED}")
    folders = _split_folders(root)
    if not labelled:
        return {name: _images(folder, 0) for name, folder in folders.items()}, None
    names = tuple(path.name for path in _subfolders(folders["train"]))
    parts: dict[str, Files] = {}
    for split, folder in folders.items():
        own = [path.name for path in _subfolders(folder)]
        if not own:
            raise UserError(
                f"{folder} has no folders of classes: it needs {EXPECTED}; or set --data.labels "
                "none for images without classes"
            )
        if wrong := sorted({*own} ^ {*names}):
            raise UserError(
                f"{folder} and {folders['train']} have different classes, such as {wrong[0]!r}: "
                "all splits need the same sub-folders"
            )
        parts[split] = [p for k, name in enumerate(names) for p in _images(folder / name, k)]
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


def _images(folder: Path, label: int) -> Files:
    if images := [(file, label) for file in find_images(folder)]:
        return images
    raise UserError(
        f"{folder} has no images: remove it, or put images ({' '.join(SUFFIXES)}) there"
    )


class ImageArrays(OwnImages):
    """Images (B, C, H, W), float32 in `[0, 1]`, and labels (B,) from an `.npz` file.

    The file has `images`, uint8 (N, H, W) or (N, H, W, C), and `labels`, integers (N,). Without
    `labels`, as in an `.npy` file of the images alone, the images have no classes. With
    `train_images` and `train_labels`, and optionally those of `val` and `test`, the splits are
    given. Floating-point images in 0..1 become uint8. This reads the `samples.npz` of `sample`.

    Args:
        path: The file.
        class_names: Names of the classes 0, 1, ...
        val_fraction: Share of the training images that becomes the validation split, if none is
            given; 0: none.
        test_fraction: Share of the images that becomes the test split, if none is given.
        split_seed: Decides which images are cut, independently of the run's seed.
        mirrors: The mirror image of each image is an equally valid image.
        batch_size: Images per batch, summed over all processes.
    """

    not_in_identity = OwnImages.not_in_identity | {"class_names"}

    def __init__(
        self,
        path: str,
        class_names: list[str] | None = None,
        val_fraction: Share = 0.1,
        test_fraction: Share = 0.1,
        split_seed: Seed = 0,
        mirrors: bool = False,
        batch_size: Positive = 64,
    ) -> None:
        super().__init__(batch_size, scale=255.0)
        self.file, self.mirrors = Path(path).expanduser(), mirrors
        self.title = self.file.stem
        self.class_names = tuple(class_names) if class_names else None
        arrays = _load(self.file)
        given = [name for name in Splits._fields if f"{name}_images" in arrays]
        starts = {name: f"{name}_" for name in given} if "train" in given else {"train": ""}
        labelled = f"{starts['train']}labels" in arrays
        self.parts = {
            name: self._part(arrays, f"{start}images", f"{start}labels" if labelled else None)
            for name, start in starts.items()
        }
        channels, height, width = self.parts["train"].inputs.shape[1:]
        self.image_shape = channels, height, width
        if labelled:
            self.num_classes = self._count_classes()

    def load_parts(self) -> dict[str, Split]:
        digest, parts = hashlib.sha256(), self.parts
        self.parts = {}  # The splits copy them.
        for part in parts.values():
            digest.update(part.inputs.numpy().tobytes() + part.targets.numpy().tobytes())
        self.content, self.source = digest.hexdigest(), f"read from {self.file}"
        return parts

    def _part(self, arrays: dict[str, np.ndarray], images: str, labels: str | None) -> Split:
        """Converts the arrays of these names; without labels, all are of class 0."""
        for name in filter(None, (images, labels)):
            if name not in arrays:
                found = ", ".join(arrays) or "nothing"
                raise UserError(f"{self.file} has no {name!r} but {found}: name the array so")
        pixels = _pixels(arrays[images], f"{self.file}: {images}")
        if labels is None:
            return Split(pixels, torch.zeros(len(pixels), dtype=torch.int64))
        classes = arrays[labels]
        if classes.dtype.kind not in "iub" or classes.shape not in (
            (len(pixels),),
            (len(pixels), 1),
        ):
            raise UserError(
                f"{self.file}: {labels} has shape {classes.shape} of {classes.dtype}: give each of "
                f"the {len(pixels)} images one integer"
            )
        return Split(pixels, torch.from_numpy(classes.astype(np.int64).reshape(-1)))

    def _count_classes(self) -> int:
        found = torch.cat([part.targets for part in self.parts.values()]).unique().tolist()
        seen = self.parts["train"].targets.unique().tolist()
        count = len(self.class_names or seen)
        if found[0] < 0 or found[-1] >= count:
            raise UserError(
                f"{self.file} has labels from {found[0]} to {found[-1]} for {count} classes: "
                "number the classes of the training images 0, 1, ... without gaps, or name all "
                "classes with --data.class_names"
            )
        return count


def _load(file: Path) -> dict[str, np.ndarray]:
    """Reads all arrays of an `.npz`, or the images of an `.npy`."""
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"images": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or "not a whole file of numbers"
        raise UserError(
            f"{file} cannot be read as numpy arrays ({reason}): set --data.path to a file that "
            "np.savez has written"
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
    kind = array.dtype.kind
    limit = 1 if kind == "f" else 255
    if kind not in "fiub" or not 0 <= array.min() <= array.max() <= limit:  # also if NaN
        raise UserError(
            f"{where} has values of {array.dtype} outside 0..{limit}: give uint8, or "
            "floating-point numbers in 0..1"
        )
    if limit == 1:
        array = (array * np.float32(255)).round()
    pixels = np.ascontiguousarray(array.astype(np.uint8).transpose(0, 3, 1, 2))
    return torch.from_numpy(pixels)
