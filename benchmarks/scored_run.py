"""Trains a config with one seed, scores the run, and returns what it took as plain values."""

import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.report import PACKAGES, commit, cores, cpu_name
from benchmarks.worker import ROOT
from commands.sweep_runs import last_error
from runtime.checkpoints import newest, step_of
from runtime.cpu import choose_precision
from runtime.errors import UserError
from runtime.files import METRICS, read_json

MISTAKE = 2  # the exit code of `cli.py` for a mistake on the command line
STAGES = {"test": "test", "val": "validate"}  # key in metrics.json -> command
# The keys of metrics.json that are kept, by their names in a record. Scores by class are not.
KEPT = {"scores": "scores", "floor": "real_images", "counts": "samples", "judge": "judge",
        "examples": "examples"}  # fmt: skip


class Trial(NamedTuple):
    """A config with a seed, to be trained and scored."""

    config: str  # path below the project's folder
    seed: int
    options: tuple[str, ...] = ()  # further ones of `fit`
    split: str = "test"  # or "val"

    def commands(self) -> list[str]:
        """Returns the commands as one would type them; the machine's folders are left out."""
        fit = " ".join(["fit --config", self.config, *self.fit_options()])
        return [f"python cli.py {fit}", f"python cli.py {STAGES[self.split]} --ckpt_path RUN"]

    def fit_options(self) -> list[str]:
        # CPU-seconds are compared, and a GPU would hide them. An option after it takes precedence.
        return ["--seed_everything", str(self.seed), "--trainer.accelerator", "cpu", *self.options]


class Ended(NamedTuple):
    """The end of a process."""

    code: int
    cpu_seconds: float  # of the process and its children, over all cores
    error: str  # the line that says why it failed; empty if it did not


def split_options(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns a command's own options and those after `--`, which are for `fit`."""
    place = args.index("--") if "--" in args else len(args)
    return [*args[:place]], [*args[place + 1 :]]


def threads() -> str:
    """Returns the number of threads of each run: `OMP_NUM_THREADS`, or else one."""
    return os.environ.get("OMP_NUM_THREADS", "1")


def launch(args: Sequence[str], log: Path) -> Ended:
    """Runs Python with these arguments in the project's folder, and adds its output to a file."""
    environment = os.environ | {"OMP_NUM_THREADS": threads(), "PYTHONUNBUFFERED": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with log.open("ab") as file:
        start = file.tell()
        done = subprocess.run(
            [sys.executable, *args], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
            stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = sum(after[:2]) - sum(before[:2])  # user and system
    if done.returncode == 0:
        return Ended(0, seconds, "")
    said = log.read_bytes()[start:].decode(errors="replace")
    return Ended(done.returncode, seconds, f"exit code {done.returncode}: {last_error(said)}")


def train_and_score(trial: Trial, data_dir: Path, folder: Path) -> dict[str, Any]:
    """Runs `fit`, then `test` or `validate`, each in its own process.

    Args:
        trial: The config, its seed and options.
        data_dir: The folder of the data sets.
        folder: Gets the run below `seed_<n>`, and the output of both commands.

    Returns:
        A record of the run. If a command failed, its `status` is "failed" and it has a `reason`.

    Raises:
        UserError: `fit` refuses its options or finds no data, so that no run began.
    """
    folder, name = folder.resolve(), f"seed_{trial.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    place = ["--trainer.default_root_dir", str(folder), "--experiment", name]
    data = ["--data.data_dir", str(data_dir.resolve())]
    fit = launch(["cli.py", "fit", "--config", trial.config, *data, *trial.fit_options(), *place],
                 log)  # fmt: skip
    if fit.code == MISTAKE:
        raise UserError(f"{trial.config}: {fit.error.partition(': ')[2]}")
    record = {"status": "done", "seed": trial.seed, "split": trial.split, **_facts(trial)}
    record["cpu_seconds"] = {"fit": round(fit.cpu_seconds, 1)}
    if fit.code:
        return record | {"status": "failed", "reason": f"fit: {fit.error}"}
    command = STAGES[trial.split]
    scored = launch(["cli.py", command, "--ckpt_path", str(folder / name)], log)
    record["cpu_seconds"][command] = round(scored.cpu_seconds, 1)
    checkpoint = newest(folder / name)
    assert checkpoint is not None
    record["steps"] = step_of(checkpoint)
    found = read_json(checkpoint.parent.parent / METRICS).get(trial.split, {})
    if scored.code or not found:
        reason = scored.error or f"no {trial.split!r} in {METRICS}"
        return record | {"status": "failed", "reason": f"{command}: {reason}"}
    return record | {new: found[key] for key, new in KEPT.items() if key in found}


def config_sha256(config: str) -> str:
    """Returns the hash of a config below the project's folder; comments do not count."""
    content = yaml.safe_load((ROOT / config).read_text())
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _facts(trial: Trial) -> dict[str, Any]:
    """Returns what the numbers of a run hold for."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commands": trial.commands(),
        "options": [*trial.options],
        "config_sha256": config_sha256(trial.config),
        "commit": commit(),
        "hardware": {
            "cpu": cpu_name(),
            "cores": cores(),
            "threads": threads(),
            "auto_precision": choose_precision("cpu")[0],
        },
        "versions": {"Python": platform.python_version(), **versions},
    }
