"""The layers of a network in the order of computation, with their shapes and parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.base import eval_mode


class Layer(NamedTuple):
    """One layer of a network."""

    name: str
    kind: str
    output_shape: tuple[int, ...]  # without the batch
    parameters: int


@torch.no_grad()
def list_layers(network: nn.Module, compute: Callable[[], Any]) -> list[Layer]:
    """Lists the layers of a network that `compute` passes through, in their order.

    A layer is a module without modules inside, or one with parameters of its own. Operations that
    are no modules, such as an addition, are not listed.

    Args:
        network: The network whose layers are listed.
        compute: Computes the network's output for a batch, in eval mode.
    """
    found: list[Layer] = []

    def watch(name: str, layer: nn.Module) -> Any:
        own = sum(p.numel() for p in layer.parameters(recurse=False))

        def record(_: nn.Module, __: Any, output: Any) -> None:
            shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
            found.append(Layer(name, type(layer).__name__, shape, own))

        leaf = not [*layer.children()]
        return layer.register_forward_hook(record) if leaf or own else None

    hooks = [watch(name, layer) for name, layer in network.named_modules()]
    try:
        with eval_mode(network):
            compute()
    finally:
        for hook in filter(None, hooks):
            hook.remove()
    return found
