"""W&B and MLflow beside the run folder's own logs."""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger

import cli
from runtime import loggers
from runtime.errors import UserError
from runtime.run_folder import RunFolder
from tests import ranks
from tests.conftest import ROOT
from tests.models.gans import WIDTH_2
from tests.test_cli import fails, run

extras = pytest.mark.extras
TINY_GAN = ["--model=GAN", *WIDTH_2, "--data=Images", "--data.dataset=digits",
            "--data.batch_size=32", "--experiment=tiny", "--samples.min_steps=0",
            "--checkpoint.min_steps=0", "--quality.samples=100", "--quality.gan_train=false",
            "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1",
            "--trainer.log_every_n_steps=1", "--trainer.accelerator=cpu"]  # fmt: skip
GATES = ["--config=configs/gates.yaml", "--trainer.max_epochs=1", "--trainer.accelerator=cpu"]


@pytest.fixture(autouse=True, scope="module")
def _in_root() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield


def folder_of_a_resumed_run(root: Path, overlay: str) -> Path:
    """Trains two steps with a logger, and then two more, which the run's own config describes."""
    where = f"--trainer.default_root_dir={root}"
    before = sorted(ROOT.iterdir())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*([Mm][Ll]flow|wandb)")
        run("fit", *TINY_GAN, f"--config={overlay}", where, "--trainer.max_steps=2")
        folder = root / "tiny" / "version_0"
        run("fit", f"--ckpt_path={folder}", "--trainer.max_steps=4", "--samples.min_steps=0")
    assert sorted(ROOT.iterdir()) == before  # nothing in the working directory
    return folder


def end_wandb() -> None:
    """Ends the process in which W&B writes its files, so that they are whole."""
    if wandb := sys.modules.get("wandb"):
        wandb.teardown()


@pytest.fixture(scope="module")
def wandb_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_MODE", raising=False)
        folder = folder_of_a_resumed_run(tmp_path_factory.mktemp("r"), "configs/logger/wandb.yaml")
    end_wandb()
    return folder


@pytest.fixture(scope="module")
def mlflow_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return folder_of_a_resumed_run(tmp_path_factory.mktemp("r"), "configs/logger/mlflow.yaml")


@extras
def test_wandb_logs_offline_into_the_run_and_continues_it(wandb_run: Path) -> None:
    run_id = json.loads((wandb_run / loggers.IDS).read_text())["WandbLogger"]
    parts = sorted((wandb_run / "wandb").glob("offline-run-*"))
    assert len(parts) == 2
    for part in parts:
        assert part.name.endswith(f"-{run_id}")
        content = (part / f"run-{run_id}.wandb").read_bytes()
        for text in (b"ladder", b"tiny/version_0", b"train/g_loss", b"latent_dim", b"batch_size"):
            assert text in content, text
        assert list((part / "files/media/images").glob("samples_*.png"))


