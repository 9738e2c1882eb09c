"""The machine's limit: the time that the multiplications of a step take alone, at its own shapes.

Every convolution and matrix product of a step is recorded, and then repeated in isolation on
tensors of the same shape, layout and type.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bare import gan_step
from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.steps import BATCH, KINDS
from benchmarks.systems import lecture_gan, real_batch
from benchmarks.timing import digits, interleave, spread
from benchmarks.worker import seconds_of
from runtime.cpu import choose_precision

aten = torch.ops.aten
CONVOLUTIONS = (aten.convolution.default, aten.convolution_backward.default)
PRODUCTS = (aten.mm.default, aten.addmm.default, aten.bmm.default)


@dataclass(frozen=True)
class Like:
    """Stands for a tensor: the properties that decide how fast it is multiplied."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def make(self) -> Tensor:
        """Draws a tensor with these properties; a contiguous one instead of an expanded one."""
        if 0 in self.stride:
            return torch.randn(self.shape, dtype=self.dtype)
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype).normal_()


Key = tuple[Any, tuple[Any, ...]]  # an operator and its arguments, tensors as `Like`


def freeze(value: Any) -> Any:
    """Replaces tensors by `Like` and lists by tuples, so that the value can be a key."""
    if isinstance(value, Tensor):
        return Like(tuple(value.shape), value.stride(), value.dtype)
    return tuple(map(freeze, value)) if isinstance(value, list | tuple) else value


class Recorder(TorchDispatchMode):
    """Counts the multiplying operators that run, by shape."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[Key] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in CONVOLUTIONS + PRODUCTS:
            self.seen[func, freeze(args)] += 1
        return func(*args, **(kwargs or {}))


def multiplications(kind: str, reuse: bool, dtype: torch.dtype, batch: int = BATCH) -> Counter[Key]:
    """Counts the multiplying operators of one step of a lecture's GAN."""
    model = lecture_gan(kind, reuse)
    networks = (model.discriminator, model.generator)
    optimizers = [torch.optim.SGD(network.parameters(), lr=5e-4) for network in networks]
    autocast = partial(torch.autocast, "cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)
    step = gan_step(model, optimizers, autocast)
    with Recorder() as recorder:
        step(real_batch(batch), 0)
    return recorder.seen


def replay(key: Key) -> tuple[Callable[[], object], int]:
    """Returns the operator on its own tensors, and its floating-point operations."""
    func, frozen = key
    args = tree_map(lambda value: value.make() if isinstance(value, Like) else value, frozen)
    with FlopCounterMode(display=False) as counter:
        func(*args)
    return partial(func, *args), counter.get_total_flops()


class Limit(NamedTuple):
    """Duration and rate of a step's multiplications alone."""

    seconds: list[float]  # one value a round
    flops: int
    convolution: float  # fastest median rate of a convolution, FLOP/s
    product: float  # fastest median rate of a matrix product, FLOP/s


def measure(context: Context, kind: str, reuse: bool, dtype: torch.dtype) -> Limit:
    counts = multiplications(kind, reuse, dtype)
    actions, flops = {}, {}
    for key in counts:
        action, flops[key] = replay(key)
        action()
        actions[key] = partial(seconds_of, action)
    found = interleave(actions, context.rounds)
    rates = {key: flops[key] / spread(seconds).median for key, seconds in found.items()}
    return Limit(
        [sum(n * found[key][i] for key, n in counts.items()) for i in range(context.rounds)],
        sum(n * flops[key] for key, n in counts.items()),
        max(rate for (func, _), rate in rates.items() if func in CONVOLUTIONS),
        max(rate for (func, _), rate in rates.items() if func in PRODUCTS),
    )


def run(context: Context) -> list[Section]:
    header = ["step", "GFLOP", "best GFLOP/s conv", "GEMM", "multiplications alone, ms"]
    result = Section(
        "The machine's limit at the networks' own shapes",
        [*header, "at the best rate, ms", "share of Trainer.fit's step", "at the best rate"],
        notes=[
            "Alone: every convolution and product of the step, forward and backward, repeated in "
            "isolation at its own shape, layout and type. At the best rate: as if all of them ran "
            "as fast as the fastest convolution among them. A share is that time over the step's."
        ],
    )
    fast = torch.bfloat16 if choose_precision("cpu")[0] == "bf16-mixed" else torch.float32
    for kind in KINDS:
        for dtype in dict.fromkeys((fast, torch.float32)):
            for reuse in (False, True):
                limit = measure(context, kind, reuse, dtype)
                fit = f"{kind}: Ladder, Trainer.fit" + ", reuse_fakes" * reuse
                seconds = context.seconds.get(fit) if dtype == fast else None
                name = (
                    f"{KINDS[kind]}{', reuse_fakes' * reuse}, {str(dtype).removeprefix('torch.')}"
                )
                result.rows.append([name, *cells(limit, seconds)])
    return [result]


def cells(limit: Limit, step: list[float] | None) -> list[str]:
    """Formats one row; without a step's seconds, its last two columns are empty."""
    alone, at_best = spread(limit.seconds), limit.flops / limit.convolution
    rates = [digits(value / 1e9) for value in (limit.flops, limit.convolution, limit.product)]
    row = [*rates, alone.text(1e3), digits(1e3 * at_best)]
    if step is None:
        return [*row, "", ""]
    return [*row, *(f"{seconds / spread(step).median:.0%}" for seconds in (alone.median, at_best))]
