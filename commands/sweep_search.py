"""`python cli.py sweep --space`: a search for the best setting, with Optuna."""

import csv
import json
import shlex
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from commands import sweep_space
from commands.compare import LOADER, last_logged, print_aligned
from commands.sweep_figures import draw
from commands.sweep_folder import prepare, scores_line
from commands.sweep_runs import LOG, Outcome, Run, locked, run_folder, say, train
from figures.style import write_figure
from runtime import study as studies
from runtime.errors import UserError
from runtime.files import write

if TYPE_CHECKING:
    import optuna

MAXIMIZED = ("accuracy", "precision", "recall", "density", "coverage")  # in a metric's name
BEST = 5  # trials to print
WRONG_INPUT = 2  # exit code of `fit`: most likely the same for all values of the space


def search(options: Namespace, fit: list[str]) -> None:
    """Trains up to `--trials` runs with values from a space, and reports the best."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError('--space needs Optuna: pip install -e ".[sweep]"') from None
    objective = _checked(options.objective)
    direction = options.direction or _direction(objective)
    space = sweep_space.read(options.space)
    settings = {
        "sweep": "search", "--objective": objective, "--direction": direction,
        "--sampler": options.sampler, "--sampler_seed": options.sampler_seed,
        "--pruner": options.pruner,
    } | {f"the space's {name}": json.dumps(values) for name, values in space.items()}  # fmt: skip
    probe = sweep_space.as_options({name: values.first for name, values in space.items()})
    prepare(options, fit, settings, probe)
    source = Trials(options, space, direction)
    say(f"{options.out}: {options.trials} trials, {options.jobs} at a time")
    say(f"Objective: {direction} {objective}")
    train(source, fit, options.jobs)
    with locked(options.out):
        report(source, fit)


def _checked(objective: str | None) -> str:
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


def _direction(objective: str) -> str:
    return "maximize" if any(word in objective for word in MAXIMIZED) else "minimize"


class Trials:
    """Runs with values that Optuna chooses, from a study that several processes may share."""

    def __init__(
        self, options: Namespace, space: Mapping[str, sweep_space.Values], direction: str
    ) -> None:
        self.options, self.space, self.folder = options, space, options.out
        self.file = studies.file_in(self.folder)
        with locked(self.folder):
            self.study = studies.open_study(self.file, direction=direction)
        self.seen: set[int] = set()  # trials that this process has run
        self.trials: dict[str, optuna.Trial] = {}

    def take(self) -> Run | None:
        """Returns a trial whose process has died, or else a new one up to the total."""
        from optuna.trial import TrialState

        with locked(self.folder):
            known = self.study.get_trials(deepcopy=False)
            for number in (t.number for t in known if t.state == TrialState.RUNNING):
                if number not in self.seen and (run := self._continue(number)):
                    return run
            if len(known) >= self.options.trials:
                return None
            # With a new seed for each trial, a search that is continued chooses as if it had
            # not been interrupted, and workers do not choose the same values.
            self.study.sampler = self._sampler(len(known))
            return self._claim(self.study.ask())

    def _continue(self, number: int) -> Run | None:
        """Returns a trial that has not ended, unless a process trains it."""
        from optuna.trial import TrialState

        trial = studies.unfinished_trial(self.study, number)
        run = self._claim(trial)
        if run is not None and self.study.trials[number].state != TrialState.RUNNING:
            run.release()  # another process has recorded it since its state was read
            return None
        if run is not None and studies.PRUNED in trial.user_attrs:  # it only was not recorded
            say(f"{run.name} {self.record(run, Outcome('done', 0.0))}")
            run.release()
            return None
        return run

    def _sampler(self, number: int) -> "optuna.samplers.BaseSampler":
        from numpy.random import SeedSequence
        from optuna.samplers import RandomSampler, TPESampler

        entropy = (self.options.sampler_seed, number)
        seed = int(SeedSequence(entropy).generate_state(1)[0])
        return RandomSampler(seed) if self.options.sampler == "random" else TPESampler(seed=seed)

    def _claim(self, trial: "optuna.Trial") -> Run | None:
        run = Run.claim(self.folder / f"trial_{trial.number}", [])
        if run is None:  # another process trains it
            return None
        self.seen.add(trial.number)
        self.trials[run.name] = trial
        values = {
            name: getattr(trial, f"suggest_{values.kind}")(name, **values.arguments)
            for name, values in self.space.items()
        }
        pruning = {
            "class_path": "callbacks.Pruning",
            "init_args": {
                "study": str(self.file.absolute()), "trial": trial.number,
                "monitor": self.options.objective, "pruner": self.options.pruner,
            },
        }  # fmt: skip
        run.options = sweep_space.as_options(values)
        run.callbacks = (f"--trainer.callbacks+={json.dumps(pruning)}",)
        return run

    def record(self, run: Run, outcome: Outcome) -> str:
        from optuna.trial import TrialState

        trial = self.trials[run.name]
        if outcome.state == "stopped":  # its trial goes on at the next call
            return f"stopped after {outcome.seconds:.0f} s"
        trial.set_user_attr("seconds", round(outcome.seconds, 1))
        if outcome.state == "done":
            own = run_folder(run.folder)
            logged = last_logged(own) if own else {}
            value = logged.get(self.options.objective)
            steps = self.study.trials[trial.number].user_attrs.get(studies.PRUNED)
            if steps is not None:
                self.study.tell(trial.number, state=TrialState.PRUNED)
                return f"pruned after step {steps}{scores_line(run.folder)}"
            if value is not None and value == value:
                self.study.tell(trial.number, value)
                return f"done after {outcome.seconds:.0f} s{scores_line(run.folder)}"
            problem = "was not logged" if value is None else "is not a number"
            outcome = outcome._replace(error=f"{self.options.objective} {problem}")
        trial.set_user_attr("error", outcome.error)
        self.study.tell(trial.number, state=TrialState.FAIL)
        if outcome.state == "done" and value is None:
            raise UserError(self._never_logged(logged))
        if outcome.code == WRONG_INPUT and self._none_has_ended():
            raise UserError(f"{run.name}: {outcome.error} {self._another()}")
        return f"failed: {outcome.error} (log: {run.folder / LOG})"

    def _never_logged(self, logged: Mapping[str, float]) -> str:
        names = [name for name in logged if name.startswith(("val/", "train/"))]
        hint = ""
        if not any(name.startswith("val/") for name in names):
            hint = " There is no validation split: see the data's options."
        return (
            f"--objective {self.options.objective}: the run has not logged it. It has logged "
            f"{', '.join(names) or 'nothing'}.{hint} {self._another()}"
        )

    def _none_has_ended(self) -> bool:
        from optuna.trial import TrialState

        return not self.study.get_trials(False, (TrialState.COMPLETE, TrialState.PRUNED))

    def _another(self) -> str:
        return f"Delete {self.folder} before another search, or give --out."


def report(source: Trials, fit: Sequence[str]) -> None:
    """Prints the best trials; writes `trials.csv`, `trials.png` and `best.yaml`."""
    from optuna.trial import TrialState

    folder, objective = source.folder, source.options.objective
    trials = source.study.get_trials()
    names = list(source.space)
    write(folder / "trials.csv", lambda file: _write_csv(file, trials, objective, names))
    written = [folder / "trials.csv"]
    maximize = source.study.direction.name == "MAXIMIZE"
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    complete.sort(key=lambda trial: trial.values, reverse=maximize)
    if complete:
        rows = [["trial", objective, *names]]
        for trial in complete[:BEST]:
            rows.append([str(trial.number), f"{trial.value:.4g}", *_shown(trial.params)])
        print_aligned(rows)
        figure = draw(trials, objective, source.space, maximize)
        write_figure(folder / "trials.png", figure, vector=True)
        write(folder / "best.yaml", lambda file: _write_best(file, source, complete[0], fit))
        written += [folder / "trials.png", folder / "best.yaml"]
    counts = {s.name.lower(): sum(t.state == s for t in trials) for s in TrialState}
    say(", ".join(f"{count} {state}" for state, count in counts.items() if count))
    say(f"Wrote {', '.join(map(str, written))}")
    if counts["running"]:
        say("The process that ends last will write all trials.")
    if not complete:
        raise UserError(f"no trial has ended with a value. {folder} has the logs of all trials.")


def _shown(params: Mapping[str, Any]) -> list[str]:
    return [f"{v:.4g}" if isinstance(v, float) else str(v) for v in params.values()]


def _write_csv(file: Path, trials: Sequence[Any], objective: str, names: Sequence[str]) -> None:
    """Writes a line for each trial with all digits; an error is the last column."""
    with file.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["trial", "state", objective, *names, "seconds", "error"])
        for trial in trials:
            values = [trial.params.get(name, "") for name in names]
            extra = [trial.user_attrs.get(name, "") for name in ("seconds", "error")]
            value = "" if trial.value is None else trial.value
            writer.writerow([trial.number, trial.state.name.lower(), value, *values, *extra])


def _write_best(file: Path, source: Trials, best: Any, fit: Sequence[str]) -> None:
    """Writes the best values as an overlay, with the command that uses it in its first lines."""
    own = run_folder(source.folder / f"trial_{best.number}")
    config = yaml.load((own / "config.yaml").read_bytes(), LOADER) if own else {}
    text = yaml.safe_dump(sweep_space.overlay(config, best.params), sort_keys=False)
    options = shlex.join([*fit, "--config", str(source.folder / "best.yaml")])
    command = f"python cli.py fit {options}"  # not this machine's paths, in a file to be shared
    head = f"# Trial {best.number}: {source.options.objective} {best.value:.4g}.\n#   {command}\n"
    file.write_text(head + text)
