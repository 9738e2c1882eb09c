"""`python cli.py sweep`: one setting with several seeds, or a search for the best setting.

Several processes, for example the tasks of a SLURM job array, can share one sweep
(`commands/fit_processes.py`).

The space of a search is a YAML file with options of `fit` and their possible values:

    model.optimizer.lr: {low: 0.001, high: 0.1, log: true}
    model.network.hidden: [[16], [32], [16, 16]]
    data.batch_size: {low: 16, high: 64, step: 16}

A range whose limits are integers has integer values.
"""

import json
import math
import shlex
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock

import metrics
from commands.arguments import checked, experiment_name
from commands.config_files import given_files, values
from commands.fit_processes import DONE, LOCK, lock_run, run_parallel, train_in_process
from figures.style import styled, write_figure
from results import Run, find_runs
from results.tables import as_text, read_runs, report
from runtime import signals, yaml_files
from runtime.errors import RunFailedError, UserError, printable
from runtime.files import check_links, complete_lines, read_json, write, write_json
from runtime.ranges import Positive

if TYPE_CHECKING:
    import optuna

    Space = dict[str, optuna.distributions.BaseDistribution]

StudyDirection = Literal["minimize", "maximize"]
BETTER: dict[Any, StudyDirection] = {"lower": "minimize", "higher": "maximize"}
SETTINGS = "sweep.json"
STUDY = "study.journal"  # not SQLite, which cannot lock files on many network file systems
PARAMS = "params.json"  # of a trial, in its folder
SEARCHED = ("val/", "train/")  # what a search may see


@checked
def sweep(
    seeds: Positive | None = None,
    space: Path | None = None,
    objective: str = "val/loss",
    direction: StudyDirection | None = None,
    trials: Positive = 30,
    jobs: Positive = 1,
    out: Path | None = None,
    fit: Sequence[str] = (),
) -> None:
    """Repeats a run with several seeds, or searches for the best setting.

    The same command continues a sweep that was stopped, and several processes that run it share the
    work. A run of a search stops if its metric is worse than the median of others at the same
    point, after five have ended.

    Args:
        seeds: Number of runs, with the seeds 0, 1, 2, ...
        space: Search in this YAML file, which has options of fit and their possible values.
        objective: Search for the best value of this metric of training or validation.
        direction: Whether to minimize or maximize; by default it follows from the objective.
        trials: Number of runs of a search, with those that have ended, without failed ones.
        jobs: Number of runs at once. They share the cores, and take the GPUs in turn.
        out: Folder to write to; by default runs/<experiment>-sweep.
        fit: Options of fit for all runs, which include --config.
    """
    given, files = dict(values([*fit])), given_files([*fit])
    if (seeds is None) == (space is None):
        raise UserError("give --seeds N to repeat a run, or --space FILE to search for the best")
    if not files:
        raise UserError("missing: --config. Give a config file, such as configs/iris.yaml.")
    for name in ("--ckpt_path", "--experiment", "--seed_everything")[: 3 if seeds else 2]:
        if name in given:
            raise UserError(f"{name} is set by sweep for each run: leave it out.")
    root = Path(given.get("--trainer.default_root_dir", "runs")).expanduser()
    folder = out or root / f"{experiment_name(files, '')}-sweep"
    settings: dict[str, Any] = {"fit": [*fit]}
    if space is not None:
        distributions, direction = read_space(space), direction_of(objective, direction)
        settings |= {"space": {name: str(values) for name, values in distributions.items()}}
        settings |= {"objective": objective, "direction": direction}
    check_links(folder, "give another folder with --out")
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):
            if not (folder / SETTINGS).exists():
                write_json(folder / SETTINGS, settings)
            bound = read_json(folder / SETTINGS)
    except OSError as error:
        reason = f"cannot be written to ({error.strerror}). Give another folder."
        raise UserError(f"--out {folder}: {reason}") from error
    except UserError as error:
        raise UserError(f"{error}: give another folder with --out") from None
    if bound != settings:
        raise UserError(f"{folder} is a sweep of other settings: give another folder with --out")
    signals.install()
    signals.install_interrupt()
    try:
        if seeds is not None:
            repeat(folder, fit, seeds, jobs)
        elif direction is not None:
            search(folder, fit, distributions, objective, direction, trials, jobs)
    except UserError:
        if new and not any(folder.glob(f"*/{DONE}")):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        signals.restore()


