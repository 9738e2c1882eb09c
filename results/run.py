"""A finished run: its checkpoint, config, scores and curves, and the model that it trained.

Imports nothing heavy: the methods that need torch import it.
"""

import csv
import io
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from runtime import own_configs, yaml_files
from runtime.errors import UserError, printable, require_printable
from runtime.files import METRICS, check_links, complete_lines
from runtime.recorded import read_recorded

RUNS = Path("runs")
RECORDS = ("config.yaml", METRICS, "metrics.csv")  # a folder with one of them is a run
HPARAMS, FOUND = "hparams.yaml", "dataset_found: "
SCORED_STAGES = ("val", "test")
LONGEST_LINE = 100_000  # letters of a log's line

Scores = dict[str, float | None]  # by stage and name: `test/frechet`; None: not computable


class Run:
    """A run's folder. Each file in it is read when it is asked for, and once.

    Args:
        folder: The run's folder.
        checkpoint: The checkpoint that is meant; None: the run's newest.
        trust: Import the classes that the run names, whoever made it.
    """

    def __init__(self, folder: Path, checkpoint: Path | None = None, trust: bool = False) -> None:
        self.folder, self.trust, self._checkpoint = Path(folder), trust, checkpoint

    def __fspath__(self) -> str:
        return str(self._checkpoint or self.folder)

    @classmethod
    def find(cls, text: str | Path, trust: bool = False) -> "Run":
        """Finds the run that a user means.

        Args:
            text: A run's folder, or one above it for the newest run; a checkpoint; `last` or
                `best`, also behind a folder; or an experiment, which is a folder in `runs`.
            trust: As for the class.

        Raises:
            UserError: If there is none.
        """
        if not {*RECORDS}.isdisjoint(os.listdir(text) if Path(text).is_dir() else ()):
            return cls(Path(text), trust=trust)
        from runtime import checkpoints

        checkpoint = checkpoints.resolve(text, RUNS, option="RUN")
        return cls(checkpoints.run_folder_of(checkpoint) or checkpoint.parent, checkpoint, trust)

    @cached_property
    def is_mine(self) -> bool:
        """True if a command of this user wrote the run's config, or if the user trusts the run."""
        file = self.folder / "config.yaml"
        if self.trust and file.is_file():
            own_configs.remember(self._text)
        return self.trust or (not file.is_symlink() and own_configs.is_recorded(self._text))

    @property
    def name(self) -> str:
        """The name of the run's experiment, or of its folder if that is no version of one."""
        folder = self.folder.resolve()
        return (folder.parent if folder.name.startswith("version_") else folder).name

    # -- what it trained --

    @cached_property
    def checkpoint(self) -> Path:
        """The checkpoint, whose content was verified."""
        from runtime import checkpoints

        return self._checkpoint or checkpoints.resolve(self.folder, RUNS, option="RUN")

    def describe(self) -> str:
        """Returns which run this is, its step and its age, as text."""
        from runtime import checkpoints

        step = checkpoints.saved_step(self.checkpoint) or 0
        minutes = (time.time() - self.checkpoint.stat().st_mtime) / 60
        units = ((60 * 48, 60 * 24, "day"), (90, 60, "hour"), (-math.inf, 1, "minute"))
        age, unit = next((round(minutes / size), u) for least, size, u in units if minutes >= least)
        return f"{self.folder}, step {step:,}, {age} {unit}{'s' * (age != 1)} old"

    def model(self, given: type | None = None) -> Any:
        """Loads the model with its weights, in eval mode, on the CPU.

        Its attribute `input_spec` describes the training data; None: the checkpoint does not.
        `run_precision` is that of the run's config.

        Args:
            given: The model's class; None: the checkpoint names it.
        """
        from results import building
        from runtime.trust import classes_in

        if not self.trust and self.checkpoint.parent != self.folder:
            check_links(self.folder)
        own = classes_in(self.config) if self.is_mine else []
        model = building.model_of(self.checkpoint, self.trust, given, own)
        trainer = self.config.get("trainer")
        known = trainer if isinstance(trainer, dict) else {}
        model.run_precision = str(known.get("precision", "auto"))
        return model

    def data(self, data_dir: Path | None = None) -> Any:
        """Builds the DataModule that the config describes, with its splits.

        Args:
            data_dir: Another folder for the data set; None: the run's.
        """
        from results import building

        file, data = self.folder / "config.yaml", self.config.get("data")
        if not file.is_file():
            raise UserError(f"{self.folder}: there is no config.yaml, which names the data: give "
                            "the folder of a run")  # fmt: skip
        return building.data_of(data, file, self.checkpoint, data_dir, self.is_mine)

    # -- what it was told --

    @cached_property
    def config(self) -> dict[str, Any]:
        """The values in `config.yaml`; empty without that file."""
        file = self.folder / "config.yaml"
        return yaml_files.parse(self._text, file) if file.is_file() else {}

    @cached_property
    def _text(self) -> bytes:
        """The bytes of `config.yaml`, read once; empty without that file."""
        require_printable(self.folder)
        file = self.folder / "config.yaml"
        return yaml_files.content_of(file) if file.is_file() else b""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The config by dotted names; for `auto`, the data set that was found."""
        settings = {}
        for name, value in _by_dotted_name(self.config):
            if isinstance(value, list):
                value = [v.get("class_path", v) if isinstance(v, dict) else v for v in value]
            plain = value is None or isinstance(value, int | float)
            settings[printable(name)] = value if plain else printable(str(value))
        if settings.get("data.dataset") == "auto":
            lines = _lines_of(self.folder / HPARAMS)
            notes = [line[len(FOUND) :] for line in lines if line.startswith(FOUND)]
            settings["data.dataset"] = printable("".join(notes).strip()) or "auto"
        return settings

    # -- what it reached --

    def results(self, stage: str) -> list[dict[str, Any]]:
        """Returns what `test` and `validate` have recorded of a stage, the newest last.

        Each entry has the checkpoint, the data, `own_data`, the seed of samples, the time, and by
        name the scores, perhaps with `floor` and `intervals`. Types are checked, texts are not.
        """
        return self._recorded.get(stage, [])

    def newest(self, stage: str) -> dict[str, Any] | None:
        """Returns the newest result on the run's own data; None if there is none."""
        return next((r for r in reversed(self.results(stage)) if r["own_data"]), None)

    def scores(self, stages: Sequence[str] = SCORED_STAGES) -> Scores:
        """Returns the scores on the run's own data, by stage and name.

        Those in `metrics.json` take precedence. For a stage that is not in it, the scores are the
        last values in `metrics.csv`.
        """
        scores: Scores = {}
        for stage in stages:
            logged = {name: x for name, x in self.logged.items() if name.startswith(f"{stage}/")}
            newest = self.newest(stage)
            scores |= by_stage({stage: newest}, "scores") if newest else logged
        return scores

    def floors(self, stages: Sequence[str] = SCORED_STAGES) -> Scores:
        """Returns the scores of real images by stage and name."""
        return by_stage({stage: self.newest(stage) or {} for stage in stages}, "floor")

    def intervals(self, stages: Sequence[str] = SCORED_STAGES) -> dict[str, list[float | None]]:
        """Returns the 95 % intervals of fractions by stage and name."""
        return by_stage({stage: self.newest(stage) or {} for stage in stages}, "intervals")

    @cached_property
    def _recorded(self) -> dict[str, list[dict[str, Any]]]:
        return read_recorded(self.folder)

    @cached_property
    def logged(self) -> Scores:
        """The last value of each column in `metrics.csv`, and the highest step.

        Read without pandas, which takes longer to begin than a log to be read.
        """
        file = self.folder / "metrics.csv"
        last: dict[str, str] = {}
        given: dict[str, str] = {}
        try:
            for row in csv.DictReader(_lines_of(file)):
                last |= {k: text for k, text in row.items() if k and text and text != "nan"}
                given |= {str(len(given)): row["step"]} if row.get("step") else {}
        except csv.Error as error:
            raise UserError(f"{file}: not a table ({error})") from None
        steps = _numbers(given, file)
        return _numbers(last, file) | ({"step": max(steps.values())} if steps else {})

    def curves(self) -> pd.DataFrame:
        """Reads `metrics.csv`, also while the run writes it; empty without that file."""
        file = self.folder / "metrics.csv"
        lines = _lines_of(file)
        try:
            frame = pd.read_csv(io.StringIO("\n".join(lines))) if lines else pd.DataFrame()
            frame.astype(float)
        except ValueError:
            raise UserError(f"{file}: not a table of numbers") from None
        return frame


