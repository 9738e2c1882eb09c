"""Every score is reported beside its floor, and equals its own function's result."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from metrics import QualityReport
from metrics.frechet import Gaussian, frechet_distance
from metrics.kid import KernelMoments, kernel_distance
from metrics.labels import mode_coverage
from metrics.neighbours import manifold_scores, memorization_floor, memorization_ratio
from runtime.files import write_json
from tests.metrics.samples import CLASSES, FEATURES, FROM_FEATURES, add, draw, filled, make, sets

LIGHT = ["frechet", "intra_frechet", "label_accuracy", "kid", "kid_error", "modes", "modes_kl"]
NEIGHBOURS = ["precision", "recall", "density", "coverage", "memorization"]


@pytest.fixture(scope="module")
def report() -> QualityReport:
    return filled().compute()


def test_scores_are_of_generated_and_floors_of_training_images(report: QualityReport) -> None:
    generated, train, test = (values for _, values in sets(make()))
    for values, found, by_class in (
        (generated, report.scores, report.class_scores),
        (train, report.floor, report.class_floor),
    ):
        fits = [
            Gaussian(x.mean(dim=0), x.T.cov())
            for x in (values.features.double(), test.features.double())
        ]
        assert found["frechet"] == pytest.approx(frechet_distance(*fits), rel=1e-9)
        assert found["intra_frechet"] == pytest.approx(sum(by_class["frechet"]) / CLASSES)
        kernels = [KernelMoments(FEATURES) for _ in "12"]
        for kernel, which in zip(kernels, (values, test), strict=True):
            kernel.update(which.features, which.numbers)
        kid = kernel_distance(*(kernel.compute() for kernel in kernels))
        assert (found["kid"], found["kid_error"]) == pytest.approx(tuple(kid), rel=1e-9)
        modes = mode_coverage(*(torch.bincount(x.predicted) for x in (values, test)))
        assert (found["modes"], found["modes_kl"]) == pytest.approx(tuple(modes), rel=1e-9)
        near = manifold_scores(values.features[:200].double(), test.features[:200].double())
        assert [found[name] for name in near._fields] == pytest.approx(list(near), rel=1e-9)
    banks = [values.features[:200].double() for values in (generated, train, test)]
    assert report.scores["memorization"] == pytest.approx(memorization_ratio(*banks), rel=1e-9)
    assert report.floor["memorization"] == pytest.approx(memorization_floor(*banks[1:]), rel=1e-9)
    # too little variety costs more than chance does
    assert report.scores["frechet"] > 2 * report.floor["frechet"]
    assert report.scores["recall"] < report.floor["recall"]


def test_floor_of_label_accuracy_is_the_judges_on_test_images(report: QualityReport) -> None:
    generated, _, test = (values for _, values in sets(make()))
    for values, found, by_class in (
        (generated, report.scores, report.class_scores),
        (test, report.floor, report.class_floor),
    ):
        hits = values.predicted == values.labels
        assert found["label_accuracy"] == pytest.approx(hits.double().mean().item(), rel=1e-12)
        for k in range(CLASSES):
            share = hits[values.labels == k].double().mean().item()
            assert by_class["accuracy"][k] == pytest.approx(share, rel=1e-12)


def test_counts_are_those_of_the_samples_behind_each_score(report: QualityReport) -> None:
    assert sorted(report.counts) == sorted(report.scores) == sorted(report.floor)
    assert sorted(report.counts) == sorted(LIGHT + NEIGHBOURS)
    for name, counts in report.counts.items():
        expected = (200, 200, 200) if name in NEIGHBOURS else (300, 400, 350)
        assert tuple(counts.values()) == expected
    by_class = [torch.bincount(values.labels).tolist() for _, values in sets(make())]
    found = [tuple(counts.values()) for counts in report.class_counts]
    assert found == list(zip(*by_class, strict=True))


def test_the_table_shows_scores_floors_and_counts(report: QualityReport) -> None:
    lines = report.table(FROM_FEATURES).splitlines()
    assert lines[0].split() == ["score", "generated", "real", "images"]
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    for score in FROM_FEATURES:
        shown = [f"{x:.4g}" for x in (report.scores[score.name], report.floor[score.name])]
        arrow = {"higher": ["↑"], "lower": ["↓"], None: []}[score.better]
        assert rows[score.name] == [*arrow, *shown, *score.title.split()]
    assert "Of 300 generated, 400 training and 350 held-out images." in lines
    bank = "200 generated, 200 training and 200 held-out images."
    assert f"{', '.join(NEIGHBOURS)}: {bank}" in lines
    assert rows["2"][0] == f"{report.class_scores['accuracy'][2]:.4g}"
    assert rows["2"][-3:] == [str(count) for count in report.class_counts[2].values()]


def test_an_unconditional_generator_has_modes_but_no_labels() -> None:
    quality = filled(conditional=False)
    quality.generated.reset()
    values = draw(300, 0)
    quality.generated.add(values.features, values.predicted, None, values.numbers)
    report = quality.compute()
    assert sorted(report.scores) == sorted(
        {*LIGHT, *NEIGHBOURS} - {"label_accuracy", "intra_frechet"}
    )
    assert report.scores["modes"] == CLASSES
    assert report.class_scores == report.class_floor == {}
    assert "\nclass" not in report.table(quality.scores)


def test_a_conditional_generator_was_asked_for_classes() -> None:
    values = draw(10, 0)
    with pytest.raises(ValueError, match="labels are missing"):
        filled().generated.add(values.features, values.predicted, None, values.numbers)


def test_scores_during_training_are_cheap() -> None:
    """Neither nearest neighbours nor the kernel's large sums."""
    scores = [score for score in FROM_FEATURES if "fit" in score.stages]
    quality = filled(scores)
    assert sorted(quality.compute().scores) == ["frechet", "label_accuracy", "modes"]
    assert sorted(quality.generated.keys()) == ["confusion", "modes", "moments"]


