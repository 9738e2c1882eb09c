"""The machine's limit: how fast the multiplications of a step run alone, at its own shapes.

Every convolution and matrix product of a step is recorded, and then repeated in isolation on
tensors of the same shape, layout and type.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bare import gan_step
from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.steps import BATCH, KINDS
from benchmarks.timing import digits, interleave, spread, timed
from models import GAN, ConditionalGAN
from runtime.precision import choose_precision

aten = torch.ops.aten
CONVOLUTIONS = (aten.convolution.default, aten.convolution_backward.default)
PRODUCTS = (aten.mm.default, aten.addmm.default, aten.bmm.default)


@dataclass(frozen=True)
class Like:
    """Stands for a tensor: what decides how fast it is multiplied."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def make(self, dtype: torch.dtype | None = None) -> Tensor:
        stride = self.stride if 0 not in self.stride else None  # an expanded tensor
        dtype = dtype or self.dtype
        if stride is None:
            return torch.randn(self.shape, dtype=dtype)
        return torch.empty_strided(self.shape, stride, dtype=dtype).normal_()


Key = tuple[Any, tuple[Any, ...]]  # an operator and its arguments, tensors as `Like`


def freeze(value: Any) -> Any:
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


def lecture_model(kind: str, reuse: bool) -> GAN:
    options: dict[str, Any] = {
        "architecture": "lecture",
        "latent": "uniform",
        "reuse_fakes": reuse,
        "fakes_in_eval_mode": not reuse,
    }
    return GAN(**options) if kind == "gan" else ConditionalGAN(head="normalized_sigmoid", **options)


def multiplications(kind: str, reuse: bool, dtype: torch.dtype, batch: int = BATCH) -> Counter[Key]:
    """The multiplying operators of one step of a lecture's GAN, and how often each runs."""
    model = lecture_model(kind, reuse)
    sgd = partial(torch.optim.SGD, lr=5e-4)
    optimizers = [sgd(net.parameters()) for net in (model.discriminator, model.generator)]
    autocast = partial(torch.autocast, "cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)
    step = gan_step(model, optimizers, autocast)
    with Recorder() as recorder:
        step((torch.rand(batch, 1, 28, 28), torch.randint(10, (batch,))), 0)
    return recorder.seen


def replay(key: Key) -> tuple[Callable[[], object], int]:
    """The operator on tensors of its own, and its floating-point operations."""
    func, frozen = key
    args = [a.make() if isinstance(a, Like) else tree_map(_thaw, a) for a in frozen]
    with FlopCounterMode(display=False) as counter:
        func(*args)
    return partial(func, *args), counter.get_total_flops()


def _thaw(value: Any) -> Any:
    return value.make() if isinstance(value, Like) else value


@dataclass
class Limit:
    """What a step's multiplications take alone."""

    seconds: list[float]  # one a round
    flops: int
    best: dict[str, float]  # fastest median rate of a convolution and of a product, FLOP/s


def measure(context: Context, kind: str, reuse: bool, dtype: torch.dtype) -> Limit:
    counts = multiplications(kind, reuse, dtype)
    contenders, flops = {}, {}
    for i, key in enumerate(counts):
        action, flops[str(i)] = replay(key)
        action()
        contenders[str(i)] = partial(timed, action)
    found = interleave(contenders, context.rounds)
    best = {"convolution": 0.0, "product": 0.0}
    for i, (func, _) in enumerate(counts):
        sort = "convolution" if func in CONVOLUTIONS else "product"
        best[sort] = max(best[sort], flops[str(i)] / spread(found[str(i)]).median)
    numbers = list(counts.values())
    seconds = [
        sum(n * found[str(i)][r] for i, n in enumerate(numbers)) for r in range(context.rounds)
    ]
    return Limit(seconds, sum(n * flops[str(i)] for i, n in enumerate(numbers)), best)


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
                result.rows.append(row(kind, reuse, dtype, limit, seconds))
    return [result]


def row(
    kind: str, reuse: bool, dtype: torch.dtype, limit: Limit, step: list[float] | None
) -> list[str]:
    alone = spread(limit.seconds)
    at_best = limit.flops / max(limit.best["convolution"], 1.0)
    name = f"{KINDS[kind]}{', reuse_fakes' * reuse}, {str(dtype).removeprefix('torch.')}"
    cells = [name, digits(limit.flops / 1e9)]
    cells += [digits(limit.best[sort] / 1e9) for sort in ("convolution", "product")]
    cells += [alone.text(1e3), digits(1e3 * at_best)]
    if step is None:
        return [*cells, "", ""]
    median = spread(step).median
    return [*cells, f"{alone.median / median:.0%}", f"{at_best / median:.0%}"]
