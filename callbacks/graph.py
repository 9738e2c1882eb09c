"""The network as a graph in TensorBoard."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn

from callbacks.figures import tensorboard
from models.sampling import eval_mode


class NetworkGraph(Callback):
    """Writes the graph of a new run's network once.

    Lightning's own `log_graph` traces in train mode, which moves batch norm's statistics and so
    lets a resumed run differ from one that was not stopped.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writer = tensorboard(trainer)
        if writer is None or trainer.ckpt_path or pl_module.example_input_array is None:
            return
        inputs: Any = pl_module.example_input_array
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        inputs = tuple(value.to(pl_module.device) for value in inputs)
        with eval_mode(pl_module), torch.no_grad():
            writer.add_graph(Network(pl_module), inputs)


class Network(nn.Module):
    """From a model's input to all that it computes: a GAN's graph ends at D, not at the image."""

    def __init__(self, model: LightningModule) -> None:
        super().__init__()
        self.model = model
        self.compute = getattr(model, "whole", model.forward)

    def forward(self, *inputs: Any) -> Any:
        return self.compute(*inputs)
