"""Invariants of adversarial training, and one step worked out by hand."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn

from datamodules import Images
from models import GAN, ConditionalGAN
from models.gan import penalties as penalties_module
from models.gan.conditional_discriminators import ACGANDiscriminator
from models.gan.penalties import Penalties
from models.training import EMAOptions, Schedule
from tests.models.gans import DROPOUT, KINDS, SHAPE, fit, same, sgd, small, state


def test_both_networks_start_as_told():
    model = small(initialization="glorot")
    for network in (model.generator, model.discriminator):
        layers = [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
        assert layers
        assert not any(part.bias.any() for part in layers if part.bias is not None)


class Steps(Callback):
    """Which network each optimizer step changed, and whose gradients were there, as (D, G)."""

    def __init__(self) -> None:
        self.changed: list[tuple[bool, bool]] = []
        self.gradients: list[tuple[bool, bool]] = []

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        self.weights: list[tuple[list[Tensor], list[Tensor]]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        networks = pl_module.discriminator, pl_module.generator
        self.weights.append(tuple(map(self._weights, networks)))
        self.gradients.append(tuple(map(self._any_gradient, networks)))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        networks = pl_module.discriminator, pl_module.generator
        self.weights.append(tuple(map(self._weights, networks)))
        for before, after in zip(self.weights, self.weights[1:], strict=False):
            d, g = (not same(a, b) for a, b in zip(before, after, strict=True))
            self.changed.append((d, g))

    @staticmethod
    def _weights(network: nn.Module) -> list[Tensor]:
        return [
            p.detach().clone() for p in network.parameters()
        ]  # batch norm moves in D's turn too

    @staticmethod
    def _any_gradient(network: nn.Module) -> bool:
        return any(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"penalties": Penalties(r1=1.0, every=1)}])
def test_each_step_moves_one_network_and_leaves_the_other(kind, options):
    steps = Steps()
    fit(small(kind, **options), steps, max_steps=3)
    assert steps.changed == [(True, False), (False, True)] * 3
    assert steps.gradients == [(True, False), (False, True)] * 3  # none leaks into the other turn


LINEAR: dict[str, Any] = {  # a linear generator against a linear discriminator
    "generator": lambda size, shape: nn.Sequential(nn.Linear(size, 784), nn.Unflatten(1, shape)),
    "trunk": lambda shape: nn.Flatten(),
}


def test_one_step_is_the_update_computed_by_hand():
    rate = 0.01
    model = small(**LINEAR, generator_optimizer=sgd(rate), discriminator_optimizer=sgd(rate))
    (g, _), d = model.generator, model.discriminator.realness
    assert isinstance(g, nn.Linear)
    a, c, w, b = (p.detach().clone().double() for p in (g.weight, g.bias, d.weight[0], d.bias))

    class Batch(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, i: int) -> None:
            self.real = batch[0].flatten(1).double()
            random = pl_module.batch_rng(i)
            self.noise = [torch.randn(16, 4, generator=random).double() for _ in range(2)]

    seen = Batch()
    fit(model, seen, max_steps=1, precision="32-true")

    first, second = seen.noise
    # D ascends log D(x) + log(1 - D(G(z))): with p = sigmoid(w x + b), dL/dlogit is p - 1 or p
    fake = first @ a.T + c
    slope_real, slope_fake = (seen.real @ w + b).sigmoid() - 1, (fake @ w + b).sigmoid()
    w1 = w - rate * (slope_real @ seen.real + slope_fake @ fake) / 32
    b1 = b - rate * (slope_real.sum() + slope_fake.sum()) / 32
    # G ascends log D(G(z)) against the D just updated, on fresh noise
    slope = ((second @ a.T + c) @ w1 + b1).sigmoid() - 1
    a1 = a - rate * torch.outer(w1, slope @ second) / 16
    c1 = c - rate * w1 * slope.sum() / 16
    for found, expected in ((d.weight[0], w1), (d.bias, b1), (g.weight, a1), (g.bias, c1)):
        torch.testing.assert_close(found.detach().double(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "options", "generator_steps"),
    [(GAN, {}, 18), (GAN, {"discriminator_steps": 2}, 9),
     (ConditionalGAN, {"pretrain_epochs": 1}, 11)],
)  # fmt: skip
def test_global_step_counts_batches_and_updates_of_the_generator_are_counted(
    kind, options, generator_steps
):
    steps, model = Steps(), small(kind, **options)
    trainer = fit(model, steps, max_steps=18, max_epochs=3, limit_train_batches=7)
    assert trainer.global_step == 18
    assert trainer.fit_loop.epoch_loop.total_batch_idx == 17
    assert sum(generator for _, generator in steps.changed) == generator_steps
    assert model.generator_updates == generator_steps


def test_gradients_are_clipped_one_network_at_a_time():
    model = small(
        gradient_clip_val=1e-3, generator_optimizer=sgd(1.0), discriminator_optimizer=sgd(1.0)
    )
    before = [p.detach().clone() for p in model.discriminator.parameters()]
    fit(model, max_steps=1)
    moves = [a - b for a, b in zip(model.discriminator.parameters(), before, strict=True)]
    norm = torch.stack([move.norm() for move in moves]).norm()
    torch.testing.assert_close(norm.detach(), torch.tensor(1e-3), rtol=1e-2, atol=0)


@pytest.mark.parametrize(
    ("hold", "expected"),
    [
        (0.0, [1, 0.75, 0.5, 0.25]),  # also of G, which learns in every other
        (0.5, [1, 1, 1, 0.5]),
    ],
)
def test_learning_rates_of_both_networks_depend_on_the_step_alone(hold, expected):
    class Rates(Callback):
        def __init__(self) -> None:
            self.seen: list[list[float]] = []

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            self.seen.append([o.param_groups[0]["lr"] for o in trainer.optimizers])

    rates = Rates()
    options = {"schedule": Schedule("linear", hold), "discriminator_steps": 2}
    optimizers = {"generator_optimizer": sgd(1.0), "discriminator_optimizer": sgd(1.0)}
    fit(small(**options, **optimizers), rates, max_steps=4)
    for network in zip(*rates.seen, strict=True):
        assert network == pytest.approx(expected)


@pytest.mark.parametrize("in_eval_mode", [True, False])
def test_fakes_in_eval_mode_leave_batch_norm_alone(in_eval_mode):
    model = small(fakes_in_eval_mode=in_eval_mode, discriminator_steps=4)  # D's turn alone, 3 times
    before = state(model.generator)
    fit(model, max_steps=3)
    assert same(before, state(model.generator)) is in_eval_mode
    assert model.generator.training


def test_samples_come_from_the_moving_average_in_eval_mode():
    model = small(average=EMAOptions(0.9))
    fit(model, max_steps=2)
    assert model.eval_network is model.ema.network
    latents = torch.randn(5, 4)
    torch.testing.assert_close(model(latents)[:2], model(latents[:2]))  # no batch statistics
    assert not same(state(model.generator), state(model.ema.network))


@pytest.mark.parametrize("kind", KINDS)
def test_two_runs_with_one_seed_are_bit_identical(kind):
    first, second, other = (small(kind, **DROPOUT, average=EMAOptions(0.9)) for _ in range(3))
    other.seed = 1
    for model in (first, second, other):
        fit(model, max_steps=2)
    assert same(state(first), state(second))
    assert not same(state(first), state(other))


def test_validation_evaluates_held_out_real_images():
    model = small()
    with torch.no_grad():
        model.discriminator.realness.weight.zero_()
        model.discriminator.realness.bias.fill_(1.0)
    trainer = fit(model, max_steps=0, limit_val_batches=1.0)
    (metrics,) = trainer.validate(model, datamodule=Images(dataset="digits"), verbose=False)
    assert metrics["val/d_accuracy"] == 1.0
    assert metrics["val/d_loss"] == pytest.approx(torch.nn.functional.softplus(torch.tensor(-1.0)))


def test_hyperparameters_are_plain_values_and_rebuild_the_model(tmp_path):
    model = small(
        ConditionalGAN, discriminator=ACGANDiscriminator, generator_optimizer=sgd(),
        penalties=Penalties(r1=0.3),
        schedule=Schedule("cosine", hold=0.5),
    )  # fmt: skip
    assert not any(callable(value) for value in model.hparams.values())
    trainer = fit(model, max_steps=1)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    again = ConditionalGAN.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert same(state(model), state(again))
    assert isinstance(again.discriminator, ACGANDiscriminator)
    assert again.latent_dim == 4
    assert (again.penalties, again.schedule) == (Penalties(r1=0.3), Schedule("cosine", 0.5))


def test_rounds_and_penalties_go_on_over_short_epochs(monkeypatch):
    """Two batches an epoch: the generator learns after every third, R1 comes every fourth."""
    model = small(discriminator_steps=3, penalties=Penalties(r1=1.0, every=4))
    penalties: list[int] = []
    updates: list[int] = []
    slope, due = penalties_module.squared_slope, model.generator_is_due
    monkeypatch.setattr(
        penalties_module,
        "squared_slope",
        lambda *a: penalties.append(model.global_step) or slope(*a),
    )
    monkeypatch.setattr(
        model, "generator_is_due", lambda: due() and (updates.append(model.global_step) or True)
    )
    fit(model, max_steps=12, limit_train_batches=2)
    assert updates == [2, 5, 8, 11]
    assert penalties == [0, 4, 8]


def train_in_half(scale: float | None, steps: int = 4) -> Any:
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


def test_a_loss_scale_does_not_change_the_updates():
    """Within half precision's 2^-11 of each of some 30 operations a step, or 1.5 percent."""
    (full, _), (half, end_scale) = train_in_half(None), train_in_half(2.0**10)
    assert end_scale == 2.0**10  # nothing overflowed
    start = small(ConditionalGAN)
    for network in ("generator", "discriminator"):
        before, after, after_half = (
            torch.cat([p.detach().flatten() for p in getattr(model, network).parameters()])
            for model in (start, full, half)
        )
        assert (after_half - after).norm() <= 0.06 * (after - before).norm(), network


