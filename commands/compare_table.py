"""The table of runs, for `compare` and `sweep`: in the terminal, as CSV and as a picture."""

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from commands.compare_figure import draw
from commands.compare_runs import Run
from figures.style import write_figure
from runtime.files import write

SEED = "seed_everything"
UNRELATED = ["trainer.default_root_dir", "ckpt_path", "experiment"]  # not to the results
SECTIONS = ("model", "data", SEED)  # come first
REAL = " (real images)"
WIDEST = 24  # letters of a setting's value in the terminal


def report(runs: Sequence[Run], out: Path | None = None) -> pd.DataFrame:
    """Prints the table of runs and returns it; writes `comparison.csv` and `comparison.png`."""
    shown = table(runs)
    print(as_text(shown))
    if any(run.floors for run in runs):
        print("In parentheses: the score of real images in place of generated ones.")
    folder = out or _common_folder([run.folder.resolve() for run in runs])
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "comparison.csv"]
    write_csv(runs, written[0])
    if len(runs) > 1 and (figure := draw(runs, are_repeats(runs))) is not None:
        written.append(folder / "comparison.png")
        write_figure(written[-1], figure, vector=True)
    print(f"Wrote {', '.join(map(str, written))}")
    return shown


def _common_folder(runs: Sequence[Path]) -> Path:
    """Returns the folder that contains all runs, relative to the current folder if it is inside."""
    folder, here = Path(os.path.commonpath([run.parent for run in runs])), Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def differing(runs: Sequence[Run]) -> pd.DataFrame:
    """Returns the settings in which runs differ, a row each, with a column for each run."""
    frame = _frame(runs, "settings").drop(UNRELATED, errors="ignore")
    frame = frame[frame.nunique(axis=1) > 1]
    order = {name: place for place, name in enumerate(SECTIONS)}
    places = [order.get(name.partition(".")[0], len(order)) for name in frame.index]
    return frame.iloc[sorted(range(len(places)), key=places.__getitem__)]


def are_repeats(runs: Sequence[Run]) -> bool:
    """Returns whether runs differ in nothing but their seeds."""
    frame = _frame(runs, "settings").drop([*UNRELATED, SEED], errors="ignore")
    return len(runs) > 1 and bool((frame.nunique(axis=1, dropna=False) == 1).all())


def _frame(runs: Sequence[Run], part: str) -> pd.DataFrame:
    columns = {run.name: pd.Series(getattr(run, part), dtype=object) for run in runs}
    names = dict.fromkeys(name for column in columns.values() for name in column.index)
    return pd.DataFrame(columns, index=[*names])


def table(runs: Sequence[Run]) -> pd.DataFrame:
    """Returns settings and scores as text, a row each, with a column for each run.

    Runs that differ in nothing but their seeds also have mean and standard deviation (n - 1): an
    average over models, data or settings would mean nothing. The score of real images follows a
    score in parentheses. Scores by class are left out.
    """
    settings, scores = differing(runs), _frame(runs, "scores").astype(float)
    names = [name for name in scores.index if not re.search(r"_class_\d+$", name)]
    scores = scores.loc[sorted(names, key=lambda name: name.startswith("test/"))]
    if are_repeats(runs):
        summary = {"mean": scores.mean(axis=1), "std": scores.std(axis=1)}
        scores = scores.assign(**summary)
    cells = scores.map(lambda value: "-" if pd.isna(value) else f"{value:.4g}")
    floors = _frame(runs, "floors").astype(float).reindex(cells.index).dropna(how="all")
    for name, row in floors.iterrows():
        for run, floor in row.dropna().items():
            cells.loc[name, run] += f" ({floor:.4g})"
    settings = settings.map(_short).rename(index=in_words(settings.index))
    return pd.concat([settings, cells]).fillna("")


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


def write_csv(runs: Sequence[Run], file: Path) -> None:
    """Writes a line for each run with all digits; scores of real images are the last columns."""
    floors = _frame(runs, "floors").T.add_suffix(REAL)
    frame = pd.concat([differing(runs).T, _frame(runs, "scores").T, floors], axis=1)
    write(file, lambda path: frame.to_csv(path, index_label="run"))
