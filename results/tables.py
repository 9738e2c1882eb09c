"""Tables of several runs: the settings in which they differ, and their scores."""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

import metrics
from figures.style import styled, write_figure
from results.run import SCORED_STAGES, Run, Scores, by_stage
from runtime.errors import UserError, printable
from runtime.files import write
from runtime.intervals import ENOUGH

SEED = "seed_everything"
OTHER_DATA = "scored data"  # a setting of rows of other data than the run's
UNRELATED = ["trainer.default_root_dir", "ckpt_path", "experiment"]  # do not affect results
WIDEST = 24  # letters of a setting's value in the terminal
MAX_RUNS_IN_PICTURE = 40  # runs in a picture
ARROWS = {"lower": "\N{DOWNWARDS ARROW}", "higher": "\N{UPWARDS ARROW}", None: ""}
# Width of a panel, height of a run, width of a letter, inch
PANEL, HEIGHT, LETTER = 2.7, 0.36, 0.115


@dataclass
class Row:
    """What a table shows of a run."""

    folder: Path
    name: str  # the part of its path in which it differs from other runs
    settings: dict[str, Any]  # by dotted names
    scores: Scores
    floors: Scores  # scores of real images
    low: Scores  # lower ends of the 95 % intervals of fractions
    high: Scores
    steps: dict[str, float | None]  # at which each stage was measured; in training, the last one
    few: bool  # examples


def read_runs(folders: Sequence[Path], stages: Sequence[str] = SCORED_STAGES) -> list[Row]:
    """Reads the runs in these folders, with their scores of these stages.

    A run of which a file is broken is skipped with a warning. Texts in files of others are made
    printable before they reach a terminal or a table.
    """
    rows: list[Row] = []
    for folder, name in names_of(folders).items():
        run = Run(folder)
        try:
            rows += _rows_of(run, name, stages)
            if run.logged.get("step") is None and (folder / "metrics.csv").is_file():
                print(printable(f"{folder}/metrics.csv has no values"), file=sys.stderr)
        except UserError as error:
            print(printable(f"Skipped: {error}"), file=sys.stderr)
    return rows


def _rows_of(run: Run, name: str, stages: Sequence[str]) -> list[Row]:
    """Returns the row of a run, and one for each other data set on which it was scored."""
    row = _row(run, name, {stage: newest for stage in stages if (newest := run.newest(stage))})
    steps = dict.fromkeys(stages, run.logged.get("step")) | row.steps
    rows = [replace(row, scores=run.scores(stages), steps=steps)]
    for stage in stages:
        others = [result for result in run.results(stage) if not result["own_data"]]
        newest = {str(result["data"]["content"] or result["data"]): result for result in others}
        for content, result in newest.items():
            title = printable(result["data"]["title"])
            label = f"{name}, {stage} of {title}"
            label += f" {content[:6]}" * (label in [row.name for row in rows])
            row = _row(run, label, {stage: result})
            rows.append(replace(row, settings=row.settings | {OTHER_DATA: title}))
    return rows


def _row(run: Run, name: str, results: dict[str, dict[str, Any]]) -> Row:
    scores, floors, limits = (by_stage(results, x) for x in ("scores", "floor", "intervals"))
    lows, highs = ({k: pair[end] for k, pair in limits.items()} for end in (0, 1))
    steps = {stage: result["checkpoint"]["step"] for stage, result in results.items()}
    counts = [result["data"]["counts"].get(stage, ENOUGH) for stage, result in results.items()]
    few = any(count < ENOUGH for count in counts)
    return Row(run.folder, name, run.settings, scores, floors, lows, highs, steps, few)


def names_of(folders: Sequence[Path]) -> dict[Path, str]:
    """Returns the part of each run's path in which it differs from others.

    It is without `version_N` if there is no other version.
    """
    paths = {folder: folder.resolve() for folder in folders}
    versions = Counter(path.parent for path in paths.values())
    common = os.path.commonpath([*versions]) if paths else ""
    names = {}
    for folder, path in paths.items():
        name = path.relative_to(common)
        if versions[path.parent] == 1:
            name = name.parent if len(name.parts) > 1 else Path(Run(folder).name)
        names[folder] = str(name)
    return names


def report(runs: Sequence[Row], folder: Path) -> pd.DataFrame:
    """Prints the table of runs and returns it; writes `comparison.csv` and `comparison.png`."""
    shown = table(runs)
    print(as_text(shown))
    if len(runs) > 1 and differing(runs).empty:
        print("These runs have the same settings and the same seed: it is one run, repeated.")
    floors = _frame(runs, "floors").T.add_suffix(" (real images)")
    if len(floors.columns):
        print("In parentheses: the score of real images in place of generated ones.")
    parts = [differing(runs).T, _steps_of(runs).T, _frame(runs, "scores").T, floors]
    if any(run.low for run in runs):
        print("In brackets: the 95 % interval, from the number of examples.")
    parts += [_limits(runs, end).T.add_suffix(f" (95 %, {end})") for end in ("low", "high")]
    if few := [run.name for run in runs if run.few]:
        print(printable(f"Fewer than {ENOUGH} examples, so uncertain: {'; '.join(few)}"))
    frame = pd.concat(parts, axis=1)
    write(folder / "comparison.csv", lambda path: frame.to_csv(path, index_label="run"))
    written = [folder / "comparison.csv"]
    if len(runs) > MAX_RUNS_IN_PICTURE:
        print(f"No picture of more than {MAX_RUNS_IN_PICTURE} runs.")
    elif len(runs) > 1 and (figure := plot_runs(runs)) is not None:
        written.append(folder / "comparison.png")
        write_figure(written[-1], figure, vector=True)
    print(f"Wrote {', '.join(map(str, written))}")
    return shown


