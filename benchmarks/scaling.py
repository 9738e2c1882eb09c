"""`python -m benchmarks.scaling calculate`, or `check`, or both: a training step on many processes.

`calculate` estimates steps on GPUs from counted work and assumed hardware. `check` compares the
same sum with measured steps of 2 and 4 processes on this machine.
"""

import argparse
import itertools
import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from lightning import Callback
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.report import Section
from benchmarks.timing import digits, interleave, ratio
from benchmarks.worker import Line, Worker
from commands.fit.lightning_run import run_lightning
from datamodules.base import ArrayDataModule, Split, Splits
from runtime.preemption import Agreement

PORTS = itertools.count(20_000 + os.getpid() % 10_000)  # of the check's runs
CHECKED = ("`cgan.yaml`", "`mnist_cnn.yaml`")
GPUS = (8, 64, 512, 4096)
STEPS = 2  # of a contender in one turn of `check`
WIDE = ("--model.generator.width=32", "--model.trunk.width=32")
UNET = ("--model.network.widths=[128,256,448,704]",)


class System(NamedTuple):
    """A config, the shape of its images, and the batch of one GPU."""

    config: str
    shape: tuple[int, int, int]
    batch: int
    options: tuple[str, ...] = ()
    counted: int = 16  # images per step when its work is counted


SYSTEMS = {
    "`cgan.yaml`": System("cgan", (1, 28, 28), 128),
    "`own/cgan.yaml`, 64 pixels, width 32": System("own/cgan", (3, 64, 64), 128, WIDE),
    "`mnist_cnn.yaml`": System("mnist_cnn", (1, 28, 28), 128),
    "VGG-16": System("vgg16", (1, 28, 28), 128, ("--model.network.width=1",)),
    "`flow.yaml`": System("flow", (1, 28, 28), 128),
    "U-Net, 256 pixels": System("own/flow", (3, 256, 256), 32, UNET, counted=1),
}


