"""The interval of a run's logs, its speed, and its end at a loss that is not finite."""

import time
from typing import Any

import pandas as pd
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import PassThroughProfiler

import cli
from callbacks import Figures, StepMonitor
from callbacks.monitor import count_examples, describe_speed
from datamodules import Iris
from models import IrisMLP
from models.base import Module
from runtime.checkpoints import problem_of
from runtime.errors import RunFailedError
from runtime.loggers import RunCSVLogger
from runtime.preemption import Agreement
from runtime.trainer import LadderTrainer
from tests import ranks
from tests.callbacks.runs import Small, digits, pictures, trainer
from tests.commands.runs import DIGITS
from tests.models.classifiers import trainer as make_trainer


class StopError(Exception):
    """Ends a run after its first batch."""


class Stop(Callback):
    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        raise StopError(trainer.log_every_n_steps)


@pytest.mark.parametrize(
    ("options", "every"),
    [
        ({"max_epochs": 1}, 1),  # 7 steps
        ({"max_steps": 100, "max_epochs": -1}, 2),
        ({"max_epochs": 400}, 50),  # 2,800 steps
        ({"max_epochs": 400, "log_every_n_steps": 7}, 7),
        ({"max_epochs": -1, "max_time": "00:00:00:01"}, 50),
    ],
)
def test_a_run_logs_at_least_fifty_points(options, every, tmp_path):
    options = {"log_every_n_steps": None, **options}
    run = trainer(tmp_path, StepMonitor(), Stop(), kind=LadderTrainer, **options)
    with pytest.raises(StopError) as stopped:
        run.fit(IrisMLP(), Iris())
    assert stopped.value.args == (every,)


