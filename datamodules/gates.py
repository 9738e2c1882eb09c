"""Logic gates: four points that a logistic unit can (or, and) or cannot (xor, xnor) separate."""

from typing import Literal

import torch

from datamodules.base import InMemoryDataModule, Split, Splits
from runtime.ranges import NonNegativeFloat, Positive, Seed

GATES = {"or": (0, 1, 1, 1), "and": (0, 0, 0, 1), "xor": (0, 1, 1, 0), "xnor": (1, 0, 0, 1)}


class Gates(InMemoryDataModule):
    """Points (B, 2), float32, and classes (B,), int64 in {0, 1}, of a gate with two inputs.

    Validation and test are the four exact points (0, 0), (0, 1), (1, 0), (1, 1) in this order.

    Args:
        gate: The gate. `xnor` is 1 if both inputs are equal, `xor` if they differ.
        repeat: Number of copies of each point in the training split.
        noise: Standard deviation of Gaussian noise on the training points.
        batch_size: Points per batch, summed over all processes.
        noise_seed: Seed of that noise, independent of the run's seed.
    """

    input_shape = (2,)
    num_classes = 2
    feature_names = ("x1", "x2")

    def __init__(
        self,
        gate: Literal["or", "and", "xor", "xnor"] = "xor",
        repeat: Positive = 1,
        noise: NonNegativeFloat = 0.0,
        batch_size: Positive = 4,
        noise_seed: Seed = 0,
    ) -> None:
        super().__init__(batch_size)
        self.gate, self.repeat = gate, repeat
        self.noise, self.noise_seed = noise, noise_seed
        self.title = gate.upper()

    def load_splits(self) -> Splits:
        points = torch.cartesian_prod(torch.arange(2.0), torch.arange(2.0))  # (4, 2)
        exact = Split(points, torch.tensor(GATES[self.gate]))
        train = Split(points.repeat(self.repeat, 1), exact.targets.repeat(self.repeat))
        if self.noise:
            generator = torch.Generator().manual_seed(self.noise_seed)
            noise = torch.randn(train.inputs.shape, generator=generator)
            train = Split(train.inputs + self.noise * noise, train.targets)
        return Splits(train, exact, exact)
