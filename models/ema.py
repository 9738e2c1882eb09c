"""An exponential moving average of a network's weights."""

from copy import deepcopy

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    """A copy of `network` that follows it: average <- decay * average + (1 - decay) * network.

    The decay ramps up as min(decay, (1 + step) / (10 + step)), so that a short run is not an
    average over its untrained start. Buffers (batch norm statistics) are averaged as well.
    Lightning's callback would copy the whole module, not only the generator of a GAN. Torch's
    `AveragedModel` reads the step from the device, and here the caller passes it. The copy is part
    of the state dict.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.network = deepcopy(network).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "MovingAverage":
        """Stays in eval mode, because an average has no batch statistics."""
        return super().train(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Moves the average towards `network` after its `step`-th update, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, currents = _floating_state(self.network), _floating_state(network)
        torch._foreach_lerp_(averages, currents, 1 - decay)


def _floating_state(network: nn.Module) -> list[Tensor]:
    return [v for v in network.state_dict().values() if v.is_floating_point()]
