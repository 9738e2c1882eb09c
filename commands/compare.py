"""`python cli.py compare RUN RUN ...`: the results of several runs in one table."""

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from commands.compare_runs import Run, as_text, logged_by, read_runs, report
from runtime.errors import UserError
from runtime.files import METRICS

RECORDS = ("config.yaml", METRICS, "metrics.csv")  # a folder with one of them is a run
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
    places = runs or [Path("runs")]
    found = find_runs(places)
    if missing := [place for place in places if not place.is_dir()]:
        raise UserError(f"there is no folder {missing[0]}. `compare runs --list` lists the runs.")
    if not found:
        text = f"there is no run in {', '.join(map(str, places))}"
        raise UserError(f"{text}: no folder with {' or '.join(RECORDS)}.")
    stages = [stage] if stage else [*STAGES]
    if list:
        listed = pd.DataFrame(map(_row, read_runs(found, [*stages, "train"])))
        print(as_text(listed, index=False))
        return listed
    read = read_runs(found, stages)
    scored, empty = [r for r in read if r.scores], [str(r.folder) for r in read if not r.scores]
    if not scored:
        raise UserError(
            f"there is nothing to compare: no results in {', '.join(empty)}. `python cli.py "
            f"{STAGES[stages[-1]]} --ckpt_path RUN` writes a run's results into its folder."
        )
    if empty:
        print(f"Skipped, because there are no results: {', '.join(empty)}", file=sys.stderr)
    common = os.path.commonpath([run.folder.resolve().parent for run in scored])
    return report(scored, out or Path(os.path.relpath(common)))


def find_runs(places: Iterable[Path]) -> list[Path]:
    """Returns the folders of all runs in or below some folders, `version_10` after `version_9`."""

    def natural(path: Path) -> list[Any]:
        return [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", str(path))]

    found: list[Path] = []
    for place in places:
        runs = {file.parent for name in RECORDS for file in place.glob(f"**/{name}")}
        found += sorted(runs, key=natural)
    return [*dict.fromkeys(found)]


def _row(run: Run) -> dict[str, str]:
    """Returns a run's row of the list."""
    steps = logged_by(run.folder).get("step", pd.Series(dtype=float)).max()
    size = sum(f.lstat().st_size for f in run.folder.glob("**/*") if f.is_file())
    names = (f"{stage}/{name}" for stage in ("test", "val", "train") for name in MAIN)
    score = next((name for name in names if run.scores.get(name) is not None), None)
    return {
        "run": run.name,
        "model": run.settings.get("model", "-"),
        "data": run.settings.get("data", "-"),
        "steps": "-" if pd.isna(steps) else f"{steps:,.0f}",
        "score": f"{score} {run.scores[score]:.4g}" if score else "-",
        "MB": f"{size / 1e6:,.1f}",
    }
