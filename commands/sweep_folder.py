"""The folder of a sweep: bound to its settings, and the scores of the runs in it.

Imports nothing heavy.
"""

import difflib
import hashlib
import re
import subprocess
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from commands.arguments import given_files
from commands.compare import scores_of
from commands.errors import did_you_mean
from commands.sweep_runs import TRY_AGAIN, environment, fit_command, last_error, locked, run_folder
from runtime import signals
from runtime.errors import UserError
from runtime.files import read_json, write_json

SETTINGS = "sweep.json"
MACHINE = ("train/memory_gb", "train/examples_per_s", "train/grad_norm")  # say nothing of quality


def by_name(args: Sequence[str]) -> dict[str, str]:
    """Returns the values of options by name; those of one that is repeated are joined."""
    found: dict[str, list[str]] = {}
    name = ""
    for arg in args:
        if arg.startswith("--"):
            name, equals, value = arg.partition("=")
            found.setdefault(name, []).extend([value] if equals else [])
        else:
            found.setdefault(name, []).append(arg)
    return {name: " ".join(values) for name, values in found.items()}


def prepare(
    options: Namespace, fit: Sequence[str], settings: Mapping[str, Any], probe: Sequence[str]
) -> None:
    """Binds a folder to a sweep's settings. Refuses another sweep's folder and wrong options.

    Args:
        options: The sweep's options. Their `out` is the folder, which is made if all is well.
        fit: Options of `fit` for all runs.
        settings: What the sweep's runs depend on, beside `fit`.
        probe: Options of `fit` for one of the runs, to see whether `fit` accepts them.
    """
    folder, files = options.out, given_files([*fit])
    digests = {f"the content of {f}": hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
    wanted = {**settings, **by_name(fit), **digests}
    if _is_bound(folder, wanted):
        return
    _insist_that_fit_accepts([*fit, *probe], vars(options))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"cannot be written to ({error.strerror}). Give another folder."
        raise UserError(f"--out {folder}: {reason}") from error
    with locked(folder):
        if not _is_bound(folder, wanted):  # another process may have been faster
            write_json(folder / SETTINGS, wanted)


def _is_bound(folder: Path, wanted: dict[str, Any]) -> bool:
    bound = read_json(folder / SETTINGS)
    if not bound and folder.exists() and any(folder.glob("[!.]*")):
        raise UserError(f"--out {folder}: not a sweep's folder, and not empty. Give another.")
    for name in [*bound, *wanted] if bound else ():
        if bound.get(name) != wanted.get(name):
            values = f": {_shown(bound.get(name))} there, {_shown(wanted.get(name))} here"
            raise UserError(
                f"{folder} belongs to another sweep, which differs in {name}"
                f"{'' if name.startswith('the content') else values}. "
                "Give another folder with --out, or delete that one."
            )
    return bool(bound)


def _shown(value: Any) -> str:
    return "not given" if value is None else f"'{value}'"


def _insist_that_fit_accepts(args: Sequence[str], own: Iterable[str]) -> None:
    """Refuses options that `fit` refuses, and suggests one of the sweep's own that is near."""
    command = fit_command(*args, "--print_config")
    done = subprocess.run(command, capture_output=True, text=True, env=environment(1))
    if signals.stop_requested():
        raise SystemExit(TRY_AGAIN)
    if done.returncode:
        line = last_error(done.stderr)
        unknown = re.match(r"there is no option '--(\w+)'\.", line)
        near = difflib.get_close_matches(unknown[1], own, n=1) if unknown else []
        hint = did_you_mean(f"--{name}" for name in near)
        raise UserError(unknown[0] + hint if unknown and hint else line)


def scores_line(folder: Path) -> str:
    """Returns the scores of a run of the sweep, to be appended to a line; empty without any."""
    own = run_folder(folder)
    scores = scores_in(own)[0] if own else {}
    shown = ", ".join(f"{k} {'-' if v is None else f'{v:.4g}'}" for k, v in scores.items())
    return f": {shown}" if shown else ""


def scores_in(folder: Path) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Returns scores and floors on validation data, or else the last ones in training."""
    scores, floors = scores_of(folder, ["val"])
    if not scores:
        scores, floors = scores_of(folder, ["train"])
    return {k: v for k, v in scores.items() if not k.startswith(MACHINE)}, floors
