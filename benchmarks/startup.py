"""Start-up: the time that the command line takes before it does something."""

import subprocess
import sys
from functools import partial

from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.timing import interleave, ratio, spread
from benchmarks.worker import ROOT, seconds_of

ALONE = 'python -c "import lightning.pytorch.cli"'


def run(context: Context) -> list[Section]:
    commands = {
        ALONE: [sys.executable, "-c", "import lightning.pytorch.cli"],
        "cli.py --help": [sys.executable, "cli.py", "--help"],
        "cli.py fit --help": [sys.executable, "cli.py", "fit", "--help"],
        "cli.py fit --config configs/cgan.yaml, to its first step": context.command(
            "FirstStep", "cgan"
        ),
    }
    call = partial(subprocess.run, check=True, cwd=ROOT, capture_output=True)
    call(commands[ALONE])  # Fills the file cache.
    found = interleave(
        {name: partial(seconds_of, partial(call, args)) for name, args in commands.items()},
        min(context.rounds, 5),
    )
    result = Section("Start-up", ["command", "s", "x the import alone"])
    for name, seconds in found.items():
        cells = spread(seconds).text(), ratio(seconds, found[ALONE]).text()
        result.rows.append((f"`{name}`", *cells))
    return [result]
