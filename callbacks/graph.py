"""Graph of the network in TensorBoard."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn

from figures.pictures import tensorboard
from models.base import eval_mode


class NetworkGraph(Callback):
    """Writes the graph of a new run's network once.

    Lightning's `log_graph` traces in train mode. That changes batch norm's statistics, so a resumed
    run would differ from an uninterrupted one.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writer = tensorboard(trainer)
        inputs: Any = pl_module.example_input_array
        if writer is None or trainer.ckpt_path or inputs is None:
            return
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        with eval_mode(pl_module), torch.no_grad():
            writer.add_graph(Network(pl_module), tuple(x.to(pl_module.device) for x in inputs))


class Network(nn.Module):
    """A model's computation as one module."""

    def __init__(self, model: LightningModule) -> None:
        super().__init__()
        self.model = model
        self.compute = model.forward

    def forward(self, *inputs: Any) -> Any:
        return self.compute(*inputs)
