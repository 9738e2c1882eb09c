"""`python cli.py compare RUN RUN ...`: the results of several runs in one table."""

import builtins
import os
import sys
from pathlib import Path

import pandas as pd

from commands.arguments import checked
from results import RECORDS, RUNS, find_runs
from results.run import SCORED_STAGES, time_of
from results.tables import OTHER_DATA, Row, as_text, read_runs, report, short
from runtime.errors import UserError, printable
from runtime.files import METRICS

LIST_WIDTHS = 16, 12, 10  # letters of a run, a model and data, so that 80 fit a row
MAIN = ("frechet", "accuracy", "loss")  # the score of a list, in the order of preference


@checked
def compare(
    runs: list[Path] | None = None, out: Path | None = None, list: bool = False
) -> pd.DataFrame:
    """Prints a table of runs, with a row for each setting that differs and for each score.

    Writes it as `comparison.csv`, too.

    Args:
        runs: Folders of runs. An experiment, such as `runs/cgan`, is its newest run. Of any other
            folder, all runs below it count. Default: `runs`.
        out: Folder to write to. Default: the one that contains all these runs.
        list: Only list the runs: model, data, main score with its 95 % interval, and its step.

    Returns:
        The table that is printed.
    """
    given = runs or [RUNS]
    if missing := [folder for folder in given if not folder.is_dir()]:
        raise UserError(f"there is no folder {missing[0]}. `compare runs --list` lists the runs.")
    if not (folders := find_runs(given)):
        text = f"there is no run in {', '.join(map(str, given))}"
        raise UserError(f"{text}: no folder with {' or '.join(RECORDS)}.")
    stages = [*SCORED_STAGES, "train"] if list else SCORED_STAGES
    read = read_runs(folders if list else [run for at in given for run in _meant(at)], stages)
    if not read:
        raise UserError("none of these runs can be read, for the reasons above.")
    if list:
        listed = pd.DataFrame(map(_row, read))
        print(as_text(listed, index=False))
        return listed
    scored, empty = [r for r in read if r.scores], [str(r.folder) for r in read if not r.scores]
    if not scored:
        raise UserError(
            f"there is nothing to compare: no results in {', '.join(map(str, folders))}. "
            "`python cli.py test --ckpt_path RUN` writes a run's results into its folder."
        )
    if empty:
        skipped = f"Skipped, because there are no results: {', '.join(empty)}"
        print(printable(skipped), file=sys.stderr)
    common = os.path.commonpath([run.folder.resolve().parent for run in scored])
    if out is not None:
        from figures.pictures import output_folder  # imports torch, which takes seconds

        output_folder(out)
    return report(scored, out or Path(os.path.relpath(common)))


def _meant(folder: Path) -> builtins.list[Path]:
    """Returns the runs that a folder means: of the versions of one run the newest usable one.

    That is the one with the newest checkpoint, which all other commands take, too.
    """
    runs = find_runs([folder])
    versions = all(run.parent == folder and run.name.startswith("version_") for run in runs)
    newest = sorted(runs, key=lambda run: (time_of(run), (run / METRICS).is_file()))
    return newest[-1:] if versions else runs


def _row(run: Row) -> dict[str, str]:
    """Returns a run's row of the list."""
    names = (f"{stage}/{name}" for stage in ("test", "val", "train") for name in MAIN)
    score = next((name for name in names if run.scores.get(name) is not None), None)
    known = run.settings
    path = known.get("data.path")
    data = known.get("data.dataset") or (Path(str(path)).name if path else known.get("data"))
    low, high = run.low.get(score or ""), run.high.get(score or "")
    interval = "" if low is None or high is None else f" {low:.3f}-{high:.3f}"
    step = run.steps.get((score or "train").partition("/")[0])
    run_width, model_width, data_width = LIST_WIDTHS
    return {
        "run": run.name if len(run.name) <= run_width else f"...{run.name[3 - run_width :]}",
        "model": short(known.get("model"), model_width),
        "data": short(known.get(OTHER_DATA, data), data_width),
        "step": "-" if step is None else f"{step:,.0f}",
        "score": f"{score} {run.scores[score]:.4g}{interval}" if score else "-",
    }
