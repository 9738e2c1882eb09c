"""Quality scores of a GAN's images: a few during training, all of them in `validate` and `test`."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from callbacks.judges import FoundJudge, check_judge, find_judge
from callbacks.progress import watch
from callbacks.projector import project
from callbacks.results import class_names, data_of, record, say
from callbacks.worst import draw_worst
from datamodules.base import Split
from figures.evaluation import draw_confusion
from figures.pictures import figures_folder, publish
from figures.quality import draw_classes
from metrics import SCORES, GeneratorQuality, LabelledImages, QualityReport, Score, Setting
from metrics.judge import Judge
from metrics.scores import GanTrain
from models.base import eval_mode
from models.generative import Draws, Generative, is_generative, to_pixels
from runtime.checkpoints import epoch_is_due, is_over
from runtime.errors import UserError
from runtime.ranges import NonNegative, Positive

SEEN = "class that the judge sees"


class Quality(Callback):
    """Scores a GAN's averaged generator by the features and classes of the data set's judge.

    In training: against the validation split, at the end of epochs, logged as `val/frechet`,
    `val/label_accuracy` and so on. In `validate` and `test`: all scores and their floors, printed,
    and written to `metrics.json` and `figures/`. Every process scores its share. There are never
    more generated images than training images, so that the floor has as many. A conditional
    generator gets the classes of these training images, so that a perfect one reaches the floor.

    Args:
        judge: A run folder or a checkpoint of configs/judge/own.yaml, or a judge of this project
            (mnist, fashion, digits); None: the data set's judge, if it has one.
        samples: Images to score in training; 0: none. Few samples make the Frechet distance larger.
        every_n_epochs: Epochs from one scoring to the next.
        min_steps: If an epoch is shorter than this, score only every so many epochs.
        final_samples: Images to score in `validate` and `test`; 0: none.
        gan_train: In `test`, also train a classifier on generated images alone, and test it on
            real ones.
        extra_scores: More scores, each by its import path: see `metrics.Score`.
    """

    def __init__(
        self,
        judge: str | None = None,
        samples: NonNegative = 2000,
        every_n_epochs: Positive = 1,
        min_steps: NonNegative = 200,
        final_samples: NonNegative = 10_000,
        gan_train: bool = True,
        extra_scores: list[Score] | Score | None = None,
    ) -> None:
        self.judge, self.samples, self.final_samples = judge, samples, final_samples
        self.every_n_epochs, self.min_steps = every_n_epochs, min_steps
        self.scores = {s.name: s for s in SCORES if gan_train or not isinstance(s, GanTrain)}
        for score in [extra_scores] if isinstance(extra_scores, Score) else extra_scores or []:
            if score.name in self.scores:
                raise UserError(
                    f"quality.extra_scores: there is a score {score.name!r} already: rename yours"
                )
            self.scores[score.name] = score
        self._judge: FoundJudge | None = None  # None: nothing is scored
        self._quality: GeneratorQuality | None = None
        self._train: Split  # what the scores are of: as many training images as generated ones
        self._held_out: Split  # and at most as many of the validation or test images
        self._newest: QualityReport | None = None  # of training
        self._seconds = 0.0

    def logged(self, model: Generative) -> list[str]:
        """Returns the names of the scores that training logs for a model."""
        if self._judge is None or not self.samples:
            return []
        scores = (s for s in self.scores.values() if "fit" in s.stages)
        return [s.name for s in scores if model.num_classes is not None or not s.needs_labels]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._judge = self._quality = self._newest = None
        if not is_generative(pl_module) or stage == "predict":
            return
        data = data_of(trainer)
        wanted = self.judge or (data.judge if data else None)
        if data is None or wanted is None:
            rank_zero_info(
                "Samples are not scored: the data has no judge. Train one (configs/judge/own.yaml) "
                "and set --quality.judge to its run."
            )
            return
        judge = find_judge(wanted)
        check_judge(judge, data)
        self._judge = judge

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
        if last or (due and epoch_is_due(trainer, self.min_steps)):
            start = time.perf_counter()
            _, self._newest = self._score(trainer, pl_module, "val", self.samples)
            self._seconds += time.perf_counter() - start

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._newest is not None and self._quality is not None:
            heading = self._heading("the validation split")
            say(trainer, f"{heading}\n{self._newest.summary(self._quality.scores)}")
        if self._seconds:
            share = self._seconds / (time.perf_counter() - self._started)
            say(trainer, f"Scoring samples took {self._seconds:.1f} s: {share:.1%} of training.")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._report(trainer, pl_module, "test")

    def _report(self, trainer: Trainer, model: Any, stage: str) -> None:
        if self._judge is None or not self.final_samples:
            return
        quality, report = self._score(trainer, model, stage, self.final_samples)
        heading = self._heading({"val": "the validation split", "test": "the test images"}[stage])
        judge = self._judge
        names = judge.class_names or class_names(data_of(trainer), judge.network.num_classes)
        say(trainer, f"{heading}\n{report.table(quality.scores, names)}")
        features, references = judge.network.num_features, report.counts["frechet"]["test"]
        if references <= features:
            say(
                trainer,
                f"Distances are uncertain: {references} real images are few for {features} "
                "features. Compare a score with that of real images, not with other data sets.",
            )
        if quality.left_out:
            left_out = ", ".join(quality.left_out)
            say(trainer, f"Left out, because {features} features make them too costly: {left_out}.")
        record(trainer, stage, report.as_dict() | {"judge": judge.as_dict()})
        folder = figures_folder(trainer)
        if folder is not None:
            project(trainer, model, judge.network, names)
            if "bank" in quality.generated:
                labels, held_out = self._train.targets, self._held_out
                worst = draw_worst(model, judge.network, quality, labels, held_out, names)
                publish(trainer, folder, f"worst_{stage}", worst)
        if folder is None or not model.num_classes is not None:
            return
        publish(trainer, folder, f"classes_{stage}", draw_classes(report, quality.scores, names))
        confusion = quality.generated.compute()["confusion"].cpu()
        title, axes = "Generated images that show their class:", ("requested class", SEEN)
        figure = draw_confusion(confusion, names, title, *axes)
        publish(trainer, folder, f"asked_{stage}", figure, vector=True)

    def _heading(self, against: str) -> str:
        assert self._judge is not None
        return f"Quality of generated images against {against}, by the judge {self._judge.name}"

    def _score(
        self, trainer: Trainer, model: Any, stage: str, count: int
    ) -> tuple[GeneratorQuality, QualityReport]:
        """Scores and logs `count` samples; the statistics of real images are computed once."""
        assert self._judge is not None
        judge = self._judge.network.to(model.device)
        data = data_of(trainer)
        assert data is not None
        assert data.splits is not None
        count = min(count, len(data.splits.train.targets))
        if self._quality is None:
            whole = data.splits.test if stage == "test" else data.splits.val
            assert whole is not None
            self._train = data.excerpt(data.splits.train, count)
            self._held_out = data.excerpt(whole, count)
            self._quality = GeneratorQuality(
                [score for score in self.scores.values() if trainer.state.fn in score.stages],
                Setting(
                    judge.image_shape,
                    judge.num_features,
                    judge.num_classes,
                    model.num_classes is not None,
                ),
                real=(LabelledImages(*self._train), LabelledImages(*whole)),
            ).to(model.device)
            self._add_real_images(trainer, judge, model.device)
        quality = self._quality
        quality.generated.reset()
        if trainer.world_size > 1:  # each process has its own batch norm statistics in training
            for buffer in model.sampler.buffers():
                dist.broadcast(buffer, 0)  # rank zero's are those that checkpoints keep
        ranks = trainer.global_rank, trainer.world_size
        draws = Draws(model, count, model.seed, self._train.targets, 0, *ranks)
        for images, labels, index in _generate(trainer, model, draws):
            quality.generated.add(*judge.judge(images), labels, index, images)
        report = quality.compute(partial(watch, trainer))
        # Equal on all ranks already; sync_dist only tells Lightning so.
        found = {f"{stage}/{k}": v for k, v in report.scores.items()}
        found |= {f"floor/{k}": v for k, v in report.floor.items()}
        model.log_dict(found, sync_dist=True)
        return quality, report

    def _add_real_images(self, trainer: Trainer, judge: Judge, device: torch.device) -> None:
        assert self._quality is not None
        sets = (self._quality.test_set, self._held_out), (self._quality.train_set, self._train)
        for kept, split in sets:
            blocks = torch.arange(len(split.targets)).split(Draws.BLOCK)
            own = blocks[trainer.global_rank :: trainer.world_size]
            for index in watch(trainer, own, "Real images"):
                images, labels = (part.to(device) for part in split.take(index))
                kept.add(*judge.judge(images), labels, index.to(device), images)


@torch.no_grad()
def _generate(trainer: Trainer, model: Any, draws: Draws) -> Iterator[Any]:
    """Yields images uint8 (B, C, H, W), their labels and numbers, in the run's precision."""
    with eval_mode(model.sampler), trainer.precision_plugin.forward_context():
        for draw in watch(trainer, draws, "Generated images"):
            latents, labels, index = (x if x is None else x.to(model.device) for x in draw)
            yield to_pixels(model(latents, labels)), labels, index
