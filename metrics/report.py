"""The scores of a generator, formatted for people and for files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from metrics.score import Score


class Counts(NamedTuple):
    """Sample counts behind a score and its floor."""

    generated: int
    train: int
    test: int

    def __str__(self) -> str:
        return f"{self.generated:>9} {self.train:>7} {self.test:>7}"


@dataclass(frozen=True)
class QualityReport:
    """Scores of generated samples, each beside its floor: the score of real images.

    Attributes:
        scores: Generated against test images; NaN if there were too few samples.
        floor: Real images against test images, under the same names; scores without one are absent.
        counts: Samples behind each score.
        class_scores: Score name -> the score of each class; empty for an unconditional generator.
        class_floor: The floor of each class.
        class_counts: Samples of each class.
    """

    scores: dict[str, float] = field(default_factory=dict)
    floor: dict[str, float] = field(default_factory=dict)
    counts: dict[str, Counts] = field(default_factory=dict)
    class_scores: dict[str, list[float]] = field(default_factory=dict)
    class_floor: dict[str, list[float]] = field(default_factory=dict)
    class_counts: list[Counts] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        counts = {name: counts._asdict() for name, counts in self.counts.items()}
        class_counts = [counts._asdict() for counts in self.class_counts]
        return {**vars(self), "counts": counts, "class_counts": class_counts}

    def table(self, scores: Sequence["Score"]) -> str:
        """Formats one line for each score and for each class: value, floor, and sample counts.

        Args:
            scores: The scores of this report, which know their format and their better direction.
        """
        samples = "generated   train    test"
        lines = [f"{'score':<16}{'reached':>11}{'floor':>11}   {samples}   better"]
        for score in scores:
            values = self.scores[score.name], self.floor.get(score.name)
            shown = "".join(_cell(value, score.format) for value in values)
            better = score.better or "-"
            lines.append(f"{score.name:<16}{shown}   {self.counts[score.name]}   {better}")
        formats = {score.class_name: score.format for score in scores if score.class_name}
        if self.class_scores:
            names = "".join(f"{name:>11}{'floor':>11}" for name in self.class_scores)
            lines += ["", f"{'class':<5}{names}   {samples}"]
        for k, counts in enumerate(self.class_counts):
            shown = ""
            for name, by_class in self.class_scores.items():
                floor = self.class_floor[name][k] if name in self.class_floor else None
                shown += _cell(by_class[k], formats[name]) + _cell(floor, formats[name])
            lines.append(f"{k:<5}{shown}   {counts}")
        return "\n".join(lines)


def _cell(value: float | None, spec: str) -> str:
    """Formats a value right-aligned after a space; a dash for a missing one."""
    return f"{'-' if value is None else format(value, spec):>11}"
