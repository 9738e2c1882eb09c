"""Results of a classifier or another model that is not generative: printed and recorded."""

import math
from functools import partial
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from callbacks.recording import datamodule_of, rank_zero_print, record
from datamodules.input_spec import class_names
from figures.classification import (
    MIN_CALIBRATION_EXAMPLES,
    Mistakes,
    classification_report,
    plot_confusion,
    plot_mistakes,
    plot_reliability,
)
from figures.pictures import figures_folder, publish
from models.classifier import Classifier
from runtime.intervals import few, interval_of_mean, wilson_interval

SCORE_TITLES = {"sup_error": "largest error"}
MAX_GAP = 0.25  # of accuracy between training and validation; emoji that 40 epochs overfit: 0.13


class WorstMistakes(Metric):
    """Keeps the few worst mistakes of all batches and processes."""

    full_state_update = False
    scores: list[Tensor]  # the predicted class's probability, -1 if it is the true class
    classes: list[Tensor]  # true and predicted class
    images: list[Tensor]

    def __init__(self, num_mistakes: int = 24) -> None:
        super().__init__()
        self.num_mistakes = num_mistakes
        for name in ("scores", "classes", "images"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, inputs: Tensor, targets: Tensor, probabilities: Tensor) -> None:
        """Adds a batch: inputs (B, ...), targets (B,), probabilities (B, K)."""
        confidence, predicted = probabilities.float().max(dim=1)
        scores = torch.where(predicted == targets, -1.0, confidence)
        classes = torch.stack([targets, predicted], dim=1)
        images = inputs if inputs.dim() == 4 else inputs[:, :0].flatten(1)
        batch = {"scores": scores, "classes": classes, "images": images}
        merged = {name: torch.cat([*getattr(self, name), new]) for name, new in batch.items()}
        rows = merged["scores"].topk(min(self.num_mistakes, len(merged["scores"]))).indices
        for name, values in merged.items():
            setattr(self, name, [values[rows]])

    def compute(self) -> Mistakes:
        """Returns them in lists, because torchmetrics squeezes a tensor (1,) of `compute`."""
        states = self.scores, self.classes, self.images
        scores, classes, images = (dim_zero_cat(values).cpu() for values in states)
        order = scores.argsort(descending=True, stable=True)[: self.num_mistakes]
        order = order[scores[order] >= 0]
        targets, predictions = classes[order].T.tolist()
        return Mistakes(images[order], targets, predictions, scores[order].tolist())


