"""array.sbatch, sweep.sbatch, and allocations that do not fit the run, on a real SLURM."""

import re
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, wait_for
from tests.slurm.test_train import TINY

pytestmark = pytest.mark.slurm

GATES = "python cli.py fit --config configs/gates.yaml --trainer.accelerator cpu"
BAD = {
    "each alone": (["--nodes=2", "--ntasks-per-node=1"], f"srun {GATES}", "would train alone"),
    "no srun": (["--nodes=2", "--ntasks-per-node=1"], GATES, "without srun"),
    "uneven": (["--ntasks=3"], f"srun {GATES}", "ntasks-per-node"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_allocations_are_refused_in_one_line(
    case: str, cluster: Cluster, runs: Path, tmp_path: Path
) -> None:
    options, command, expected = BAD[case]
    output = tmp_path / "out"
    wrapped = command.replace("python", '"$PYTHON"') + ' --trainer.default_root_dir "$RUNS"'
    job = cluster.submit(*options, f"--output={output}", f"--wrap={wrapped}")
    assert cluster.wait_over(job) == "FAILED"
    assert cluster.job(job)["ExitCode"] == "2:0"
    (error,) = [line for line in output.read_text().splitlines() if line.startswith("error:")]
    assert expected in error
    assert not runs.exists()


def test_four_seeds_and_their_table(cluster: Cluster, runs: Path, tmp_path: Path) -> None:
    flags = [*TINY, "--trainer.max_steps=82"]
    options = ["--array=0-3%2", "--cpus-per-task=1", f"--output={tmp_path}/%a.out"]
    job = cluster.submit(*options, "slurm/array.sbatch", *flags)
    wait_for("four tasks", lambda: not cluster.run("squeue", "-h", "-j", job), 180)
    folders = sorted(folder.name for folder in (runs / "cgan").iterdir())
    assert folders == [f"job_{job}_{task}" for task in range(4)]
    outputs = [(tmp_path / f"{task}.out").read_text() for task in range(4)]
    whole = max(outputs, key=lambda text: max(map(len, re.findall(r"^val/d_loss.*", text, re.M))))
    rows = {line.split()[0]: line.split()[1:] for line in whole.splitlines() if line.strip()}
    print(whole)
    assert rows["seed"] == ["0", "1", "2", "3"]  # nothing else differs
    losses = [float(loss) for loss in rows["val/d_loss"]]
    assert len(set(losses[:4])) == 4
    assert losses[4] == pytest.approx(sum(losses[:4]) / 4, rel=1e-3)


def test_workers_of_one_search(cluster: Cluster, runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason='needs Optuna: pip install -e ".[sweep]"')
    options = ["--array=0-1", "--cpus-per-task=1", f"--output={tmp_path}/%a.out"]
    search = ["--space=configs/sweep/iris.yaml", "--objective=val/loss", "--trials=4"]
    flags = ["--data.val_fraction=0.2", "--trainer.max_epochs=2"]
    script = "slurm/sweep.sbatch"
    job = cluster.submit(*options, script, "configs/iris.yaml", *search, *flags)
    wait_for("both workers", lambda: not cluster.run("squeue", "-h", "-j", job), 180)
    outputs = [(tmp_path / f"{task}.out").read_text() for task in range(2)]
    folder = runs / "iris-sweep"
    assert (folder / "study.journal").is_file(), outputs
    assert any("4 complete" in output for output in outputs), outputs
    assert all(" done\n" in output for output in outputs), outputs  # both took part
    lines = (folder / "trials.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [[str(i), "complete"] for i in range(4)]
    assert not (folder / "trial_4").exists()
