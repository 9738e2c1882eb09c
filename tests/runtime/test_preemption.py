"""Pre-emption: the ranks agree to stop, and a stopped run loses nothing."""

import shlex
import signal
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
import torch.distributed as dist
from lightning import Callback, Trainer

import cli
from datamodules import Iris
from models import IrisMLP
from runtime import cluster, signals
from runtime.preemption import SAVED_EXIT_CODE, Agreement, Preemption
from runtime.run_folder import RunFolder
from runtime.trainer import LadderTrainer
from tests.conftest import weights_hash_of
from tests.models.gans import WIDTH_2


def test_a_stopped_run_says_the_command_that_continues_it(tmp_path, in_root, caplog):
    short = ["--trainer.max_steps=5", "--trainer.max_time=00:00:00:00", "--trainer.pictures=false"]
    place = f"--trainer.default_root_dir={tmp_path / 'my runs'}"
    with pytest.raises(SystemExit) as stopped:
        cli.main(["fit", "--config=configs/iris.yaml", *short, place])
    assert stopped.value.code == SAVED_EXIT_CODE
    (line,) = (text for text in caplog.messages if text.startswith("Continue: "))
    _, script, *args = shlex.split(line.removeprefix("Continue: "))
    assert Path(script).name == "cli.py"
    cli.main([*args, "--trainer.max_time=null"])
    (folder,) = (tmp_path / "my runs" / "iris").iterdir()
    assert torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 5


def test_a_stopped_run_is_not_started_again_by_torchrun(tmp_path, in_root, monkeypatch):
    """It would train on, and a time limit would begin anew at each of its restarts."""
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "100")
    monkeypatch.setattr(Preemption, "_take_signals", lambda self: None)
    for torchrun, code in ((False, SAVED_EXIT_CODE), (True, 0)):
        monkeypatch.setattr(cluster.TorchElasticEnvironment, "detect", lambda on=torchrun: on)
        trainer = Mock(log_dir=str(tmp_path), global_step=1, is_global_zero=True)
        with pytest.raises(SystemExit) as stopped:
            Preemption()._stop(trainer)
        assert stopped.value.code == code


class FakeWork:
    def wait(self) -> None: ...


@pytest.fixture
def other_rank(monkeypatch):
    """The answers of another rank to each question, in turn, and 0 after that."""
    answers: list[int] = []

    def all_reduce(flag: torch.Tensor, **_: Any) -> FakeWork:
        flag += answers.pop(0) if answers else 0
        return FakeWork()

    monkeypatch.setattr(dist, "new_group", lambda backend, timeout: backend)
    monkeypatch.setattr(dist.distributed_c10d, "_get_default_store", Mock())
    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    return answers


def test_an_answer_is_used_one_question_later_by_both_ranks(other_rank):
    other_rank += [0, 1]
    agreement = Agreement(2)
    assert [agreement.agree_to_stop(False) for _ in range(4)] == [False, False, True, False]
    assert not agreement.agree_to_stop(True)
    assert agreement.agree_to_stop(False)


def test_at_an_epochs_end_the_answer_is_awaited(other_rank):
    other_rank += [0, 1]
    agreement = Agreement(2)
    assert not agreement.agree_to_stop(False)
    assert agreement.agree_to_stop(False, wait=True)


def test_an_older_answer_is_not_lost_at_an_epochs_end(other_rank):
    other_rank += [1, 0]
    agreement = Agreement(2)
    assert not agreement.agree_to_stop(False)
    assert agreement.agree_to_stop(False, wait=True)


def test_many_ranks_ask_less_often(other_rank):
    other_rank += [1]
    agreement = Agreement(128)  # asks every third time
    assert [agreement.agree_to_stop(False) for _ in range(7)] == [False] * 5 + [True, False]


def test_one_process_asks_nobody():
    assert Agreement(1).agree_to_stop(True)
    assert not Agreement(1).agree_to_stop(False)


class Look(Callback):
    """Notes who would handle the signals while training runs."""

    def on_train_batch_end(self, *_: Any) -> None:
        self.handlers = [signal.getsignal(signum) for signum in signals.STOP_SIGNALS]


