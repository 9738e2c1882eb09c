"""array.sbatch and sweep.sbatch without a SLURM: what they start, and the table at the end."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT


def test_a_task_without_a_line_in_the_sweep_is_an_error(tmp_path):
    sweep = tmp_path / "sweep.txt"
    sweep.write_text("--model.generator.width 8\n--model.generator.width 16\n")
    done = subprocess.run(
        ["bash", "slurm/array.sbatch", "configs/cgan.yaml"],
        env=os.environ | {"SWEEP": str(sweep), "SLURM_ARRAY_TASK_ID": "3"},
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"error: {sweep} has no line 3\n"


@pytest.mark.parametrize("script", ["train", "array", "sweep"])
@pytest.mark.parametrize("flags", [[], ["--trainer.max_steps", "5"]])
def test_a_job_without_a_config_is_one_line(script, flags):
    command = ["bash", f"slurm/{script}.sbatch", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    line = f"error: give a config: sbatch slurm/{script}.sbatch configs/cgan.yaml\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def start(
    script: str, *flags: str, code: int, tmp_path: Path, runs: str = "/my/runs",
    python: str = "py", **job: str,
) -> tuple[int, list[str]]:  # fmt: skip
    """Runs a job script whose `srun` exits with a code; returns its own code and its lines."""
    for name, body in {"srun": f'echo "$@"; exit {code}', "scontrol": 'echo "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    job |= {"CPUS_PER_TASK": "1", "NNODES": "1", "NTASKS_PER_NODE": "1"}
    variables = {f"SLURM_{name}": value for name, value in job.items()}
    variables |= {"RUNS": runs, "PYTHON": python, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", f"slurm/{script}.sbatch", "configs/cgan.yaml", *flags],
        env=os.environ | variables, cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr).splitlines()


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (2, False), (75, True)])
def test_a_worker_of_a_search_is_requeued_if_it_was_stopped(code, requeued, tmp_path):
    space = ["--space", "my space.yaml"]
    returned, (started, *then) = start("sweep", *space, code=code, tmp_path=tmp_path, JOB_ID="7")
    assert returned == (0 if requeued else code)
    assert started == (
        "py cli.py sweep --config configs/cgan.yaml --trainer.default_root_dir /my/runs "
        "--trainer.devices 1 --space my space.yaml"
    )
    assert then == (["requeue 7"] if requeued else [])


def test_tasks_that_have_not_ended_have_their_own_table(tmp_path, monkeypatch):
    runs = [tmp_path / f"runs/cgan/job_7_{task}" for task in range(3)]
    for run in runs:
        run.mkdir(parents=True)
    (tmp_path / "py").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "py").chmod(0o755)
    job = {"JOB_ID": "9", "ARRAY_JOB_ID": "7"}
    for code, task in ((0, 1), (75, 2), (2, 2), (0, 0), (0, 2)):
        done, (_, *lines) = start(
            "array", code=code, tmp_path=tmp_path, runs=f"{tmp_path}/runs",
            python=str(tmp_path / "py"), **job, ARRAY_TASK_ID=str(task),
        )  # fmt: skip
        out = f"--out {runs[task]}"
        expected = {
            (0, 1): [f"{runs[1]} {out}", "Not", f"{runs[0]} {runs[2]} {out}/training"],
            (0, 0): [f"{runs[0]} {runs[1]} {out}", "Not", f"{runs[2]} {out}/training"],
            (0, 2): [f"{runs[0]} {runs[1]} {runs[2]} {out}"],
        }.get((code, task), [])
        compared = [line.removeprefix("cli.py compare ") for line in lines if "requeue" not in line]
        assert [text.replace(" at their end:", "") for text in compared] == expected
        assert (done, "requeue 9" in lines) == (code % 75, code == 75)
    monkeypatch.setenv("REQUEUE_EXIT", "99")
    returned, lines = start("array", code=75, tmp_path=tmp_path, **job, ARRAY_TASK_ID="0")
    assert (returned, len(lines)) == (99, 1)


@pytest.mark.parametrize("script", ["train", "sweep"])
@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ({"JOB_ID": "7", "ARRAY_JOB_ID": "7", "ARRAY_TASK_ID": "2"}, "7_2"),  # 7 means all
        ({"JOB_ID": "8", "ARRAY_JOB_ID": "7", "ARRAY_TASK_ID": "0"}, "8"),
    ],
)
def test_only_the_stopped_task_of_an_array_is_requeued(script, job, expected, tmp_path):
    returned, lines = start(script, code=75, tmp_path=tmp_path, **job)
    assert (returned, lines[1:]) == (0, [f"requeue {expected}"])


@pytest.mark.parametrize("script", ["train", "sweep"])
def test_a_site_may_requeue_by_the_exit_code(script, tmp_path, monkeypatch):
    monkeypatch.setenv("REQUEUE_EXIT", "99")
    for code, expected in ((75, 99), (2, 2), (0, 0)):
        returned, lines = start(script, code=code, tmp_path=tmp_path, JOB_ID="7")
        assert (returned, len(lines)) == (expected, 1)


@pytest.mark.parametrize(("gpus", "refused"), [("2", True), ("1", False)])
def test_a_gpu_without_a_task_is_refused(gpus, refused, tmp_path):
    returned, (line,) = start("train", code=0, tmp_path=tmp_path, GPUS_ON_NODE=gpus)
    assert returned == (2 if refused else 0)
    if refused:
        assert line.startswith("error: ")
        assert "--ntasks-per-node=2" in line


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository")
def test_the_image_has_the_project(tmp_path):
    """Without Apptainer: the definition's own commands, in a folder in place of the image."""
    parts = re.split(r"^%(\w+)\n", (ROOT / "slurm/ladder.def").read_text(), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    environment = os.environ | {"APPTAINER_ROOTFS": str(tmp_path)}
    subprocess.run(["sh", "-ex", "-c", sections["setup"]], env=environment, cwd=ROOT, check=True)
    (tmp_path / "pip").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "pip").chmod(0o755)
    (tmp_path / "python").symlink_to(sys.executable)
    environment["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    post = sections["post"].replace("/opt/ladder", f"{tmp_path}/opt/ladder")
    done = subprocess.run(
        ["sh", "-e", "-c", post], env=environment, check=True, capture_output=True, text=True
    )
    (extras,) = re.findall(r"-e \.\[(.*)\]$", done.stdout)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras == ",".join(sorted({*known} - {"dev", "bench", "browser", "docs"}))
    script = sections["runscript"].replace("python /opt", f"{sys.executable} {tmp_path}/opt")
    command = ["sh", "-c", script, "sh", "test", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "--ckpt_path" in done.stdout, done.stderr
