"""Evaluates formulas from the command line on numpy arrays, without `eval`."""

import ast
import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from runtime.errors import UserError

_OPERATORS: dict[type, Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.UAdd: operator.pos, ast.USub: operator.neg,
    ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: operator.pow,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
_CONSTANTS = {"pi": np.float64(np.pi), "e": np.float64(np.e)}  # division by zero gives inf
_FUNCTIONS = (
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"),
    *("exp", "log", "sqrt", "abs", "sign", "floor", "ceil", "minimum", "maximum", "where"),
)


def evaluate(expression: str, variables: Mapping[str, np.ndarray]) -> np.ndarray:
    """Evaluates a formula such as `sin(x) / x` or `exp(-(x1**2 + x2**2))`.

    A formula consists of numbers, the variables (arrays of equal shape), `pi`, `e`, `+ - * / **`,
    comparisons (1 if true, 0 if false) and the numpy functions named above. The result is float64
    of that shape, infinite or NaN at points where the formula has no value. The error of a formula
    with any other part names it.
    """
    names = {**_CONSTANTS, **variables}

    def refusal(node: ast.AST, why: str) -> UserError:
        part = ast.get_source_segment(expression.strip(), node) or type(node).__name__
        return UserError(
            f"function {_short(expression)}: {_short(part)} {why}: correct --data.function"
        )

    def apply(node: ast.AST, op: ast.AST, *values: Any) -> Any:
        if type(op) not in _OPERATORS:
            raise refusal(node, f"uses an operator that is not allowed ({type(op).__name__})")
        return _OPERATORS[type(op)](*values)

    def value(node: ast.AST) -> Any:
        match node:
            case ast.Constant(value=bool() | complex() | str() | bytes() | None):
                raise refusal(node, "is not a real number")
            case ast.Constant(value=int() | float() as number):
                return np.float64(number)  # overflows to inf: 9**9**9 costs nothing
            case ast.Name(id=name):
                if name not in names:
                    raise refusal(node, f"is unknown (known: {', '.join(sorted(names))})")
                return names[name]
            case ast.UnaryOp(op=op, operand=operand):
                return apply(node, op, value(operand))
            case ast.BinOp(op=op, left=left, right=right):
                return apply(node, op, value(left), value(right))
            case ast.Compare(ops=ops):
                values = [value(part) for part in (node.left, *node.comparators)]
                pairs = zip(ops, values[:-1], values[1:], strict=True)
                # Floats, so that + adds comparisons.
                return math.prod((apply(node, *pair) for pair in pairs), start=1.0)
            case ast.Call(func=function, args=args):
                name = getattr(function, "id", "")
                if name not in _FUNCTIONS:
                    known = ", ".join(_FUNCTIONS)
                    raise refusal(function, f"is no function known here ({known})")
                count = getattr(getattr(np, name), "nin", 3)  # `where` alone is no ufunc
                if len(args) != count or node.keywords:
                    raise refusal(node, f"needs {count} argument{'s' * (count > 1)}")
                return getattr(np, name)(*map(value, args))
        raise refusal(node, "is not allowed in a formula")

    try:
        with np.errstate(all="ignore"):
            values = value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        problem = f"function {_short(expression)} is not a formula ({error})"
        remedy = "set --data.function to something like 'sin(x)'"
        raise UserError(f"{problem}: {remedy}") from error
    return np.broadcast_to(np.asarray(values, np.float64), next(iter(variables.values())).shape)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
