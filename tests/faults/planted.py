"""Measures whether the quick tests see errors: planted bugs, or mutants of the product's code.

Run `python -m tests.faults.planted` with

    bugs                           the twenty bugs below
    mutants --count 60 --seed 0    that many small changes, drawn at random
    nothing                        no change: if this is found, the other answers mean nothing

Each change is made alone, in a copy of the tracked files. The nearest tests run first. If they
pass, all quick tests follow for a bug; for a mutant, the tests of the rooms that use its file.
"""

import argparse
import ast
import importlib
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("models", "runtime", "datamodules", "metrics")  # whose code gets mutants
USERS = (
    "models",
    "datamodules",
    "metrics",
    "callbacks",
    "commands",
    "figures",
    "pages",
)  # import it
QUICK = "not slow and not slurm and not gpu and not extras and not browser and not faults"
FORK = multiprocessing.get_context("fork")
LARGE = "lightning.pytorch", "sklearn.datasets"  # imported once, for all calls of pytest
LIMITS = 180, 3600  # seconds of a test, and of one call of pytest
OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.And: (ast.Or,), ast.Or: (ast.And,),
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,), ast.Mod: (ast.Mult,), ast.Pow: (ast.Mult,),
}  # fmt: skip


class Bug(NamedTuple):
    """A training bug of the kinds that Jiang et al. 2025 collected (OSDI, "TrainCheck")."""

    what: str
    file: str
    old: str  # occurs once in the file
    new: str


BUGS = (
    Bug("a network stays in eval mode", "models/base.py",
        "module.training = training", "module.training = False"),
    Bug("gradients are not cleared", "models/base.py",
        "                parameter.grad = None", "                pass"),
    Bug("the moving average is never updated", "models/training.py",
        "self.ema.update(self.network,", "self.ema.update(self.ema.network,"),
    Bug("samples come from the wrong network", "models/gan/gan.py",
        "return self.generator if self.ema is None else self.ema.network",
        "return self.generator"),
    Bug("the generator's loss has gradients for D", "models/gan/gan.py",
        "with g_optimizer.toggle_model(sync_grad=False):", "with nullcontext():"),
    Bug("the schedule is stepped twice", "models/training.py",
        "self.schedule.factor(step, total)", "self.schedule.factor(2 * step, total)"),
    Bug("gradients are not clipped", "models/gan/alternating.py",
        'self.clip_gradients(optimizer, self.gradient_clip_val, "norm")', "pass"),
    Bug("accumulated gradients are not scaled", "models/gan/alternating.py",
        "self.manual_backward(loss / self.accumulate_grad_batches)", "self.manual_backward(loss)"),
    Bug("gradients are summed over ranks", "models/distributed.py",
        "flat /= dist.get_world_size()", "flat /= 1"),
    Bug("all ranks draw the same noise", "models/generative.py",
        "slice(self.global_rank * count, (self.global_rank + 1) * count)", "slice(0, count)"),
    Bug("training images of an evaluation are augmented", "models/classifier.py",
        "if self.training:\n", "if True:\n"),
    Bug("labels belong to other images", "datamodules/loader.py",
        "tuple(tensor.index_select(0, index[i]) for tensor in self.tensors)",
        "tuple(t.index_select(0, index[i].roll(k)) for k, t in enumerate(self.tensors))"),
    Bug("each epoch has the same order", "datamodules/loader.py",
        "SeedSequence([self.seed, self.epoch])", "SeedSequence([self.seed, 0])"),
    Bug("validation images are trained on", "datamodules/base.py",
        "return kept, cut", "return train, cut"),
    Bug("a classifier is validated on the test split", "datamodules/base.py",
        'else self._loader("val")', 'else self._loader("test")'),
    Bug("the judge uses batch statistics", "metrics/judge.py",
        "return network_of(weights, shape).eval().requires_grad_(False)\n\n\ndef network_of",
        "return network_of(weights, shape).requires_grad_(False)\n\n\ndef network_of"),
    Bug("a generator is validated on the test split", "callbacks/quality.py",
        'data.splits.test if stage == "test" else data.splits.val', "data.splits.test"),
    Bug("generated images are scored with the labels of others", "callbacks/quality.py",
        "yield to_pixels(model(latents, labels)), labels",
        "yield to_pixels(model(latents, labels)).flip(0), labels"),
    Bug("a resumed epoch starts at its first batch", "runtime/lightning_fixes.py",
        "loop._load_combined_loader_states()", "pass"),
    Bug("a repeated step counts", "runtime/repetition.py",
        "tensor.data.copy_(value)", "pass"),
)  # fmt: skip


