"""Small image files in folders, one for each class, and what is loaded of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from datamodules import ArrayDataModule, ImageFolder, Split
from datamodules.store import RECORD, StoredImages, checksum_of


def write_images(
    folder: Path, count: int = 10, mode: str = "RGB", suffix: str = ".png", seed: int = 0
) -> Path:
    """Writes random images of several sizes, 0.png, 1.png and so on; no two are the same."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        random = np.random.default_rng([seed, i, *str(folder).encode()])
        height, width = random.integers(13, 20, 2)  # `crop` loses less than a third
        pixels = random.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{i}{suffix}")
    return folder


def write_classes(
    root: Path, names: Sequence[str] = ("cat", "dog"), count: int = 10, mode: str = "RGB"
) -> Path:
    """Writes a folder of images for each class."""
    for name in names:
        write_images(root / name, count, mode)
    return root


def loaded(path: Path, **options: Any) -> ImageFolder:
    data = ImageFolder(str(path), **({"size": 8, "val_fraction": 0.2} | options))
    data.setup()
    return data


def rows(split: Split) -> set[bytes]:
    return {image.numpy().tobytes() for image in split.inputs[:]}


def parts(data: ArrayDataModule) -> list[set[bytes]]:
    return [rows(split) for split in data.splits if split]


def stored(pixels: torch.Tensor, folder: Path) -> StoredImages:
    """Returns images in a file as if they had been decoded."""
    np.save(folder / "pixels.npy", pixels.numpy())
    records = np.zeros(len(pixels), RECORD)
    records["check"] = [checksum_of(image) for image in pixels.numpy()]
    return StoredImages(folder / "pixels.npy", records, {"image_shape": [*pixels.shape[1:]]})
