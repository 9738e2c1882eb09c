"""`python cli.py sweep`: one setting with several seeds, or a search for the best setting.

Imports nothing heavy: the runs are child processes.
"""

import signal
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

from commands import COMMANDS
from commands.arguments import experiment_name, given_files
from commands.compare import LightParser, config_of, report
from commands.compare import Run as Compared
from commands.sweep_folder import by_name, prepare, scores_in, scores_line
from commands.sweep_runs import LOG, Outcome, Run, is_done, locked, run_folder, say, train
from runtime import signals
from runtime.errors import UserError

RESERVED = ("--ckpt_path",)  # options of `fit` that the sweep sets
SEARCH = {  # options of a search with their defaults; None: derived
    "trials": 30, "objective": None, "direction": None, "sampler": "tpe", "sampler_seed": 0,
    "pruner": "median",
}  # fmt: skip


def sweep(args: list[str]) -> None:
    """Repeats a run with several seeds, or searches for the best setting."""
    options, fit = _parse(args)
    signals.install(signal.SIGINT)  # Ctrl-C, which `fit` does not take for a wish to save
    try:
        if options.space is None:
            _repeat(options, fit)
        else:
            from commands.sweep_search import search

            search(options, fit)
    finally:
        signals.restore()
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _parse(args: list[str]) -> tuple[Namespace, list[str]]:
    """Returns the sweep's own options and those of `fit`, after it has checked both."""
    parser = LightParser(
        "cli.py sweep",
        description=f"{COMMANDS['sweep'].summary}. Further options are those of fit.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--seeds", type=_positive, metavar="N", help="train N times, with seeds 0 to N - 1")
    add("--first_seed", type=_seed, metavar="N", help="the first seed, if it is not 0")
    add("--space", type=Path, metavar="FILE", help="search: options and their possible values")
    add("--objective", metavar="METRIC", help="search: the metric to optimize, such as val/loss")
    add("--direction", choices=("minimize", "maximize"), help="search: default by the objective")
    add("--trials", type=_positive, metavar="N", help="search: number of runs (default: 30)")
    add("--sampler", choices=("tpe", "random"), help="search: how to choose (default: tpe)")
    add("--sampler_seed", type=_seed, metavar="N", help="search: seed of the sampler (default: 0)")
    add("--pruner", choices=("median", "none"), help="search: early stopping (default: median)")
    add("--jobs", type=_positive, default=1, metavar="N", help="runs at a time (default: 1)")
    add("--out", type=Path, metavar="DIR", help="folder (default: runs/<experiment>-sweep)")
    add(
        "--experiment",
        metavar="NAME",
        help="name of the folder (default: the config's)",
    )
    add("--trainer.default_root_dir", dest="root", type=Path, default=Path("runs"), metavar="DIR",
        help="folder of all runs (default: runs)")  # fmt: skip
    options, fit = parser.parse_known_args(args)
    _check(options, fit)
    if options.out is None:
        name = experiment_name(given_files(fit), "", options.experiment)
        options.out = options.root / f"{name}-sweep"
    return options, fit


def _check(options: Namespace, fit: list[str]) -> None:
    """Refuses options that contradict each other."""
    given = [name for name in SEARCH if getattr(options, name) is not None]
    if (options.seeds is None) == (options.space is None):
        raise UserError(
            "give --seeds N, which repeats one setting, or --space FILE, which searches for the "
            f"best: {'neither is' if options.seeds is None else 'both are'} given."
        )
    if options.seeds is not None and given:
        raise UserError(f"--{given[0]} belongs to a search: give --space FILE, not --seeds.")
    if options.space is not None and options.first_seed is not None:
        raise UserError("--first_seed belongs to --seeds N. A search takes --seed_everything.")
    if not given_files(fit):
        raise UserError("missing: --config. Give a config file, such as configs/iris.yaml.")
    for file in given_files(fit):
        if not file.is_file():
            raise UserError(f"--config {file}: no such file.")
    own = (*RESERVED, *(("--seed_everything",) if options.seeds is not None else ()))
    for name in own:
        if name in by_name(fit):
            raise UserError(f"{name} is set by sweep for each run: leave it out.")
    for name, default in SEARCH.items():
        if getattr(options, name) is None:
            setattr(options, name, default)


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"'{text}' is not a number of 1 or more")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise ArgumentTypeError(f"'{text}' is not a number from 0 to {2**32 - 1:,}")
    return int(text)


class Seeds:
    """A run for each seed."""

    def __init__(self, folder: Path, seeds: Sequence[int]) -> None:
        self.folder, self.pending = folder, list(seeds)
        self.failed: dict[str, str] = {}

    def take(self) -> Run | None:
        for seed in self.pending:
            run = Run.claim(self.folder / f"seed_{seed}", [f"--seed_everything={seed}"])
            if run is None:  # another process trains it
                continue
            self.pending.remove(seed)
            if not is_done(run.folder):
                return run
            say(f"{run.name} skipped: done already")
            run.release()
            return self.take()
        return None

    def record(self, run: Run, outcome: Outcome) -> str:
        if outcome.state == "failed":
            self.failed[run.name] = outcome.error
            return f"failed: {outcome.error} (log: {run.folder / LOG})"
        return f"{outcome.state} after {outcome.seconds:.0f} s{scores_line(run.folder)}"


def _repeat(options: Namespace, fit: list[str]) -> None:
    first, folder = options.first_seed or 0, options.out
    seeds = range(first, first + options.seeds)
    prepare(options, fit, {"sweep": "seeds"}, [])
    say(f"{folder}: seeds {seeds[0]} to {seeds[-1]}, {options.jobs} at a time")
    source = Seeds(folder, seeds)
    train(source, fit, options.jobs)

    compared = []
    for run in (folder / f"seed_{seed}" for seed in seeds):
        own = run_folder(run)
        if own and is_done(run):
            compared.append(Compared(run.name, config_of(own), *scores_in(own)))
    if any(run.scores for run in compared):
        if not any(name.startswith("val/") for run in compared for name in run.scores):
            say("No validation scores were logged. These are of the last training batches.")
        with locked(folder):
            report(compared, folder)
    if source.pending:
        names = ", ".join(f"seed_{seed}" for seed in source.pending)
        say(f"Still in training by another process: {names}. It will write the whole table.")
    if source.failed:
        say(f"{len(source.failed)} of {len(seeds)} runs failed: {', '.join(source.failed)}. "
            "The same command tries them again.")  # fmt: skip
        raise SystemExit(1)
