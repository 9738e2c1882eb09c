"""Evaluates formulas from the command line on numpy arrays, without `eval`."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from lightning.pytorch.utilities.exceptions import MisconfigurationException

_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_CONSTANTS = {
    "pi": np.float64(np.pi),
    "e": np.float64(np.e),
}  # Division of these by zero gives inf.
_FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    **{
        name: (getattr(np, name), 1)
        for name in (
            *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"),
            *("exp", "log", "sqrt", "abs", "sign", "floor", "ceil"),
        )
    },
    "minimum": (np.minimum, 2),
    "maximum": (np.maximum, 2),
    "where": (np.where, 3),
}


def evaluate(expression: str, variables: Mapping[str, np.ndarray]) -> np.ndarray:
    """Evaluates a formula such as `sin(x) / x` or `exp(-(x1**2 + x2**2))`.

    A formula consists of numbers, the variables, `pi`, `e`, `+ - * / **`, comparisons (1 if true,
    0 if false) and the numpy functions named above.

    Args:
        expression: The formula.
        variables: Arrays of equal shape, by name.

    Returns:
        float64 of that shape; infinite or NaN at points where the formula has no value.

    Raises:
        MisconfigurationException: The formula has another part, which the message names.
    """
    try:
        body = ast.parse(expression.strip(), mode="eval").body
        with np.errstate(all="ignore"):
            values = _Evaluator(expression, variables).visit(body)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise MisconfigurationException(
            f"function {expression[:80]!r} is not a formula ({error}): set --data.function to "
            "something like 'sin(x)'"
        ) from error
    shape = np.shape(next(iter(variables.values())))
    return np.broadcast_to(np.asarray(values, np.float64), shape)


class _Evaluator(ast.NodeVisitor):
    """Walks the syntax tree and refuses every node that has no method here."""

    def __init__(self, expression: str, variables: Mapping[str, np.ndarray]) -> None:
        self.expression = expression
        self.names = {**_CONSTANTS, **variables}

    def refuse(self, node: ast.AST, why: str) -> MisconfigurationException:
        part = ast.get_source_segment(self.expression.strip(), node) or type(node).__name__
        return MisconfigurationException(
            f"function {self.expression!r}: {part!r} {why}: correct --data.function"
        )

    def generic_visit(self, node: ast.AST) -> Any:
        raise self.refuse(node, "is not allowed in a formula")

    def visit_Constant(self, node: ast.Constant) -> np.float64:  # noqa: N802
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise self.refuse(node, "is not a real number")
        return np.float64(node.value)  # overflows to inf: 9**9**9 costs nothing

    def visit_Name(self, node: ast.Name) -> Any:  # noqa: N802
        if node.id not in self.names:
            raise self.refuse(node, f"is unknown (known: {', '.join(sorted(self.names))})")
        return self.names[node.id]

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:  # noqa: N802
        return self.operator(node, node.op)(self.visit(node.operand))

    def visit_BinOp(self, node: ast.BinOp) -> Any:  # noqa: N802
        return self.operator(node, node.op)(self.visit(node.left), self.visit(node.right))

    def visit_Compare(self, node: ast.Compare) -> Any:  # noqa: N802
        values = [self.visit(value) for value in (node.left, *node.comparators)]
        result: Any = 1.0
        for op, left, right in zip(node.ops, values[:-1], values[1:], strict=True):
            result = result * self.operator(node, op)(left, right)  # float, so that + adds
        return result

    def visit_Call(self, node: ast.Call) -> Any:  # noqa: N802
        if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS:
            raise self.refuse(node.func, f"is no function known here ({', '.join(_FUNCTIONS)})")
        function, count = _FUNCTIONS[node.func.id]
        if len(node.args) != count or node.keywords:
            raise self.refuse(node, f"needs {count} argument{'s' * (count > 1)}")
        return function(*map(self.visit, node.args))

    def operator(self, node: ast.AST, op: ast.AST) -> Callable[..., Any]:
        if type(op) not in _OPERATORS:
            raise self.refuse(node, f"uses an operator that is not allowed ({type(op).__name__})")
        return _OPERATORS[type(op)]
