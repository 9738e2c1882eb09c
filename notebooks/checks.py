"""Checks of the exercises: each says whether an answer is right, and in words what is wrong.

A check never stops the notebook. It compares an answer with the right one, then with the results of
typical mistakes. It shows what was computed, but no right number, which could be copied.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from math import log, prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metrics.formulas import frechet_distance
from models import FunctionMLP
from models.autoencoder import kl
from models.classifier import cross_entropy as cross_entropy_of_logits
from models.gan.discriminator import NonSaturating
from models.gan.losses import Minimax

CLOSE = 2e-3  # largest relative error of an answer, so that rounded numbers pass
TWO_DIGITS = 0.005  # largest error of a number that is rounded to two digits after the point
SHOWN = 4  # numbers of an answer that a message shows
LEARNING_RATE = 0.03  # of the training loop to mend
SURE = 0.1  # largest distance of a gate's output from 0 or 1
ROWS = "a sum or maximum of rows has shape (B,). `keepdim=True` makes it (B, 1), which fits (B, C)."
REMEDY = "This is not right. Check each step with numbers that are easy to compute by hand."
NOT_TENSORS = (AttributeError, RuntimeError, TypeError, ValueError)  # of code for other numbers
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


RESULTS: dict[int, Check | None] = {}  # the last check of each exercise; None: not checked


class AnswerError(Exception):
    """Says in words what is wrong with an answer."""


def exercise(number: int) -> Callable[[Callable[..., str]], Callable[..., Check]]:
    """Makes a `Check` of a function that returns praise or raises `AnswerError`."""

    def decorate(check: Callable[..., str]) -> Callable[..., Check]:
        RESULTS[number] = None

        @wraps(check)
        def checked(*answers: Any) -> Check:
            with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # NumPy's about tensors and overflows
                torch.manual_seed(0)
                try:
                    found = Check(True, check(*answers))
                except AnswerError as wrong:
                    found = Check(False, str(wrong))
                except Exception as error:
                    reason = " ".join(str(error).split())
                    found = Check(False, f"your code stops with {type(error).__name__}: {reason}")
            RESULTS[number] = found
            return found

        return checked

    return decorate


def hand_in() -> str:
    """Returns the line to hand in: which exercises are right, by the last check of each."""
    right = [number for number, found in RESULTS.items() if found]
    tried = [number for number, found in RESULTS.items() if found is not None]
    groups = [
        (f"{len(right)} of {len(RESULTS)} right", right),
        ("not yet", [number for number in tried if number not in right]),
        ("not checked", [number for number in RESULTS if number not in tried]),
    ]
    parts = [f"{title}: {ranges(found)}" for title, found in groups if found]
    return "; ".join(parts if right else [groups[0][0], *parts])


def ranges(found: Sequence[int]) -> str:
    """Returns 1, 2, 3 and 5 as "1-3, 5"."""
    firsts = [number for number in found if number - 1 not in found]
    lasts = [number for number in found if number + 1 not in found]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(firsts, lasts, strict=True))


@contextmanager
def explained(pattern: str, message: str) -> Iterator[None]:
    """Replaces an error of torch or NumPy whose text has a pattern by a message in words."""
    try:
        yield
    except NOT_TENSORS as error:
        if not re.search(pattern, str(error)):
            raise
        raise AnswerError(message) from error


def numbers(answer: Any, name: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """Returns an answer as float64, or says that it is empty, no number or of another shape."""
    if answer is None:
        raise AnswerError(f"`{name}` is None. If it is a function, does it end with `return`?")
    if "Ellipsis" in repr(answer):
        raise AnswerError(f"`{name}` has no answer yet. Write it in place of `...`.")
    try:
        found = torch.as_tensor(answer).detach().real.double()
    except NOT_TENSORS as error:
        marks = " Leave out the quotation marks." if "str" in str(error) else ""
        text = f"`{name}` should be numbers, and it is {answer!r:.60}.{marks}"
        raise AnswerError(text) from error
    if shape == () and found.numel() == 1:
        return found.reshape(())
    if shape is not None and tuple(found.shape) != shape:
        wanted = f"shape {shape}" if shape else "one number"
        comma = " Write 0.5, not 0,5." if isinstance(answer, tuple) and shape == () else ""
        raise AnswerError(f"`{name}` has shape {tuple(found.shape)}, expected {wanted}.{comma}")
    return found


def result(answer: Any, name: str, shape: tuple[int, ...] | None, *given: Any) -> Tensor:
    """Returns what a function computes, as float64. It may be written with torch or NumPy."""
    if answer is ...:
        numbers(answer, name)
    if not callable(answer):
        raise AnswerError(f"`{name}` should be a function, and it is {answer!r:.60}.")
    try:
        return numbers(answer(*given), name, shape)
    except NOT_TENSORS as error:
        arrays = [value.numpy() if isinstance(value, Tensor) else value for value in given]
        try:
            return numbers(answer(*arrays), name, shape)
        except NOT_TENSORS as later:
            in_numpy = isinstance(error, TypeError) and isinstance(later, ValueError)
            raise (later if in_numpy else error) from None


def is_close(found: Tensor, wanted: Any, rounding: float = 0.0) -> bool:
    """Returns whether no value is further from the wanted one than a small share or rounding."""
    wanted = torch.as_tensor(wanted).double()
    return bool(((found - wanted).abs() <= (CLOSE * wanted.abs()).clamp(min=rounding)).all())


def compare(
    found: Tensor,
    right: Any,
    mistakes: Mapping[str, Any],
    name: str | Sequence[str],
    hint: str = "",
    rounding: float = 0.0,
) -> None:
    """Raises the message of the mistake that explains a wrong answer, or the hint, and the answer.

    `name` is one for the answer, or one for each row, of which the first wrong one is shown.
    """
    if is_close(found, right, rounding):
        return
    reasons = [text for text, wrong in mistakes.items() if is_close(found, wrong, rounding)]
    reason = next(iter(reasons), hint)
    if not isinstance(name, str):
        rows = enumerate(zip(found, torch.as_tensor(right), strict=True))
        row = next(i for i, pair in rows if not is_close(*pair, rounding))
        found, name = found[row], name[row]
    answer = f"computed {shown(found)} for {name}"
    raise AnswerError(f"{reason} You {answer}." if reason else f"you {answer}. {REMEDY}")


def shown(values: Any) -> str:
    """Returns the first numbers of an answer as text."""
    texts = [f"{value:.4g}" for value in torch.as_tensor(values).double().flatten().tolist()]
    both = ", ".join(texts[:SHOWN]) + ", ..." * (len(texts) > SHOWN)
    return both if len(texts) == 1 else f"({both})"


@exercise(1)
def sigma(answer: Callable[..., Any]) -> str:
    """Exercise 1: the logistic function of a tensor, or of one number."""
    x = torch.tensor([2.0, -3.0, -1.0, -0.5, 1.0, 4.0])
    all_x = torch.cat([x, torch.tensor([-1000.0, 1000.0])])
    try:
        found = result(answer, "sigma", (8,), all_x)
    except NOT_TENSORS:  # `math.exp` takes one number, and none as large as 1000
        each = [result(answer, "sigma", (), value) for value in x.tolist()]
        found = torch.cat([torch.stack(each), all_x[6:].sigmoid()])
    mistakes = {
        "your curve falls from 1 to 0. It must rise: e has the exponent -x.": x.neg().sigmoid(),
        "Python reads 1 / 1 + a as (1 / 1) + a. Put the sum into brackets.": 1 + x.neg().exp(),
        "the denominator is 1 + e^(-x). Your 1 is missing.": x.exp(),
        "the denominator is 1 + e^(-x). You have a minus.": 1 / (1 - x.neg().exp()),
        "this is tanh, which goes from -1 to 1. The logistic function goes from 0 to 1.": x.tanh(),
    }
    names = [f"sigma({value:g})" for value in all_x]
    compare(found[:6], x.sigmoid(), mistakes, names)
    hint = "your formula is right, but e^1000 is infinite. In 1 / (1 + e^(-x)) this does no harm."
    compare(found, all_x.sigmoid(), {}, names, hint)
    return "sigma turns any number into a probability, and 0 into 0.5."


def gate_of(outputs: Tensor) -> str:
    """Returns the name of the gate whose outputs at the corners, (4,), are on the same side."""
    sides = tuple((outputs > 0.5).int().tolist())
    return next(name for name, table in GATES.items() if table == sides)


def check_gate(outputs: Tensor, wanted: str, unit: str, reason: str = "") -> None:
    """Checks outputs (4,) at the corners: first their sides, then their distance from 0 and 1."""
    found, truth = gate_of(outputs), torch.tensor(GATES[wanted]).double()
    errors = (outputs - truth).abs()
    if (errors <= SURE).all():
        return
    if is_close(outputs, outputs.mean()):
        slip = "gives the same at all four corners, so it is no gate."
    elif GATES[found] == tuple(1 - bit for bit in GATES[wanted]):
        slip = f"computes {found}, the opposite of {wanted}. Change the sign of all its numbers."
    elif (found, wanted) == ("OR", "AND"):
        slip = "computes OR, not AND: one input alone turns it on. Lower b."
    elif found != wanted:
        slip = f"computes {found}, not {wanted}."
    else:
        slip = f"computes {wanted}, but it is not sure enough. Multiply all by 5: the line stays."
    worst = int(errors.argmax())
    x1, x2 = (int(x) for x in CORNERS[worst])
    place = f"At ({x1}, {x2}) it computes {outputs[worst]:.2f}, expected {truth[worst]:.0f}."
    raise AnswerError(f"{reason or f'{unit} {slip}'} {place}")


@exercise(2)
def gates(and_gate: Any, nand_gate: Any) -> str:
    """Exercise 2: (w1, w2, b) of two logistic units."""
    for wanted, answer in (("AND", and_gate), ("NAND", nand_gate)):
        name = f"{wanted.lower()}_gate"
        weights = numbers(answer, name, (3,))
        check_gate((CORNERS @ weights[:2] + weights[2]).sigmoid(), wanted, f"`{name}`")
    return "both gates are right. NAND has the numbers of AND with the other sign."


@exercise(3)
def xor(hidden_weights: Any, hidden_biases: Any, output_weights: Any, output_bias: Any) -> str:
    """Exercise 3: weights (2, 2) and biases (2,) of two hidden units, then of the output unit."""
    weights = numbers(hidden_weights, "hidden_weights", (2, 2))
    biases = numbers(hidden_biases, "hidden_biases", (2,))
    last = numbers(output_weights, "output_weights", (2,))
    bias = numbers(output_bias, "output_bias", ())
    hidden = (CORNERS @ weights.T + biases).sigmoid()
    outputs = (hidden @ last + bias).sigmoid()
    first, second = (gate_of(unit) for unit in hidden.T)
    both = f"{first} and {second}"
    if gate_of(outputs) in ("XOR", "XNOR"):
        reason = ""
    elif first == second:
        reason = f"both hidden units compute {first}. They must draw two different lines."
    elif is_close(hidden.sum(dim=1), 1.0):
        reason = f"the hidden units compute {both}. One is the opposite of the other. Move a line."
    elif gate_of(((hidden > 0.5).double() @ last + bias).sigmoid()) == "XOR":
        reason = f"{both} are good hidden units, but not sure enough. Multiply their numbers by 5."
    else:
        reason = (
            f"the hidden units compute {both}, and the output is {gate_of(outputs)}, not XOR. If "
            "they compute OR and NAND, the output is an AND of the two."
        )
    check_gate(outputs, "XOR", "the output unit", reason)
    return f"{first} and {second} together make XOR. `GateMLP.by_hand` has such weights, too."


@exercise(4)
def softmax(answer: Callable[[Tensor], Tensor]) -> str:
    """Exercise 4: outputs (B, C) -> probabilities (B, C)."""
    y = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    message = "`max` with `dim` returns values and indices. `amax` returns the values alone."
    with explained("must match|broadcast", ROWS), explained("return_types", message):
        found = result(answer, "softmax", (2, 3), y)
    upside_down = "the largest output gets the smallest probability. Look at the sign of y."
    mistakes = {
        upside_down: y.neg().softmax(dim=1),
        upside_down + " Look at the sum, too: it must run along a row.": y.neg().softmax(dim=0),
        "each column sums to 1, but each row should: `dim=1, keepdim=True`.": y.softmax(dim=0),
        "the whole batch sums to 1, but each row should: `dim=1, keepdim=True`.":
            y.exp() / y.exp().sum(),
        "the rows do not sum to 1. Divide each row by its sum.": y.exp(),
        "these are the logarithms of the probabilities.": y.log_softmax(dim=1),
    }  # fmt: skip
    compare(found, y.softmax(dim=1), mistakes, ["the outputs 2, 1, 0", "the outputs 0, 3, 0"])
    large = torch.tensor([[1000.0, 999.0, 998.0], [0.0, 1.0, 2.0]])
    found, right = result(answer, "softmax", (2, 3), large), large.softmax(dim=1)
    hint = "subtract from each row its own maximum, not the largest output of the whole batch."
    if not is_close(found[0], right[0]):
        hint = "small outputs work, but e^1000 is infinite. Subtract from each row its maximum."
    compare(found, right, {}, ["the outputs 1000, 999, 998", "the outputs 0, 1, 2"], hint)
    return "all three slips are mended, and the outputs may be as large as they like."


@exercise(5)
def cross_entropy(answer: Any, probabilities: Tensor, labels: Tensor) -> str:
    """Exercise 5: the loss of predictions (B, C) for labels (B,)."""
    found = numbers(answer, "loss", ())
    true = probabilities[torch.arange(len(labels)), labels]
    right = cross_entropy_of_logits(probabilities.log(), labels)
    one_hot = F.one_hot(labels, probabilities.shape[1]).to(probabilities.dtype)
    mistakes = {
        "a logarithm of a probability is negative. The minus in front is missing.": -right,
        "this is the sum over the flowers. Divide it by their number.": right * len(labels),
        "divide by the number of flowers, not of probabilities.": right / probabilities.shape[1],
        "this is the logarithm with base 2. Take the natural one, `torch.log`.": right / log(2),
        "this is the logarithm with base 10. Take the natural one, `torch.log`.": right / log(10),
        "you took the mean first, then the logarithm. Swap the two.": -true.mean().log(),
        "you took the largest probability of each row. That of the true class counts.":
            -probabilities.amax(dim=1).log().mean(),
        "this is the mean of 1 - p. The logarithm is missing.": 1 - true.mean(),
        "this is cut off, not rounded.": (100 * right).floor() / 100,
        "torch's `cross_entropy` takes outputs before the softmax. Pass it `probabilities.log()`.":
            F.cross_entropy(probabilities, labels),
        "this is the binary cross-entropy, in which the wrong classes count, too.":
            F.binary_cross_entropy(probabilities, one_hot),
    }  # fmt: skip
    hint = "for one flower the loss is -log p, with the p of its true class."
    compare(found, right, mistakes, "`loss`", hint, TWO_DIGITS)
    return "the loss is 0 only if each true class has probability 1."


@exercise(6)
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
    mistakes = {
        "all are 0. `a = weights` makes no copy, `a = weights.clone()` does.": 0 * right,
        "your gradient has the opposite sign. Take L(w + h) - L(w - h), in this order.": -right,
        "your gradient is twice as large as it should be: w + h and w - h are 2h apart.": 2 * right,
        "your gradient is half as large as it should be: w + h and w are h apart.": right / 2,
        "you move all weights at once. Move one at a time.": right.sum().expand(3),
    }
    hint = "your differences are not the gradient. h should be about 1e-5."
    compare(found, right, mistakes, "the gradient", hint)


def check_autograd(
    by_autograd: Callable[..., Any], loss: Any, weights: Tensor, right: Tensor
) -> None:
    """Compares what autograd finds at weights (3,) with the gradient (3,), two times."""
    given = weights.clone()
    message = (
        "`by_autograd` needs weights that ask for a gradient: `weights.clone().requires_grad_()`."
    )
    with explained("does not require grad", message):
        first = numbers(by_autograd(loss, given), "by_autograd", (3,)).clone()
    name = "the gradient by `by_autograd`"
    compare(first, right, {"`by_autograd` has the opposite sign.": -right}, name)
    second = numbers(by_autograd(loss, given), "by_autograd", (3,))
    mistakes = {
        "the second call of `by_autograd` returns twice the gradient, because `backward` adds to "
        "`.grad`. Take a copy: `weights.clone().requires_grad_()`.": 2 * right
    }
    hint = "the second call of `by_autograd` does not return the same as the first."
    compare(second, right, mistakes, name, hint)


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


@exercise(7)
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
    hint = "change nothing but the gradients: keep SGD and its learning rate."
    compare(found, right, mistakes, [f"the loss before step {i + 1}" for i in range(steps)], hint)
    return f"the loss falls from {right[0]:.2f} to {right[-1]:.2f}, without swings."


@exercise(8)
def dropout(answer: Callable[[Tensor, float, bool], Tensor]) -> str:
    """Exercise 8: sets a share p of values to 0 in training, and scales the others."""
    p, values = 0.2, torch.full((200, 300), 3.0)
    given = values.clone()
    found = numbers(answer(given, p, True), "dropout", (200, 300))
    if not is_close(given.double(), values):
        raise AnswerError("your function changes the values that it gets. Make new ones.")
    dropped = found == 0
    share = float(dropped.double().mean())
    lines = [line for dim in (0, 1) for line in (dropped.all(dim), (~dropped).all(dim))]
    if any(bool(line.any()) for line in lines):
        raise AnswerError(
            "all values are dropped or none is, of the whole batch or of a row or column. Draw a "
            "random number for each value: `torch.rand_like(values)`."
        )
    if abs(share - p) > 0.02:
        reason = "p is dropped, and 1 - p stays: " * (abs(share - (1 - p)) < 0.02)
        raise AnswerError(f"{reason}you drop {share:.2f} of the values, and p is {p}.")
    kept = found[~dropped].unique()
    mistakes = {
        "the values that stay are not scaled, so the mean falls. Divide them by 1 - p.": 3.0,
        "you multiply the values that stay by 1 - p. Divide by it.": 3 * (1 - p),
        "you divide by p. Divide by 1 - p, the share that stays.": 3 / p,
        "you multiply by p. Divide by 1 - p, the share that stays.": 3 * p,
    }
    hint = "the values that stay should all be divided by 1 - p."
    compare(kept, 3 / (1 - p), mistakes, "a value 3 that stays", hint)
    if is_close(numbers(answer(values.clone(), p, True), "dropout"), found):
        raise AnswerError("the same values are dropped in each call. Set no seed in the function.")
    calm = numbers(answer(values.clone(), p, False), "dropout", (200, 300)).unique()
    slip = "scaled" if calm.all() else "dropped"
    hint = f"values are {slip} in evaluation. Return them as they are there."
    compare(calm, 3.0, {}, "values 3 in evaluation", hint)
    return "the mean stays the same, so evaluation needs no change. `nn.Dropout` does this, too."


@exercise(9)
def convolution(side: Callable[..., Any], parameters: Callable[..., Any]) -> str:
    """Exercise 9: side of the output and number of parameters of a convolutional layer."""
    cases = [(28, 3, 1, 0), (28, 5, 2, 2), (14, 4, 1, 1), (27, 4, 3, 2)]  # n, k, s, p
    found = torch.stack([numbers(side(*case), "side", ()) for case in cases])
    right = [nn.Conv2d(1, 1, k, s, p)(torch.zeros(1, 1, n, n)).shape[2] for n, k, s, p in cases]
    mistakes = {
        "the + 1 at the end is missing.": [side - 1 for side in right],
        "both sides are padded: 2p, not p.": [(n + p - k) // s + 1 for n, k, s, p in cases],
        "the padding is missing.": [(n - k) // s + 1 for n, k, s, p in cases],
        "the stride is missing.": [n + 2 * p - k + 1 for n, k, s, p in cases],
        "round the fraction down: `//`.": [(n + 2 * p - k) / s + 1 for n, k, s, p in cases],
        "round the fraction down, not up.": [-((k - n - 2 * p) // s) + 1 for n, k, s, p in cases],
    }
    names = ["side {}, kernel {}, stride {}, padding {}".format(*case) for case in cases]
    compare(found, right, mistakes, names)
    layers = [(1, 32, 3), (32, 64, 5), (3, 8, 4)]  # channels in, channels out, kernel
    count = torch.stack([numbers(parameters(*layer), "parameters", ()) for layer in layers])
    exact = [sum(prod(part.shape) for part in nn.Conv2d(*layer).parameters()) for layer in layers]
    mistakes = {
        "the biases are missing: one for each filter.": [c * d * k * k for c, d, k in layers],
        "each filter has its own bias.": [c * d * k * k + 1 for c, d, k in layers],
        "each output channel has a bias, not each input.": [
            c * d * k * k + c for c, d, k in layers
        ],
        "a filter looks at all input channels.": [d * k * k + d for c, d, k in layers],
        "a filter has k x k pixels, not k.": [c * d * k + d for c, d, k in layers],
    }
    names = [f"{c} to {d} channels with {k} x {k} filters" for c, d, k in layers]
    compare(count, exact, mistakes, names)
    return "the size of the image does not appear in the number of parameters."


@exercise(10)
def generator_loss(answer: Callable[[Tensor], Tensor], old_slope: Any, new_slope: Any) -> str:
    """Exercise 10: the loss of logits (B,), and the slopes of two losses where D is 0.01."""
    t = torch.tensor([-7.0, -2.0, 0.0, 3.0], requires_grad=True)
    loss = answer(t)
    numbers(loss, "generator_loss", ())
    if not (isinstance(loss, Tensor) and loss.requires_grad):
        raise AnswerError("your loss does not depend on t. Leave out `.item()` and `detach`.")
    (found,) = torch.autograd.grad(loss, t)
    (right,), (old,) = (
        torch.autograd.grad(game.generator(t), t) for game in (NonSaturating(), Minimax())
    )
    d = t.detach().sigmoid()
    mistakes: dict[str, Any] = {
        "this is still the old loss, log(1 - D). Where D is near 0, its slope is near 0.": old,
        "the sign is wrong: this loss falls if D falls. It must fall if D rises.": -right,
        "this is the discriminator's loss for generated images, which falls if D falls.": -old,
        "without the logarithm the slope is near 0 again where D is near 0.": -d * (1 - d) / 4,
        "this is the sum of the losses. Take their mean.": 4 * right,
    }
    hint = "the slope of your loss is not that of the mean of -log D."
    compare(found.double(), right, mistakes, "the slopes where t is -7, -2, 0, 3", hint)
    sure = torch.tensor([-200.0], requires_grad=True)
    (found,) = torch.autograd.grad(answer(sure), sure)
    hint = "your formula is right, but log 0 is infinite. Use `torch.nn.functional.logsigmoid(t)`."
    compare(found.double(), -1.0, {}, "the slope where t is -200", hint)
    d_of_fake = 0.01
    slopes = (
        ("old_slope", old_slope, -d_of_fake, -1 / (1 - d_of_fake)),
        ("new_slope", new_slope, d_of_fake - 1, -1 / d_of_fake),
    )
    for name, slope, exact, for_d in slopes:
        mistakes = {
            f"`{name}` has the wrong sign: both losses fall if t rises.": -exact,
            f"`{name}` is the slope for D. That for t has one more factor, D (1 - D).": for_d,
            f"`{name}` belongs to the other loss.": -1 - exact,
        }
        found = numbers(slope, name, ())
        compare(found, exact, mistakes, f"`{name}`", "use the chain rule: dD/dt = D (1 - D).")
    return "where D is sure that an image is generated, the new slope is 99 times as steep."


@exercise(11)
def collapse(answer: Callable[[Tensor, int], Any], collapsed: Any) -> str:
    """Exercise 11: the effective number of groups among labels, and the set that collapsed."""
    cases = [[50] * 8, [300, 60, 20, 10, 5, 3, 1, 1], [70, 30, 50, 20, 30, 100, 50, 50]]

    def found_in(counts: list[int]) -> Tensor:
        labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        return result(answer, "effective_groups", (), labels, len(counts))

    shares = torch.tensor(cases).double()
    shares /= shares.sum(dim=1, keepdim=True)
    entropy = -(shares * shares.log()).sum(dim=1)
    found = torch.stack([found_in(counts) for counts in cases])
    mistakes = {
        "this is the entropy. Raise e to it.": entropy,
        "the minus is missing, so you get 1 / N.": (-entropy).exp(),
        "this is the negative entropy. Change its sign, then raise e to it.": -entropy,
        "you take the logarithm with base 2, but raise e to it.": (entropy / log(2)).exp(),
        "you count the groups that appear, also those that appear once in 400.": [8.0] * 3,
        "this is 1 / (sum of the squared shares): good, but not this formula.":
            1 / shares.square().sum(dim=1),
    }  # fmt: skip
    names = [f"the counts {', '.join(map(str, counts))}" for counts in cases]
    compare(found, entropy.exp(), mistakes, names, "are these shares, which sum to 1?")
    hole = found_in([100, 0, 100, 0])
    hint = "log 0 is infinite. Leave out the shares that are 0." * bool(hole.isnan())
    compare(hole, 2.0, {}, "the counts 100, 0, 100, 0", hint)
    if collapsed is ...:
        raise AnswerError("your number is right. Now write into `collapsed` which set it is.")
    reasons = {
        "A": "A never draws one group, but it draws the other seven often. Compare the numbers.",
        "B": "B draws all eight groups about equally often, so nothing is lost there.",
    }
    if collapsed != "C":
        raise AnswerError(reasons.get(str(collapsed), '`collapsed` should be "A", "B" or "C".'))
    return "C draws every group, so counting would miss it, but nearly all its points are in one."


class Recorder:
    """Stands in for a conditional GAN, and remembers what it was asked to draw."""

    latent_dim, num_classes = 2, 8

    def __call__(self, latents: Tensor, labels: Tensor) -> Tensor:
        self.latents, self.labels = latents, labels
        return latents


@exercise(12)
def condition(generator_input: Callable[..., Any], draw: Callable[..., Any]) -> str:
    """Exercise 12: one-hot classes beside latents, and points of one class."""
    check_joined(generator_input)
    check_drawn(draw)
    return "the noise says which point, and the label says of which class."


def check_joined(generator_input: Callable[..., Any]) -> None:
    """Checks the input of a generator for four latents (4, 2) and their labels."""
    latents, labels = torch.randn(4, 2), torch.tensor([3, 0, 5, 3])
    one_hot = F.one_hot(labels, 8)
    message = "join the columns, side by side: `torch.cat([...], dim=1)`."
    with explained("must match", message):
        answer = generator_input(latents, labels)
    columns = {
        2: "the generator is not told the class: these are the columns of the latents only.",
        3: "you joined the label as one number. Make it one-hot, with 8 columns.",
        8: "there are 8 columns, expected 2 + 8. `one_hot` makes as many as the largest label "
        "needs: tell it `num_classes=8`. Then join them with the latents.",
    }
    found = numbers(answer, "generator_input")
    if found.shape != (4, 10):
        shape = f"`generator_input` has shape {tuple(found.shape)}, expected (4, 10)"
        other = f"{shape}: {message}"
        has_four_rows = found.dim() == 2 and len(found) == 4
        raise AnswerError(columns.get(found.shape[1], other) if has_four_rows else other)
    right = torch.cat([latents, one_hot], dim=1)
    mistakes = {"the latents come first, then the classes.": torch.cat([one_hot, latents], dim=1)}
    hint = "the class is 1 in its column and 0 elsewhere."
    names = [f"latents {shown(z)} of class {k}" for z, k in zip(latents, labels, strict=True)]
    compare(found, right, mistakes, names, hint)


def check_drawn(draw: Callable[..., Any]) -> None:
    """Checks what a generator is asked for, to draw 500 points of one class."""
    gan = Recorder()
    drawn = draw(gan, 6, 500)
    numbers(drawn, "draw", (500, 2))
    if not hasattr(gan, "labels"):
        raise AnswerError("`draw` does not call the generator. Call `gan(latents, labels)`.")
    if not isinstance(gan.labels, Tensor) or gan.labels.is_floating_point():
        raise AnswerError("labels are a tensor of whole numbers: `torch.full((count,), label)`.")
    if tuple(gan.labels.shape) != (500,) or not (gan.labels == 6).all():
        passed = f"you passed {gan.labels.numel()} labels, {shown(gan.labels)}"
        raise AnswerError(f"for `draw(gan, 6, 500)` {passed}, expected 500 times the number 6.")
    if gan.latents.std(dim=0).max() < 0.1:
        raise AnswerError("all latents are the same, so all points are. Draw one for each point.")
    if gan.latents.min() >= 0:
        raise AnswerError("`torch.rand` draws from 0 to 1. Normal latents are `torch.randn`.")


@exercise(13)
def autoencoder(reconstruction: Any, divergence: Any, elbo: Any) -> str:
    """Exercise 13: both terms of an autoencoder's loss and the ELBO, in nats per image."""
    (images, decoded), (mean, log_variance) = torch.rand(2, 3, 6), torch.randn(2, 3, 4)
    error = F.binary_cross_entropy(decoded, images, reduction="sum") / 3
    mistakes = {
        "a logarithm of a probability is negative. The minus in front is missing.": -error,
        "this is the mean over the pixels. Sum them.": error / 6,
        "this is the sum over the images. Divide it by their number.": 3 * error,
        "the second part is missing: (1 - x) log(1 - y).": -(images * decoded.log()).sum() / 3,
        "x and y are swapped: the logarithms are those of `decoded`.":
            F.binary_cross_entropy(images, decoded, reduction="sum") / 3,
        "this is the mean squared error.": F.mse_loss(images, decoded),
        "this is the squared error.": F.mse_loss(images, decoded, reduction="sum") / 3,
        "`decoded` has probabilities, not logits.":
            F.binary_cross_entropy_with_logits(decoded, images, reduction="sum") / 3,
    }  # fmt: skip
    found = result(reconstruction, "reconstruction", (), decoded, images)
    compare(found, error, mistakes, "`reconstruction`")

    def nats(means: Tensor, variances: Tensor, logs: Tensor) -> Tensor:
        return (means + variances - 1 - logs).sum() / 6

    squares, variance, right = mean.square(), log_variance.exp(), kl(mean, log_variance).sum() / 3
    deviation = (log_variance / 2).exp()
    mistakes = {
        "a divergence is never negative. Change the sign.": -right,
        "the 1/2 in front is missing.": 2 * right,
        "this is the mean over the latents. Sum them.": right / 4,
        "this is the sum over the images. Divide it by their number.": 3 * right,
        "the variance is exp(log_variance).": nats(squares, log_variance, log_variance),
        "exp(log_variance / 2) is not the variance.": nats(squares, deviation, log_variance),
        "exp(log_variance) is squared already.": nats(squares, variance.square(), log_variance),
        "the - 1 is missing.": right + 2,
        "the logarithm is missing.": nats(squares, variance, 0 * mean),
        "the logarithm has a minus.": nats(squares, variance, -log_variance),
        "the mean is not squared.": nats(mean, variance, log_variance),
        "the two distributions are swapped.": nats(squares / variance, 1 / variance, -log_variance),
    }
    found = result(divergence, "divergence", (), mean, log_variance)
    compare(found, right, mistakes, "`divergence`", "the logarithm of the variance is given.")
    mistakes = {
        "this is the loss. The ELBO is minus the loss.": error + right,
        "the divergence has a minus, too.": right - error,
        "the reconstruction has a minus, too.": error - right,
        "the divergence is missing.": -error,
        "the reconstruction is missing.": -right,
    }
    found = result(elbo, "elbo", (), decoded, images, mean, log_variance)
    compare(found, -error - right, mistakes, "`elbo`")
    return "an autoencoder's loss is minus this bound of the log likelihood."