def test_each_turn_gets_its_images_as_they_are_seen(monkeypatch):
    """Penalties are of real and of generated images; both turns go through the view."""

    class Dark(nn.Module):
        def forward(self, images: Tensor, step: int) -> Tensor:
            return images / 1000

    model, seen = small(augment=Dark, penalties=Penalties(r1=1.0)), list[Any]()
    model._trainer = SimpleNamespace(world_size=1, global_rank=0, global_step=0)
    monkeypatch.setattr(Penalties, "due", lambda self, _, *parts: seen.append(parts) or 0.0)
    random, real = torch.Generator().manual_seed(0), (torch.rand(4, *SHAPE), None)
    fake = model.fakes_for_discriminator(4, random)
    assert not fake[0].requires_grad
    model.discriminator_loss(real, fake)
    assert seen == [(real, fake, 0)]
    judged = model.discriminator.generator_loss
    monkeypatch.setattr(
        model.discriminator, "generator_loss", lambda *a: seen.append(a) or judged(*a)
    )
    model.generator_loss(model.generate_fakes(4, random), real)
    for images, _ in (fake, seen[-1][0]):
        assert 0 < images.max() <= 1 / 1000


def test_a_training_step_augments_real_images(monkeypatch):
    model, seen = small(), list[Any]()
    model.augment = lambda images, step: images + 2  # no pixel of the data is there
    judged = model.discriminator_loss
    monkeypatch.setattr(model, "discriminator_loss", lambda *a: seen.append(a) or judged(*a))
    fit(model, max_steps=1)
    ((real, fake),) = seen
    assert real[0].min() >= 2
    assert fake[0].min() >= 2
