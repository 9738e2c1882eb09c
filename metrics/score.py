"""The base class of a quality score, and what a score is given to compare."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, TypeVar

from torchmetrics import Metric

from metrics.report import Counts

Found = dict[str, Any]  # results of a set's statistics, by name
Better = Literal["higher", "lower"] | None
Stages = tuple[Literal["fit", "validate", "test"], ...]
T = TypeVar("T")

ALWAYS: Stages = ("fit", "validate", "test")


class Setting(NamedTuple):
    """Sizes that the statistics of a set of images depend on."""

    image_shape: tuple[int, int, int]  # (C, H, W)
    num_features: int  # D, of the judge
    num_classes: int  # K
    conditional: bool = True  # the generator is asked for classes
    max_samples: int = 5000  # samples of a set whose features are kept one by one


class Sets:
    """What the statistics found of three sets of images that a score compares.

    Attributes:
        samples: Generated images, or the real images that take their place for the floor.
        train: Real training images.
        test: Real test or validation images.
    """

    def __init__(self, samples: Found, train: Found, test: Found) -> None:
        self.samples, self.train, self.test = samples, train, test
        self._results: dict[tuple[Callable[..., Any], str], Any] = {}

    def __iter__(self) -> Iterator[Found]:
        return iter((self.samples, self.train, self.test))

    def once(self, compare: Callable[[Any, Any], T], statistic: str) -> T:
        """Compares a statistic of the samples with that of the test images, only once."""
        if (compare, statistic) not in self._results:
            arguments = self.samples[statistic], self.test[statistic]
            self._results[compare, statistic] = compare(*arguments)
        return self._results[compare, statistic]


class Score(ABC):
    """One quality score of generated samples.

    Attributes:
        name: Its name in the table, in `metrics.json` and, as `test/<name>`, in the log.
        better: The better direction; None if there is none.
        floor: The real images whose score, in place of generated ones, is the floor; None: no
            floor.
        stages: When it is computed. `ALWAYS` includes training, where it is logged as `val/<name>`:
            for scores that are cheap and steady with few samples.
        needs_labels: Only a conditional generator has this score.
        keeps_images: `compare` finds `LabelledImages` under `images`: the generated ones, at most
            as many as there are training images, the training images, and all test images.
        class_name: Name of the scores by class, if `by_class` returns any.
        format: Format of its numbers in the table.
    """

    name: str
    better: Better = None
    floor: Literal["train", "test"] | None = "train"
    stages: Stages = ("validate", "test")
    needs_labels: bool = False
    keeps_images: bool = False
    class_name: str | None = None
    format: str = ".4g"

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

    def counts(self, sets: Sets) -> Counts:
        """Returns the sample counts behind the score."""
        return Counts(*(int(found["modes"].sum()) for found in sets))
