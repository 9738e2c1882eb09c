"""Regression of a function of one or more variables (universal approximation theorem)."""

import math
from typing import Literal

import numpy as np
import torch

from datamodules.base import InMemoryDataModule, Split, Splits
from datamodules.expressions import evaluate
from runtime.errors import UserError
from runtime.ranges import Count, NonNegativeFloat, Positive, Seed


class Functions(InMemoryDataModule):
    """Points (B, m) in `[-pi, pi]^m` and values (B, 1), both float32.

    Validation points are the centres of a grid's cells, test points its corners, row by row (the
    last variable changes fastest). Neither has noise.

    Args:
        function: A formula of `x` or `x1`, `x2`, ... such as `sin(x) * x` or `x1 > 0`.
        dimensions: The number m of variables.
        num_train: Points in the training split. A grid has at most this number.
        sampling: Training points are drawn uniformly or lie on a grid.
        num_eval: Maximum number of points in each of the validation and test grids.
        noise: Standard deviation of Gaussian noise on the training values.
        batch_size: Points per batch, summed over all processes.
        data_seed: Seed of points and noise, independent of the run's seed.
    """

    not_in_identity = InMemoryDataModule.not_in_identity | {"num_eval"}

    def __init__(
        self,
        function: str = "sin(x)",
        dimensions: Positive = 1,
        num_train: Count = 1024,
        sampling: Literal["uniform", "grid"] = "uniform",
        num_eval: Count = 2500,
        noise: NonNegativeFloat = 0.0,
        batch_size: Positive = 32,
        data_seed: Seed = 0,
    ) -> None:
        super().__init__(batch_size)
        if num_eval < 3**dimensions:
            raise UserError(
                f"num_eval {num_eval} gives fewer than 3 grid points to each of {dimensions} "
                f"dimensions: set --data.num_eval to {3**dimensions} or more"
            )
        self.function, self.dimensions = function, dimensions
        self.title = function
        self.feature_names = tuple(f"x{i + 1}" for i in range(dimensions))
        self.num_train, self.sampling = num_train, sampling
        self.noise, self.data_seed = noise, data_seed
        self.grid_size = _per_axis(num_eval, dimensions)  # test points on each axis
        self.target(np.zeros((1, dimensions)))  # Reports a misspelled formula at once.

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.dimensions,)

    def target(self, points: np.ndarray) -> np.ndarray:
        """Returns the values (N, 1) of the function at `points` (N, m), float64."""
        variables = dict(zip(self.feature_names or (), points.T, strict=True))
        if self.dimensions == 1:
            variables["x"] = points[:, 0]
        return evaluate(self.function, variables)[:, None]

    def load_splits(self) -> Splits:
        rng = np.random.default_rng(self.data_seed)
        edges = np.linspace(-np.pi, np.pi, self.grid_size)
        if self.sampling == "grid":
            size = _per_axis(self.num_train, self.dimensions)
            points = self._grid(np.linspace(-np.pi, np.pi, size))
        else:
            points = rng.uniform(-np.pi, np.pi, (self.num_train, self.dimensions))
        return Splits(
            train=self._split(points, self.noise * rng.standard_normal((len(points), 1))),
            val=self._split(self._grid((edges[:-1] + edges[1:]) / 2)),
            test=self._split(self._grid(edges)),
        )

    def _grid(self, axis: np.ndarray) -> np.ndarray:
        columns = np.meshgrid(*[axis] * self.dimensions, indexing="ij")
        return np.stack(columns, axis=-1).reshape(-1, self.dimensions)

    def _split(self, points: np.ndarray, noise: np.ndarray | float = 0.0) -> Split:
        values = self.target(points)
        if not np.isfinite(values).all():
            where = ", ".join(f"{x:.4g}" for x in points[~np.isfinite(values[:, 0])][0])
            raise UserError(
                f"function {self.function!r} has no finite value at ({where}): set --data.function "
                "to one that is finite on [-pi, pi]"
            )
        return Split(torch.from_numpy(points).float(), torch.from_numpy(values + noise).float())


def _per_axis(num_points: int, dimensions: int) -> int:
    """Returns the largest n with `n ** dimensions <= num_points`."""
    return math.floor(num_points ** (1 / dimensions) + 1e-9)
