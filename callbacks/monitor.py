"""The steps of a run, watched: how often it logs, its speed, and losses that are not finite."""

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import PassThroughProfiler
from torch import Tensor

from callbacks.recording import rank_zero_print
from models.base import Module, is_logging_step
from models.distributed import all_gather_stacked, exchange_seconds
from runtime.errors import RunFailedError
from runtime.preemption import Agreement

MIN_POINTS, MAX_EVERY = 50, 50  # least points of a curve, and most steps between two
LOGGED = ("train/examples_per_s", "train/data_wait", "train/exchange_wait")


class LoaderClock(PassThroughProfiler):
    """Adds up the time in the training loader's `next`. Other hooks enter no new context."""

    began, seconds, context = 0.0, 0.0, nullcontext()

    def profile(self, action_name: str) -> Any:
        return self.context

    def start(self, action_name: str) -> None:
        if action_name.endswith("train_dataloader_next"):
            self.began = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if action_name.endswith("train_dataloader_next"):
            self.seconds += time.perf_counter() - self.began


class StepMonitor(Callback):
    """Chooses how often a run logs, logs its speed, and ends it if a loss is NaN or infinite.

    A run of 100 steps logs every second step, one of 2,500 or more steps every 50, unless
    `trainer.log_every_n_steps` says how often. The speed is in examples per second over all
    processes, for training alone. `train/data_wait` and `train/exchange_wait` are the fractions of
    the time in the loader's `next` (on a GPU, which may compute meanwhile, an upper limit) and for
    gradients of other processes (on a CPU), `train/peak_memory_gb` is a GPU's. At the end a line
    says what limits the run, whose first step does not count.

    All ranks end together. On a CPU each loss is checked, on a GPU those of logging steps, because
    reading a loss waits until the GPU has finished its queue.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._agreement = Agreement(trainer.world_size)
        self._found = ""  # what this process found first
        if getattr(trainer, "chooses_log_interval", False):
            steps = trainer.estimated_stepping_batches
            known = steps != -1 and not math.isinf(steps)
            chosen = min(MAX_EVERY, max(1, int(steps) // MIN_POINTS)) if known else MAX_EVERY
            trainer.log_every_n_steps = chosen  # type: ignore[attr-defined]  # a connector's
        if type(trainer.profiler) is PassThroughProfiler:  # type: ignore[attr-defined]
            trainer.profiler = LoaderClock()  # type: ignore[attr-defined]  # a connector's
        self._examples, self._seconds = 0, 0.0
        self._logged = self._totals(trainer)  # when the run logged last
        self._first: list[float] | None = None  # after the first step
        self._mark = time.perf_counter()  # because a run resumed within an epoch has no epoch start

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = time.perf_counter()

    on_validation_end = on_train_epoch_start

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._due = trainer.global_step + 1 if is_logging_step(trainer) else None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not is_asynchronous(pl_module.device) or is_logging_step(trainer):
            losses = _losses(pl_module, outputs).items()
            bad = [f"loss '{name}'" for name, loss in losses if not loss.isfinite()]
            self._check(trainer, bad)
        clock = trainer.profiler  # type: ignore[attr-defined]  # a connector's
        # The time between the last batch and this one's `next` went into pictures and the like.
        before = clock.began if isinstance(clock, LoaderClock) else self._mark
        self._mark = time.perf_counter()
        self._seconds += self._mark - before
        self._examples += count_examples(batch) * trainer.world_size
        self._first = self._first or self._totals(trainer)
        if trainer.global_step == self._due:  # Not while gradients accumulate.
            logged, self._logged = self._logged, self._totals(trainer)
            speeds = dict(zip(LOGGED, rates(logged, self._logged), strict=False))
            if pl_module.device.type == "cuda":
                speeds["train/peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
            for name, value in speeds.items():
                pl_module.log(name, value, prog_bar=name == LOGGED[0], batch_size=1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        now = self._totals(trainer)
        if self._first is not None and now[1] > self._first[1] and len(now) > 2:
            own = torch.tensor(rates(self._first, now), device=pl_module.device)
            rank_zero_print(trainer, describe_speed(all_gather_stacked(own).tolist()))

    def _totals(self, trainer: Trainer) -> list[float]:
        """Returns examples, seconds, and seconds of each wait that is measured, so far."""
        totals: list[float] = [self._examples, self._seconds]
        clock = trainer.profiler  # type: ignore[attr-defined]  # a connector's
        if isinstance(clock, LoaderClock):
            totals.append(clock.seconds)
            if trainer.world_size > 1 and trainer.strategy.root_device.type == "cpu":
                totals.append(exchange_seconds(trainer.strategy.model))
        return totals

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks the weights as well, which checkpoints are about to keep."""
        finite = all(w.isfinite().all() for w in pl_module.parameters())
        self._check(trainer, [] if finite else ["weights"], wait=True)

    def _check(self, trainer: Trainer, bad: list[str], wait: bool = False) -> None:
        """Ends the run if something was found on any rank."""
        if bad and not self._found:
            self._found = f"{bad[0]}: {_place(trainer)}"
        if not self._agreement.agree_to_stop(bool(self._found), wait=wait):
            return
        cause = self._found or f"a loss of another process: {_place(trainer)}"
        rates = ", ".join(f"{o.param_groups[0]['lr']:.3g}" for o in trainer.optimizers)
        raise RunFailedError(
            f"{cause}, learning rate {rates}. {_saved(trainer)} Try a smaller learning rate, "
            "gradient clipping or --trainer.precision 32-true."
        )


