"""The description of a data set's examples, which checkpoints keep, so that tools need no data."""

import math
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datamodules.image_files import Fit, to_tensor
from datamodules.scans import border, find_foreground, place_foreground
from runtime.errors import UserError, printable

MAX_INPUTS = 10**8  # numbers in one example
MEASURED = 1000  # Images, evenly spaced over the training split.
MIN_UNIFORM_BORDER = 0.6  # least fraction of border pixels at the background's level
BACKGROUND_TOLERANCE = 16  # largest difference in gray levels within the background
FOREGROUND_CONTRAST = 32  # least difference in gray levels of the foreground from the background


class InputSpec(NamedTuple):
    """Shape and appearance of training examples, to which other inputs of a model are adapted.

    The last three are known for gray images on a background of one gray level only.
    """

    input_shape: tuple[int, ...]  # of one example; (C, H, W) of images
    scale: float = 1.0  # divisor of uint8 inputs
    class_names: tuple[str, ...] | None = None
    fit: Fit = "crop"  # how image files of other sizes became training images
    background: float | None = None  # gray level, 0 to 255; None: not uniform, or not known
    # Longer side of the foreground over that of the image; None: varies
    extent: float | None = None
    centre: tuple[float, float] | None = None  # of mass of the foreground, in units of (H, W)

    @classmethod
    def of_checkpoint(cls, checkpoint: Mapping[str, Any]) -> "InputSpec | None":
        """Returns the description in a checkpoint; None if its DataModule saved none."""
        for value in checkpoint.values():
            if isinstance(value, dict) and isinstance(saved := value.get("frame"), dict):
                known = {name: saved[name] for name in cls._fields if name in saved}
                try:
                    if names := known.get("class_names"):
                        known["class_names"] = tuple(printable(str(name)) for name in names)
                    spec = cls(**known)
                    sound = spec._is_sound()
                except (TypeError, ValueError, OverflowError):
                    sound = False
                if not sound:
                    raise UserError("the checkpoint's description of its inputs is not sound")
                return spec
        return None

    def _is_sound(self) -> bool:
        """Returns whether inputs of such a shape can be made: others may have written it."""
        scaled = (self.background or 0.0) / 255, self.extent or 0.0, *(self.centre or ())
        return (
            all(size >= 0 for size in self.input_shape)
            and math.prod(map(operator.index, self.input_shape)) <= MAX_INPUTS
            and all(0 <= number <= 1 for number in scaled)
            and self.scale > 0
            and self.fit in get_args(Fit)
        )


def class_names(described: Any, num_classes: int) -> list[str]:
    """Returns the class names of an input spec or DataModule; numbers if it is None or has none."""
    names = described.class_names if described is not None else None
    return [str(name) for name in names or range(num_classes)]


def measure_spec(images: Any) -> dict[str, Any]:
    """Measures background, extent and center of images uint8 (N, C, H, W); empty if not uniform."""
    if images.dtype != torch.uint8 or len(images.shape) != 4 or images.shape[1] != 1:
        return {}
    if not len(images):
        return {}
    rows = torch.linspace(0, len(images) - 1, min(len(images), MEASURED)).long()
    gray = images[rows].numpy()[:, 0].astype(np.float32)
    edges = border(gray)
    background = float(np.median(edges))
    if (np.abs(edges - background) <= BACKGROUND_TOLERANCE).mean() < MIN_UNIFORM_BORDER:
        return {}
    foregrounds = np.abs(gray - background)
    foregrounds = foregrounds[foregrounds.max(axis=(1, 2)) > FOREGROUND_CONTRAST]
    if not len(foregrounds):
        return {"background": background}
    sides = foregrounds.shape[1:]
    lengths, center = [], []
    for axis, side in enumerate(sides, start=1):
        seen = (foregrounds > FOREGROUND_CONTRAST).any(axis=3 - axis)  # (N, side)
        lengths.append(side - seen.argmax(axis=1) - seen[:, ::-1].argmax(axis=1))
        profile = foregrounds.sum(axis=3 - axis)
        mass = (profile * (np.arange(side) + 0.5)).sum(axis=1) / profile.sum(axis=1)
        center.append(float(np.median(mass) / side))
    shares = np.maximum(*lengths) / max(sides)
    low, typical, high = (float(value) for value in np.quantile(shares, (0.05, 0.5, 0.95)))
    extent = typical if high - low <= 0.1 else None
    return {"background": background, "extent": extent, "centre": tuple(center)}


def match_spec(image: Image.Image, spec: InputSpec) -> tuple[Tensor, str]:
    """Converts an image of any size to the shape and appearance of the training images.

    An image of their shape and polarity is not changed. If the training images have foregrounds of
    one size on a uniform background, the foreground is segmented, scaled to that size and placed by
    its center of mass. Other images are resized as the training images were. Gray images on the
    opposite background are inverted.

    Returns:
        The pixels uint8 (C, H, W), and a text that says what was done beyond scaling.
    """
    channels, *sides = spec.input_shape
    height, width = sides
    resized = to_tensor(image, (channels, height, width), spec.fit)
    if channels != 1 or spec.background is None:
        return resized, ""
    training_is_light = spec.background > 127.5
    gray = np.asarray(image.convert("L"))
    is_light = bool(np.median(border(gray)) > 127.5)
    if gray.shape == (height, width) and is_light == training_is_light:
        return resized, ""
    foreground = find_foreground(image)
    is_light = foreground.light if foreground else is_light
    notes = []
    if is_light != training_is_light:
        polarity = "dark on light" if is_light else "light on dark"
        notes.append(f"{polarity}, inverted to match the training images")
        resized = 255 - resized
    if foreground and spec.extent and spec.centre:
        shown = place_foreground(foreground.ink, (height, width), spec.extent, spec.centre)
        ink = 0.0 if training_is_light else 255.0
        pixels = spec.background + shown * (ink - spec.background)
        resized = torch.from_numpy(pixels.round().astype(np.uint8))[None]
    elif spec.extent:
        notes.append("no foreground found, only resized")
    return resized, "; ".join(notes)


def as_pixels(images: Any, shape: tuple[int, ...]) -> Tensor:
    """Converts images (N, H, W), (N, C, H, W) or (N, H, W, C), uint8 or in [0, 1], to 0..255.

    The result is (N, C, H, W) with this shape (C, H, W).
    """
    try:
        values = images if isinstance(images, Tensor) else torch.as_tensor(np.array(images))
    except (TypeError, ValueError):  # text, or images of different sizes
        raise UserError(
            "these images are no array of numbers, or have different sizes: give several images of "
            f"{tuple(shape)} (channels, height, width), or the paths of files"
        ) from None
    if values.dim() == 3:
        values = values.unsqueeze(1)
    elif tuple(values.shape[1:]) == (*shape[1:], shape[0]) != tuple(shape):
        values = values.movedim(-1, 1)
    if not values.numel() or tuple(values.shape[1:]) != tuple(shape):
        raise UserError(
            f"these images have shape {tuple(values.shape)}, and the model takes {tuple(shape)} "
            "(channels, height, width): give several images of this size, or the paths of files"
        )
    if values.is_floating_point() and 0 <= values.min() <= values.max() <= 1:
        return values * 255
    if values.dtype != torch.uint8:
        numbers = values.double()  # Not every type has a minimum.
        raise UserError(
            f"these images are {values.dtype} from {float(numbers.min()):g} to "
            f"{float(numbers.max()):g}: give floats from 0 to 1, or uint8"
        )
    return values
