"""`python cli.py compare RUN RUN ...`: the results of several runs in one table."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from commands.compare_runs import RECORDS, Run, find_runs, logged_by, read_runs
from commands.compare_table import as_text, report
from runtime.errors import UserError

STAGES = {"val": "validate", "test": "test"}  # and the commands that write their scores
MAIN = ("frechet", "accuracy", "loss")  # the score of a list, in the order of preference


def compare(
    runs: list[Path] | None = None,
    stage: Literal["val", "test"] | None = None,
    out: Path | None = None,
    list: bool = False,
) -> pd.DataFrame:
    """Prints a table of runs, with a row for each setting that differs and for each score.

    Writes `comparison.csv`, and for several runs `comparison.png`.

    Args:
        runs: Folders of runs. Of any other folder, all runs below it count. Default: `runs`.
        stage: Show the scores of this stage alone.
        out: Folder to write to. Default: the one that contains all these runs.
        list: Only list the runs: model, data, steps, main score and size on disk.

    Returns:
        The table that is printed.
    """
    found = _found(runs or [Path("runs")])
    stages = [stage] if stage else [*STAGES]
    if list:
        listed = _listed(read_runs(found, [*stages, "train"]))
        print(as_text(listed, index=False))
        return listed
    return report(_with_results(read_runs(found, stages), stages), out)


def _found(places: Sequence[Path]) -> list[Path]:
    found = find_runs(places)
    if missing := [place for place in places if not place.is_dir()]:
        raise UserError(f"there is no folder {missing[0]}. `compare runs --list` lists the runs.")
    if not found:
        text = f"there is no run in {', '.join(map(str, places))}"
        raise UserError(f"{text}: no folder with {' or '.join(RECORDS)}.")
    return found


def _with_results(runs: Sequence[Run], stages: Sequence[str]) -> list[Run]:
    """Returns the runs that have scores; names the others on standard error."""
    missing = ", ".join(str(run.folder) for run in runs if not run.scores)
    if missing and not any(run.scores for run in runs):
        raise UserError(
            f"there is nothing to compare: no results in {missing}. `python cli.py "
            f"{STAGES[stages[-1]]} --ckpt_path RUN` writes a run's results into its folder."
        )
    if missing:
        print(f"Skipped, because there are no results: {missing}", file=sys.stderr)
    return [run for run in runs if run.scores]


def _listed(runs: Sequence[Run]) -> pd.DataFrame:
    rows = []
    for run in runs:
        steps = logged_by(run.folder).get("step", pd.Series(dtype=float)).max()
        size = sum(f.lstat().st_size for f in run.folder.glob("**/*") if f.is_file())
        rows.append({
            "run": run.name,
            "model": run.settings.get("model", "-"),
            "data": run.settings.get("data", "-"),
            "steps": "-" if pd.isna(steps) else f"{steps:,.0f}",
            "score": _main_score(run),
            "MB": f"{size / 1e6:,.1f}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def _main_score(run: Run) -> str:
    for stage in (*reversed(STAGES), "train"):
        for name in MAIN:
            if (score := run.scores.get(f"{stage}/{name}")) is not None:
                return f"{stage}/{name} {score:.4g}"
    return "-"
