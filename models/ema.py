"""An exponential moving average of a network's weights."""

from copy import deepcopy

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    """A copy of `network` that follows it: average <- decay * average + (1 - decay) * network.

    The decay ramps up as min(decay, (1 + step) / (10 + step)), so that a short run is not an
    average over its untrained start. Buffers (batch norm statistics) are averaged likewise. Only
    the generator of a GAN is worth it, hence not Lightning's callback, which copies the whole
    module; and the step is passed in, hence not torch's `AveragedModel`, which reads it off the
    device. The copy lives in the state dict, so checkpoints carry it.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.network = deepcopy(network).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "MovingAverage":
        """Stays in eval mode whatever the parent does: an average has no batch of its own."""
        return super().train(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Moves towards `network` after its `step`-th update, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, currents = _floating_state(self.network), _floating_state(network)
        torch._foreach_lerp_(averages, currents, 1 - decay)


def _floating_state(network: nn.Module) -> list[Tensor]:
    return [v for v in network.state_dict().values() if v.is_floating_point()]
