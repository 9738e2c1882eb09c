"""What all metrics of this room have in common."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torchmetrics import Metric


class Statistic(Metric):
    """Sums over the samples of one set, in float64, that processes add up.

    A set is described by itself, and pure functions compare two: what is known of the real images
    is summed once and stays, while that of the generated ones is reset and summed anew.

    Memory does not grow with the number of samples, and since every state is a sum, the result
    does not depend on which process saw which sample (each sample once).
    """

    full_state_update = False

    def _apply(self, fn: Callable, exclude_state: Sequence[str] = "") -> nn.Module:
        """Follows a module to another device but never to another precision.

        torchmetrics holds states back from `module.half()`, yet not from `module.to(torch.half)`,
        which is how Lightning's `bf16-true` converts a module.
        """
        return super()._apply(lambda t: t.to(fn(t.new_empty(0)).device), exclude_state)


def with_constant(features: Tensor) -> Tensor:
    """Features (B, D) -> (B, 1 + D) in float64 with a leading 1.

    Products of these hold products of lower degree too: one sum keeps the count, the sum and the
    sum of products, exactly in the count (below 2^53).
    """
    return nn.functional.pad(features.double(), (1, 0), value=1.0)
