"""A check of an exercise names the mistake in an answer, and takes every right answer."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules import Functions
from models import FunctionMLP
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
        (lambda x: 1 / (1 - torch.exp(-x)), "minus in place of the plus"),
        (lambda x: torch.tanh(x), "this is tanh"),
        (lambda x: torch.exp(x) / (1 + torch.exp(x)), "sigma(1000) is not a number"),
        (lambda x: x, "your sigma(2) is 2.000"),
        (lambda x: None, "does it end with `return`"),
        (lambda x: x[:2].sigmoid(), "has shape (2,), and it should have shape (6,)"),
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
        ((AND, (-10, -10, 5)), "`nand_gate` computes NOR, not NAND: at (0, 1) it gives 0.01"),
        (((2, 2, -3), NAND), "not sure enough: at (0, 1) it gives 0.27, and should give 0"),
        ((AND, (0, 0, 0)), "gives 0.50 at all four corners"),
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
        (([[2, 2], [-2, -2]], [-1, 3], [2, 2], -3), "good hidden units, but they are not sure"),
        ((WEIGHTS, BIASES, [2, 2], -3), "computes XOR, but it is not sure enough"),
        ((WEIGHTS, BIASES, [10, 10], [1, 2]), "it should be one number"),
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
        (lambda y: divided(y.clamp(max=50).exp()), "Subtract from each row"),
        (lambda y: divided((y - y.max()).exp()), "largest output of the whole batch"),
        (lambda y: y, "you get 2.000, 1.000, 0.000"),
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
        (-TRUE.log().sum() / 9, "not by the number of all probabilities"),
        (-TRUE.log2().mean(), "base 2"),
        (-TRUE.log10().mean(), "base 10"),
        (-TRUE.mean().log(), "the other way round"),
        (-PROBABILITIES.amax(dim=1).log().mean(), "the true class that counts"),
        ((1 - TRUE).mean(), "The logarithm is missing"),
        (F.cross_entropy(PROBABILITIES, SPECIES), "before the softmax"),
        (F.binary_cross_entropy(PROBABILITIES, torch.eye(3)), "binary cross-entropy"),
        (-TRUE.log(), "it should be one number"),
        (3, "your loss is 3.0000. For one flower it is -log p"),
    ],
)
def test_cross_entropy(answer, words):
    fails(check.cross_entropy(answer, PROBABILITIES, SPECIES), words)
    assert check.cross_entropy(0.8256, PROBABILITIES, SPECIES)


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
        ((differences(), without_leaf), "do not ask for one"),
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
        (dropping(1.0), "the mean falls from 3 to 2.4"),
        (dropping(0.8), "multiply the values that stay by 1 - p"),
        (dropping(5.0), "you divide by p"),
        (dropping(0.2), "you multiply by p"),
        (dropping(2.0), "3 becomes 3.75"),
        (dropping(1.25, p=0.8), "p is the share that is dropped, and 1 - p the share that stays"),
        (dropping(1.25, p=0.5), "For p = 0.2 you drop 0.50 of the values"),
        (dropping(1.25, coins=lambda values: torch.rand(1)), "all values are dropped or none is"),
        (dropping(1.25, coins=lambda values: torch.rand(200, 1)), "whole rows or columns"),
        (dropping(1.25, coins=seeded), "Set no seed"),
        (always, "dropped in evaluation, too"),
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
        ((lambda n, k, s, p: (n + p - k) // s + 1, parameters), "padding on both sides"),
        ((lambda n, k, s, p: (n - k) // s + 1, parameters), "the padding is missing"),
        ((lambda n, k, s, p: n + 2 * p - k + 1, parameters), "the stride is missing"),
        ((lambda n, k, s, p: (n + 2 * p - k) / s + 1, parameters), "Round the fraction down"),
        ((lambda n, k, s, p: math.ceil((n + 2 * p - k) / s) + 1, parameters), "down, not up"),
        ((lambda n, k, s, p: n, parameters),
         "for side 28, kernel 3, stride 1 and padding 0 you get 28, and torch gets 26"),
        ((side, lambda c, d, k: c * d * k * k), "the biases are missing"),
        ((side, lambda c, d, k: c * d * k * k + 1), "its own bias"),
        ((side, lambda c, d, k: c * d * k * k + c), "not for each input channel"),
        ((side, lambda c, d, k: d * k * k + d), "all input channels"),
        ((side, lambda c, d, k: c * d * k + d), "k x k pixels, not k"),
        ((side, lambda c, d, k: 28 * 28), "has 320 parameters, and you get 784"),
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
        ((lambda t: F.softplus(-t), -0.01, -0.99), "it should be one number"),
        ((lambda t: -t.mean(), -0.01, -0.99), "not that of the mean of -log D"),
        ((lambda t: torch.tensor(1.0), -0.01, -0.99), "does not depend on t"),
        ((lambda t: -t.sigmoid().log().mean(), -0.01, -0.99), "log 0 is infinite"),
        ((lasting, 0.01, -0.99), "`old_slope` has the wrong sign"),
        ((lasting, -1 / 0.99, -0.99), "`old_slope` is the slope for D"),
        ((lasting, -0.01, -100), "`new_slope` is the slope for D"),
        ((lasting, -0.99, -0.01), "`old_slope` belongs to the other loss"),
        ((lasting, -0.01, -5), "`new_slope` is not right. Use the chain rule"),
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
        ((lambda labels, _: len(labels), "C"), "you get 400"),
        ((not_a_number, "C"), "you get nan"),
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
        ((lambda z, k: torch.zeros(4, 10), draw), "1 in the column of the class"),
        ((lambda z, k: z.flatten(), draw), "and it is (8,). Join with `torch.cat"),
        ((lambda z, k: torch.cat([z, F.one_hot(k, 8)]), draw), "side by side"),
        ((joined, lambda gan, label, count: ...), "`draw` has no answer yet"),
        ((joined, lambda gan, label, count: torch.rand(count, 2)), "does not call the generator"),
        ((joined, lambda gan, label, count: draw(gan, 0, count)), "500 times the number 6"),
        ((joined, lambda gan, label, count: gan(torch.randn(count, 2), label)), "a tensor of"),
        ((joined, lambda gan, label, count: gan(torch.randn(count, 2), torch.full((count,), 6.0))),
         "whole numbers"),
        ((joined, lambda gan, label, count: draw(gan, label, 1).expand(count, 2)), "500 times"),
        ((joined, lambda gan, label, count:
          gan(torch.zeros(count, 2), torch.full((count,), label))), "all latents are the same"),
        ((joined, lambda gan, label, count:
          gan(torch.rand(count, 2), torch.full((count,), label))), "`torch.randn`"),
    ],
)  # fmt: skip
def test_condition(answers, words):
    fails(check.condition(*answers), words)
    assert check.condition(joined, draw)


def test_an_error_in_an_answer_becomes_one_line_and_no_check_changes_random_numbers():
    before = torch.get_rng_state()

    def stops(x: Tensor) -> Tensor:
        raise ValueError("one\n  two")

    assert check.sigma(stops).message == "your code stops with ValueError: one two"
    assert check.dropout(F.dropout)
    assert torch.equal(torch.get_rng_state(), before)
