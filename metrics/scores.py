"""The table of quality scores: what each is called and which direction is better.

To add a score, append it to `SCORES` and write the function of its name in `metrics/formulas.py`.
A score in a file outside of this project is used by its import path:
`--quality.extra_scores my_file.MyScore`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from metrics.samples import Samples

Direction = Literal["higher", "lower"]
Floor = Literal["train", "test"]
Counted = Literal["generated", "test"]
FINAL = ("validate", "test")
ALWAYS = ("fit", *FINAL)
NEIGHBOR_SAMPLES, KERNEL_SAMPLES = 5000, 10_000  # their costs grow with the square
# Other quantities that runs log, with their titles.
OTHER_QUANTITIES: dict[str, tuple[Direction, str]] = {
    "loss": ("lower", "loss"),
    "d_loss": ("lower", "discriminator loss"),
    "g_loss": ("lower", "generator loss"),
    "sup_error": ("lower", "largest error"),
    "calibration_error": ("lower", "expected calibration error"),
    "accuracy": ("higher", "accuracy"),
    "balanced_accuracy": ("higher", "balanced accuracy"),
}
OTHER_QUANTITIES |= {f"top{k}_accuracy": ("higher", f"top-{k} accuracy") for k in range(2, 21)}


class Score:
    """One quality score of generated samples.

    By default, the function of its name in `metrics/formulas.py` computes it, and that of
    `<class_name>_by_class` its scores by class.

    Args:
        name: In the table, in `metrics.json` and, as `test/<name>`, in the log.
        better: Whether higher or lower scores are better; None: neither.
        title: The name in figures, if it is not `name`.
        note: What it is in words, for tables; by default the title.
        floor: Split of real images that is scored for comparison; None: none.
        stages: When it is computed. "fit" is for scores that are cheap and steady with few samples.
        needs_labels: Only a conditional generator has this score.
        needs_images: `Samples.images` are there.
        most: Compare only this number of samples of each set, the first ones; None: all.
        equal: Compare equally many samples of all sets, those of the smallest.
        fraction_of: The score is a fraction of the images of this set; its table shows the interval
            that their number leaves uncertain.
        class_name: The name of the scores by class, if there are any.
    """

    def __init__(
        self,
        name: str,
        better: Direction | None = None,
        title: str = "",
        note: str = "",
        floor: Floor | None = "train",
        stages: tuple[str, ...] = FINAL,
        needs_labels: bool = False,
        needs_images: bool = False,
        most: int | None = None,
        equal: bool = False,
        fraction_of: Counted | None = None,
        class_name: str | None = None,
    ) -> None:
        self.name, self.better, self.floor, self.stages = name, better, floor, stages
        self.title, self.note = title or name.replace("_", " "), note or title
        self.needs_labels, self.needs_images = needs_labels, needs_images
        self.most, self.equal, self.fraction_of = most, equal, fraction_of
        self.class_name = class_name

    def compute(self, samples: "Samples", train: "Samples", test: "Samples") -> float:
        """Computes the score of samples; NaN if there are too few.

        Args:
            samples: Generated ones, or the real ones that are scored like them for comparison.
            train: Training images, as many as generated ones.
            test: Images that were not trained on, of the validation or the test split.
        """
        return getattr(import_module("metrics.formulas"), self.name)(samples, train, test)

    def by_class(self, samples: "Samples", train: "Samples", test: "Samples") -> list[float]:
        """Computes the score of each class."""
        function = f"{self.class_name}_by_class"
        return getattr(import_module("metrics.formulas"), function)(samples, train, test)


SCORES: tuple[Score, ...] = (
    Score("frechet", "lower", "Frechet distance", stages=ALWAYS),
    Score(
        "intra_frechet", "lower", note="Frechet distance, mean of the classes",
        needs_labels=True, class_name="frechet",
    ),
    Score(
        "label_accuracy", "higher", note="fraction of images that show their class",
        floor="test", stages=ALWAYS, needs_labels=True, fraction_of="generated",
        class_name="accuracy",
    ),
    Score(
        "kid", "lower", "kernel distance",
        note="kernel distance; by chance below 0 if images are good", most=KERNEL_SAMPLES,
    ),
    Score("kid_error", note="standard error of kid", most=KERNEL_SAMPLES),
    Score(
        "precision", "higher", note="fraction of generated images near real ones",
        most=NEIGHBOR_SAMPLES, equal=True, fraction_of="generated",
    ),
    Score(
        "recall", "higher", note="fraction of real images near generated ones",
        most=NEIGHBOR_SAMPLES, equal=True, fraction_of="test",
    ),
    Score("density", "higher", most=NEIGHBOR_SAMPLES, equal=True),
    Score("coverage", "higher", most=NEIGHBOR_SAMPLES, equal=True, fraction_of="test"),
    Score("modes", "higher", note="classes that appear", stages=ALWAYS),
    Score("modes_kl", "lower", note="imbalance of the classes, in nats"),
    Score(
        "memorization", note="best near that of real images; well below it for copies",
        most=NEIGHBOR_SAMPLES,
    ),
    Score(
        "gan_train", "higher", note="accuracy of a classifier trained on generated images",
        stages=("test",), needs_labels=True, needs_images=True, fraction_of="test",
    ),
)  # fmt: skip


def _find(name: str) -> tuple[Direction | None, str]:
    quantity = name.rpartition("/")[2]
    scores = ((s.better, s.title) for s in SCORES if s.name == quantity)
    return next(scores, OTHER_QUANTITIES.get(quantity, (None, quantity.replace("_", " "))))


def direction(name: str) -> Direction | None:
    """Returns which direction of a logged quantity such as `val/loss` is better, if one is."""
    return _find(name)[0]


def title(name: str) -> str:
    """Returns the title of a logged quantity such as `val/frechet`, for figures."""
    return _find(name)[1]
