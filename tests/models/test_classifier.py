"""The step that all classifiers share, its losses and what it logs; its runs."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer, seed_everything
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from datamodules import Gates, Images, Iris
from models import GateLogistic, ImageClassifier, IrisMLP
from models.classifier import CLASSIFIER_LOSSES, weighted_cross_entropy
from models.training import EMAOptions, Schedule
from runtime.errors import UserError
from runtime.trainer import LadderTrainer
from tests.models.classifiers import convnet, dense, fit, iris, trainer

EVERY = [
    (GateLogistic, Gates, {"gate": "or"}),
    (IrisMLP, Iris, {}),
    (dense, Images, {"dataset": "digits"}),
]


@pytest.mark.parametrize(("model", "data", "options"), EVERY)
def test_three_lines_of_python_train_every_classifier(model, data, options):
    network = model()
    before = [p.clone() for p in network.parameters()]
    trainer(max_steps=2).fit(network, data(**options))
    assert all(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    inputs = network.example_input_array
    assert network(inputs).shape[1] in (1, network.num_classes)


# -- what is logged -------------------------------------------------------------------------------


def evaluated(
    batch_size: int, seed: int = 1, **options: Any
) -> tuple[dict[str, float], Tensor, Tensor]:
    """Returns the logged values of a test run, the probabilities (N, 3) and the truth (N,)."""
    torch.manual_seed(seed)
    data, model = Iris(batch_size=batch_size, standardize=False), IrisMLP(**options)
    (logged,) = trainer().test(model, datamodule=data, verbose=False)
    inputs, targets = data.splits.test
    with torch.no_grad():
        return logged, model.eval()(inputs).softmax(dim=1), targets


@pytest.mark.parametrize("batch_size", [30, 7, 1])
def test_logged_values_are_those_of_all_examples_at_once(batch_size):
    logged, probabilities, targets = evaluated(batch_size)
    hits = probabilities.argmax(dim=1) == targets
    assert 0 < hits.sum() < 30  # else most of what follows is empty
    balanced = 0.0
    assert logged["test/accuracy"] == pytest.approx(hits.sum().item() / 30, abs=1e-7)
    loss = -probabilities[range(30), targets].log().mean().item()
    assert logged["test/loss"] == pytest.approx(loss, rel=1e-5)
    for k in range(3):
        share = hits[targets == k].float().mean().item()
        assert logged[f"test/accuracy_class_{k}"] == pytest.approx(share, abs=1e-7)
        balanced += share / 3
    assert logged["test/balanced_accuracy"] == pytest.approx(balanced)


def test_a_class_that_does_not_occur_has_no_accuracy():
    class OneClass(Iris):
        def load_splits(self) -> Any:
            splits = super().load_splits()
            rows = (splits.test.targets == 2).nonzero()[:, 0]
            return splits._replace(test=splits.test.take(rows))

    (logged,) = trainer().test(IrisMLP(), datamodule=OneClass(), verbose=False)
    assert math.isnan(logged["test/accuracy_class_0"])
    assert logged["test/accuracy"] == logged["test/accuracy_class_2"]


def test_predictions_are_probabilities_in_the_order_of_the_data():
    data, model = Iris(batch_size=7), IrisMLP()
    batches = trainer().predict(model, datamodule=data)
    assert all(set(batch) == {"targets", "probabilities"} for batch in batches)
    inputs, targets = data.splits.test
    assert torch.equal(torch.cat([b["targets"] for b in batches]), targets)
    expected = model(inputs).softmax(dim=1).detach()
    assert_close(torch.cat([b["probabilities"] for b in batches]), expected)


# -- training ------------------------------------------------------------------------------------


def test_labels_are_smoothed_and_images_augmented_in_training_alone():
    class Shrinking(IrisMLP):
        def augment(self, inputs: Tensor, targets: Tensor) -> Tensor:
            return inputs / 2

    model = Shrinking(label_smoothing=0.2)
    batch = (torch.randn(8, 4), torch.randint(3, (8,)))
    training, evaluation = model.train().step(batch)["loss"], model.eval().step(batch)["loss"]
    shrunk = model.network(batch[0] / 2)
    assert_close(training, cross_entropy(shrunk, batch[1], label_smoothing=0.2))
    assert_close(evaluation, cross_entropy(model.network(batch[0]), batch[1]))


def test_glorot_is_keras_start():
    model = iris((400,), initialization="glorot")
    for layer in (part for part in model.network if isinstance(part, nn.Linear)):
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        assert bound * 0.98 < layer.weight.abs().max() <= bound
        assert not layer.bias.any()


def test_normal_is_the_start_of_the_slide_on_backpropagation():
    """Weights and biases have mean 0 and variance 1, within five standard errors."""
    model = iris((400,), initialization="normal")
    layers = [part for part in model.network if isinstance(part, nn.Linear)]
    values = torch.cat([p.detach().flatten() for layer in layers for p in layer.parameters()])
    error = 5 / values.numel() ** 0.5
    assert abs(values.mean()) < error
    assert abs(values.var() - 1) < 2 * error
    assert layers[0].bias.std() > 0.5


def test_learning_rate_rises_then_follows_its_schedule():
    rates: list[float] = []

    class Rates(Callback):
        def on_before_optimizer_step(self, t: Any, m: Any, optimizer: Any) -> None:
            rates.append(optimizer.param_groups[0]["lr"])

    model = IrisMLP(
        schedule=Schedule("cosine", warmup=0.25), optimizer=lambda p: torch.optim.SGD(p, lr=0.1)
    )
    fit(model, Iris(batch_size=60), Rates(), max_epochs=8)
    falling = (1 + (math.pi * torch.arange(12) / 12).cos()) / 2
    expected = [0.02, 0.04, 0.06, 0.08, *(0.1 * falling).tolist()]
    assert rates == pytest.approx(expected, rel=1e-5)


def test_a_schedule_needs_to_know_its_end():
    with pytest.raises(UserError, match="set --trainer.max_epochs"):
        fit(IrisMLP(schedule=Schedule("cosine")), Iris(), max_epochs=-1)


def test_the_average_follows_each_step_and_is_what_is_evaluated():
    torch.manual_seed(0)
    model = IrisMLP(average=EMAOptions(0.5), optimizer=lambda p: torch.optim.SGD(p, lr=1.0))
    expected = [p.detach().clone() for p in model.network.parameters()]

    class Follow(Callback):
        def on_train_batch_end(self, t: Trainer, m: Any, *rest: Any) -> None:
            decay = min(0.5, t.global_step / (t.global_step + 9))
            for average, p in zip(expected, m.network.parameters(), strict=True):
                average.lerp_(p.detach(), 1 - decay)
            found = list(m.ema.network.parameters())
            for a, b in zip(found, expected, strict=True):
                assert_close(a, b)  # also at the moment when callbacks save checkpoints

    data = Iris(batch_size=60)
    made = fit(model, data, Follow(), max_epochs=3)
    assert made.global_step == 6
    inputs = data.splits.test.inputs
    assert torch.equal(model.eval()(inputs), model.ema.network(inputs))
    assert torch.equal(model.train()(inputs), model.network(inputs))
    assert not torch.allclose(model.network(inputs), model.ema.network(inputs))


# -- losses ----------------------------------------------------------------------------------------

LOGITS = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]], dtype=torch.float64)
TARGET = torch.tensor([2, 1])


def keras_losses(p: Tensor, onehot: Tensor) -> dict[str, Tensor]:
    return {
        "cross_entropy": -(onehot * p.log()).sum(dim=1).mean(),
        "mse": (p - onehot).square().mean(),
        "bce": -(onehot * p.log() + (1 - onehot) * (1 - p).log()).mean(),
    }


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("name", CLASSIFIER_LOSSES)
def test_loss_is_keras_formula_on_probabilities(name, smoothing):
    onehot = torch.eye(3, dtype=torch.float64)[TARGET]
    onehot = onehot * (1 - smoothing) + smoothing / 3
    p = LOGITS.sigmoid() if name == "bce" else LOGITS.exp() / LOGITS.exp().sum(1, keepdim=True)
    found = CLASSIFIER_LOSSES[name].loss(LOGITS, TARGET, smoothing)
    assert_close(found, keras_losses(p, onehot)[name])


def test_probabilities_of_each_class_against_all_others_are_normalized_sigmoids():
    logits = torch.randn(5, 3)
    sigmoids = 1 / (1 + (-logits).exp())
    found = CLASSIFIER_LOSSES["bce"].probabilities(logits)
    assert_close(found, sigmoids / sigmoids.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("name", CLASSIFIER_LOSSES)
def test_one_logit_is_the_logit_of_class_1(name):
    logits, target = torch.tensor([[2.0], [-1.0]]), torch.tensor([1, 0])
    probabilities = CLASSIFIER_LOSSES[name].probabilities(logits)
    right = torch.tensor([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))])
    assert_close(probabilities[[0, 1], target], right)
    assert_close(probabilities.sum(dim=1), torch.ones(2))
    expected = (1 - right).square().mean() if name == "mse" else -right.log().mean()
    assert_close(CLASSIFIER_LOSSES[name].loss(logits, target, 0.0), expected)


@pytest.mark.parametrize("name", CLASSIFIER_LOSSES)
def test_large_logits_give_finite_losses_and_gradients(name):
    logits = torch.tensor([[500.0, -500.0, 0.0]], requires_grad=True)
    loss = CLASSIFIER_LOSSES[name].loss(logits, torch.tensor([1]), 0.0)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


# -- runs ------------------------------------------------------------------------------------------


class SaveAt(Callback):
    """Saves a checkpoint after some step."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def augmented(**kwargs: Any) -> ImageClassifier:
    return convnet(
        width=2, dropout=0.2, shift=2, rotation=10, erase=4, average=EMAOptions(0.9),
        schedule=Schedule("cosine", warmup=0.2), label_smoothing=0.1, **kwargs,
    )  # fmt: skip


