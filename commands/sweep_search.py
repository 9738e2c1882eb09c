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
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from filelock import FileLock

import metrics
from commands.compare import as_text, in_words, logged_by
from commands.sweep_runs import LOCK, Run, Source, claim, results_of, say
from figures.style import styled, write_figure
from runtime.errors import UserError
from runtime.files import write

if TYPE_CHECKING:
    import optuna

Direction = Literal["minimize", "maximize"]
STUDY = "study.journal"  # not SQLite, which cannot lock files on many network file systems
RANGE = {"low", "high", "log", "step"}
COLUMNS = ("number", "state", "value", "params", "duration", "user_attrs")  # of trials.csv
BETTER: dict[Any, Direction] = {"lower": "minimize", "higher": "maximize"}
BEST = 5  # trials to print


class Search(Source):
    """Runs with values that Optuna chooses, from a study that several processes may share."""

    def __init__(
        self, folder: Path, fit: Sequence[str], jobs: int, space: Path, objective: str | None,
        direction: Direction | None, trials: int,
    ) -> None:  # fmt: skip
        super().__init__(folder, fit, jobs)
        self.objective, self.direction = checked(objective, direction)
        self.space, self.trials = read_space(space), trials

    def settings(self) -> dict[str, Any]:
        """Returns what the choice of values depends on."""
        own = {"--objective": self.objective, "--direction": self.direction}
        return own | {f"the space's {name}": str(values) for name, values in self.space.items()}

    @cached_property
    def study(self) -> "optuna.Study":
        """The study in the folder, which is created if there is none."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with FileLock(self.folder / LOCK):
            return optuna.create_study(
                study_name="sweep", direction=self.direction, pruner=optuna.pruners.MedianPruner(),
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
                if (lock := claim(self._place(frozen.number))) is None:
                    continue  # a process trains it
                if not study.trials[frozen.number].state.is_finished():
                    return self._start(optuna.Trial(study, frozen._trial_id), lock)
                lock.release()  # it has ended meanwhile
            if len(trials) >= self.trials:
                return None
            # With a seed for each trial, workers do not choose the same values, and a search
            # that is continued chooses as if it had not been stopped.
            study.sampler = optuna.samplers.TPESampler(seed=len(trials))
            trial = study.ask(self.space)
            lock = claim(self._place(trial.number))
            assert lock is not None
            return self._start(trial, lock)

    def _place(self, number: int) -> Path:
        return self.folder / f"trial_{number}"

    def _start(self, trial: "optuna.Trial", lock: FileLock) -> Run:
        options = [*self.fit, *as_options(trial.params)]
        return Run(self._place(trial.number), lock, options, self.jobs, trial)

    def watch(self, run: Run) -> None:
        """Reports what the run has logged, and stops the run if the pruner says so."""
        dates = [file.stat().st_mtime for file in run.folder.glob("*/metrics.csv")]
        if run.pruned or run.read == (date := max(dates, default=0.0)):
            return
        run.read = date
        known = len(self.study.trials[run.trial.number].intermediate_values)
        for number, value in [*enumerate(self._logged(run))][known:]:
            run.trial.report(value, number)
            if run.trial.should_prune():
                run.pruned = True
                run.stop()
                return

    def _logged(self, run: Run) -> list[float]:
        """Returns all values of the objective that a run has logged."""
        folder = results_of(run.folder)
        logged = logged_by(folder) if folder else {}
        return [*logged[self.objective].dropna()] if self.objective in logged else []

    def note(self, run: Run, error: str) -> str:
        from optuna.trial import TrialState

        values = self._logged(run)
        if not values and not error:
            folder = results_of(run.folder)
            names = [name for name in (logged_by(folder) if folder else ()) if "/" in name]
            found = ", ".join(names) or "nothing"
            error = f"--objective {self.objective}: the run has not logged it, but {found}."
        if error:
            run.trial.set_user_attr("error", error)
            self.study.tell(run.trial, state=TrialState.FAIL)
        elif run.code:
            self.study.tell(run.trial, state=TrialState.PRUNED)
        else:
            self.study.tell(run.trial, values[-1])
        return error

    def report(self) -> None:
        """Prints the best trials and how to use the best; writes `trials.csv` and two pictures."""
        frame = self.study.trials_dataframe(COLUMNS).rename(
            columns=lambda name: name.removeprefix("params_").removeprefix("user_attrs_")
        )
        frame = frame.rename(columns={"number": "trial", "value": self.objective})
        frame["state"] = frame["state"].str.lower()
        written = [self.folder / "trials.csv"]
        write(written[0], lambda file: frame.to_csv(file, index=False))
        complete = frame[frame["state"] == "complete"]
        if len(complete):
            best = complete.sort_values(self.objective, ascending=self.direction == "minimize")
            best = best[["trial", self.objective, *self.space]].head(BEST)
            say(as_text(best.rename(columns=in_words(self.space)), index=False))
            options = shlex.join([*self.fit, *as_options(self.study.best_params)])
            say(f"The best again: python cli.py fit {options}")
            written += draw(self.study, self.objective, self.folder)
        counts = frame["state"].value_counts().items()
        say(", ".join(f"{count} {state}" for state, count in counts))
        say(f"Wrote {', '.join(map(str, written))}")
        if not len(complete):
            raise UserError(f"no trial has ended with a value. {self.folder} has all their logs.")


def as_options(params: dict[str, Any]) -> list[str]:
    """Returns the values of a trial as options of `fit`."""
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in params.items()}
    return [f"--{name}={text}" for name, text in texts.items()]


@styled
def draw(study: "optuna.Study", objective: str, folder: Path) -> list[Path]:
    """Draws the objective over the trials, and against each option, with Optuna's pictures."""
    from matplotlib import pyplot, rc_context
    from optuna.visualization.matplotlib import plot_optimization_history, plot_slice

    written = [folder / "trials.png", folder / "slices.png"]
    plots: list[Any] = [plot_optimization_history, plot_slice]
    for file, plot in zip(written, plots, strict=True):
        with warnings.catch_warnings(action="ignore"):  # these functions are experimental
            plot(study, target_name=objective)
        with rc_context({"savefig.bbox": "tight"}):
            write_figure(file, pyplot.gcf(), vector=True)
        pyplot.close()
    return written


def checked(objective: str | None, direction: Direction | None) -> tuple[str, Direction]:
    """Returns the objective, a metric of training or validation, and its better direction."""
    if objective is None:
        raise UserError("missing: --objective. Give a metric of validation, such as val/loss.")
    if not objective.startswith(("val/", "train/")):
        raise UserError(
            f"--objective {objective}: give a metric that begins with val/ or train/. A search "
            "must not see the test set, else the test score of its winner is too good."
        )
    if not (direction := direction or BETTER.get(metrics.direction(objective))):
        raise UserError(f"--objective {objective}: give --direction minimize or maximize as well.")
    return objective, direction


def read_space(file: Path) -> "dict[str, optuna.distributions.BaseDistribution]":
    """Reads the possible values of each option."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError('--space needs Optuna: pip install -e ".[sweep]"') from None
    try:
        space = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--space {file}: {error}") from error
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
