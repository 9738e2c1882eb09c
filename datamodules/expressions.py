"""Evaluates formulas from the command line on numpy arrays, without `eval`."""

import ast
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from runtime.errors import UserError

OPERATORS: dict[type, Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.USub: operator.neg,
    ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: operator.pow,
    ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal,
}  # fmt: skip
CONSTANTS = {"pi": np.float64(np.pi), "e": np.float64(np.e)}  # division by zero gives inf
FUNCTIONS = {  # and their numbers of arguments
    **dict.fromkeys(("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"), 1),
    **dict.fromkeys(("exp", "log", "sqrt", "abs", "sign", "floor", "ceil"), 1),
    **{"minimum": 2, "maximum": 2, "where": 3},
}


def evaluate(expression: str, variables: Mapping[str, np.ndarray]) -> np.ndarray:
    """Evaluates a formula such as `sin(x) / x` or `exp(-(x1**2 + x2**2))`.

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
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if FUNCTIONS.get(
                name
            ) == len(args):
                return getattr(np, name)(*map(value, args))
        raise ValueError(f"{ast.unparse(node)!r:.80} is not part of a formula")

    try:
        with np.errstate(all="ignore"):
            values = value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        known = ", ".join([*names, *FUNCTIONS])
        raise UserError(
            f"function {expression!r:.80} cannot be evaluated ({error}): set --data.function to "
            f"something like 'sin(x)'; names are {known}"
        ) from error
    return np.zeros_like(next(iter(variables.values()))) + values
