"""A run's loggers: metrics.csv after a crash, W&B and MLflow."""

import csv
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger

from runtime import loggers
from runtime.errors import UserError
from runtime.files import read_json
from runtime.loggers import RunCSVLogger
from runtime.run_folder import RunFolder
from tests.conftest import ROOT
from tests.test_cli import fails, run

extras = pytest.mark.extras
GATES = ["--config=configs/gates.yaml", "--trainer.max_epochs=1", "--trainer.accelerator=cpu"]


@pytest.fixture(autouse=True, scope="module")
def _in_root() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield


# -- metrics.csv ----------------------------------------------------------------------------------


def logger(folder: Path) -> RunCSVLogger:
    (folder / "run").mkdir(exist_ok=True)
    return RunCSVLogger(folder / "run")


def log(folder: Path, step: int, **metrics: float) -> None:
    own = logger(folder)
    own.log_metrics(metrics, step)
    own.save()


def test_metrics_go_on_where_they_were(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Lightning's logger would warn that it deletes files
        for step, metrics in enumerate([{"a": 1.0}, {"b": 2.0}, {"a": 3.0}]):  # new processes
            log(tmp_path, step, **metrics)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "1", "2"]
    assert [row["a"] for row in rows] == ["1.0", "", "3.0"]
    assert [row["b"] for row in rows] == ["", "2.0", ""]


@pytest.mark.parametrize("half", ["0", "1", "1.", "11,", "1.0,1", "1.0,1,2.0"])
def test_half_a_row_is_dropped(tmp_path: Path, half: str) -> None:
    log(tmp_path, 0, a=1.0, z=2.0)
    path = tmp_path / "run" / "metrics.csv"
    whole = path.read_text()
    path.write_text(whole + half)
    logger(tmp_path).forget_after(0)
    log(tmp_path, 1, a=3.0, z=4.0)
    assert path.read_text() == f"{whole}3.0,1,4.0\n"


def test_half_a_header_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.csv"
    path.parent.mkdir()
    path.write_text("a,st")
    log(tmp_path, 0, a=1.0)
    assert path.read_text() == "a,step\n1.0,0\n"


def test_a_kill_while_a_column_is_added_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(tmp_path, 0, a=1.0)
    path = tmp_path / "run" / "metrics.csv"
    whole = path.read_text()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("csv.DictWriter.writeheader", killed)
    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        log(tmp_path, 1, a=1.0, b=2.0)
    assert path.read_text() == whole


def test_steps_that_are_repeated_are_forgotten(tmp_path: Path) -> None:
    for step in range(5):
        log(tmp_path, step, a=float(step))
    logger(tmp_path).forget_after(2)
    log(tmp_path, 3, a=9.0)
    rows = (tmp_path / "run" / "metrics.csv").read_text().split()
    assert rows == ["a,step", "0.0,0", "1.0,1", "2.0,2", "9.0,3"]


# -- others ---------------------------------------------------------------------------------------


def end_wandb() -> None:
    """Ends the run and the process in which W&B writes its files, so that they are whole."""
    if wandb := sys.modules.get("wandb"):
        wandb.finish()
        wandb.teardown()


@extras
def test_wandb_logs_offline_into_the_run_and_continues_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    root = f"--trainer.default_root_dir={tmp_path}"
    run("fit", *GATES, "--trainer.logger=WandbLogger", root)
    end_wandb()
    folder = tmp_path / "gates" / "version_0"
    run("fit", f"--ckpt_path={folder}", "--trainer.max_epochs=2", root)
    end_wandb()
    (run_id,) = read_json(folder / loggers.IDS).values()
    parts = sorted((folder / "wandb").glob("offline-run-*"))
    assert len(parts) == 2
    for part in parts:
        content = (part / f"run-{run_id}.wandb").read_bytes()
        for text in (b"gates/version_0", b"train/loss"):
            assert text in content, text


@extras
def test_mlflow_has_one_run_whose_steps_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = f"--trainer.default_root_dir={tmp_path}"
    often = "--trainer.log_every_n_steps=1"
    run("fit", *GATES, "--trainer.logger=MLFlowLogger", root, often)
    folder = tmp_path / "gates" / "version_0"
    run("fit", f"--ckpt_path={folder}", "--trainer.max_epochs=2", root, often)
    client = MlflowClient(f"file:{tmp_path}/mlruns")
    (run_id,) = read_json(folder / loggers.IDS).values()
    steps = [item.step for item in client.get_metric_history(run_id, "train/loss")]
    assert steps == sorted({*steps})
    assert len(steps) > 1
    assert client.get_run(run_id).info.run_name == "gates/version_0"


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
