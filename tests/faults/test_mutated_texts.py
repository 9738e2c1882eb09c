"""Damaged configs and formulas are refused in one line, or mean what they say."""

import ast
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import yaml

from commands import config_files
from datamodules.expressions import evaluate
from runtime.errors import UserError
from tests.conftest import ROOT
from tests.faults.ledger import Ledger, rounds
from tests.faults.mutations import mutated, run
from tests.faults.test_mutations import check_refusal
from tests.test_cli import parsed

CONFIGS = [path.read_text() for path in sorted((ROOT / "configs").glob("**/*.yaml"))]
YAML_TOKENS = [
    "&a ", "*a", "<<: *a", "{", "}", "[", "]", ": ", "- ", "? ", "!!python/object:os.system ",
    "!!binary ", "!!timestamp 2001-99-99", "| ", "> ", "%YAML 1.1", "---", "...", "\t", "\0",
    "\ufeff", "\u2028", "\U0001f600", "#", "'", '"', '"\\ud800"', "null", "~", "1e999", ".nan",
    "0o7", "0b", "1_000", "1:30", "@", "`", "=", "x" * 2000, "model: ", "class_path: ",
    "init_args: ", "[" * 3000, "{a: " * 3000, "- " * 3000, "9" * 5000,
]  # fmt: skip


def bomb(random: Random) -> str:
    depth, width = random.randrange(1, 30), random.randrange(1, 12)
    lines = ["a0: &a0 [x, x]"]
    for level in range(1, depth):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]")
    return "\n".join(lines)


def with_token(text: str, tokens: list[str], random: Random) -> str:
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randrange(len(text) + 1)
        end = at + random.choice((0, 0, 1, 10))
        text = text[:at] + random.choice(tokens) + text[end:]
    return text


def with_other_lines(text: str, random: Random) -> str:
    lines = text.splitlines(keepends=True)
    for _ in range(random.randrange(1, 4)):
        at, other = random.randrange(len(lines)), random.choice(lines)
        lines[at] = random.choice(("", other, lines[at] * 2, "  " + lines[at], lines[at].strip()))
    return "".join(lines)


def with_other_structure(text: str, random: Random) -> str:
    """Replaces a random part of a config by something else of it, or by another value."""
    config = yaml.safe_load(text)
    parts: list[tuple[Any, Any]] = []

    def collect(value: Any) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in items:
            parts.append((value, key))
            if isinstance(part, dict | list):
                collect(part)

    collect(config)
    owner, key = random.choice(parts)
    source, name = random.choice(parts)
    strange = [None, [], {}, "", -1, 1e30, float("nan"), True, "x" * 200, [[[1]]], {1: 2}, "../.."]
    owner[key] = random.choice([source[name], *strange])
    return yaml.safe_dump(config)


