"""A GAN that finds its classes itself: they come from the images, not from the labels."""

from typing import Any

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
