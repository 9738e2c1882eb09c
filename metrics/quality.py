"""All scores of a generator at once, each beside its floor."""

from statistics import fmean
from typing import Any

from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix

from metrics.frechet import GaussianMoments, fit_gaussian, frechet_by_class, frechet_distance
from metrics.kid import KernelMoments, kernel_distance
from metrics.labels import ModeCounts, label_accuracy, mode_coverage
from metrics.manifold import FeatureBank, ManifoldScores, manifold_scores
from metrics.memorization import memorization_floor, memorization_ratio
from metrics.report import Counts, QualityReport

NEIGHBOUR_SCORES = (*ManifoldScores._fields, "memorization")  # of the samples kept in full


class SampleSet(MetricCollection):
    """What is kept of one set of samples: real training or test images, or generated ones.

    Args:
        As those of `GeneratorQuality`.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        conditional: bool = True,
        max_samples: int = 5000,
        num_groups: int = 10,
    ) -> None:
        metrics: dict[str, Metric | MetricCollection] = {
            "moments": GaussianMoments(num_features, num_classes if conditional else 1),
            "modes": ModeCounts(num_classes),
        }
        if conditional:
            metrics["confusion"] = MulticlassConfusionMatrix(num_classes, validate_args=False)
        if num_groups:
            metrics["kernel"] = KernelMoments(num_features, num_groups)
        if max_samples:
            metrics["bank"] = FeatureBank(num_features, max_samples)
        super().__init__(metrics, compute_groups=False)  # no two of them share a state
        self.conditional = conditional

    def add(
        self, features: Tensor, predicted: Tensor, labels: Tensor | None, index: Tensor
    ) -> None:
        """Adds a batch.

        Args:
            features: The judge's features (B, D).
            predicted: The judge's classes (B,).
            labels: True classes (B,), or those a generator was asked for; needed if conditional.
            index: Numbers (B,) of the samples within their whole set, over all processes.

        Raises:
            ValueError: Labels are missing.
        """
        if self.conditional and labels is None:
            raise ValueError("labels are missing: leave them out with conditional=False only")
        self.update(
            features=features,
            index=index,
            labels=labels if self.conditional else None,
            # what ModeCounts and torchmetrics' confusion matrix call them
            predicted=predicted,
            preds=predicted,
            target=labels,
        )


class GeneratorQuality(nn.Module):
    """Scores of generated samples against real test images, and of real training images as well.

    The latter are the floor: what a perfect generator would reach. All is had from the features
    and classes of one frozen judge. Each of the three sets is summed by itself: `quality.test_set`
    and `quality.train_set` are filled once, `quality.generated` is reset and filled for every
    evaluation, each by `add(features, predicted, labels, index)` (see `SampleSet`), in batches
    of any size by any process. For a fair floor give as many training as generated samples.

    Memory for D = 64 and 10 classes: 14 MB a set, and as much again for each of the zeros that
    torchmetrics resets to and the result it caches; it does not grow with the number of samples.
    For use in training, `max_samples=0` leaves out the costly scores from nearest neighbours.

    Args:
        num_features: Number of the judge's features D.
        num_classes: Number of classes K.
        conditional: The generator is asked for classes. If not, there is no label accuracy and no
            Frechet distance by class.
        max_samples: Precision, recall, density, coverage and memorization are had from the samples
            of each set with an index below this; 0: without them.
        num_groups: Groups that the kernel distance's error is had from; 0: without both.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        conditional: bool = True,
        max_samples: int = 5000,
        num_groups: int = 10,
    ) -> None:
        super().__init__()
        arguments = (num_features, num_classes, conditional, max_samples, num_groups)
        self.generated = SampleSet(*arguments)
        self.train_set = SampleSet(*arguments)  # `train` is a method of every module
        self.test_set = SampleSet(*arguments)

    def compute(self) -> QualityReport:
        """All scores; nan where a set had too few samples. Every process must call it."""
        sets = self.generated, self.train_set, self.test_set
        generated, train, test = (samples.compute() for samples in sets)
        scores, class_scores = _compare(generated, test, judged=generated)
        # The judge's own hits are counted on images that it did not learn from.
        floor, class_floor = _compare(train, test, judged=test)
        counts = [found["moments"][:, 0, 0].long() for found in (generated, train, test)]
        everything = Counts(*(int(count.sum()) for count in counts))
        by_score = dict.fromkeys(scores, everything)
        if "bank" in test:
            banks = generated["bank"], train["bank"], test["bank"]
            scores["memorization"] = memorization_ratio(*banks)
            floor["memorization"] = memorization_floor(*banks[1:])
            by_score |= dict.fromkeys(NEIGHBOUR_SCORES, Counts(*map(len, banks)))
        by_class = list(map(Counts, *(count.tolist() for count in counts))) if class_scores else []
        return QualityReport(scores, floor, by_score, class_scores, class_floor, by_class)


def _compare(
    samples: dict[str, Any], test: dict[str, Any], judged: dict[str, Any]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Scores, and scores by class, of what `SampleSet.compute` found of two sets.

    `judged` is the set whose labels are held against the judge's classes.
    """
    gaussians = (fit_gaussian(found["moments"].sum(dim=0)) for found in (samples, test))
    scores, by_class = {"frechet": frechet_distance(*gaussians)}, {}
    if "confusion" in test:
        accuracy = label_accuracy(judged["confusion"])
        by_class["accuracy"] = accuracy.by_class
        by_class["frechet"] = frechet_by_class(samples["moments"], test["moments"])
        scores["intra_frechet"] = fmean(by_class["frechet"])
        scores["label_accuracy"] = accuracy.overall
    if "kernel" in test:
        scores["kid"], scores["kid_error"] = kernel_distance(samples["kernel"], test["kernel"])
    if "bank" in test:
        scores |= manifold_scores(samples["bank"], test["bank"])._asdict()
    scores["modes"], scores["modes_kl"] = mode_coverage(samples["modes"], test["modes"])
    return scores, by_class
