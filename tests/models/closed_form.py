"""One training step without a Trainer, to compare with a formula that is written out."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def seeded() -> Iterator[None]:
    """Draws in float64, as the precision 64-true does, from seed 0."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def step(model: Any, *batch: Tensor) -> Tensor:
    """Returns the loss of the first training batch."""
    model._trainer = SimpleNamespace(
        world_size=1, current_epoch=0, global_rank=0, accumulate_grad_batches=1
    )
    model.log_means = lambda values: None
    with seeded():
        return model.training_step(batch, 0)


def assert_same(found: Tensor, expected: Tensor, parameters: Iterable[nn.Parameter]) -> None:
    """Compares two float64 losses, and their gradients with respect to all parameters."""
    assert found.dtype == expected.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    parameters = list(parameters)
    pairs = zip(*(torch.autograd.grad(loss, parameters) for loss in (found, expected)), strict=True)
    for ours, theirs in pairs:
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-11)
