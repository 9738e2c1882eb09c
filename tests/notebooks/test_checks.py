"""A check of an exercise names the mistake in an answer, and takes every right answer."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.linalg import sqrtm
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from datamodules import Functions
from models import Flow, FunctionMLP, PlaneGenerator, PlaneTrunk, VariationalAutoencoder
from models.drift import drift as drift_of_model
from models.plane import PlaneVelocity
from notebooks import checks as check

CORNERS = check.CORNERS
AND, NAND, OR = (10, 10, -15), (-10, -10, 15), (10, 10, -5)
PROBABILITIES = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.5, 0.2]])
SPECIES = torch.tensor([0, 1, 2])
TRUE = PROBABILITIES[[0, 1, 2], SPECIES]


def loss(weights: Tensor) -> Tensor:
    logits = CORNERS @ weights[:2] + weights[2]
    return F.binary_cross_entropy_with_logits(logits, torch.tensor([0.0, 0, 0, 1]).double())


def fails(result: check.Check, words: str) -> None:
    assert not result
    assert words in result.message
    assert len(result.message) < 300
    assert result.message[-1] in ".?"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: 1 / (1 + torch.exp(x)), "falls from 1 to 0"),
        (lambda x: 1 / 1 + torch.exp(-x), "brackets"),
        (lambda x: 1 / torch.exp(-x), "Your 1 is missing"),
        (lambda x: 1 / (1 - torch.exp(-x)), "You have a minus"),
        (lambda x: torch.tanh(x), "this is tanh"),
        (lambda x: torch.exp(x) / (1 + torch.exp(x)), "computed nan for sigma(1000)"),
        (lambda x: x, "you computed 2 for sigma(2). This is not right"),
        (lambda x: None, "does it end with `return`"),
        (lambda x: x[:2].sigmoid(), "has shape (2,), expected shape (8,)"),
    ],
)
def test_sigma(answer, words):
    fails(check.sigma(answer), words)
    assert check.sigma(torch.sigmoid)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((OR, NAND), "`and_gate` computes OR, not AND"),
        ((NAND, AND), "`and_gate` computes NAND, the opposite of AND"),
        ((AND, (-10, -10, 5)), "NOR, not NAND. At (0, 1) it computes 0.01, expected 1"),
        (((2, 2, -3), NAND), "At (0, 1) it computes 0.27, expected 0"),
        ((AND, (0, 0, 0)), "the same at all four corners"),
        ((AND, (10, 10)), "has shape (2,)"),
        (((10, 10, ...), NAND), "no answer yet"),
    ],
)
def test_gates(answers, words):
    fails(check.gates(*answers), words)
    assert check.gates(AND, torch.tensor(NAND))


WEIGHTS, BIASES = [[10, 10], [-10, -10]], [-5, 15]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (([[2, 2], [-2, -2]], [-1, 1], [1, 1], 0), "OR and NOR. One is the opposite"),
        ((WEIGHTS, BIASES, [-10, -10], 15), "computes XNOR, the opposite of XOR"),
        (([[10, 10], [10, 10]], [-5, -5], [10, 10], -15), "both hidden units compute OR"),
        ((WEIGHTS, BIASES, [10, 10], -5), "OR and NAND, and the output is always 1"),
        (([[2, 2], [-2, -2]], [-1, 3], [2, 2], -3), "good hidden units, but not sure enough"),
        ((WEIGHTS, BIASES, [2, 2], -3), "computes XOR, but it is not sure enough"),
        ((WEIGHTS, BIASES, [10, 10], [1, 2]), "expected one number"),
    ],
)
def test_xor(answers, words):
    fails(check.xor(*answers), words)
    assert check.xor(WEIGHTS, BIASES, [10, 10], -15)
    assert check.xor([[20, 20], [20, 20]], [-10, -30], [20, -20], -10)  # OR and not AND


def divided(exponentials: Tensor) -> Tensor:
    return exponentials / exponentials.sum(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda y: (-y).softmax(dim=1), "the largest output gets the smallest"),
        (lambda y: y.softmax(dim=0), "each column sums to 1"),
        (lambda y: y.exp() / y.exp().sum(), "the whole batch sums to 1"),
        (lambda y: y.exp(), "the rows do not sum to 1"),
        (lambda y: y.log_softmax(dim=1), "logarithms"),
        (lambda y: y.exp() / y.exp().sum(dim=1), "keepdim=True"),
        (lambda y: divided(y.exp()), "e^1000 is infinite"),
        (lambda y: divided(y.clamp(max=50).exp()), "Subtract from each row its maximum"),
        (lambda y: divided((y - y.max()).exp()), "largest output of the whole batch"),
        (lambda y: y - y.max(dim=1, keepdim=True), "`amax` returns the values alone"),
        (lambda y: np.exp(y) / np.sum(np.exp(y), axis=1), "`keepdim=True` makes it (B, 1)"),
        (lambda y: y, "you computed (2, 1, 0) for the outputs 2, 1, 0. This is not right"),
    ],
)
def test_softmax(answer, words):
    fails(check.softmax(answer), words)
    assert check.softmax(lambda y: divided((y - y.amax(dim=1, keepdim=True)).exp()))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (TRUE.log().mean(), "The minus in front is missing"),
        (-TRUE.log().sum(), "Divide it by their number"),
        (-TRUE.log().sum() / 9, "not of probabilities"),
        (-TRUE.log2().mean(), "base 2"),
        (-TRUE.log10().mean(), "base 10"),
        (-TRUE.mean().log(), "you took the mean first"),
        (-PROBABILITIES.amax(dim=1).log().mean(), "That of the true class counts"),
        ((1 - TRUE).mean(), "The logarithm is missing"),
        (F.cross_entropy(PROBABILITIES, SPECIES), "before the softmax"),
        (F.binary_cross_entropy(PROBABILITIES, torch.eye(3)), "binary cross-entropy"),
        (-TRUE.log(), "expected one number"),
        (0.82, "cut off, not rounded. You computed 0.82 for `loss`."),
        (3, "-log p, with the p of its true class. You computed 3 for `loss`."),
    ],
)
def test_cross_entropy(answer, words):
    fails(check.cross_entropy(answer, PROBABILITIES, SPECIES), words)
    assert all(check.cross_entropy(x, PROBABILITIES, SPECIES) for x in (0.8256, 0.826, 0.83))


def differences(sign: float = 1.0, apart: float = 2.0, all_at_once: bool = False) -> Any:
    def by_differences(loss: Callable[[Tensor], Tensor], weights: Tensor, h: float = 1e-5) -> Any:
        moves = torch.ones(3, 3) if all_at_once else torch.eye(3)
        moves = h * moves.to(weights.dtype)
        found = [loss(weights + sign * move) - loss(weights - sign * move) for move in moves]
        return torch.stack(found) / (apart * h)

    return by_differences


def one_sided(loss: Callable[[Tensor], Tensor], weights: Tensor, h: float = 1e-5) -> Any:
    return differences()(lambda w: loss(weights + (w - weights).clamp(min=0)), weights)


def without_copy(loss: Callable[[Tensor], Tensor], weights: Tensor) -> Tensor:
    up, down = weights, weights
    return loss(up) - loss(down) + torch.zeros(3)


def with_change(loss: Callable[[Tensor], Tensor], weights: Tensor) -> Tensor:
    found = differences()(loss, weights)
    weights += 0.1
    return found


def autograd(loss: Callable[[Tensor], Tensor], weights: Tensor) -> Tensor:
    leaf = weights.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf), leaf)[0]


def without_leaf(loss: Callable[[Tensor], Tensor], weights: Tensor) -> None:
    loss(weights).backward()


def adding_up(loss: Callable[[Tensor], Tensor], weights: Tensor) -> Tensor:
    loss(weights.requires_grad_()).backward()
    return weights.grad


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((differences(sign=-1), autograd), "your gradient has the opposite sign"),
        ((differences(apart=1), autograd), "twice as large"),
        ((one_sided, autograd), "half as large"),
        ((differences(all_at_once=True), autograd), "move all weights at once"),
        ((differences(apart=50), autograd), "your differences are not the gradient"),
        ((without_copy, autograd), "makes no copy"),
        ((with_change, autograd), "changes the weights"),
        ((differences(), adding_up), "returns twice the gradient"),
        ((differences(), lambda *given: -autograd(*given)), "`by_autograd` has the opposite sign"),
        ((differences(), without_leaf), "ask for a gradient"),
        ((differences(), lambda *given: ...), "`by_autograd` has no answer yet"),
    ],
)
def test_gradient(answers, words):
    fails(check.gradient(*answers, loss), words)
    assert check.gradient(differences(), autograd, loss)


def loop(*order: str) -> Callable[..., list[float]]:
    """Returns a training loop whose steps have these parts in this order."""

    def train(model: FunctionMLP, batch: Any, steps: int) -> list[float]:
        rate = 0.01 if "slow" in order else 0.03
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        losses = []
        for _ in range(steps):
            loss = model.step(batch)["loss"]
            losses.append(loss.item())
            for part in order:
                if part == "backward":
                    loss.backward()
                elif part == "step":
                    optimizer.step()
                elif part == "zero":
                    optimizer.zero_grad()
        return losses

    return train


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (loop("backward", "step"), "earlier steps add up"),
        (loop("backward", "zero", "step"), "the loss never changes"),
        (loop("zero", "backward"), "the loss never changes"),
        (loop("step", "zero", "backward"), "First `backward`, then `step`"),
        (loop("zero", "backward", "step", "slow"), "keep SGD and its learning rate"),
        (lambda *given: loop("zero", "backward", "step")(*given)[1:], "has shape (99,)"),
        (lambda *given: None, "does it end with `return`"),
    ],
)
def test_training(train, words):
    data = Functions("sin(x)")
    data.setup()
    fails(check.training(train, data.splits.train), words)
    assert check.training(loop("zero", "backward", "step"), data.splits.train)
    assert check.training(loop("backward", "step", "zero"), data.splits.train)


def dropping(scale: float, p: float | None = None, coins: Any = torch.rand_like) -> Any:
    def dropout(values: Tensor, share: float, training: bool) -> Tensor:
        stays = coins(values) >= (share if p is None else p)
        return values * stays * scale if training else values

    return dropout


def seeded(values: Tensor) -> Tensor:
    torch.manual_seed(0)
    return torch.rand_like(values)


def always(values: Tensor, p: float, training: bool) -> Tensor:
    return F.dropout(values, p)


def scaled_in_evaluation(values: Tensor, p: float, training: bool) -> Tensor:
    return F.dropout(values, p) if training else values * (1 - p)


def in_place(values: Tensor, p: float, training: bool) -> Tensor:
    return values.mul_(torch.rand_like(values) >= p) / (1 - p) if training else values


@pytest.mark.parametrize(
    ("dropout", "words"),
    [
        (dropping(1.0), "the mean falls. Divide them by 1 - p. You computed 3 for a value 3"),
        (dropping(0.8), "multiply the values that stay by 1 - p"),
        (dropping(5.0), "you divide by p"),
        (dropping(0.2), "you multiply by p"),
        (dropping(2.0), "You computed 6 for a value 3 that stays."),
        (dropping(1.25, p=0.8), "p is dropped, and 1 - p stays: you drop 0.80"),
        (dropping(1.25, p=0.5), "you drop 0.50 of the values, and p is 0.2"),
        (dropping(1.25, coins=lambda values: torch.rand(1)), "all values are dropped or none is"),
        (dropping(1.25, coins=lambda values: torch.rand(200, 1)), "of a row or column"),
        (dropping(1.25, coins=seeded), "Set no seed"),
        (always, "dropped in evaluation"),
        (scaled_in_evaluation, "scaled in evaluation"),
        (in_place, "changes the values that it gets"),
        (lambda values, p, training: values, "all values are dropped or none is"),
    ],
)
def test_dropout(dropout, words):
    fails(check.dropout(dropout), words)
    assert check.dropout(F.dropout)


def side(n: int, k: int, s: int, p: int) -> int:
    return (n + 2 * p - k) // s + 1


def parameters(c: int, d: int, k: int) -> int:
    return d * (c * k * k + 1)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((lambda n, k, s, p: side(n, k, s, p) - 1, parameters), "the + 1 at the end is missing"),
        ((lambda n, k, s, p: (n + p - k) // s + 1, parameters), "both sides are padded"),
        ((lambda n, k, s, p: (n - k) // s + 1, parameters), "the padding is missing"),
        ((lambda n, k, s, p: n + 2 * p - k + 1, parameters), "the stride is missing"),
        ((lambda n, k, s, p: (n + 2 * p - k) / s + 1, parameters), "round the fraction down: `//`"),
        ((lambda n, k, s, p: math.ceil((n + 2 * p - k) / s) + 1, parameters), "down, not up"),
        ((lambda n, k, s, p: n, parameters),
         "you computed 28 for side 28, kernel 3, stride 1, padding 0. This is not right"),
        ((side, lambda c, d, k: c * d * k * k), "the biases are missing"),
        ((side, lambda c, d, k: c * d * k * k + 1), "its own bias"),
        ((side, lambda c, d, k: c * d * k * k + c), "each output channel has a bias"),
        ((side, lambda c, d, k: d * k * k + d), "all input channels"),
        ((side, lambda c, d, k: c * d * k + d), "k x k pixels, not k"),
        ((side, lambda c, d, k: 28 * 28), "you computed 784 for 1 to 32 channels"),
    ],
)  # fmt: skip
def test_convolution(answers, words):
    fails(check.convolution(*answers), words)
    assert check.convolution(side, parameters)


def lasting(t: Tensor) -> Tensor:
    return F.softplus(-t).mean()


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((lambda t: torch.log(1 - t.sigmoid()).mean(), -0.01, -0.99), "still the old loss"),
        ((lambda t: t.sigmoid().log().mean(), -0.01, -0.99), "the sign is wrong"),
        ((lambda t: -torch.log(1 - t.sigmoid()).mean(), -0.01, -0.99), "the discriminator's loss"),
        ((lambda t: -t.sigmoid().mean(), -0.01, -0.99), "without the logarithm"),
        ((lambda t: F.softplus(-t).sum(), -0.01, -0.99), "Take their mean"),
        ((lambda t: F.softplus(-t), -0.01, -0.99), "expected one number"),
        ((lambda t: -t.mean(), -0.01, -0.99), "not that of the mean of -log D"),
        ((lambda t: torch.tensor(1.0), -0.01, -0.99), "does not depend on t"),
        ((lambda t: lasting(t).item(), -0.01, -0.99), "Leave out `.item()`"),
        ((lambda t: -t.sigmoid().log().mean(), -0.01, -0.99), "log 0 is infinite"),
        ((lasting, 0.01, -0.99), "`old_slope` has the wrong sign"),
        ((lasting, -1 / 0.99, -0.99), "`old_slope` is the slope for D"),
        ((lasting, -0.01, -100), "`new_slope` is the slope for D"),
        ((lasting, -0.99, -0.01), "`old_slope` belongs to the other loss"),
        ((lasting, -0.01, -5), "chain rule: dD/dt = D (1 - D). You computed -5"),
        ((lasting, -0.01, ...), "`new_slope` has no answer yet"),
    ],
)
def test_generator_loss(answers, words):
    fails(check.generator_loss(*answers), words)
    assert check.generator_loss(lasting, -0.01, -0.99)


def entropy(labels: Tensor, num_groups: int) -> Tensor:
    shares = labels.bincount(minlength=num_groups) / len(labels)
    return -torch.special.xlogy(shares, shares).sum()


def number(labels: Tensor, num_groups: int) -> float:
    return entropy(labels, num_groups).exp().item()


def not_a_number(labels: Tensor, num_groups: int) -> Tensor:
    shares = labels.bincount(minlength=num_groups) / len(labels)
    return (-shares * shares.log()).sum().exp()


def of_squares(labels: Tensor, num_groups: int) -> Tensor:
    return 1 / (labels.bincount() / len(labels)).square().sum()


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((entropy, "C"), "this is the entropy. Raise e to it"),
        ((lambda *given: (-entropy(*given)).exp(), "C"), "the minus is missing"),
        ((lambda *given: -entropy(*given), "C"), "the negative entropy"),
        ((lambda *given: (entropy(*given) / math.log(2)).exp(), "C"), "base 2, but raise e to it"),
        ((lambda labels, _: len(labels.unique()), "C"), "you count the groups that appear"),
        ((of_squares, "C"), "sum of the squared shares"),
        ((lambda labels, _: len(labels), "C"), "You computed 400 for the counts 50, 50"),
        ((not_a_number, "C"), "You computed nan for the counts 100, 0, 100, 0."),
        ((number, ...), "write into `collapsed`"),
        ((number, "A"), "A never draws one group"),
        ((number, "B"), "nothing is lost there"),
        ((number, "c"), '`collapsed` should be "A", "B" or "C"'),
    ],
)
def test_collapse(answers, words):
    fails(check.collapse(*answers), words)
    assert check.collapse(number, "C")


def joined(latents: Tensor, labels: Tensor) -> Tensor:
    return torch.cat([latents, F.one_hot(labels, 8)], dim=1)


def draw(gan: Any, label: int, count: int) -> Tensor:
    return gan(torch.randn(count, gan.latent_dim), torch.full((count,), label))


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((lambda z, k: z, draw), "not told the class"),
        ((lambda z, k: torch.cat([z, k[:, None]], dim=1), draw), "as one number"),
        ((lambda z, k: torch.cat([z, F.one_hot(k)], dim=1), draw), "tell it `num_classes=8`"),
        ((lambda z, k: torch.cat([F.one_hot(k, 8), z], dim=1), draw), "the latents come first"),
        ((lambda z, k: torch.zeros(4, 10), draw), "the class is 1 in its column"),
        ((lambda z, k: z.flatten(), draw), "(8,), expected (4, 10): join the columns"),
        ((lambda z, k: torch.cat([z, F.one_hot(k, 8)]), draw), "side by side"),
        ((joined, lambda gan, label, count: ...), "`draw` has no answer yet"),
        ((joined, lambda gan, label, count: torch.rand(count, 2)), "does not call the generator"),
        ((joined, lambda gan, label, count: draw(gan, 0, count)), "500 times the number 6"),
        ((joined, lambda gan, label, count: gan(torch.randn(count, 2), label)), "a tensor of"),
        ((joined, lambda gan, label, count: gan(torch.randn(count, 2), torch.full((count,), 6.0))),
         "whole numbers"),
        ((joined, lambda gan, label, count: draw(gan, label, 1).expand(count, 2)),
         "you passed 1 labels, 6, expected 500 times"),
        ((joined, lambda gan, label, count:
          gan(torch.zeros(count, 2), torch.full((count,), label))), "all latents are the same"),
        ((joined, lambda gan, label, count:
          gan(torch.rand(count, 2), torch.full((count,), label))), "`torch.randn`"),
    ],
)  # fmt: skip
def test_condition(answers, words):
    fails(check.condition(*answers), words)
    assert check.condition(joined, draw)


def reconstruction(y: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy(y, x, reduction="sum") / len(x)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    q = Normal(mean, (log_variance / 2).exp())
    return kl_divergence(q, Normal(0.0, 1.0)).sum() / len(mean)


def elbo(y: Tensor, x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    return -reconstruction(y, x) - divergence(mean, log_variance)


def error_by(formula: Callable[..., Any]) -> tuple[Any, ...]:
    return (formula, divergence, elbo)


def kl_by(formula: Callable[..., Any]) -> tuple[Any, ...]:
    return (reconstruction, lambda m, v: formula(m, v).sum() / 6, elbo)


def elbo_by(error: float, kl: float) -> tuple[Any, ...]:
    def formula(y: Tensor, x: Tensor, *posterior: Tensor) -> Tensor:
        return error * reconstruction(y, x) + kl * divergence(*posterior)

    return (reconstruction, divergence, formula)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (error_by(lambda y, x: -reconstruction(y, x)), "The minus in front is missing"),
        (error_by(F.binary_cross_entropy), "the mean over the pixels"),
        (error_by(lambda y, x: 3 * reconstruction(y, x)), "the sum over the images"),
        (error_by(lambda y, x: -(x * y.log()).sum() / 3), "the second part is missing"),
        (error_by(lambda y, x: reconstruction(x, y)), "x and y are swapped"),
        (error_by(lambda y, x: ((x - y) ** 2).sum() / 3), "the squared error"),
        (error_by(F.mse_loss), "the mean squared error"),
        (error_by(lambda y, x: reconstruction(y.sigmoid(), x)), "probabilities, not logits"),
        (error_by(lambda y, x: reconstruction(y, x) + 9), "you computed"),
        (error_by(lambda y, x: F.binary_cross_entropy(y, x, reduction="none").sum(1)), "(3,)"),
        (kl_by(lambda m, v: v + 1 - m**2 - v.exp()), "never negative"),
        (kl_by(lambda m, v: 2 * (m**2 + v.exp() - 1 - v)), "the 1/2 in front"),
        (kl_by(lambda m, v: (m**2 + v.exp() - 1 - v) / 4), "the mean over the latents"),
        (kl_by(lambda m, v: 3 * (m**2 + v.exp() - 1 - v)), "the sum over the images"),
        (kl_by(lambda m, v: m**2 + v - 1 - v), "the variance is exp(log_variance)"),
        (kl_by(lambda m, v: m**2 + (v / 2).exp() - 1 - v), "exp(log_variance / 2) is not"),
        (kl_by(lambda m, v: m**2 + v.exp() ** 2 - 1 - v), "squared already"),
        (kl_by(lambda m, v: m**2 + v.exp() - v), "the - 1 is missing"),
        (kl_by(lambda m, v: m**2 + v.exp() - 1), "the logarithm is missing"),
        (kl_by(lambda m, v: m**2 + v.exp() - 1 + v), "the logarithm has a minus"),
        (kl_by(lambda m, v: m + v.exp() - 1 - v), "the mean is not squared"),
        (kl_by(lambda m, v: (1 + m**2) * (-v).exp() - 1 + v), "distributions are swapped"),
        (kl_by(lambda m, v: m**2 + v - 1 - v.log()), "variance is given. You computed nan"),
        (elbo_by(1, 1), "The ELBO is minus the loss"),
        (elbo_by(-1, 1), "the divergence has a minus, too"),
        (elbo_by(1, -1), "the reconstruction has a minus, too"),
        (elbo_by(-1, 0), "the divergence is missing"),
        (elbo_by(0, -1), "the reconstruction is missing"),
    ],
)
def test_autoencoder(answers, words):
    fails(check.autoencoder(*answers), words)
    assert check.autoencoder(reconstruction, divergence, elbo)


def test_the_elbo_is_that_of_the_model():
    model = VariationalAutoencoder((2,), encoder=PlaneTrunk, decoder=PlaneGenerator, latent_dim=2)
    points, noise = torch.rand(5, 2), torch.randn(5, 2)
    with torch.no_grad():
        likelihoods, divergences = model.elbo(points, None, noise)
        mean, log_variance = model.encode(points)
        decoded = model(mean + (log_variance / 2).exp() * noise)
    ours = elbo(decoded, points, mean, log_variance)
    assert ours.item() == pytest.approx((likelihoods.mean() - divergences.sum() / 5).item(), 1e-5)


def point(noise: Tensor, data: Tensor, t: Tensor) -> Tensor:
    return noise + t[:, None] * (data - noise)


def velocity(noise: Tensor, data: Tensor) -> Tensor:
    return data - noise


def flow_loss(network: Any, noise: Tensor, data: Tensor, t: Tensor) -> Tensor:
    return F.mse_loss(network(point(noise, data, t), t), data - noise)


def loss_by(formula: Callable[[Tensor], Any], **other: Any) -> tuple[Any, ...]:
    def loss(network: Any, noise: Tensor, data: Tensor, t: Tensor) -> Tensor:
        places = {"point": point(noise, data, t), "data": data, "noise": noise}
        target = {"velocity": data - noise, "opposite": noise - data, "data": data}
        times = 1 - t if other.get("mirrored") else t
        found = network(places[other.get("at", "point")], times)
        return formula(found - target[other.get("target", "velocity")])

    return (point, velocity, loss)


def mean_square(errors: Tensor) -> Tensor:
    return (errors**2).mean()


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((lambda n, x, t: point(x, n, t), velocity, flow_loss), "noise and data are swapped"),
        ((lambda n, x, t: n + t[:, None] * x, velocity, flow_loss), "the factor 1 - t"),
        ((lambda n, x, t: point(n, 0 * x, t) + x, velocity, flow_loss), "the factor t"),
        ((lambda n, x, t: (1 - t[:, None]).sqrt() * n + t[:, None].sqrt() * x, velocity, flow_loss),
         "no roots"),
        ((lambda n, x, t: (1 - t) * n + t * x, velocity, flow_loss), "`t[:, None]` has shape"),
        ((lambda n, x, t: n, velocity, flow_loss), "for the point at t = "),
        ((point, lambda n, x: n - x, flow_loss), "from data to noise"),
        ((point, lambda n, x: x, flow_loss), "these are the data"),
        ((point, lambda n, x: x + n, flow_loss), "the derivative of 1 - t is -1"),
        ((point, lambda n, x: n, flow_loss), "for the velocity of path 1. This"),
        (loss_by(lambda errors: (errors**2).sum()), "the sum of the squares"),
        (loss_by(lambda errors: (errors**2).sum(1).mean()), "over both coordinates"),
        (loss_by(lambda errors: mean_square(errors) / 2), "no 1/2"),
        (loss_by(lambda errors: mean_square(errors).sqrt()), "no root"),
        (loss_by(lambda errors: errors.abs().mean()), "not squared"),
        (loss_by(lambda errors: errors.norm(dim=1).mean()), "square the lengths"),
        (loss_by(mean_square, at="data"), "the point, not the data"),
        (loss_by(mean_square, at="noise"), "the point, not the noise"),
        (loss_by(mean_square, mirrored=True), "t, not 1 - t"),
        (loss_by(mean_square, target="opposite"), "the target has the opposite sign"),
        (loss_by(mean_square, target="data"), "the velocity, not the data"),
        (loss_by(lambda errors: errors.mean()), "for `flow_loss`. This is not right"),
    ],
)  # fmt: skip
def test_flow(answers, words):
    fails(check.flow(*answers), words)
    assert check.flow(point, velocity, flow_loss)


def test_the_loss_of_a_flow_is_that_of_the_model():
    model = Flow((2,), network=PlaneVelocity).eval()
    images, noise, t = torch.rand(5, 2), torch.randn(5, 2), torch.rand(5)

    def velocities(points: Tensor, times: Tensor) -> Tensor:
        clean = model.active(points, times, points.new_zeros(5, 0))
        return (clean - points) / (1 - times[:, None])

    ours = flow_loss(velocities, noise, 2 * images - 1, t)
    assert ours.item() == pytest.approx(model.loss(images, None, noise, t).item(), 1e-4)


def drifting(
    kernel: Callable[[Tensor, float], Tensor] = lambda d, t: torch.exp(-d / t),
    pull: float = 1,
    push: float = -1,
    itself: bool = False,
    dim: int | None = 1,
    keepdim: bool = True,
) -> Callable[..., Tensor]:
    def drift(generated: Tensor, real: Tensor, t: float) -> Tensor:
        moves = []
        for others in (real, generated):
            weights = kernel(torch.cdist(generated, others), t)
            if others is generated and not itself:
                weights = weights.fill_diagonal_(0)
            if dim is not None:
                weights = weights / weights.sum(dim=dim, keepdim=keepdim)
            offsets = others[None] - generated[:, None]
            moves.append((weights[:, :, None] * offsets).sum(dim=1))
        return pull * moves[0] + push * moves[1]

    return drift


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (drifting(pull=-1, push=1), "pull and push are swapped"),
        (drifting(push=1), "the push has a minus"),
        (drifting(push=0), "the push is missing"),
        (drifting(pull=0), "the pull is missing"),
        (drifting(itself=True), "does not repel itself"),
        (drifting(dim=None), "divide the kernels by their sums"),
        (drifting(dim=0), "not each column"),
        (drifting(keepdim=False), "`keepdim=True` makes it (B, 1)"),
        (drifting(lambda d, t: torch.exp(d / t)), "the exponent has a minus"),
        (drifting(lambda d, t: torch.exp(-(d**2) / t)), "is not squared"),
        (drifting(lambda d, t: torch.exp(-d * t)), "divide by the temperature"),
        (drifting(lambda d, t: torch.ones_like(d)), "larger weights than far ones"),
        (lambda g, y, t: y - g, "`real[None] - generated[:, None]`"),
        (lambda g, y, t: g + drifting()(g, y, t), "Return the directions alone"),
        (drifting(lambda d, t: 1 / (1 + d)), "for the direction of point 1. This"),
    ],
)
def test_drift(answer, words):
    fails(check.drift(answer), words)
    assert check.drift(drifting())


def test_on_rings_the_directions_are_those_of_the_model():
    angles = torch.arange(8) * math.pi / 4  # symmetric, so that sums of columns change nothing
    generated = torch.stack([angles.cos(), angles.sin()], dim=1)
    real = 2 * torch.stack([(angles + 0.3).cos(), (angles + 0.3).sin()], dim=1)
    distances = torch.cdist(generated, torch.cat([real, generated]))
    ours = drifting()(generated, real, 0.5)
    shares = [0.5 * 120 / distances.sum()]  # of the mean of 120 distances
    theirs, _ = drift_of_model(generated, real, generated, shares, itself=True)
    assert torch.allclose(ours / ours.norm(), theirs / theirs.norm(), atol=1e-4)


FIRST, SECOND = (
    (torch.tensor(mean).double(), torch.tensor(covariance).double())
    for mean, covariance in (([0, 0], [[5, 4], [4, 5]]), ([1, 2], [[10, 6], [6, 10]]))
)


def matrix_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.sqrt()) @ vectors.T


def of_both(c: Tensor, d: Tensor) -> Tensor:
    return (torch.linalg.eigvalsh(c) * torch.linalg.eigvalsh(d)).sqrt().diag()


def frechet_by(
    overlap: Callable[[Tensor, Tensor], Tensor] = lambda c, d: matrix_root(
        matrix_root(c) @ d @ matrix_root(c)
    ),
    factor: float = -2,
    means: Callable[[Tensor], Tensor] = lambda difference: (difference**2).sum(),
) -> Callable[..., Tensor]:
    return lambda m, c, n, d: means(m - n) + torch.trace(c + d + factor * overlap(c, d))


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((frechet_by(lambda c, d: c @ d), 7), "the matrix root of C1 C2 is missing"),
        ((frechet_by(factor=-1), 7), "the 2 before the root is missing"),
        ((frechet_by(factor=2), 7), "the root has a minus"),
        ((frechet_by(factor=0), 7), "the term with the root is missing"),
        ((frechet_by(means=lambda m: 0 * m.sum()), 7), "the distance of the means is missing"),
        ((frechet_by(means=lambda m: m.norm()), 7), "is not squared"),
        ((frechet_by(means=lambda m: (m**2).mean()), 7), "sum the squared differences"),
        ((frechet_by(lambda c, d: (c @ d).sqrt()), 7), "not the root of each number"),
        ((frechet_by(lambda c, d: (c * d).sqrt()), 7), "the variances alone"),
        ((frechet_by(lambda c, d: matrix_root(c) @ matrix_root(d)), 7), "product of the roots"),
        ((frechet_by(of_both), 7), "the eigenvalues of C1 C2"),
        ((lambda *given: frechet_by()(*given).sqrt(), 7), "this is the root"),
        ((lambda *given: 3.0, 7), "for `frechet` with the covariances (5, 4, 4, 5) and (4, -1"),
        ((frechet_by(), 21), "the 2 before the root is missing. You computed 21 for `by_hand`"),
        ((frechet_by(), 8), "you computed 8 for `by_hand`. This is not right"),
        ((frechet_by(), ...), "`by_hand` has no answer yet"),
    ],
)
def test_frechet(answers, words):
    fails(check.frechet(*answers, FIRST, SECOND), words)
    assert check.frechet(frechet_by(), 7, FIRST, SECOND)


def test_no_message_has_the_right_number():
    wrong = (
        (check.cross_entropy(3, PROBABILITIES, SPECIES), "0.82"),
        (check.generator_loss(lasting, -0.01, -5), "0.99"),
        (check.frechet(frechet_by(), 8, FIRST, SECOND), "7"),
        (check.sigma(lambda x: 2 * x), "0.88"),
        (check.convolution(lambda n, k, s, p: n, parameters), "26"),
        (check.collapse(lambda labels, _: 7, "C"), "8"),
        (check.dropout(dropping(2.0)), "3.75"),
        (check.autoencoder(*error_by(lambda y, x: reconstruction(y, x) + 9)), "expected"),
    )
    for found, number in wrong:
        assert not found
        assert "computed" in found.message
        assert number not in found.message


def test_answers_may_be_written_with_numpy_or_for_one_number():
    assert check.sigma(lambda x: 1 / (1 + math.exp(-x)))
    fails(check.sigma(lambda x: 1 / (1 + math.exp(x))), "falls from 1 to 0")
    assert check.sigma(lambda x: 1 / (1 + np.exp(-x)))
    assert check.autoencoder(
        lambda y, x: -np.sum(x * np.log(y) + (1 - x) * np.log(1 - y), axis=1).mean(),
        lambda m, v: 0.5 * np.mean(np.sum(m**2 + np.exp(v) - 1 - v, axis=1)),
        elbo,
    )
    assert check.flow(
        lambda n, x, t: (1 - t.reshape(-1, 1)) * n + t.reshape(-1, 1) * x,
        lambda n, x: np.asarray(x) - np.asarray(n),
        lambda v, n, x, t: np.mean((v(n + t[:, None] * (x - n), t) - (x - n)) ** 2, axis=None),
    )

    def drift(generated: Any, real: Any, temperature: float) -> Any:
        def mean(others: Any, weights: Any) -> Any:
            return weights @ others / np.sum(weights, axis=1, keepdims=True)

        near, own = (
            np.exp(-np.linalg.norm(generated[:, None] - others, axis=2) / temperature)
            for others in (real, generated)
        )
        return mean(real, near) - mean(generated, own * (1 - np.eye(len(own))))

    assert check.drift(drift)

    def frechet(m: Any, c: Any, n: Any, d: Any) -> Any:
        return np.sum((m - n) ** 2) + np.trace(c + d - 2 * sqrtm(c @ d))

    assert check.frechet(frechet, 7.0, FIRST, SECOND)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("0.83", "`loss` should be numbers, and it is '0.83'. Leave out the quotation marks"),
        (["0.83"], "Leave out the quotation marks"),
        ([[0.83, ...]], "no answer yet"),
        ((0, 83), "Write 0.5, not 0,5"),
        (lambda: 0.83, "should be numbers, and it is <function"),
        (float("nan"), "You computed nan for `loss`."),
    ],
)
def test_an_answer_that_is_no_number_is_named(answer, words):
    fails(check.cross_entropy(answer, PROBABILITIES, SPECIES), words)
    fails(check.sigma("1 / (1 + e)"), "`sigma` should be a function, and it is '1 / (1 + e)'")
    fails(check.sigma(...), "`sigma` has no answer yet")


def test_the_line_to_hand_in_counts_the_last_check_of_each_exercise(monkeypatch):
    monkeypatch.setattr(check, "RESULTS", dict.fromkeys(range(1, 17)))
    assert check.hand_in() == "0 of 16 right; not checked: 1-16"
    assert check.sigma(torch.sigmoid)
    assert check.gates(AND, NAND)
    assert not check.softmax(torch.exp)
    assert check.hand_in() == "2 of 16 right: 1-2; not yet: 4; not checked: 3, 5-16"
    assert not check.sigma(torch.exp)
    assert check.hand_in() == "1 of 16 right: 2; not yet: 1, 4; not checked: 3, 5-16"
    check.RESULTS.update(dict.fromkeys(range(1, 17), check.Check(True, "")))
    assert check.hand_in() == "16 of 16 right: 1-16"


def test_an_error_in_an_answer_becomes_one_line_and_no_check_changes_random_numbers():
    before = torch.get_rng_state()

    def stops(x: Tensor) -> Tensor:
        raise ValueError("one\n  two")

    assert check.sigma(stops).message == "your code stops with ValueError: one two"
    assert check.dropout(F.dropout)
    assert torch.equal(torch.get_rng_state(), before)