def table(runs: Sequence[Row]) -> pd.DataFrame:
    """Returns settings, steps and scores as text, a row each, with a column for each run.

    Runs that differ in nothing but their seeds also have mean and standard deviation (n - 1): an
    average over models, data or settings would mean nothing. The score of real images follows a
    score in parentheses. Scores by class are left out.
    """
    settings, scores = differing(runs), _frame(runs, "scores").astype(float)
    names = [name for name in scores.index if "_class_" not in name]
    scores = scores.loc[sorted(names, key=lambda name: name.startswith("test/"))]
    if len(runs) > 1 and {*settings.index} == {SEED}:
        scores = scores.assign(mean=scores.mean(axis=1), std=scores.std(axis=1))
    cells = scores.map(lambda value: "-" if pd.isna(value) else f"{value:.4g}")
    floors = (
        _frame(runs, "floors").astype(float).reindex(index=scores.index, columns=scores.columns)
    )
    cells += floors.map(lambda value: "" if pd.isna(value) else f" ({value:.4g})")
    low, high = (_limits(runs, end).reindex_like(scores) for end in ("low", "high"))
    brackets = low.map(" [{:.3f}, ".format) + high.map("{:.3f}]".format)
    cells += brackets.where(low.notna(), "")
    settings = settings.map(short).rename(index=in_words(settings.index))
    steps = _steps_of(runs).map(lambda step: "-" if pd.isna(step) else f"{step:,.0f}")
    return pd.concat([settings, steps, cells]).fillna("")


def _steps_of(runs: Sequence[Row]) -> pd.DataFrame:
    """Returns the steps at which the stages that have scores were measured."""
    stages = {name.partition("/")[0] for run in runs for name in run.scores}
    frame = _frame(runs, "steps")
    return frame.loc[[stage for stage in frame.index if stage in stages]].rename("{}/step".format)


def differing(runs: Sequence[Row]) -> pd.DataFrame:
    """Returns the settings in which runs differ, a row each, with a column for each run.

    None also means that a run does not have the setting. Settings below a class that differs are
    listed only if runs that have them differ.
    """
    frame = _frame(runs, "settings").drop(UNRELATED, errors="ignore")
    seen = {name: {*row} for name, row in zip(frame.index, frame.to_numpy(), strict=True)}
    differ = {name for name, values in seen.items() if len(values) > 1}

    def is_shown(name: str) -> bool:
        above = accumulate(name.split(".")[:-1], "{}.{}".format)
        return len(seen[name] - {None}) > 1 or differ.isdisjoint(above)

    return frame.loc[[name for name in seen if name in differ and is_shown(name)]]


def _limits(runs: Sequence[Row], end: str) -> pd.DataFrame:
    """Returns `low` or `high` of the intervals of scores."""
    names = {name for run in runs for name in run.scores}
    frame = _frame(runs, end).astype(float)
    return frame.loc[[name for name in frame.index if name in names]]


def _frame(runs: Sequence[Row], part: str) -> pd.DataFrame:
    columns = {run.name: getattr(run, part) for run in runs}
    names = [*dict.fromkeys(name for column in columns.values() for name in column)]
    rows = [[column.get(name) for column in columns.values()] for name in names]
    return pd.DataFrame(rows, index=names, columns=[*columns], dtype=object)


def short(value: Any, widest: int = WIDEST) -> str:
    """Returns a value as text of limited length, for the terminal."""
    if pd.isna(value):
        return "-"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= widest else f"{text[: widest - 3]}..."


def in_words(names: Iterable[str]) -> dict[str, str]:
    """Shortens dotted names to their last parts, where these differ."""
    words = {name: name.rpartition(".")[2] for name in names}
    seen = [*words.values()]
    return {name: word if seen.count(word) == 1 else name for name, word in words.items()}


def as_text(frame: pd.DataFrame, index: bool = True) -> str:
    """Returns a table in lines that fit the terminal; further columns follow below."""
    text = frame.to_string(index=index, line_width=shutil.get_terminal_size().columns)
    return "\n".join(printable(line.rstrip(" \\")) for line in text.splitlines())


@styled
def plot_runs(runs: Sequence[Row]) -> Figure | None:
    """Plots a panel for each score that two runs have: a dot for each run, a bar for real images.

    Returns None if no two runs share a score. Scores by class are left out.
    """
    scores = _frame(runs, "scores").astype(float).dropna(thresh=2)
    scores = scores.loc[[name for name in scores.index if "_class_" not in name]]
    if scores.empty:
        return None
    floors, names = _frame(runs, "floors").reindex(scores.index), [*scores.columns]
    low, high = (_limits(runs, end).reindex(scores.index) for end in ("low", "high"))
    columns = min(4, len(scores))
    rows = -(-len(scores) // columns)
    size = (
        LETTER * max(map(len, names)) + PANEL * columns,
        rows * (1.5 + HEIGHT * len(runs)) + 0.6,
    )
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    for panel, (name, values) in zip(panels, scores.iterrows(), strict=False):
        panel.plot(values, range(len(names)), "o", markersize=8)
        panel.hlines(range(len(names)), low.loc[name], high.loc[name])
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
    bar += "; line: 95 % interval" if low.notna().any(axis=None) else ""
    figure.supxlabel(f"{ARROWS['higher']} higher, {ARROWS['lower']} lower is better{bar}", size=12)
    return figure
