"""Evaluation of a classifier on the validation or test split: a printed table and figures."""

import math
from typing import Any, cast

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from callbacks.evaluation_figures import draw_confusion, draw_mistakes, draw_reliability, table
from callbacks.figures import figures_folder, publish
from callbacks.results import class_names, data_of, record, say
from callbacks.tally import Evaluated, WorstMistakes, calibration_of
from models.classifier import Classifier


class Evaluation(Callback):
    """Prints loss and accuracies, and draws `confusion_*`, `mistakes_*` and `reliability_*.png`.

    It does so after `validate` and `test`, and at the end of `fit` for the run's last validation.
    Counts come from the model's own metrics. Models other than a `Classifier` are ignored.
    """

    def __init__(self) -> None:
        self._mistakes: WorstMistakes | None = None  # None: there is nothing to report

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        evaluates = isinstance(pl_module, Classifier) and not trainer.sanity_checking
        self._mistakes = WorstMistakes().to(pl_module.device) if evaluates else None

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._mistakes is not None:
            self._mistakes.update(batch[0], outputs["targets"], outputs["probabilities"])

    on_test_epoch_start, on_test_batch_end = on_validation_epoch_start, on_validation_batch_end

    # At the end of the loop, not of its epoch: Lightning reduces the logged loss in between.

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._report(trainer, pl_module, "val", "Validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._report(trainer, pl_module, "test", "Test")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._report(trainer, pl_module, "val", "Validation")

    def _report(self, trainer: Trainer, pl_module: LightningModule, stage: str, title: str) -> None:
        if self._mistakes is None:
            return
        model = cast(Any, pl_module)
        # Several loaders have a loss each, under other names.
        loss = float(trainer.callback_metrics.get(f"{stage}/loss", math.nan))
        confusion, calibration = model.metrics[stage]
        found = Evaluated(  # Gathers from all ranks.
            loss, confusion.compute().cpu(), calibration_of(calibration), self._mistakes.compute()
        )
        self._mistakes = None
        names = class_names(data_of(trainer), model.num_classes)
        say(trainer, table(found, names, title))
        record(trainer, stage, found.as_dict(names))
        if (folder := figures_folder(trainer)) is None:
            return
        figures = {
            "confusion": draw_confusion(found.confusion, names, f"{title}: accuracy"),
            "reliability": draw_reliability(found.calibration, title),
        }
        images = found.mistakes.images
        if len(images) and images.dim() == 4 and images.shape[1] in (1, 3):
            figures["mistakes"] = draw_mistakes(found.mistakes, names, title)
        else:  # an earlier evaluation's figure would be out of date
            (folder / f"mistakes_{stage}.png").unlink(missing_ok=True)
        for name, figure in figures.items():
            publish(trainer, folder, f"{name}_{stage}", figure)
