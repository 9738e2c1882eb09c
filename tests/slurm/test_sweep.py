"""array.sbatch without a SLURM: the line of a task, and the table at the end."""

import os
import subprocess
from pathlib import Path

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


def test_a_task_ends_with_the_table_of_all_runs_in_its_own_folder(tmp_path: Path) -> None:
    """With `srun` replaced: the runs are there already."""
    for task, loss in enumerate([0.5, 0.7]):
        folder = tmp_path / "runs" / "cgan" / f"job_7_{task}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(f"step,val/d_loss\n1,{loss}\n")
        (folder / "config.yaml").write_text(f"seed_everything: {task}\n")
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    job = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "1"}
    job |= {"SLURM_NNODES": "1", "SLURM_NTASKS_PER_NODE": "1", "RUNS": str(tmp_path / "runs")}
    done = subprocess.run(
        ["bash", "slurm/array.sbatch", "configs/cgan.yaml"],
        env=os.environ | job | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[:4] == [
        ["run", "seed_everything", "val/d_loss"],
        ["job_7_0", "0", "0.5"],
        ["job_7_1", "1", "0.7"],
        ["mean", "0.6"],
    ]
    assert (tmp_path / "runs/cgan/job_7_1/comparison.csv").is_file()
