"""Gradients become means over the ranks, and set out before backward has ended."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.distributed import GradientAverage


class Work:
    def __init__(self, flat: Tensor) -> None:
        self.flat = flat

    def wait(self) -> None:
        self.flat *= 3  # with the other rank's, which are twice ours


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many numbers went out in each all-reduce; no result before somebody waits for it."""
    sizes: list[int] = []

    def all_reduce(flat: Tensor, async_op: bool) -> Work:
        assert async_op
        sizes.append(flat.numel())
        return Work(flat)

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    return sizes


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))


def gradients(layers: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in layers.parameters() if p.grad is not None]


def backward(layers: nn.Module) -> None:
    layers(torch.ones(2, 3)).sum().backward()


@pytest.mark.parametrize("bucket_bytes", [1, 30, 2**20])
def test_each_gradient_is_the_mean_over_ranks(sent: list[int], bucket_bytes: int) -> None:
    alone, layers = network(), network()
    backward(alone)
    average = GradientAverage(layers.parameters(), bucket_bytes)
    average.start()
    backward(layers)
    average.finish()
    for ours, mine in zip(gradients(layers), gradients(alone), strict=True):
        torch.testing.assert_close(ours, mine * 1.5)  # (1 + 2) / 2
    assert sum(sent) == sum(p.numel() for p in layers.parameters())
    assert len(sent) == {1: 6, 30: 3, 2**20: 1}[bucket_bytes]


def test_the_last_layers_set_out_while_backward_has_not_reached_the_first(sent: list[int]) -> None:
    layers = network()
    average = GradientAverage(layers.parameters(), bucket_bytes=1)
    under_way: list[int] = []

    def reached(*_: Any) -> None:
        under_way.append(sum(sent))

    layers[1].register_full_backward_hook(reached)
    average.start()
    backward(layers)
    assert under_way == [5 + 1 + 4 * 5 + 5]  # both later layers


def test_only_the_backward_that_completes_the_gradients_is_averaged(sent: list[int]) -> None:
    layers, alone = network(), network()
    average = GradientAverage(layers.parameters())
    backward(layers)
    assert not sent
    average.start()
    backward(layers)
    average.finish()
    backward(alone)
    for ours, mine in zip(gradients(layers), gradients(alone), strict=True):
        torch.testing.assert_close(ours, 2 * mine * 1.5)


def test_a_layer_that_took_no_part_holds_up_nobody(sent: list[int]) -> None:
    layers, unused = network(), nn.Linear(2, 2)
    average = GradientAverage([*unused.parameters(), *layers.parameters(), *unused.parameters()], 1)
    average.start()
    backward(layers)
    average.finish()
    assert sum(sent) == sum(p.numel() for p in layers.parameters())
    assert unused.weight.grad is None


def test_removed_it_no_longer_listens(sent: list[int]) -> None:
    layers = network()
    average = GradientAverage(layers.parameters())
    average.start()
    average.remove()
    backward(layers)
    assert not sent