def run(seed: int, path: Path, *callbacks: Callback, ckpt_path: Path | None = None) -> None:
    seed_everything(seed, verbose=False)
    options = {"max_epochs": 2, "limit_train_batches": 6, "limit_val_batches": 1}
    made = trainer(*callbacks, kind=LadderTrainer, precision="32-true", **options)
    data = Images(dataset="digits", batch_size=64, val_fraction=0.1)
    made.fit(augmented(), datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    made.save_checkpoint(path)


def test_resume_is_bit_exact_within_and_between_epochs(tmp_path, weights_hash):
    whole, resumed = tmp_path / "whole.ckpt", tmp_path / "resumed.ckpt"
    parts = {step: tmp_path / f"{step}.ckpt" for step in (4, 6, 9)}
    run(0, whole, *(SaveAt(step, part) for step, part in parts.items()))
    for part in parts.values():
        assert weights_hash(part) != weights_hash(whole)
        run(1, resumed, ckpt_path=part)  # the checkpoint's seed counts, not this one
        assert weights_hash(resumed) == weights_hash(whole)
    loaded = ImageClassifier.load_from_checkpoint(whole, weights_only=True)
    assert loaded.hparams.network["init_args"] == {"width": 2, "dropout": 0.2}


# -- unequal classes ------------------------------------------------------------------------------


class Unequal(Iris):
    """Five of 50 flowers of the first class."""

    def load_splits(self):
        splits = super().load_splits()
        train, rows = splits.train, (splits.train.targets == 0).nonzero().flatten()
        kept = torch.ones(len(train.targets), dtype=torch.bool).index_fill(0, rows[5:], False)
        return splits._replace(train=train.take(kept))


def test_balanced_class_weights_make_all_classes_count_alike():
    model, data = iris((4,), class_weights="balanced"), Unequal(batch_size=20)
    trainer(max_steps=1).fit(model, data)
    counts = data.class_counts
    assert counts[0] == 5
    data.balanced = True  # corrects it already
    assert len(data.class_counts.unique()) == 1
    assert_close(model._weights * counts, torch.full((3,), len(data.splits.train.targets) / 3))
    logits, targets = torch.randn(6, 3), torch.tensor([0, 0, 1, 1, 2, 2])
    losses = cross_entropy(logits, targets, reduction="none")
    expected = (losses * torch.tensor([3.0, 3, 1, 1, 0.5, 0.5])).mean()
    weights = torch.tensor([3.0, 1, 0.5])
    assert_close(weighted_cross_entropy(logits, targets, weights), expected)
    halves = [weighted_cross_entropy(logits[k::2], targets[k::2], weights) for k in (0, 1)]
    assert_close(sum(halves) / 2, expected)  # two processes compute what one does


def test_the_loss_of_an_evaluation_is_not_weighted():
    data = Unequal(batch_size=20, standardize=False)
    losses = []
    for weights in (None, "balanced"):
        torch.manual_seed(0)
        model = iris((4,), class_weights=weights, optimizer=partial(torch.optim.SGD, lr=0.0))
        trainer(max_steps=1).fit(model, data)
        losses.append(trainer().test(model, data, verbose=False)[0]["test/loss"])
    assert losses[0] == losses[1]


def test_class_weights_are_refused_where_they_mean_nothing():
    with pytest.raises(UserError, match="is for the loss cross_entropy, not bce"):
        iris((4,), loss="bce", class_weights="balanced")


def test_a_class_without_examples_is_not_in_the_balanced_accuracy():
    """Of two classes all and a third are right. Nobody has an example of the third."""
    model, logged = IrisMLP(), {}
    probabilities = torch.eye(3)[torch.tensor([0, 0, 1, 2, 0])]
    model._metrics_of("val")[0].update(probabilities, torch.tensor([0, 0, 1, 1, 1]))
    model._metrics_of("val")[1].update(probabilities, torch.tensor([0, 0, 1, 1, 1]))
    model.log_dict = lambda values, **_: logged.update(values)
    model.on_validation_epoch_end()
    assert logged["val/balanced_accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("batch_size", [30, 7])
def test_top_k_accuracy_counts_the_k_most_probable_classes(batch_size):
    logged, probabilities, targets = evaluated(batch_size, seed=2, top_k=2)
    hits = (probabilities.argsort(dim=1, descending=True)[:, :2] == targets[:, None]).sum()
    assert 0 < hits < 30
    assert logged["test/top2_accuracy"] == pytest.approx(int(hits) / 30)
    with pytest.raises(UserError, match="model.top_k 3 of 3 classes is always right"):
        IrisMLP(top_k=3)
