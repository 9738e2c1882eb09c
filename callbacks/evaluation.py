"""How a classifier does on the validation or test split: a printed table and three figures."""

from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from callbacks.console import say
from callbacks.drawing import class_names, data_of, publish
from callbacks.evaluation_figures import draw_confusion, draw_mistakes, draw_reliability, table
from callbacks.figures import figures_folder
from callbacks.results import record
from callbacks.tally import Tally
from models.classifier import Classifier


class Evaluation(Callback):
    """Prints loss and accuracies, and draws `confusion_*`, `mistakes_*` and `reliability_*.png`.

    It does so after `validate` and `test`, and at the end of `fit` for the run's last validation.
    Models other than a `Classifier` are left alone.
    """

    def __init__(self) -> None:
        self._tally: Tally | None = None

    # -- counting -------------------------------------------------------------------------------

    def _start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, Classifier) or trainer.sanity_checking:
            self._tally = None
        elif self._tally is None:
            self._tally = Tally(pl_module.num_classes).to(pl_module.device)
        else:  # an earlier epoch's
            self._tally.reset()

    def _count(self, outputs: Any, batch: Any) -> None:
        if self._tally is not None:
            self._tally.update(
                batch[0], outputs["targets"], outputs["probabilities"], outputs["loss"]
            )

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start(trainer, pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._count(outputs, batch)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._count(outputs, batch)

    # -- reporting ------------------------------------------------------------------------------

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._report(trainer, pl_module, "val", "Validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._report(trainer, pl_module, "test", "Test")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._report(trainer, pl_module, "val", "Validation")

    def _report(self, trainer: Trainer, pl_module: LightningModule, stage: str, title: str) -> None:
        if self._tally is None:
            return
        evaluated = self._tally.compute()  # gathers from all ranks
        self._tally = None
        names = class_names(data_of(trainer), len(evaluated.confusion))
        say(trainer, table(evaluated, names, title))
        record(trainer, stage, evaluated.as_dict(names))
        folder = figures_folder(trainer)
        if folder is None:
            return
        figures = {
            "confusion": draw_confusion(evaluated.confusion, names, title),
            "reliability": draw_reliability(evaluated.calibration, title),
        }
        mistakes = evaluated.mistakes
        if len(mistakes.targets) and mistakes.images.dim() == 4:
            figures["mistakes"] = draw_mistakes(mistakes, names, title)
        else:  # an earlier pass's would be out of date
            (folder / f"mistakes_{stage}.png").unlink(missing_ok=True)
        for name, figure in figures.items():
            publish(trainer, folder, f"{name}_{stage}", figure)
