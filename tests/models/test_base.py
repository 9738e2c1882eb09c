"""Seeds and logging."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback, seed_everything
from torch import nn

from datamodules import Iris
from models import IrisMLP
from models.base import derive_seed, eval_mode
from tests.models.classifiers import fit as fit_classifier
from tests.models.classifiers import trainer
from tests.models.gans import DROPOUT, fit, small


def test_seeds_depend_on_every_number_and_their_order():
    seeds = {derive_seed(*n) for n in ((0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0), (0, 0, 0))}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_each_batch_of_each_epoch_has_its_own_noise():
    model, seen = small(), set()
    for epoch, batch in ((0, 0), (0, 1), (1, 0)):
        model._trainer = SimpleNamespace(current_epoch=epoch)
        seen.add(model.batch_rng(batch).initial_seed())
    assert len(seen) == 3


def test_eval_mode_restores_the_mode_of_each_layer():
    network = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    with eval_mode(network):
        assert not any(part.training for part in network.modules())
    assert [part.training for part in network.modules()] == [True, True, False]


def test_the_seed_is_that_of_seed_everything_and_a_checkpoints_when_resuming():
    seed_everything(7, verbose=False)
    model = small()
    assert model.seed == 7
    checkpoint: dict[str, Any] = {}
    model.on_save_checkpoint(checkpoint)
    seed_everything(8, verbose=False)
    resumed = small()
    resumed.on_load_checkpoint(checkpoint)
    assert resumed.seed == 7


def test_gradients_are_cleared_before_each_backward_pass():
    cleared: list[bool] = []

    class Gradients(Callback):
        def on_before_backward(self, trainer: Any, module: Any, loss: Any) -> None:
            cleared.append(all(p.grad is None for p in module.network.parameters()))

    fit_classifier(IrisMLP(), Iris(batch_size=40), Gradients())
    assert cleared == [True] * 3


def test_dropout_differs_by_batch_and_not_by_what_was_drawn_before():
    draws: list[float] = []

    class Draw(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            draws.append(torch.rand(()).item())

    for _ in range(2):
        torch.rand(len(draws) + 3)  # a different past
        fit(small(**DROPOUT), Draw(), max_steps=2)
    assert draws[:2] == draws[2:]
    assert draws[0] != draws[1]


def test_means_are_over_the_batches_since_the_last_logging_step():
    logged: list[dict[str, float]] = []

    class Logged(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            logged.append({k: v.item() for k, v in trainer.logged_metrics.items()})

    model = small()
    steps = iter(range(1, 5))
    log_means = model.log_means

    def log_step(values: Any) -> None:
        step = next(steps)
        log_means(
            {"x": torch.tensor(float(step)), **({"y": torch.tensor(3.0)} if step == 1 else {})}
        )

    model.log_means = log_step
    fit(model, Logged(), max_steps=4, log_every_n_steps=2)
    assert logged[0] == {}
    assert logged[1] == {"train/x": 1.5, "train/y": 3.0}
    assert logged[2] == logged[1]  # nothing new
    assert logged[3]["train/x"] == 3.5


def test_means_go_on_after_a_stop_between_two_logging_steps(tmp_path):
    """Also with another number of processes, each of which has summed up its own share."""
    path = tmp_path / "3.ckpt"

    class Save(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 3:
                trainer.save_checkpoint(path)

    options = {"max_steps": 4, "log_every_n_steps": 4, "limit_val_batches": 0}
    whole = fit_classifier(IrisMLP(), Iris(), Save(), **options).callback_metrics
    checkpoint = torch.load(path, weights_only=True)
    totals, count = checkpoint["sums"]["loss"]
    torch.save(checkpoint | {"sums": {"loss": (totals + torch.tensor([-1, 1]), count)}}, path)
    resumed = trainer(**options)
    resumed.fit(IrisMLP(), datamodule=Iris(), ckpt_path=path, weights_only=True)
    assert resumed.callback_metrics["train/loss"] == pytest.approx(whole["train/loss"])


def test_a_mean_over_examples_counts_those_of_all_processes():
    """Lightning divides the number by that of processes."""
    model, logged = small(), list[Any]()
    model._trainer = SimpleNamespace(world_size=3)
    model.log_dict = lambda values, **options: logged.append(options)
    model.log_means_of_examples({"val/loss": torch.tensor(1.0)}, 5)
    assert logged == [{"batch_size": 15, "sync_dist": True}]
