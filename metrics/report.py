"""Scores of generated samples, each beside that of real images, and their table."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from metrics.samples import Samples
from metrics.scores import Score
from runtime.intervals import Interval, wilson_interval

Counts = dict[str, int]  # numbers of samples: generated, train, test
FEW = 500  # with fewer real images than this, scores are uncertain
MARKS = {"higher": " ↑", "lower": " ↓", None: ""}
BETTER_THAN_REAL = (
    "better than real images. The judge may know its training images better than held-out ones,\n"
    "or the generated images vary less than real ones."
)
EXPLANATION = (
    "↑ higher is better, ↓ lower is better. Real images: the score of real images in place of "
    "generated ones,\nwhich a perfect generator reaches. 95 %: confidence interval, from the "
    "number of images."
)


@dataclass
class Report:
    """Scores of generated samples, and those of real images.

    NaN: there were too few samples. An unconditional generator has no scores by class.
    """

    scores: dict[str, float] = field(default_factory=dict)
    floor: dict[str, float] = field(default_factory=dict)  # of real images, if they have a score
    counts: dict[str, Counts] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)  # of fractions
    class_scores: dict[str, list[float]] = field(default_factory=dict)
    class_floor: dict[str, list[float]] = field(default_factory=dict)
    class_intervals: dict[str, list[Interval]] = field(default_factory=dict)
    class_counts: list[Counts] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)

    def table(self, scores: Sequence[Score], names: Sequence[str]) -> str:
        """Formats `summary`, and a line for each class of these names."""
        import pandas as pd

        lines = [self.summary(scores)]
        if self.class_scores:
            table = pd.DataFrame(self.class_scores)
            real = pd.DataFrame(self.class_floor).add_suffix(" (real images)")
            counts = pd.DataFrame(self.class_counts).add_prefix("n ")
            limits = pd.DataFrame(self.class_intervals).map(_to).add_suffix(" 95 %")
            classes = pd.concat([table, real, limits, counts], axis=1).set_axis([*names])
            text = classes.rename_axis(columns="class").to_string(float_format="{:.4g}".format)
            lines += ["", text]
        lines.append(EXPLANATION)
        if any(math.isnan(value) for value in (*self.scores.values(), *self.floor.values())):
            lines.append("nan: too few images for this score")
        return "\n".join(lines)

    def summary(self, scores: Sequence[Score]) -> str:
        """Formats a line for each score; then each number of images once."""
        lines = [f"{'score':<18}{'generated':>13}{'real images':>13}{'95 %':>17}"]
        groups: dict[str, list[str]] = {}
        for score in scores:
            cells = _cells(self.scores[score.name], self.floor.get(score.name))
            limits = self.intervals.get(score.name)
            interval = _to(limits) if limits else ""
            name = score.name + MARKS[score.better]
            lines.append(f"{name:<18}{cells}{interval:>17}  {score.note}".rstrip())
            counts = "{generated:,} generated, {train:,} training and {test:,} held-out images"
            groups.setdefault(counts.format(**self.counts[score.name]), []).append(score.name)
        (most, _), *others = sorted(groups.items(), key=lambda item: -len(item[1]))
        lines += [f"Of {most}."] + [f"{', '.join(figures)}: {text}." for text, figures in others]
        if max(figures["test"] for figures in self.counts.values()) < FEW:
            lines.append(f"Uncertain, because fewer than {FEW} images are held out.")
            if "kid" in self.scores:
                lines.append("To compare generators, prefer kid to frechet.")
        if better := ", ".join(self.better_than_real()):
            lines.append(f"{better}: {BETTER_THAN_REAL}")
        return "\n".join(lines)

    def better_than_real(self) -> list[str]:
        """Returns the fractions that are higher than that of real images, by their intervals."""
        limits = {name: low for name, (low, _) in self.intervals.items() if name in self.floor}
        return [name for name, low in limits.items() if low > self.floor[name]]


def _to(interval: Interval) -> str:
    return "{:.3f} to {:.3f}".format(*interval)


def _cells(*values: float | None) -> str:
    return "".join(f"{'-' if value is None else format(value, '.4g'):>13}" for value in values)


def compute_report(
    scores: Iterable[Score], generated: Samples, train: Samples, test: Samples
) -> Report:
    """Computes scores of generated samples, and of the real images that each score names."""
    report = Report()
    for score in scores:
        sets = {"generated": generated, "train": train, "test": test}
        sets = {name: samples.take(slice(score.most)) for name, samples in sets.items()}
        if score.equal:
            size = min(map(len, sets.values()))
            sets = {name: samples.take(slice(size)) for name, samples in sets.items()}
        drawn, *real = sets.values()
        report.scores[score.name] = score.compute(drawn, *real)
        report.counts[score.name] = {name: len(samples) for name, samples in sets.items()}
        value = report.scores[score.name]
        if score.fraction_of and not math.isnan(value):
            interval = wilson_interval(value, len(sets[score.fraction_of]))
            report.intervals[score.name] = interval
        if score.floor:
            report.floor[score.name] = score.compute(sets[score.floor], *real)
        if score.class_name and generated.labels is not None:
            report.class_scores[score.class_name] = score.by_class(drawn, *real)
            floor = score.by_class(sets[score.floor], *real) if score.floor else None
            report.class_floor[score.class_name] = floor or [math.nan] * generated.num_classes
            if score.fraction_of == "generated":
                counted = generated.labels.bincount(minlength=generated.num_classes).tolist()
                limits = map(wilson_interval, report.class_scores[score.class_name], counted)
                report.class_intervals[score.class_name] = [*limits]
    if report.class_scores:
        labels = {"generated": generated.labels, "train": train.labels, "test": test.labels}
        for k in range(generated.num_classes):
            counts = {name: int((x == k).sum()) for name, x in labels.items() if x is not None}
            report.class_counts.append(counts)
    return report
