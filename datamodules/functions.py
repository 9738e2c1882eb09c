"""Regression of a function of one or more variables (universal approximation theorem)."""

import ast
import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from datamodules.base import ArrayDataModule, Split, Splits
from runtime.errors import UserError
from runtime.ranges import Count, Positive

OPERATORS: dict[type, Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.USub: operator.neg,
    ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: operator.pow,
    ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal,
}  # fmt: skip
CONSTANTS = {"pi": np.float64(np.pi), "e": np.float64(np.e)}  # division by zero gives inf
FORMULA_FUNCTIONS = {  # and their numbers of arguments
    **dict.fromkeys(("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"), 1),
    **dict.fromkeys(("exp", "log", "sqrt", "abs", "sign", "floor", "ceil"), 1),
    **{"minimum": 2, "maximum": 2, "where": 3},
}


class Functions(ArrayDataModule):
    """Points (B, m) in `[-pi, pi]^m` and values (B, 1), both float32.

    The points of each split are a grid, row by row (the last variable changes fastest). Validation
    points are the centers of the cells of the test grid.

    Args:
        function: A formula of `x` or `x1`, `x2`, ... such as `sin(x) * x` or `x1 > 0`.
        dimensions: The number m of variables.
        num_train: Maximum number of points in the training grid.
        num_eval: Maximum number of points in each of the validation and test grids.
        batch_size: Points per batch, summed over all processes.
    """

    not_in_identity = ArrayDataModule.not_in_identity | {"num_eval"}

    def __init__(
        self,
        function: str = "sin(x)",
        dimensions: Positive = 1,
        num_train: Count = 1024,
        num_eval: Count = 2500,
        batch_size: Positive = 32,
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
        self.num_train, self.num_eval = num_train, num_eval
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
        edges = self._axis(self.num_eval)
        return Splits(
            train=self._split(self._axis(self.num_train)),
            val=self._split((edges[:-1] + edges[1:]) / 2),
            test=self._split(edges),
        )

    def _axis(self, num_points: int) -> np.ndarray:
        """Returns the coordinates along an axis of the largest grid with at most `num_points`."""
        return np.linspace(-np.pi, np.pi, math.floor(num_points ** (1 / self.dimensions) + 1e-9))

    def _split(self, axis: np.ndarray) -> Split:
        columns = np.meshgrid(*[axis] * self.dimensions, indexing="ij")
        points = np.stack(columns, axis=-1).reshape(-1, self.dimensions)
        values = self.target(points)
        if not np.isfinite(values).all():
            where = ", ".join(f"{x:.4g}" for x in points[~np.isfinite(values[:, 0])][0])
            raise UserError(
                f"function {self.function!r} has no finite value at ({where}): set --data.function "
                "to one that is finite on [-pi, pi]"
            )
        return Split(torch.from_numpy(points).float(), torch.from_numpy(values).float())


def evaluate(expression: str, variables: Mapping[str, np.ndarray]) -> np.ndarray:
    """Evaluates a formula such as `sin(x) / x` or `exp(-(x1**2 + x2**2))`, without `eval`.

    A formula consists of numbers, the variables (arrays of equal shape), `pi`, `e`, `+ - * / **`,
    comparisons of two values (1 if true, 0 if false) and the numpy functions named above. The
    result is float64 of that shape, infinite or NaN at points where the formula has no value.

    Raises:
        UserError: If the formula has any other part; it names the part.
    """
    names = CONSTANTS | dict(variables)

    def value(node: ast.AST) -> Any:
        match node:
            case ast.Constant(value=int() | float() as number):
                return np.float64(number)  # overflows to inf: 9**9**9 costs nothing
            case ast.Name(id=name) if name in names:
                return names[name]
            case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
                return OPERATORS[type(op)](value(operand))
            case ast.BinOp(op=op, left=left, right=right) if type(op) in OPERATORS:
                return OPERATORS[type(op)](value(left), value(right))
            case ast.Compare(ops=[op], left=left, comparators=[right]) if type(op) in OPERATORS:
                # Floats, so that + adds comparisons.
                return OPERATORS[type(op)](value(left), value(right)) * 1.0
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if FORMULA_FUNCTIONS.get(
                name
            ) == len(args):
                return getattr(np, name)(*map(value, args))
        raise ValueError(f"{ast.unparse(node)!r:.80} is not part of a formula")

    try:
        with np.errstate(all="ignore"):
            values = value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        known = ", ".join([*names, *FORMULA_FUNCTIONS])
        raise UserError(
            f"function {expression!r:.80} cannot be evaluated ({error}): set --data.function to "
            f"something like 'sin(x)'; names are {known}"
        ) from error
    return np.zeros_like(next(iter(variables.values()))) + values
