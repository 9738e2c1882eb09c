"""Training, validation, test and prediction of a classifier, whatever its network."""

import math
from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torchmetrics import Metric
from torchmetrics.classification import MulticlassCalibrationError, MulticlassConfusionMatrix

from models.base import Module
from models.classifier_losses import CLASSIFIER_LOSSES, ClassifierLossName
from models.ema import MovingAverage
from models.gan_networks import glorot_

Batch = tuple[Tensor, Tensor]
Schedule = Literal["constant", "cosine", "linear"]
Initialization = Literal["torch", "glorot"]


class Classifier(Module):
    """A network from inputs to logits, trained to name the class.

    A subclass builds its network from plain values and gives it to `set_network`.

    Args:
        loss: `cross_entropy`, `bce` (each class against all others) or `mse` (of probabilities).
        label_smoothing: Share of the target spread over all classes in training.
        initialization: `glorot`, as Keras does (uniform weights, zero biases), or `torch`'s own.
        ema_decay: Evaluate a moving average of the weights with this decay; 0: the weights.
        optimizer: From parameters to an optimizer.
        schedule: The learning rate over the run: constant, or falling to 0 as a cosine or a line.
        warmup: Share of the run in which the learning rate first rises from 0.
        scheduler: From an optimizer to a learning rate schedule of torch's, stepped every batch,
            instead of `schedule` and `warmup`.

    Raises:
        MisconfigurationException: An argument is out of its range.
    """

    def __init__(
        self,
        loss: ClassifierLossName = "cross_entropy",
        label_smoothing: float = 0.0,
        initialization: Initialization = "torch",
        ema_decay: float = 0.0,
        optimizer: OptimizerCallable = torch.optim.Adam,
        schedule: Schedule = "constant",
        warmup: float = 0.0,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for name, value in {"label_smoothing": label_smoothing, "warmup": warmup}.items():
            if not 0 <= value < 1:
                raise MisconfigurationException(
                    f"model.{name} is {value}: set it to 0 or to less than 1"
                )
        self.loss, self.probabilities = CLASSIFIER_LOSSES[loss]
        self.label_smoothing = label_smoothing
        self.initialization = initialization
        self.ema_decay = ema_decay
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.schedule, self.warmup = schedule, warmup

    def set_network(
        self,
        network: nn.Module,
        input_shape: tuple[int, ...],
        classes: int,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        """Takes the network, whose parameters are then those that the optimizer trains.

        Args:
            network: From inputs (B, *input_shape) to logits (B, classes), or (B, 1) for two.
            input_shape: Shape of one example.
            classes: The number of classes.
            memory_format: Layout of the weights, which convolutions take over for their images.
        """
        if self.initialization == "glorot":
            glorot_(network)
        self.network = network
        self.to(memory_format=memory_format)
        self.ema = MovingAverage(self.network, self.ema_decay) if self.ema_decay else None
        self.num_classes = classes
        self.example_input_array = torch.zeros(2, *input_shape)
        self.metrics = nn.ModuleDict()
        for stage in ("val", "test"):
            confusion = MulticlassConfusionMatrix(classes, validate_args=False)
            calibration = MulticlassCalibrationError(classes, validate_args=False)
            self.metrics[stage] = nn.ModuleList([confusion, calibration])

    def _metrics_of(self, stage: str) -> list[Metric]:
        return list(cast(Any, self.metrics[stage]))

    # -- the one step ---------------------------------------------------------------------------

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (B, ...) -> logits (B, C), of the averaged weights where there are any."""
        evaluating = self.ema is not None and not self.training
        network = self.ema.network if evaluating else self.network  # type: ignore[union-attr]
        return network(inputs)

    def augment(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Changes the inputs (B, ...) of a training batch at random, as a subclass knows how."""
        return inputs

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of a batch, its targets (B,) and the probabilities (B, C) of each class."""
        inputs, targets = batch
        smoothing = 0.0
        if self.training:
            inputs, smoothing = self.augment(inputs, targets), self.label_smoothing
        logits = self(inputs).float() if inputs.dtype != torch.float64 else self(inputs)
        loss = self.loss(logits, targets, smoothing)
        return {
            "loss": loss,
            "targets": targets,
            "probabilities": self.probabilities(logits.detach()),
        }

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
        self.log(f"{stage}/loss", result["loss"], batch_size=len(batch[1]), sync_dist=True)
        for metric in self._metrics_of(stage):
            metric.update(result["probabilities"], result["targets"])
        return result

    # -- what an evaluation found ---------------------------------------------------------------

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
        """Logs exact shares of counts over all processes, and how far confidence is off."""
        confusion, calibration = self._metrics_of(stage)
        counts = confusion.compute().double()  # (true class, predicted class)
        hits, examples = counts.diagonal(), counts.sum(dim=1)
        values = {
            f"{stage}/accuracy": hits.sum() / examples.sum(),
            f"{stage}/calibration_error": calibration.compute(),
        }
        for k in range(self.num_classes):
            values[f"{stage}/accuracy_class_{k}"] = hits[k] / examples[k]  # nan: none to judge
        # The same on every rank already; sync_dist only tells Lightning so.
        self.log_dict({name: v.float() for name, v in values.items()}, sync_dist=True)

    # -- optimisation ---------------------------------------------------------------------------

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.make_optimizer(self.network.parameters())
        falls = self.schedule != "constant" or self.warmup > 0
        if self.make_scheduler is None and not falls:
            return optimizer
        if self.make_scheduler is not None and falls:
            raise MisconfigurationException(
                "model.scheduler takes the place of model.schedule and model.warmup: "
                "leave out the one or the others"
            )
        if self.make_scheduler is None:
            scheduler: Any = LambdaLR(optimizer, self._learning_rate_factor())
        else:
            scheduler = self.make_scheduler(optimizer)
        watches = isinstance(scheduler, ReduceLROnPlateau)
        interval = "epoch" if watches else "step"
        config = {"scheduler": scheduler, "interval": interval, "monitor": "val/loss"}
        return cast(OptimizerLRScheduler, {"optimizer": optimizer, "lr_scheduler": config})

    def _learning_rate_factor(self) -> Callable[[int], float]:
        total = self.trainer.estimated_stepping_batches
        if math.isinf(total):
            raise MisconfigurationException(
                f"model.schedule {self.schedule} needs to know when the run ends: set "
                "--trainer.max_epochs or --trainer.max_steps"
            )
        schedule, rise = self.schedule, self.warmup * total

        def factor(step: int) -> float:
            if step < rise:
                return (step + 1) / (rise + 1)
            fraction = min(1.0, (step - rise) / (total - rise))
            if schedule == "cosine":
                return (1 + math.cos(math.pi * fraction)) / 2
            return 1 - fraction if schedule == "linear" else 1.0

        return factor

    def on_train_start(self) -> None:
        """Tells the loader where to resume, if Lightning forgot to.

        Asking for `estimated_stepping_batches` above makes Lightning 2.6 set up the loader before
        it has read the checkpoint, and never come back to it: an interrupted epoch would begin
        anew at its first batch.
        """
        self.trainer.fit_loop._load_combined_loader_states()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Steps, then lets the average follow; before any callback may write a checkpoint."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update(self.network, self.global_step)
