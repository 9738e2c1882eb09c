"""Gradient norms and memory are logged, as they are."""

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback

from callbacks.health import Health, peak_memory
from models import GAN
from tests.callbacks.runs import Small, digits, trainer
from tests.models.gans import small


class Norms(Callback):
    """The norm of each optimizer's last gradients, put together by hand."""

    def __init__(self) -> None:
        self.found: dict[int, float] = {}

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        gradients = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"]]
        self.found[trainer.optimizers.index(optimizer)] = torch.cat(gradients).norm().item()


@pytest.mark.parametrize("kind", [Small, GAN])
def test_norms_of_the_last_logging_step(kind: type, tmp_path: Path) -> None:
    model = small(GAN) if kind is GAN else Small()
    norms = Norms()
    run = trainer(tmp_path, Health(), norms, max_steps=4, log_every_n_steps=2)
    run.fit(model, datamodule=digits())
    logged = {k: float(v) for k, v in run.logged_metrics.items() if "grad_norm" in k}
    names = ["_discriminator", "_generator"] if kind is GAN else [""]
    expected = {f"train/grad_norm{name}": norms.found[i] for i, name in enumerate(names)}
    assert logged == pytest.approx(expected, rel=1e-5)
    assert 0.05 < run.logged_metrics["train/memory_gb"] < 64


def test_peak_memory_grows_with_what_is_held() -> None:
    gc.collect()  # what earlier tests left, which would be freed in between
    block, cpu = 2**24, torch.device("cpu")  # 64 MB of float32
    before, held = peak_memory(cpu), []
    while len(held) < 100 and peak_memory(cpu) == before:
        held.append(torch.ones(block))
    grown = peak_memory(cpu)
    held += [torch.ones(block) for _ in range(8)]
    assert peak_memory(cpu) - grown == pytest.approx(8 * 4 * block, rel=0.25)
