"""W&B and MLflow: a resumed run continues its run there."""

import shutil
from contextlib import nullcontext

import pytest
import torch

import cli

pytestmark = pytest.mark.extras

STOPPED = "--trainer.max_time=00:00:00:00"
JOB = {"JOB_ID": 7, "NTASKS": 1, "NNODES": 1, "PROCID": 0, "LOCALID": 0, "NODEID": 0}


@pytest.fixture
def fit(tmp_path, in_root, monkeypatch):
    """Trains like a new process, by default with the service's config."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")

    def train(service, *args, epochs=2):
        config = ["--config=configs/gates.yaml", f"--config=configs/logger/{service}.yaml",
                  f"--trainer.logger.save_dir={tmp_path}/{service}"]  # fmt: skip
        config = [] if "--trust=true" in args else config
        own = [f"--trainer.default_root_dir={tmp_path}", "--trainer.accelerator=cpu",
               "--trainer.pictures=false", f"--trainer.max_epochs={epochs}"]  # fmt: skip
        with pytest.raises(SystemExit) if STOPPED in args else nullcontext():
            cli.main(["fit", *config, *args, *own])
        if service == "wandb":
            import wandb

            wandb.finish()
            wandb.teardown()
        parts = tmp_path.glob("wandb/wandb/offline-*/*.wandb"), tmp_path.glob("mlflow/*/*/metrics")
        return [path.stem[4:] for path in parts[0]] or [path.parent.name for path in parts[1]]

    return train


@pytest.mark.parametrize("service", ["wandb", "mlflow"])
@pytest.mark.parametrize("requeued", [True, False])
def test_a_run_that_continues_is_the_same_run(service, requeued, fit, tmp_path, monkeypatch):
    for name, value in JOB.items() if requeued else ():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    (first,) = fit(service, STOPPED)
    resume = ["--ckpt_path=last", "--trust=true", "--experiment=gates"]
    more = [] if requeued else [*resume, "--trainer.max_time=01:00:00:00"]
    assert {*fit(service, *more)} == {first}
    (folder,) = (tmp_path / "gates").iterdir()
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert (saved["global_step"], saved["logger_runs"][0][1]) == (2, first)
    assert first not in (folder / "config.yaml").read_text()
    for log in tmp_path.glob("mlflow/*/*/metrics/train/loss"):
        assert [line.split()[2] for line in log.read_text().splitlines()] == ["1", "2"]
        assert "status: 3" in (log.parents[2] / "meta.yaml").read_text()  # finished


@pytest.mark.parametrize("service", ["wandb", "mlflow"])
def test_a_run_from_weights_or_anew_is_another_run(service, fit, tmp_path):
    (first,) = fit(service)
    checkpoint = tmp_path / "gates" / "version_0" / "checkpoints" / "last.ckpt"
    fit(service, "--trust=true", f"--init_from={checkpoint}")
    fit(service, f"--ckpt_path={shutil.copy(checkpoint, tmp_path)}")
    assert len({*fit(service)} - {first}) == 3


def test_mlflow_keeps_hyperparameters_and_replaces_a_lost_run(fit, tmp_path):
    (first,) = fit("mlflow")
    changed = ["--ckpt_path=last", "--model.schedule.shape=cosine"]
    assert fit("mlflow", *changed, epochs=3) == [first]
    (shape,) = tmp_path.glob("mlflow/*/*/params/schedule/shape")
    assert shape.read_text() == "constant"
    shutil.rmtree(shape.parents[2])
    with pytest.warns(UserWarning, match=f"cannot continue run {first}, so a new one begins"):
        assert first not in fit("mlflow", *changed, epochs=4)


def test_each_of_two_loggers_continues_in_its_run(fit, tmp_path):
    kind = f"class_path: MLFlowLogger, init_args: {{save_dir: {tmp_path}/mlflow, experiment_name: "
    config = tmp_path / "two.yaml"
    config.write_text(f"trainer: {{logger: [{{{kind}a}}}}, {{{kind}b}}}}]}}\n")
    two = ["--config=configs/gates.yaml", f"--config={config}", "--trust=true"]
    before = fit("mlflow", *two)
    assert {*fit("mlflow", *two, "--ckpt_path=last", epochs=3)} == {*before}
    logs = tmp_path.glob("mlflow/*/*/metrics/train/loss")
    assert [len(log.read_text().splitlines()) for log in logs] == [3, 3]
