"""The user's own images: a folder of image files, or arrays in one file."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from datamodules.base import InMemoryDataModule, Split, Splits, cut_validation
from datamodules.image_files import SUFFIXES, Fit, decode, find_images, list_files, read_arrays
from runtime.errors import UserError, printable
from runtime.ranges import Fraction, Positive, Seed

SPLITS = {  # by the names of folders, in small letters
    "train": "train", "training": "train", "val": "val", "validation": "val", "valid": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
Files = list[tuple[Path, int]]  # of images and their labels
DECIDE_TEST = ("content", "labels", "test_fraction", "split_seed")  # of an identity
DARK = 32  # of 255; if most images have no lighter pixel, their files use few of their levels
EXPECTED = "one sub-folder for each class, or train/ and test/ with such sub-folders"


class OwnImages(InMemoryDataModule):
    """Base class of data sets of images that the user brings: cuts the splits that are not given.

    A subclass implements `load_parts`.

    Args:
        path: The folder, or the file.
        val_fraction: Fraction of the training images for the validation split, if none is given;
            0: none.
        test_fraction: Fraction of the images for the test split, if none is given.
        split_seed: Decides which images are cut, independently of the run's seed.
        mirrors: The mirror image of each image is an equally valid image.
        balanced: Draw images of each class equally often in training.
        batch_size: Images per batch, summed over all processes.
    """

    not_in_identity = InMemoryDataModule.not_in_identity | {"path", "mirrors"}
    content: str | None = None  # SHA-256 of the images; `load_parts` sets it
    near_duplicates: bool = False  # stay in one split, like equal images
    cuts_test: bool = False  # from the training images; `load_splits` sets it

    def __init__(
        self,
        path: str,
        val_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.1,
        split_seed: Seed = 0,
        mirrors: bool = False,
        balanced: bool = False,
        batch_size: Positive = 64,
    ) -> None:
        super().__init__(batch_size, scale=255.0)
        self.path, self.mirrors = Path(path).expanduser(), mirrors
        self.balanced = balanced

    def load_parts(self) -> dict[str, Split]:
        """Reads `train` and, if they are given, `val` and `test`."""
        raise NotImplementedError

    def load_splits(self) -> Splits:
        parts = self.load_parts()
        if empty := [name for name, part in parts.items() if not len(part.targets)]:
            raise UserError(
                f"{self.hparams.get('path')} has no {empty[0]} images that can be read: add some, "
                "or remove these, and Ladder cuts splits from the images that remain"
            )
        train, val, test = parts["train"], parts.get("val"), parts.get("test")
        self.cuts_test = test is None
        self._warn_of_dark(train)
        if test is None:
            train, test = self._cut(train, "test_fraction")
        if test is None:
            raise UserError(
                "test_fraction is 0 and there are no test images: set --data.test_fraction to 0.1, "
                "or add test images"
            )
        if val is None:
            train, val = self._cut(train, "val_fraction")
        self._warn_of_missing(train)
        self._warn_of_duplicates(train, val, test)
        counts = {"training": train, "validation": val, "test": test}
        sizes = ", ".join(f"{len(part.targets):,} {name}" for name, part in counts.items() if part)
        classes = f" of {self.num_classes} classes" if self.num_classes else ""
        rank_zero_info(f"Images {' x '.join(map(str, self.input_shape))}{classes}: {sizes}.")
        return Splits(train, val, test)

    def _warn_of_dark(self, train: Split) -> None:
        dark = (train.inputs.flatten(1).amax(dim=1) < DARK).float().mean()
        if dark > 0.5:
            rank_zero_warn(
                f"{dark:.0%} of the training images in {self.hparams.get('path')} are nearly black "
                f"(no pixel reaches {DARK} of 255). If their files use few of the levels of 16 "
                "bits, scale them to all 16 bits."
            )

    def _warn_of_missing(self, train: Split) -> None:
        count = self.num_classes or 0
        names, found = self.class_names or [*map(str, range(count))], {*train.targets.tolist()}
        if missing := [name for k, name in enumerate(names) if k not in found]:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            rank_zero_warn(
                f"{len(missing)} of the {count} classes of {self.hparams.get('path')} have no "
                f"training images: {', '.join(missing[:3])}{more}. Give them images or remove "
                "them. Labels of arrays are 0, 1, 2, ... without gaps."
            )

    def _warn_of_duplicates(self, *splits: Split | None) -> None:
        groups = [duplicate_groups(part.inputs, self.near_duplicates) for part in splits if part]
        train, others = groups[0], np.concatenate(groups[1:])
        if copies := len(train) + len(others) - len({*train, *others}):
            rank_zero_warn(
                f"{copies:,} images in {self.hparams.get('path')} equal another one; a cut keeps "
                f"these together. {np.isin(others, train).sum():,} of the {len(others):,} "
                "validation and test images equal a training image: in given splits, remove these."
            )

    def _cut(self, train: Split, option: str) -> tuple[Split, Split | None]:
        """Cuts off a split, and keeps equal images on the same side."""
        fraction, seed = self.hparams[option], self.hparams["split_seed"]
        groups = duplicate_groups(train.inputs, self.near_duplicates)
        rows = torch.from_numpy(np.sort(np.unique(groups, return_index=True)[1]))
        different = Split(rows, train.targets[rows])
        cut = cut_validation(different, fraction, seed, option, self.class_names)[1]
        if cut is None:
            return train, None
        if len(rows) < len(groups):  # Earlier versions cut other splits from these images.
            self.content = f"{self.content} near_duplicates={self.near_duplicates}"
        is_cut = torch.from_numpy(np.isin(groups, groups[cut.inputs]))
        return train.take(~is_cut), train.take(is_cut)

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"content": self.content}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"path": self.hparams.get("path", "")}

    def check_test_split(self, state_dict: Mapping[str, Any]) -> None:
        here, trained = self.identity(), state_dict["identity"]
        path, other = self.hparams.get("path", ""), state_dict.get("path")
        same = all(here.get(key) == trained.get(key) for key in DECIDE_TEST)
        if self.cuts_test and not same and other is not None and _resolve(path) == _resolve(other):
            rank_zero_warn(
                f"The images of {path} have changed since the training, or the options that cut "
                "them into splits, so test images may be among those that the model learned from: "
                "keep test images in a folder test (in an .npz file, as test_images)."
            )


def _resolve(path: str) -> Path:
    return Path(path).expanduser().resolve()


def duplicate_groups(images: torch.Tensor, near: bool) -> np.ndarray:
    """Returns group numbers (N,) of images uint8 (N, C, H, W): equal images have the same number.

    With `near`, they are the same for equal average hashes: the levels of 8 x 8 parts of the image
    that are above their mean. That finds nine of ten copies of photographs as JPEG.
    """
    if near:
        levels = F.adaptive_avg_pool2d(images.mean(dim=1, dtype=torch.float32), 8).flatten(1)
        images = levels > levels.mean(dim=1, keepdim=True)
    return np.array([hash(image.tobytes()) for image in images.numpy()])


class ImageFolder(OwnImages):
    """Images (B, C, H, W) of files of any size, float32 in `[0, 1]`, and labels (B,).

    The folder has one sub-folder for each class, whose name is the class's name. It may instead
    have `train` (or `Training`), and optionally `val` and `test`, each with these sub-folders. The
    files are PNG, JPEG, BMP, WebP, TIFF, PPM or GIF (the first frame). They are decoded once, into
    memory and into `<path>/.ladder` for the next run.

    Args:
        path: The folder.
        size: Height and width in pixels: one number, or `[height, width]`.
        channels: 3 for colour, 1 for grey.
        fit: `crop` cuts off what does not fit, `pad` adds white edges, `stretch` changes the
            proportions.
        labels: `folders`, or `none` for images without classes, in and below the folder.
        near_duplicates: Treat copies in another size or format like equal images, which stay in one
            split. Plain drawings may be taken for copies.
        max_pixels: Limit for each file, because all of its pixels are decoded at once. Pillow has
            one of 178,956,970.
        skip_unreadable: Leave out files that cannot be read, with a warning.
        **own: As for `OwnImages`.
    """

    not_in_identity = OwnImages.not_in_identity | {"skip_unreadable"}

    def __init__(
        self,
        path: str,
        size: Positive | tuple[Positive, Positive] = 32,
        channels: Literal[1, 3] = 3,
        fit: Fit = "crop",
        labels: Literal["folders", "none"] = "folders",
        near_duplicates: bool = False,
        max_pixels: Positive = 2**26,
        skip_unreadable: bool = False,
        **own: Any,
    ) -> None:
        super().__init__(path, **own)
        height, width = (size, size) if isinstance(size, int) else size
        self.parts, self.class_names = find_parts(self.path, labelled=labels == "folders")
        self.files = [file for part in self.parts.values() for file, _ in part]
        self.image_shape = (channels, height, width)
        self.num_classes = len(self.class_names) if self.class_names else None
        self.title = self.path.resolve().name
        self.fit, self.skip_unreadable = fit, skip_unreadable
        self.near_duplicates, self.max_pixels = near_duplicates, max_pixels

    def load_parts(self) -> dict[str, Split]:
        assert self.image_shape is not None
        channels, height, width = self.image_shape
        images, sizes, failures, self.content = decode(
            self.path, self.files, (channels, height, width), self.fit, self.max_pixels
        )
        self._report_failures(failures)
        self._report_others()
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

    def _report_others(self) -> None:
        if others := sorted({*list_files(self.path)} - {*self.files}):
            other = printable(str(others[0].relative_to(self.path)))
            rank_zero_info(
                f"Files left out: {len(others)}, such as {other}. "
                f"Images end in {' '.join(SUFFIXES)} and lie in the folder of a class, if there "
                "are classes."
            )

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
    names = tuple(folder.name for folder in _subfolders(folders["train"]))
    if not names:
        raise UserError(
            f"{folders['train']} has no folders of classes: it needs {EXPECTED}; or set "
            "--data.labels none for images without classes"
        )
    parts: dict[str, Files] = {}
    for split, folder in folders.items():
        if wrong := sorted({path.name for path in _subfolders(folder)} ^ {*names}):
            raise UserError(
                f"{folder} and {folders['train']} have different classes, such as {wrong[0]!r}: "
                "all splits need the same sub-folders"
            )
        parts[split] = [p for k, name in enumerate(names) for p in _images(folder / name, k)]
    flat = {names[k] for file, k in parts["train"] if file.parent.parent == folders["train"]}
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


def _images(folder: Path, label: int) -> Files:
    if images := [(file, label) for file in find_images(folder)]:
        return images
    raise UserError(
        f"{folder} has no images: remove it, or put images ({' '.join(SUFFIXES)}) there"
    )


class ImageArrays(OwnImages):
    """Images (B, C, H, W), float32 in `[0, 1]`, and labels (B,) from an `.npz` file.

    The file has `images`, uint8 (N, H, W) or (N, H, W, C), and `labels` (N,), the classes 0, 1, ...
    Without `labels`, the images have no classes. With `train_images` and `train_labels`, and
    optionally those of `val` and `test`, the splits are given. This reads the `samples.npz` of
    `sample`.

    Args:
        path: The file.
        **own: As for `OwnImages`.
    """

    def __init__(self, path: str, **own: Any) -> None:
        super().__init__(path, **own)
        self.title = self.path.stem
        arrays = read_arrays(self.path)
        given = [name for name in Splits._fields if f"{name}_images" in arrays]
        prefixes = {name: f"{name}_" for name in ("train", *given)} if given else {"train": ""}
        self.labelled = any(name.endswith("labels") for name in arrays)
        try:
            self.parts = {name: self._part(arrays, start) for name, start in prefixes.items()}
        except KeyError as error:
            raise UserError(
                f"{self.path} has no array {error} but {', '.join(arrays)}: name the array so"
            ) from error
        channels, height, width = self.parts["train"].inputs.shape[1:]
        self.image_shape = channels, height, width
        if self.labelled:
            self.num_classes = 1 + max(int(part.targets.max()) for part in self.parts.values())

    def load_parts(self) -> dict[str, Split]:
        digest, parts = hashlib.sha256(), self.parts
        self.parts = {}  # The splits copy them.
        for part in parts.values():
            digest.update(part.inputs.numpy().tobytes() + part.targets.numpy().tobytes())
        self.content = digest.hexdigest()
        return parts

    def _part(self, arrays: dict[str, np.ndarray], prefix: str) -> Split:
        """Converts the arrays of these names; without labels, all images are of class 0."""
        images = arrays[f"{prefix}images"]
        images = images[..., None] if images.ndim == 3 else images
        right = images.ndim == 4 and len(images) and images.shape[3] in (1, 3)
        if images.dtype != np.uint8 or not right:
            raise UserError(
                f"{self.path}: {prefix}images is {images.dtype} of shape {images.shape}: images "
                "are uint8, N x H x W or N x H x W x C with 1 or 3 channels, and N at least 1"
            )
        pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        if not self.labelled:
            return Split(pixels, torch.zeros(len(pixels), dtype=torch.int64))
        labels = arrays[f"{prefix}labels"]
        right = labels.dtype.kind in "iu" and labels.size == len(pixels)
        if not right or labels.min() < 0 or labels.max() >= 2**16:
            raise UserError(
                f"{self.path}: {prefix}labels is {labels.dtype} of shape {labels.shape}: give each "
                f"of the {len(pixels)} images one integer from 0 to 65,535"
            )
        return Split(pixels, torch.from_numpy(labels.astype(np.int64).reshape(-1)))