def repeat(folder: Path, fit: Sequence[str], seeds: int, jobs: int) -> None:
    """Trains a run for each seed; then prints and writes the table of those that are done."""
    folders = [folder / f"seed_{seed}" for seed in range(seeds)]
    to_do, taken = enumerate(folders), []

    def work(environment: dict[str, str]) -> bool:
        failed = False
        for seed, run in to_do:
            if (claimed := lock_run(run)) is None:
                taken.append(run)
                continue
            with claimed:
                if not (run / DONE).exists():
                    how = train_in_process(run, [*fit, f"--seed_everything={seed}"], environment)
                    failed |= how != "done"
        return failed

    failed = any(run_parallel(work, jobs))
    done = [run for folder in folders if (folder / DONE).exists() for run in versions_of(folder)]
    runs = read_runs(done, ["val"])
    if runs and not any(run.scores for run in runs):
        runs = read_runs(done, ["train"])
        print("The data have no validation split, so these are values of training.")
    if runs:
        with FileLock(folder / LOCK):
            report(runs, folder)
    print_other_processes([run.name for run in taken if not (run / DONE).exists()])
    if failed:
        raise RunFailedError("some runs have failed. The same command tries them again.")


def search(
    folder: Path, fit: Sequence[str], space: "Space",
    objective: str, direction: StudyDirection, trials: int, jobs: int,
) -> None:  # fmt: skip
    """Trains runs with values that Optuna chooses, from a study that processes may share."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    lock, journal = FileLock(folder / LOCK), (folder / STUDY).absolute()
    counted = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
    with lock, study_errors(journal):
        drop_incomplete_line(journal)
        storage = JournalStorage(JournalFileBackend(str(journal)))
        study = optuna.create_study(
            study_name="sweep", direction=direction, pruner=optuna.pruners.MedianPruner(),
            storage=storage, load_if_exists=True,
        )  # fmt: skip
        if study.direction.name.lower() != direction:
            raise ValueError("its direction is another")
        complete_study(study, space, objective, folder)
    asked, trained = set[int](), set[int]()  # by this process

    def next_run() -> tuple[int, AbstractContextManager[Any]] | None:
        """Claims a trial that has begun and that no process trains, or else a new one."""
        while True:
            known = {trial.number: trial for trial in study.get_trials(states=counted)}
            for number in sorted(known.keys() - trained):
                run, state = folder / f"trial_{number}", known[number].state
                if not state.is_finished() and (claimed := lock_run(run)) is not None:
                    return number, claimed
            if len(known.keys() | trained) >= trials:
                return None
            # With a seed for each trial, processes do not choose the same values, and a search that
            # is continued chooses as if it had not been stopped.
            study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
            with study_errors(journal):
                asked.add(study.ask(space).number)

    def work(environment: dict[str, str]) -> None:
        while True:
            with lock:
                if (run := next_run()) is None:
                    return
            number, claimed = run
            with claimed:
                if not study.trials[number].state.is_finished():
                    try_values(number, environment)

    def try_values(number: int, environment: dict[str, str]) -> None:
        nonlocal trials
        run = folder / f"trial_{number}"
        with study_errors(journal):
            params = params_of(study.trials[number], space)
            study_id = storage.get_study_id_from_name(study.study_name)
            trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
        write_json(run / PARAMS, params)
        stop = partial(should_prune, optuna.Trial(study, trial_id), run, objective)
        options = [*fit, *to_options(params)]
        how = "done"  # by a process that was killed before it could tell
        if not ((run / DONE).exists() and logged(run, objective)):
            how = train_in_process(run, options, environment, stop, number in asked)
        scores = logged(run, objective)[-1:]
        if how == "done" and not scores and not any(t.intermediate_values for t in study.trials):
            trials = 0  # no other run begins
            raise UserError(
                f"--objective {objective}: the first run logged {', '.join(objectives_of(run))}: "
                "give one of them, and another folder with --out."
            )
        if how != "lost":
            trained.add(number)  # before it fails for another thread, which would replace it
        if how != "killed":  # such a trial continues if the command is repeated
            state = {"done": None, "pruned": TrialState.PRUNED}.get(how, TrialState.FAIL)
            study.tell(number, scores if how == "done" else None, state)

    run_parallel(work, jobs)
    ended = [trial for trial in study.get_trials(states=counted) if trial.state.is_finished()]
    begun = study.get_trials(states=(TrialState.RUNNING,))
    others = [f"trial_{trial.number}" for trial in begun if trial.number not in trained]
    print_other_processes(others)
    if others and not any(trial.state == TrialState.COMPLETE for trial in ended):
        return
    with lock:
        report_search(study, space, fit, objective, folder)
    if missing := trials - len(ended) - len(others):
        raise RunFailedError(
            f"{missing} of {trials} trials have failed. The same command trains what is missing."
        )


def print_other_processes(runs: Sequence[str]) -> None:
    """Prints the runs that another process trains, which are not in the table."""
    if runs:
        print(f"Another process trains {', '.join(runs)}. The last to end prints the whole table.")


@contextmanager
def study_errors(journal: Path) -> Iterator[None]:
    """Explains in one line why a journal, which somebody else may have written, is refused."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:  # Optuna replays a journal without checks
        reason = shorten(printable(f"{type(error).__name__}: {error}"), 200)
        raise UserError(
            f"{journal} is no study of this sweep ({reason}): remove it, so that the same command "
            "makes it anew from its trials' folders, or give another folder with --out"
        ) from None


