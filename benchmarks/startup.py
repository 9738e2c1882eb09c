"""How long the command line takes before it does something."""

import json
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.timing import interleave, ratio, spread, timed
from benchmarks.worker import ROOT

ALONE = 'python -c "import lightning.pytorch.cli"'


def run(context: Context) -> list[Section]:
    first_step = json.dumps({"class_path": "benchmarks.pacing.FirstStep"})
    fit = ["--config", "configs/cgan.yaml", "--data.data_dir", str(context.data_dir)]
    fit += ["--trainer.default_root_dir", str(context.scratch), "--trainer.callbacks+", first_step]
    commands = {
        ALONE: ["-c", "import lightning.pytorch.cli"],
        "cli.py --help": ["cli.py", "--help"],
        "cli.py fit --help": ["cli.py", "fit", "--help"],
        "cli.py fit --config configs/cgan.yaml, to its first step": ["cli.py", "fit", *fit],
    }
    call(commands[ALONE])  # reads the files once
    found = interleave(
        {name: (lambda args=args: timed(lambda: call(args))) for name, args in commands.items()},
        context.rounds,
    )
    result = Section("Start-up", ["command", "s", "x the import alone"])
    for name, seconds in found.items():
        result.rows.append(
            (f"`{name}`", spread(seconds).text(), ratio(seconds, found[ALONE]).text())
        )
    return [result]


def call(args: Sequence[str]) -> None:
    done = subprocess.run([sys.executable, *args], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{args} ended with {done.returncode}: {done.stderr[-1000:]}")
