"""A GAN in 16-mixed: its two optimizers share one loss scale, and neither sees it."""

from typing import Any

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


def test_a_loss_scale_does_not_change_the_updates() -> None:
    """Within half precision's 2^-11 of each of some 30 operations a step, or 1.5 percent."""
    (full, _), (half, end_scale) = train(None), train(2.0**10)
    assert end_scale == 2.0**10  # nothing overflowed
    start = small(ConditionalGAN)
    for network in ("generator", "discriminator"):
        before, after, after_half = (
            torch.cat([p.detach().flatten() for p in getattr(model, network).parameters()])
            for model in (start, full, half)
        )
        assert (after_half - after).norm() <= 0.06 * (after - before).norm(), network
