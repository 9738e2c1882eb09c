"""The fused optimizers of the configs step as the plain ones do."""

from typing import Any

import pytest
import torch

from models.gan.lecture import LectureTrunk

OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "lecture GANs": (torch.optim.SGD, {"lr": 5e-4, "momentum": 0.9, "nesterov": True}),
    "lecture classifiers": (torch.optim.Adam, {"eps": 1e-7}),
    "GANs": (torch.optim.Adam, {"lr": 1e-3, "betas": (0.0, 0.99)}),
    "classifiers": (torch.optim.AdamW, {"lr": 4e-3, "weight_decay": 0.05}),
}


@pytest.mark.parametrize("use", OPTIMIZERS)
def test_weights_agree_after_steps_on_the_same_gradients(use: str) -> None:
    make, arguments = OPTIMIZERS[use]
    results = []
    for fused in (True, False):
        torch.manual_seed(0)
        network = LectureTrunk((1, 28, 28), channels=4)
        optimizer = make(network.parameters(), **arguments, fused=fused)
        for _ in range(10):
            for parameter in network.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
        results.append([p.detach().clone() for p in network.parameters()])
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-6)
