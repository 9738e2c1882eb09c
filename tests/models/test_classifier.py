"""The step that all classifiers share, what it logs, and its optimization."""

import math
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from datamodules import Gates, Images, Iris
from models import GateLogistic, IrisMLP
from models.averaging import Averaging
from models.schedule import Schedule
from runtime.errors import UserError
from tests.models.classifiers import dense, fit, iris, trainer

EVERY = [
    (GateLogistic, Gates, {"gate": "or"}),
    (IrisMLP, Iris, {}),
    (dense, Images, {"dataset": "digits"}),
]


@pytest.mark.parametrize(("model", "data", "options"), EVERY)
def test_three_lines_of_python_train_every_classifier(model: Any, data: Any, options: dict) -> None:
    network = model()
    before = [p.clone() for p in network.parameters()]
    trainer(max_steps=2).fit(network, data(**options))
    assert all(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    inputs = network.example_input_array
    assert network(inputs).shape[1] in (1, network.num_classes)


# -- what is logged -------------------------------------------------------------------------------


def evaluated(batch_size: int) -> tuple[dict[str, float], Tensor, Tensor]:
    """Returns the logged values of a test run, the probabilities (N, 3) and the truth (N,)."""
    torch.manual_seed(1)
    data, model = Iris(batch_size=batch_size, standardize=False), IrisMLP()
    (logged,) = trainer().test(model, datamodule=data, verbose=False)
    inputs, targets = data.splits.test
    with torch.no_grad():
        return logged, model.eval()(inputs).softmax(dim=1), targets


@pytest.mark.parametrize("batch_size", [30, 7, 1])
def test_logged_values_are_those_of_all_examples_at_once(batch_size: int) -> None:
    logged, probabilities, targets = evaluated(batch_size)
    hits = probabilities.argmax(dim=1) == targets
    assert 0 < hits.sum() < 30  # else most of what follows is empty
    assert logged["test/accuracy"] == pytest.approx(hits.sum().item() / 30, abs=1e-7)
    loss = -probabilities[range(30), targets].log().mean().item()
    assert logged["test/loss"] == pytest.approx(loss, rel=1e-5)
    for k in range(3):
        share = hits[targets == k].float().mean().item()
        assert logged[f"test/accuracy_class_{k}"] == pytest.approx(share, abs=1e-7)


def test_a_class_that_does_not_occur_has_no_accuracy() -> None:
    class OneClass(Iris):
        def load_splits(self) -> Any:
            splits = super().load_splits()
            rows = (splits.test.targets == 2).nonzero()[:, 0]
            return splits._replace(test=splits.test.take(rows))

    (logged,) = trainer().test(IrisMLP(), datamodule=OneClass(), verbose=False)
    assert math.isnan(logged["test/accuracy_class_0"])
    assert logged["test/accuracy"] == logged["test/accuracy_class_2"]


def test_predictions_are_probabilities_in_the_order_of_the_data() -> None:
    data, model = Iris(batch_size=7), IrisMLP()
    batches = trainer().predict(model, datamodule=data)
    assert all(set(batch) == {"targets", "probabilities"} for batch in batches)
    inputs, targets = data.splits.test
    assert torch.equal(torch.cat([b["targets"] for b in batches]), targets)
    expected = model(inputs).softmax(dim=1).detach()
    assert_close(torch.cat([b["probabilities"] for b in batches]), expected)


# -- training ------------------------------------------------------------------------------------


def test_labels_are_smoothed_and_images_augmented_in_training_alone() -> None:
    class Shrinking(IrisMLP):
        def augment(self, inputs: Tensor, targets: Tensor) -> Tensor:
            return inputs / 2

    model = Shrinking(label_smoothing=0.2)
    batch = (torch.randn(8, 4), torch.randint(3, (8,)))
    training, evaluation = model.train().step(batch)["loss"], model.eval().step(batch)["loss"]
    shrunk = model.network(batch[0] / 2)
    assert_close(training, cross_entropy(shrunk, batch[1], label_smoothing=0.2))
    assert_close(evaluation, cross_entropy(model.network(batch[0]), batch[1]))


def test_glorot_is_keras_start() -> None:
    model = iris((400,), initialization="glorot")
    for layer in (part for part in model.network if isinstance(part, nn.Linear)):
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        assert bound * 0.98 < layer.weight.abs().max() <= bound
        assert not layer.bias.any()


def test_normal_is_the_start_of_the_slide_on_backpropagation() -> None:
    """Weights and biases have mean 0 and variance 1, within five standard errors."""
    model = iris((400,), initialization="normal")
    layers = [part for part in model.network if isinstance(part, nn.Linear)]
    values = torch.cat([p.detach().flatten() for layer in layers for p in layer.parameters()])
    error = 5 / values.numel() ** 0.5
    assert abs(values.mean()) < error
    assert abs(values.var() - 1) < 2 * error
    assert layers[0].bias.std() > 0.5


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_learning_rate_rises_then_follows_its_schedule(schedule: Any) -> None:
    rates: list[float] = []

    class Rates(Callback):
        def on_before_optimizer_step(self, t: Any, m: Any, optimizer: Any) -> None:
            rates.append(optimizer.param_groups[0]["lr"])

    model = IrisMLP(
        schedule=Schedule(schedule, warmup=0.25), optimizer=lambda p: torch.optim.SGD(p, lr=0.1)
    )
    fit(model, Iris(batch_size=120), Rates(), max_epochs=16)
    fractions = torch.arange(12) / 12
    falling = {"constant": torch.ones(12), "linear": 1 - fractions}
    falling["cosine"] = (1 + (math.pi * fractions).cos()) / 2
    expected = [0.02, 0.04, 0.06, 0.08, *(0.1 * falling[schedule]).tolist()]
    assert rates == pytest.approx(expected, rel=1e-5)


def test_a_schedule_needs_to_know_its_end() -> None:
    with pytest.raises(UserError, match="set --trainer.max_epochs"):
        fit(IrisMLP(schedule=Schedule("cosine")), Iris(), max_epochs=-1)


def test_the_average_follows_each_step_and_is_what_is_evaluated() -> None:
    torch.manual_seed(0)
    model = IrisMLP(average=Averaging(0.5), optimizer=lambda p: torch.optim.SGD(p, lr=1.0))
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
