"""`python cli.py compare RUN RUN ...`: the results of several runs in one table.

Imports nothing heavy: the table appears within a second.
"""

import csv
import os
import shutil
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple, NoReturn

import yaml

from commands import COMMANDS
from commands.compare_figures import draw
from figures.style import write_figure
from runtime.errors import FULL, UserError
from runtime.files import METRICS, read_json, write

STAGES = {"val": "validate", "test": "test"}  # and the commands that write their scores
RECORDS = ("config.yaml", METRICS, "metrics.csv")  # a folder with one of them is a run
SEED = "seed_everything"
UNRELATED = ("trainer.default_root_dir", "ckpt_path", "experiment")  # not to the results
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, if it is there


class Run(NamedTuple):
    """The results of a run."""

    name: str  # the part of its folder's path in which it differs from the others
    config: dict[str, str]  # values by their dotted names
    scores: dict[str, float | None]  # by stage and name: `test/frechet`; None: not computable
    floors: dict[str, float | None]
    folder: Path = Path()


class LightParser(ArgumentParser):
    """The parser of a light command, which raises its errors."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. `python {self.prog} --help` lists the options.")


def compare(args: list[str]) -> None:
    """Prints a table of the runs' results, and writes `comparison.csv` and `comparison.png`.

    Of a folder with several runs, the newest counts.
    """
    parser = LightParser(
        "cli.py compare", description=COMMANDS["compare"].summary, allow_abbrev=False
    )
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        type=Path,
        help="folder of a run, or of an experiment, for its newest run",
    )
    parser.add_argument("--stage", choices=STAGES, help="scores of this stage alone")
    text = "folder to write to (default: the one that contains all these runs)"
    parser.add_argument("--out", type=Path, help=text)
    options = parser.parse_args(args)

    runs = load(options.runs, options.stage)
    report(runs, options.out or _common_folder(run.folder for run in runs))


def _common_folder(runs: Iterable[Path]) -> Path:
    """Returns the folder that contains all runs, relative to the current folder if it is inside."""
    folder, here = Path(os.path.commonpath([run.parent for run in runs])), Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def newest_run(folder: Path) -> Path:
    """Returns the newest run below a folder that is no run, by the dates of its checkpoints.

    A run without checkpoints is older than the others. Without runs, returns the folder.
    """

    def age(run: Path) -> tuple[bool, float]:
        saved = [path.lstat().st_mtime for path in run.glob("checkpoints/[!.]*.ckpt")]
        written = [(run / name).stat().st_mtime for name in RECORDS if (run / name).is_file()]
        return bool(saved), max(saved or written)

    if any((folder / name).is_file() for name in RECORDS):
        return folder
    runs = {path.parent for name in RECORDS for path in folder.glob(f"**/{name}")}
    return max(sorted(runs), key=age, default=folder)


def report(runs: Sequence[Run], out: Path) -> None:
    """Prints the table of runs, and writes it as `comparison.csv` and `comparison.png`."""
    settings, scores = differences(runs), _names(run.scores for run in runs)
    print_aligned(table(runs, settings, scores))
    try:
        out.mkdir(parents=True, exist_ok=True)
        write(out / "comparison.csv", lambda file: _write_csv(file, runs, settings, scores))
        write_figure(out / "comparison.png", draw(runs, scores), vector=True)
    except OSError as error:
        if error.errno in FULL:
            raise
        reason = f"cannot be written to ({error.strerror}). Give another folder."
        raise UserError(f"--out {out}: {reason}") from error
    print(f"Wrote {out / 'comparison.csv'}, {out / 'comparison.png'}")


def load(folders: Iterable[Path], stage: str | None = None) -> list[Run]:
    """Reads the runs that have results of a stage or any; names the others on standard error."""
    stages = [stage] if stage else list(STAGES)
    found, missing = {}, []
    for folder in dict.fromkeys(map(newest_run, folders)):
        scores, floors = scores_of(folder, stages)
        if scores:
            found[Path(os.path.abspath(folder))] = scores, floors
        else:
            missing.append(f"{folder} ({'no results' if folder.is_dir() else 'no such folder'})")
    if not found:
        command = STAGES[stages[-1]]
        raise UserError(
            f"there is nothing to compare in {', '.join(missing)}. `python cli.py {command} "
            "--ckpt_path RUN` writes a run's results into its folder."
        )
    if missing:
        print(f"Skipped: {', '.join(missing)}", file=sys.stderr)
    root = os.path.commonpath([folder.parent for folder in found])
    return [Run(str(run.relative_to(root)), config_of(run), *found[run], run) for run in found]


def scores_of(
    folder: Path, stages: Sequence[str]
) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Reads a run's scores and floors by stage and name.

    `metrics.json` takes precedence. For a stage that is not in it, the scores are the last values
    in `metrics.csv`, which have no floors.
    """
    recorded, logged = read_json(folder / METRICS), last_logged(folder)
    scores: dict[str, float | None] = {}
    floors: dict[str, float | None] = {}
    for stage in stages:
        if found := recorded.get(stage):
            scores |= {f"{stage}/{name}": value for name, value in found["scores"].items()}
            floors |= {f"{stage}/{name}": value for name, value in found.get("floor", {}).items()}
        else:
            scores |= {k: value for k, value in logged.items() if k.startswith(f"{stage}/")}
    return scores, floors


