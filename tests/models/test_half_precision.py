"""A GAN in 16-mixed: its two optimizers share one loss scale, and neither sees it."""

from typing import Any

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from models import ConditionalGAN
from tests.models.gans import fit, sgd, small


def train(scale: float | None, steps: int = 4) -> Any:
    """The model after some steps in float16 at a loss scale, or in float32."""
    model = small(
        ConditionalGAN, generator_optimizer=sgd(), discriminator_optimizer=sgd(),
        gradient_clip_val=1.0,
    )  # fmt: skip
    plugins = None
    if scale is not None:  # `precision="16-mixed"` on a CPU silently means bf16
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=10**6)
        plugins = MixedPrecision("16-mixed", "cpu", scaler)
    trainer = fit(model, max_steps=steps, plugins=plugins)
    assert trainer.global_step == steps
    return model, None if scale is None else scaler.get_scale()


@pytest.mark.parametrize("scale", [2.0**6, 2.0**10])
def test_any_scale_gives_the_updates_of_float32(scale: float) -> None:
    """Within half precision's 2^-11 of each of some 30 operations a step, or 1.5 percent."""
    (full, _), (half, end_scale) = train(None), train(scale)
    assert end_scale == scale  # nothing overflowed
    start = small(ConditionalGAN)
    for network in ("generator", "discriminator"):
        before, after, after_half = (
            torch.cat([p.detach().flatten() for p in getattr(model, network).parameters()])
            for model in (start, full, half)
        )
        assert (after_half - after).norm() <= 0.06 * (after - before).norm(), network


def test_an_overflow_skips_an_update_and_spoils_no_other() -> None:
    model, scale = train(2.0**24, steps=16)
    assert scale < 2.0**20  # halved at each overflow, of either network
    start = small(ConditionalGAN)
    for network in ("generator", "discriminator"):
        old = dict(getattr(start, network).named_parameters())
        for name, value in getattr(model, network).named_parameters():
            assert value.isfinite().all()
            assert (value - old[name]).abs().max() < 3.2  # 16 steps of 0.1, clipped to norm 1, x 2
        assert any(
            not torch.equal(v, old[n]) for n, v in getattr(model, network).named_parameters()
        )
