"""Training, validation, test and prediction of a classifier with any network."""

from functools import partial
from typing import Any, TypeGuard, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import Metric
from torchmetrics.classification import MulticlassCalibrationError, MulticlassConfusionMatrix

from models.base import Module, NetworkCallable
from models.classifier_losses import CLASSIFIER_LOSSES, ClassifierLossName
from models.ema import MovingAverage
from models.layers import Initialization, initialize_
from models.networks import FeedForward, check_fit
from models.optimizers import Schedule, build_optimizer, learning_rate_factor
from runtime.errors import UserError
from runtime.ranges import Share

Batch = tuple[Tensor, Tensor]


class Classifier(Module):
    """A network from inputs to logits, trained to name the class.

    Args:
        input_shape: Shape of one example.
        num_classes: Number of classes.
        network: From (input_shape, num_outputs) to the network.
        loss: `cross_entropy`, `bce` (each class against all others) or `mse` (of probabilities),
            or their names in Keras.
        label_smoothing: Share of the target spread over all classes in training.
        initialization: Weights as torch initializes them; `glorot`, as Keras does; or `normal`.
        ema_decay: Evaluate a moving average of the weights with this decay; 0: the weights.
        optimizer: From parameters to an optimizer.
        schedule: The learning rate over the run: constant, or falling to 0 as a cosine or a line.
        warmup: Share of the run in which the learning rate first rises from 0.
        scheduler: One of torch's schedules, stepped every batch, instead of the two above.
    """

    one_logit = False  # for two classes: the network has one output, which speaks for class 1

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        network: NetworkCallable = FeedForward,
        loss: ClassifierLossName = "cross_entropy",
        label_smoothing: Share = 0.0,
        initialization: Initialization = "torch",
        ema_decay: Share = 0.0,
        optimizer: OptimizerCallable = torch.optim.Adam,
        schedule: Schedule = "constant",
        warmup: Share = 0.0,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
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
        if scheduler is not None and (schedule != "constant" or warmup > 0):
            raise UserError(
                "model.scheduler replaces model.schedule and model.warmup: leave out the one or "
                "the others"
            )
        self.loss, self.as_probabilities = CLASSIFIER_LOSSES[loss]
        self.label_smoothing = label_smoothing
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.schedule, self.warmup = schedule, warmup
        self.input_shape, self.num_classes = tuple(input_shape), num_classes
        self.example_input_array = torch.zeros(2, *input_shape)

        outputs = 1 if self.one_logit else num_classes
        self.network = network(self.input_shape, outputs)
        check_fit(self.network, self.input_shape, outputs)
        initialize_(self.network, initialization)
        self.ema = MovingAverage(self.network, ema_decay) if ema_decay else None
        self.metrics = nn.ModuleDict()
        for stage in ("val", "test"):
            confusion = MulticlassConfusionMatrix(num_classes, validate_args=False)
            calibration = MulticlassCalibrationError(num_classes, validate_args=False)
            self.metrics[stage] = nn.ModuleList([confusion, calibration])

    def _metrics_of(self, stage: str) -> list[Metric]:
        return list(cast(Any, self.metrics[stage]))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (B, ...) -> logits (B, C); in evaluation, of the averaged weights if any."""
        network = self.network if self.ema is None or self.training else self.ema.network
        return network(inputs.to(self.dtype))

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Inputs (B, ...) -> the probability of each class (B, C), in float32."""
        return self.as_probabilities(self(inputs).float())

    def augment(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Changes the inputs (B, ...) of a training batch at random; a subclass says how."""
        return inputs

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Computes a batch's loss, and returns its targets (B,) and class probabilities (B, C)."""
        inputs, targets = batch
        smoothing = 0.0
        if self.training:
            inputs, smoothing = self.augment(inputs, targets), self.label_smoothing
        logits = self(inputs).float() if inputs.dtype != torch.float64 else self(inputs)
        loss = self.loss(logits, targets, smoothing)
        probabilities = self.as_probabilities(logits.detach())
        return {"loss": loss, "targets": targets, "probabilities": probabilities}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        result = self.step(batch)
        hits = result["probabilities"].argmax(dim=1) == result["targets"]
        self.log_means({"loss": result["loss"].detach(), "accuracy": hits.float().mean()})
        return result["loss"]

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        result = self.step(batch)
        return {name: result[name] for name in ("targets", "probabilities")}

    def _evaluate(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        result = self.step(batch)
        self.log_means_of_examples({f"{stage}/loss": result["loss"]}, len(batch[1]))
        for metric in self._metrics_of(stage):
            metric.update(result["probabilities"], result["targets"])
        return result

    def on_validation_epoch_start(self) -> None:
        self._reset_metrics("val")

    def on_test_epoch_start(self) -> None:
        self._reset_metrics("test")

    def _reset_metrics(self, stage: str) -> None:
        """Forgets the last epoch, whose metrics callbacks may read until then."""
        for metric in self._metrics_of(stage):
            metric.reset()

    def on_validation_epoch_end(self) -> None:
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        self._log_evaluation("test")

    def _log_evaluation(self, stage: str) -> None:
        """Logs exact shares of counts over all processes, and the calibration error."""
        confusion, calibration = self._metrics_of(stage)
        counts = confusion.compute().double()  # (true class, predicted class)
        hits, examples = counts.diagonal(), counts.sum(dim=1)
        values = {
            f"{stage}/accuracy": hits.sum() / examples.sum(),
            f"{stage}/calibration_error": calibration.compute(),
        }
        shares = hits / examples  # nan: no example of the class
        values |= {f"{stage}/accuracy_class_{k}": share for k, share in enumerate(shares)}
        # The same on every rank already; sync_dist only tells Lightning so.
        self.log_dict({name: v.float() for name, v in values.items()}, sync_dist=True)

    def configure_optimizers(self) -> Any:
        make_scheduler = self.make_scheduler
        if self.schedule != "constant" or self.warmup > 0:
            factor = learning_rate_factor(self.trainer, self.schedule, self.warmup)
            make_scheduler = partial(LambdaLR, lr_lambda=factor)
        return build_optimizer(self.network.parameters(), self.make_optimizer, make_scheduler)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Steps, then updates the average, before any callback may write a checkpoint."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update(self.network, self.global_step)


def is_classifier(model: object) -> TypeGuard[Classifier]:
    """Returns whether a model names classes: it has `probabilities(inputs)`, and says how many."""
    return all(hasattr(model, name) for name in ("probabilities", "num_classes", "input_shape"))
