"""Image files of any size and mode, brought to one shape."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

Fit = Literal["crop", "pad", "stretch"]
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class UnreadableImageError(Exception):
    """An image file that cannot be read; the message is the reason."""


def find_images(folder: Path) -> Iterator[Path]:
    """Yields the image files in and below a folder, sorted, without hidden ones."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not hidden:
            yield path


def read_image(path: Path) -> Image.Image:
    """Reads an image file as 8-bit grey ("L") or colour ("RGB"), upright, on white.

    Turns the image as its EXIF orientation says. Transparent parts become white. 16-bit grey is
    scaled to 8 bits.

    Raises:
        UnreadableImageError: If the file is no image, is incomplete or has floating-point pixels.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            image.load()
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not an image in a format that can be read") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(" ".join(str(error).split())) from error
    if image.mode == "F":
        raise UnreadableImageError("has floating-point pixels: convert it to 8 bits a channel")
    if image.mode.startswith("I"):  # 16 bits, which `convert` would cut off at 255
        values = np.asarray(image).astype(np.int64) // 257
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        grey = image.mode in ("LA", "La")
        image = Image.alpha_composite(white, image.convert("RGBA"))
        return image.convert("L" if grey else "RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def to_tensor(image: Image.Image, image_shape: tuple[int, int, int], fit: Fit = "crop") -> Tensor:
    """Brings an image to `image_shape`, as uint8 (C, H, W), with antialiasing.

    Args:
        image: A grey or colour image of any size.
        image_shape: Channels (1 or 3), height and width.
        fit: `crop` cuts off what does not fit, equally on both sides. `pad` adds white edges.
            `stretch` changes the proportions.
    """
    channels, height, width = image_shape
    image = image.convert("L" if channels == 1 else "RGB")
    size, method = (width, height), Image.Resampling.BICUBIC
    if fit == "crop":
        image = ImageOps.fit(image, size, method)
    elif fit == "pad":
        image = ImageOps.pad(image, size, method, color="white")
    else:
        image = image.resize(size, method)
    pixels = torch.from_numpy(np.array(image))
    return pixels.unsqueeze(0) if channels == 1 else pixels.permute(2, 0, 1).contiguous()
