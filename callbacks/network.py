"""A run's networks: their table in the terminal, and their picture."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.utilities.model_summary import ModelSummary
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from figures.network import Layer, plot_networks
from figures.pictures import publish, warn_if_it_fails
from models.base import eval_mode
from models.generative import Generative

# Shape and tensor of each input; None: the model makes the tensor.
Inputs = dict[str, tuple[tuple[int, ...], Tensor | None]]


def summary_table(summary: ModelSummary) -> str:
    """Formats names, types and numbers of parameters of the parts that have any, as lines."""
    parts = zip(summary.layer_names, summary.layer_types, summary.param_nums, strict=True)
    rows = [part for part in parts if part[2]]
    names = max((len(name) for name, _, _ in rows), default=0)
    types = max((len(kind) for _, kind, _ in rows), default=0)
    lines = [f"  {name:<{names}}  {kind:<{types}}  {count:,}" for name, kind, count in rows]
    total, fixed = summary.total_parameters, summary.total_parameters - summary.trainable_parameters
    lines.append(f"  {total:,} parameters" + f", {fixed:,} of them not trained" * bool(fixed))
    return "\n".join(lines)


def plot_network(trainer: Trainer, model: LightningModule, folder: Path) -> None:
    """Plots `network.png` and `.svg` of a model's networks."""
    with warn_if_it_fails("network.png"):
        if networks := layers_of(model):
            publish(trainer, folder, "network", partial(plot_networks, networks), vector=True)


def layers_of(model: LightningModule) -> dict[str, list[Layer]]:
    """Returns inputs and layers of each network of a model, in the order of computation.

    Empty for a model that is not generative and has no tensor as `example_input_array`.
    """
    if not isinstance(model, Generative):
        inputs: Any = model.example_input_array
        if not isinstance(inputs, Tensor):
            return {}
        inputs = inputs.to(model.device)
        given: Inputs = {"input": (_shape(inputs), inputs)}
        return {"network": _layers(model, lambda: model(inputs), given)}
    drawn = model.draw_latents(2, torch.Generator().manual_seed(0))
    latents, labels = (x if x is None else x.to(model.device) for x in drawn)
    assert latents is not None
    noise = _shape(latents), latents
    classes: Inputs = {} if labels is None else {"class": ((model.num_classes or 1,), labels)}
    images = latents.new_zeros(2, *model.image_shape)
    example: Inputs = {"image" if images.dim() == 4 else "point": (_shape(images), images)}
    inputs_of: dict[str, Inputs] = {
        "generator": {"noise": noise} | classes,
        "discriminator": example,
        "network": example | {"time": ((1,), None)} | classes,  # a flow's
        "encoder": example | classes,
        "decoder": {"latent": noise} | classes,
    }
    networks = {
        name: _layers(network, compute, inputs_of[name])
        for name, (network, compute) in model.networks(latents, labels, images).items()
    }
    return {name: layers for name, layers in networks.items() if not layers[-1].is_input}


class _Sources(TorchFunctionMode):
    """Traces which layers each tensor is computed from, by their indices."""

    def __init__(self) -> None:
        super().__init__()
        self.of = WeakTensorKeyDictionary()

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        sources = {source for x in given for source in self.of.get(x, ())}
        for x in tree_leaves(output):
            if isinstance(x, Tensor):
                self.of[x] = sources
        return output


@torch.no_grad()
def _layers(network: nn.Module, compute: Callable[[], Any], inputs: Inputs) -> list[Layer]:
    """Returns the inputs, and the modules with weights or without children, in the order of calls.

    Parameters of a module that is called twice are counted once.
    """
    layers = [Layer(name, shape) for name, (shape, _) in inputs.items()]
    counted: set[Tensor] = set()
    traced = _Sources()
    for index, (_, tensor) in enumerate(inputs.values()):
        if tensor is not None:
            traced.of[tensor] = {index}
    untraced = {i for i, (_, tensor) in enumerate(inputs.values()) if tensor is None}

    def begin(module: nn.Module, args: Any) -> None:
        for tensor in (x for x in args if isinstance(x, Tensor)):
            traced.of.setdefault(tensor, untraced)  # the model made it

    def record(module: nn.Module, args: Any, output: Any) -> None:
        leaf = all(name == "parametrizations" for name, _ in module.named_children())
        own = {p for name, p in module.named_parameters() if leaf or "." not in name} - counted
        counted.update(own)
        if isinstance(output, Tensor) and (leaf or own):
            kind = type(module).__name__.removeprefix("Parametrized")
            sources = traced.of.get(output) or {len(layers) - 1}
            layers.append(Layer(kind, _shape(output), sum(p.numel() for p in own), {*sources}))
            traced.of[output] = {len(layers) - 1}

    parts = [part for name, part in network.named_modules() if "parametrizations" not in name]
    hooks = [part.register_forward_hook(record) for part in parts]
    hooks.append(network.register_forward_pre_hook(begin))
    try:
        with eval_mode(network), traced:
            compute()
    finally:
        for hook in hooks:
            hook.remove()
    return layers


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(tensor.shape[1:]) or (1,)
