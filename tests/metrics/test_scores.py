"""A score is one class: its name, what it accumulates and how it compares are used everywhere."""

import pytest

from metrics import SCORES, Score, Sets
from metrics.gan_train import gan_train_accuracy
from metrics.scores import GanTrain
from tests.metrics.brightness import Brightness  # type: ignore[attr-defined]
from tests.metrics.samples import FROM_FEATURES, add, draw, filled, make


class BrightnessWithoutFloor(Brightness):
    floor, better, format = None, None, ".1f"


class Copies(Score):
    """Share of images, by class too, that are training images; a score from images kept whole."""

    name, class_name, keeps_images = "copies", "copies", True

    def compare(self, sets: Sets) -> float:
        return sum(self.by_class(sets)) / len(sets.test["modes"])

    def by_class(self, sets: Sets) -> list[float]:
        (images, labels), (known, _) = sets.samples["images"], sets.train["images"]
        found = (images.flatten(1)[:, None] == known.flatten(1)).all(dim=2).any(dim=1)
        return [found[labels == k].double().mean().item() for k in range(len(sets.test["modes"]))]


def test_names_are_unique_and_scores_say_what_is_better() -> None:
    names = [score.name for score in SCORES]
    assert len(set(names)) == len(names)
    assert [score.name for score in SCORES if score.better is None] == [
        "kid_error",
        "memorization",
    ]


@pytest.mark.parametrize("conditional", [True, False])
def test_a_score_needs_one_class(conditional: bool) -> None:
    quality = filled([*FROM_FEATURES, Brightness()], conditional)
    report = quality.compute()
    generated, train, test = (
        draw(*args).images.double().mean() for args in ((300, 0, 0.7), (400, 1), (350, 2))
    )
    assert report.scores["brightness"] == pytest.approx(abs(generated - test).item(), rel=1e-9)
    assert report.floor["brightness"] == pytest.approx(abs(train - test).item(), rel=1e-9)
    assert report.counts["brightness"] == {"generated": 300, "train": 400, "test": 350}
    (line,) = (x for x in report.table(quality.scores).splitlines() if x.startswith("brightness"))
    assert line.startswith("brightness ↓ ")


def test_other_scores_do_not_change_with_it() -> None:
    with_it, without = (
        filled(scores).compute() for scores in ([*FROM_FEATURES, Brightness()], FROM_FEATURES)
    )
    assert {k: v for k, v in with_it.scores.items() if k != "brightness"} == without.scores
    assert with_it.class_scores == without.class_scores


def test_a_score_may_have_no_floor() -> None:
    quality = filled([BrightnessWithoutFloor()])
    report = quality.compute()
    assert report.floor == {}
    row = report.table(quality.scores).splitlines()[1].split()
    assert row == ["brightness", f"{report.scores['brightness']:.1f}", "-"]


def test_a_score_may_keep_images_and_have_scores_by_class() -> None:
    report = filled([Copies()]).compute()
    assert (report.scores, report.floor) == ({"copies": 0}, {"copies": 1})
    assert (report.class_scores, report.class_floor) == ({"copies": [0] * 3}, {"copies": [1] * 3})


def test_gan_train_learns_from_generated_or_training_images_and_tests_on_all_test_images() -> None:
    report = filled([GanTrain(steps=20)]).compute()
    generated, train, test = draw(300, 0, 0.7), draw(400, 1), draw(350, 2)
    for samples, found in ((generated, report.scores), (train, report.floor)):
        expected = gan_train_accuracy(
            samples.images, samples.labels, test.images, test.labels, num_classes=3, steps=20
        )
        assert found == {"gan_train": expected}
    assert report.counts == {"gan_train": {"generated": 300, "train": 400, "test": 350}}


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_gan_train_learns_from_no_more_images_than_its_floor() -> None:
    quality = make([GanTrain(steps=1)])
    add(quality.generated, draw(500, 0))
    counts = quality.compute().counts["gan_train"]
    assert counts == {"generated": 400, "train": 400, "test": 350}
