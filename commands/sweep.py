"""`python cli.py sweep`: one setting with several seeds, or a search for the best setting."""

import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from commands.arguments import experiment_name, given_files, values
from commands.compare import read_runs, report
from commands.sweep_runs import DONE, LOCK, Run, Source, claim, results_of, say, train
from runtime import signals
from runtime.errors import UserError
from runtime.files import read_json, write_json
from runtime.ranges import Positive

SETTINGS = "sweep.json"


def sweep(
    seeds: Positive | None = None,
    space: Path | None = None,
    objective: str | None = None,
    direction: Literal["minimize", "maximize"] | None = None,
    trials: Positive = 30,
    jobs: Positive = 1,
    out: Path | None = None,
    fit: Sequence[str] = (),
) -> None:
    """Repeats a run with several seeds, or searches for the best setting.

    Several processes may share a sweep, and the same command continues one that was stopped. A run
    of a search stops if its metric is worse than the median of others at the same point, after five
    have ended.

    Args:
        seeds: Train so many times, with the seeds 0, 1, 2, ...
        space: Search in this YAML file, which has options of fit and their possible values.
        objective: Search for the best value of this metric, such as val/loss.
        direction: What is the best; by default known from the objective.
        trials: Number of runs of a search, with those that have ended.
        jobs: Number of runs at a time, which share the cores.
        out: Folder to write to; by default runs/<experiment>-sweep.
        fit: Options of fit for all runs, which include --config.
    """
    _check(seeds, space, fit)
    root = Path(dict(values([*fit])).get("--trainer.default_root_dir", "runs"))
    folder = out or root / f"{experiment_name(given_files([*fit]), '')}-sweep"
    if space is None:
        assert seeds is not None
        source: Any = Seeds(folder, fit, jobs, seeds)
        settings = {"--seeds": "given"}
    else:
        from commands.sweep_search import Search

        source = Search(folder, fit, jobs, space, objective, direction, trials)
        settings = source.settings()
    new = not any(folder.glob("*"))
    _bind(folder, settings | {"options of fit": [*fit]})
    others = [s for s in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
    before = {signum: signal.getsignal(signum) for signum in others}
    signals.install(*others)  # Ctrl-C and a closed terminal
    try:
        train(source, jobs)
    except UserError:
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
    if not given_files([*fit]):
        raise UserError("missing: --config. Give a config file, such as configs/iris.yaml.")
    options = {word.partition("=")[0] for word in fit}
    own = ("--ckpt_path", "--experiment", "--seed_everything")
    for name in own if seeds is not None else own[:2]:
        if name in options:
            raise UserError(f"{name} is set by sweep for each run: leave it out.")


def _bind(folder: Path, wanted: dict[str, Any]) -> None:
    """Binds a folder to the settings of one sweep."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        bound = read_json(folder / SETTINGS)
        if not bound:
            write_json(folder / SETTINGS, wanted)
    names = [name for name in bound | wanted if bound and bound.get(name) != wanted.get(name)]
    if names:
        raise UserError(
            f"{folder} belongs to another sweep, which differs in {', '.join(names)}. "
            "Give another folder with --out, or delete that one."
        )


class Seeds(Source):
    """A run for each seed."""

    def __init__(self, folder: Path, fit: Sequence[str], jobs: int, seeds: int) -> None:
        super().__init__(folder, fit, jobs)
        self.folders = [folder / f"seed_{seed}" for seed in range(seeds)]
        self.pending = [*self.folders]
        self.failed: list[str] = []

    def take(self) -> Run | None:
        for folder in [*self.pending]:
            if (lock := claim(folder)) is None:  # another process trains it
                continue
            self.pending.remove(folder)
            if not (folder / DONE).exists():
                seed = folder.name.removeprefix("seed_")
                return Run(folder, lock, [*self.fit, f"--seed_everything={seed}"], self.jobs)
            say(f"{folder.name} skipped: done already")
            lock.release()
        return None

    def note(self, run: Run, error: str) -> str:
        self.failed += [run.name] if error else []
        return error

    def report(self) -> None:
        """Prints and writes the table of the runs that are done."""
        done = [folder for folder in self.folders if (folder / DONE).exists()]
        folders = [found for folder in done if (found := results_of(folder))]
        runs = read_runs(folders, ["val"])
        if runs and not any(run.scores for run in runs):
            say("No validation scores were logged. These are of the last training batches.")
            runs = read_runs(folders, ["train"])
        if runs:
            report(runs, self.folder)
        if self.pending:
            names = ", ".join(folder.name for folder in self.pending)
            say(f"Still in training by another process, which will write the whole table: {names}.")
        if self.failed:
            say(f"{len(self.failed)} of {len(self.folders)} runs failed: {', '.join(self.failed)}. "
                "The same command tries them again.")  # fmt: skip
            raise SystemExit(1)
