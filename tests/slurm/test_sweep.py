"""A sweep's task without a line in the file is refused before anything trains."""

import os
import subprocess
from pathlib import Path

from tests.conftest import ROOT


def test_a_task_without_a_line_in_the_sweep_is_an_error(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep.txt"
    sweep.write_text("--model.width 8\n--model.width 16\n")
    done = subprocess.run(
        ["bash", "slurm/array.sbatch", "configs/cgan.yaml"],
        env=os.environ | {"SWEEP": str(sweep), "SLURM_ARRAY_TASK_ID": "3"},
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"error: {sweep} has no line 3\n"
