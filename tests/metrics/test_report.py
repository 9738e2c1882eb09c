"""Every score stands beside that of real images, in a report and in its table."""

import json
import math

import pytest
from scipy.stats import binomtest

from metrics import Score, formulas
from metrics.report import Report, compute_report
from metrics.samples import Samples
from runtime.files import write_json
from runtime.intervals import wilson_interval
from tests.metrics.samples import CLASSES, LIGHT, draw, sets

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def report():
    return compute_report(LIGHT, *sets())


def test_real_images_are_scored_in_place_of_generated_ones(report):
    generated, train, test = sets()
    for score in LIGHT:
        function = getattr(formulas, score.name)
        one, two, three = generated, train, test
        if score.name in ("precision", "recall", "density", "coverage"):  # of equally many
            one, two, three = (x.take(slice(300)) for x in (generated, train, test))
        real = three if score.name == "label_accuracy" else two
        assert report.scores[score.name] == function(one, two, three)
        assert report.floor[score.name] == function(real, two, three)
        counts = {"generated": len(one), "train": len(two), "test": len(three)}
        assert report.counts[score.name] == counts
    by_class = formulas.accuracy_by_class(generated, train, test)
    assert report.class_scores["accuracy"] == by_class
    assert report.class_floor["accuracy"] == formulas.accuracy_by_class(test, train, test)
    assert report.scores["intra_frechet"] == sum(report.class_scores["frechet"]) / CLASSES
    for name, samples in {"generated": generated, "train": train, "test": test}.items():
        found = [counts[name] for counts in report.class_counts]
        assert found == samples.pairs()[1].bincount().tolist()


def test_fractions_have_the_interval_of_wilson(report):
    """Of 8 of 10: Brown, Cai and DasGupta 2001, section 2."""
    assert wilson_interval(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert {*report.intervals} == {"label_accuracy", "precision", "recall", "coverage"}
    assert report.intervals["recall"] == wilson_interval(report.scores["recall"], 300)
    low, high = report.intervals["label_accuracy"]
    assert f"{low:.3f} to {high:.3f}" in report.table(LIGHT, NAMES)


@pytest.mark.parametrize(("name", "count"), [("generated", 300), ("train", 400), ("test", 350)])
def test_an_interval_is_of_the_images_that_a_fraction_counts(name, count):
    class Half(Score):
        def compute(self, *_: Samples) -> float:
            return 0.5

    report = compute_report([Half("half", floor=None, fraction_of=name)], *sets())
    expected = binomtest(count // 2, count).proportion_ci(method="wilson")
    assert report.intervals["half"] == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_a_score_may_compare_the_first_samples_only():
    class First(Score):
        def compute(self, samples: Samples, train: Samples, test: Samples) -> float:
            return float(samples.features.sum() + test.features.sum())

    generated, train, test = sets()
    report = compute_report([First("first", floor=None, most=320)], generated, train, test)
    expected = generated.features.sum() + test.features[:320].sum()
    assert report.scores == {"first": pytest.approx(expected.item())}
    assert report.floor == {}
    assert report.counts == {"first": {"generated": 300, "train": 320, "test": 320}}
    assert report.table([First("first")], NAMES).splitlines()[1].split()[2] == "-"


def test_without_a_floor_the_classes_have_none_either():
    (score,) = (score for score in LIGHT if score.class_name == "accuracy")
    bare = Score(score.name, score.better, floor=None, class_name=score.class_name)
    report = compute_report([bare], *sets())
    assert report.floor == {}
    assert all(map(math.isnan, report.class_floor["accuracy"]))
    assert len(report.class_floor["accuracy"]) == CLASSES


def test_the_table_shows_each_score_and_class(report):
    lines = report.table(LIGHT, NAMES).splitlines()
    assert lines[0].split() == ["score", "generated", "real", "images", "95", "%"]
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    for score in LIGHT:
        shown = [f"{x:.4g}" for x in (report.scores[score.name], report.floor[score.name])]
        arrow = {"higher": ["↑"], "lower": ["↓"], None: []}[score.better]
        limits = report.intervals.get(score.name)
        interval = "{:.3f} to {:.3f}".format(*limits).split() if limits else []
        assert rows[score.name] == [*arrow, *shown, *interval, *score.note.split()]
    assert "Of 300 generated, 400 training and 350 held-out images." in lines
    by_class = (
        values[2] for x in (report.class_scores, report.class_floor) for values in x.values()
    )
    assert rows["c"][:4] == [f"{value:.4g}" for value in by_class]
    counts = report.class_counts[2]
    limits = wilson_interval(report.class_scores["accuracy"][2], counts["generated"])
    assert rows["c"][4:7] == "{:.3f} to {:.3f}".format(*limits).split()
    assert rows["c"][7:] == [str(count) for count in counts.values()]


def test_an_unconditional_model_has_no_scores_by_class():
    scores = [score for score in LIGHT if not score.needs_labels]
    report = compute_report(scores, *sets(labeled=False))
    assert report.class_scores == report.class_floor == {}
    assert report.class_counts == []
    assert "\nclass" not in report.table(scores, NAMES)


def test_without_samples_scores_are_nan_and_json_null(tmp_path):
    empty, one = draw(0, 0), draw(1, 0)
    report = compute_report(LIGHT, one, empty, empty)
    for name, value in report.scores.items():
        assert math.isnan(value) == (name not in ("modes", "label_accuracy")), name
    write_json(tmp_path / "metrics.json", report.as_dict())
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["scores"]["kid"] is None
    assert "nan: too few images" in report.table(LIGHT, NAMES)


def test_few_real_images_are_said_to_be_few(report):
    advice = "images are held out.\nTo compare generators, prefer kid"
    assert f"Uncertain, because fewer than 500 {advice}" in report.summary(LIGHT)
    without = [score for score in LIGHT if score.name != "kid"]
    assert "prefer kid" not in compute_report(without, *sets()).summary(without)
    generated, train, _ = sets()
    assert "Uncertain" not in compute_report(LIGHT, generated, train, draw(500, 2)).summary(LIGHT)


def test_fractions_better_than_real_ones_are_explained():
    report = Report({"recall": 0.83, "precision": 0.88}, {"recall": 0.67, "precision": 0.87})
    report.intervals = {"recall": (0.74, 0.89), "precision": (0.87, 0.89)}
    assert report.better_than_real() == ["recall"]
    report.floor["recall"] = 0.74
    assert report.better_than_real() == []
