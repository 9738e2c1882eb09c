"""Quality scores of a GAN's images: a few during training, all of them in `validate` and `test`."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from callbacks.console import say
from callbacks.drawing import class_names, data_of, publish
from callbacks.figures import figures_folder
from callbacks.quality_figures import draw_classes, draw_requested_and_seen
from callbacks.results import record
from datamodules.base import InMemoryDataModule, Split, Splits
from metrics import (
    SCORES,
    GeneratorQuality,
    LabelledImages,
    QualityReport,
    SampleSet,
    Score,
    Setting,
)
from metrics.judge import JudgeNetwork, load_judge
from metrics.scores import GanTrain
from models.gan import GAN
from models.sampling import Draws, eval_mode, to_pixels
from runtime.schedule import epoch_is_due, is_over


class Quality(Callback):
    """Scores a GAN's averaged generator by the features and classes of the data set's judge.

    In training: against the validation split, at the end of epochs, logged as `val/frechet`,
    `val/label_accuracy` and so on. In `validate` and `test`: all scores and their floors, printed,
    and written to `metrics.json` and `figures/`. Every process scores its share.

    Args:
        samples: Images to score in training; 0: none. Few samples make the Frechet distance larger.
        every_n_epochs: Epochs from one scoring to the next.
        min_steps: If an epoch is shorter than this, score only every so many epochs.
        final_samples: Images to score in `validate` and `test`; 0: none.
        gan_train: In `test`, also train a classifier on generated images alone, and test it on
            real ones.
        extra_scores: More scores, each by its import path: see `metrics.Score`.

    Raises:
        MisconfigurationException: `every_n_epochs` is below 1, or two scores have one name.
    """

    def __init__(
        self,
        samples: int = 2000,
        every_n_epochs: int = 1,
        min_steps: int = 200,
        final_samples: int = 10_000,
        gan_train: bool = True,
        extra_scores: list[Score] | Score | None = None,
    ) -> None:
        if every_n_epochs < 1:
            raise MisconfigurationException(
                f"quality.every_n_epochs is {every_n_epochs}: set it to 1 or more"
            )
        self.samples, self.final_samples = samples, final_samples
        self.every_n_epochs, self.min_steps = every_n_epochs, min_steps
        self.scores = {s.name: s for s in SCORES if gan_train or not isinstance(s, GanTrain)}
        for score in [extra_scores] if isinstance(extra_scores, Score) else extra_scores or []:
            if score.name in self.scores:
                raise MisconfigurationException(
                    f"quality.extra_scores: there is a score {score.name!r} already: rename yours"
                )
            self.scores[score.name] = score
        self._judge: JudgeNetwork | None = None
        self._quality: GeneratorQuality | None = None
        self._seconds = self._started = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Loads the judge. Without one, says so and scores nothing.

        Raises:
            MisconfigurationException: The judge is damaged, or was trained on images of another
                shape.
        """
        self._judge = self._quality = None
        if not isinstance(pl_module, GAN) or stage == "predict":
            return
        name = judge_name(data_of(trainer))
        if name is None:
            rank_zero_info("Samples are not scored: the data has no judge (see configs/judge).")
            return
        try:
            self._judge = load_judge(name)
            self._judge.check(_splits(trainer).train.inputs.shape[1:])
        except ValueError as error:
            raise MisconfigurationException(f"quality: {error}") from None

    # -- in training ----------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.perf_counter()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            return self._report(trainer, pl_module, "val")
        if self._judge is None or trainer.sanity_checking or not self.samples:
            return
        # Validation comes before the epoch counts as processed.
        last = is_over(trainer) or trainer.current_epoch + 1 == trainer.max_epochs
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if not (last or (due and epoch_is_due(trainer, self.min_steps))):
            return
        start = time.perf_counter()
        report = self._score(trainer, pl_module, self.samples)
        _log(pl_module, "val", report)
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
        report = self._score(trainer, model, self.final_samples)
        assert self._quality is not None
        scores = self._quality.scores
        _log(model, stage, report)
        against = {"val": "the validation split", "test": "the official test images"}[stage]
        say(trainer, f"Quality of generated images against {against}\n{report.table(scores)}")
        record(trainer, stage, report.as_dict())
        folder = figures_folder(trainer)
        if folder is None or not model.conditional:
            return
        names = class_names(data_of(trainer), self._judge.num_classes)
        publish(trainer, folder, f"classes_{stage}", draw_classes(report, scores, names))
        confusion = self._quality.generated.compute()["confusion"].cpu()
        publish(trainer, folder, f"asked_{stage}", draw_requested_and_seen(confusion, names))

    # -- scoring --------------------------------------------------------------------------------

    def _score(self, trainer: Trainer, model: Any, count: int) -> QualityReport:
        assert self._judge is not None
        self._judge.to(model.device)
        if self._quality is None:
            self._quality = self._with_real_images(trainer, model, count)
        self._quality.generated.reset()
        rank, world_size = trainer.global_rank, trainer.world_size
        draws = Draws(model, count, model.seed, rank=rank, world_size=world_size)
        for images, labels, index in _generate(trainer, model, draws):
            self._add(self._quality.generated, images, labels, index)
        return self._quality.compute()

    def _with_real_images(self, trainer: Trainer, model: Any, count: int) -> GeneratorQuality:
        assert self._judge is not None
        judge, splits, stage = self._judge, _splits(trainer), trainer.state.fn
        test = splits.test if stage == TrainerFn.TESTING else splits.val
        assert test is not None
        train = Split(*(tensor[:count] for tensor in splits.train))
        quality = GeneratorQuality(
            [score for score in self.scores.values() if stage in score.stages],
            Setting(judge.image_shape, judge.num_features, judge.num_classes, model.conditional),
            real=(LabelledImages(*train), LabelledImages(*test)),
        ).to(model.device)
        for kept, split in ((quality.test_set, test), (quality.train_set, train)):
            size = min(count, len(split.targets))
            first, stride = trainer.global_rank * Draws.BLOCK, trainer.world_size * Draws.BLOCK
            for start in range(first, size, stride):
                rows = slice(start, min(start + Draws.BLOCK, size))
                index = torch.arange(rows.start, rows.stop)
                self._add(kept, split.inputs[rows], split.targets[rows], index)
        return quality

    def _add(self, kept: SampleSet, images: Tensor, labels: Tensor | None, index: Tensor) -> None:
        assert self._judge is not None
        device = next(self._judge.parameters()).device
        images, labels = images.to(device), None if labels is None else labels.to(device)
        features, predicted = self._judge.judge(images)
        kept.add(features, predicted, labels, index.to(device), images)


def judge_name(data: Any) -> str | None:
    """Returns the name of the judge of a data module's images; None if there is none."""
    return data.judge if isinstance(data, InMemoryDataModule) else None


def _splits(trainer: Trainer) -> Splits:
    data = data_of(trainer)
    assert isinstance(data, InMemoryDataModule)
    assert data.splits is not None
    return data.splits


def _log(model: LightningModule, stage: str, report: QualityReport) -> None:
    # Equal on all ranks already; sync_dist only tells Lightning so.
    model.log_dict({f"{stage}/{k}": v for k, v in report.scores.items()}, sync_dist=True)


@torch.no_grad()
def _generate(
    trainer: Trainer, model: Any, draws: Draws
) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
    """Yields images uint8 (B, C, H, W), their labels and numbers, in the run's precision."""
    with eval_mode(model.sampler), trainer.precision_plugin.forward_context():
        for latents, labels, index in draws:
            labels = None if labels is None else labels.to(model.device)
            yield to_pixels(model(latents.to(model.device), labels)), labels, index