def params_of(trial: "optuna.trial.FrozenTrial", space: "Space") -> dict[str, Any]:
    """Returns the options of a trial, checked, because they become options of `fit`.

    Raises:
        Exception: Of any kind, if the trial has other options or values than the space, or anything
            else that this sweep does not write.
    """
    from optuna.trial import create_trial

    own = {name: space[name] for name in trial.params}
    create_trial(state=trial.state, value=trial.value, params=trial.params, distributions=own)
    for step, value in trial.intermediate_values.items():
        if not isinstance(step, int) or math.isnan(value):
            raise ValueError(f"a step {step} with the value {value}")
    return {k: d.to_external_repr(d.to_internal_repr(trial.params[k])) for k, d in own.items()}


def complete_study(study: "optuna.Study", space: "Space", objective: str, folder: Path) -> None:
    """Checks the trials of a study, and adds those that a damaged study has lost.

    Raises:
        Exception: As for `params_of`, or if a trial has other values in its folder.
    """
    from optuna.trial import TrialState, create_trial

    known, files = study.trials, folder.glob(f"trial_*/{PARAMS}")
    saved = {int(file.parent.name.removeprefix("trial_")): read_json(file) for file in files}
    for trial in known:
        if params_of(trial, space) != saved.get(trial.number, trial.params):
            raise ValueError(f"trial_{trial.number} has other values in its folder")
    for number in range(len(known), max(saved, default=-1) + 1):
        run, params = folder / f"trial_{number}", saved.get(number, {})
        scores = logged(run, objective)
        value = scores[-1] if scores and (run / DONE).exists() else None
        unfinished = TrialState.RUNNING if params else TrialState.FAIL
        study.add_trial(create_trial(
            state=unfinished if value is None else TrialState.COMPLETE, value=value, params=params,
            distributions={name: space[name] for name in params},
            intermediate_values=dict(enumerate(scores)),
        ))  # fmt: skip


def drop_incomplete_line(journal: Path) -> None:
    """Removes an incomplete last line after a crash, which would make the journal unreadable."""
    from optuna.storages.journal import JournalFileSymlinkLock

    journal.touch()
    stale = Path(f"{journal}.lock")
    if stale.is_symlink() and not stale.exists():  # Optuna would wait without end
        stale.unlink()
    lock = JournalFileSymlinkLock(str(journal))
    lock.acquire()
    try:
        write(journal, lambda file: file.write_text(complete_lines(journal)))
    finally:
        lock.release()


def should_prune(trial: "optuna.Trial", run: Path, objective: str) -> bool:
    """Reports what a run has logged, and returns whether the pruner would stop it."""
    known = len(trial.study.trials[trial.number].intermediate_values)
    for step, value in enumerate(logged(run, objective)[known:], known):
        trial.report(value, step)
    return trial.should_prune()


