"""The user's own images: a folder of image files, or arrays in one file."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from datamodules.base import ArrayDataModule, Split, Splits, cut_validation
from datamodules.data_module import hashes_of
from datamodules.folders import find_in_folder
from datamodules.formats import find_in_files, is_address, is_no_folder
from datamodules.image_files import SUFFIXES, Fit, list_files, read_arrays
from datamodules.store import Store, StoredImages
from runtime.errors import UserError, printable
from runtime.ranges import Fraction, Positive, Seed

DARK = 32  # of 255; if most images have no lighter pixel, their files use few of their levels


class OwnImages(ArrayDataModule):
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

    removed_options: ClassVar = {"keep": "auto", "block": 0, "near_duplicates": False}
    not_in_identity = ArrayDataModule.not_in_identity | {"path", "mirrors"}
    content: str | None = None  # SHA-256 of the images; `load_parts` sets it

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
        if len(train.targets) < len(parts["train"].targets):
            self.content = f"{self.content} cut by content"  # Earlier versions cut by names.
        self._warn_of_missing(train)
        self._warn_of_duplicates(parts, train, val, test)
        counts = {"training": train, "validation": val, "test": test}
        sizes = ", ".join(f"{len(part.targets):,} {name}" for name, part in counts.items() if part)
        classes = f" of {self.num_classes} classes" if self.num_classes else ""
        rank_zero_info(f"Images {' x '.join(map(str, self.input_shape))}{classes}: {sizes}.")
        return Splits(train, val, test)

    def _warn_of_dark(self, train: Split) -> None:
        images = train.inputs
        stored = isinstance(images, StoredImages)
        lightest = images.facts["lightest"] if stored else images.flatten(1).amax(dim=1).numpy()
        dark = (lightest < DARK).mean()
        if dark > 0.5:
            rank_zero_warn(
                f"{dark:.0%} of the training images in {self.hparams.get('path')} are nearly black "
                f"(no pixel reaches {DARK} of 255). If their files use few of the levels of 16 "
                "bits, scale them to all 16 bits."
            )

    def _warn_of_missing(self, train: Split) -> None:
        count = self.num_classes or 0
        names, present = self.class_names or [*map(str, range(count))], {*train.targets.tolist()}
        if missing := [name for k, name in enumerate(names) if k not in present]:
            shown = self._shown("Classes without training images", missing)
            rank_zero_warn(
                f"{len(missing)} of the {count} classes of {self.hparams.get('path')} have no "
                f"training images: {shown}. Give them images or remove them. "
                "Labels of arrays are 0, 1, 2, ... without gaps."
            )

    def _shown(self, kind: str, names: Sequence[str]) -> str:
        """Returns the first names as text, and keeps all for the run's folder."""
        self.lists[kind] = [*map(printable, names)]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return ", ".join(self.lists[kind][:3]) + more

    def _equal(self, parts: dict[str, Split]) -> list[str]:
        """Returns the names of images that equal an earlier one, and that one's."""
        first, pairs = dict[int, str](), list[str]()
        for part, (images, _) in parts.items():
            names = [f"{part}[{row}]" for row in range(len(images))]
            if isinstance(images, StoredImages):
                names = [images.about["names"][row] for row in images.numbers.tolist()]
            for name, number in zip(names, hashes_of(parts[part]).tolist(), strict=True):
                if (other := first.setdefault(number, name)) != name:
                    pairs.append(f"{name} = {other}")
        return pairs

    def _warn_of_duplicates(self, parts: dict[str, Split], *splits: Split | None) -> None:
        groups = [hashes_of(part) for part in splits if part]
        train, others = groups[0], np.concatenate(groups[1:])
        if copies := len(train) + len(others) - len({*train, *others}):
            leaked = np.isin(others, train).sum()
            rank_zero_warn(
                f"{copies:,} images in {self.hparams.get('path')} equal another one, "
                + (
                    f"and {leaked:,} of the {len(others):,} validation and test images equal a "
                    "training image, so their scores are too good. Remove these."
                    if leaked
                    else "but no validation or test image equals a training image."
                )
                + f" {self._shown('Equal images', self._equal(parts))}."
            )

    def _cut(self, train: Split, option: str) -> tuple[Split, Split | None]:
        """Cuts off a split by the images alone, whatever the order of their files and classes.

        Equal images stay on the same side, in one class if they are in several.
        """
        fraction, seed = self.hparams[option], self.hparams["split_seed"]
        groups = hashes_of(train)
        present, labels = np.unique(train.targets.numpy(), return_inverse=True)
        images = [np.sort(groups[labels == k]).tobytes() for k in range(len(present))]
        classes = sorted(range(len(present)), key=images.__getitem__)
        labels = np.argsort(classes)[labels]
        order = np.lexsort((labels, groups))
        rows = torch.from_numpy(order[np.unique(groups[order], return_index=True)[1]])
        names = [self.class_names[k] if self.class_names else str(k) for k in present[classes]]
        different = Split(rows, torch.from_numpy(labels)[rows])
        cut = cut_validation(different, fraction, seed, option, names)[1]
        if cut is None:
            return train, None
        is_cut = torch.from_numpy(np.isin(groups, groups[cut.inputs.numpy()]))
        return train.take(~is_cut), train.take(is_cut)

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"content": self.content}


