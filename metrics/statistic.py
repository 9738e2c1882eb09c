"""Base class of all metrics in this package."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class Statistic(Metric):
    """Sums over the samples of one set, in float64, that processes add up.

    A statistic describes one set, and pure functions compare two. So the statistics of real images
    are summed once, while those of generated images are reset and summed for each evaluation.
    Because every state is a sum of fixed size, memory does not grow with the number of samples, and
    the result does not depend on which process adds which sample.
    """

    full_state_update = False

    def add_sum(self, name: str, *size: int, dtype: torch.dtype = torch.float64) -> None:
        self.add_state(name, torch.zeros(size, dtype=dtype), dist_reduce_fx="sum")

    def _apply(self, fn: Callable, exclude_state: Sequence[str] = "") -> nn.Module:
        # Moves the states with a module to another device, but never to another precision:
        # torchmetrics protects them from `module.half()`, but not from `module.to(torch.half)`,
        # by which Lightning's `bf16-true` converts a module.
        return super()._apply(lambda t: t.to(fn(t.new_empty(0)).device), exclude_state)


def with_constant(features: Tensor) -> Tensor:
    """Prepends a 1 to features (B, D) and converts them to float64: (B, 1 + D).

    Their products include the products of lower degree: one sum contains the count (exact below
    2^53), the sum and the sum of products.
    """
    return nn.functional.pad(features.double(), (1, 0), value=1.0)
