"""Figure of `predict --files`: each file beside what the network gets, and its classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from figures.pictures import mosaic

SHOWN = 24  # Files.
CELL = 160  # Pixels of each side of a picture; a file and the network's input are two.
TOP = 3  # Classes.
FRAME = 150  # Grey of the line around a picture, which may be white.
LETTERS, SIZE = 28, 11  # Of a file's name; points.


def draw_files(
    files: Sequence[tuple[str, Image.Image, Tensor]],
    probabilities: Tensor,
    names: Sequence[str],
    total: int,
) -> Figure:
    """Draws files, each beside the network's input and below its most probable classes.

    Args:
        files: Name, picture of the file, and the network's input uint8 (C, H, W), of each.
        probabilities: (N, K) of the files, or of more.
        names: The classes.
        total: Number of files that were classified.
    """
    colour = any(image.mode != "L" or len(pixels) == 3 for _, image, pixels in files)
    tiles = [
        torch.cat([_square(image, colour), _square(to_pil_image(pixels), colour)], dim=2)
        for _, image, pixels in files
    ]
    titles = []
    for (name, *_), row in zip(files, probabilities, strict=False):
        (best, *others) = zip(
            *(part.tolist() for part in row.topk(min(TOP, len(row)))), strict=True
        )
        second = ", ".join(f"{names[k]} {100 * p:.1f} %" for p, k in others)
        titles.append(
            f"{_short(Path(name).name)}\n{names[best[1]]}: {100 * best[0]:.1f} %\n{second}"
        )
    which = f"The first {len(files)} of {total:,} files" if total > len(files) else "Each file"
    heading = f"{which}, beside what the network gets"
    options: dict[str, Any] = {"cell": 2.7, "letters": SIZE}
    return mosaic(torch.stack(tiles), titles, min(4, len(files)), heading, **options)


def _square(image: Image.Image, colour: bool) -> Tensor:
    """Pads a framed picture to a white square; a small one is enlarged without smoothing."""
    image = image.convert("RGB" if colour else "L")
    method = Image.Resampling.NEAREST if max(image.size) < CELL else Image.Resampling.BICUBIC
    inner = ImageOps.contain(image, (CELL - 8, CELL - 8), method)
    inner = ImageOps.expand(inner, 2, FRAME if inner.mode == "L" else (FRAME,) * 3)
    page = Image.new(inner.mode, (CELL, CELL), "white")
    page.paste(inner, ((CELL - inner.width) // 2, (CELL - inner.height) // 2))
    return pil_to_tensor(page)


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else "…" + name[-LETTERS + 1 :]
