"""Finished runs: their settings and scores, and tables of several."""

import csv
import io
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

import metrics
from commands import config_files
from figures.style import styled, write_figure
from runtime.errors import UserError, printable, require_printable
from runtime.files import METRICS, read_json, whole_lines, write

RECORDS = ("config.yaml", METRICS, "metrics.csv")  # a folder with one of them is a run
LONGEST_LINE = 100_000  # letters of a log's line
SEED = "seed_everything"
UNRELATED = ["trainer.default_root_dir", "ckpt_path", "experiment"]  # not to the results
WIDEST = 24  # letters of a setting's value in the terminal
MOST = 40  # runs in a picture
ARROWS = {"lower": "\N{DOWNWARDS ARROW}", "higher": "\N{UPWARDS ARROW}", None: ""}
PANEL, LINE, LETTER = 2.7, 0.36, 0.115  # width of a panel, height of a run, width of a letter, inch

Scores = dict[str, float | None]  # by stage and name: `test/frechet`; None: not computable


@dataclass
class Run:
    """The settings and results of a run."""

    folder: Path
    name: str  # the part of its path in which it differs from other runs
    settings: dict[str, Any]  # by dotted names
    scores: Scores
    floors: Scores  # scores of real images
    steps: float | None  # that it has logged


def find_runs(places: Iterable[Path]) -> list[Path]:
    """Returns the folders of all runs in or below some folders, `version_10` after `version_9`."""

    def natural(path: Path) -> list[Any]:
        return [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", str(path))]

    found: list[Path] = []
    for place in places:
        runs = [Path(at) for at, _, files in os.walk(place) if not {*RECORDS}.isdisjoint(files)]
        found += sorted(runs, key=natural)
    return [*dict.fromkeys(found)]


def read_runs(folders: Sequence[Path], stages: Sequence[str]) -> list[Run]:
    """Reads the runs in these folders, with their scores of these stages.

    A run of which a file is broken is skipped with a warning. Texts in files of others are made
    printable here, before they reach a terminal or a table.
    """
    paths = [folder.resolve() for folder in folders]
    versions, runs = Counter(path.parent for path in paths), []
    common = os.path.commonpath([*versions]) if paths else ""
    for folder, path in zip(folders, paths, strict=True):
        try:
            settings, last = settings_of(folder), last_logged(folder)
            scores, floors = scores_of(folder, stages, last)
        except UserError as error:
            print(printable(f"Skipped: {error}"), file=sys.stderr)
            continue
        # Without what all paths share, and without `version_N` if there is no other.
        name = path.relative_to(common)
        only = len(name.parts) > 1 and versions[path.parent] == 1
        title = str(name.parent if only else name)
        runs.append(Run(folder, title, settings, scores, floors, last.get("step")))
    return runs


def settings_of(folder: Path) -> dict[str, Any]:
    """Reads the values in a run's `config.yaml` by their dotted names; empty without that file.

    A class stands for its `class_path`.
    """
    file = folder / "config.yaml"
    require_printable(folder)
    if not file.is_file():
        return {}
    settings = {}
    for name, value in _by_dotted_name(config_files.read(file)):
        plain = value is None or isinstance(value, int | float)
        settings[printable(name)] = value if plain else printable(str(value))
    return settings


def _by_dotted_name(config: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            below = prefix if key == "init_args" else f"{prefix}{key}."
            yield from _by_dotted_name(value, below)
        elif key == "class_path" and prefix:
            yield prefix.removesuffix("."), str(value).rpartition(".")[2]
        else:
            yield f"{prefix}{key}", value


def scores_of(folder: Path, stages: Sequence[str], last: Scores) -> tuple[Scores, Scores]:
    """Reads a run's scores, and those of real images, by stage and name.

    `metrics.json` takes precedence. For a stage that is not in it, the scores are the last values
    in `metrics.csv`, which has none of real images.
    """
    file = folder / METRICS
    recorded = read_json(file)
    scores: Scores = {}
    floors: Scores = {}
    for stage in stages:
        if not (found := recorded.get(stage)):
            scores |= {name: last[name] for name in last if name.startswith(f"{stage}/")}
            continue
        for part, target in (("scores", scores), ("floor", floors)):
            values = {"floor": {}, **found}.get(part) if isinstance(found, dict) else None
            if not isinstance(values, dict):
                raise UserError(f"{file}: '{stage}' has no {part} by name")
            target.update(_numbers({f"{stage}/{k}": value for k, value in values.items()}, file))
    return scores, floors


def last_logged(folder: Path) -> Scores:
    """Returns the last value of each column in a run's `metrics.csv`, and the highest step.

    Without pandas, which takes longer to begin than a run's log to be read.
    """
    file = folder / "metrics.csv"
    try:
        rows = [*csv.DictReader(_lines_of(file))]
    except csv.Error as error:
        raise UserError(f"{file}: not a table ({error})") from None
    last = {k: text for row in rows for k, text in row.items() if k and text and text != "nan"}
    steps = _numbers({str(k): row["step"] for k, row in enumerate(rows) if row.get("step")}, file)
    return _numbers(last, file) | ({"step": max(steps.values())} if steps else {})


def _lines_of(file: Path) -> list[str]:
    """Returns the whole lines of a log; none without that file."""
    try:
        lines = whole_lines(file).splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    if max(map(len, lines), default=0) > LONGEST_LINE:
        raise UserError(f"{file}: has a line of more than {LONGEST_LINE:,} letters")
    return lines


def _numbers(found: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Returns checked numbers by name, because somebody else may have written the file."""
    numbers = {}
    for name, value in found.items():
        try:
            numbers[printable(name)] = None if value is None else float(value)
        except (TypeError, ValueError, OverflowError):
            raise UserError(f"{file}: '{name}' is no number") from None
    return numbers


def logged_by(folder: Path) -> pd.DataFrame:
    """Reads a run's `metrics.csv`, also while the run writes it; empty without that file."""
    file = folder / "metrics.csv"
    lines = _lines_of(file)
    try:
        frame = pd.read_csv(io.StringIO("\n".join(lines))) if lines else pd.DataFrame()
        frame.astype(float)
    except ValueError:
        raise UserError(f"{file}: not a table of numbers") from None
    return frame


def report(runs: Sequence[Run], folder: Path) -> pd.DataFrame:
    """Prints the table of runs and returns it; writes `comparison.csv` and `comparison.png`."""
    shown = table(runs)
    print(as_text(shown))
    floors = _frame(runs, "floors").T.add_suffix(" (real images)")
    if len(floors.columns):
        print("In parentheses: the score of real images in place of generated ones.")
    frame = pd.concat([differing(runs).T, _frame(runs, "scores").T, floors], axis=1)
    write(folder / "comparison.csv", lambda path: frame.to_csv(path, index_label="run"))
    written = [folder / "comparison.csv"]
    if len(runs) > MOST:
        print(f"No picture of more than {MOST} runs.")
    elif len(runs) > 1 and (figure := draw(runs)) is not None:
        written.append(folder / "comparison.png")
        write_figure(written[-1], figure, vector=True)
    print(f"Wrote {', '.join(map(str, written))}")
    return shown


def table(runs: Sequence[Run]) -> pd.DataFrame:
    """Returns settings and scores as text, a row each, with a column for each run.

    Runs that differ in nothing but their seeds also have mean and standard deviation (n - 1): an
    average over models, data or settings would mean nothing. The score of real images follows a
    score in parentheses. Scores by class are left out.
    """
    settings, scores = differing(runs), _frame(runs, "scores").astype(float)
    names = [name for name in scores.index if "_class_" not in name]
    scores = scores.loc[sorted(names, key=lambda name: name.startswith("test/"))]
    if len(runs) > 1 and not {*settings.index} - {SEED}:
        scores = scores.assign(mean=scores.mean(axis=1), std=scores.std(axis=1))
    cells = scores.map(lambda value: "-" if pd.isna(value) else f"{value:.4g}")
    floors = (
        _frame(runs, "floors").astype(float).reindex(index=scores.index, columns=scores.columns)
    )
    cells += floors.map(lambda value: "" if pd.isna(value) else f" ({value:.4g})")
    settings = settings.map(short).rename(index=in_words(settings.index))
    return pd.concat([settings, cells]).fillna("")


def differing(runs: Sequence[Run]) -> pd.DataFrame:
    """Returns the settings in which runs differ, a row each, with a column for each run.

    None also stands for a setting that a run does not have. Below a class that differs, settings
    count only if runs that have them differ.
    """
    frame = _frame(runs, "settings").drop(UNRELATED, errors="ignore")
    seen = {name: {*row} for name, row in zip(frame.index, frame.to_numpy(), strict=True)}
    differ = {name for name, values in seen.items() if len(values) > 1}

    def is_shown(name: str) -> bool:
        above = accumulate(name.split(".")[:-1], "{}.{}".format)
        return len(seen[name] - {None}) > 1 or differ.isdisjoint(above)

    return frame.loc[[name for name in seen if name in differ and is_shown(name)]]


def _frame(runs: Sequence[Run], part: str) -> pd.DataFrame:
    columns = {run.name: getattr(run, part) for run in runs}
    names = [*dict.fromkeys(name for column in columns.values() for name in column)]
    rows = [[column.get(name) for column in columns.values()] for name in names]
    return pd.DataFrame(rows, index=names, columns=[*columns], dtype=object)


def short(value: Any) -> str:
    if pd.isna(value):
        return "-"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."


def in_words(names: Iterable[str]) -> dict[str, str]:
    """Shortens dotted names to their last parts, where these differ."""
    words = {name: name.rpartition(".")[2] for name in names}
    seen = [*words.values()]
    return {name: word if seen.count(word) == 1 else name for name, word in words.items()}


def as_text(frame: pd.DataFrame, index: bool = True) -> str:
    """Returns a table in lines that fit the terminal; what is too wide goes on below."""
    text = frame.to_string(index=index, line_width=shutil.get_terminal_size().columns)
    return "\n".join(printable(line.rstrip(" \\")) for line in text.splitlines())


@styled
def draw(runs: Sequence[Run]) -> Figure | None:
    """Draws a panel for each score that two runs have: a dot for each run, a bar for real images.

    Returns None if no two runs share a score. Scores by class are left out.
    """
    scores = _frame(runs, "scores").astype(float).dropna(thresh=2)
    scores = scores.loc[[name for name in scores.index if "_class_" not in name]]
    if scores.empty:
        return None
    floors, names = _frame(runs, "floors").reindex(scores.index), [*scores.columns]
    columns = min(4, len(scores))
    rows = -(-len(scores) // columns)
    size = (LETTER * max(map(len, names)) + PANEL * columns, rows * (1.5 + LINE * len(runs)) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    for panel, (name, values) in zip(panels, scores.iterrows(), strict=False):
        panel.plot(values, range(len(names)), "o", markersize=8)
        panel.plot(floors.loc[name], range(len(names)), "k|", markersize=14, markeredgewidth=2)
        stage = str(name).partition("/")[0]
        arrow = ARROWS[metrics.direction(str(name))]
        panel.set_title(f"{stage}: {metrics.title(str(name))} {arrow}", parse_math=False)
        panel.margins(x=0.12)
        panel.locator_params(axis="x", nbins=3)
        panel.grid(axis="y", alpha=0.4)
    panels[0].set_yticks(range(len(names)), names, parse_math=False)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    for panel in panels[len(scores) :]:
        panel.set_visible(False)
    bar = "; |: real images" if floors.notna().any(axis=None) else ""
    figure.supxlabel(f"{ARROWS['higher']} higher, {ARROWS['lower']} lower is better{bar}", size=12)
    return figure