class Evaluation(Callback):
    """Prints and records evaluation results, and plots those of a classifier.

    A classifier gets a table of accuracies, `confusion_*`, `mistakes_*` and `reliability_*.png`,
    after `validate` and `test`, and at the end of `fit` for the run's last validation. Another
    model gets a table of what it logged, after `validate` and `test`.
    """

    def __init__(self) -> None:
        self._mistakes: WorstMistakes | None = None  # None: no classifier was evaluated

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        evaluates = isinstance(pl_module, Classifier) and not trainer.sanity_checking
        self._mistakes = WorstMistakes().to(pl_module.device) if evaluates else None

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        if self._mistakes is not None:
            self._mistakes.update(batch[0], outputs["targets"], outputs["probabilities"])

    on_test_epoch_start, on_test_batch_end = on_validation_epoch_start, on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not at the end of its epoch: Lightning reduces the logged loss in between.
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._report(trainer, pl_module, "val", "Validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._report(trainer, pl_module, "test", "Test")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._mistakes is not None:
            self._report(trainer, pl_module, "val", "Validation")
            trained, metrics = trainer.callback_metrics.get("train/accuracy"), pl_module.metrics
            if text := describe_gap(trained, cast(Any, metrics)["val"][0].compute()):
                rank_zero_print(trainer, text)

    def _report(self, trainer: Trainer, model: Any, stage: str, title: str) -> None:
        if self._mistakes is not None:
            mistakes, self._mistakes = self._mistakes.compute(), None  # Of all ranks.
            self._report_classes(trainer, model, stage, title, mistakes)
        else:
            metrics = trainer.callback_metrics.items()
            scores = {name.split("/")[-1]: float(v) for name, v in metrics if stage in name}
            width = max((len(SCORE_TITLES.get(name, name)) for name in scores), default=0)
            rows = [f"  {SCORE_TITLES.get(k, k):<{width}}  {v:.4g}" for k, v in scores.items()]
            data = datamodule_of(trainer)
            split = data and data.splits and getattr(data.splits, stage)
            rows += few(len(split.targets)) if split else []
            rank_zero_print(trainer, "\n".join([title, *rows]))
            record(trainer, stage, {"scores": scores})

    def _report_classes(
        self, trainer: Trainer, model: Any, stage: str, title: str, mistakes: Mistakes
    ) -> None:
        # Several loaders have a loss each, under other names.
        loss = float(trainer.callback_metrics.get(f"{stage}/loss", math.nan))
        confusion, calibration, *others = model.metrics[stage]
        top = {metric.top_k: float(metric.compute()) for metric in others}
        counts, error = confusion.compute().cpu(), float(calibration.compute())
        with calibration.sync_context():
            states = calibration.confidences, calibration.accuracies
            confidence, hits = (dim_zero_cat(values).cpu() for values in states)
        names = class_names(datamodule_of(trainer), model.num_classes)
        rank_zero_print(trainer, classification_report(loss, counts, error, names, title, top))
        record(trainer, stage, as_record(loss, counts, error, names, top))
        if (folder := figures_folder(trainer)) is None:
            return
        figures: dict[str, Any] = {
            "confusion": partial(plot_confusion, counts, names, f"{title}: accuracy")
        }
        if len(hits) >= MIN_CALIBRATION_EXAMPLES:
            figures["reliability"] = partial(plot_reliability, confidence, hits, error, title)
        images = mistakes.images
        if len(images) and images.dim() == 4 and images.shape[1] in (1, 3):
            figures["mistakes"] = partial(plot_mistakes, mistakes, names, title)
        for name, figure in figures.items():
            publish(trainer, folder, f"{name}_{stage}", figure, vector=name != "mistakes")


def describe_gap(trained: Tensor | None, counts: Tensor) -> str:
    """Says that validation is far below training; empty if it is not, or training is not known.

    That is `MAX_GAP` and three standard errors of the validation, whose examples may be few.
    """
    examples = int(counts.sum())
    accuracy = int(counts.diagonal().sum()) / examples
    error = math.sqrt(accuracy * (1 - accuracy) / examples)
    if trained is None or trained - accuracy <= max(MAX_GAP, 3 * error):
        return ""
    return (
        f"Accuracy in training {trained:.2f}, in validation {accuracy:.2f}: the model knows its "
        "training examples better than the classes. Test RUN/best, the weights with the lowest "
        "validation loss; train on more examples, with augmentation, for fewer steps or with a "
        "smaller --model.optimizer.lr."
    )


def as_record(
    loss: float, counts: Tensor, error: float, names: list[str], top: dict[int, float]
) -> dict[str, Any]:
    """Returns plain values for metrics.json; counts (K, K) are by true and predicted class."""
    examples, hits = int(counts.sum()), counts.diagonal()
    shares = hits.double() / counts.sum(dim=1)
    scores = {"accuracy": int(hits.sum()) / examples, "balanced_accuracy": float(shares.nanmean())}
    scores |= {f"top{k}_accuracy": accuracy for k, accuracy in top.items()}
    intervals = {name: wilson_interval(value, examples) for name, value in scores.items()}
    intervals["balanced_accuracy"] = interval_of_mean(hits, counts.sum(dim=1))
    scores |= {"loss": loss, "calibration_error": error}
    by_class = dict(zip(names, shares.tolist(), strict=True))
    limits = map(wilson_interval, by_class.values(), counts.sum(dim=1).tolist())
    intervals |= {f"accuracy_per_class/{k}": pair for k, pair in zip(names, limits, strict=True)}
    found = {"scores": scores, "intervals": intervals, "accuracy_per_class": by_class}
    return found | {"examples": examples}