def fit(kind: type[Trainer], model: Any, data: Any, *callbacks: Callback, **kwargs: Any) -> Trainer:
    trainer = kind(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        limit_val_batches=0, log_every_n_steps=1, callbacks=list(callbacks), **kwargs,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return trainer


@pytest.mark.parametrize("kind", [LadderTrainer, Trainer])
def test_signals_come_to_us_and_not_to_lightning(kind, tmp_path):
    look = Look()
    fit(kind, IrisMLP(), Iris(), look, Preemption(), max_steps=2, default_root_dir=tmp_path)
    assert look.handlers == [signals._note] * 3


def test_a_run_stops_only_after_gradients_were_applied(tmp_path):
    callbacks = RunFolder(tmp_path, "iris"), Preemption({"seconds": 0})
    options = {"max_epochs": 1, "accumulate_grad_batches": 3}
    with pytest.raises(SystemExit) as stopped:
        fit(LadderTrainer, IrisMLP(), Iris(batch_size=4), *callbacks, **options)
    assert stopped.value.code == SAVED_EXIT_CODE
    last = tmp_path / "iris" / "version_0" / "checkpoints" / "last.ckpt"
    loop = torch.load(last, weights_only=True)["loops"]["fit_loop"]
    assert loop["epoch_loop.batch_progress"]["total"]["processed"] == 3


def test_a_run_does_not_stop_before_a_validation_of_its_step(tmp_path):
    """Lightning would continue behind it."""

    class Stop(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 1:
                signal.raise_signal(signal.SIGTERM)

    trainer = LadderTrainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[Stop(), RunFolder(tmp_path, "iris"), Preemption()], val_check_interval=2,
        max_epochs=1000,
    )  # fmt: skip
    with pytest.raises(SystemExit):
        trainer.fit(IrisMLP(), datamodule=Iris(batch_size=8, val_fraction=0.2))
    assert trainer.global_step == 3


RUN = [
    "fit", "--model=ConditionalGAN", *WIDTH_2,
    "--model.average.decay=0.9", "--data=Images", "--data.dataset=digits", "--data.batch_size=32",
    "--trainer.max_epochs=2", "--trainer.limit_train_batches=5", "--trainer.limit_val_batches=1",
    "--trainer.accelerator=cpu", "--quality.samples=0",
    "--trainer.enable_progress_bar=false", "--trainer.precision=32-true",
    "--checkpoint.min_steps=0", "--samples.min_steps=1000000",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The hash of the weights of the run that is not stopped."""
    root = tmp_path_factory.mktemp("whole")
    cli.main([*RUN, f"--trainer.default_root_dir={root}"])
    return weights_hash_of(root / "conditionalgan/version_0/checkpoints/last.ckpt")


def test_a_time_limit_saves_and_loses_no_batch(tmp_path, whole, caplog):
    """Lightning's `max_time` ends the epoch it falls in, whose other batches are never seen."""
    last = "conditionalgan/version_0/checkpoints/last.ckpt"
    stopped = [*RUN, f"--trainer.default_root_dir={tmp_path}/stopped"]
    with pytest.raises(SystemExit) as limit:
        cli.main([*stopped, "--trainer.max_time=00:00:00:00"])
    assert limit.value.code == SAVED_EXIT_CODE
    assert "weights_only" not in caplog.text
    assert torch.load(tmp_path / "stopped" / last, weights_only=True)["global_step"] == 1
    cli.main([*stopped, "--ckpt_path=last", "--trainer.max_time=01:00:00:00"])
    assert weights_hash_of(tmp_path / "stopped" / last) == whole


def test_a_requeued_job_continues_in_its_folder(tmp_path, whole, monkeypatch):
    job = {"JOB_ID": 7, "NTASKS": 1, "NNODES": 1, "PROCID": 0, "LOCALID": 0, "NODEID": 0}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    again = [*RUN, f"--trainer.default_root_dir={tmp_path}/job"]
    with pytest.raises(SystemExit):
        cli.main([*again, "--trainer.max_time=00:00:00:00"])
    cli.main(again)
    (folder,) = (tmp_path / "job" / "conditionalgan").iterdir()
    assert folder.name == "job_7"
    assert weights_hash_of(folder / "checkpoints/last.ckpt") == whole
