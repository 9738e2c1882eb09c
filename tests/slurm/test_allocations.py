"""array.sbatch, sweep.sbatch, and allocations that do not fit the run, on a real SLURM."""

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.slurm.cluster import Cluster, wait_for
from tests.slurm.test_train import ENDLESS, TINY

pytestmark = pytest.mark.slurm

GATES = "python cli.py fit --config configs/gates.yaml --trainer.accelerator cpu"


@pytest.mark.parametrize(
    ("options", "command", "expected"),
    [
        (["--nodes=2", "--ntasks-per-node=1"], f"srun {GATES}", "does not match"),
        (["--nodes=2", "--ntasks-per-node=1"], GATES, "without srun"),
        ([], f"srun {GATES} --trainer.devices 2 --trainer.strategy ddp", "starts 1 of 2 "),
    ],
)
def test_bad_allocations_are_refused_in_one_line(
    options, command, expected, cluster, runs, tmp_path
):
    output = tmp_path / "out"
    wrapped = command.replace("python", '"$PYTHON"') + ' --trainer.default_root_dir "$RUNS"'
    job = cluster.submit(*options, f"--output={output}", f"--wrap={wrapped}")
    assert cluster.wait_over(job) == "FAILED"
    assert cluster.job(job)["ExitCode"] == "2:0"
    (error,) = [line for line in output.read_text().splitlines() if line.startswith("error:")]
    assert expected in error
    assert not runs.exists()


def test_a_sites_gpu_and_constraint_are_those_of_its_jobs(cluster, tmp_path):
    site = (ROOT / "slurm" / "site.sh").read_text()
    (tmp_path / "site.sh").write_text(site.replace("# export SBATCH_GPUS", "export SBATCH_GPUS"))
    submit = f"source {tmp_path}/site.sh; sbatch --parsable --output=/dev/null --wrap true"
    job = cluster.run("bash", "-c", submit).strip()
    fields = cluster.job(job)
    assert (fields["Features"], fields["TresPerNode"]) == ("80gb", "gres/gpu:a100:1")
    assert cluster.wait_over(job) == "COMPLETED"


def array_of(cluster: Cluster, tmp_path: Path, tasks: int, *script: str) -> list[str]:
    """Runs an array of tasks, and returns what each printed."""
    options = [f"--array=0-{tasks - 1}%2", "--cpus-per-task=1", f"--output={tmp_path}/%a.out"]
    job = cluster.submit(*options, *script)
    wait_for("all tasks", lambda: not cluster.run("squeue", "-h", "-j", job), 180)
    return [(tmp_path / f"{task}.out").read_text() for task in range(tasks)]


def test_two_seeds_and_their_table(cluster, runs, tmp_path):
    flags = [*TINY, "--trainer.max_steps=41"]
    outputs = array_of(cluster, tmp_path, 2, "slurm/array.sbatch", *flags)
    tables = ([line.split() for line in text.splitlines() if line.strip()] for text in outputs)
    rows = max(({line[0]: line[1:] for line in table} for table in tables),
               key=lambda rows: len(rows.get("val/d_loss", [])))  # fmt: skip
    assert rows["seed_everything"] == ["0", "1"]  # nothing else differs
    losses = [float(loss) for loss in rows["val/d_loss"]]
    assert losses[0] != losses[1]
    assert losses[2] == pytest.approx(sum(losses[:2]) / 2, rel=1e-3)


def test_only_the_stopped_task_of_an_array_is_requeued(cluster, runs, tmp_path, monkeypatch):
    sweep, endless = tmp_path / "sweep.txt", " ".join(ENDLESS)
    sweep.write_text(f"--trainer.max_steps=2\n{endless}\n{endless}\n")
    monkeypatch.setenv("SWEEP", str(sweep))
    options = ["--array=1-3", "--cpus-per-task=1", f"--output={tmp_path}/%a.out"]
    job = cluster.submit(*options, "slurm/array.sbatch", *TINY)

    def states() -> list[tuple[str, str]]:
        tasks = (cluster.job(f"{job}_{task}") for task in (1, 2, 3))
        return [(task["JobState"], task["Restarts"]) for task in tasks]

    def ready() -> bool:
        trained = (any(runs.glob(f"cgan/job_{job}_{task}/checkpoints/*.ckpt")) for task in (2, 3))
        return states()[0][0] == "COMPLETED" and all(trained)

    wait_for("one task to end and two to train", ready, 180)
    assert cluster.job(f"{job}_3")["JobId"] == job  # which means all tasks
    cluster.run("scancel", "--signal=USR1", f"{job}_3")
    wait_for("the requeue", lambda: states()[2][1] == "1", 60)
    assert states()[:2] == [("COMPLETED", "0"), ("RUNNING", "0")]
    output = tmp_path / "3.out"
    wait_for("task 3 to continue", lambda: "\nContinues " in output.read_text(), 180)
    assert states() == [("COMPLETED", "0"), ("RUNNING", "0"), ("RUNNING", "1")]
    cluster.run("scancel", job)
    wait_for("the tasks to end", lambda: not cluster.run("squeue", "-h", "-j", job), 60)


def test_workers_of_one_search(cluster, runs, tmp_path):
    pytest.importorskip("optuna", reason='needs Optuna: pip install -e ".[sweep]"')
    search = ["--space=configs/sweep/iris.yaml", "--objective=val/loss", "--trials=3"]
    flags = ["--data.val_fraction=0.2", "--trainer.max_epochs=2"]
    script = ["slurm/sweep.sbatch", "configs/iris.yaml", *search, *flags]
    outputs = array_of(cluster, tmp_path, 2, *script)
    assert any("The best again: " in output for output in outputs), outputs
    assert all(" done\n" in output for output in outputs), outputs  # both took part
    lines = (runs / "iris-sweep" / "trials.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [[str(i), "complete"] for i in range(3)]
    assert not (runs / "iris-sweep" / "trial_3").exists()
