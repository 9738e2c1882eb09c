"""The moving average of weights."""

import pytest
import torch
from torch import nn

from models.averaging import MovingAverage
from models.gan.networks import ModernGenerator


def test_update_is_the_recurrence_with_its_ramp() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 0.0)
    average = MovingAverage(network, decay=0.9)
    nn.init.constant_(network.weight, 1.0)
    expected = 0.0
    for step in range(100):
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * 1.0
        average.update(network, step)
        torch.testing.assert_close(average.network.weight, torch.tensor([[expected]]))


def test_batch_norm_statistics_follow_and_counters_stay() -> None:
    network = nn.BatchNorm1d(2)
    average = MovingAverage(network, decay=0.5)
    network(torch.full((4, 2), 10.0))
    average.update(network, step=100)
    torch.testing.assert_close(average.network.running_mean, torch.full((2,), 0.5))
    assert average.network.num_batches_tracked == 0


def test_a_network_is_averaged_at_once_as_it_would_be_tensor_by_tensor() -> None:
    torch.manual_seed(0)
    network = ModernGenerator(4, (1, 28, 28), width=2)
    average = MovingAverage(network, decay=0.75)
    before = {name: value.clone() for name, value in average.network.state_dict().items()}
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.randn_like(value))
    network(torch.randn(8, 4))  # moves batch norm's statistics
    average.update(network, step=1000)
    after, current = average.network.state_dict(), network.state_dict()
    for name, value in before.items():
        if value.is_floating_point():
            torch.testing.assert_close(after[name], 0.75 * value + 0.25 * current[name])
        else:
            assert torch.equal(after[name], value)


def test_it_rests_in_eval_mode_and_learns_nothing() -> None:
    average = MovingAverage(nn.BatchNorm1d(2), decay=0.5)
    assert not average.train().network.training
    assert not any(p.requires_grad for p in average.parameters())


def test_a_half_life_means_the_same_for_every_batch_size() -> None:
    average = MovingAverage(nn.Linear(1, 1), decay=0.0, half_life=1000)
    late = 10**6
    assert average.decay_at(late, 1000) == pytest.approx(0.5)
    assert average.decay_at(late, 250) ** 4 == pytest.approx(0.5)
    # at most a twentieth of the images so far: after 100 of 10 images, half in 50
    assert average.decay_at(99, 10) ** 5 == pytest.approx(0.5)
