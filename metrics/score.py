"""The base class of a quality score, and what a score is given to compare."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Literal, NamedTuple

from torchmetrics import Metric

Found = dict[str, Any]  # results of a set's statistics, by name
Watch = Callable[[Iterable[Any], str], Iterable[Any]]  # yields items, and shows their progress


def silent(items: Iterable[Any], text: str) -> Iterable[Any]:
    """Yields the items of some work and shows nothing."""
    return items


class Setting(NamedTuple):
    """Sizes that the statistics of a set of images depend on."""

    image_shape: tuple[int, int, int]  # (C, H, W)
    num_features: int  # D, of the judge
    num_classes: int  # K
    conditional: bool = True  # the generator gets classes
    max_samples: int = 5000  # samples of a set whose features are kept one by one


class Sets:
    """Results of the statistics of the three sets of images that a score compares.

    `samples` are generated images, or the real ones that take their place for the floor. `train`
    and `test` (or validation) are real. `once` compares a statistic of `samples` and `test` once.
    `watch(items, text)` yields the items of long work, and shows their progress.
    """

    def __init__(self, samples: Found, train: Found, test: Found, watch: Watch = silent) -> None:
        self.samples, self.train, self.test, self.watch = samples, train, test, watch
        self.once: Callable[[Callable[..., Any], str], Any] = cache(
            lambda compare, statistic: compare(samples[statistic], test[statistic])
        )


class Score(ABC):
    """One quality score of generated samples."""

    name: str  # in the table, in `metrics.json` and, as `test/<name>`, in the log
    title: str = ""  # the name in words, if it needs them
    better: Literal["higher", "lower"] | None = None
    # The real images that are scored like generated ones as the floor; None: no floor.
    floor: Literal["train", "test"] | None = "train"
    # "fit" is for scores that are cheap and steady with few samples.
    stages: tuple[str, ...] = ("validate", "test")
    needs_labels: bool = False  # only a conditional generator has this score
    max_features: float = math.inf  # with more features D of the judge, the score is left out
    # `compare` finds `LabelledImages` under `images`: the generated ones, at most as many as there
    # are training images, the training images, and all test images.
    keeps_images: bool = False
    class_name: str | None = None  # name of the scores by class, if `by_class` returns any
    format: str = ".4g"  # of its numbers in the table

    def statistics(self, setting: Setting) -> dict[str, Metric]:
        """Returns new statistics of one set of images, by name; scores share those of one name.

        The `update` of a statistic takes any of `images` uint8 (B, C, H, W), the judge's `features`
        (B, D), its `predicted` classes (B,), `labels` (B,) and `index` (B,), the samples' numbers.
        Every set has `modes`, the counts (K,) of predicted classes, and if conditional `confusion`,
        the counts (K, K) of requested and predicted classes.
        """
        return {}

    @abstractmethod
    def compare(self, sets: Sets) -> float:
        """Computes the score; NaN if there are too few samples."""

    def by_class(self, sets: Sets) -> list[float]:
        """Computes the score of each class; by default of none."""
        return []

    def count(self, found: Found) -> int:
        """Returns the number of samples behind the score, from the results of a set."""
        return int(found["modes"].sum())
