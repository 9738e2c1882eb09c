"""Logic gates as data: or, and (linearly separable), xor, xnor (not separable)."""

from typing import Literal

import torch

from datamodules.base import ArrayDataModule, Split, Splits
from runtime.ranges import Positive

GATES = {"or": (0, 1, 1, 1), "and": (0, 0, 0, 1), "xor": (0, 1, 1, 0), "xnor": (1, 0, 0, 1)}


class Gates(ArrayDataModule):
    """Points (B, 2), float32, and classes (B,), int64 in {0, 1}, of a gate with two inputs.

    Each split is the four points (0, 0), (0, 1), (1, 0), (1, 1) in this order.

    Args:
        gate: The gate. `xnor` is 1 if both inputs are equal, `xor` if they differ.
        batch_size: Points per batch, summed over all processes.
    """

    input_shape = (2,)
    num_classes = 2
    feature_names = ("x1", "x2")

    def __init__(
        self,
        gate: Literal["or", "and", "xor", "xnor"] = "xor",
        batch_size: Positive = 4,
    ) -> None:
        super().__init__(batch_size)
        self.gate, self.title = gate, gate.upper()

    def load_splits(self) -> Splits:
        points = torch.cartesian_prod(torch.arange(2.0), torch.arange(2.0))  # (4, 2)
        split = Split(points, torch.tensor(GATES[self.gate]))
        return Splits(split, split, split)
