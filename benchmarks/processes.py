"""What several processes on this machine cost and bring, measured on 1, 2 and 4 of them.

    python benchmarks/processes.py [throughput] [agreement] [averaging] [model]

It wants a machine with nothing else to do.
"""

import logging
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
import torch.distributed as dist
from lightning import Callback, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer

from datamodules import Images
from models import GAN, VGG, ConditionalGAN, MNISTConv, turns
from models.distributed import GradientAverage
from runtime.preemption import Agreement
from tests import ranks

BATCH = 128
NARROW = {
    "cGAN": partial(ConditionalGAN, latent_dim=64, width=16),
    "CNN": partial(MNISTConv, width=16),
    "VGG-16": partial(VGG, width=0.125),
}


def fit(model: Any, steps: int, batch: int, *callbacks: Callback, **kwargs: Any) -> Trainer:
    trainer = Trainer(
        max_steps=steps, accelerator="cpu", precision="32-true", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        limit_val_batches=0, callbacks=list(callbacks), **kwargs,
    )  # fmt: skip
    trainer.fit(model, datamodule=Images(dataset="digits", batch_size=batch))
    return trainer


class Clock(Callback):
    """Time of each step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.times.append(time.perf_counter())

    @property
    def step(self) -> float:
        """Median seconds a step, the first few left out."""
        return median(b - a for a, b in zip(self.times[3:], self.times[4:], strict=False))


def on_ranks(world_size: int, work: Callable[[], float], runs: int = 1) -> float:
    """What rank zero finds; the mean, where several runs of so many ranks go on at once."""
    with TemporaryDirectory() as name:
        folders = [Path(name) / str(run) for run in range(runs)]

        def save(folder: Path) -> None:
            value = work()
            if not dist.is_initialized() or dist.get_rank() == 0:
                (folder / "value").write_text(repr(value))

        processes = []
        for folder in folders:
            folder.mkdir()
            processes += ranks.start(world_size, partial(save, folder), folder)
        codes = ranks.end(processes, 300)
        assert not any(codes), (folders[0] / "0.log").read_text()[-2000:]
        return fmean(float((folder / "value").read_text()) for folder in folders)


def step_seconds(make: Callable[[], Any], world_size: int, batch: int, runs: int = 1) -> float:
    """Median of a training step on so many processes that share a batch."""

    def work() -> float:
        clock = Clock()
        strategy = "ddp" if world_size > 1 else "auto"
        fit(make(), 20, batch, clock, devices=world_size, strategy=strategy)
        return clock.step

    return on_ranks(world_size, work, runs)


def throughput() -> None:
    """Prints images a second on 1, 2 and 4 processes, each with one thread."""
    print(f"images/s at a global batch of {BATCH}, one thread a process")
    for name, make in NARROW.items():
        speeds = [BATCH / step_seconds(make, world_size, BATCH) for world_size in (1, 2, 4)]
        print(f"{name:8}", *(f"{speed:8.0f}" for speed in speeds))


def agreement(rounds: int = 300) -> None:
    """Prints what it costs a batch to ask whether some rank was told to stop."""

    def broadcast(_: Agreement) -> None:
        flag = torch.tensor([0])
        dist.broadcast(flag, src=0)
        flag.item()

    def waiting(agreement: Agreement) -> None:
        agreement.reached(False, wait=True)

    def later(agreement: Agreement) -> None:
        agreement.reached(False)

    kinds = {"Lightning's broadcast": broadcast, "all-reduce": waiting, "one batch later": later}
    for world_size in (2, 4):
        for name, ask in kinds.items():

            def work(ask: Any = ask, world_size: int = world_size) -> float:
                dist.init_process_group("gloo")
                agreed, x, times = Agreement(world_size), torch.randn(400, 400), []
                for _ in range(rounds):
                    for _ in range(4):
                        x = (x @ x).tanh()  # a batch's work
                    dist.all_reduce(torch.zeros(10_000))  # its gradients
                    begin = time.perf_counter()
                    ask(agreed)
                    times.append(time.perf_counter() - begin)
                return median(times)

            print(f"{world_size} ranks, {name:22} {1e6 * on_ranks(world_size, work):6.0f} us")


# -- how a GAN's gradients are averaged ---------------------------------------------------------


def by_ddp() -> None:
    """DDP averages, told to find the parameters that a loss does not reach, in place of us."""
    toggle = LightningOptimizer.toggle_model
    vars(turns)["GradientAverage"] = Idle
    LightningOptimizer.toggle_model = lambda self, sync_grad=True: toggle(self, True)  # type: ignore


class Idle:
    """An average that leaves the work to others."""

    def __init__(self, *_: Any) -> None: ...
    def start(self) -> None: ...
    def finish(self) -> None: ...
    def remove(self) -> None: ...


def in_buckets_of(size: int) -> None:
    vars(turns)["GradientAverage"] = partial(GradientAverage, bucket_bytes=size)


WAYS: dict[str, tuple[str, Callable[[], None]]] = {
    "no average at all": ("ddp", lambda: vars(turns).update(GradientAverage=Idle)),
    "DDP, find_unused_parameters": ("ddp_find_unused_parameters_true", by_ddp),
    "ours, after backward": ("ddp", lambda: in_buckets_of(2**40)),
    "ours, buckets of 1 MiB": ("ddp", lambda: in_buckets_of(2**20)),
    "ours, buckets of 4 MiB": ("ddp", lambda: in_buckets_of(4 * 2**20)),
}


def averaging(rounds: int = 5, batch: int = 32) -> None:
    """Prints the time of a GAN's step by how its gradients are averaged, on 2 processes."""
    systems = {
        "lecture GAN": partial(GAN, architecture="lecture", latent="uniform"),
        "cGAN": partial(ConditionalGAN, latent_dim=64),
    }
    for name, make in systems.items():
        found: dict[str, list[float]] = {way: [] for way in WAYS}
        for way in list(WAYS) * rounds:
            strategy, prepare = WAYS[way]

            def work(make: Any = make, strategy: str = strategy, prepare: Any = prepare) -> float:
                prepare()
                clock = Clock()
                fit(make(), 15, batch, clock, devices=2, strategy=strategy)
                return clock.step

            found[way].append(on_ranks(2, work))
        for way, seconds in found.items():
            low, middle, high = (1e3 * sorted(seconds)[i] for i in (0, rounds // 2, -1))
            print(f"{name:12} {way:28} {middle:7.1f} ms a step ({low:.1f} to {high:.1f})")


# -- the model of latency and bandwidth, against measurements -----------------------------------


def all_reduce_seconds(world_size: int, size: int, rounds: int = 50) -> float:
    """Median of an all-reduce of so many bytes over gloo."""

    def work() -> float:
        dist.init_process_group("gloo")
        flat, times = torch.zeros(size // 4), []
        for _ in range(rounds):
            begin = time.perf_counter()
            dist.all_reduce(flat)
            times.append(time.perf_counter() - begin)
        return median(times)

    return on_ranks(world_size, work)


def model() -> None:
    """Prints steps predicted from latency, bandwidth and lone processes, beside measured ones.

    As many processes train at once, each alone on its share of the batch: what they take from one
    another, cores and memory, is so in the prediction.
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
            compute = step_seconds(make, 1, BATCH // world_size, runs=world_size)
            predicted = compute + messages * alpha + 4 * parameters / beta
            measured = step_seconds(make, world_size, BATCH)
            print(
                f"  {name:8} {1e3 * compute:6.1f} ms compute + "
                f"{1e3 * (predicted - compute):5.1f} ms for {4 * parameters / 1e6:.1f} MB = "
                f"{1e3 * predicted:6.1f} ms predicted, {1e3 * measured:6.1f} ms measured"
            )


def quietly() -> None:
    """Keeps Lightning from reporting on every short run."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


TABLES = {
    "throughput": throughput,
    "agreement": agreement,
    "averaging": averaging,
    "model": model,
}


def main() -> None:
    """Prints the tables that were asked for, or all."""
    torch.set_num_threads(1)
    quietly()
    for name in sys.argv[1:] or TABLES:
        TABLES[name]()


if __name__ == "__main__":
    main()
