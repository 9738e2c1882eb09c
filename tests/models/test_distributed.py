"""Processes average gradients in one message per data type, and share random numbers."""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from models import ConditionalGAN, distributed
from models.distributed import average_gradients, draw_local
from models.fast_layers import Dropout
from models.layers import joined_batches
from tests.models.gans import small


@pytest.fixture
def sent(monkeypatch):
    """The size of each all-reduce with another rank whose gradients are twice this rank's."""
    sizes: list[int] = []

    def all_reduce(flat: Tensor) -> None:
        sizes.append(flat.numel())
        flat *= 3

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    return sizes


def network() -> nn.Sequential:
    """Gradients of two data types, one of them in another memory layout."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(3, 4), nn.Linear(4, 1))
    layers[0].weight.data = layers[0].weight.data.to(memory_format=torch.channels_last)
    layers[3].double()
    layers[3].register_forward_pre_hook(lambda _, args: (args[0].double(),))
    layers(torch.ones(2, 2, 3, 3)).sum().backward()
    return layers


def test_each_gradient_is_the_mean_over_ranks(sent):
    alone, layers = network(), network()
    average_gradients(layers.parameters())
    for mine, mean in zip(alone.parameters(), layers.parameters(), strict=True):
        torch.testing.assert_close(mean.grad, mine.grad * 1.5)  # (1 + 2) / 2


def test_parameters_without_gradients_are_left_out(sent):
    layers, unused = network()[2], nn.Linear(2, 2)
    average_gradients([*unused.parameters(), *layers.parameters()])
    assert sent == [sum(p.numel() for p in layers.parameters())]
    assert unused.weight.grad is None
    average_gradients(unused.parameters())
    assert len(sent) == 1


@pytest.mark.parametrize("sets", [1, 2])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_shares_of_random_numbers_are_those_of_one_process(sets, order, monkeypatch):
    def draw(shape: tuple[int, ...]) -> torch.Tensor:
        return torch.empty(shape, memory_format=order).uniform_()

    torch.manual_seed(0)
    whole = draw_local(draw, 8, 3, 2, 2)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    shares = []
    for rank in range(2):
        monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(0)
        shares.append(draw_local(draw, 4, 3, 2, 2, joined=sets))
    parts = [share.view(sets, -1, 3, 2, 2) for share in shares]
    assert torch.equal(torch.cat(parts, dim=1).reshape(8, 3, 2, 2), whole)


def test_dropout_of_two_joined_batches_is_that_of_one_process(monkeypatch):
    layer = Dropout(0.5)
    torch.manual_seed(0)
    whole = layer(torch.ones(8, 50)).view(2, 2, 2, 50)  # two batches of two processes
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(0)
        with joined_batches(layer, 2):
            assert torch.equal(layer(torch.ones(4, 50)).view(2, 2, 50), whole[:, rank])


@pytest.fixture(params=[0, 1, 2])
def rank(request, monkeypatch):
    """This process's number among three, whose batches have 4, 2 and 3 examples."""
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 3)
    monkeypatch.setattr(dist, "get_rank", lambda: request.param)
    monkeypatch.setattr(distributed, "all_gather_stacked", lambda value: torch.tensor([4, 2, 3]))
    return request.param


def test_own_rows_come_after_those_of_the_processes_before(rank):
    rows = [slice(0, 4), slice(4, 6), slice(6, 9)][rank]
    assert distributed.local_rows(torch.zeros(rows.stop - rows.start)) == (9, rows)


def test_of_gathered_values_each_process_gets_its_own_or_the_mean(rank):
    assert distributed.local_part(torch.tensor([5.0, 6.0, 7.0])) == 5 + rank
    assert distributed.local_part(torch.tensor([5.0, 8.0])) == 6.5


@pytest.mark.parametrize("weights", [None, torch.arange(10.0)])
def test_latents_are_a_share_of_those_of_all_processes(weights, rank):
    model = small(ConditionalGAN)
    model.label_weights = weights
    model._trainer = SimpleNamespace(world_size=3, global_rank=rank)
    random = torch.Generator().manual_seed(0)
    whole = model.draw_latents(6, random)
    if weights is not None:
        whole = whole[0], weights.multinomial(6, replacement=True, generator=random)
    found = model.local_latents(2, torch.Generator().manual_seed(0))
    for own, all_of_them in zip(found, whole, strict=True):
        assert torch.equal(own, all_of_them[2 * rank : 2 * rank + 2])
