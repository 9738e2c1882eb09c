"""Repeats a part of the published scores: each seed trained and scored, one after the other.

    python -m benchmarks.reproduce cgan [--seeds 0 1 2 3 4] [-- OPTIONS OF fit]

Writes a log for each seed and a table of all seeds to docs/quality/<part>/. Logs of other seeds
stay and are in the table. A failed run is logged as failed. With options of `fit` or `--split val`
it is another experiment, so its logs go to runs/trials/<part>/.
"""

import argparse
import statistics
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.report import Section
from benchmarks.scored_run import Trial, split_options, train_and_score
from benchmarks.worker import ROOT
from metrics import SCORES
from metrics.report import ARROWS
from runtime.errors import UserError, announce
from runtime.files import read_json, write, write_json

MNIST = ("--data.dataset", "mnist")  # a config may say `auto`, which falls back to small digits
SAME = ("config_sha256", "options", "split")  # logs that differ in these are not of one experiment
BETTER = {score.name: score.better for score in SCORES} | {
    "accuracy": "higher", "loss": "lower", "calibration_error": "lower"
}  # fmt: skip
Log = dict[str, Any]


class Part(NamedTuple):
    """A row of the published scores."""

    config: str  # below configs/
    options: tuple[str, ...] = ()  # of `fit`
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


PARTS = {
    "cgan": Part("cgan.yaml", MNIST),
    "gan": Part("gan.yaml", MNIST),
    "long": Part("recipes/long.yaml", seeds=(0, 1, 2)),  # an hour each
    "collapse": Part("cgan.yaml", (*MNIST, "--trainer.max_steps", "500"), seeds=(*range(20),)),
    "fashion": Part("recipes/fashion.yaml"),
    "mnist-best": Part("recipes/mnist_best.yaml"),
    "fashion-best": Part("recipes/fashion_best.yaml"),
    "stacked": Part("recipes/stacked.yaml", MNIST),
    "lecture-gan": Part("lecture/gan.yaml", seeds=(0,)),
    "lecture-gan-40": Part("lecture/gan.yaml", ("--trainer.max_epochs", "40"), (0,)),
    "lecture-cgan": Part("lecture/cgan.yaml", seeds=(0,)),  # 100 minutes on two cores
}


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m benchmarks.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("part", nargs="?", help=f"one of {', '.join(PARTS)}")
    found.add_argument("--seeds", type=int, nargs="+", help="default: those of the part")
    found.add_argument("--data-dir", type=Path, default=Path("data"), help="contains MNIST/raw")
    found.add_argument(
        "--split", choices=("test", "val"), default="test", help="val: to choose settings"
    )
    found.add_argument("--out", type=Path, help="folder of the logs (default: see above)")
    found.add_argument(
        "--runs", type=Path, default=ROOT / "runs/quality", help="folder of the runs"
    )
    return found


def find(name: str | None) -> Part:
    """Returns a part by its name.

    Raises:
        UserError: There is no such part, or its config is missing.
    """
    if name not in PARTS:
        what = f"there is no part {name!r}" if name else "no part is given"
        raise UserError(f"{what}: set PART to one of {', '.join(PARTS)}")
    if not (ROOT / "configs" / PARTS[name].config).is_file():
        raise UserError(
            f"part {name}: configs/{PARTS[name].config} does not exist: restore it, or update to "
            "a version that has it"
        )
    return PARTS[name]


def read_logs(folder: Path) -> list[Log]:
    """Returns the logs of all seeds, in the order of the seeds."""
    logs = (read_json(path) | {"file": path.name} for path in folder.glob("seed_*.json"))
    return sorted(logs, key=lambda log: (log.get("seed", -1), log["file"]))


