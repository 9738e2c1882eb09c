"""An exponential moving average of a network's weights."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from runtime.ranges import Share


@dataclass(frozen=True)
class Averaging:
    """The moving average that a model is evaluated with.

    Args:
        decay: Share of the average that one update keeps, such as 0.999; 0: there is no average.
    """

    decay: Share = 0.0

    def of(self, network: nn.Module) -> "MovingAverage | None":
        """Returns an average that starts at the network's weights, or None."""
        return MovingAverage(network, self.decay) if self.decay else None


class MovingAverage(nn.Module):
    """A copy of a network that follows it: average <- decay * average + (1 - decay) * network.

    Batch norm statistics are averaged as well. The copy is part of the state dict. Lightning's
    callback would copy the whole module, not only the generator of a GAN.
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
        """Moves the average towards `network` after update number `step`, counted from 0.

        The first updates move it further, so that a short run does not average over untrained
        weights.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, currents = _floating_state(self.network), _floating_state(network)
        torch._foreach_lerp_(averages, currents, 1 - decay)


def _floating_state(network: nn.Module) -> list[Tensor]:
    return [v for v in network.state_dict().values() if v.is_floating_point()]
