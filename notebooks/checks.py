"""Checks of the exercises: each says whether an answer is right, and in words what is wrong.

A check never stops the notebook. It compares an answer with the right one, then with the results of
typical mistakes.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from math import log, prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import FunctionMLP
from models.classifier import cross_entropy as cross_entropy_of_logits
from models.gan.discriminator import NonSaturating
from models.gan.losses import Minimax

CLOSE = 2e-3  # largest relative error of an answer, so that rounded numbers pass
LEARNING_RATE = 0.03  # of the training loop to mend
SURE = 0.1  # largest distance of a gate's output from 0 or 1
CORNERS = torch.cartesian_prod(torch.arange(2.0), torch.arange(2.0)).double()
GATES = {  # outputs at the corners (0, 0), (0, 1), (1, 0), (1, 1)
    "AND": (0, 0, 0, 1), "NAND": (1, 1, 1, 0), "OR": (0, 1, 1, 1), "NOR": (1, 0, 0, 0),
    "XOR": (0, 1, 1, 0), "XNOR": (1, 0, 0, 1), "always 0": (0, 0, 0, 0), "always 1": (1, 1, 1, 1),
    "x1": (0, 0, 1, 1), "NOT x1": (1, 1, 0, 0), "x2": (0, 1, 0, 1), "NOT x2": (1, 0, 1, 0),
    "x1 AND NOT x2": (0, 0, 1, 0), "x2 AND NOT x1": (0, 1, 0, 0),
    "x1 OR NOT x2": (1, 0, 1, 1), "x2 OR NOT x1": (1, 1, 0, 1),
}  # fmt: skip


@dataclass(frozen=True)
class Check:
    """The result of a check, which a notebook shows as one line."""

    passed: bool
    message: str

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return f"{'Right' if self.passed else 'Not yet'}: {self.message}"


class AnswerError(Exception):
    """Says in words what is wrong with an answer."""


def exercise(check: Callable[..., str]) -> Callable[..., Check]:
    """Makes a `Check` of a function that returns praise or raises `AnswerError`."""

    @wraps(check)
    def checked(*answers: Any) -> Check:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                return Check(True, check(*answers))
            except AnswerError as wrong:
                return Check(False, str(wrong))
            except Exception as error:
                reason = " ".join(str(error).split())
                return Check(False, f"your code stops with {type(error).__name__}: {reason}")

    return checked


@contextmanager
def explained(part: str, message: str) -> Iterator[None]:
    """Replaces an error of torch whose text contains a part by a message in words."""
    try:
        yield
    except RuntimeError as error:
        if part not in str(error):
            raise
        raise AnswerError(message) from error


def numbers(answer: Any, name: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """Returns an answer as float64, or says that it is empty or has another shape."""
    if answer is None:
        raise AnswerError(f"`{name}` is None. If it is a function, does it end with `return`?")
    if answer is ... or isinstance(answer, tuple | list) and any(part is ... for part in answer):
        raise AnswerError(f"`{name}` has no answer yet. Write it in place of `...`.")
    found = torch.as_tensor(answer).detach().double()
    if shape == () and found.numel() == 1:
        return found.reshape(())
    if shape is not None and tuple(found.shape) != shape:
        wanted = f"have shape {shape}" if shape else "be one number"
        raise AnswerError(f"`{name}` has shape {tuple(found.shape)}, and it should {wanted}.")
    return found


def is_close(found: Tensor, wanted: Any) -> bool:
    """Returns whether no value differs by more than a small share of the wanted one."""
    wanted = torch.as_tensor(wanted).double()
    return bool(((found - wanted).abs() <= CLOSE * wanted.abs()).all())


def compare(found: Tensor, right: Any, mistakes: Mapping[str, Any], otherwise: str) -> None:
    """Raises the message of the mistake that explains a wrong answer."""
    if is_close(found, right):
        return
    for message, wrong in mistakes.items():
        if is_close(found, wrong):
            raise AnswerError(message)
    raise AnswerError(otherwise)


@exercise
def sigma(answer: Callable[[Tensor], Tensor]) -> str:
    """Exercise 1: the logistic function of a tensor."""
    x = torch.tensor([2.0, -3.0, -1.0, -0.5, 1.0, 4.0])
    found = numbers(answer(x), "sigma", (6,))
    mistakes = {
        "your curve falls from 1 to 0. It must rise: e has the exponent -x.": x.neg().sigmoid(),
        "Python reads 1 / 1 + a as (1 / 1) + a. Put the sum into brackets.": 1 + x.neg().exp(),
        "the denominator is 1 + e^(-x). Your 1 is missing.": x.exp(),
        "the denominator is 1 + e^(-x). You have a minus in place of the plus.":
            1 / (1 - x.neg().exp()),
        "this is tanh, which goes from -1 to 1. The logistic function goes from 0 to 1.": x.tanh(),
    }  # fmt: skip
    compare(
        found, x.sigmoid(), mistakes, f"your sigma(2) is {found[0]:.3f}, and it should be 0.881."
    )
    if not numbers(answer(torch.tensor([-1000.0, 1000.0])), "sigma").isfinite().all():
        raise AnswerError(
            "your formula is right, but sigma(1000) is not a number, because a computer takes "
            "e^1000 for infinite. In 1 / (1 + e^(-x)) this does no harm."
        )
    return "sigma turns any number into a probability, and 0 into 0.5."


def gate_of(outputs: Tensor) -> str:
    """Returns the name of the gate whose outputs at the corners, (4,), are on the same side."""
    sides = tuple((outputs > 0.5).int().tolist())
    return next(name for name, table in GATES.items() if table == sides)


def check_gate(outputs: Tensor, wanted: str, unit: str) -> None:
    """Checks outputs (4,) at the corners: first their sides, then their distance from 0 and 1."""
    found, truth = gate_of(outputs), torch.tensor(GATES[wanted]).double()
    errors = (outputs - truth).abs()
    worst = int(errors.argmax())
    x1, x2 = (int(x) for x in CORNERS[worst])
    place = f"at ({x1}, {x2}) it gives {outputs[worst]:.2f}, and should give {truth[worst]:.0f}"
    if is_close(outputs, outputs.mean()):
        raise AnswerError(f"{unit} gives {outputs[0]:.2f} at all four corners, so it is no gate.")
    if GATES[found] == tuple(1 - bit for bit in GATES[wanted]):
        raise AnswerError(
            f"{unit} computes {found}, the opposite of {wanted}. Change the sign of all its "
            "numbers."
        )
    if (found, wanted) == ("OR", "AND"):
        raise AnswerError(
            f"{unit} computes OR, not AND: one input alone turns it on. Lower b, so that it needs "
            "both."
        )
    if found != wanted:
        raise AnswerError(f"{unit} computes {found}, not {wanted}: {place}.")
    if errors[worst] > SURE:
        raise AnswerError(
            f"{unit} computes {wanted}, but it is not sure enough: {place}. Multiply all numbers "
            "by 5. The line stays where it is, and the step becomes steeper."
        )


@exercise
def gates(and_gate: Any, nand_gate: Any) -> str:
    """Exercise 2: (w1, w2, b) of two logistic units."""
    for wanted, answer in (("AND", and_gate), ("NAND", nand_gate)):
        name = f"{wanted.lower()}_gate"
        weights = numbers(answer, name, (3,))
        check_gate((CORNERS @ weights[:2] + weights[2]).sigmoid(), wanted, f"`{name}`")
    return "both gates are right. NAND has the numbers of AND with the other sign."


@exercise
def xor(hidden_weights: Any, hidden_biases: Any, output_weights: Any, output_bias: Any) -> str:
    """Exercise 3: weights (2, 2) and biases (2,) of two hidden units, then of the output unit."""
    weights = numbers(hidden_weights, "hidden_weights", (2, 2))
    biases = numbers(hidden_biases, "hidden_biases", (2,))
    last = numbers(output_weights, "output_weights", (2,))
    bias = numbers(output_bias, "output_bias", ())
    hidden = (CORNERS @ weights.T + biases).sigmoid()
    outputs = (hidden @ last + bias).sigmoid()
    first, second = (gate_of(unit) for unit in hidden.T)
    if gate_of(outputs) not in ("XOR", "XNOR"):
        if first == second:
            raise AnswerError(
                f"both hidden units compute {first}. They must draw two different lines."
            )
        if is_close(hidden.sum(dim=1), 1.0):
            raise AnswerError(
                f"the hidden units compute {first} and {second}. One is the opposite of the other, "
                "so together they know no more than one of them. Move one of the two lines."
            )
        if gate_of(((hidden > 0.5).double() @ last + bias).sigmoid()) == "XOR":
            raise AnswerError(
                f"{first} and {second} are good hidden units, but they are not sure enough. "
                "Multiply their weights and biases by 5: their lines stay where they are."
            )
        raise AnswerError(
            f"the hidden units compute {first} and {second}, and the output is {gate_of(outputs)}, "
            "not XOR. With OR and NAND as hidden units, the output unit is an AND of the two."
        )
    check_gate(outputs, "XOR", "the output unit")
    return f"{first} and {second} together make XOR. `GateMLP.by_hand` has such weights, too."


@exercise
def softmax(answer: Callable[[Tensor], Tensor]) -> str:
    """Exercise 4: outputs (B, C) -> probabilities (B, C)."""
    y = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    message = (
        "a sum or maximum of each row has shape (2,), which does not fit (2, 3). With "
        "`keepdim=True` it has shape (2, 1)."
    )
    with explained("must match", message):
        found = numbers(answer(y), "softmax", (2, 3))
    upside_down = "the largest output gets the smallest probability. Look at the sign of y."
    mistakes = {
        upside_down: y.neg().softmax(dim=1),
        upside_down + " Look at the sum, too: it must run along a row.": y.neg().softmax(dim=0),
        "each column sums to 1, but a row is one example. Sum with `dim=1, keepdim=True`.":
            y.softmax(dim=0),
        "the whole batch sums to 1, but each row should. Sum with `dim=1, keepdim=True`.":
            y.exp() / y.exp().sum(),
        "the rows do not sum to 1. Divide each row by its sum.": y.exp(),
        "these are the logarithms of the probabilities.": y.log_softmax(dim=1),
    }  # fmt: skip
    row = ", ".join(f"{p:.3f}" for p in found[0])
    compare(
        found,
        y.softmax(dim=1),
        mistakes,
        f"for the outputs 2, 1, 0 you get {row}, and it should be 0.665, 0.245, 0.090.",
    )
    large = torch.tensor([[1000.0, 999.0, 998.0], [0.0, 1.0, 2.0]])
    first, second = (
        is_close(a, b)
        for a, b in zip(numbers(answer(large), "softmax"), large.softmax(dim=1), strict=True)
    )
    if first and not second:
        raise AnswerError(
            "you subtract the largest output of the whole batch, and all e^y of another row become "
            "0. Subtract from each row its own largest output: `y.amax(dim=1, keepdim=True)`."
        )
    if not (first and second):
        raise AnswerError(
            "small outputs work, but e^1000 is infinite for a computer, and infinite / infinite is "
            "not a number. Subtract from each row its largest output first. The result is the same."
        )
    return "all three slips are mended, and the outputs may be as large as they like."


@exercise
def cross_entropy(answer: Any, probabilities: Tensor, labels: Tensor) -> str:
    """Exercise 5: the loss of predictions (B, C) for labels (B,)."""
    found = numbers(answer, "loss", ())
    true = probabilities[torch.arange(len(labels)), labels]
    right = cross_entropy_of_logits(probabilities.log(), labels)
    one_hot = F.one_hot(labels, probabilities.shape[1]).to(probabilities.dtype)
    mistakes = {
        "a logarithm of a probability is negative. The minus in front is missing.": -right,
        "this is the sum over the flowers. Divide it by their number.": right * len(labels),
        "divide by the number of flowers, not by the number of all probabilities.":
            right / probabilities.shape[1],
        "this is the logarithm with base 2. The formula has the natural one, `torch.log`.":
            right / log(2),
        "this is the logarithm with base 10. The formula has the natural one, `torch.log`.":
            right / log(10),
        "you took the mean first, then the logarithm. It is the other way round.":
            -true.mean().log(),
        "you took the largest probability of each row. It is the probability of the true class "
        "that counts, even where the network prefers another one.":
            -probabilities.amax(dim=1).log().mean(),
        "this is the mean of 1 - p. The logarithm is missing.": 1 - true.mean(),
        "torch's `cross_entropy` takes outputs before the softmax and applies the softmax itself. "
        "Take the logarithms of these probabilities in place of it.":
            F.cross_entropy(probabilities, labels),
        "this is the binary cross-entropy, in which the wrong classes count, too.":
            F.binary_cross_entropy(probabilities, one_hot),
    }  # fmt: skip
    compare(
        found,
        right,
        mistakes,
        f"your loss is {found:.4f}. For one flower it is -log p, with the p of its true class: "
        f"{-true[0].log():.4f} for the first one.",
    )
    return "the loss is 0 only if each true class has probability 1."


@exercise
def gradient(
    by_differences: Callable[..., Any],
    by_autograd: Callable[..., Any],
    loss: Callable[[Tensor], Tensor],
) -> str:
    """Exercise 6: the gradient of a loss at weights (3,), computed in two ways."""
    weights = torch.tensor([0.5, -0.3, 0.2], dtype=torch.float64)
    leaf = weights.clone().requires_grad_()
    (right,) = torch.autograd.grad(loss(leaf), leaf)
    check_differences(by_differences, loss, weights, right)
    check_autograd(by_autograd, loss, weights, right)
    return "backpropagation finds the same slopes, without two more losses for each weight."


def check_differences(
    by_differences: Callable[..., Any], loss: Any, weights: Tensor, right: Tensor
) -> None:
    """Compares finite differences at weights (3,) with the gradient (3,)."""
    given = weights.clone()
    found = numbers(by_differences(loss, given), "by_differences", (3,))
    if not is_close(given, weights):
        raise AnswerError(
            "`by_differences` changes the weights that it gets. Change a copy: `weights.clone()`."
        )
    if not found.any():
        raise AnswerError(
            "all differences are 0, so both losses belong to the same weights. `a = weights` makes "
            "no copy, `a = weights.clone()` does."
        )
    mistakes = {
        "your gradient has the opposite sign. Take L(w + h) - L(w - h), in this order.": -right,
        "your gradient is twice as large as it should be: w + h and w - h are 2h apart.": 2 * right,
        "your gradient is half as large as it should be: w + h and w are h apart, not 2h.":
            right / 2,
        "all three numbers are the same, because you move all weights at once. Move one at a time.":
            right.sum().expand(3),
    }  # fmt: skip
    text = ", ".join(f"{slope:.4f}" for slope in right)
    otherwise = f"your differences are not the gradient, {text}. h should be about 1e-5."
    compare(found, right, mistakes, otherwise)


def check_autograd(
    by_autograd: Callable[..., Any], loss: Any, weights: Tensor, right: Tensor
) -> None:
    """Compares what autograd finds at weights (3,) with the gradient (3,), two times."""
    given = weights.clone()
    message = (
        "`by_autograd` takes the gradient of weights that do not ask for one: start with "
        "`weights.clone().requires_grad_()`."
    )
    with explained("does not require grad", message):
        first = numbers(by_autograd(loss, given), "by_autograd", (3,)).clone()
    mistakes = {"`by_autograd` has the opposite sign.": -right}
    text = ", ".join(f"{slope:.4f}" for slope in right)
    otherwise = f"`by_autograd` does not return the gradient, {text}."
    compare(first, right, mistakes, otherwise)
    second = numbers(by_autograd(loss, given), "by_autograd", (3,))
    mistakes = {
        "the second call of `by_autograd` returns twice the gradient, because `backward` adds to "
        "`.grad`. Take the gradient of a copy: `weights.clone().requires_grad_()`.": 2 * right
    }
    otherwise = "the second call of `by_autograd` does not return the same as the first."
    compare(second, right, mistakes, otherwise)


def descend(model: FunctionMLP, batch: Any, steps: int, adds_up: bool) -> list[float]:
    """Trains a model by gradient descent and returns the loss before each step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    losses = []
    for _ in range(steps):
        if not adds_up:
            optimizer.zero_grad()
        loss = model.step(batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@exercise
def training(answer: Callable[..., Any], batch: Any) -> str:
    """Exercise 7: a training loop (model, batch, steps) -> losses before each step."""
    steps = 100

    def new_model() -> FunctionMLP:
        torch.manual_seed(0)
        return FunctionMLP()

    message = "`step` comes between the loss and `backward`. First `backward`, then `step`."
    with explained("inplace operation", message):
        found = numbers(answer(new_model(), batch, steps), "train", (steps,))
    right, added = (
        torch.tensor(descend(new_model(), batch, steps, adds_up)) for adds_up in (False, True)
    )
    mistakes = {
        "the gradients of all earlier steps add up, because `backward` adds to `.grad`. Set them "
        "to zero in each step.": added,
        "the loss never changes, so the weights do not move. Do you set the gradients to zero "
        "between `backward` and `step`, or is `step` missing?": right[0].expand(steps),
    }  # fmt: skip
    compare(
        found,
        right,
        mistakes,
        f"the last loss is {found[-1]:.3f}, and it should be {right[-1]:.3f}. Change nothing "
        "but the gradients: keep SGD and its learning rate.",
    )
    return f"the loss falls from {right[0]:.2f} to {right[-1]:.2f}, without swings."


@exercise
def dropout(answer: Callable[[Tensor, float, bool], Tensor]) -> str:
    """Exercise 8: sets a share p of values to 0 in training, and scales the others."""
    p, values = 0.2, torch.full((200, 300), 3.0)
    given = values.clone()
    found = numbers(answer(given, p, True), "dropout", (200, 300))
    if not is_close(given.double(), values):
        raise AnswerError("your function changes the values that it gets. Make new ones.")
    dropped = found == 0
    share = float(dropped.double().mean())
    if share in (0.0, 1.0) and is_close(found, found[0, 0]):
        raise AnswerError(
            "either all values are dropped or none is. Draw a random number for each value: "
            "`torch.rand_like(values)`."
        )
    if dropped.all(dim=0).any() or dropped.all(dim=1).any():
        raise AnswerError(
            "whole rows or columns are dropped. Draw a random number for each value: "
            "`torch.rand_like(values)`."
        )
    if abs(share - p) > 0.02:
        swapped = abs(share - (1 - p)) < 0.02
        reason = "p is the share that is dropped, and 1 - p the share that stays. " * swapped
        raise AnswerError(f"{reason}For p = 0.2 you drop {share:.2f} of the values.")
    kept = found[~dropped] / 3
    mistakes = {
        "the values that stay are not scaled, so the mean falls from 3 to 2.4. Divide them by "
        "1 - p.": 1.0,
        "you multiply the values that stay by 1 - p. Divide them by it, because the mean must not "
        "change.": 1 - p,
        "you divide by p. Divide by 1 - p, the share that stays.": 1 / p,
        "you multiply by p. Divide by 1 - p, the share that stays.": p,
    }  # fmt: skip
    compare(
        kept,
        1 / (1 - p),
        mistakes,
        "the values that stay should all be divided by 1 - p: 3 becomes 3.75.",
    )
    if is_close(numbers(answer(values.clone(), p, True), "dropout"), found):
        raise AnswerError("the same values are dropped in each call. Set no seed in the function.")
    calm = numbers(answer(values.clone(), p, False), "dropout", (200, 300))
    if (calm == 0).any():
        raise AnswerError("values are dropped in evaluation, too. Return them as they are there.")
    compare(calm, values, {}, "values are scaled in evaluation. Return them as they are there.")
    return "the mean stays the same, so evaluation needs no change. `nn.Dropout` does this, too."


@exercise
def convolution(side: Callable[..., Any], parameters: Callable[..., Any]) -> str:
    """Exercise 9: side of the output and number of parameters of a convolutional layer."""
    check_sides(side)
    check_parameters(parameters)
    return "the size of the image does not appear in the number of parameters."


def check_sides(side: Callable[..., Any]) -> None:
    """Compares sides of the output with those of torch's layers."""
    cases = [(28, 3, 1, 0), (28, 5, 2, 2), (14, 4, 1, 1), (27, 4, 3, 2)]  # n, k, s, p
    found = torch.stack([numbers(side(*case), "side", ()) for case in cases])
    right = [nn.Conv2d(1, 1, k, s, p)(torch.zeros(1, 1, n, n)).shape[2] for n, k, s, p in cases]
    mistakes = {
        "the + 1 at the end is missing.": [side - 1 for side in right],
        "there is padding on both sides: 2p, not p.":
            [(n + p - k) // s + 1 for n, k, s, p in cases],
        "the padding is missing.": [(n - k) // s + 1 for n, k, s, p in cases],
        "the stride is missing.": [n + 2 * p - k + 1 for n, k, s, p in cases],
        "a side is a whole number. Round the fraction down: `//` in place of `/`.":
            [(n + 2 * p - k) / s + 1 for n, k, s, p in cases],
        "round the fraction down, not up.": [-((k - n - 2 * p) // s) + 1 for n, k, s, p in cases],
    }  # fmt: skip
    case = next((i for i, wanted in enumerate(right) if found[i] != wanted), 0)
    compare(
        found,
        right,
        mistakes,
        "for side {}, kernel {}, stride {} and padding {}".format(*cases[case])
        + f" you get {found[case]:g}, and torch gets {right[case]}.",
    )


def check_parameters(parameters: Callable[..., Any]) -> None:
    """Compares numbers of parameters with those of torch's layers."""
    layers = [(1, 32, 3), (32, 64, 5), (3, 8, 4)]  # channels in, channels out, kernel
    count = torch.stack([numbers(parameters(*layer), "parameters", ()) for layer in layers])
    exact = [sum(prod(part.shape) for part in nn.Conv2d(*layer).parameters()) for layer in layers]
    mistakes = {
        "the biases are missing: one for each filter.": [c * d * k * k for c, d, k in layers],
        "each filter has its own bias, not all of them one.":
            [c * d * k * k + 1 for c, d, k in layers],
        "there is one bias for each output channel, not for each input channel.":
            [c * d * k * k + c for c, d, k in layers],
        "a filter looks at all input channels. Multiply by their number.":
            [d * k * k + d for c, d, k in layers],
        "a filter has k x k pixels, not k.": [c * d * k + d for c, d, k in layers],
    }  # fmt: skip
    compare(
        count,
        exact,
        mistakes,
        "a layer from 1 to 32 channels with 3 x 3 filters has 320 parameters, and you get "
        f"{count[0]:g}.",
    )


@exercise
def generator_loss(answer: Callable[[Tensor], Tensor], old_slope: Any, new_slope: Any) -> str:
    """Exercise 10: the loss of logits (B,), and the slopes of two losses where D is 0.01."""
    t = torch.tensor([-7.0, -2.0, 0.0, 3.0], requires_grad=True)
    loss = answer(t)
    numbers(loss, "generator_loss", ())
    if not loss.requires_grad:
        raise AnswerError("your loss does not depend on t, so the generator learns nothing.")
    (found,) = torch.autograd.grad(loss, t)
    (right,), (old,) = (
        torch.autograd.grad(game.generator(t), t) for game in (NonSaturating(), Minimax())
    )
    d = t.detach().sigmoid()
    mistakes = {
        "this is still the old loss, log(1 - D). Where D is near 0, its slope is near 0.": old,
        "the sign is wrong: this loss falls if D falls. It must fall if D rises.": -right,
        "this is the discriminator's loss for generated images. It falls if D falls, and the "
        "generator wants the opposite.": -old,
        "without the logarithm the slope is near 0 again where D is near 0.": -d * (1 - d) / 4,
        "this is the sum of the losses. Take their mean.": 4 * right,
    }
    compare(
        found.double(), right, mistakes, "the slope of your loss is not that of the mean of -log D."
    )
    sure = torch.tensor([-200.0], requires_grad=True)
    if not torch.autograd.grad(answer(sure), sure)[0].isfinite().all():
        raise AnswerError(
            "your formula is right, but for t = -200 the computer takes D for 0, and log 0 is "
            "infinite. Use `torch.nn.functional.logsigmoid(t)` for log D."
        )
    d_of_fake = 0.01
    slopes = (
        ("old_slope", old_slope, -d_of_fake, -1 / (1 - d_of_fake)),
        ("new_slope", new_slope, d_of_fake - 1, -1 / d_of_fake),
    )
    for name, slope, exact, for_d in slopes:
        compare(
            numbers(slope, name, ()),
            exact,
            {
                f"`{name}` has the wrong sign: both losses fall if t rises.": -exact,
                f"`{name}` is the slope for D. That for t has one more factor, D (1 - D).": for_d,
                f"`{name}` belongs to the other loss.": -1 - exact,
            },
            f"`{name}` is not right. Use the chain rule: dD/dt = D (1 - D).",
        )
    return "where D is sure that an image is generated, the new slope is 99 times as steep."


def labels_of(counts: list[int]) -> Tensor:
    """Returns labels in which group k appears counts[k] times."""
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


@exercise
def collapse(answer: Callable[[Tensor, int], Any], collapsed: Any) -> str:
    """Exercise 11: the effective number of groups among labels, and the set that collapsed."""
    cases = [[50] * 8, [300, 60, 20, 10, 5, 3, 1, 1], [70, 30, 50, 20, 30, 100, 50, 50]]

    def found_in(counts: list[int]) -> Tensor:
        return numbers(answer(labels_of(counts), len(counts)), "effective_groups", ())

    shares = torch.tensor(cases).double()
    shares /= shares.sum(dim=1, keepdim=True)
    entropy = -(shares * shares.log()).sum(dim=1)
    found = torch.stack([found_in(counts) for counts in cases])
    mistakes = {
        "this is the entropy. Raise e to it.": entropy,
        "the minus is missing, so you get 1 / N.": (-entropy).exp(),
        "this is the negative entropy. Change its sign, then raise e to it.": -entropy,
        "you take the logarithm with base 2, but raise e to it. Use `torch.log`.":
            (entropy / log(2)).exp(),
        "you count the groups that appear. A group that appears once in 400 counts as much as the "
        "others, so this number hardly sees a collapse.": [8.0] * 3,
        "this is 1 / (sum of the squared shares): a good measure, too, but not this formula.":
            1 / shares.square().sum(dim=1),
    }  # fmt: skip
    compare(
        found,
        entropy.exp(),
        mistakes,
        f"for eight groups of 50 labels each you get {found[0]:.3g}, and for the counts "
        f"{cases[1]} {found[1]:.3g}. It should be 8 and {entropy[1].exp():.3g}. Are these "
        "shares, which sum to 1?",
    )
    hole = found_in([100, 0, 100, 0])
    if hole.isnan():
        raise AnswerError(
            "if a group is missing, you get nan, because log 0 is infinite. Leave out the shares "
            "that are 0."
        )
    compare(hole, 2.0, {}, f"for two of four groups, equally often, you get {hole:.3g}, not 2.")
    if collapsed is ...:
        raise AnswerError("your number is right. Now write into `collapsed` which set it is.")
    reasons = {
        "A": "A never draws one group, but it draws the other seven often. Compare the numbers.",
        "B": "B draws all eight groups about equally often, so nothing is lost there.",
    }
    if collapsed != "C":
        raise AnswerError(reasons.get(collapsed, '`collapsed` should be "A", "B" or "C".'))
    return "C draws every group, so counting would miss it, but nearly all its points are in one."


class Recorder:
    """Stands in for a conditional GAN, and remembers what it was asked to draw."""

    latent_dim, num_classes = 2, 8

    def __call__(self, latents: Tensor, labels: Tensor) -> Tensor:
        self.latents, self.labels = latents, labels
        return latents


@exercise
def condition(generator_input: Callable[..., Any], draw: Callable[..., Any]) -> str:
    """Exercise 12: one-hot classes beside latents, and points of one class."""
    check_joined(generator_input)
    check_drawn(draw)
    return "the noise says which point, and the label says of which class."


def check_joined(generator_input: Callable[..., Any]) -> None:
    """Checks the input of a generator for four latents (4, 2) and their labels."""
    latents, labels = torch.randn(4, 2), torch.tensor([3, 0, 5, 3])
    one_hot = F.one_hot(labels, 8)
    message = "join the columns of both, side by side: `torch.cat([...], dim=1)`."
    with explained("must match", message):
        answer = generator_input(latents, labels)
    columns = {
        2: "the generator is not told the class: its input has the columns of the latents only.",
        3: "you joined the label as one number. Then class 6 would be twice class 3, which means "
        "nothing. Make it one-hot, with 8 columns.",
        8: "there are 8 columns, and there should be 2 + 8. `one_hot` makes only as many columns "
        "as the largest label needs: tell it `num_classes=8`. Then join them with the latents.",
    }
    found = numbers(answer, "generator_input")
    if found.shape != (4, 10):
        other = (
            f"for 4 latents the shape should be (4, 10), and it is {tuple(found.shape)}. Join with "
            "`torch.cat([...], dim=1)`."
        )
        has_four_rows = found.dim() == 2 and len(found) == 4
        raise AnswerError(columns.get(found.shape[1], other) if has_four_rows else other)
    compare(
        found,
        torch.cat([latents, one_hot], dim=1),
        {"the latents come first, then the classes.": torch.cat([one_hot, latents], dim=1)},
        "the first two columns should be the latents, and the other eight 1 in the column of "
        "the class and 0 elsewhere.",
    )


def check_drawn(draw: Callable[..., Any]) -> None:
    """Checks what a generator is asked for, to draw 500 points of one class."""
    gan = Recorder()
    drawn = draw(gan, 6, 500)
    numbers(drawn, "draw", (500, 2))
    if not hasattr(gan, "labels"):
        raise AnswerError("`draw` does not call the generator. Call `gan(latents, labels)`.")
    if not isinstance(gan.labels, Tensor) or gan.labels.is_floating_point():
        raise AnswerError(
            "the generator needs a tensor of labels that are whole numbers: "
            "`torch.full((count,), label)`."
        )
    if tuple(gan.labels.shape) != (500,) or not (gan.labels == 6).all():
        raise AnswerError("for `draw(gan, 6, 500)` the labels should be 500 times the number 6.")
    if gan.latents.std(dim=0).max() < 0.1:
        raise AnswerError("all latents are the same, so all points are. Draw one for each point.")
    if gan.latents.min() >= 0:
        raise AnswerError(
            "`torch.rand` draws numbers between 0 and 1, but this generator is trained with normal "
            "ones: `torch.randn`."
        )
