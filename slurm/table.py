"""One table of several runs: what differs between their configs, and where their metrics ended.

python slurm/table.py runs/cgan/job_12_*
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FOLLOWS = ("trainer.default_root_dir", "ckpt_path")  # say nothing about the result


def flat(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each leaf of a config by its dotted name, without the `init_args` between."""
    if isinstance(config, dict):
        for key, value in config.items():
            inner = prefix if key == "init_args" else f"{prefix}.{key}" if prefix else key
            yield from flat(value, inner)
    else:
        yield prefix, str(config)


def last_metrics(file: Path, stages: tuple[str, ...] = ("val/", "test/")) -> dict[str, float]:
    """The last value of each metric that was not taken on training data."""
    last: dict[str, float] = {}
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            last |= {k: float(v) for k, v in row.items() if v and k.startswith(stages)}
    return last


def table(runs: list[Path]) -> list[list[str]]:
    """A header, a row a run that has logged, and the metrics' means if there are several."""
    done = [run for run in runs if (run / "metrics.csv").is_file()]
    configs = [dict(flat(yaml.safe_load((run / "config.yaml").read_text()))) for run in done]
    names = [
        name
        for name in dict.fromkeys(name for config in configs for name in config)
        if name not in FOLLOWS and len({config.get(name) for config in configs}) > 1
    ]
    metrics = [last_metrics(run / "metrics.csv") for run in done]
    columns = list(dict.fromkeys(name for values in metrics for name in values))
    rows = [["run", *names, *columns]]
    for run, config, values in zip(done, configs, metrics, strict=True):
        numbers = [f"{values[name]:.4g}" if name in values else "" for name in columns]
        rows.append([run.name, *(config.get(name, "") for name in names), *numbers])
    if len(done) > 1:
        known = [[values[name] for values in metrics if name in values] for name in columns]
        means = [f"{sum(values) / len(values):.4g}" for values in known]
        rows.append(["mean", *("" for _ in names), *means])
    return rows


def main() -> None:
    """Prints the table, its columns aligned."""
    rows = table([Path(arg) for arg in sys.argv[1:]])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


if __name__ == "__main__":
    main()