@exercise(14)
def flow(point: Any, velocity: Any, flow_loss: Any) -> str:
    """Exercise 14: points (B, 2) between noise and data, their velocity and a flow's loss."""
    (noise, data), t = torch.randn(2, 5, 2), torch.rand(5)
    along, target = t[:, None], data - noise

    def network(points: Any, times: Any) -> Any:
        found = (3 * torch.as_tensor(points)).sin() + torch.as_tensor(times).reshape(-1, 1)
        return found if isinstance(points, Tensor) else found.numpy()

    right, mirrored = noise.lerp(data, along), data.lerp(noise, along)
    mistakes = {
        "noise and data are swapped: at t = 0 the point is noise.": mirrored,
        "the noise has the factor 1 - t.": noise + along * data,
        "the data have the factor t.": (1 - along) * noise + data,
        "t and 1 - t have no roots here.": (1 - along).sqrt() * noise + along.sqrt() * data,
    }
    message = "t (B,) does not fit points (B, 2). `t[:, None]` has shape (B, 1), which does."
    with explained("must match|broadcast", message):
        found = result(point, "point", (5, 2), noise, data, t)
    compare(found, right, mistakes, [f"the point at t = {time:.2f}" for time in t])
    mistakes = {
        "this leads from data to noise. Swap the two.": -target,
        "these are the data. The velocity is the slope of the point over t.": data,
        "the derivative of 1 - t is -1.": data + noise,
    }
    found = result(velocity, "velocity", (5, 2), noise, data)
    compare(found, target, mistakes, [f"the velocity of path {i + 1}" for i in range(5)])
    output = network(right, t)
    loss = F.mse_loss(output, target)
    mistakes = {
        "this is the sum of the squares. Take their mean.": 10 * loss,
        "take the mean over both coordinates, not their sum.": 2 * loss,
        "there is no 1/2 here.": loss / 2,
        "there is no root here.": loss.sqrt(),
        "square the lengths of the errors.": (output - target).norm(dim=1).mean(),
        "the errors are not squared.": (output - target).abs().mean(),
        "the network gets the point, not the data.": F.mse_loss(network(data, t), target),
        "the network gets the point, not the noise.": F.mse_loss(network(noise, t), target),
        "the network gets t, not 1 - t.": F.mse_loss(network(right, 1 - t), target),
        "the target has the opposite sign.": F.mse_loss(output, -target),
        "the target is the velocity, not the data.": F.mse_loss(output, data),
    }
    found = result(flow_loss, "flow_loss", (), network, noise, data, t)
    compare(found, loss, mistakes, "`flow_loss`")
    return "a flow learns these velocities, and follows them from noise to new data."


