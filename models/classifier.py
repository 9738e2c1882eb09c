"""Training, validation, test and prediction of a classifier with any network, and its losses."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
)

from models.base import NetworkCallable
from models.layers import Initialization, full_precision, initialize_
from models.networks import FeedForward, check_fit
from models.training import OneNetwork
from runtime.errors import UserError
from runtime.ranges import Fraction, Positive

Batch = tuple[Tensor, Tensor]


class ClassifierLoss(NamedTuple):
    """A loss and the meaning of its logits (B, C), or (B, 1) for class 1 of two classes."""

    loss: Callable[[Tensor, Tensor, float], Tensor]  # of logits, classes (B,), label smoothing
    probabilities: Callable[[Tensor], Tensor]  # (B, C), or (B, 2) if there is one logit


def wanted(target: Tensor, logits: Tensor, smoothing: float) -> Tensor:
    """Classes (B,) -> one-hot like the logits, smoothed (Szegedy et al. 2015, section 7)."""
    outputs = logits.shape[1]
    classes = max(2, outputs)
    vectors = F.one_hot(target, classes) * (1 - smoothing) + smoothing / classes
    return vectors[:, -outputs:].to(logits.dtype)


def both_logits(logits: Tensor) -> Tensor:
    """One logit (B, 1) as two, (B, 2), with the same meaning: softmax([0, z])[1] = sigmoid(z)."""
    return F.pad(logits, (1, 0)) if logits.shape[1] == 1 else logits


def cross_entropy(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Keras' `categorical_crossentropy` after softmax: the mean of -log p[target]."""
    return F.cross_entropy(both_logits(logits), target, label_smoothing=smoothing)


def weighted_cross_entropy(
    logits: Tensor, target: Tensor, weights: Tensor, smoothing: float = 0.0
) -> Tensor:
    """The mean of -w[target] log p[target], which several processes can compute apart.

    Torch divides by the sum of the weights in the batch instead, which differs between processes.
    """
    losses = F.cross_entropy(
        both_logits(logits), target, label_smoothing=smoothing, reduction="none"
    )
    return (weights[target] * losses).mean()


