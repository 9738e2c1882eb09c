"""Imports go down the list in CONTRIBUTING, have no circle, start no threads, change nothing."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from commands import COMMANDS
from tests.conftest import ROOT

PATHS = {path.partition(":")[0] for path, _ in COMMANDS.values()}
TOOLS = {path for path in PATHS if path.startswith("commands.")} - {"commands.fit.lightning_run"}
ORDER = (  # A line imports from the lines below it, and nothing from its own line but itself.
    {"cli", "ladder"},
    {"commands"},
    {"pages"},
    {"results"},
    {"callbacks"},
    {"figures", "models", "datamodules", "metrics"},
    {"runtime"},
)
ROOMS = sorted(set().union(*ORDER[1:]))
TOP = [ROOT / "cli.py", ROOT / "ladder.py"]
MODULES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
SCRIPT = """
import atexit, gc, importlib, logging, os, random, signal, sys, threading, warnings

ours, others = (argument.split() for argument in sys.argv[1:])
for name in others:
    importlib.import_module(name)
import matplotlib, multiprocessing, numpy, torch

def state():
    return {
        "threads": len(os.listdir("/proc/self/task")) if os.path.isdir("/proc") else 0,
        "Python's threads": threading.enumerate(),
        "torch's threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch's settings": (
            torch.get_default_dtype(), torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled(),
            torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic,
        ),
        "random numbers": (
            random.getstate(), str(numpy.random.get_state()), torch.get_rng_state().tolist(),
        ),
        "garbage collection": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()),
        "signal handlers": [signal.getsignal(n) for n in signal.valid_signals()],
        "warnings": (list(warnings.filters), warnings.showwarning),
        "loggers": [
            (name, logger.level, logger.handlers[:], logger.filters[:])
            for name, logger in logging.root.manager.loggerDict.items()
            if isinstance(logger, logging.Logger) and name in known
        ] + [logging.root.level, logging.root.handlers[:]],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": sys.path[:],
        "hooks": (sys.excepthook, sys.displayhook, sys.unraisablehook),
        "exit handlers": atexit._ncallbacks(),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "figures": dict(matplotlib.rcParams),
    }

def audit(event, args):
    if event == "open":
        path, _, flags = args
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        is_source = str(path).endswith((".py", ".pyc", ".so"))
        if writes or os.path.abspath(str(path)).startswith(folder) and not is_source:
            touched.append((event, path))
    elif event in ("_thread.start_new_thread", "subprocess.Popen", "os.fork", "socket.connect"):
        touched.append((event, args))
    elif event.split(".")[0] in ("os", "shutil") and event not in ("os.listdir", "os.scandir"):
        touched.append((event, args))

known, touched, folder = [*logging.root.manager.loggerDict], [], os.getcwd()
sys.addaudithook(audit)

def unchanged(what):
    after = state()
    for name in before:
        if before[name] != after[name]:
            sys.exit(f"{what} changed {name}: {before[name]!r:.500} -> {after[name]!r:.500}")
    if touched:
        sys.exit(f"{what} touched {touched}")

before = state()
for name in ours:
    importlib.import_module(name)
    unchanged("import " + name)
sys.argv = ["cli.py", "--help"]
sys.modules["cli"].main()
unchanged("cli.py --help")
"""


def name_of(path: Path) -> str:
    """Returns the import path of a module of ours."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def graph_of(paths: list[Path]) -> dict[str, set[str]]:
    """Returns the modules of ours that each module imports, also inside functions."""
    ours, graph = {name_of(path) for path in paths}, {}
    for path in paths:
        found = graph.setdefault(name_of(path), set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= ours.intersection(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                parts = {f"{node.module}.{alias.name}" for alias in node.names} & ours
                found |= parts or {str(node.module)} & ours
    return graph


def place_of(module: str) -> tuple[int, str]:
    """Returns the line of a module in the order of rooms, and its room."""
    room = module.partition(".")[0]
    return next((k, room) for k, line in enumerate(ORDER) if room in line)


def test_imports_go_down_the_table_of_rooms():
    graph = graph_of([*TOP, *MODULES])
    pairs = [(one, other) for one, others in graph.items() for other in others]
    places = [(one, other, place_of(one), place_of(other)) for one, other in pairs]
    assert len(places) > 200
    assert [(a, b) for a, b, one, other in places if one != other and one[0] >= other[0]] == []


def test_no_tool_imports_another():
    graph = graph_of(MODULES)
    assert len(TOOLS) > 5
    assert {tool: graph[tool] & TOOLS for tool in TOOLS if graph[tool] & TOOLS} == {}


def test_no_imports_form_a_circle():
    TopologicalSorter(graph_of([*TOP, *MODULES])).prepare()  # raises an error that has the circle


def imported(path: Path) -> Iterator[str]:
    """Yields the modules of others that a file of ours imports when it is imported."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (
            name for name in names if name.partition(".")[0] not in (*ROOMS, "cli", "ladder")
        )


@pytest.mark.slow
def test_an_import_and_help_start_nothing_and_change_nothing():
    """Others' modules may: they are imported before."""
    others = sorted({name for path in [*TOP, *MODULES] for name in imported(path)})
    ours = ["cli", *map(name_of, MODULES), "ladder"]
    command = [sys.executable, "-c", SCRIPT, " ".join(ours), " ".join(others)]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("usage: python cli.py")