@styled
def report_search(
    study: "optuna.Study", space: "Space", fit: Sequence[str], objective: str, folder: Path
) -> None:
    """Prints the best trials and how to use the best; writes `trials.csv` and two pictures."""
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as pictures

    frame = study.trials_dataframe(("number", "state", "value", "params", "duration"))
    frame = frame.rename(columns=lambda name: name.removeprefix("params_"))
    frame = frame.rename(columns={"number": "trial", "value": objective})
    frame["state"] = frame["state"].str.lower()
    write(folder / "trials.csv", lambda file: frame.to_csv(file, index=False))
    complete = frame[frame["state"] == "complete"].drop(columns=["state", "duration"])
    if complete.empty:
        raise RunFailedError(f"no trial has ended with a value. {folder} has all their logs.")
    best = complete.sort_values(objective, ascending=study.direction.name == "MINIMIZE")
    print(as_text(best.head(), index=False))
    options = shlex.join([*fit, *to_options(params_of(study.best_trial, space))])
    print(f"The best again: python cli.py fit {options}")
    plots: list[Any] = [pictures.plot_optimization_history, pictures.plot_slice]
    for name, plot in zip(("trials.png", "slices.png"), plots, strict=True):
        with warnings.catch_warnings(action="ignore"):  # these functions are experimental
            plot(study, target_name=objective)
        write_figure(folder / name, pyplot.gcf(), vector=True)
        pyplot.close()
    print(f"Wrote trials.csv, trials.png and slices.png in {folder}")


def to_options(params: dict[str, Any]) -> list[str]:
    """Returns the values of a trial as options of `fit`."""
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in params.items()}
    return [f"--{name}={text}" for name, text in texts.items()]


def versions_of(folder: Path) -> list[Path]:
    """Returns the folder that `fit` has made for a run, the newest, in a list; none before it."""
    return find_runs([folder])[-1:]


def curves_of(folder: Path) -> Any:
    """Returns what a run of this sweep has logged."""
    return next((Run(version).curves() for version in versions_of(folder)), {})


def objectives_of(folder: Path) -> list[str]:
    """Returns the metrics that a run has logged and a search may use."""
    return [name for name in curves_of(folder) if name.startswith(SEARCHED)] or ["none"]


def logged(folder: Path, objective: str) -> list[float]:
    """Returns all values of the objective that a run has logged."""
    frame = curves_of(folder)
    return [*frame[objective].dropna()] if objective in frame else []


def direction_of(objective: str, direction: StudyDirection | None) -> StudyDirection:
    """Returns the better direction of an objective, which must not be a metric of the test set."""
    if not objective.startswith(SEARCHED):
        raise UserError(
            f"--objective {objective}: give a metric that begins with val/ or train/. A search "
            "must not see the test set, else the test score of its winner is too good."
        )
    if not (direction := direction or BETTER.get(metrics.direction(objective))):
        raise UserError(f"--objective {objective}: give --direction minimize or maximize as well.")
    return direction


def read_space(file: Path) -> "Space":
    """Reads the possible values of each option."""
    try:
        from optuna import distributions
    except ImportError:
        raise UserError('--space needs Optuna: pip install -e ".[sweep]"') from None
    space: dict[str, Any] = {}
    try:
        for option, given in yaml_files.read(file).items():
            if isinstance(given, list):
                plain = [v if isinstance(v, str | int | float) else json.dumps(v) for v in given]
                space[option] = distributions.CategoricalDistribution(plain)
                continue
            # YAML takes a number like 1e-4, without a point, for a text.
            limits = {k: float(v) if isinstance(v, str) else v for k, v in given.items()}
            whole = all(isinstance(limit, int) for limit in limits.values())
            kind = "IntDistribution" if whole else "FloatDistribution"
            space[option] = getattr(distributions, kind)(**limits)
    except (UserError, AttributeError, TypeError, ValueError) as error:
        reason = str(error).removeprefix(f"{file}: ").rstrip(".")
        raise UserError(
            f"--space {file}: {reason}. Write a line for each option: `data.batch_size: [64, 128]` "
            "or a range such as `model.optimizer.lr: {low: 0.1, high: 10, log: true}`."
        ) from None
    return space
