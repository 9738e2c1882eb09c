"""Runs on disk and their table, for `compare` and `sweep`: settings, scores and a picture."""

import io
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

import metrics
from figures.style import styled, write_figure
from runtime.errors import UserError
from runtime.files import METRICS, read_json, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, if it is there
SEED = "seed_everything"
UNRELATED = ["trainer.default_root_dir", "ckpt_path", "experiment"]  # not to the results
SECTIONS = ["model", "data", SEED]  # come first
REAL = " (real images)"
WIDEST = 24  # letters of a setting's value in the terminal
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


def read_runs(folders: Sequence[Path], stages: Sequence[str]) -> list[Run]:
    """Reads the runs in these folders, with their scores of these stages."""
    names = _names(folders)
    return [Run(f, names[f], settings_of(f), *scores_of(f, stages)) for f in folders]


def _names(folders: Sequence[Path]) -> dict[Path, str]:
    """Shortens paths: without what all share, and without `version_N` if there is no other."""
    parents = [folder.resolve().parent for folder in folders]
    names = {}
    for folder, parent in zip(folders, parents, strict=True):
        name = folder.resolve().relative_to(os.path.commonpath(parents))
        only = len(name.parts) > 1 and parents.count(parent) == 1
        names[folder] = str(name.parent if only else name)
    return names


def settings_of(folder: Path) -> dict[str, Any]:
    """Reads the values in a run's `config.yaml` by their dotted names; empty without that file."""
    file = folder / "config.yaml"
    try:
        return dict(_flat(yaml.load(file.read_bytes(), LOADER))) if file.is_file() else {}
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not valid YAML. Leave this run out.") from error


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields each value of a config with its dotted name; a class stands for its `class_path`."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        yield name, str(value) if isinstance(value, list) else value
        return
    for key, item in value.items():
        if key == "class_path":
            yield name, str(item).rpartition(".")[2]
        else:
            yield from _flat(item, name if key == "init_args" else f"{name}.{key}".strip("."))


def scores_of(folder: Path, stages: Sequence[str]) -> tuple[Scores, Scores]:
    """Reads a run's scores, and those of real images, by stage and name.

    `metrics.json` takes precedence. For a stage that is not in it, the scores are the last values
    in `metrics.csv`, which has none of real images.
    """
    recorded, logged = read_json(folder / METRICS), logged_by(folder).dropna(axis=1, how="all")
    scores: Scores = {}
    floors: Scores = {}
    for stage in stages:
        if found := recorded.get(stage):
            scores |= {f"{stage}/{name}": value for name, value in found["scores"].items()}
            floors |= {f"{stage}/{name}": value for name, value in found.get("floor", {}).items()}
        else:
            last = logged.filter(regex=f"^{stage}/").ffill().tail(1)
            scores |= {name: last[name].item() for name in last}
    return scores, floors


def logged_by(folder: Path) -> pd.DataFrame:
    """Reads a run's `metrics.csv`, also while the run writes it; empty without that file."""
    file = folder / "metrics.csv"
    text = file.read_text() if file.is_file() else ""
    whole = text[: text.rfind("\n") + 1]  # a last row without its end is not complete
    return pd.read_csv(io.StringIO(whole)) if whole else pd.DataFrame()


def report(runs: Sequence[Run], folder: Path) -> pd.DataFrame:
    """Prints the table of runs and returns it; writes `comparison.csv` and `comparison.png`."""
    shown = table(runs)
    print(as_text(shown))
    if any(run.floors for run in runs):
        print("In parentheses: the score of real images in place of generated ones.")
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "comparison.csv"]
    floors = _frame(runs, "floors").T.add_suffix(REAL)
    frame = pd.concat([differing(runs).T, _frame(runs, "scores").T, floors], axis=1)
    write(written[0], lambda path: frame.to_csv(path, index_label="run"))
    if len(runs) > 1 and (figure := draw(runs)) is not None:
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
    if len(runs) > 1 and not {*differing(runs, dropna=False).index} - {SEED}:
        scores = scores.assign(mean=scores.mean(axis=1), std=scores.std(axis=1))
    cells = scores.map(lambda value: "-" if pd.isna(value) else f"{value:.4g}")
    floors = _frame(runs, "floors").astype(float).reindex(cells.index).dropna(how="all")
    for name, row in floors.iterrows():
        for run, floor in row.dropna().items():
            cells.loc[name, run] += f" ({floor:.4g})"
    settings = settings.map(_short).rename(index=in_words(settings.index))
    return pd.concat([settings, cells]).fillna("")


def differing(runs: Sequence[Run], dropna: bool = True) -> pd.DataFrame:
    """Returns the settings in which runs differ, a row each, with a column for each run.

    Args:
        runs: The runs.
        dropna: A setting that some runs do not have counts only if the others differ in it.
    """
    frame = _frame(runs, "settings").drop(UNRELATED, errors="ignore")
    frame = frame[frame.nunique(axis=1, dropna=dropna) > 1]
    sections = [name.partition(".")[0] for name in frame.index]
    places = [SECTIONS.index(name) if name in SECTIONS else len(SECTIONS) for name in sections]
    return frame.iloc[sorted(range(len(places)), key=places.__getitem__)]


def _frame(runs: Sequence[Run], part: str) -> pd.DataFrame:
    columns = {run.name: pd.Series(getattr(run, part), dtype=object) for run in runs}
    names = dict.fromkeys(name for column in columns.values() for name in column.index)
    return pd.DataFrame(columns, index=[*names])


def _short(value: Any) -> str:
    if pd.isna(value):
        return "-"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."


def in_words(names: Iterable[str]) -> dict[str, str]:
    """Shortens dotted names to their last parts, as far as these differ."""
    words = {SEED: "seed"}
    for name in set(names) - {SEED}:
        parts = name.split(".")
        for start in reversed(range(len(parts))):
            words[name] = ".".join(parts[start:])
            if sum(f".{other}".endswith(f".{words[name]}") for other in names) == 1:
                break
    return words


def as_text(frame: pd.DataFrame, index: bool = True) -> str:
    """Returns a table in lines that fit the terminal; what is too wide goes on below."""
    text = frame.to_string(index=index, line_width=shutil.get_terminal_size().columns)
    return "\n".join(line.rstrip(" \\") for line in text.splitlines())


@styled
def draw(runs: Sequence[Run]) -> "Figure | None":
    """Draws a panel for each score that two runs have: a dot for each run, a bar for real images.

    Returns None if no two runs share a score. Scores by class are left out.
    """
    from matplotlib.figure import Figure

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
        panel.set_title(f"{stage}: {metrics.title(str(name))} {arrow}")
        panel.margins(x=0.12)
        panel.locator_params(axis="x", nbins=3)
        panel.grid(axis="y", alpha=0.4)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    for panel in panels[len(scores) :]:
        panel.set_visible(False)
    bar = "; |: real images" if floors.notna().any(axis=None) else ""
    figure.supxlabel(f"{ARROWS['higher']} higher, {ARROWS['lower']} lower is better{bar}", size=12)
    return figure