def bce(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Keras' `binary_crossentropy` after sigmoid: each output decides "this class or not"."""
    return F.binary_cross_entropy_with_logits(logits, wanted(target, logits, smoothing))


def mse(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Keras' `mean_squared_error` of probabilities from one-hot targets.

    After softmax, or after sigmoid for one logit; the mean runs over examples and outputs.
    """
    probabilities = logits.sigmoid() if logits.shape[1] == 1 else softmax(logits)
    return F.mse_loss(probabilities, wanted(target, logits, smoothing))


def softmax(logits: Tensor) -> Tensor:
    """Logits (B, C) -> probabilities (B, C); one logit (B, 1) -> (B, 2)."""
    return both_logits(logits).softmax(dim=1)


def normalized_sigmoid(logits: Tensor) -> Tensor:
    """One-against-all logits (B, C) -> sigmoids divided by their sum; one logit -> (B, 2)."""
    return softmax(logits if logits.shape[1] == 1 else F.logsigmoid(logits))


ClassifierLossName = Literal["cross_entropy", "bce", "mse"]
CLASSIFIER_LOSSES: dict[str, ClassifierLoss] = {
    "cross_entropy": ClassifierLoss(cross_entropy, softmax),
    "bce": ClassifierLoss(bce, normalized_sigmoid),
    "mse": ClassifierLoss(mse, softmax),
}


class Classifier(OneNetwork):
    """A network from inputs to logits of the classes.

    Args:
        input_shape: Shape of one example.
        num_classes: Number of classes.
        network: From (input_shape, num_outputs) to the network.
        loss: `cross_entropy`, `bce` (each class against all others) or `mse` (of probabilities).
        label_smoothing: Fraction of the target that is spread over all classes in training.
        class_weights: `balanced`: in training, the loss of an example counts in inverse proportion
            to the number of examples of its class. For the loss `cross_entropy`.
        top_k: Also report top-k accuracy in evaluation: the class is among the k most probable
            ones; None: no.
        initialization: Of the weights: `torch`, `glorot` (Keras' default) or `normal`.
        **training: As for `OneNetwork`.
    """

    one_logit = False  # for two classes: the network has one output, the logit of class 1

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        network: NetworkCallable = FeedForward,
        loss: ClassifierLossName = "cross_entropy",
        label_smoothing: Fraction = 0.0,
        class_weights: Literal["balanced"] | None = None,
        top_k: Positive | None = None,
        initialization: Initialization = "torch",
        **training: Any,
    ) -> None:
        super().__init__(**training)
        if not num_classes:
            raise UserError(
                f"{type(self).__name__} needs data with classes: choose such a data set, or the "
                "model FunctionMLP"
            )
        if num_classes == 1:
            raise UserError(
                f"{type(self).__name__} needs at least two classes, and the data have one. A GAN "
                "without classes, such as configs/own/gan.yaml, takes them"
            )
        self.loss, self.as_probabilities = CLASSIFIER_LOSSES[loss]
        self.label_smoothing, self.class_weights = label_smoothing, class_weights
        if class_weights and loss != "cross_entropy":
            raise UserError(
                f"model.class_weights is for the loss cross_entropy, not {loss}: leave one out"
            )
        if top_k and top_k >= num_classes:
            raise UserError(
                f"model.top_k {top_k} of {num_classes} classes is always right: lower it, or leave "
                "it out"
            )
        self._weights: Tensor | None = None  # (K,), of the classes in training
        self.input_shape, self.num_classes = tuple(input_shape), num_classes
        self.example_input_array = torch.zeros(2, *input_shape)

        outputs = 1 if self.one_logit else num_classes
        built = network(self.input_shape, outputs)
        check_fit(built, self.input_shape, outputs)
        initialize_(built, initialization)
        self.set_network(built)
        self.metrics = nn.ModuleDict()
        for stage in ("val", "test"):
            kept: list[Metric] = [
                MulticlassConfusionMatrix(num_classes, validate_args=False),
                MulticlassCalibrationError(num_classes, validate_args=False),
            ]
            if top_k:
                kept.append(MulticlassAccuracy(num_classes, top_k, "micro", validate_args=False))
            self.metrics[stage] = nn.ModuleList(kept)

    def _metrics_of(self, stage: str) -> list[Metric]:
        return list(cast(Any, self.metrics[stage]))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (B, ...) -> logits (B, C); in evaluation, of the EMA if any."""
        return self.active(inputs.to(self.dtype))

    def on_fit_start(self) -> None:
        """Weighs the classes of the data, if that is wanted."""
        if self.class_weights:
            counts = self.class_counts("class_weights")
            present = counts.clamp(min=1).float()  # a class without examples has no loss either
            self._weights = (counts.sum() / (len(counts) * present)).to(self.device)

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Inputs (B, ...) -> the probability of each class (B, C), in float32."""
        return self.as_probabilities(self(inputs).float())

    def augment(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Augments the inputs (B, ...) of a training batch; here it does nothing."""
        return inputs

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Computes a batch's loss, and returns its targets (B,) and class probabilities (B, C)."""
        inputs, targets = batch
        if self.training:
            inputs = self.augment(inputs, targets)
        logits = full_precision(self(inputs))
        loss = self._loss(logits, targets)
        probabilities = self.as_probabilities(logits.detach())
        return {"loss": loss, "targets": targets, "probabilities": probabilities}

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        smoothing = self.label_smoothing if self.training else 0.0
        if self.training and self._weights is not None:
            return weighted_cross_entropy(logits, targets, self._weights, smoothing)
        return self.loss(logits, targets, smoothing)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        result = self.step(batch)
        hits = result["probabilities"].argmax(dim=1) == result["targets"]
        self.log_means({"loss": result["loss"].detach(), "accuracy": hits.float().mean()})
        return result["loss"]

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        result = self.step(batch)
        return {name: result[name] for name in ("targets", "probabilities")}

    def evaluate(self, batch: Batch, batch_idx: int, stage: str) -> dict[str, Tensor]:
        result = self.step(batch)
        self.log_means_of_examples({f"{stage}/loss": result["loss"]}, len(batch[1]))
        for metric in self._metrics_of(stage):
            if batch_idx == 0:
                metric.reset()  # only now, because callbacks may read the last epoch's metrics
            metric.update(result["probabilities"], result["targets"])
        return result

    def on_validation_epoch_end(self) -> None:
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        self._log_evaluation("test")

    def _log_evaluation(self, stage: str) -> None:
        """Logs accuracies from counts over all processes, and the calibration error."""
        confusion, calibration, *top = self._metrics_of(stage)
        counts = confusion.compute().float()  # (true class, predicted class)
        hits, examples = counts.diagonal(), counts.sum(dim=1)
        values = {
            f"{stage}/accuracy": hits.sum() / examples.sum(),
            f"{stage}/balanced_accuracy": (hits / examples).nanmean(),
            f"{stage}/calibration_error": calibration.compute(),
        }
        values |= {f"{stage}/top{metric.top_k}_accuracy": metric.compute() for metric in top}
        shares = hits / examples  # nan: no example of the class
        values |= {f"{stage}/accuracy_class_{k}": share for k, share in enumerate(shares)}
        # The same on every rank already; sync_dist only tells Lightning so.
        self.log_dict({name: v.float() for name, v in values.items()}, sync_dist=True)
