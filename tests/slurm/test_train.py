"""train.sbatch on two nodes of a real SLURM: an interrupted run continues with equal bits."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tests.models.gans import WIDTH_2
from tests.slurm.cluster import OVER, Cluster, wait_for
from tests.test_world_size import ROUNDING

pytestmark = [pytest.mark.slurm, pytest.mark.ddp]

TINY = [
    "configs/cgan.yaml", *WIDTH_2, "--model.schedule.shape=constant", "--trainer.precision=32-true",
    "--data.dataset=digits", "--data.batch_size=32", "--trainer.limit_val_batches=1",
    "--checkpoint.min_steps=0", "--trainer.pictures=false",
]  # fmt: skip
# Without batch norm, which acts on a process's own share.
DENSE = [
    "configs/mnist_dense.yaml", "--model.network.batch_norm=false", "--model.network.dropout=0.2",
    "--model.network.hidden=32", "--model.schedule.shape=constant", "--model.schedule.warmup=0",
    "--model.optimizer=SGD", "--model.optimizer.lr=0.01", "--trainer.precision=32-true",
    "--data.dataset=digits", "--data.batch_size=2", "--checkpoint.min_steps=0",
]  # fmt: skip
ENDLESS = ["--trainer.max_steps=-1", "--trainer.max_epochs=1000000"]


class Job:
    """A run of train.sbatch on two nodes or one, and how it is interrupted."""

    def __init__(
        self, cluster: Cluster, runs: Path, time: str, flags: list[str], nodes: int = 2
    ) -> None:
        self.cluster = cluster
        options = [f"--nodes={nodes}", "--cpus-per-task=1", f"--output={runs}_%j.out"]
        self.id = cluster.submit(*options, *time.split(), "slurm/train.sbatch", *flags)
        self.output = Path(f"{runs}_{self.id}.out")
        self.folder = runs / Path(flags[0]).stem / f"job_{self.id}"
        self.last = self.folder / "checkpoints" / "last.ckpt"

    @property
    def restarts(self) -> int:
        return int(self.cluster.job(self.id)["Restarts"])

    def step(self) -> int:
        """The step of the newest epoch's checkpoint."""
        found = re.findall(r"step=(\d+)\.ckpt", " ".join(map(str, self.last.parent.glob("*"))))
        return max(map(int, found), default=0)

    def wait(self, what: str, condition: Callable[[], bool]) -> None:
        """Waits for something that happens before the job is over."""

        def come() -> bool:
            assert self.cluster.job(self.id)["JobState"] not in OVER, self.end()
            return condition()

        wait_for(what, come, 150)

    def end(self) -> str:
        """Its state, and the end of what it printed."""
        return f"{self.cluster.job(self.id)}\n{self.output.read_text()[-3000:]}"

    def complete(self) -> None:
        """Waits until it has completed."""
        assert self.cluster.wait_over(self.id) == "COMPLETED", self.end()

    def cancel(self) -> None:
        """Cancels it for good: it is saved, but not requeued."""
        self.cluster.run("scancel", self.id)
        assert self.cluster.wait_over(self.id) == "CANCELLED"
        wait_for("its tasks to end", lambda: not list(self.tasks()))

    def interrupt(self, how: Callable[["Job"], None]) -> None:
        """Interrupts it once it has trained, and waits until it runs again."""
        step, restarts = self.step(), self.restarts
        self.wait(f"an epoch after step {step}", lambda: self.step() > step)
        how(self)
        self.wait("the requeue", lambda: self.restarts > restarts)

    def tasks(self) -> Iterator[tuple[int, str]]:
        """Process id and rank of each of its tasks."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command, text = (process / "cmdline").read_text(), (process / "environ").read_text()
            except OSError:  # it has ended
                continue
            variables = dict(line.split("=", 1) for line in text.split("\0") if "=" in line)
            in_step = "SLURM_STEP_ID" in variables and variables.get("SLURM_JOB_ID") == self.id
            if in_step and "cli.py" in command and "srun" not in command:
                yield int(process.name), variables["SLURM_PROCID"]

    def kill_second_task(self, signum: int) -> None:
        (pid,) = [pid for pid, rank in self.tasks() if rank == "1"]
        with suppress(ProcessLookupError):
            os.kill(pid, signum)


def terminate_second_node(job: Job) -> None:
    job.kill_second_task(signal.SIGTERM)


def lose_second_node(job: Job) -> None:
    job.cluster.run("scontrol", "update", "NodeName=ladder2", "State=DOWN", "Reason=test")
    job.kill_second_task(signal.SIGKILL)
    job.cluster.run("scontrol", "update", "NodeName=ladder2", "State=RESUME")


def test_interrupted_runs_go_on_to_the_bit(cluster, runs, weights_hash):
    # SLURM may send it up to 60 s early (sbatch's manual), here 15 s after the start. A signal in
    # the first seconds would find no task, and would be lost.
    job = Job(cluster, runs, "--time=2 --signal=USR1@45", [*TINY, *ENDLESS])
    job.wait("the requeue at its time limit", lambda: job.restarts == 1)
    cluster.run("scontrol", "update", f"JobId={job.id}", "TimeLimit=10")
    for how in (terminate_second_node, lose_second_node):
        job.interrupt(how)
    step = job.step()
    job.wait("an epoch after the last requeue", lambda: job.step() > step)
    job.cancel()

    output = job.output.read_text()
    assert job.restarts == 3
    assert output.count("Told to stop after step") >= 3, output  # at a node's loss, if it can
    assert output.count(f"Continues {job.folder}, step") == 3, output
    steps = torch.load(job.last, weights_only=True)["global_step"]
    whole = Job(cluster, runs, "--time=5", [*TINY, f"--trainer.max_steps={steps}"])
    whole.complete()
    assert whole.restarts == 0
    assert weights_hash(job.last) == weights_hash(whole.last)


def test_a_site_requeues_by_an_exit_code_after_submitits_signal(cluster, runs, monkeypatch):
    monkeypatch.setenv("REQUEUE_EXIT", "99")
    flags = ["configs/gates.yaml", "--checkpoint.min_steps=0", "--trainer.pictures=false", *ENDLESS]
    job = Job(cluster, runs, "--time=5", flags, nodes=1)
    job.interrupt(lambda job: cluster.run("scancel", "--signal=USR2", job.id))
    job.wait("the run to continue", lambda: f"Continues {job.folder}" in job.output.read_text())
    job.cancel()


def test_a_run_of_two_nodes_continues_with_one(cluster, runs):
    two = Job(cluster, runs, "--time=5", [*DENSE, *ENDLESS])
    two.wait("an epoch", lambda: two.step() > 0)
    two.cancel()
    checkpoint = torch.load(two.last, weights_only=True)
    steps, loop = checkpoint["global_step"], checkpoint["loops"]["fit_loop"]
    assert not loop["epoch_loop.batch_progress"]["is_last_batch"]  # an epoch takes over a second

    end = [f"--trainer.max_steps={steps + 30}", "--trainer.max_epochs=-1"]
    one = Job(cluster, runs, "--time=5", [*DENSE, *end, f"--ckpt_path={two.last}"], nodes=1)
    whole = Job(cluster, runs, "--time=5", [*DENSE, *end], nodes=1)
    one.complete()
    whole.complete()
    ours, theirs = (torch.load(job.last, weights_only=True) for job in (two, whole))
    assert ours["global_step"] == theirs["global_step"] == steps + 30
    for name, weights in ours["state_dict"].items():
        if weights.is_floating_point():
            assert (weights - theirs["state_dict"][name]).abs().max() < ROUNDING, name


def test_a_node_has_the_staged_file_during_the_run_alone(cluster, runs, tmp_path, monkeypatch):
    image, container = tmp_path / "image", tmp_path / "container"
    image.write_text("copied to the node")
    container.write_text('#!/bin/sh\ncat "/tmp/ladder_$SLURM_JOB_ID"; exec "$@"\n')
    container.chmod(0o755)
    monkeypatch.setenv("STAGED", str(image))
    monkeypatch.setenv("CONTAINER", str(container))
    job = cluster.submit("--mem=2G", "slurm/train.sbatch", "configs/gates.yaml")
    state, log = cluster.wait_over(job), ROOT / f"slurm/logs/ladder_{job}.out"
    text = log.read_text()
    log.unlink()
    assert (state, text.count("copied to the node")) == ("COMPLETED", 1), text
    assert (runs / "gates" / f"job_{job}" / "checkpoints" / "last.ckpt").exists()
    assert not Path(f"/tmp/ladder_{job}").exists()
