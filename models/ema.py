"""An exponential moving average of a network's weights."""

from copy import deepcopy

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    """A copy of `network` that follows it: average <- decay * average + (1 - decay) * network.

    The decay is given per update, or by a half-life in images (Karras et al. 2018, appendix F),
    which means the same for every batch size. Both are smaller at the start, so that a short run
    does not average over untrained weights: the decay is at most (1 + step) / (10 + step), the
    half-life at most `RAMP_UP` of the images so far. Buffers (batch norm statistics) are averaged
    as well.
    Lightning's callback would copy the whole module, not only the generator of a GAN. Torch's
    `AveragedModel` reads the step from the device, and here the caller passes it. The copy is part
    of the state dict.
    """

    RAMP_UP = 0.05

    def __init__(self, network: nn.Module, decay: float, half_life: float = 0.0) -> None:
        super().__init__()
        self.decay, self.half_life = decay, half_life
        self.network = deepcopy(network).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "MovingAverage":
        """Stays in eval mode, because an average has no batch statistics."""
        return super().train(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int, batch_size: int = 1) -> None:
        """Moves the average towards `network`.

        Args:
            network: The network after an update.
            step: The number of this update, counted from 0.
            batch_size: Images of one update, of all processes; matters for a half-life.
        """
        decay = self.decay_at(step, batch_size)
        averages, currents = _floating_state(self.network), _floating_state(network)
        torch._foreach_lerp_(averages, currents, 1 - decay)

    def decay_at(self, step: int, batch_size: int) -> float:
        """Returns the decay of an update."""
        if self.half_life:
            return 0.5 ** (batch_size / min(self.half_life, self.RAMP_UP * (step + 1) * batch_size))
        return min(self.decay, (1 + step) / (10 + step))


def _floating_state(network: nn.Module) -> list[Tensor]:
    return [v for v in network.state_dict().values() if v.is_floating_point()]
