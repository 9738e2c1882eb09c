"""Evaluation of a classifier on the validation or test split: a printed table and figures."""

import math
from typing import Any, cast

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from callbacks.results import class_names, data_of, record, say
from callbacks.tally import Evaluated, WorstMistakes, calibration_of
from figures.evaluation import draw_confusion, draw_mistakes, draw_reliability, table
from figures.pictures import figures_folder, publish
from models.classifier import is_classifier

FEWEST = 30  # examples of a reliability diagram; with fewer its bins are nearly empty


class Evaluation(Callback):
    """Prints loss and accuracies, and draws `confusion_*`, `mistakes_*` and `reliability_*.png`.

    It does so after `validate` and `test`, and at the end of `fit` for the run's last validation.
    """

    def __init__(self) -> None:
        self._mistakes: WorstMistakes | None = None  # None: there is nothing to report

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        evaluates = is_classifier(pl_module) and not trainer.sanity_checking
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
            self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._mistakes is None:
            return
        stage, title = ("test", "Test") if trainer.testing else ("val", "Validation")
        model = cast(Any, pl_module)
        # Several loaders have a loss each, under other names.
        loss = float(trainer.callback_metrics.get(f"{stage}/loss", math.nan))
        confusion, calibration = model.metrics[stage]
        counts, mistakes = confusion.compute().cpu(), self._mistakes.compute()  # Of all ranks.
        found = Evaluated(loss, counts, calibration_of(calibration), mistakes)
        self._mistakes = None
        names = class_names(data_of(trainer), model.num_classes)
        say(trainer, table(found, names, title))
        record(trainer, stage, found.as_dict(names))
        if (folder := figures_folder(trainer)) is None:
            return
        figures = {"confusion": draw_confusion(counts, names, f"{title}: accuracy")}
        if found.examples >= FEWEST:
            figures["reliability"] = draw_reliability(found.calibration, title)
        images = mistakes.images
        if len(images) and images.dim() == 4 and images.shape[1] in (1, 3):
            figures["mistakes"] = draw_mistakes(mistakes, names, title)
        for name in {"reliability", "mistakes"} - figures.keys():
            for suffix in ("png", "svg"):  # an earlier evaluation's figure would be out of date
                (folder / f"{name}_{stage}.{suffix}").unlink(missing_ok=True)
        for name, figure in figures.items():
            publish(trainer, folder, f"{name}_{stage}", figure, vector=name != "mistakes")

    on_test_end = on_train_end
