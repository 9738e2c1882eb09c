"""The quality scores of generated samples.

To add a score, append it to `SCORES`. A score in a file outside of this project is used by its
import path: `--quality.extra_scores my_file.MyScore`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from torchmetrics import Metric

from metrics.bank import FeatureBank
from metrics.frechet import GaussianMoments, frechet_by_class, frechet_of_sets
from metrics.gan_train import gan_train_accuracy
from metrics.kid import KernelMoments, kernel_distance
from metrics.labels import label_accuracy, mode_coverage
from metrics.neighbours import manifold_scores, memorization_floor, memorization_ratio
from metrics.score import Found, Score, Sets, Setting

ALWAYS = ("fit", "validate", "test")
KERNEL_FEATURES = 128  # the kernel's sums grow with the cube: at 192, they take 3 GB of memory
STATISTICS: dict[str, Callable[[Setting], Metric]] = {
    "moments": lambda s: GaussianMoments(s.num_features, s.num_classes if s.conditional else 1),
    "kernel": lambda s: KernelMoments(s.num_features),
    "bank": lambda s: FeatureBank(s.num_features, s.max_samples),
}


@dataclass(eq=False)
class StatisticScore(Score):
    """A score that is a function of one statistic of the samples and of the test images."""

    name: str
    statistic: str
    function: Callable[..., Any]
    field: str | None = None  # of the tuple that the function returns
    better: Literal["higher", "lower"] | None = None
    stages: tuple[str, ...] = Score.stages
    title: str = ""
    max_features: float = Score.max_features

    def statistics(self, setting: Setting) -> dict[str, Metric]:
        names = {self.statistic} & STATISTICS.keys()  # every set has the others
        return {name: STATISTICS[name](setting) for name in names}

    def compare(self, sets: Sets) -> float:
        found = sets.once(self.function, self.statistic)
        return getattr(found, self.field) if self.field else found

    def count(self, found: Found) -> int:
        return len(found["bank"]) if self.statistic == "bank" else super().count(found)


class IntraFrechet(StatisticScore):
    """Mean of the classes' Frechet distances (Miyato and Koyama 2018)."""

    class_name, needs_labels = "frechet", True

    def compare(self, sets: Sets) -> float:
        return fmean(self.by_class(sets))

    def by_class(self, sets: Sets) -> list[float]:
        return sets.once(self.function, self.statistic)


class LabelAccuracy(Score):
    """Share of images in which the judge sees the requested class.

    Its floor is the judge's accuracy on images that the judge did not learn from.
    """

    name, better, class_name = "label_accuracy", "higher", "accuracy"
    title = "share of images that show their class"
    floor, stages, needs_labels = "test", ALWAYS, True

    def compare(self, sets: Sets) -> float:
        return label_accuracy(sets.samples["confusion"]).overall

    def by_class(self, sets: Sets) -> list[float]:
        return label_accuracy(sets.samples["confusion"]).by_class


class Memorization(StatisticScore):
    """Distance to training samples over distance to test samples; near 0 for copies.

    Best near the value of real images, so neither higher nor lower is better.
    """

    def compare(self, sets: Sets) -> float:
        train, test = sets.train["bank"], sets.test["bank"]
        if sets.samples is sets.train:  # the floor
            return memorization_floor(train, test)
        return self.function(sets.samples["bank"], train, test)


class GanTrain(Score):
    """Accuracy on all test images of a classifier that learns from generated images alone."""

    name, better = "gan_train", "higher"
    title = "accuracy of a classifier trained on generated images"
    stages, needs_labels, keeps_images = ("test",), True, True

    def __init__(self, steps: int = 500) -> None:
        self.steps = steps

    def compare(self, sets: Sets) -> float:
        (images, labels), (test_images, test_labels) = sets.samples["images"], sets.test["images"]
        num_classes = len(sets.test["modes"])
        return gan_train_accuracy(
            images, labels, test_images, test_labels, num_classes, self.steps, watch=sets.watch
        )

    def count(self, found: Found) -> int:
        return len(found["images"].images)


SCORES: tuple[Score, ...] = (
    # Heusel et al. 2017
    StatisticScore(
        "frechet", "moments", frechet_of_sets, None, "lower", ALWAYS, title="Frechet distance"
    ),
    IntraFrechet(
        "intra_frechet", "moments", frechet_by_class, better="lower",
        title="Frechet distance, mean of the classes",
    ),
    LabelAccuracy(),
    # Binkowski et al. 2018
    StatisticScore(
        "kid", "kernel", kernel_distance, "estimate", "lower",
        title="kernel distance; by chance below 0 if images are good", max_features=KERNEL_FEATURES,
    ),
    StatisticScore(
        "kid_error", "kernel", kernel_distance, "error", title="standard error of kid",
        max_features=KERNEL_FEATURES,
    ),
    # Kynkaanniemi et al. 2019, Naeem et al. 2020
    StatisticScore(
        "precision", "bank", manifold_scores, "precision", "higher",
        title="share of generated images near real ones",
    ),
    StatisticScore(
        "recall", "bank", manifold_scores, "recall", "higher",
        title="share of real images near generated ones",
    ),
    StatisticScore("density", "bank", manifold_scores, "density", "higher"),
    StatisticScore("coverage", "bank", manifold_scores, "coverage", "higher"),
    # Metz et al. 2017; the divergence is in nats
    StatisticScore(
        "modes", "modes", mode_coverage, "modes", "higher", ALWAYS, title="classes that appear"
    ),
    StatisticScore(
        "modes_kl", "modes", mode_coverage, "kl", "lower", title="imbalance of the classes"
    ),
    Memorization(
        "memorization", "bank", memorization_ratio,
        title="best near the value of real images; 0 for copies of them",
    ),
    GanTrain(),
)  # fmt: skip