@exercise(15)
def drift(answer: Any) -> str:
    """Exercise 15: directions (N, 2) of generated points: toward real ones, and apart."""
    (generated, real), temperature = (torch.randn(4, 2), torch.randn(5, 2) + 1), 0.5

    def kernels(falling: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        near, own = (falling(torch.cdist(generated, others)) for others in (real, generated))
        return near, own.fill_diagonal_(0)

    def toward(others: Tensor, weights: Tensor) -> Tensor:
        return weights @ others - weights.sum(dim=1, keepdim=True) * generated

    def field(near: Tensor, own: Tensor, dim: int = 1) -> Tensor:
        near, own = F.normalize(near, p=1, dim=dim), F.normalize(own, p=1, dim=dim)
        return toward(real, near) - toward(generated, own)

    near, own = kernels(lambda distances: (-distances / temperature).exp())
    right, pull = field(near, own), toward(real, F.normalize(near, p=1))
    mistakes = {
        "pull and push are swapped: real points attract, generated ones repel.": -right,
        "generated points repel: the push has a minus.": 2 * pull - right,
        "the push is missing.": pull,
        "the pull is missing.": right - pull,
        "a point does not repel itself: k = i has no weight.": field(near, own + torch.eye(4)),
        "divide the kernels by their sums.": toward(real, near) - toward(generated, own),
        "each row of weights sums to 1, not each column: `dim=1`.": field(near, own, dim=0),
        "near points have the largest kernels: the exponent has a minus.":
            field(*kernels(lambda distances: (distances / temperature).exp())),
        "the distance in the kernel is not squared.":
            field(*kernels(lambda distances: (-distances.square() / temperature).exp())),
        "this is where the points should go. Return the directions alone.": generated + right,
        "divide by the temperature.":
            field(*kernels(lambda distances: (-distances * temperature).exp())),
        "near points have larger weights than far ones.": field(*kernels(torch.ones_like)),
    }  # fmt: skip
    message = (
        "each point has an offset to each other: `real[None] - generated[:, None]`, (N, M, 2)."
    )
    with explained("must match|broadcast", ROWS), explained("must match.*dimension 0", message):
        found = result(answer, "drift", (4, 2), generated, real, temperature)
    compare(found, right, mistakes, [f"the direction of point {i + 1}" for i in range(4)])
    return "generated points spread over the data. If both sets are alike, pull and push cancel."


@exercise(16)
def frechet(answer: Any, by_hand: Any, first: Any, second: Any) -> str:
    """Exercise 16: the distance of two Gaussians, each a mean (2,) and a covariance (2, 2)."""
    skew = torch.tensor([[4.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    for one, other in ((first, (second[0] + 1, skew)), (first, second)):
        found = result(answer, "frechet", (), *one, *other)
        covariances = f"{shown(one[1])} and {shown(other[1])}"
        compare_frechet(found, one, other, f"`frechet` with the covariances {covariances}")
    compare_frechet(numbers(by_hand, "by_hand", ()), first, second, "`by_hand`")
    return "Ladder scores generated images by this distance of their features."


def compare_frechet(found: Tensor, first: Any, second: Any, name: str) -> None:
    """Compares an answer with the distance that Ladder's scores use."""
    (mean, cov), (other_mean, other_cov) = first, second
    right, far = frechet_distance(*first, *second), (mean - other_mean).square().sum()
    traces, product = cov.trace() + other_cov.trace(), cov @ other_cov
    overlap = (far + traces - right) / 2
    values, vectors = zip(*map(torch.linalg.eigh, (cov, other_cov)), strict=True)
    roots = [(v * e.sqrt()) @ v.T for e, v in zip(values, vectors, strict=True)]
    mistakes = {
        "the matrix root of C1 C2 is missing.": far + traces - 2 * product.trace(),
        "the 2 before the root is missing.": right + overlap,
        "the root has a minus.": right + 4 * overlap,
        "the term with the root is missing.": far + traces,
        "the distance of the means is missing.": right - far,
        "the distance of the means is not squared.": right - far + far.sqrt(),
        "sum the squared differences of the means.": right - far / 2,
        "a matrix root is not the root of each number. Take the roots of the eigenvalues.":
            far + traces - 2 * product.sqrt().trace(),
        "these are the variances alone. C1 C2 is the product of matrices, `@`.":
            far + (cov.diag().sqrt() - other_cov.diag().sqrt()).square().sum(),
        "take the eigenvalues of C1 C2, not of both.":
            far + traces - 2 * (values[0] * values[1]).sqrt().sum(),
        "take the root of the product, not the product of the roots.":
            far + traces - 2 * (roots[0] @ roots[1]).trace(),
        "this is the root. The formula is the squared distance.": right**0.5,
    }  # fmt: skip
    compare(found, right, mistakes, name)
