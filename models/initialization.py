"""Initial weights of a network: torch's own, or those of Keras."""

from typing import Literal

import torch
from torch import nn

from models.layers import UpsampleConv2d

Initialization = Literal["torch", "glorot"]


def initialize_(network: nn.Module, initialization: Initialization) -> None:
    """Initializes a network in place; `torch` leaves it as it was built.

    `glorot` draws uniform weights and sets biases to zero (Glorot and Bengio 2010), as Keras does.
    """
    if initialization == "torch":
        return
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | UpsampleConv2d):
            weight = torch.empty(layer.weight.shape)  # the draws do not depend on memory layout
            with torch.no_grad():
                layer.weight.copy_(nn.init.xavier_uniform_(weight))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