class WithoutDuplicates(yaml.SafeLoader):
    """Fails if a key appears twice, of which one value would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        assert len(set(map(str, keys))) == len(keys), keys
        return super().construct_mapping(node, deep)


TEXTS: list[Callable[[str, Random], str]] = [
    lambda text, random: with_token(text, YAML_TOKENS, random), with_other_lines,
    with_other_structure, lambda text, random: bomb(random),
]  # fmt: skip


def test_damaged_configs(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"

    def one_round(random: Random) -> None:
        text = random.choice(CONFIGS)
        if random.random() < 0.4:
            data = mutated(text.encode(), [random.choice(CONFIGS).encode()], random)
        else:
            data = random.choice(TEXTS)(text, random).encode(errors="surrogatepass")
        path.write_bytes(data)
        try:
            config_files.check([path])
        except UserError as error:
            check_refusal(error, str(path))
            return
        yaml.load(data.decode(), Loader=WithoutDuplicates)
        if random.random() < 0.02:
            try:
                parsed("fit", "--config", str(path))
            except UserError as error:
                check_refusal(error, "")

    run(ledger, "mutated YAML file", rounds(10_000, 300), one_round)


X = {"x1": np.linspace(-3.0, 3.0, 7), "x2": np.array([0.0, -1.0, 0.5, np.inf, 2.0, -3.5, 1e200])}
NUMBERS = ["0", "1", "2", "10", "0.5", "2.5e-3", "1e3", "1e400", "3."]
BINARY = {"+": 2, "-": 2, "*": 3, "/": 3, "**": 5}  # with their precedence
COMPARISONS = ["<", "<=", ">", ">=", "==", "!="]
UNARY, ATOM = 4, 6
FUNCTIONS = {
    "sin": 1, "cos": 1, "tan": 1, "arcsin": 1, "arccos": 1, "arctan": 1, "sinh": 1, "cosh": 1,
    "tanh": 1, "exp": 1, "log": 1, "sqrt": 1, "abs": 1, "sign": 1, "floor": 1, "ceil": 1,
    "minimum": 2, "maximum": 2, "where": 3,
}  # fmt: skip
OPERATE = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b,
    "/": lambda a, b: a / b, "**": lambda a, b: a**b, "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
}  # fmt: skip


def formula(random: Random, depth: int) -> tuple[str, int, Any]:
    """Returns a formula with as few parentheses as it needs, its precedence and its value."""
    kind = random.random()
    if depth == 0 or kind < 0.1:
        if random.random() < 0.5:
            number = random.choice(NUMBERS)
            return number, ATOM, np.float64(float(number))
        name = random.choice([*X, "pi", "e"])
        return name, ATOM, {**X, "pi": np.float64(np.pi), "e": np.float64(np.e)}[name]
    if kind < 0.5:
        operator = random.choice([*BINARY])
        own, right_associative = BINARY[operator], operator == "**"
        left, a = in_parentheses(formula(random, depth - 1), own + right_associative)
        right, b = in_parentheses(formula(random, depth - 1), UNARY if own == 5 else own + 1)
        return f"{left}{operator}{right}", own, OPERATE[operator](a, b)
    if kind < 0.6:
        sign = random.choice("+-")
        text, a = in_parentheses(formula(random, depth - 1), UNARY)
        return f"{sign}{text}", UNARY, a * 1.0 if sign == "+" else -(a * 1.0)
    if kind < 0.75:
        text, a = in_parentheses(formula(random, depth - 1), 2)
        value: Any = 1.0
        for _ in range(random.choice((1, 1, 2))):
            other, b = in_parentheses(formula(random, depth - 1), 2)
            operator = random.choice(COMPARISONS)
            text, value = f"{text} {operator} {other}", value * OPERATE[operator](a, b)
            a = b
        return text, 1, value
    name = random.choice([*FUNCTIONS])
    parts = [formula(random, depth - 1) for _ in range(FUNCTIONS[name])]
    text = f"{name}({', '.join(part[0] for part in parts)})"
    return text, ATOM, getattr(np, name)(*(part[2] for part in parts))


def in_parentheses(part: tuple[str, int, Any], least: int) -> tuple[str, Any]:
    text, precedence, value = part
    return (text if precedence >= least else f"({text})"), value


FORMULA_TOKENS = [
    "**", "9**9**9", "9**9**9**9", "(", ")", ",", "lambda: 0", "__import__('os')", "x1.real",
    "[x1 for x1 in x2]", "x1 if x1 else x2", "'a'*9", "f'{x1}'", "x1[0]", "(x1:=1)", "True", "None",
    "1j", "0x_f", "1_000", "\u0663", "\uff581", "\n", ";", "#", "\\", "\0", "*x1", "**x1",
    "not x1", " and ", " in ", " is ", "~", "@", "//", "%", "<<", "|", "exp(", "x1=2", "nan", "x3",
    "(" * 300, "-" * 3000, "sin(" * 90, "x1+" * 3000, "2**" * 1500, "9" * 5000, "1e999999",
    "x" * 3000, "\ud800", "...", "print", "eval", "open", "yield", "await x1", "9.9.9", "1__0",
]  # fmt: skip


class AsFloats(ast.NodeTransformer):
    """Lets Python itself evaluate a formula, with floats where it would use integers and truth."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:  # noqa: N802
        return ast.Call(ast.Name("number", ast.Load()), [node], [])

    def visit_Compare(self, node: ast.Compare) -> ast.AST:  # noqa: N802
        self.generic_visit(node)
        if len(node.ops) > 1:
            raise RecursionError("Python has no such chain for arrays")
        return ast.BinOp(ast.Call(ast.Name("number", ast.Load()), [], []), ast.Mult(), node)


def by_python(text: str) -> Any:
    tree = ast.fix_missing_locations(AsFloats().visit(ast.parse(text.strip(), mode="eval")))
    names = {name: getattr(np, name) for name in FUNCTIONS}
    constants = {"pi": np.float64(np.pi), "e": np.float64(np.e)}
    number = {"number": lambda value=1: np.float64(value)}
    return eval(
        compile(tree, "formula", "eval"), {"__builtins__": {}}, names | constants | X | number
    )


def check_formula(random: Random) -> None:
    with np.errstate(all="ignore"):
        text, _, expected = formula(random, random.choice((1, 2, 3, 4)))
        damaged = random.random() < 0.6
        if damaged and random.random() < 0.5:
            text = mutated(text.encode(), [b"sin(x1)", b"2**x2"], random).decode(errors="replace")
        elif damaged:
            text = with_token(text, FORMULA_TOKENS, random)
        try:
            found = evaluate(text, X)
        except UserError as error:
            check_refusal(error, "function")
            if damaged:
                return
            raise AssertionError(text) from error
        if damaged:
            try:
                expected = by_python(text)
            except RecursionError:
                expected = found
    assert (found.shape, found.dtype) == ((7,), np.float64), text
    expected = np.broadcast_to(np.asarray(expected, np.float64), found.shape)
    assert np.array_equal(found, expected, equal_nan=True), (text, found, expected)


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_damaged_formulas(ledger: Ledger) -> None:
    run(ledger, "mutated formula", rounds(100_000, 4_000), check_formula)
