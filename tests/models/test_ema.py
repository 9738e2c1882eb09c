"""The moving ema of weights."""

from typing import Any

import torch
from torch import nn

from models.training import EMAOptions


def test_update_is_the_recurrence_with_its_ramp():
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 0.0)
    ema: Any = EMAOptions(decay=0.9).build(network)
    nn.init.constant_(network.weight, 1.0)
    expected = 0.0
    for step in range(100):
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * 1.0
        ema.update(network, step)
        torch.testing.assert_close(ema.network.weight, torch.tensor([[expected]]))


def test_batch_norm_statistics_follow_and_counters_stay():
    network = nn.BatchNorm1d(2)
    ema: Any = EMAOptions(decay=0.5).build(network)
    network(torch.full((4, 2), 10.0))
    ema.update(network, step=100)
    torch.testing.assert_close(ema.network.running_mean, torch.full((2,), 0.5))
    assert ema.network.num_batches_tracked == 0


def test_it_rests_in_eval_mode_and_learns_nothing():
    ema: Any = EMAOptions(decay=0.5).build(nn.BatchNorm1d(2))
    assert not ema.train().network.training
    assert not any(p.requires_grad for p in ema.parameters())