def rates(before: list[float], now: list[float]) -> list[float]:
    """Returns examples per second, and waits as fractions of the time between two totals."""
    examples, seconds, *waits = (b - a for a, b in zip(before, now, strict=True))
    return [examples / seconds, *(min(1.0, wait / seconds) for wait in waits)]


def describe_speed(processes: Sequence[Sequence[float]]) -> str:
    """Says what limits a run, from the `rates` of each process. The slowest waits least."""
    waits = [sum(others) for _, _, *others in processes]
    slowest = waits.index(min(waits))
    speed, data, exchange = *processes[slowest][:2], waits[slowest]
    of = f" of process {slowest}" if max(waits) - exchange > 0.2 else ""
    parts = {f"the computation{of} limits it": 1 - data - exchange, f"the data{of} limit it": data}
    parts["the exchange of gradients limits it"] = exchange
    text = f"Speed: {speed:,.0f} examples/s; {data:.0%} of the time waiting for data"
    text += f", up to {max(waits):.0%} for other processes" * (len(processes[0]) > 2)
    return f"{text}: {max(parts, key=lambda part: parts[part])}."


def is_asynchronous(device: torch.device) -> bool:
    """Returns whether reading a number from this device waits for its queue."""
    return device.type != "cpu"


def count_examples(batch: Any) -> int:
    """Returns the length of the first tensor in a batch; 0 if there is none."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else 1
    parts = batch.values() if isinstance(batch, dict) else batch
    counts = map(count_examples, parts) if isinstance(batch, dict | list | tuple) else ()
    return next(filter(None, counts), 0)


def _losses(model: LightningModule, outputs: Any) -> dict[str, Tensor]:
    """Returns the losses of the batch that just ended, by name."""
    if isinstance(model, Module) and model.losses:  # in manual optimization as well
        return model.losses
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    return {"loss": loss} if isinstance(loss, Tensor) else {}


def _place(trainer: Trainer) -> str:
    return f"NaN or infinite at step {trainer.global_step} (epoch {trainer.current_epoch})"


def _saved(trainer: Trainer) -> str:
    folder = trainer.log_dir  # a broadcast, so every rank asks
    last = Path(folder) / "checkpoints" / "last.ckpt" if folder else None
    if last is None or not last.exists():
        return "No checkpoint was saved before it."
    return f"The last checkpoint before it is {last}."
