"""Figure of `predict --files`: each file beside what the network gets, and its classes."""

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from figures.pictures import mosaic

SHOWN = 24  # files
CELL = 160  # pixels of each side of a picture; a file and the network's input are two
TOP = 3  # classes
LETTERS, SIZE = 28, 11  # of a file's name; points


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
    tiles = [
        torch.cat([_square(image), _square(to_pil_image(pixels))], dim=2)
        for _, image, pixels in files
    ]
    titles = []
    for (name, *_), row in zip(files, probabilities, strict=False):
        shares, classes = row.topk(min(TOP, len(row)))
        texts = [
            f"{names[k]} {100 * p:.1f} %"
            for p, k in zip(shares.tolist(), classes.tolist(), strict=True)
        ]
        short = Path(name).name
        short = short if len(short) <= LETTERS else "…" + short[-LETTERS + 1 :]
        titles.append(f"{short}\n{texts[0]}\n{', '.join(texts[1:])}")
    which = f"The first {len(files)} of {total:,} files" if total > len(files) else "Each file"
    heading = f"{which}, beside what the network gets"
    columns = min(4, len(files))
    return mosaic(torch.stack(tiles), titles, columns, heading, cell=2.7, letters=SIZE)


def _square(image: Image.Image) -> Tensor:
    """Pads a picture with a grey frame to a white square, uint8 (3, CELL, CELL)."""
    method = Image.Resampling.NEAREST if max(image.size) < CELL else Image.Resampling.BICUBIC
    inner = ImageOps.contain(image.convert("RGB"), (CELL - 4, CELL - 4), method)
    return pil_to_tensor(
        ImageOps.pad(ImageOps.expand(inner, 2, "#969696"), (CELL, CELL), method, "white")
    )
