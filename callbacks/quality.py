"""Quality scores of generated images: a few in training, all of them in `validate` and `test`."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from matplotlib.figure import Figure
from torch import Tensor

from callbacks.judges import PRETRAINED, FoundJudge, check_judge, find_judge, pretrained_judge
from callbacks.progress import track
from callbacks.recording import datamodule_of, rank_zero_print, record
from datamodules.data_module import Split
from datamodules.input_spec import class_names
from figures.classification import percent, plot_confusion
from figures.pictures import figures_folder, mosaic, publish
from metrics import SCORES, Score
from metrics.formulas import confusion, farthest, nearest
from metrics.judge import Judge
from metrics.report import Report, compute_report
from metrics.samples import KeptSamples, Samples
from models.base import eval_mode
from models.generative import Generative, to_pixels
from models.sampling import LatentBatches
from runtime.checkpoints import epoch_is_due, is_over
from runtime.errors import UserError
from runtime.ranges import NonNegative, Positive

NUM_WORST, WORST_COLUMNS = 20, 10  # generated images farthest from real ones, and images per row
NUM_NEAREST = 10  # generated images that are nearest to training images
FEW_TRAINING_IMAGES = 1000  # a generator may learn fewer than this by heart
MIN_JUDGE_ACCURACY = 0.9  # least accuracy of a judge on real images for reliable scores
TITLES = {"val": "the validation split", "test": "the test images"}


class Quality(Callback):
    """Scores the images of a generative model by the features and classes of the data set's judge.

    In training: against the validation split, at the end of epochs, logged as `val/frechet`,
    `val/label_accuracy` and so on. In `validate` and `test`: all scores, beside those of real
    images, printed, and written to `metrics.json` and `figures/`. Every process judges a part.
    There are at most as many generated images as training images, and a conditional model gets the
    classes of these training images, so that a perfect model scores like real images.

    Args:
        judge: `pretrained` for color pictures: features of a network of ImageNet; a run folder or
            a checkpoint of configs/judge/own.yaml; or a judge of this project (mnist, fashion,
            digits); None: the data set's judge, if it has one.
        samples: Images to score in training; 0: none. Few samples make the Frechet distance larger.
        every_n_epochs: Epochs from one scoring to the next.
        min_steps: If an epoch has fewer steps than this, score only every few epochs.
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
        self.scores = {s.name: s for s in SCORES if gan_train or s.name != "gan_train"}
        for score in [extra_scores] if isinstance(extra_scores, Score) else extra_scores or []:
            if score.name in self.scores:
                raise UserError(
                    f"quality.extra_scores: there is a score {score.name!r} already: rename yours"
                )
            self.scores[score.name] = score
        self._forget()

    def _forget(self) -> None:
        self._judge: FoundJudge | None = None  # None: nothing is scored
        self._real: tuple[Samples, Samples] | None = None  # training and held-out images
        self._newest: Report | None = None  # of training
        self._found: dict[str, Any] = {"scores": {}}  # of all final samples

    def chosen(self, model: Generative, stage: str) -> list[Score]:
        """Returns the scores of a model in a stage: "fit", "validate" or "test"."""
        labeled = model.num_classes is not None
        return [s for s in self.scores.values() if stage in s.stages and s.needs_labels <= labeled]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._forget()
        data = datamodule_of(trainer)
        wanted = self.judge or (data.judge if data else None)
        if stage == "fit" and data is not None and data.image_shape and data.splits is not None:
            _warn_of_copies(len(data.splits.train.targets))
        if data is None:
            kind = type(trainer.datamodule).__name__  # type: ignore[attr-defined]  # a connector's
            rank_zero_info(
                f"Samples are not scored: {kind} is no datamodules.DataModule (docs/extending.md)."
            )
            return
        if wanted is None:
            if len(data.image_shape or ()) == 3:  # pictures of points in the plane tell enough
                rank_zero_info(
                    "Samples are not scored: the data has no judge. Set --quality.judge to "
                    "pretrained, or train one (configs/judge/own.yaml) and set it to its run."
                )
            return
        judge = pretrained_judge(data) if wanted == PRETRAINED else find_judge(wanted)
        check_judge(judge, data)
        self._judge = judge

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            return self._report(trainer, pl_module, "val")
        if self._judge is None or trainer.sanity_checking or not self.samples:
            return
        # Validation comes before the epoch counts as processed.
        last = is_over(trainer) or trainer.current_epoch + 1 == trainer.max_epochs
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if last or (due and epoch_is_due(trainer, self.min_steps)):
            self._newest, _ = self._score(trainer, pl_module, "val", self.samples)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self._newest is not None:
            text = self._newest.summary(self.chosen(pl_module, "fit"))
            rank_zero_print(trainer, f"{self._heading('val')}\n{text}")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._report(trainer, pl_module, "test")

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            record(trainer, "val", self._found | {"seed": pl_module.seed})

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        record(trainer, "test", self._found | {"seed": pl_module.seed})

    def _report(self, trainer: Trainer, model: Any, stage: str) -> None:
        if self._judge is None or not self.final_samples:
            return
        judge, data = self._judge, datamodule_of(trainer)
        names = judge.class_names or class_names(data, judge.network.num_classes)
        report, generated = self._score(trainer, model, stage, self.final_samples)
        scores = [score for score in self.scores.values() if score.name in report.scores]
        rank_zero_print(trainer, f"{self._heading(stage)}\n{report.table(scores, names)}")
        self._found = report.as_dict() | {"judge": judge.as_dict()}
        if (folder := figures_folder(trainer)) is None:
            return
        assert self._real is not None
        held_out = self._real[1]
        worst, beside = farthest(generated, held_out, NUM_WORST)
        pairs = generated.take(worst), held_out.take(beside)
        publish(trainer, folder, f"worst_{stage}", partial(plot_worst, *pairs, names))
        draw_nearest = partial(plot_nearest, generated, *self._real)
        publish(trainer, folder, f"nearest_{stage}", draw_nearest)
        if generated.labels is None:
            return
        title, axes = "Generated images that show their class:", ("requested class", "seen class")
        plot = partial(plot_confusion, confusion(generated).cpu(), names, title, *axes)
        publish(trainer, folder, f"asked_{stage}", plot, vector=True)

    def _heading(self, stage: str) -> str:
        """Names the judge, after a warning if its accuracy on real images is low."""
        assert self._judge is not None
        assert self._real is not None
        judge, real = self._judge, self._real[1]
        text = f"Quality of generated images against {TITLES[stage]}, by the judge {judge.name}"
        if real.labels is None:
            return text
        hits = (real.predicted == real.labels).sum()
        known = f"{percent(hits, len(real))} of real images ([ ]: 95 %)"
        if hits >= MIN_JUDGE_ACCURACY * len(real):
            return f"{text}, which recognizes {known}"
        weak = f"recognizes only {known}, so {judge.network.if_weak}"
        return f"The judge {judge.name} {weak}.\n{text}"

    def _score(
        self, trainer: Trainer, model: Any, stage: str, count: int
    ) -> tuple[Report, Samples]:
        """Scores and logs `count` samples; every process judges a part of them."""
        assert self._judge is not None
        data, judge = datamodule_of(trainer), self._judge.network.to(model.device)
        assert data is not None
        count = max(count, trainer.world_size, 2)  # one image has no covariance
        train = data.examples("train", max(count, judge.most_fitted))
        assert train is not None
        count = min(count, len(train.targets))
        if self._real is None:
            held_out = data.examples(stage, count)
            assert held_out is not None
            labeled = not (data.num_classes is None and model.num_classes is None)
            known = _judge_real(trainer, model, judge, train, labeled)
            judge.fit(known)
            real = _judge_real(trainer, model, judge, held_out, labeled)
            self._real = known.take(slice(count)), real
        scores = self.chosen(model, trainer.state.fn)  # type: ignore[arg-type]  # while it runs
        keeps = trainer.state.fn != TrainerFn.FITTING or any(s.needs_images for s in scores)
        kept = KeptSamples(judge.num_classes, model.num_classes is not None, keeps)
        kept = kept.to(model.device)
        for images, labels, numbers in _generate(trainer, model, count, train.targets[:count]):
            kept.update(numbers, *judge.judge(images), labels, images)
        generated = kept.compute()
        report = None
        if trainer.is_global_zero:  # because it is slow, and must be equal on all ranks
            report = compute_report(track(trainer, scores, "Scores"), generated, *self._real)
        report = trainer.strategy.broadcast(report)
        assert report is not None
        # Equal on all ranks already; sync_dist only tells Lightning so.
        logged = {f"{stage}/{k}": v for k, v in report.scores.items()}
        logged |= {f"floor/{k}": v for k, v in report.floor.items()}
        model.log_dict(logged, sync_dist=True)
        return report, generated


