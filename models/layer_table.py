"""The layers of a network in the order of computation, with their shapes, parameters and inputs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from models.base import eval_mode

JOINS = {"iadd": "add", "mul": "multiply", "imul": "multiply", "cat": "concatenate"}

Sources = set[int | str]


class Layer(NamedTuple):
    """One layer of a network, one of its inputs, or an operation that joins branches."""

    name: str
    kind: str
    output_shape: tuple[int, ...]  # without the batch; empty if unknown
    parameters: int
    inputs: tuple[int, ...] = ()  # places of the layers whose output it gets, as far as known


@torch.no_grad()
def list_layers(
    network: nn.Module, compute: Callable[[], Any], inputs: Mapping[str, Tensor]
) -> list[Layer]:
    """Lists the layers that `compute` passes through, in their order, each input before its use.

    A layer is a module without modules inside, or one that has parameters itself. An operation
    between layers is listed if it joins outputs of different layers, such as an addition.

    Args:
        network: The network whose layers are listed.
        compute: Computes the network's output for a batch, in eval mode.
        inputs: The batch: named tensors that `compute` uses.
    """
    flow = _Flow(inputs)
    watched = [(name, layer) for name, layer in network.named_modules() if _is_layer(layer)]
    hooks = [hook for name, layer in watched for hook in flow.watch(name, layer)]
    try:
        with eval_mode(network), flow:
            compute()
    finally:
        for hook in hooks:
            hook.remove()
    return flow.found


def _is_layer(module: nn.Module) -> bool:
    return not [*module.children()] or any(True for _ in module.parameters(recurse=False))


class _Flow(TorchFunctionMode):
    """Follows which layers a tensor was computed from, through all operations on tensors."""

    def __init__(self, inputs: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.found: list[Layer] = []
        self._inputs = inputs
        # The layers' places, or an input's name, of each tensor that still exists.
        self._sources = WeakTensorKeyDictionary()
        for name, tensor in inputs.items():
            self._set([tensor], {name})
        self._depth = 0  # of layers without modules inside, whose operations are their own matter
        self._counted: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        results = [*_tensors(output)]
        given = [self._of([tensor]) for tensor in _tensors((args, kwargs))]
        sources: Sources = set().union(*given)
        if results and sources and any(s and s != sources for s in given) and not self._depth:
            name = getattr(func, "__name__", "").strip("_")
            kind = JOINS.get(name, name)
            self._add(Layer("", kind, _shape(results[0]), 0), sources, results)
        else:
            self._set(results, sources)
        return output

    def _add(self, layer: Layer, sources: Sources, outputs: list[Tensor]) -> None:
        places = {source for source in sources if isinstance(source, int)}
        for name in filter(sources.__contains__, self._inputs):
            entry = Layer("", name, _shape(self._inputs[name]), 0)
            if entry not in self.found:
                self.found.append(entry)
            places.add(self.found.index(entry))
        self.found.append(layer._replace(inputs=tuple(sorted(places))))
        self._set(outputs, {len(self.found) - 1})

    def watch(self, name: str, layer: nn.Module) -> tuple[Any, Any]:
        """Hooks a layer, so that it is appended when it has computed."""
        leaf = not [*layer.children()]

        def enter(*_: Any) -> None:
            self._depth += leaf

        def record(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            self._depth -= leaf
            results = [*_tensors(output)]
            sources = self._of(results) | (self._of(_tensors((args, kwargs))) if leaf else set())
            own = [p for p in layer.parameters(recurse=False) if id(p) not in self._counted]
            self._counted |= {*map(id, own)}  # a layer that is used again has them once
            count = sum(p.numel() for p in own)
            found = Layer(name, type(layer).__name__, _shape(output), count)
            self._add(found, sources, results)

        return (
            layer.register_forward_pre_hook(enter),
            layer.register_forward_hook(record, with_kwargs=True),
        )

    def _of(self, tensors: Iterable[Tensor]) -> Sources:
        return set().union(*(self._sources.get(tensor, ()) for tensor in tensors))

    def _set(self, tensors: Iterable[Tensor], sources: Sources) -> None:
        for tensor in tensors:
            self._sources[tensor] = sources


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yields the tensors in a value, also in lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors([*value.values()])


def _shape(output: Any) -> tuple[int, ...]:
    return (tuple(output.shape[1:]) or (1,)) if isinstance(output, Tensor) else ()
