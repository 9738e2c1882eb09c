"""Any list of scores of a generator at once, each beside its floor."""

from collections.abc import Sequence

import torch.distributed as dist
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix

from metrics.images import ImageBank, LabelledImages
from metrics.labels import ModeCounts
from metrics.report import Counts, QualityReport
from metrics.score import Found, Score, Sets, Setting


class SampleSet(MetricCollection):
    """The statistics of one set of images: real training or test images, or generated ones.

    Args:
        scores: The scores whose statistics to keep; statistics of one name are shared.
        setting: Sizes of the statistics.
    """

    def __init__(self, scores: Sequence[Score], setting: Setting) -> None:
        metrics: dict[str, Metric | MetricCollection] = {"modes": ModeCounts(setting.num_classes)}
        if setting.conditional:
            metrics["confusion"] = MulticlassConfusionMatrix(
                setting.num_classes, validate_args=False
            )
        for score in scores:
            metrics |= score.statistics(setting)
        super().__init__(metrics, compute_groups=False)  # no two of them share a state
        self.conditional = setting.conditional

    def add(
        self,
        features: Tensor,
        predicted: Tensor,
        labels: Tensor | None,
        index: Tensor,
        images: Tensor | None = None,
    ) -> None:
        """Adds a batch.

        Args:
            features: The judge's features (B, D).
            predicted: The judge's classes (B,).
            labels: True or requested classes (B,); required if conditional.
            index: Numbers (B,) of the samples within their whole set, over all processes.
            images: The images uint8 (B, C, H, W), if a statistic takes them.

        Raises:
            ValueError: Labels are missing.
        """
        if self.conditional and labels is None:
            raise ValueError("labels are missing: leave them out with conditional=False only")
        self.update(
            images=images,
            features=features,
            index=index,
            labels=labels if self.conditional else None,
            predicted=predicted,
            # torchmetrics' names, for its confusion matrix
            preds=predicted,
            target=labels,
        )


class GeneratorQuality(nn.Module):
    """Scores of generated samples against real test images, and of real training images as well.

    The latter are the floor: the scores of a perfect generator. All scores use the features and
    classes of one frozen judge. Fill `test_set` and `train_set` once; reset and fill `generated`
    for every evaluation, each by `add` (see `SampleSet`), in batches of any size, by any process.
    For a fair floor, add as many training as generated samples.

    With all scores, D = 64 and 10 classes: 14 MB a set, and as much again both for the zeros that
    torchmetrics resets to and for the result that it caches, for any number of samples; and the
    generated images if a score keeps them.

    Args:
        scores: The scores to compute; those that need labels are left out if not conditional.
        setting: Sizes of the statistics.
        real: Training images, as many as are scored, and all test images; required if a score has
            `keeps_images`.
    """

    def __init__(
        self,
        scores: Sequence[Score],
        setting: Setting,
        real: tuple[LabelledImages, LabelledImages] | None = None,
    ) -> None:
        super().__init__()
        self.scores = [s for s in scores if setting.conditional or not s.needs_labels]
        self.generated, self.train_set, self.test_set = (
            SampleSet(self.scores, setting) for _ in range(3)
        )
        self.real = None
        if any(score.keeps_images for score in self.scores):
            assert real is not None
            self.real = real
            bank = ImageBank(len(real[0].images), setting.image_shape, setting.conditional)
            self.generated.add_metrics({"images": bank})

    def compute(self) -> QualityReport:
        """Computes all scores; NaN if a set has too few samples. Every process must call it.

        The statistics are gathered from all processes. The first compares them and tells the
        others, because a comparison may take long and must be the same for all.
        """
        sets = self.generated, self.train_set, self.test_set
        found = [statistics.compute() for statistics in sets]
        if not (dist.is_available() and dist.is_initialized()):
            return self._compare(*found)
        reports = [None if dist.get_rank() else self._compare(*found)]
        dist.broadcast_object_list(reports)
        assert reports[0] is not None
        return reports[0]

    def _compare(self, generated: Found, train: Found, test: Found) -> QualityReport:
        if self.real is not None:
            device = generated["modes"].device
            train["images"], test["images"] = (kept.to(device) for kept in self.real)
        sets = Sets(generated, train, test)
        floors = {"train": Sets(train, train, test), "test": Sets(test, train, test)}
        report = QualityReport()
        for score in self.scores:
            report.scores[score.name] = score.compare(sets)
            report.counts[score.name] = score.counts(sets)
            if score.floor:
                report.floor[score.name] = score.compare(floors[score.floor])
        by_class = {score.class_name: score for score in self.scores if score.class_name}
        if not by_class or "confusion" not in generated:
            return report
        for name, score in sorted(by_class.items()):
            report.class_scores[name] = score.by_class(sets)
            if score.floor:
                report.class_floor[name] = score.by_class(floors[score.floor])
        sizes = (found["confusion"].sum(dim=1).tolist() for found in sets)
        report.class_counts.extend(map(Counts, *sizes))
        return report
