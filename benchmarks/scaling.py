"""Prediction for more GPUs: bytes, latency and bandwidth of a step on 8 to 4,096 of them.

    python -m benchmarks.scaling

A calculation from the networks themselves; nothing is measured.
"""

import math
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.systems import FULL, fit, use_one_thread_quietly


@dataclass
class Machine:
    """A cluster of 8-GPU nodes, one network card per GPU. Assumed, not measured; seconds, bytes.

    Attributes:
        flops: FLOP/s of small convolutions, of an H100's 989e12 in bf16.
        per_kernel: Duration of a kernel's launch, which limits small networks.
        node: GPUs connected by NVLink.
        alpha_node: Latency of a collective inside a node, with its launch.
        alpha_network: Latency of one hop between nodes.
        beta_node: Bytes per second and GPU over NVLink.
        beta_network: Bytes per second and GPU between nodes, of nominally 50e9.
    """

    flops: float = 100e12
    per_kernel: float = 5e-6
    node: int = 8
    alpha_node: float = 20e-6
    alpha_network: float = 5e-6
    beta_node: float = 300e9
    beta_network: float = 40e9

    def all_reduce(self, size: float, gpus: int) -> float:
        """Duration of a reduce-scatter in nodes, a tree all-reduce between them, an all-gather."""
        inside, nodes = min(gpus, self.node), max(1, gpus // self.node)
        seconds = self.alpha_node + 2 * (inside - 1) / inside * size / self.beta_node
        if nodes > 1:
            seconds += 2 * self.alpha_network * math.log2(nodes)
            seconds += 2 * (nodes - 1) / nodes * size / inside / self.beta_network
        return seconds


@dataclass
class Work:
    """The training step of one GPU."""

    parameters: int
    flops: float
    kernels: float
    collectives: float  # small ones, for batch norm's statistics
    buckets: list[float]  # bytes of each all-reduce of gradients
    overlaps: bool  # with the backward pass

    def seconds(self, machine: Machine) -> float:
        """Returns the duration of compute alone."""
        return max(self.flops / machine.flops, self.kernels * machine.per_kernel)

    def efficiency(self, machine: Machine, gpus: int) -> float:
        """Returns the share of a step that is compute, at a constant batch per GPU."""
        compute = self.seconds(machine)
        gradients = sum(machine.all_reduce(size, gpus) for size in self.buckets)
        exposed = max(0.0, gradients - 2 / 3 * compute) if self.overlaps else gradients
        exposed += self.collectives * machine.all_reduce(1024, gpus)
        return compute / (compute + exposed)


class Counter(TorchDispatchMode):
    """Counts FLOPs, and operations that are not views: approximately the kernels of a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.kernels = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.kernels += not func.is_view
        if func.overloadpacket in flop_registry:
            self.flops += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def count(name: str, batch: int) -> Work:
    """Counts a step of the real model by running some; scales FLOPs with the batch."""
    model, steps, few = FULL[name](), 8, 16
    with Counter() as counter:
        fit(model, steps, few)
    gan = not model.automatic_optimization
    networks = [model.generator, model.discriminator] if gan else [model]
    sizes = [sum(p.numel() for p in n.parameters() if p.requires_grad) for n in networks]
    norms = sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in networks[0].modules())
    bucket = 25 * 2**20  # DDP's
    buckets = [
        min(bucket, 4 * size - i * bucket) for size in sizes for i in range(-(-4 * size // bucket))
    ]
    return Work(
        parameters=sum(sizes),
        flops=counter.flops / steps * batch / few,
        kernels=counter.kernels / steps,
        collectives=norms * (3 if gan else 2),  # two forwards and a backward; one of each
        buckets=[4.0 * size for size in sizes] if gan else [float(b) for b in buckets],
        overlaps=not gan,
    )


def predict() -> None:
    """Prints bytes, compute and efficiency of each system."""
    machine, sizes = Machine(), [8, 64, 512, 4096]
    print("system   batch/GPU  parameters  MB/step  GFLOP/step  kernels  compute ms ", *sizes)
    for name in FULL:
        for batch in (128, 1024):
            work = count(name, batch)
            shares = "  ".join(f"{100 * work.efficiency(machine, n):3.0f} %" for n in sizes)
            print(
                f"{name:8} {batch:9}  {work.parameters:10,}  {sum(work.buckets) / 1e6:7.1f}  "
                f"{work.flops / 1e9:10.1f}  {work.kernels:7.0f}  "
                f"{1e3 * work.seconds(machine):10.1f}  {shares}"
            )


if __name__ == "__main__":
    use_one_thread_quietly()
    predict()