class Change(NamedTuple):
    """A file's text after one change, and what is said about it."""

    file: str
    line: int
    old: str
    new: str
    text: str


def changed(file: str, start: int, end: int, new: str) -> Change:
    """Replaces the bytes from `start` to `end` of a file."""
    whole = (ROOT / file).read_bytes()
    text = (whole[:start] + new.encode() + whole[end:]).decode()
    return Change(file, whole[:start].count(b"\n") + 1, whole[start:end].decode(), new, text)


def planted(bug: Bug) -> Change:
    """Returns the change that plants a bug; a ValueError unless its text occurs once."""
    whole, old = (ROOT / bug.file).read_bytes(), bug.old.encode()
    if (count := whole.count(old)) != 1:
        raise ValueError(f"{bug.file} contains {bug.old!r} {count} times, not once")
    start = whole.index(old)
    return changed(bug.file, start, start + len(old), bug.new)


def mutants(files: list[str]) -> list[Change]:
    """Returns all mutants of the product's files."""
    found = []
    for file in files:
        if file.endswith(".py") and file.startswith(tuple(f"{room}/" for room in ROOMS)):
            lines = [0]  # where each line starts
            for line in (ROOT / file).read_bytes().splitlines(keepends=True):
                lines.append(lines[-1] + len(line))
            for node, new in variants(ast.parse((ROOT / file).read_bytes())):
                start = lines[node.lineno - 1] + node.col_offset
                end = lines[node.end_lineno - 1] + node.end_col_offset
                found.append(changed(file, start, end, new))
    return found