class ImageFolder(OwnImages):
    """Images (B, C, H, W) of files of any size, float32 in `[0, 1]`, and labels (B,).

    The folder has one sub-folder for each class, whose name is the class's name. It may instead
    have `train` (or `Training`), and optionally `val` and `test`, each with these sub-folders. The
    files are PNG, JPEG, BMP, WebP, TIFF, PPM or GIF (the first frame). They may also be in tars,
    with a class's number or name in a file `.cls` beside each image (WebDataset), or in tables
    (Parquet, Arrow, CSV) with columns `image` and `label`. Names of such files may begin with the
    name of a split. Images are decoded once, into the cache: see `python cli.py cache`.

    Args:
        path: The folder, a tar or table, a pattern such as `images-{000..099}.tar`, or an address
            such as `s3://bucket/images.parquet` or `hf://datasets/OWNER/NAME`.
        size: Height and width in pixels: one number, or `[height, width]`.
        channels: 3 for color, 1 for gray.
        fit: `crop` cuts off what does not fit, `pad` adds white edges, `stretch` changes the
            proportions.
        labels: `folders`, or `none` for images without classes, in and below the folder.
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
        max_pixels: Positive = 2**26,
        skip_unreadable: bool = False,
        **own: Any,
    ) -> None:
        super().__init__(path, **own)
        height, width = (size, size) if isinstance(size, int) else size
        self.image_shape = (channels, height, width)
        self.fit, self.skip_unreadable = fit, skip_unreadable
        path, labeled = str(path), labels == "folders"
        if is_address(path):
            self.title = path.rpartition("/")[2]
        else:
            path = str(self.path.resolve())
            self.title = self.path.resolve().name
        self._store = Store(path, self.image_shape, fit, max_pixels, labeled)
        if is_no_folder(path):
            self.source = find_in_files(path, labeled, max_pixels)
            names = self._stored.about["class_names"]
        else:
            self.source = find_in_folder(self.path, labeled)
            names = self.source.open()[1]
        self.class_names = tuple(map(printable, names)) if names else None
        self.num_classes = len(names) if names else None

    @cached_property
    def _stored(self) -> StoredImages:
        return self._store.load(self.source)

    def load_parts(self) -> dict[str, Split]:
        images = self._stored
        self.content = images.about["content"]
        self._report_failures(images.about["failures"])
        self._report_others()
        if self.fit == "crop":
            self._warn_of_crops(images.facts["size"].astype(np.int64))
        readable, parts = images.facts["size"].all(axis=1), {}
        for number, name in enumerate(Splits._fields):
            inside = images.facts["split"] == number
            if inside.any():
                rows = torch.from_numpy(np.flatnonzero(inside & readable))
                labels = torch.from_numpy(images.facts["label"].astype(np.int64))
                parts[name] = Split(images, labels).take(rows)
        return parts

    def _report_failures(self, failures: list[str]) -> None:
        if not failures:
            return
        problem = (
            f"{len(failures)} image(s) of {self.hparams.get('path')} cannot be read: "
            f"{self._shown('Unreadable images', failures)}"
        )
        if not self.skip_unreadable:
            raise UserError(
                f"{problem}: replace them, or set --data.skip_unreadable true to leave them out"
            )
        rank_zero_warn(f"{problem}. They are left out.")

    def _report_others(self) -> None:
        if not self.path.is_dir():
            return
        if others := sorted({*list_files(self.path)} - {*self.source.files.values()}):
            names = [str(other.relative_to(self.path)) for other in others]
            rank_zero_info(
                f"Files left out: {len(others)}, such as {self._shown('Files left out', names)}. "
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
            first = printable(self._stored.about["names"][cut[0]])
            rank_zero_warn(
                f"fit crop cuts off a third or more of {len(cut)} of {len(sizes)} images "
                f"({len(cut) / len(sizes):.0%}), such as {first}: to keep all of "
                "each image, set --data.fit to pad or stretch."
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
        self.labeled = any(name.endswith("labels") for name in arrays)
        try:
            self.parts = {name: self._part(arrays, start) for name, start in prefixes.items()}
        except KeyError as error:
            raise UserError(
                f"{self.path} has no array {error} but {', '.join(arrays)}: name the array so"
            ) from error
        channels, height, width = self.parts["train"].inputs.shape[1:]
        self.image_shape = channels, height, width
        if self.labeled:
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
        if not self.labeled:
            return Split(pixels, torch.zeros(len(pixels), dtype=torch.int64))
        labels = arrays[f"{prefix}labels"]
        right = labels.dtype.kind in "iu" and labels.size == len(pixels)
        if not right or labels.min() < 0 or labels.max() >= 2**16:
            raise UserError(
                f"{self.path}: {prefix}labels is {labels.dtype} of shape {labels.shape}: give each "
                f"of the {len(pixels)} images one integer from 0 to 65,535"
            )
        return Split(pixels, torch.from_numpy(labels.astype(np.int64).reshape(-1)))
