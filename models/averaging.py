"""An exponential moving average of a network's weights."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from runtime.ranges import NonNegativeFloat, Share

RAMP_UP = 0.05  # a half-life is at most this share of the images so far


@dataclass(frozen=True)
class Averaging:
    """Options of the moving average that a model is evaluated with. Without any there is none.

    Args:
        decay: Share of the average that one update keeps, such as 0.999.
        half_life: Instead, the number of images in which an old weight counts half (Karras et al.
            2018, appendix F), which does not depend on the batch size.
    """

    decay: Share = 0.0
    half_life: NonNegativeFloat = 0.0

    def of(self, network: nn.Module) -> "MovingAverage | None":
        """Returns an average that starts at the network's weights; None without options."""
        return MovingAverage(network, self) if self.decay or self.half_life else None

    def decay_at(self, step: int, batch_size: int) -> float:
        """Returns the decay of update number `step`, smaller in the first ones.

        So a short run does not average over untrained weights.
        """
        if self.half_life:
            return 0.5 ** (batch_size / min(self.half_life, RAMP_UP * (step + 1) * batch_size))
        return min(self.decay, (1 + step) / (10 + step))


class MovingAverage(nn.Module):
    """A copy of a network that follows it: average <- decay * average + (1 - decay) * network.

    Batch norm statistics are averaged as well. The copy is part of the state dict. Lightning's
    callback would copy the whole module, not only the generator of a GAN.
    """

    def __init__(self, network: nn.Module, options: Averaging) -> None:
        super().__init__()
        self.options = options
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
        averages, currents = _floating_state(self.network), _floating_state(network)
        torch._foreach_lerp_(averages, currents, 1 - self.options.decay_at(step, batch_size))


def _floating_state(network: nn.Module) -> list[Tensor]:
    return [v for v in network.state_dict().values() if v.is_floating_point()]