def _warn_of_copies(num_training: int) -> None:
    if num_training < FEW_TRAINING_IMAGES:
        rank_zero_info(
            f"{num_training} training images are few, so a generator may learn to copy them. With "
            "a judge, `test RUN` shows that: the score memorization is well below 1, and "
            "figures/nearest_test.png has the copies. So does `sample RUN --neighbors 10`. What "
            "190 to 3,057 images gave is in docs/own-data.md, under Number of images."
        )


def _judge_real(trainer: Trainer, model: Any, judge: Judge, split: Split, labeled: bool) -> Samples:
    kept = KeptSamples(judge.num_classes, labeled).to(model.device)
    blocks = torch.arange(len(split.targets)).split(LatentBatches.BLOCK)
    for block in track(trainer, blocks, "Real images"):
        numbers = block[trainer.global_rank :: trainer.world_size]
        images, labels = (part.to(model.device) for part in split.take(numbers))
        kept.update(numbers.to(model.device), *judge.judge(images), labels)
    samples = kept.compute()
    samples.images = split.inputs.to(model.device)
    return samples


@torch.no_grad()
def _generate(trainer: Trainer, model: Any, count: int, classes: Tensor) -> Iterator[Any]:
    """Yields images uint8 (B, C, H, W), their labels and numbers, in the run's precision."""
    if trainer.world_size > 1:  # each process has its own batch norm statistics in training
        for buffer in model.eval_network.buffers():
            dist.broadcast(buffer, 0)  # rank zero's are those that checkpoints keep
    share = trainer.global_rank, trainer.world_size
    draws = LatentBatches(model, count, model.seed, classes, 0, *share)
    with eval_mode(model.eval_network), trainer.precision_plugin.forward_context():
        for draw in track(trainer, draws, "Generated images"):
            latents, labels, numbers = (x if x is None else x.to(model.device) for x in draw)
            yield to_pixels(model(latents, labels)), labels, numbers


