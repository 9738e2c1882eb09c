"""How good a GAN's images are: scores during training, and the full table of `test`."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from callbacks.console import say
from callbacks.drawing import class_names, data_of, publish
from callbacks.figures import figures_folder
from callbacks.quality_figures import draw_asked_and_seen, draw_classes
from callbacks.results import record
from metrics import GeneratorQuality, QualityReport, SampleSet
from metrics.gan_train import gan_train_accuracy
from metrics.judge import JudgeNetwork, judge_of, load_judge
from metrics.report import Counts
from models.gan import GAN
from models.sampling import Draws, eval_mode, to_pixels
from runtime.schedule import epoch_is_due, is_over

IN_TRAINING = ("frechet", "label_accuracy", "modes")  # cheap, and steady with few samples


class Quality(Callback):
    """Scores a GAN's averaged generator through the eyes of the data set's judge.

    In training: against the validation split, at the end of epochs, logged as `val/frechet`,
    `val/label_accuracy` and so on. In `validate` and `test`: all scores and their floors, printed,
    and written to `metrics.json` and `figures/`. Every process scores its share.

    Args:
        samples: Images to score in training; 0: none. Few samples make the Frechet distance larger.
        every_n_epochs: Epochs from one scoring to the next.
        min_steps: Where an epoch is shorter than this, score only every so many epochs.
        final_samples: Images to score in `validate` and `test`; 0: none.
        gan_train: In `test`, also train a classifier on generated images alone, and test it on
            real ones.
    """

    def __init__(
        self,
        samples: int = 2000,
        every_n_epochs: int = 1,
        min_steps: int = 200,
        final_samples: int = 10_000,
        gan_train: bool = True,
    ) -> None:
        if every_n_epochs < 1:
            raise MisconfigurationException(
                f"quality.every_n_epochs is {every_n_epochs}: set it to 1 or more"
            )
        self.samples, self.final_samples = samples, final_samples
        self.every_n_epochs, self.min_steps = every_n_epochs, min_steps
        self.gan_train = gan_train
        self._judge: JudgeNetwork | None = None
        self._quality: GeneratorQuality | None = None
        self._seconds = self._started = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Finds the judge; without one, says so and scores nothing."""
        self._judge = self._quality = None
        if not isinstance(pl_module, GAN) or stage == "predict":
            return
        dataset = getattr(data_of(trainer), "dataset_found", None)
        name = judge_of(dataset)
        if name is None:
            rank_zero_warn(f"There is no judge for data set {dataset!r}: samples are not scored.")
            return
        self._judge = load_judge(name)

    # -- in training ----------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.perf_counter()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            return self._report(trainer, pl_module, "val")
        if self._judge is None or trainer.sanity_checking or not self.samples:
            return
        # validation comes before the epoch counts as processed
        last = is_over(trainer) or trainer.current_epoch + 1 == trainer.max_epochs
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if not (last or (due and epoch_is_due(trainer, self.min_steps))):
            return
        start = time.perf_counter()
        report = self._score(trainer, pl_module, self.samples, full=False)
        values = {f"val/{k}": report.scores[k] for k in IN_TRAINING if k in report.scores}
        # the same on every rank already; sync_dist only tells Lightning so
        pl_module.log_dict(values, sync_dist=True)
        self._seconds += time.perf_counter() - start

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._seconds:
            share = self._seconds / (time.perf_counter() - self._started)
            say(trainer, f"Scoring samples took {self._seconds:.1f} s: {share:.1%} of training.")

    # -- in validate and test -------------------------------------------------------------------

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._report(trainer, pl_module, "test")

    def _report(self, trainer: Trainer, model: Any, stage: str) -> None:
        if self._judge is None or not self.final_samples:
            return
        report = self._score(trainer, model, self.final_samples, full=True)
        if stage == "test" and self.gan_train and model.conditional:
            self._add_gan_train(report, trainer, model)
        model.log_dict({f"{stage}/{k}": v for k, v in report.scores.items()}, sync_dist=True)
        against = {"val": "the validation split", "test": "the official test images"}[stage]
        say(trainer, f"Quality of generated images against {against}\n{report.table()}")
        record(trainer, stage, report.as_dict())
        folder = figures_folder(trainer)
        if folder is None or not model.conditional:
            return
        assert self._quality is not None
        names = class_names(data_of(trainer), self._judge.num_classes)
        publish(trainer, folder, f"classes_{stage}", draw_classes(report, names))
        confusion = self._quality.generated.compute()["confusion"].cpu()
        publish(trainer, folder, f"asked_{stage}", draw_asked_and_seen(confusion, names))

    # -- scoring --------------------------------------------------------------------------------

    def _score(self, trainer: Trainer, model: Any, count: int, full: bool) -> QualityReport:
        assert self._judge is not None
        self._judge.to(model.device)
        if self._quality is None:
            self._quality = GeneratorQuality(
                self._judge.num_features,
                self._judge.num_classes,
                model.conditional,
                **({} if full else {"max_samples": 0, "num_groups": 0}),
            ).to(model.device)
            splits: Any = data_of(trainer).splits  # type: ignore[union-attr]
            real = splits.test if trainer.state.fn == TrainerFn.TESTING else splits.val
            self._add_real(trainer, self._quality.test_set, real, count)
            self._add_real(trainer, self._quality.train_set, splits.train, count)
        self._quality.generated.reset()
        self._add_generated(trainer, model, count)
        return self._quality.compute()

    def _add_real(self, trainer: Trainer, kept: SampleSet, split: Any, count: int) -> None:
        assert self._judge is not None
        count = min(count, len(split.targets))
        first, stride = trainer.global_rank * Draws.BLOCK, trainer.world_size * Draws.BLOCK
        for start in range(first, count, stride):
            rows = slice(start, min(start + Draws.BLOCK, count))
            images, labels = split.inputs[rows], split.targets[rows]
            self._add(kept, images, labels, torch.arange(rows.start, rows.stop))

    def _add_generated(self, trainer: Trainer, model: Any, count: int) -> None:
        assert self._quality is not None
        rank, world_size = trainer.global_rank, trainer.world_size
        draws = Draws(model, count, model.seed, rank=rank, world_size=world_size)
        for images, labels, index in _generate(trainer, model, draws):
            self._add(self._quality.generated, images, labels, index)

    def _add(self, kept: SampleSet, images: Tensor, labels: Tensor | None, index: Tensor) -> None:
        assert self._judge is not None
        device = next(self._judge.parameters()).device
        features, predicted = self._judge.judge(images.to(device))
        labels = None if labels is None else labels.to(device)
        kept.add(features, predicted, labels, index.to(device))

    def _add_gan_train(self, report: QualityReport, trainer: Trainer, model: Any) -> None:
        """Adds the accuracy of classifiers trained on generated and on as many real images."""
        splits: Any = data_of(trainer).splits  # type: ignore[union-attr]
        count = min(self.final_samples, len(splits.train.targets))
        found: Any = None
        if trainer.is_global_zero:  # one short training: not worth sharing
            parts: list[Any] = list(_generate(trainer, model, Draws(model, count, model.seed)))
            images, labels = (torch.cat([part[i] for part in parts]) for i in (0, 1))
            test = tuple(tensor.to(model.device) for tensor in splits.test)
            real = tuple(tensor[:count].to(model.device) for tensor in splits.train)
            found = [gan_train_accuracy(*train, *test) for train in ((images, labels), real)]
        found = trainer.strategy.broadcast(found)
        report.scores["gan_train"], report.floor["gan_train"] = found
        report.counts["gan_train"] = Counts(count, count, len(splits.test.targets))


@torch.no_grad()
def _generate(
    trainer: Trainer, model: Any, draws: Draws
) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
    """Images uint8 (B, 1, 28, 28), their labels and places, in the precision of the run."""
    with eval_mode(model.sampler), trainer.precision_plugin.forward_context():
        for latents, labels, index in draws:
            labels = None if labels is None else labels.to(model.device)
            yield to_pixels(model(latents.to(model.device), labels)), labels, index
