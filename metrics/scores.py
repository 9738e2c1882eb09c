"""The quality scores of generated samples: one class for each, and the list `SCORES` of all.

To add a score, write a subclass of `Score` and append it to `SCORES`. A score in a file outside of
this project is used by its import path: `--quality.extra_scores my_file.MyScore`.
"""

from statistics import fmean

from torchmetrics import Metric

from metrics.frechet import GaussianMoments, fit_gaussian, frechet_by_class, frechet_distance
from metrics.gan_train import gan_train_accuracy
from metrics.kid import KernelMoments, kernel_distance
from metrics.labels import label_accuracy, mode_coverage
from metrics.manifold import FeatureBank, manifold_scores
from metrics.memorization import memorization_floor, memorization_ratio
from metrics.report import Counts
from metrics.score import ALWAYS, Better, Score, Sets, Setting, Stages


class Frechet(Score):
    """Frechet distance between Gaussians fitted to the features (Heusel et al. 2017)."""

    name, better = "frechet", "lower"
    stages: Stages = ALWAYS

    def statistics(self, setting: Setting) -> dict[str, Metric]:
        classes = setting.num_classes if setting.conditional else 1
        return {"moments": GaussianMoments(setting.num_features, classes)}

    def compare(self, sets: Sets) -> float:
        moments = (found["moments"].sum(dim=0) for found in (sets.samples, sets.test))
        return frechet_distance(*map(fit_gaussian, moments))


class IntraFrechet(Frechet):
    """Mean of the classes' Frechet distances (Miyato and Koyama 2018)."""

    name, class_name = "intra_frechet", "frechet"
    stages = ("validate", "test")
    needs_labels = True

    def compare(self, sets: Sets) -> float:
        return fmean(self.by_class(sets))

    def by_class(self, sets: Sets) -> list[float]:
        return sets.once(frechet_by_class, "moments")


class LabelAccuracy(Score):
    """Share of images in which the judge sees the requested class.

    Its floor is the judge's accuracy on images that the judge did not learn from.
    """

    name, better, class_name = "label_accuracy", "higher", "accuracy"
    floor = "test"
    stages: Stages = ALWAYS
    needs_labels = True

    def compare(self, sets: Sets) -> float:
        return label_accuracy(sets.samples["confusion"]).overall

    def by_class(self, sets: Sets) -> list[float]:
        return label_accuracy(sets.samples["confusion"]).by_class


class Kid(Score):
    """Kernel distance (Binkowski et al. 2018); an unbiased estimate, which may be below 0."""

    name = "kid"
    better: Better = "lower"

    def statistics(self, setting: Setting) -> dict[str, Metric]:
        return {"kernel": KernelMoments(setting.num_features)}

    def compare(self, sets: Sets) -> float:
        return sets.once(kernel_distance, "kernel").estimate


class KidError(Kid):
    """Standard error of the kernel distance."""

    name, better = "kid_error", None

    def compare(self, sets: Sets) -> float:
        return sets.once(kernel_distance, "kernel").error


class Precision(Score):
    """Share of generated samples within a ball of a real one (Kynkaanniemi et al. 2019)."""

    name, better = "precision", "higher"

    def statistics(self, setting: Setting) -> dict[str, Metric]:
        return {"bank": FeatureBank(setting.num_features, setting.max_samples)}

    def compare(self, sets: Sets) -> float:
        return sets.once(manifold_scores, "bank").precision

    def counts(self, sets: Sets) -> Counts:
        return Counts(*(len(found["bank"]) for found in sets))


class Recall(Precision):
    """Share of real samples within a ball of a generated one (Kynkaanniemi et al. 2019)."""

    name = "recall"

    def compare(self, sets: Sets) -> float:
        return sets.once(manifold_scores, "bank").recall


class Density(Precision):
    """Mean number of real balls around a generated sample, scaled (Naeem et al. 2020)."""

    name = "density"

    def compare(self, sets: Sets) -> float:
        return sets.once(manifold_scores, "bank").density


class Coverage(Precision):
    """Share of real balls that contain a generated sample (Naeem et al. 2020)."""

    name = "coverage"

    def compare(self, sets: Sets) -> float:
        return sets.once(manifold_scores, "bank").coverage


class Modes(Score):
    """Number of classes that the judge sees among the samples (Metz et al. 2017)."""

    name, better = "modes", "higher"
    stages: Stages = ALWAYS

    def compare(self, sets: Sets) -> float:
        return sets.once(mode_coverage, "modes").modes


class ModesKL(Score):
    """Divergence of the judge's classes from those of real images, in nats (Metz et al. 2017)."""

    name, better = "modes_kl", "lower"

    def compare(self, sets: Sets) -> float:
        return sets.once(mode_coverage, "modes").kl


class Memorization(Precision):
    """Distance to training samples over distance to test samples; near 0 for copies."""

    name = "memorization"

    def compare(self, sets: Sets) -> float:
        generated, train, test = (found["bank"] for found in sets)
        if sets.samples is sets.train:  # the floor
            return memorization_floor(train, test)
        return memorization_ratio(generated, train, test)


class GanTrain(Score):
    """Accuracy on all test images of a classifier that learns from generated images alone."""

    name, better = "gan_train", "higher"
    stages = ("test",)
    needs_labels = True
    keeps_images = True

    def __init__(self, steps: int = 500) -> None:
        self.steps = steps

    def compare(self, sets: Sets) -> float:
        (images, labels), (test_images, test_labels) = (
            found["images"] for found in (sets.samples, sets.test)
        )
        num_classes = len(sets.test["modes"])
        return gan_train_accuracy(images, labels, test_images, test_labels, num_classes, self.steps)

    def counts(self, sets: Sets) -> Counts:
        return Counts(*(len(found["images"].images) for found in sets))


SCORES: tuple[Score, ...] = (
    Frechet(),
    IntraFrechet(),
    LabelAccuracy(),
    Kid(),
    KidError(),
    Precision(),
    Recall(),
    Density(),
    Coverage(),
    Modes(),
    ModesKL(),
    Memorization(),
    GanTrain(),
)
