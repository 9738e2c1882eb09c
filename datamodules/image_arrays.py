"""The user's own images as numpy arrays in one file."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.base import Split, Splits
from datamodules.own_images import OwnImages
from runtime.errors import UserError
from runtime.ranges import Positive, PositiveFloat, Seed, Share


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
        super().__init__(val_fraction, test_fraction, split_seed, batch_size, scale)
        self.file, self.labels = Path(path).expanduser(), labels
        self.mirrors, self.title = mirrors, self.file.stem
        self.class_names = tuple(class_names) if class_names else None
        self.parts = self._read_parts()
        shapes = {_image_shape(part.inputs) for part in self.parts.values()}
        if len(shapes) > 1:
            raise UserError(
                f"{self.file} has images of shapes {', '.join(map(str, sorted(shapes)))} (C, H, W) "
                "in its splits: give all the same shape"
            )
        self.image_shape = shapes.pop()
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
        prefix = "train_" if "train_images" in arrays else ""
        self._require(arrays, f"{prefix}images")
        parts = {}
        for name in Splits._fields:
            start = prefix if name == "train" else f"{name}_"
            if f"{start}images" not in arrays or (not prefix and name != "train"):
                continue
            images = _pixels(arrays[f"{start}images"], f"{self.file}: {start}images")
            parts[name] = Split(images, self._labels(arrays, f"{start}labels", len(images)))
        return parts

    def _require(self, arrays: Mapping[str, np.ndarray], name: str, remedy: str = "") -> None:
        if name not in arrays:
            found = ", ".join(arrays) or "nothing"
            remedy = remedy or "name the array of images so"
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
        count = len(self.class_names) if self.class_names else max(found) + 1
        train = found if self.class_names else self.parts["train"].targets.unique().tolist()
        wanted = [k for k in train if 0 <= k < count] if self.class_names else [*range(count)]
        if train != wanted:
            listed = ", ".join(map(str, found[:12])) + (", ..." if len(found) > 12 else "")
            remedy = (
                f"give as many --data.class_names as classes, not {count}"
                if self.class_names
                else "number the classes of the training images 0, 1, ... without gaps, or name all"
                " classes with --data.class_names"
            )
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
        reason = " ".join(str(error).split())
        if "Object arrays" in reason:
            reason = "it holds Python objects"
        elif "pickle" in reason:  # numpy's guess of what else it may be
            reason = "not such a file"
        raise UserError(
            f"{file} cannot be read as numpy arrays ({reason}): write it with np.savez of arrays "
            "of numbers"
        ) from error


def _pixels(array: np.ndarray, where: str) -> Tensor:
    """Converts images (N, H, W) or (N, H, W, C) to uint8 (N, C, H, W)."""
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[3] not in (1, 3) or 0 in array.shape:
        first = array.ndim == 4 and array.shape[1] in (1, 3)
        hint = " (transpose it with images.transpose(0, 2, 3, 1))" if first else ""
        raise UserError(
            f"{where} has shape {array.shape}: images are N x H x W or N x H x W x C with 1 or 3 "
            f"channels{hint}"
        )
    if array.dtype.kind == "f":
        limit, scaled = 1, array * np.float32(255)
    elif array.dtype.kind in "iub":
        limit, scaled = 255, array
    else:
        raise UserError(f"{where} has values of {array.dtype}: use uint8")
    low, high = array.min(), array.max()
    if not 0 <= low <= high <= limit:  # also if NaN
        kind = "floating-point" if limit == 1 else "integer"
        raise UserError(
            f"{where} has values from {low:g} to {high:g}: {kind} images are in 0..{limit}"
        )
    pixels = (scaled.round() if limit == 1 else scaled).astype(np.uint8)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def _image_shape(images: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = images.shape
    return channels, height, width