def table(name: str, logs: Sequence[Log], newest: Log) -> str:
    """Formats the scores over all seeds and the runs behind them as Markdown.

    Args:
        name: The part.
        logs: Of all seeds. Those of another config, options or split than the newest log's are
            listed, but are not in the scores.
        newest: The log of the run that has just ended.
    """
    same = [log for log in logs if all(log.get(key) == newest[key] for key in SAME)]
    done = [log for log in same if log["status"] == "done"]
    commands = [line.replace(f" {newest['seed']} ", " SEED ", 1) for line in newest["commands"]]
    lines = [f"# Scores of the part {name}\n", *(f"- `{line}`" for line in commands)]
    for title, key in (("Hardware", "hardware"), ("Versions", "versions")):
        lines += [f"- {title}: {text}" for text in sorted({_listed(log[key]) for log in same})]
    counts = {_listed(log["samples"]["frechet"]) for log in done if "samples" in log}
    lines += [f"- Images behind `frechet`: {text}" for text in sorted(counts)]
    lines.append(f"- Commits: {', '.join(sorted({log['commit'] for log in same}))}")
    scores = Section(
        "Scores over seeds",
        ["score", "mean", "std", "n", "lowest", "highest", "real images"],
        [_row(score, done) for score in (done[0]["scores"] if done else ())],
        ["↑ higher is better, ↓ lower is better. std: standard deviation over seeds."],
    )
    runs = Section("Runs", ["seed", "result", "steps", "CPU-seconds", "date"])
    for log in logs:
        result = str(log.get("reason", log.get("status", f"{log['file']} cannot be read")))
        if log not in same:
            result += " (another config, options or split: not in the scores)"
        seconds = "+".join(f"{value:,.0f}" for value in log.get("cpu_seconds", {}).values())
        cells = log.get("seed", "?"), result, log.get("steps", "-"), seconds, log.get("date", "?")
        runs.rows.append([str(cell) for cell in cells])
    runs.notes.append("CPU-seconds of the whole process that trains + of the one that scores.")
    return "\n\n".join(["\n".join(lines), scores.markdown(), runs.markdown()]) + "\n"


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _row(name: str, logs: Iterable[Log]) -> list[str]:
    """Returns a score's mean, standard deviation, count and extremes; `null` counts as missing."""
    logs = [log for log in logs if log["scores"].get(name) is not None]
    values = [log["scores"][name] for log in logs]
    floors = [log["real_images"][name] for log in logs if name in log.get("real_images", {})]
    cells = {
        "mean": statistics.fmean(values) if values else None,
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "lowest": min(values, default=None),
        "highest": max(values, default=None),
        "floor": statistics.fmean(floors) if floors and None not in floors else None,
    }
    mean, std, *rest = ("-" if cell is None else f"{cell:.4g}" for cell in cells.values())
    return [name + ARROWS[BETTER.get(name)], mean, std, str(len(values)), *rest]


def reproduce(options: argparse.Namespace, fit: Sequence[str]) -> bool:
    """Trains and scores all seeds; returns whether every run ended well."""
    part = find(options.part)
    is_published = options.split == "test" and not fit
    logs = ROOT / ("docs/quality" if is_published else "runs/trials")
    folder, ended_well, text = (options.out or logs) / options.part, True, ""
    for seed in part.seeds if options.seeds is None else options.seeds:
        trial = Trial(f"configs/{part.config}", seed, (*part.options, *fit), options.split)
        print(f"seed {seed}: {trial.commands()[0]}", flush=True)
        log = train_and_score(trial, options.data_dir, options.runs / options.part)
        ended_well &= log["status"] == "done"
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"seed_{seed}.json", {"part": options.part, **log})
        text = table(options.part, read_logs(folder), log)
        write(folder / "table.md", partial(Path.write_text, data=text))
        print(f"seed {seed}: {log.get('reason', log['status'])}, see {folder}", flush=True)
    print(f"\n{text}")
    return ended_well


def main(args: list[str] | None = None) -> None:
    own, fit = split_options(sys.argv[1:] if args is None else args)
    try:
        ended_well = reproduce(parser().parse_args(own), fit)
    except UserError as error:
        announce(error)
        raise SystemExit(2) from None
    if not ended_well:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
