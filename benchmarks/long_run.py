"""Long runs: does a process use more memory, files, threads or time after 20,000 steps than before?

    python -m benchmarks.long_run [--steps 20000] [--systems GAN cGAN classifier]

Each system trains in its own process with one thread, through the command line, with validation,
checkpoints, figures and both logs. Linux only. Writes a CSV file for each system, and one figure
of all such files. `--systems` without a name only draws.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.report import Section
from benchmarks.timing import digits
from benchmarks.watch import LIMITS, Window, growing, growth, read
from benchmarks.worker import ROOT
from figures.pictures import new_figure
from runtime.files import write

NARROW_GAN = ("--model.generator.width", "4", "--model.trunk.width", "4")
SYSTEMS = {
    "GAN": ("gan", *NARROW_GAN),
    "cGAN": ("cgan", *NARROW_GAN),
    "classifier": ("mnist_cnn", "--model.network.width", "4"),
}
PANELS = {
    "memory_mb": "memory in use, MB",
    "objects": "Python objects",
    "files": "open files",
    "threads": "threads",
    "step_cpu_ms": "CPU time of a step, ms",
    "row_bytes": "metrics.csv, bytes per row",
    "event_bytes": "TensorBoard, bytes per step",
    "checkpoint_mb": "checkpoint, MB",
}


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m benchmarks.long_run", description=__doc__)
    found.add_argument("--steps", type=int, default=20_000, help="of each system")
    found.add_argument("--every", type=int, default=500, help="steps between measurements")
    found.add_argument("--systems", nargs="*", choices=SYSTEMS, default=list(SYSTEMS))
    found.add_argument("--out", type=Path, default=ROOT / "benchmarks/results", help="a folder")
    found.add_argument(
        "--figure", type=Path, default=ROOT / "docs/pictures/long_run.png", help="a PNG file"
    )
    return found


def arguments(system: str, steps: int, every: int, file: Path, runs: Path) -> list[str]:
    """Returns the command line that trains a system and writes what it uses to a file."""
    options = {"file": str(file), "every": every}
    watch = {"class_path": "benchmarks.watch.Watch", "init_args": options}
    config, *narrow = SYSTEMS[system]
    return [
        "fit", "--config", f"configs/{config}.yaml", *narrow,
        "--data.dataset", "digits", "--data.batch_size", "16",
        "--trainer.max_epochs", "-1", "--trainer.max_steps", str(steps),
        "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(runs),
        "--trainer.callbacks+", json.dumps(watch),
    ]  # fmt: skip


def train(system: str, steps: int, every: int, file: Path, runs: Path) -> None:
    """Trains a system in its own process."""
    command = [sys.executable, "cli.py", *arguments(system, steps, every, file, runs)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (runs / f"{system}.log").open("w") as log:
        subprocess.run(
            command, cwd=ROOT, env=environment, check=True, stdout=log, stderr=subprocess.STDOUT
        )


def table(found: dict[str, list[Window]]) -> Section:
    """Returns first and last values, and the growth in the second half of each run."""
    result = Section("Long runs", ["", *(f"{name}: start, end, growth" for name in found)])
    for name, text in PANELS.items():
        cells = [
            f"{digits(getattr(windows[0], name))}, {digits(getattr(windows[-1], name))}, "
            f"{growth(windows, name):+.2%}"
            for windows in found.values()
        ]
        result.rows.append((f"{text} (limit {LIMITS[name]:.0%})", *cells))
    return result


def draw(found: dict[str, list[Window]]) -> Figure:
    """Draws a panel for each quantity, from zero, with a line for each system."""
    figure, grid = new_figure(11, 4.4, 2, len(PANELS) // 2, sharex=True)
    for axes, (name, title) in zip(grid.flat, PANELS.items(), strict=True):
        for system, windows in found.items():
            steps = [window.step / 1000 for window in windows]
            axes.plot(steps, [getattr(window, name) for window in windows], label=system)
        axes.set_ylim(bottom=0)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("thousand steps", fontsize=8)
    legend = grid.flat[0].get_legend_handles_labels()
    figure.legend(*legend, loc="outside lower center", ncols=len(found), fontsize=9)
    return figure


def main() -> None:
    options = parser().parse_args()
    files = {name: options.out.resolve() / f"long-run-{name.lower()}.csv" for name in SYSTEMS}
    with tempfile.TemporaryDirectory(prefix="ladder-long-") as runs:
        for name in options.systems:
            write(files[name], partial(train, name, options.steps, options.every, runs=Path(runs)))
    found = {name: read(file) for name, file in files.items() if file.is_file()}
    print(table(found).markdown())
    draw(found).savefig(options.figure, dpi=80)
    if bad := {name: grown for name, windows in found.items() if (grown := growing(windows))}:
        sys.exit(f"grows by more than its limit in {len(bad)} systems: {bad}")


if __name__ == "__main__":
    main()
