"""Draws the example folder of docs/own-data.md: `python docs/shapes.py shapes`.

Writes 200 colour images of each of three shapes, from 48 to 160 pixels, as PNG and JPEG. Position,
size, angle, colours, light and noise vary, as they do in photographs.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDES = {"circle": 60, "square": 4, "triangle": 3}  # corners of the polygon


def main(folder: Path, count: int = 200, seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    for name, sides in SIDES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            suffix = ("png", "jpg")[number % 2]
            draw(sides, random).save(folder / name / f"{name}_{number:03d}.{suffix}")


def draw(sides: int, random: np.random.Generator) -> Image.Image:
    """Draws one shape on a background whose light falls from one side."""
    width, height = random.integers(48, 160, 2)
    slope = random.uniform(-0.35, 0.35, 2)
    rows, columns = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    light = 1 + slope[0] * rows + slope[1] * columns
    ground, colour = random.uniform(90, 230, 3), random.uniform(0, 255, 3)
    while np.abs(ground - colour).sum() < 250:  # the shape must be visible
        colour = random.uniform(0, 255, 3)

    side = min(width, height)
    radius = side * random.uniform(0.28, 0.42)
    centre = np.array([width, height]) / 2 + random.uniform(-0.06, 0.06, 2) * side
    angles = random.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(sides) / sides
    corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    mask = Image.new("L", (int(width), int(height)))
    ImageDraw.Draw(mask).polygon([tuple(corner) for corner in corners.tolist()], fill=255)
    inside = np.asarray(mask.filter(ImageFilter.GaussianBlur(float(side) / 120)))[..., None] / 255

    pixels = (inside * colour + (1 - inside) * ground) * light[..., None]
    pixels += random.normal(0, random.uniform(2, 8), pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
