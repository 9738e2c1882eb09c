"""Small image files in folders, one for each class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def write_images(
    folder: Path, count: int = 10, mode: str = "RGB", suffix: str = ".png", seed: int = 0
) -> Path:
    """Writes random images of several sizes, 0.png, 1.png and so on; no two are the same."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        random = np.random.default_rng([seed, i, *str(folder).encode()])
        height, width = random.integers(8, 20, 2)
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
