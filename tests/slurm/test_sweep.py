"""array.sbatch and sweep.sbatch without a SLURM: what they start, and the table at the end."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT


def test_a_task_without_a_line_in_the_sweep_is_an_error(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep.txt"
    sweep.write_text("--model.generator.width 8\n--model.generator.width 16\n")
    done = subprocess.run(
        ["bash", "slurm/array.sbatch", "configs/cgan.yaml"],
        env=os.environ | {"SWEEP": str(sweep), "SLURM_ARRAY_TASK_ID": "3"},
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"error: {sweep} has no line 3\n"


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (2, False), (75, True)])
def test_a_worker_of_a_search_is_requeued_if_it_was_stopped(
    code: int, requeued: bool, tmp_path: Path
) -> None:
    for name, script in {"srun": f'echo "$@"; exit {code}', "scontrol": 'echo "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_CPUS_PER_TASK": "1", "SLURM_JOB_ID": "7", "RUNS": "/my/runs", "PYTHON": "py"}
    done = subprocess.run(
        ["bash", "slurm/sweep.sbatch", "configs/cgan.yaml", "--space", "my space.yaml"],
        env=os.environ | job | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == (0 if requeued else code)
    started, *then = done.stdout.splitlines()
    assert started == (
        "py cli.py sweep --config configs/cgan.yaml --trainer.default_root_dir /my/runs "
        "--trainer.devices 1 --space my space.yaml"
    )
    assert then == (["requeue 7"] if requeued else [])
