"""Costs and gains of several processes on this machine, measured on 1, 2 and 4 of them.

    python -m benchmarks.processes [throughput] [agreement] [averaging] [model]

The machine must be idle otherwise.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import fmean, median
from typing import Any

import torch
import torch.distributed as dist
from lightning import Callback
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from benchmarks.systems import AVERAGED, NARROW, fit, use_one_thread_quietly
from benchmarks.worker import seconds_of
from models import alternating
from runtime.preemption import Agreement

BATCH = 128


class Clock(Callback):
    """Records the end of each step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.times.append(time.perf_counter())

    @property
    def step(self) -> float:
        """Median seconds per step, without the first few."""
        return median(b - a for a, b in zip(self.times[3:], self.times[4:], strict=False))


def on_ranks(world_size: int, work: Callable[..., float], *args: Any) -> list[float]:
    """Runs `work` in forked processes, as torchrun would, and returns the result of each rank."""
    config = LaunchConfig(
        1, 1, world_size,
        run_id="benchmark", rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        start_method="fork", max_restarts=0, monitor_interval=0.5,
    )  # fmt: skip
    results = elastic_launch(config, work)(*args)
    return [results[rank] for rank in range(world_size)]


def step_seconds(make: Callable[[], Any], world_size: int, batch: int) -> float:
    """Returns the median of a training step of processes that share a batch."""

    def work() -> float:
        clock = Clock()
        strategy = "ddp" if world_size > 1 else "auto"
        fit(make(), 20, batch, clock, devices=world_size, strategy=strategy)
        return clock.step

    return on_ranks(world_size, work)[0]


def lone_step_seconds(make: Callable[[], Any], count: int, batch: int) -> float:
    """Returns the mean of a training step of processes that each train alone, at the same time."""
    environment = dict(os.environ)

    def work() -> float:
        os.environ.clear()  # Without torchrun's variables, no process knows of the others.
        os.environ.update(environment)
        clock = Clock()
        fit(make(), 20, batch, clock, devices=1)
        return clock.step

    return fmean(on_ranks(count, work))


def throughput() -> None:
    """Prints images per second on 1, 2 and 4 processes, each with one thread."""
    print(f"images/s at a global batch of {BATCH}, one thread per process")
    for name, make in NARROW.items():
        speeds = [BATCH / step_seconds(make, world_size, BATCH) for world_size in (1, 2, 4)]
        print(f"{name:8}", *(f"{speed:8.0f}" for speed in speeds))


def agreement(rounds: int = 300) -> None:
    """Prints the time per batch to find out whether a rank was told to stop."""

    def broadcast(_: Agreement) -> None:
        flag = torch.tensor([0])
        dist.broadcast(flag, src=0)
        flag.item()

    def work(world_size: int, ask: Callable[[Agreement], object]) -> float:
        dist.init_process_group("gloo")
        agreed, x, times = Agreement(world_size), torch.randn(400, 400), []
        for _ in range(rounds):
            for _ in range(4):
                x = (x @ x).tanh()  # a batch's work
            dist.all_reduce(torch.zeros(10_000))  # its gradients
            times.append(seconds_of(partial(ask, agreed)))
        return median(times)

    kinds: dict[str, Callable[[Agreement], object]] = {
        "Lightning's broadcast": broadcast,
        "all-reduce": lambda agreed: agreed.reached(False, wait=True),
        "one batch later": lambda agreed: agreed.reached(False),
    }
    for world_size in (2, 4):
        for name, ask in kinds.items():
            seconds = on_ranks(world_size, work, world_size, ask)[0]
            print(f"{world_size} ranks, {name:22} {1e6 * seconds:6.0f} us")


# -- how a GAN's gradients are averaged ---------------------------------------------------------


def without_average() -> None:
    vars(alternating)["average_gradients"] = lambda parameters: None


def average_by_ddp() -> None:
    """Leaves the averages to DDP, which then searches for parameters that a loss does not reach."""
    toggle = LightningOptimizer.toggle_model
    without_average()
    LightningOptimizer.toggle_model = lambda self, sync_grad=True: toggle(self, True)  # type: ignore


WAYS: dict[str, tuple[str, Callable[[], None]]] = {
    "no average at all": ("ddp", without_average),
    "DDP, find_unused_parameters": ("ddp_find_unused_parameters_true", average_by_ddp),
    "ours": ("ddp", lambda: None),
}


def averaging(rounds: int = 5, batch: int = 32) -> None:
    """Prints the time of a GAN's step by how its gradients are averaged, on 2 processes."""

    def work(make: Callable[[], Any], strategy: str, prepare: Callable[[], None]) -> float:
        prepare()
        clock = Clock()
        fit(make(), 15, batch, clock, devices=2, strategy=strategy)
        return clock.step

    for name, make in AVERAGED.items():
        found: dict[str, list[float]] = {way: [] for way in WAYS}
        for way in list(WAYS) * rounds:
            found[way] += on_ranks(2, work, make, *WAYS[way])[:1]
        for way, seconds in found.items():
            low, middle, high = (1e3 * sorted(seconds)[i] for i in (0, rounds // 2, -1))
            print(f"{name:12} {way:28} {middle:7.1f} ms per step ({low:.1f} to {high:.1f})")


# -- the model of latency and bandwidth, against measurements -----------------------------------


def all_reduce_seconds(world_size: int, size: int, rounds: int = 50) -> float:
    """Returns the median of an all-reduce of `size` bytes over gloo."""

    def work() -> float:
        dist.init_process_group("gloo")
        reduce = partial(dist.all_reduce, torch.zeros(size // 4))
        return median(seconds_of(reduce) for _ in range(rounds))

    return on_ranks(world_size, work)[0]


def model() -> None:
    """Prints steps predicted from latency, bandwidth and lone processes, beside measured ones.

    As many processes train at the same time, each alone on its share of the batch, so that the
    prediction contains their competition for cores and memory.
    """
    small, large = 2**10, 2**24
    for world_size in (2, 4):
        alpha = all_reduce_seconds(world_size, small)
        beta = (large - small) / (all_reduce_seconds(world_size, large) - alpha)
        print(f"{world_size} processes: latency {1e6 * alpha:.0f} us, {beta / 1e9:.2f} GB/s")
        for name, make in NARROW.items():
            networks = make()
            parameters = sum(p.numel() for p in networks.parameters() if p.requires_grad)
            messages = 1 if networks.automatic_optimization else 2
            compute = lone_step_seconds(make, world_size, BATCH // world_size)
            predicted = compute + messages * alpha + 4 * parameters / beta
            measured = step_seconds(make, world_size, BATCH)
            print(
                f"  {name:8} {1e3 * compute:6.1f} ms compute + "
                f"{1e3 * (predicted - compute):5.1f} ms for {4 * parameters / 1e6:.1f} MB = "
                f"{1e3 * predicted:6.1f} ms predicted, {1e3 * measured:6.1f} ms measured"
            )


TABLES = {
    "throughput": throughput,
    "agreement": agreement,
    "averaging": averaging,
    "model": model,
}


if __name__ == "__main__":
    use_one_thread_quietly()
    for table in sys.argv[1:] or TABLES:
        TABLES[table]()