def variants(node: ast.AST) -> Iterator[tuple[Any, str]]:
    """Yields nodes below `node`, each with a text to replace it. Messages are left alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.JoinedStr | ast.Raise | ast.Assert):
            continue
        yield from variants(child)
        match child:
            case ast.Compare(ops=[op]):
                for other in OPERATORS[type(op)]:
                    yield child, f"({ast.unparse(with_(child, ops=[other()]))})"
            case ast.BinOp(op=op) | ast.BoolOp(op=op):
                for other in OPERATORS.get(type(op), ()):
                    yield child, f"({ast.unparse(with_(child, op=other()))})"
            case ast.UnaryOp(op=ast.Not()):
                yield child, f"bool({ast.unparse(child.operand)})"
            case ast.If() | ast.IfExp() | ast.While():
                yield child.test, f"(not ({ast.unparse(child.test)}))"
            case ast.Constant(value=bool(value)):
                yield child, str(not value)
            case ast.Constant(value=int(value) | float(value)):
                yield child, repr(value + 1)
            case ast.Return(value=ast.expr()):
                yield child, "return None"
            case ast.Expr(value=ast.Call()) | ast.AugAssign():
                yield child, "pass"
            case ast.Slice():
                for bound in ("lower", "upper"):
                    if getattr(child, bound) is not None:
                        yield child, ast.unparse(with_(child, **{bound: None}))


def with_(node: ast.AST, **fields: Any) -> ast.AST:
    """Returns a copy of a node with other fields."""
    other = copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def tests_for(file: str, files: list[str], whole: bool) -> Iterator[list[str]]:
    """Yields the nearest tests of a file, those of its room, and the others."""
    room, module = file.split("/")[0], file.removesuffix(".py").replace("/", ".")
    known = [f for f in files if re.match(rf"tests/({room}/)?test_\w+\.py", f)]
    near = [f for f in known if f.endswith(f"/test_{Path(file).stem}.py")]
    near += [f for f in known if f not in near and module in text_of(f)]
    if near:
        yield near
    without = [f"--ignore={f}" for f in near]
    yield [f"tests/{room}", *without]
    users = {f.split("/")[0] for f in files if f.endswith(".py") and module in text_of(f)}
    rest = [f"tests/{user}" for user in sorted(users.intersection(USERS) - {room})]
    if whole or rest:
        yield [*(["tests"] if whole else rest), f"--ignore=tests/{room}", *without]


def text_of(file: str) -> str:
    """Returns the text of a tracked file."""
    return (ROOT / file).read_text()


def finder(folder: Path, tests: list[str]) -> str:
    """Returns what finds an error in a copy of the project; empty if all these tests pass."""
    options = [
        "-x", "-q", "-rfE", "-m", QUICK, f"--basetemp={folder.parent / 'temporary'}",
        "-o", f"faulthandler_timeout={LIMITS[0]}", "-o", "faulthandler_exit_on_timeout=true",
        "--ignore=tests/test_planted.py",  # which finds each bug in this file's list
    ]  # fmt: skip
    output = folder.parent / "output"
    process = FORK.Process(target=run_pytest, args=(folder, [*options, *tests], output))
    process.start()
    try:
        process.join(LIMITS[1])
        is_late = process.is_alive()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)  # with what a test may have left
    if is_late:
        return "the time limit"
    if process.exitcode in (0, 5):  # 5: nothing was selected
        return ""
    found = re.findall(r"^(?:FAILED|ERROR) (\S+)", output.read_text(), re.MULTILINE)
    return found[0] if found else f"exit code {process.exitcode}"


def run_pytest(folder: Path, args: list[str], output: Path) -> None:
    """Runs tests of the copy in this process, which has imported the large libraries already."""
    os.setpgrp()
    with output.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    for name in [n for n in sys.modules if n.split(".")[0] == "tests"]:
        del sys.modules[name]  # the copy has its own
    os.chdir(folder)
    sys.path[0] = str(folder)
    sys.exit(pytest.main(args))


def main() -> None:
    """Makes each change, runs the tests and prints what found it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["bugs", "mutants", "nothing"])
    parser.add_argument("--count", type=int, default=60, help="number of mutants")
    parser.add_argument("--seed", type=int, default=0, help="decides which mutants")
    options = parser.parse_args()
    listed = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True)
    files, missed = listed.splitlines(), 0
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in LARGE:
        importlib.import_module(name)
    if options.what == "mutants":
        changes = mutants(files)
        random.Random(options.seed).shuffle(changes)  # fewer are the first of more
        changes = changes[: options.count]
    else:
        changes = [planted(bug) for bug in BUGS]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "project"
        subprocess.check_call(["git", "clone", "--quiet", ROOT, folder])
        for file in files:  # as they are now
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
        if options.what == "nothing":
            sys.exit(finder(folder, ["tests"]) or 0)
        for change in changes:
            begun = time.perf_counter()
            (folder / change.file).write_text(change.text)
            stages = tests_for(change.file, files, whole=options.what == "bugs")
            found = next(filter(None, (finder(folder, tests) for tests in stages)), "")
            shutil.copy(ROOT / change.file, folder / change.file)
            missed += not found
            what = " -> ".join(" ".join(text.split())[:80] for text in (change.old, change.new))
            answer = f"{found or 'MISSED'} ({time.perf_counter() - begun:.0f} s)"
            print(f"{change.file}:{change.line} {what}: {answer}", flush=True)
    print(f"{len(changes) - missed} of {len(changes)} found, {missed} missed")


if __name__ == "__main__":
    main()