def last_logged(folder: Path) -> dict[str, float]:
    """Reads the last value of each metric in a run's `metrics.csv`; empty without that file."""
    last: dict[str, float] = {}
    if (file := folder / "metrics.csv").is_file():
        for row in csv.DictReader(file.read_text().splitlines()):
            last |= {name: float(value) for name, value in row.items() if value}
    return last


def config_of(folder: Path) -> dict[str, str]:
    """Reads the values in a run's `config.yaml` by their dotted names; empty without that file."""
    file = folder / "config.yaml"
    try:
        return dict(flat(yaml.load(file.read_bytes(), LOADER))) if file.is_file() else {}
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not valid YAML. Leave this run out.") from error


def flat(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields each value of a config with its dotted name; a class stands for its `class_path`."""
    if not isinstance(config, dict):
        yield prefix, str(config)
        return
    for key, value in config.items():
        if key == "class_path":
            yield prefix, str(value).rpartition(".")[2]
        else:
            yield from flat(value, f"{prefix}.{key}".strip(".").removesuffix(".init_args"))


def differences(runs: Sequence[Run]) -> list[str]:
    """Returns the names of the config values that all runs have and in which they differ."""
    values = {name: {run.config.get(name) for run in runs} for name in runs[0].config}
    return [
        name
        for name, found in values.items()
        if name not in UNRELATED and len(found) > 1 and None not in found
    ]


def repeat_one_setting(runs: Sequence[Run]) -> bool:
    """Returns whether the runs differ in nothing but their seeds."""
    names = _names(run.config for run in runs)
    same = (name for name in names if name not in (*UNRELATED, SEED))
    return all(len({run.config.get(name) for run in runs}) == 1 for name in same)


def table(runs: Sequence[Run], settings: Sequence[str], scores: Sequence[str]) -> list[list[str]]:
    """Returns a header and a row for each run.

    Runs that differ in nothing but their seeds also have their mean and deviation: an average over
    models, data or settings would mean nothing. The deviation is the standard deviation of the
    sample (n - 1). The score of real images follows a score in parentheses.
    """
    with_floor = _names(run.floors for run in runs)
    headers = [f"{name} (real images)" if name in with_floor else name for name in scores]
    rows = [["run", *settings, *headers]]
    for run in runs:
        cells = [_cell(run.scores.get(name), run.floors.get(name)) for name in scores]
        rows.append([run.name, *(run.config[name] for name in settings), *cells])
    if len(runs) > 1 and repeat_one_setting(runs):
        columns = [[v for r in runs if (v := r.scores.get(name)) is not None] for name in scores]
        means = [fmean(column) if column else None for column in columns]
        deviations = [stdev(column) if len(column) > 1 else None for column in columns]
        for title, summary in (("mean", means), ("std", deviations)):
            rows.append([title, *("" for _ in settings), *map(_cell, summary)])
    return rows


def _cell(score: float | None, floor: float | None = None) -> str:
    text = "-" if score is None else f"{score:.4g}"
    return text if floor is None else f"{text} ({floor:.4g})"


def _names(parts: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for part in parts for name in part))


def print_aligned(rows: list[list[str]]) -> None:
    """Prints a row for each run, or a column if only that fits the terminal."""
    terminal = shutil.get_terminal_size((sys.maxsize, 0)).columns
    by_row, by_column = _aligned(rows), _aligned(list(zip(*rows, strict=True)))
    width, other_width = (max(map(len, lines)) for lines in (by_row, by_column))
    print("\n".join(by_row if width <= max(terminal, other_width) else by_column))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _write_csv(
    file: Path, runs: Sequence[Run], settings: Sequence[str], scores: Sequence[str]
) -> None:
    """Writes a line for each run with all digits; scores of real images are the last columns."""
    floors = [f"{name} (real images)" for name in _names(run.floors for run in runs)]
    with file.open("w", newline="") as lines:
        header = ["run", *settings, *scores, *floors]
        writer = csv.DictWriter(lines, header, extrasaction="ignore")
        writer.writeheader()
        for run in runs:
            with_floors = {f"{name} (real images)": value for name, value in run.floors.items()}
            writer.writerow(run.config | run.scores | with_floors | {"run": run.name})
