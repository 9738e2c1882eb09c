"""Any list of scores of a generator at once, each beside its floor, and their report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix

from metrics.bank import ImageBank, LabelledImages
from metrics.labels import ModeCounts
from metrics.score import Found, Score, Sets, Setting, Watch, silent

Counts = dict[str, int]  # numbers of samples: generated, train, test
ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}
EXPLANATION = (
    "↑ higher is better, ↓ lower is better. Real images: the score of real images in place of "
    "generated ones,\nwhich a perfect generator reaches."
)


@dataclass(frozen=True)
class QualityReport:
    """Scores of generated samples, each beside its floor: the score of real images.

    NaN: there were too few samples. An unconditional generator has no scores by class.
    """

    scores: dict[str, float] = field(default_factory=dict)
    floor: dict[str, float] = field(default_factory=dict)  # without scores that have none
    counts: dict[str, Counts] = field(default_factory=dict)
    class_scores: dict[str, list[float]] = field(default_factory=dict)
    class_floor: dict[str, list[float]] = field(default_factory=dict)
    class_counts: list[Counts] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return {**vars(self)}

    def table(self, scores: Sequence[Score], names: Sequence[str] | None = None) -> str:
        """Formats `summary` and a line for each class: values, floors, and sample counts.

        Classes have these names, or else their numbers.
        """
        count_cells = "   {generated:>9} {train:>7} {test:>7}"
        samples = f"{'n drawn':>12}{'n train':>8}{'n test':>8}"
        lines = [self.summary(scores)]
        names = names or [str(k) for k in range(len(self.class_counts))]
        width = max(5, *map(len, names)) if self.class_scores else 0
        if self.class_scores:
            header = "".join(f"{name:>13}{'real images':>13}" for name in self.class_scores)
            lines += ["", f"{'class':<{width}}{header}{samples}"]
        formats = {score.class_name: score.format for score in scores}
        for k, class_counts in enumerate(self.class_counts):
            shown = ""
            for name, by_class in self.class_scores.items():
                floor = self.class_floor[name][k] if name in self.class_floor else None
                shown += _cells(formats[name], by_class[k], floor)
            lines.append(f"{names[k]:<{width}}{shown}{count_cells.format(**class_counts)}")
        lines.append(EXPLANATION)
        if any(math.isnan(value) for value in (*self.scores.values(), *self.floor.values())):
            lines.append("nan: too few images for this score")
        return "\n".join(lines)

    def summary(self, scores: Sequence[Score]) -> str:
        """Formats a line for each score: value, floor, and name in words; then sample counts."""
        lines = [f"{'score':<18}{'generated':>13}{'real images':>13}"]
        for score in scores:
            name = score.name
            shown = _cells(score.format, self.scores[name], self.floor.get(name))
            lines.append(f"{name + ARROWS[score.better]:<18}{shown}  {score.title}".rstrip())
        return "\n".join([*lines, self._numbers(scores)])

    def _numbers(self, scores: Sequence[Score]) -> str:
        """Says the numbers of images once for all scores that share them."""
        groups: dict[str, list[str]] = {}
        for score in scores:
            counts = "{generated:,} generated, {train:,} training and {test:,} held-out images"
            groups.setdefault(counts.format(**self.counts[score.name]), []).append(score.name)
        (most, _), *others = sorted(groups.items(), key=lambda item: -len(item[1]))
        return "\n".join([f"Of {most}."] + [f"{', '.join(n)}: {text}." for text, n in others])


def _cells(spec: str, *values: float | None) -> str:
    return "".join(f"{'-' if value is None else format(value, spec):>13}" for value in values)


class SampleSet(MetricCollection):
    """The statistics of one set of images, shared by scores that use the same name."""

    def __init__(self, scores: Sequence[Score], setting: Setting) -> None:
        metrics: dict[str, Metric | MetricCollection] = {"modes": ModeCounts(setting.num_classes)}
        if setting.conditional:
            confusion = MulticlassConfusionMatrix(setting.num_classes, validate_args=False)
            metrics["confusion"] = confusion
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
        """Adds a batch: the arguments are those of `Score.statistics`.

        The index counts within the whole set, over all processes. Only a conditional generator
        needs labels, and only some statistics the images.
        """
        if self.conditional and labels is None:
            raise ValueError("labels are missing: leave them out with conditional=False only")
        self.update(
            images=images,
            features=features,
            index=index,
            labels=labels if self.conditional else None,
            predicted=predicted,
            preds=predicted,  # torchmetrics' names, for its confusion matrix
            target=labels,
        )


class GeneratorQuality(nn.Module):
    """Scores of generated samples against real test images, and of real training images as well.

    The latter are the floor: the scores of a perfect generator. Fill `test_set` and `train_set`
    once; reset and fill `generated` for every evaluation, each by `SampleSet.add`, in batches of
    any size, by any process. For a fair floor, add as many training as generated samples. With all
    scores, D = 64 and 10 classes, a set takes 42 MB with torchmetrics' copies.

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
        fitting = [s for s in scores if setting.conditional or not s.needs_labels]
        self.scores = [s for s in fitting if setting.num_features <= s.max_features]
        self.left_out = [s.name for s in fitting if s not in self.scores]
        sets = (SampleSet(self.scores, setting) for _ in range(3))
        self.generated, self.train_set, self.test_set = sets
        self.real = None
        if any(score.keeps_images for score in self.scores):
            assert real is not None
            self.real = real
            bank = ImageBank(len(real[0].images), setting.image_shape, setting.conditional)
            self.generated.add_metrics({"images": bank})

    def compute(self, watch: Watch = silent) -> QualityReport:
        """Computes all scores from the samples of all processes, each of which must call it.

        `watch` shows the progress of the scores, and within those that take long.
        """
        sets = self.generated, self.train_set, self.test_set
        found = [statistics.compute() for statistics in sets]
        if not (dist.is_available() and dist.is_initialized()):
            return self._compare(found, watch)
        # A comparison may take long and must be the same for all, so one process makes it.
        reports = [None if dist.get_rank() else self._compare(found, watch)]
        dist.broadcast_object_list(reports)
        assert reports[0] is not None
        return reports[0]

    def _compare(self, found: Sequence[Found], watch: Watch) -> QualityReport:
        generated, train, test = found
        if self.real is not None:
            device = generated["modes"].device
            train["images"], test["images"] = (kept.to(device) for kept in self.real)
        by_name = {"generated": generated, "train": train, "test": test}
        sets = Sets(generated, train, test, watch)
        floors = {
            "train": Sets(train, train, test, watch), "test": Sets(test, train, test, watch)
        }  # fmt: skip
        report = QualityReport()
        for score in watch(self.scores, "Scores"):
            report.scores[score.name] = score.compare(sets)
            report.counts[score.name] = {name: score.count(s) for name, s in by_name.items()}
            if score.floor:
                report.floor[score.name] = score.compare(floors[score.floor])
        by_class = {score.class_name: score for score in self.scores if score.class_name}
        if not by_class or "confusion" not in generated:
            return report
        for name, score in sorted(by_class.items()):
            report.class_scores[name] = score.by_class(sets)
            if score.floor:
                report.class_floor[name] = score.by_class(floors[score.floor])
        sizes = {name: found["confusion"].sum(dim=1).tolist() for name, found in by_name.items()}
        for k in range(len(generated["modes"])):
            report.class_counts.append({name: counts[k] for name, counts in sizes.items()})
        return report