def test_a_run_logs_examples_per_second_and_draws_its_curves(tmp_path, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("callbacks.monitor.time.perf_counter", lambda: next(clock))
    options = {"max_steps": 4, "log_every_n_steps": 2, "limit_val_batches": 0}
    (tmp_path / "run").mkdir()
    logger = RunCSVLogger(tmp_path / "run")
    run = trainer(tmp_path, StepMonitor(), Figures(), logger=logger, **options)
    run.fit(Small(), datamodule=digits())
    speeds = pd.read_csv(tmp_path / "run" / "metrics.csv")["train/examples_per_s"].dropna()
    assert speeds.tolist() == [32, 32]  # a second to load a batch, and one to train on it
    assert pictures(tmp_path) == {"curves.png", "data_examples.png", "network.png"}


def test_examples_of_all_processes_count(monkeypatch):
    monkeypatch.setattr("callbacks.monitor.time.perf_counter", iter(range(1000)).__next__)
    monkeypatch.setattr("callbacks.monitor.Agreement", lambda world_size: Agreement(1))
    monkeypatch.setattr("callbacks.monitor.exchange_seconds", lambda model: 0.0)
    run = make_trainer(StepMonitor(), log_every_n_steps=2)
    run.strategy.world_size = 3  # of which this is one
    run.fit(Diverges(bad=-1))
    assert run.callback_metrics["train/examples_per_s"] == 1.5  # 3 batches of one in 2 seconds


class Waits(Callback):
    """Spends 100 seconds of a clock in each validation."""

    def on_validation_start(self, *_: Any) -> None:
        for _ in range(100):
            time.perf_counter()


class OwnProfiler(PassThroughProfiler):
    """Of the user's."""


def test_validation_is_no_time_of_training(tmp_path, monkeypatch):
    """Also beside a profiler of the user's, which has no clock of the loader."""
    monkeypatch.setattr("callbacks.monitor.time.perf_counter", map(float, range(10_000)).__next__)
    options = {"max_steps": 4, "log_every_n_steps": 2, "val_check_interval": 1}
    run = trainer(tmp_path, StepMonitor(), Waits(), profiler=OwnProfiler(), **options)
    run.fit(Small(), datamodule=digits())
    assert run.callback_metrics["train/examples_per_s"] == 64  # a second from batch to batch


@pytest.mark.parametrize(
    ("batch", "count"),
    [
        (torch.zeros(3, 2), 3),
        ([torch.zeros(4, 2), torch.zeros(4)], 4),
        ({"name": ["a", "b"], "x": torch.zeros(2, 5)}, 2),
        (["a", 1], 0),
    ],
)
def test_the_examples_of_any_batch_are_counted(batch, count):
    assert count_examples(batch) == count


class Poison(Callback):
    """Makes the weights NaN before a step, as a step that is far too long does."""

    def __init__(self, step: int, value: float = torch.nan) -> None:
        self.step, self.value = step, value

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step:
            next(pl_module.parameters()).data.fill_(self.value)


RUNS = {
    "iris": ["--config=configs/iris.yaml", "--data.batch_size=30"],
    "gan": ["--model=GAN", "--model.generator.width=2", "--model.trunk.width=2", *DIGITS],
}


@pytest.mark.parametrize(("name", "value"), [("iris", "nan"), ("gan", "inf")])
def test_a_run_ends_at_the_first_bad_loss(name, value, in_root, tmp_path, capsys):
    poison = f"{__name__}.Poison"
    batches = ["--trainer.limit_train_batches=4", "--checkpoint.min_steps=0", "--quality.samples=0"]
    with pytest.raises(SystemExit) as stopped:
        cli.main([
            "fit", *RUNS[name], *batches, f"--trainer.callbacks={poison}",
            "--trainer.callbacks.step=13", f"--trainer.callbacks.value=.{value}",
            f"--trainer.default_root_dir={tmp_path}", "--experiment=x", "--trainer.max_epochs=9",
        ])  # fmt: skip
    assert stopped.value.code == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    loss = {"iris": "loss", "gan": "d_loss"}[name]
    assert f"error: loss '{loss}': NaN or infinite at step 14 (epoch 3), learning rate 0.0" in line
    last = tmp_path / "x" / "version_0" / "checkpoints" / "last.ckpt"
    assert f"The last checkpoint before it is {last}. Try" in line
    assert problem_of(last) == ""
    assert torch.load(last, weights_only=True)["global_step"] == 12


class Diverges(Module):
    """A model with one weight, whose loss is infinite in one batch."""

    def __init__(self, bad: int) -> None:
        super().__init__()
        self.weight, self.bad = torch.nn.Parameter(torch.ones(())), bad

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.weight * (torch.inf if batch_idx == self.bad else 1.0)
        self.log_means({"loss": loss.detach()})
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(torch.zeros(10))


def test_on_a_gpu_losses_are_read_at_logging_steps(monkeypatch):
    callback = StepMonitor()
    monkeypatch.setattr("callbacks.monitor.is_asynchronous", lambda device: True)
    with pytest.raises(RunFailedError, match="loss 'loss': NaN or infinite at step 6 "):
        make_trainer(callback, log_every_n_steps=7).fit(Diverges(bad=3))
    run = make_trainer(StepMonitor(), log_every_n_steps=7)
    run.fit(Diverges(bad=-1))
    assert run.global_step == 10


def test_weights_that_became_infinite_in_the_last_step_end_the_run():
    class LastStep(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
            if trainer.global_step == 10:
                pl_module.weight.data.fill_(torch.inf)

    with pytest.raises(RunFailedError, match="weights: NaN or infinite at step 10"):
        make_trainer(StepMonitor(), LastStep()).fit(Diverges(bad=-1))


class BadOnRankOne(Poison):
    """Makes the loss of one rank infinite, but no gradient: only this rank sees it."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_rank == 1 and trainer.global_step == self.step:
            pl_module.losses["loss"] = torch.tensor(torch.inf)

    def on_train_batch_start(self, *args: Any) -> None:
        pass


@pytest.mark.ddp
def test_all_ranks_end_together(tmp_path):
    def work() -> None:
        cli.main([
            "fit", *RUNS["iris"], f"--trainer.default_root_dir={tmp_path}", "--experiment=x",
            f"--trainer.callbacks={__name__}.BadOnRankOne", "--trainer.callbacks.step=6",
            "--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu",
            "--trainer.pictures=false",
        ])  # fmt: skip

    assert ranks.end(ranks.start(2, work, tmp_path), 60) == [1, 1]
    logs = [(tmp_path / f"{rank}.log").read_text() for rank in range(2)]
    found = [[line for line in log.splitlines() if line.startswith("error: ")] for log in logs]
    (other,), (own,) = found  # each has its own reason
    assert other.startswith("error: a loss of another process: NaN or infinite at step 7 (epoch 1)")
    assert own.startswith("error: loss 'loss': NaN or infinite at step 6 (epoch 1)")
    assert "frames" not in "".join(logs)  # of C++, from a store that has ended


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        ([[1240.4, 0.02]], "1,240 examples/s; 2% of the time waiting for data: the computation"),
        ([[9, 0.7]], "9 examples/s; 70% of the time waiting for data: the data limit it"),
        ([[9, 0.1, 0.6], [9, 0.1, 0.7]], "70% for other processes: the exchange of gradients"),
        ([[9, 0.0, 0.7], [9, 0.1, 0.1]], "10% of the time waiting for data, up to 70% for other "
         "processes: the computation of process 1 limits it."),
        ([[9, 0.6, 0.1], [9, 0.0, 0.7]], "other processes: the data of process 0 limit it."),
    ],
)  # fmt: skip
def test_the_slowest_process_says_what_limits_a_run(processes, expected):
    assert expected in describe_speed(processes)


class Slow(list):
    """Examples that take 100 ms each."""

    def __getitem__(self, index: Any) -> Any:
        time.sleep(0.1)
        return super().__getitem__(index)


class SlowRankOne(Callback):
    """Takes 300 ms more a batch on one rank."""

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        time.sleep(0.3 * (trainer.global_rank == 1))


@pytest.mark.parametrize(("kind", "limit"), [(Slow, "the data limit it"), (list, "computation")])
def test_a_slow_loader_limits_a_run(kind, limit, capsys):
    run = make_trainer(StepMonitor(), log_every_n_steps=5)
    run.fit(Diverges(bad=-1), torch.utils.data.DataLoader(kind(torch.zeros(10))))
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("Speed: ")]
    assert limit in line
    assert (run.callback_metrics["train/data_wait"] > 0.5) == (kind is Slow)


class Draws(Callback):
    """Takes 200 ms after each batch."""

    def on_train_batch_end(self, *_: Any) -> None:
        time.sleep(0.2)


def test_time_for_pictures_does_not_count(capsys):
    run = make_trainer(StepMonitor(), Draws(), log_every_n_steps=5)
    run.fit(Diverges(bad=-1), torch.utils.data.DataLoader(torch.zeros(10)))
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("Speed: ")]
    assert int(line.split()[1].replace(",", "")) > 20


@pytest.mark.ddp
@pytest.mark.parametrize("name", RUNS)  # DDP averages gradients, or `average_gradients`
def test_a_rank_waits_for_a_slow_one(name, tmp_path):
    def work() -> None:
        cli.main([
            "fit", *RUNS[name], f"--trainer.default_root_dir={tmp_path}", "--experiment=x",
            f"--trainer.callbacks={__name__}.SlowRankOne", "--trainer.max_steps=8",
            "--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu",
            "--quality.samples=0", "--trainer.log_every_n_steps=4", "--trainer.pictures=false",
        ])  # fmt: skip

    assert ranks.end(ranks.start(2, work, tmp_path), 60) == [0, 0]
    logs = [(tmp_path / f"{rank}.log").read_text() for rank in range(2)]
    (line,) = [x for log in logs for x in log.splitlines() if x.startswith("Speed: ")]
    assert line.endswith("for other processes: the computation of process 1 limits it.")
    table = pd.read_csv(tmp_path / "x/version_0/metrics.csv")
    assert (table["train/exchange_wait"].dropna() > 0.3).all()  # of rank 0