@extras
def test_a_model_trained_with_wandb_is_used_without_it(
    wandb_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = len(list((wandb_run / "wandb").iterdir()))
    run("sample", f"--ckpt_path={wandb_run}", "--count=2")
    assert len(list((wandb_run / "wandb").iterdir())) == parts  # it logs nothing
    for name in [name for name in sys.modules if name.split(".")[0] == "wandb"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "wandb", None)
    run("sample", f"--ckpt_path={wandb_run}", "--count=2")
    line = fails(capsys, "test", f"--ckpt_path={wandb_run}")
    assert line == (
        "error: trainer.logger: WandbLogger needs the package wandb, which is not installed: "
        '`pip install -e ".[wandb]"`.'
    )


@extras
def test_mlflow_has_one_run_whose_steps_continue(mlflow_run: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"file:{mlflow_run.parent.parent}/mlruns")
    experiment = client.get_experiment_by_name("tiny")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == "tiny/version_0"
    assert found.info.status == "FINISHED"
    steps = [item.step for item in client.get_metric_history(found.info.run_id, "train/g_loss")]
    assert steps == [0, 1, 2, 3]
    assert found.data.params["latent_dim"] == "4"
    assert found.data.params["batch_size"] == "32"
    names = [item.path for item in client.list_artifacts(found.info.run_id, "images")]
    samples = [name for name in names if "samples" in name and name.endswith(".png")]
    assert [f"step+{step}+" in "".join(samples) for step in (0, 2, 4)] == [True] * 3


@extras
def test_a_test_logs_into_the_same_run(mlflow_run: Path) -> None:
    from mlflow import MlflowClient

    run("test", f"--ckpt_path={mlflow_run}", "--quality.final_samples=100",
        "--quality.gan_train=false")  # fmt: skip
    client = MlflowClient(f"file:{mlflow_run.parent.parent}/mlruns")
    (found,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert any(name.startswith("test/") for name in found.data.metrics)
    assert found.info.status == "FINISHED"


@extras
def test_a_flag_is_enough_and_several_loggers_go_together(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    root = f"--trainer.default_root_dir={tmp_path}"
    run("fit", *GATES, "--trainer.logger=WandbLogger", "--trainer.logger+=MLFlowLogger", root)
    folder = tmp_path / "gates" / "version_0"
    assert json.loads((folder / loggers.IDS).read_text()).keys() == {"WandbLogger", "MLFlowLogger"}
    assert list((folder / "wandb").glob("offline-run-*/files/media/images/decision_surface_*"))
    assert list(tmp_path.glob("mlruns/*/*/artifacts/images/decision_surface*.png"))
    assert "WANDB_MODE=online uploads while training" in caplog.text
    written = capfd.readouterr().err
    for advert in ("wandb: ", "anonymous", "leet", "not found. Creating it"):
        assert advert not in written


@extras
def test_wandb_without_a_login_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    root = f"--trainer.default_root_dir={tmp_path}"
    line = fails(capsys, "fit", *GATES, "--trainer.logger=WandbLogger", root)
    assert line.startswith("error: trainer.logger: WandbLogger cannot start: ")


def factory(kind: type, **options: Any) -> Callable[[], Any]:
    """A logger's factory as the command line makes it."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_argument("--logger", type=loggers.LoggerFactory)
    arguments = [f"--logger.{name}={value}" for name, value in options.items()]
    return parser.instantiate(parser.parse_args([f"--logger={kind.__name__}", *arguments])).logger


@extras
def test_mlflow_keeps_the_first_value_of_a_changed_hyperparameter(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import MLFlowLogger

    folder = tmp_path / "cgan" / "version_0"
    folder.mkdir(parents=True)
    (logger,) = loggers.start([factory(MLFlowLogger)], folder)
    logger.log_hyperparams({"lr": 0.1})
    (resumed,) = loggers.start([factory(MLFlowLogger)], folder)
    assert resumed.version == logger.version
    with pytest.warns(UserWarning, match="MLflow keeps the first hyperparameters of a run"):
        resumed.log_hyperparams({"lr": 0.2})


@extras
def test_a_lost_mlflow_store_gets_a_new_run_with_a_warning(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import MLFlowLogger

    folder = tmp_path / "cgan" / "version_0"
    folder.mkdir(parents=True)
    (folder / loggers.IDS).write_text(json.dumps({"MLFlowLogger": "0" * 32}))
    with pytest.warns(UserWarning, match="cannot continue run 000.*this is a new one"):
        (logger,) = loggers.start([factory(MLFlowLogger)], folder)
    assert json.loads((folder / loggers.IDS).read_text()) == {"MLFlowLogger": logger.version}


@extras
def test_two_loggers_of_a_kind_have_a_run_each(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import MLFlowLogger

    folder = tmp_path / "cgan" / "version_0"
    folder.mkdir(parents=True)
    both = [factory(MLFlowLogger), factory(MLFlowLogger, save_dir=tmp_path / "other")]
    runs = [logger.version for logger in loggers.start(both, folder)]
    assert [logger.version for logger in loggers.start(both, folder)] == runs
    assert len({*runs}) == 2


def fit_with_both(folder: Path) -> None:
    cli.main(["fit", *GATES, f"--trainer.default_root_dir={folder}", "--trainer.devices=2",
              "--trainer.strategy=ddp", "--data.batch_size=2", "--trainer.logger=WandbLogger",
              "--trainer.logger+=MLFlowLogger"])  # fmt: skip


@extras
@pytest.mark.ddp
def test_only_rank_zero_logs(tmp_path: Path) -> None:
    os.environ.pop("WANDB_MODE", None)
    processes = ranks.start(2, partial(fit_with_both, tmp_path), tmp_path)
    assert ranks.end(processes, 60) == [0, 0], (tmp_path / "0.log").read_text()[-2000:]
    assert len(list(tmp_path.glob("gates/version_0/wandb/offline-run-*"))) == 1
    assert len(list(tmp_path.glob("mlruns/*/*/artifacts"))) == 1
    assert not (tmp_path / "gates" / "version_1").exists()


@pytest.mark.parametrize(("rank_zero", "stage", "number"), [
    (True, "fit", 3), (True, "test", 3), (False, "fit", 2),
])  # fmt: skip
def test_other_loggers_start_on_rank_zero(
    rank_zero: bool, stage: str, number: int, tmp_path: Path
) -> None:
    of_rank_zero = tmp_path / "iris" / "version_0", None
    strategy = SimpleNamespace(broadcast=lambda value: value if rank_zero else of_rank_zero)
    trainer: Any = SimpleNamespace(is_global_zero=rank_zero, strategy=strategy, loggers=[])
    callback = RunFolder(tmp_path, "iris", None, [factory(CSVLogger, save_dir=tmp_path / "mine")])
    for _ in range(2):  # a second stage replaces them
        callback.setup(trainer, None, stage)  # type: ignore[arg-type]
        assert len(trainer.loggers) == number
    assert not (tmp_path / "iris" / "version_0" / loggers.IDS).exists()


def test_a_failure_on_rank_zero_is_one_on_all_ranks(tmp_path: Path) -> None:
    strategy = SimpleNamespace(broadcast=lambda value: (tmp_path, "no such service"))
    trainer: Any = SimpleNamespace(is_global_zero=False, strategy=strategy, loggers=[])
    with pytest.raises(UserError, match="no such service"):
        RunFolder(tmp_path, "iris").setup(trainer, None, "fit")  # type: ignore[arg-type]


@pytest.mark.parametrize(("flag", "module", "install"), [
    ("--config=configs/logger/wandb.yaml", "wandb", 'pip install -e ".[wandb]"'),
    ("--config=configs/logger/mlflow.yaml", "mlflow", 'pip install -e ".[mlflow]"'),
    ("--trainer.logger=WandbLogger", "wandb", 'pip install -e ".[wandb]"'),
    ("--trainer.logger=CometLogger", "comet_ml", "pip install comet-ml"),
])  # fmt: skip
def test_a_missing_package_is_named_before_anything_is_written(
    flag: str, module: str, install: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, module, None)
    line = fails(capsys, "fit", *GATES, flag, f"--trainer.default_root_dir={tmp_path}")
    assert f"needs the package {module}, which is not installed: `{install}`." in line
    assert not list(tmp_path.iterdir())