def test_a_score_that_many_features_make_too_costly_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for score in FROM_FEATURES:
        if score.name in ("kid", "kid_error"):
            assert score.max_features == 128
            monkeypatch.setattr(score, "max_features", FEATURES - 1)
    quality = filled()
    assert quality.left_out == ["kid", "kid_error"]
    assert "kernel" not in quality.generated
    assert sorted(quality.compute().scores) == sorted({*LIGHT, *NEIGHBOURS} - {"kid", "kid_error"})
    assert filled(conditional=False).left_out == ["kid", "kid_error"]


def test_generated_samples_are_judged_anew_and_real_ones_stay(report: QualityReport) -> None:
    quality = filled()
    quality.compute()
    quality.generated.reset()
    add(quality.generated, draw(300, 5, scale=3.0))
    assert quality.compute().scores["frechet"] > report.scores["frechet"] + 1
    quality.generated.reset()
    add(quality.generated, draw(300, 0, scale=0.7))
    assert quality.compute() == report


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_without_samples_scores_are_nan_and_json_null(tmp_path: Path) -> None:
    quality = make()
    add(quality.generated, draw(1, 0))
    report = quality.compute()
    for scores in (report.scores, report.floor):
        assert all(
            math.isnan(scores[name]) for name in scores if name not in ("modes", "label_accuracy")
        )
    assert report.counts["kid"] == {"generated": 1, "train": 0, "test": 0}
    write_json(tmp_path / "metrics.json", report.as_dict())
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["scores"]["kid"] is None
    assert written["class_floor"]["frechet"] == [None] * CLASSES
    assert written["counts"]["kid"] == {"generated": 1, "train": 0, "test": 0}
    assert "nan" in report.table(quality.scores)


def test_a_model_that_holds_it_saves_nothing_of_it_and_can_train() -> None:
    module = nn.ModuleDict({"quality": filled()})
    assert module.state_dict() == {}
    assert module.train().training
