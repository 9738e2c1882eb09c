"""Two processes share one run: the weights, the noise and the data of a single process."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from torch import nn

from models import ConditionalGAN
from models.gan.networks import ModernGenerator
from models.gan.penalties import Penalties
from tests import ranks
from tests.datasets import Stripes
from tests.models.gans import modern, small

pytestmark = pytest.mark.ddp


def without_batch_norm(input_dim: int, image_shape: Any) -> nn.Module:
    layers = ModernGenerator(input_dim, image_shape, width=4)
    return nn.Sequential(*(m for m in layers if not isinstance(m, nn.BatchNorm2d)))


class Noise(Callback):
    """Records the results of each call of a model's `draw_share`."""

    def __init__(self) -> None:
        self.latents: list[Any] = []

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        draw = pl_module.draw_share

        def spy(*args: Any) -> Any:
            self.latents.append(draw(*args))
            return self.latents[-1]

        pl_module.draw_share = spy


def fit(devices: int, kind: str, folder: Path) -> None:
    """One rank's part of the run, and what it ends with."""
    torch.manual_seed(0)
    networks = modern(4) | ({"generator": without_batch_norm} if kind == "plain" else {})
    model = small(
        ConditionalGAN, **networks, penalties=Penalties(r1=1.0, every=2), gradient_clip_val=1.0
    )
    noise = Noise()
    trainer = Trainer(
        accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto",
        precision="64-true", max_steps=4, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[noise],
    )  # fmt: skip
    # Four batches of training, then validation, whose last shares are 9 and 10 images.
    data = Stripes(1, 28, num_classes=10, num_train=128, num_eval=51, batch_size=32)
    trainer.fit(model, datamodule=data)
    result = {
        "weights": {name: value.detach() for name, value in model.named_parameters()},
        "noise": noise.latents,
        "step": trainer.global_step,
        "metrics": {name: value.item() for name, value in trainer.callback_metrics.items()},
    }
    torch.save(result, folder / f"{devices}-{trainer.global_rank}.pt")


def run(devices: int, kind: str, folder: Path) -> list[dict[str, Any]]:
    """Returns the final state of each rank."""
    processes = ranks.start(devices, lambda: fit(devices, kind, folder), folder)
    assert ranks.end(processes, 120) == [0] * devices, (folder / "0.log").read_text()[-3000:]
    return [torch.load(folder / f"{devices}-{rank}.pt") for rank in range(devices)]


def test_two_ranks_hold_equal_weights_and_see_different_noise(tmp_path):
    first, second = run(2, "batch norm", tmp_path)
    assert first["step"] == second["step"] == 4
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name]), name
    for (latents, _), (other, _) in zip(first["noise"], second["noise"], strict=True):
        assert not torch.isclose(latents, other).any()


def test_two_ranks_are_one_process_to_rounding(tmp_path):
    """In float64 without batch norm, whose statistics are a rank's own.

    Sums are taken in another order, so 4 steps differ by some ulps (2e-16) times the number of
    terms (32 images) and what Adam's division by a gradient's size makes of that: below 1e-9.
    """
    (one,) = run(1, "plain", tmp_path)
    two = run(2, "plain", tmp_path)
    for name, weight in one["weights"].items():
        torch.testing.assert_close(weight, two[0]["weights"][name], rtol=1e-9, atol=1e-9)
    for i, (latents, labels) in enumerate(one["noise"]):
        shares = [rank["noise"][i] for rank in two]
        assert torch.equal(latents, torch.cat([share[0] for share in shares]))
        assert torch.equal(labels, torch.cat([share[1] for share in shares]))
    assert one["metrics"] == pytest.approx(two[0]["metrics"], rel=1e-9)