@dataclass(frozen=True)
class Machine:
    """A cluster of nodes with 8 GPUs. Assumed, in seconds and bytes per second."""

    flops: float = 100e12  # that small convolutions reach in bf16, of an H100's 989e12
    kernel: float = 5e-6  # launch of a kernel
    node: int = 8  # GPUs
    latency_node: float = 20e-6  # of a collective within a node
    latency_hop: float = 5e-6
    node_rate: float = 300e9  # of a GPU
    network_rate: float = 40e9  # of a GPU

    def all_reduce(self, size: float, gpus: int) -> float:
        """Seconds for `size` bytes: within nodes, between them by a tree, within nodes."""
        inside, nodes = min(gpus, self.node), max(1, gpus // self.node)
        seconds = self.latency_node + 2 * (inside - 1) / inside * size / self.node_rate
        if nodes > 1:
            seconds += 2 * self.latency_hop * math.log2(nodes)
            seconds += 2 * (nodes - 1) / nodes * size / inside / self.network_rate
        return seconds


@dataclass(frozen=True)
class Work:
    """A training step of one GPU."""

    flops: float
    kernels: float
    collectives: int  # small ones, of synchronized batch norm
    weights: tuple[int, ...]  # of each optimizer
    overlaps: bool  # all-reduces with the backward pass, 2/3 of the computation

    def seconds(self, machine: Machine) -> float:
        """The computation alone."""
        return max(self.flops / machine.flops, self.kernels * machine.kernel)

    def share(self, machine: Machine, gpus: int) -> float:
        """The computation's share of a step, with the same batch on each GPU."""
        own = self.seconds(machine)
        exchange = sum(machine.all_reduce(4 * count, gpus) for count in self.weights)
        exposed = max(0.0, exchange - 2 / 3 * own) if self.overlaps else exchange
        return own / (own + exposed + self.collectives * machine.all_reduce(1024, gpus))


class Noise(ArrayDataModule):
    """Random images (C, H, W) in ten classes."""

    def __init__(
        self, shape: tuple[int, int, int] = (1, 28, 28), batch_size: int = 128, batches: int = 4
    ) -> None:
        super().__init__(batch_size, scale=255.0)
        self.image_shape, self.num_classes, self.batches = shape, 10, batches

    def load_splits(self) -> Splits:
        count = self.batches * self.batch_size + 64
        images = torch.empty(count, *self.image_shape, dtype=torch.uint8).random_()
        return Splits(*[Split(images, torch.arange(len(images)) % 10)] * 3)


class Counter(TorchDispatchMode, Callback):
    """Counts FLOPs of training, and operations that are not views: about a GPU's kernels."""

    flops = kernels = 0

    def on_train_batch_start(self, *_: Any) -> None:
        self.__enter__()

    def on_train_batch_end(self, *_: Any) -> None:
        self.__exit__(None, None, None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.kernels += not func.is_view
        if func.overloadpacket in flop_registry:
            self.flops += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def fit(system: System, batch: int, steps: int, callback: str) -> list[str]:
    """Returns the arguments of `fit` that trains some steps on the CPU under a callback."""
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return [
        "fit", f"--config=configs/{system.config}.yaml", *system.options,
        "--data=benchmarks.scaling.Noise", f"--data.shape={[*system.shape]}",
        f"--data.batch_size={batch}", "--quality.samples=0", f"--trainer.callbacks={callback}",
        f"--trainer.max_steps={steps}", "--trainer.max_epochs=-1", "--trainer.accelerator=cpu",
        "--trainer.precision=32-true", "--trainer.limit_val_batches=0", "--trainer.pictures=false",
        *(f"--trainer.{name}=false" for name in off),
    ]  # fmt: skip


def count(system: System) -> Work:
    """Counts a step of the real model by running some; FLOPs grow with the batch."""
    steps = 16 if system.counted > 1 else 1  # R1 acts in every 8th or 16th
    run = run_lightning(fit(system, system.counted, steps, "benchmarks.scaling.Counter"))
    (counter,) = (found for found in run.trainer.callbacks if isinstance(found, Counter))
    parts = [part for network in run.model.trained_networks for part in network.modules()]
    norms = sum(isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) for part in parts)
    groups = [optimizer.param_groups for optimizer in run.trainer.optimizers]
    automatic = run.model.automatic_optimization
    return Work(
        counter.flops / steps * system.batch / system.counted,
        counter.kernels / steps,
        norms * (2 if automatic else 3),  # passes in which ranks share statistics
        tuple(sum(p.numel() for group in one for p in group["params"]) for one in groups),
        automatic,
    )


def calculate() -> Section:
    """Estimates the computation's share of a step on GPUs, and what the GPUs read meanwhile."""
    header = ["", "batch per GPU", "weights", "compute, ms", *(f"{n:,} GPUs" for n in GPUS)]
    section = Section("Computation's share of a step", [*header, "MB/s per GPU", "images/s, all"])
    machine = Machine()
    for name, system in SYSTEMS.items():
        work = count(system)
        own, shares = work.seconds(machine), [work.share(machine, gpus) for gpus in GPUS]
        row = [name, f"{system.batch}", f"{sum(work.weights):,}", digits(1e3 * own)]
        row += [f"{share:.0%}" for share in shares]
        rate = system.batch / own  # images per second of one GPU
        read = digits(rate * math.prod(system.shape) / 1e6), digits(rate * shares[-1] * GPUS[-1])
        section.rows.append([*row, *read])
    return section


class Ranks:
    """Processes of one thread that train at once: the ranks of one run, or each alone."""

    def __init__(self, name: str, command: Sequence[str], count: int, joined: bool, folder: Path):
        every = "OMP_NUM_THREADS=1"
        if joined:
            every += f" WORLD_SIZE={count} LOCAL_WORLD_SIZE={count} GROUP_RANK=0"
            every += f" TORCHELASTIC_RUN_ID=0 MASTER_ADDR=127.0.0.1 MASTER_PORT={next(PORTS)}"
        start = ["env", *every.split()]
        ranks = [[f"RANK={k}", f"LOCAL_RANK={k}"] * joined for k in range(count)]
        commands = [[*start, *rank, sys.executable, *command] for rank in ranks]
        self.pool = ThreadPoolExecutor(count)
        names = [f"{name}-{count}-{k}" for k in range(count)]
        self.workers = [*self.pool.map(Worker, names, commands, [folder] * count)]

    def step(self) -> float:
        """Returns the seconds of a step of the slowest process, for which ranks wait."""
        return max(self.pool.map(lambda worker: worker.run_warm(STEPS), self.workers))

    def close(self) -> None:
        """Ends all processes at once, because ranks wait for each other."""
        list(self.pool.map(Worker.close, self.workers))


def exchange(sizes: Sequence[str]) -> None:
    """As a rank: all-reduces weights of these numbers in each step; none: asks whether to stop."""
    dist.init_process_group("gloo")
    agreement, tensors = Agreement(dist.get_world_size()), [torch.zeros(int(n)) for n in sizes]
    for _ in Line().steps():
        for tensor in tensors:
            dist.all_reduce(tensor)
        if not tensors:
            agreement.agree_to_stop(False)


def check(rounds: int = 21) -> Section:
    """Compares computation + all-reduce + agreements with steps of several processes, in turns."""
    names = ["computation", "all-reduce", "agreement", "together"]
    section = Section(
        "Prediction and measurement, ms", ["", "processes", *names, "predicted", "/ together"]
    )
    for name in CHECKED:
        system = SYSTEMS[name]._replace(batch=64)
        weights = [str(n) for n in count(system).weights]
        for ranks in (1, 2, 4):
            share, pace = system.batch // ranks, "benchmarks.pacing.Paced"
            alone = ["cli.py", *fit(system, share, 10**6, pace)]
            joined = ["cli.py", *fit(system, system.batch, 10**6, pace), "--trainer.strategy=ddp"]
            costs = ["-m", "benchmarks.scaling", "exchange"]
            with TemporaryDirectory() as folder:
                build = partial(Ranks, count=ranks, folder=Path(folder))
                groups = [build("alone", alone, joined=False), build("joined", joined, joined=True)]
                groups[1:1] = [
                    build("costs", [*costs, *sizes], joined=True) for sizes in (weights, [])
                ]
                found = interleave(dict(zip(names, [g.step for g in groups], strict=True)), rounds)
                for group in groups:
                    group.close()
            own, reduce, agree, measured = (found[name] for name in names)
            predicted = [
                c + (ranks > 1) * (r + 2 * a) for c, r, a in zip(own, reduce, agree, strict=True)
            ]
            cells = [digits(1e3 * median(x)) for x in (*found.values(), predicted)]
            section.rows.append([name, str(ranks), *cells, ratio(predicted, measured).text()])
            print(section.rows[-1], flush=True)
    return section


def main(words: Sequence[str]) -> None:
    """Prints the tables that `words` ask for."""
    tables = {"calculate": calculate, "check": check}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("table", nargs="+", choices=tables)
    for name in parser.parse_args(words).table:
        with redirect_stdout(sys.stderr):
            found = tables[name]()
        print(f"{found.markdown()}\n", flush=True)


if __name__ == "__main__":
    from benchmarks import scaling  # whose classes the runs below name

    torch.set_num_threads(1)
    run = scaling.exchange if sys.argv[1:2] == ["exchange"] else scaling.main
    run(sys.argv[2:] if run is scaling.exchange else sys.argv[1:])
