"""Every statistic keeps its precision and its size."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from metrics.bank import FeatureBank, ImageBank
from metrics.frechet import GaussianMoments
from metrics.kid import KernelMoments
from metrics.labels import ModeCounts
from metrics.statistic import Statistic

Make = Callable[[], Statistic]
KINDS: list[Make] = [
    lambda: GaussianMoments(4, 3),
    lambda: KernelMoments(4, num_groups=2),
    lambda: FeatureBank(4, max_samples=50),
    lambda: ModeCounts(3),
    lambda: ImageBank(50, (2, 3, 4)),
]
EXACT = (torch.float64, torch.int64, torch.uint8)
every = pytest.mark.parametrize("make", KINDS)


def fill(statistic: Statistic, count: int) -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (count,), generator=random)
    batch = {
        "features": torch.rand(count, 4, generator=random),
        "index": torch.arange(count),
        "labels": labels,
        "predicted": labels,
        "images": torch.randint(256, (count, 2, 3, 4), generator=random, dtype=torch.uint8),
    }
    statistic.update(**statistic._filter_kwargs(**batch))


def states(statistic: Statistic) -> dict[str, Tensor]:
    return {name: getattr(statistic, name) for name in statistic._defaults}


@every
@pytest.mark.parametrize(
    "convert",
    [
        nn.Module.half,
        lambda module: module.to(torch.bfloat16),  # as Lightning's bf16-true does
        lambda module: module.to("cpu", torch.float32),
    ],
)
def test_a_module_of_lower_precision_leaves_the_sums_as_they_are(
    make: Make, convert: Callable[[nn.Module], nn.Module]
) -> None:
    untouched, converted = make(), make()
    module = nn.ModuleList([converted, nn.Linear(1, 1)])
    for statistic in (untouched, converted):
        fill(statistic, 20)
        convert(module)
        fill(statistic, 20)
    assert module[1].weight.dtype != torch.float64
    for name, state in states(converted).items():
        assert state.dtype in EXACT
        assert torch.equal(state, states(untouched)[name])
    converted.reset()
    assert all(state.dtype in EXACT for state in states(converted).values())


@every
def test_autocast_takes_nothing_from_the_sums(make: Make) -> None:
    plain, mixed = make(), make()
    fill(plain, 40)
    with torch.autocast("cpu", torch.bfloat16):
        fill(mixed, 40)
    for name, state in states(mixed).items():
        assert torch.equal(state, states(plain)[name])


@every
def test_memory_does_not_grow_with_the_samples(make: Make) -> None:
    def size(count: int) -> int:
        statistic = make()
        fill(statistic, count)
        return sum(state.untyped_storage().nbytes() for state in states(statistic).values())

    assert size(1_000) == size(10_000)


@every
def test_batches_add_up(make: Make) -> None:
    """Twice the same samples are twice the sums, but one filling of the slots."""
    once, twice = make(), make()
    fill(once, 40)
    fill(twice, 40)
    fill(twice, 40)
    factor = 1 if isinstance(once, FeatureBank | ImageBank) else 2
    for name, state in states(twice).items():
        torch.testing.assert_close(state, factor * states(once)[name], rtol=1e-12, atol=0)
