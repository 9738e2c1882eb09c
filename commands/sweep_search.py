"""A search for the best setting, with Optuna.

The space is a YAML file with options of `fit` and their possible values:

    model.optimizer.lr: {low: 0.001, high: 0.1, log: true}
    model.network.hidden: [[16], [32], [16, 16]]
    data.batch_size: {low: 16, high: 64, step: 16}

A range whose limits are integers has integer values.
"""

import json
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from filelock import FileLock
from numpy.random import SeedSequence

from commands.compare_runs import LOADER, better, logged_by
from commands.compare_table import as_text, in_words
from commands.sweep_runs import LOCK, STOPPED, WRONG_INPUT, Run, claim, results_of, say
from figures.style import styled, write_figure
from runtime.errors import UserError
from runtime.files import write

if TYPE_CHECKING:
    import optuna
    import pandas as pd

STUDY = "study.journal"  # not SQLite, which cannot lock files on many network file systems
RANGE = {"low", "high", "log", "step"}
Direction = Literal["minimize", "maximize"]
BEST = 5  # trials to print


@dataclass
class Search:
    """Runs with values that Optuna chooses, from a study that several processes may share."""

    folder: Path
    fit: Sequence[str]
    jobs: int
    space: "dict[str, optuna.distributions.BaseDistribution]"
    objective: str
    direction: Direction
    trials: int
    sampler_seed: int
    pruner: str
    dates: dict[str, float] = field(default_factory=dict)  # of the logs that were read, by run

    def settings(self) -> dict[str, Any]:
        """Returns what the choice of values depends on."""
        names = ("objective", "direction", "sampler_seed", "pruner")
        own = {f"--{name}": getattr(self, name) for name in names}
        return own | {f"the space's {name}": str(values) for name, values in self.space.items()}

    @cached_property
    def study(self) -> "optuna.Study":
        """The study in the folder, which is created if there is none."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruners = {"median": optuna.pruners.MedianPruner, "none": optuna.pruners.NopPruner}
        with FileLock(self.folder / LOCK):
            return optuna.create_study(
                study_name="sweep", direction=self.direction, pruner=pruners[self.pruner](),
                storage=JournalStorage(JournalFileBackend(str(self.folder / STUDY))),
                load_if_exists=True,
            )  # fmt: skip

    def take(self) -> Run | None:
        """Continues a trial whose process has ended, or starts a new one up to the total."""
        import optuna

        study = self.study
        with FileLock(self.folder / LOCK):
            trials = study.get_trials(deepcopy=False)
            for frozen in (trial for trial in trials if not trial.state.is_finished()):
                if (lock := claim(self.folder / f"trial_{frozen.number}")) is None:
                    continue  # a process trains it
                if not study.trials[frozen.number].state.is_finished():
                    return self._start(optuna.Trial(study, frozen._trial_id), lock)
                lock.release()  # it has ended meanwhile
            if len(trials) >= self.trials:
                return None
            # With a seed for each trial, workers do not choose the same values, and a search
            # that is continued chooses as if it had not been stopped.
            seed = SeedSequence((self.sampler_seed, len(trials))).generate_state(1)[0]
            study.sampler = optuna.samplers.TPESampler(seed=int(seed))
            trial = study.ask(self.space)
            lock = claim(self.folder / f"trial_{trial.number}")
            assert lock is not None
            return self._start(trial, lock)

    def _start(self, trial: "optuna.Trial", lock: FileLock) -> Run:
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in trial.params.items()}
        options = [f"--{name}={text}" for name, text in texts.items()]
        folder = self.folder / f"trial_{trial.number}"
        return Run(folder, lock, self.fit, options, self.jobs, trial)

    def watch(self, run: Run) -> None:
        """Reports what the run has logged, and stops the run if the pruner says so."""
        folder = results_of(run.folder)
        file = folder / "metrics.csv" if folder else None
        if run.pruned or file is None or not file.is_file():
            return
        if self.dates.get(run.name) == (date := file.stat().st_mtime):
            return
        self.dates[run.name] = date
        known = self.study.trials[run.trial.number].intermediate_values
        for number, value in enumerate(logged_values(run.folder, self.objective)):
            if number not in known and not run.pruned:
                run.trial.report(value, number)
                run.pruned = run.trial.should_prune()
        if run.pruned:
            run.stop()

    def record(self, run: Run) -> str:
        from optuna.trial import TrialState

        logged, error = logged_values(run.folder, self.objective), run.error()
        if run.code in STOPPED and not run.pruned:  # the same command continues it
            return f"stopped after {run.seconds:.0f} s"
        shown = f": {self.objective} {logged[-1]:.4g}" if logged else ""
        if run.code in STOPPED:
            self.study.tell(run.trial, state=TrialState.PRUNED)
            return f"pruned after {run.seconds:.0f} s{shown}"
        if not error and logged:
            self.study.tell(run.trial, logged[-1])
            return f"done after {run.seconds:.0f} s{shown}"
        error = error or f"--objective {self.objective}: {_not_logged(run)}"
        run.trial.set_user_attr("error", error)
        self.study.tell(run.trial, state=TrialState.FAIL)
        if run.code in (0, WRONG_INPUT) and not self.has_results():
            raise UserError(error)
        return f"failed: {error} (log: {run.log})"

    def has_results(self) -> bool:
        from optuna.trial import TrialState

        return bool(self.study.get_trials(False, (TrialState.COMPLETE, TrialState.PRUNED)))

    def report(self) -> None:
        """Prints the best trials; writes `trials.csv`, two pictures and `best.yaml`."""
        frame = self._table()
        written = [self.folder / "trials.csv"]
        write(written[0], lambda file: frame.to_csv(file, index=False))
        complete = frame[frame["state"] == "complete"]
        if len(complete):
            best = complete.sort_values(self.objective, ascending=self.direction == "minimize")
            best = best[["trial", self.objective, *self.space]].head(BEST)
            say(as_text(best.rename(columns=in_words(self.space)), index=False))
            written += [*draw(self.study, self.objective, self.folder), self._write_best()]
        counts = frame["state"].value_counts().items()
        say(", ".join(f"{count} {state}" for state, count in counts))
        say(f"Wrote {', '.join(map(str, written))}")
        if not len(complete):
            raise UserError(f"no trial has ended with a value. {self.folder} has all their logs.")

    def _table(self) -> "pd.DataFrame":
        """Returns a row for each trial: number, state, value, settings, seconds and error."""
        columns = ("number", "state", "value", "params", "duration", "user_attrs")
        frame = self.study.trials_dataframe(columns).rename(
            columns=lambda name: name.removeprefix("params_").removeprefix("user_attrs_")
        )
        frame["state"] = frame["state"].str.lower()
        frame["duration"] = frame["duration"].dt.total_seconds().round(1)
        names = {"number": "trial", "value": self.objective, "duration": "seconds"}
        return frame.rename(columns=names)

    def _write_best(self) -> Path:
        """Writes the best values as an overlay, with the command that uses it in its head."""
        best, file = self.study.best_trial, self.folder / "best.yaml"
        folder = results_of(self.folder / f"trial_{best.number}")
        config = yaml.load((folder / "config.yaml").read_bytes(), LOADER) if folder else {}
        text = yaml.safe_dump(overlay(config, best.params), sort_keys=False)
        command = f"python cli.py fit {shlex.join([*self.fit, '--config', str(file)])}"
        head = f"# Trial {best.number}: {self.objective} {best.value:.4g}.\n#   {command}\n"
        write(file, lambda path: path.write_text(head + text))
        return file


def logged_values(run: Path, metric: str) -> list[float]:
    """Returns all values of a metric that a run has logged."""
    folder = results_of(run)
    logged = logged_by(folder) if folder else {}
    return [*logged[metric].dropna()] if metric in logged else []


def _not_logged(run: Run) -> str:
    folder = results_of(run.folder)
    names = [name for name in (logged_by(folder) if folder else ()) if "/" in name]
    found = ", ".join(names) or "nothing"
    hint = "" if "val/" in found else " There is no validation split: see the data's options."
    return f"the run has not logged it, but {found}.{hint}"


@styled
def draw(study: "optuna.Study", objective: str, folder: Path) -> list[Path]:
    """Draws the objective over the trials, and against each option, with Optuna's pictures."""
    from matplotlib import pyplot, rc_context
    from optuna.visualization.matplotlib import plot_optimization_history, plot_slice

    written = [folder / "trials.png", folder / "slices.png"]
    plots: list[Any] = [plot_optimization_history, plot_slice]
    for file, plot in zip(written, plots, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # these functions are experimental
            plot(study, target_name=objective)
        for axes in pyplot.gcf().axes:
            axes.tick_params("x", which="both", rotation=45, labelsize=10)
        with rc_context({"savefig.bbox": "tight"}):
            write_figure(file, pyplot.gcf(), vector=True)
        pyplot.close()
    return written


def checked(objective: str | None) -> str:
    """Refuses objectives other than metrics of training and validation."""
    if objective is None:
        raise UserError("missing: --objective. Give a metric of validation, such as val/loss.")
    if objective.startswith("test/"):
        raise UserError(
            f"--objective {objective}: a search must not see the test set, else the test score of "
            "its winner is too good. Give a metric that begins with val/."
        )
    if not objective.startswith(("val/", "train/")):
        raise UserError(f"--objective {objective}: give a metric that begins with val/ or train/.")
    return objective


def direction_of(objective: str) -> Direction:
    found = better(objective)
    if found is None:
        raise UserError(f"--objective {objective}: give --direction minimize or maximize as well.")
    return "minimize" if found == "lower" else "maximize"


def read_space(file: Path) -> "dict[str, optuna.distributions.BaseDistribution]":
    """Reads the possible values of each option."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError('--space needs Optuna: pip install -e ".[sweep]"') from None
    try:
        space = yaml.safe_load(file.read_text())
    except OSError as error:
        raise UserError(f"--space {file}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--space {file}: not valid YAML: {error}") from error
    if not isinstance(space, dict) or not space:
        raise UserError(
            f"{file}: not a space. It needs a line for each option, such as "
            "`data.batch_size: [64, 128]` or `model.optimizer.lr: {low: 0.1, high: 10}`."
        )
    found = {}
    for option, values in space.items():
        try:
            found[str(option)] = _distribution(values)
        except (TypeError, ValueError) as error:
            raise UserError(f"{file}: {option}: {error}") from error
    return found


def _distribution(values: Any) -> "optuna.distributions.BaseDistribution":
    from optuna import distributions

    if isinstance(values, list):
        plain = [v if isinstance(v, str | int | float) else json.dumps(v) for v in values]
        return distributions.CategoricalDistribution(plain)
    if not isinstance(values, dict) or not {"low", "high"} <= values.keys() <= RANGE:
        raise ValueError("give a list of choices, or a range: low and high, perhaps log or step.")
    # YAML takes a number like 1e-4, without a point, for a text.
    numbers: dict[str, Any] = {k: float(v) if isinstance(v, str) else v for k, v in values.items()}
    if all(isinstance(number, int) for number in numbers.values()):
        return distributions.IntDistribution(**numbers)
    return distributions.FloatDistribution(**numbers)


def overlay(config: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config with nothing but some options of a complete config.

    In files, unlike in options, the arguments of a class are below `init_args`.
    """
    result: dict[str, Any] = {}
    for option in sorted(values, key=len):  # a class comes before its arguments
        source, target = config, result
        *path, leaf = option.split(".")
        for key in path:
            source, target = _arguments(source, target)
            source, target = source.get(key) or {}, target.setdefault(key, {})
        source, target = _arguments(source, target)
        target[leaf] = source.get(leaf, values[option])
    return result


def _arguments(source: Any, target: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if "class_path" not in source:
        return source, target
    target.setdefault("class_path", source["class_path"])
    return source.get("init_args", {}), target.setdefault("init_args", {})