def plot_nearest(generated: Samples, train: Samples, held_out: Samples) -> Figure:
    """Plots the generated images that are nearest to training images, above both nearest real ones.

    Titles have the distances of the judge's features. A copy is far nearer to its training image.
    """
    shown = generated.take(nearest(generated, train)[0].argsort()[:NUM_NEAREST])
    rows, titles = [shown.pictures()], ["generated"] * len(shown)
    for name, known in {"training": train, "held out": held_out}.items():
        distances, indices = nearest(shown, known)
        rows.append(known.take(indices).pictures())
        titles += [f"{name} {distance:.2f}" for distance in distances.tolist()]
    heading = "Generated images, above the nearest training and the nearest held-out images"
    return mosaic(torch.cat(rows), titles, len(shown), heading, letters=11)


def plot_worst(worst: Samples, real: Samples, names: Sequence[str]) -> Figure:
    """Plots generated images, each above the real one that is nearest to it.

    Titles name the requested class and the class that the judge predicts.

    Args:
        worst: Generated samples, the worst first, with images.
        real: The real samples nearest to them, with images.
        names: Names of the classes.
    """
    seen = [names[k] for k in worst.predicted.tolist()]
    titles = [f"seen as {name}" for name in seen]
    if worst.labels is not None:
        asked = [names[k] for k in worst.labels.tolist()]
        titles = [a if a == s else f"{a}, seen as {s}" for a, s in zip(asked, seen, strict=True)]
    classes = real.predicted if real.labels is None else real.labels
    below = [f"real {names[k]}" for k in classes.tolist()]
    rows, texts = [], []
    for start in range(0, len(worst), WORST_COLUMNS):
        part = slice(start, start + WORST_COLUMNS)
        rows += [worst.take(part).pictures(), real.take(part).pictures()]
        texts += titles[part] + below[part]
    heading = f"The {len(worst)} images farthest from real ones, above the nearest real ones"
    return mosaic(torch.cat(rows), texts, WORST_COLUMNS, heading, letters=11)
