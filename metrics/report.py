"""What was found about a generator, for people and for files."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple


class Counts(NamedTuple):
    """Samples that a score and its floor were had from."""

    generated: int
    train: int
    test: int

    def __str__(self) -> str:
        return f"{self.generated:>9} {self.train:>7} {self.test:>7}"


@dataclass(frozen=True)
class QualityReport:
    """Scores of generated samples, each beside its floor: the score of real training images.

    Attributes:
        scores: Generated against test images; nan where there were too few samples.
        floor: Training against test images, under the same names.
        counts: Samples behind each score.
        class_scores: Score name -> the score of each class; empty for an unconditional generator.
        class_floor: The floor of each class.
        class_counts: Samples of each class.
    """

    scores: dict[str, float]
    floor: dict[str, float]
    counts: dict[str, Counts]
    class_scores: dict[str, list[float]] = field(default_factory=dict)
    class_floor: dict[str, list[float]] = field(default_factory=dict)
    class_counts: list[Counts] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which knows no nan: None."""
        return _plain(asdict(self))

    def table(self) -> str:
        """One line a score and one a class: what was reached, its floor, and the counts."""
        samples = "generated   train    test"
        lines = [f"{'score':<16}{'reached':>11}{'floor':>11}   {samples}"]
        for name, score in self.scores.items():
            values = f"{score:>11.4g}{self.floor[name]:>11.4g}"
            lines.append(f"{name:<16}{values}   {self.counts[name]}")
        if self.class_scores:
            names = "".join(f"{name:>11}{'floor':>11}" for name in self.class_scores)
            lines += ["", f"{'class':<5}{names}   {samples}"]
        for k, counts in enumerate(self.class_counts):
            values = "".join(
                f"{scores[k]:>11.4g}{self.class_floor[name][k]:>11.4g}"
                for name, scores in self.class_scores.items()
            )
            lines.append(f"{k:<5}{values}   {counts}")
        return "\n".join(lines)


def _plain(value: Any) -> Any:
    """The value with dicts and lists copied, named tuples as dicts, and None for nan and inf."""
    if isinstance(value, Counts):
        return value._asdict()
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