def by_stage(results: Mapping[str, Mapping[str, Any]], part: str) -> dict[str, Any]:
    """Returns `scores`, `floor` or `intervals` of results, by stage and name."""
    found = ((stage, result.get(part, {}).items()) for stage, result in results.items())
    return {printable(f"{stage}/{name}"): x for stage, items in found for name, x in items}


def find_runs(roots: Iterable[Path]) -> list[Path]:
    """Returns the folders of all runs in or below some folders, `version_10` after `version_9`."""

    def natural(path: Path) -> list[Any]:
        return [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", str(path))]

    folders: list[Path] = []
    for root in roots:
        runs = [Path(at) for at, _, files in os.walk(root) if not {*RECORDS}.isdisjoint(files)]
        folders += sorted(runs, key=natural)
    return [*dict.fromkeys(folders)]


def time_of(run: Path) -> float:
    """Returns when a run has saved its newest checkpoint; 0 if it has none."""
    saved = run.glob("checkpoints/[!.]*.ckpt")
    return max((path.lstat().st_mtime for path in saved), default=0.0)


def _by_dotted_name(config: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            below = prefix if key == "init_args" else f"{prefix}{key}."
            yield from _by_dotted_name(value, below)
        elif key == "class_path" and prefix:
            yield prefix.removesuffix("."), str(value).rpartition(".")[2]
        else:
            yield f"{prefix}{key}", value


def _lines_of(file: Path) -> list[str]:
    """Returns the whole lines of a log; none without that file."""
    try:
        lines = complete_lines(file).splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    if max(map(len, lines), default=0) > LONGEST_LINE:
        raise UserError(f"{file}: has a line of more than {LONGEST_LINE:,} letters")
    return lines


def _numbers(recorded: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Returns checked numbers by name, because somebody else may have written the file."""
    numbers = {}
    for name, value in recorded.items():
        try:
            numbers[printable(name)] = None if value is None else float(value)
        except (TypeError, ValueError, OverflowError):
            raise UserError(f"{file}: '{name}' is no number") from None
    return numbers
