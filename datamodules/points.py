"""Points in the plane: 2-D distributions that a generative model learns in seconds."""

import math
from typing import Literal

import torch
from torch import Tensor

from datamodules.base import ArrayDataModule, Split, Splits
from runtime.ranges import Positive, Seed

PointShape = Literal["ring", "grid", "moons", "spiral", "checkerboard"]
MODES = {"ring": 8, "grid": 25, "moons": 2, "spiral": 1, "checkerboard": 8}
MODE_STD = {"ring": 0.015, "grid": 0.01}  # standard deviation of a mode
MODE_RADIUS = 4.0  # standard deviations from a mode's center that still belong to it


class Points(ArrayDataModule):
    """Points (B, 2) in the unit square, float32, and the mode (B,) that each belongs to, int64.

    Args:
        shape: `ring` of eight Gaussians, `grid` of 25, two `moons`, `spiral` or `checkerboard`.
        labelled: Use the mode as class label.
        count: Points of the training split; validation and test have a quarter of it each.
        batch_size: Points per batch, summed over all processes.
        data_seed: Seed of the points, independent of the run's seed.
    """

    image_shape = (2,)
    random_order = True

    def __init__(
        self,
        shape: PointShape = "ring",
        labelled: bool = False,
        count: Positive = 8192,
        batch_size: Positive = 256,
        data_seed: Seed = 0,
    ) -> None:
        super().__init__(batch_size)
        self.shape, self.count, self.data_seed = shape, count, data_seed
        self.num_classes = MODES[shape] if labelled else None
        self.title = f"{shape} of points"

    def load_splits(self) -> Splits:
        random = torch.Generator().manual_seed(self.data_seed)
        counts = (self.count, self.count // 4, self.count // 4)
        return Splits(*(Split(*draw_points(self.shape, n, random)) for n in counts))

    def mode_coverage(self, points: Tensor) -> tuple[int, int, float] | None:
        """Counts the modes that points (N, 2) cover.

        Returns the number of covered modes, the number of modes, and the fraction of points near a
        mode. A mode is covered by half of its expected points: an even ring through all eight
        covers none. None for a shape without separate modes.
        """
        if self.shape not in MODE_STD:
            return None
        distances = torch.cdist(points.cpu(), centers(self.shape))
        nearest, mode = distances.min(dim=1)
        good = nearest < MODE_RADIUS * MODE_STD[self.shape]
        counts = mode[good].bincount(minlength=MODES[self.shape])
        enough = counts >= max(1, len(points) / MODES[self.shape] / 2)
        return int(enough.sum()), len(enough), float(good.float().mean())


def centers(shape: str) -> Tensor:
    """Returns the centers of a shape's modes, (K, 2)."""
    if shape == "grid":
        sides = torch.linspace(0.1, 0.9, 5)
        return torch.cartesian_prod(sides, sides)
    angles = torch.arange(8) * math.tau / 8
    return 0.5 + 0.35 * torch.stack([angles.cos(), angles.sin()], dim=1)


def draw_points(shape: str, count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draws points (count, 2) of a shape in the unit square, and their modes (count,)."""
    modes = torch.randint(MODES[shape], (count,), generator=random)
    along, across = torch.rand(2, count, generator=random)
    noise = torch.randn(count, 2, generator=random)
    if shape in MODE_STD:
        return centers(shape)[modes] + MODE_STD[shape] * noise, modes
    if shape == "checkerboard":  # eight squares of a quarter's side, two in each row
        row = modes // 2
        column = 2 * (modes % 2) + row % 2
        return torch.stack([column + along, row + across], dim=1) / 4, modes
    if shape == "moons":
        angle, sign = math.pi * along, 1.0 - 2.0 * modes
        curve = torch.stack([sign * angle.cos() - sign / 2, sign * angle.sin() - sign / 4], dim=1)
        return 0.5 + 0.25 * curve + 0.015 * noise, modes
    angle = 3 * math.pi * along.sqrt()  # a spiral of one and a half turns, equally dense
    arm = torch.stack([angle.cos(), angle.sin()], dim=1) * angle[:, None] / (3 * math.pi)
    return 0.5 + 0.42 * arm + 0.01 * noise, modes
