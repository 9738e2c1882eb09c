"""Computations of `demo` on a drawing or picture: classes, occlusion map, preferred inputs."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from commands.demo.models import Trained
from commands.maximize import inspect
from commands.maximize_figures import draw_map, probability_range
from commands.predict import classify
from datamodules.frame import Frame, to_frame
from datamodules.image_files import read_image
from datamodules.scans import place
from figures.pictures import mosaic, picture, styled
from models.inspection import maximize, occlusion_map

VISIBLE = 0.1  # ink below this share of the darkest is no part of the drawing
MNIST_EXTENT, MNIST_CENTRE = 20 / 28, (0.5, 0.5)  # a 20 x 20 box, placed by its centre of mass
SHOWN = 10  # classes, the most probable ones
STEPS = 100  # of gradient ascent; the pictures hardly change after these


def takes_drawings(frame: Frame) -> bool:
    """Returns whether training images were grey figures on a background of one grey level.

    Old checkpoints do not know a background. If their classes are numbered, they are of digits.
    """
    known = frame.background is not None or frame.class_names is None
    return frame.input_shape[0] == 1 and known


def frame_drawing(ink: np.ndarray, frame: Frame) -> Tensor | None:
    """Brings a drawing to the form of grey training images, as MNIST's were made.

    The drawing is cropped, scaled to the length of the training images' figures, for MNIST 20 of 28
    pixels, and placed by its centre of mass.

    Args:
        ink: The drawing (H, W), 0 to 1.
        frame: Of the training images (1, H', W').

    Returns:
        The image uint8 (1, H', W'); None if there is no ink.
    """
    visible = ink > VISIBLE
    if not visible.any():
        return None
    rows, columns = (np.flatnonzero(visible.any(axis)) for axis in (1, 0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    extent, centre = frame.extent or MNIST_EXTENT, frame.centre or MNIST_CENTRE
    height, width = frame.input_shape[1:]
    shown = place(cropped, (height, width), extent, centre)
    background = frame.background or 0.0
    full = 0.0 if background > 127.5 else 255.0
    pixels = background + shown * (full - background)
    return torch.from_numpy(pixels.round().astype(np.uint8))[None]


def as_input(drawn: np.ndarray | Path, frame: Frame) -> Tensor | None:
    """Returns what a network gets, uint8 (C, H, W), of a drawing's ink (H, W) or an image file.

    None if there is no ink. A model of colour images or photographs gets a drawing as black ink on
    white paper.

    Raises:
        UnreadableImageError: If the file is no image.
    """
    if isinstance(drawn, Path):
        return to_frame(read_image(drawn), frame).pixels
    if takes_drawings(frame):
        return frame_drawing(drawn, frame)
    paper = Image.fromarray((255 * (1 - drawn)).astype(np.uint8))
    return to_frame(paper, frame).pixels if drawn.max() > VISIBLE else None


class Answer(NamedTuple):
    """A classifier's answer to an image uint8 (C, H, W)."""

    pixels: Tensor
    names: list[str]  # of the classes
    probabilities: Tensor  # (K,)
    occlusion: Tensor  # (H', W'): P(the most probable class) with a square at each place
    size: int  # of the square
    stride: int  # pixels from one place to the next

    @property
    def best(self) -> str:
        return self.names[int(self.probabilities.argmax())]

    @property
    def text(self) -> str:
        return f"{self.best}: {100 * float(self.probabilities.max()):.1f} %"


def answer(one: Trained, pixels: Tensor) -> Answer:
    """Classifies an image uint8 (C, H, W), and finds the parts that decide its class."""
    model: Any = one.model
    probabilities = classify(model, pixels[None], one.frame)[0]
    size = max(1, round(0.21 * min(pixels.shape[1:])))
    stride = max(1, size // 3)
    image, high = pixels[None].float() / one.frame.scale, 255 / one.frame.scale
    options: dict[str, Any] = {"fill": high / 2, "probabilities": model.probabilities}
    best = probabilities.argmax()[None]
    values = occlusion_map(model, image, best, size, stride, **options)[0]
    return Answer(pixels, one.classes, probabilities, values, size, stride)


@styled
def draw_answer(found: Answer, wide: bool) -> Figure:
    """Draws probabilities, the image, and its occlusion map, in a row if there is room for it."""
    figure = Figure((10.5, 2.9) if wide else (4.6, 5), layout="constrained")
    places: Any = (
        [["classes", "gets", "map"]] if wide else [["classes", "classes"], ["gets", "map"]]
    )
    axes = figure.subplot_mosaic(places)
    shown = found.probabilities.topk(min(SHOWN, len(found.names))).indices.sort().values.tolist()
    axes["classes"].barh([found.names[k] for k in shown], found.probabilities[shown].tolist())
    axes["classes"].set(xlim=(0, 1), xticks=[0, 0.5, 1], title="probability")
    axes["classes"].invert_yaxis()
    axes["gets"].imshow(picture(found.pixels, 255.0), "gray", vmin=0)
    low, high = probability_range(found.occlusion)
    options = found.size, found.stride, low, high
    covered = draw_map(axes["map"], found.pixels, found.occlusion, *options)
    for name, title in (("gets", "the network gets"), ("map", f"P({found.best}) if covered here")):
        axes[name].set(xticks=[], yticks=[])
        axes[name].set_title(title, parse_math=False)  # a class may be named $
        axes[name].spines[:].set_visible(False)
    figure.colorbar(covered, ax=axes["map"], ticks=[low, high], format="{x:.2f}", location="right")
    return figure


@cache
def preferred_inputs(one: Trained) -> Figure:
    """Draws the inputs that excite each class of a classifier most. Computed once per model."""
    network, forward, layer, shape, _ = inspect(one.model)
    options: dict[str, Any] = {"bounds": (0.0, 255 / one.frame.scale), "forward": forward}
    names = one.classes[: 2 * SHOWN]
    units = range(len(names))
    images = maximize(network, layer, units, shape, STEPS, 0.05, 1, 0.5, 0.02, 0, **options)
    return mosaic(images, names, min(SHOWN, len(names)))
