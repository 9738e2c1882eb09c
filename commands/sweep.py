"""`python cli.py sweep`: one setting with several seeds, or a search for the best setting."""

import json
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from commands.arguments import experiment_name, given_files, values
from commands.compare_runs import Run as Result
from commands.compare_runs import read_runs
from commands.compare_table import report
from commands.sweep_runs import DONE, LOCK, STOPPED, WRONG_INPUT, Run, claim, results_of, say, train
from runtime import signals
from runtime.errors import UserError
from runtime.files import read_json, write_json
from runtime.ranges import Positive, Seed

SETTINGS = "sweep.json"


def sweep(
    seeds: Positive | None = None,
    first_seed: Seed = 0,
    space: Path | None = None,
    objective: str | None = None,
    direction: Literal["minimize", "maximize"] | None = None,
    trials: Positive = 30,
    sampler_seed: Seed = 0,
    pruner: Literal["median", "none"] = "median",
    jobs: Positive = 1,
    out: Path | None = None,
    fit: Sequence[str] = (),
) -> None:
    """Repeats a run with several seeds, or searches for the best setting.

    Several processes may share a sweep, and the same command continues one that was stopped.

    Args:
        seeds: Train so many times, with different seeds.
        first_seed: The first of the seeds.
        space: Search in this YAML file, which has options of fit and their possible values.
        objective: Search for the best value of this metric, such as val/loss.
        direction: What is the best; by default known from the objective.
        trials: Number of runs of a search, with those that have ended.
        sampler_seed: Seed of the choice of settings, by Optuna's TPE.
        pruner: With median, a run of a search stops if its metric is worse than the median of
            others at the same point, after five have ended.
        jobs: Number of runs at a time, which share the cores.
        out: Folder to write to; by default runs/<experiment>-sweep.
        fit: Options of fit for all runs, which include --config.
    """
    _check(seeds, space, fit)
    root = Path(dict(values([*fit])).get("--trainer.default_root_dir", "runs"))
    folder = out or root / f"{experiment_name(given_files([*fit]), '')}-sweep"
    if space is None:
        assert seeds is not None
        source: Any = Seeds(folder, range(first_seed, first_seed + seeds), fit, jobs)
        settings: dict[str, Any] = {"--seeds": "given"}
    else:
        from commands import sweep_search as search

        objective = search.checked(objective)
        direction = direction or search.direction_of(objective)
        values_of = search.read_space(space)
        source = search.Search(
            folder, fit, jobs, values_of, objective, direction, trials, sampler_seed, pruner
        )
        settings = source.settings()
    new = _bind(folder, {**settings, "options of fit": [*fit]})
    also = [signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as below `nohup`
        also.append(signal.SIGHUP)
    before = {signum: signal.getsignal(signum) for signum in also}
    signals.install(*also)  # Ctrl-C and a closed terminal
    try:
        train(source, jobs)
    except UserError:  # of the first run, so there is nothing to keep
        if new and not source.has_results():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        signals.restore()
        for signum, handler in before.items():
            signal.signal(signum, handler)
    with FileLock(folder / LOCK):
        source.report()


def _check(seeds: int | None, space: Path | None, fit: Sequence[str]) -> None:
    """Refuses options that contradict each other."""
    if (seeds is None) == (space is None):
        raise UserError(
            "give --seeds N, which repeats one setting, or --space FILE, which searches for the "
            f"best: {'neither is' if seeds is None else 'both are'} given."
        )
    files = given_files([*fit])
    if not files:
        raise UserError("missing: --config. Give a config file, such as configs/iris.yaml.")
    if missing := [file for file in files if not file.is_file()]:
        raise UserError(f"--config {missing[0]}: no such file.")
    options = {word.partition("=")[0] for word in fit}
    own = ("--ckpt_path", "--experiment", "--seed_everything")
    for name in own if seeds is not None else own[:2]:
        if name in options:
            raise UserError(f"{name} is set by sweep for each run: leave it out.")


def _bind(folder: Path, settings: dict[str, Any]) -> bool:
    """Binds a folder to the settings of one sweep, and returns whether it is new."""
    file = folder / SETTINGS
    bound, wanted = read_json(file), json.loads(json.dumps(settings))
    if not bound and folder.exists() and any(folder.glob("[!.]*")):
        raise UserError(f"--out {folder}: not a sweep's folder, and not empty. Give another.")
    names = [name for name in {**bound, **wanted} if bound.get(name) != wanted.get(name)]
    if bound and names:
        raise UserError(
            f"{folder} belongs to another sweep, which differs in {', '.join(names)}. "
            "Give another folder with --out, or delete that one."
        )
    if bound:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        if not file.exists():  # another process may have been faster
            write_json(file, wanted)
    return True


class Seeds:
    """A run for each seed."""

    def __init__(self, folder: Path, seeds: Sequence[int], fit: Sequence[str], jobs: int) -> None:
        self.folder, self.fit, self.jobs = folder, fit, jobs
        self.names = {f"seed_{seed}": f"--seed_everything={seed}" for seed in seeds}
        self.pending = [*self.names]
        self.failed: list[str] = []

    def take(self) -> Run | None:
        for name in [*self.pending]:
            if (lock := claim(self.folder / name)) is None:  # another process trains it
                continue
            self.pending.remove(name)
            if not (self.folder / name / DONE).exists():
                return Run(self.folder / name, lock, self.fit, [self.names[name]], self.jobs)
            say(f"{name} skipped: done already")
            lock.release()
        return None

    def watch(self, run: Run) -> None:
        """Does nothing: each seed is trained to its end."""

    def record(self, run: Run) -> str:
        if run.code in STOPPED:
            return f"stopped after {run.seconds:.0f} s"
        if not (error := run.error()):
            (run.folder / DONE).touch()
            return f"done after {run.seconds:.0f} s"
        if run.code == WRONG_INPUT and not self.has_results():
            raise UserError(error)
        self.failed.append(run.name)
        return f"failed: {error} (log: {run.log})"

    def has_results(self) -> bool:
        return any(self.folder.glob(f"*/{DONE}"))

    def report(self) -> None:
        """Prints and writes the table of the runs that are done."""
        names = [name for name in self.names if (self.folder / name / DONE).exists()]
        folders = [found for name in names if (found := results_of(self.folder / name))]
        runs: list[Result] = read_runs(folders, ["val"])
        if runs and not any(run.scores for run in runs):
            say("No validation scores were logged. These are of the last training batches.")
            runs = read_runs(folders, ["train"])
        if runs:
            report(runs, self.folder)
        if self.pending:
            say(f"Still in training by another process, which will write the whole table: "
                f"{', '.join(self.pending)}.")  # fmt: skip
        if self.failed:
            say(f"{len(self.failed)} of {len(self.names)} runs failed: {', '.join(self.failed)}. "
                "The same command tries them again.")  # fmt: skip
            raise SystemExit(1)
