"""Losses of classifiers as functions of logits, and the probabilities that the logits mean."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor


class ClassifierLoss(NamedTuple):
    """A loss and the meaning of its logits (B, C), or (B, 1) for class 1 of two classes."""

    loss: Callable[[Tensor, Tensor, float], Tensor]  # of logits, classes (B,), label smoothing
    probabilities: Callable[[Tensor], Tensor]  # (B, C), or (B, 2) if there is one logit


def smooth_one_hot(target: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """Classes (B,) -> one-hot (B, num_classes), smoothed (Szegedy et al. 2015, section 7)."""
    return F.one_hot(target, num_classes) * (1 - smoothing) + smoothing / num_classes


def both_logits(logits: Tensor) -> Tensor:
    """One logit (B, 1) as two, (B, 2), with the same meaning: softmax([0, z])[1] = sigmoid(z)."""
    return F.pad(logits, (1, 0)) if logits.shape[1] == 1 else logits


def cross_entropy(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Keras' `categorical_crossentropy` after softmax: the mean of -log p[target]."""
    return F.cross_entropy(both_logits(logits), target, label_smoothing=smoothing)


def bce(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Keras' `binary_crossentropy` after sigmoid: each output decides "this class or not"."""
    outputs = logits.shape[1]
    wanted = smooth_one_hot(target, max(2, outputs), smoothing)[:, -outputs:]
    return F.binary_cross_entropy_with_logits(logits, wanted.to(logits.dtype))


def mse(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Keras' `mean_squared_error` of probabilities from one-hot targets.

    After softmax, or after sigmoid for one logit; the mean runs over examples and outputs.
    """
    outputs = logits.shape[1]
    wanted = smooth_one_hot(target, max(2, outputs), smoothing)[:, -outputs:]
    probabilities = logits.sigmoid() if outputs == 1 else softmax(logits)
    return F.mse_loss(probabilities, wanted.to(logits.dtype))


def softmax(logits: Tensor) -> Tensor:
    """Logits (B, C) -> probabilities (B, C); one logit (B, 1) -> (B, 2)."""
    return both_logits(logits).softmax(dim=1)


def normalized_sigmoid(logits: Tensor) -> Tensor:
    """One-against-all logits (B, C) -> sigmoids divided by their sum; one logit -> (B, 2)."""
    return softmax(logits if logits.shape[1] == 1 else F.logsigmoid(logits))


ClassifierLossName = Literal[
    "cross_entropy", "bce", "mse",
    "categorical_crossentropy", "binary_crossentropy", "mean_squared_error",
]  # fmt: skip
CLASSIFIER_LOSSES: dict[str, ClassifierLoss] = {
    "cross_entropy": ClassifierLoss(cross_entropy, softmax),
    "bce": ClassifierLoss(bce, normalized_sigmoid),
    "mse": ClassifierLoss(mse, softmax),
}
KERAS_NAMES = {
    "categorical_crossentropy": "cross_entropy",
    "binary_crossentropy": "bce",
    "mean_squared_error": "mse",
}
CLASSIFIER_LOSSES |= {name: CLASSIFIER_LOSSES[ours] for name, ours in KERAS_NAMES.items()}
