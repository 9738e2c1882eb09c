"""A GAN that finds its classes itself: they come from the images, not from the labels."""

from typing import Any

import pytest
import torch
from lightning import Callback, Trainer

from models import SelfConditionedGAN
from tests.models.gans import fit, same, small, state


class OtherLabels(Callback):
    """Replaces the labels of each batch by zeros."""

    def on_train_batch_start(
        self, trainer: Trainer, model: Any, batch: Any, batch_idx: int
    ) -> None:
        batch[1].zero_()


def self_conditioned(**options: Any) -> SelfConditionedGAN:
    return small(SelfConditionedGAN, **({"clusters": 6} | options))


def test_labels_are_not_used() -> None:
    ours, other = self_conditioned(), self_conditioned()
    fit(ours)
    fit(other, OtherLabels())
    assert same(state(ours), state(other))


def test_both_networks_are_told_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen, drawn = self_conditioned(), [], []
    loss, draw = model.discriminator.discriminator_loss, model.draw_share
    monkeypatch.setattr(
        model.discriminator, "discriminator_loss", lambda *args: seen.append(args) or loss(*args)
    )
    monkeypatch.setattr(model, "draw_share", lambda *args: drawn.append(draw(*args)) or drawn[-1])
    fit(model, max_steps=1)
    ((real, real_classes, _, fake_classes),) = seen
    assert torch.equal(real_classes, model.clusters.of_images(real))
    assert len(real_classes.unique()) > 1
    latents, classes = drawn[0]
    assert torch.equal(fake_classes, classes)
    assert torch.equal(classes, model.clusters.of_noise(latents[:, -1]))
    inputs = model.generator_input(latents, None)
    assert torch.equal(inputs[:, : model.latent_dim - 1], latents[:, :-1])
    assert torch.equal(inputs[:, model.latent_dim - 1 :].argmax(dim=1), classes)


def test_a_new_run_finds_clusters_and_a_continued_one_keeps_them() -> None:
    model = self_conditioned()
    fit(model)
    learned = model.clusters.centres.clone()
    assert learned.std(dim=0).max() > 0.01

    class Continue(Callback):
        """Begins at a step that is not the first, like a continued run."""

        def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
            trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total.completed = 1

    model.clusters.centres.zero_()
    fit(model, Continue())
    assert not model.clusters.centres.any()
    fit(model)
    assert torch.equal(model.clusters.centres, learned)


def test_images_are_drawn_and_judged_without_classes() -> None:
    model = self_conditioned()
    latents, labels = model.draw(5, torch.Generator().manual_seed(0))
    assert labels is None
    assert model.num_classes is None
    assert latents.shape == (5, model.latent_dim)
    images, realness = model.whole(latents)
    assert images.shape == (5, 1, 28, 28)
    assert realness.shape == (5,)
