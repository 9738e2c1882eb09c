"""The printed and drawn results of an evaluation are those of the model's predictions."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from callbacks import evaluation
from callbacks.evaluation import Evaluation
from callbacks.evaluation_figures import (
    draw_confusion,
    draw_mistakes,
    draw_reliability,
    table,
    wilson_interval,
)
from callbacks.figures import publish
from callbacks.results import percent
from callbacks.tally import Calibration, Evaluated, Mistakes
from datamodules import Gates, Iris
from models import GateMLP
from runtime.files import read_json
from tests.callbacks.runs import Small, digits, probabilities, trainer
from tests.models.gans import small


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Evaluated, str]]:
    """Every evaluation reported, with its title."""
    reported = []
    table = evaluation.table

    def spy(evaluated: Evaluated, names: Any, title: str) -> str:
        reported.append((evaluated, title))
        return table(evaluated, names, title)

    monkeypatch.setattr(evaluation, "table", spy)
    return reported


def test_few_examples_have_no_calibration_error() -> None:
    """They would not fill its bins."""
    for examples in (29, 30):
        counts = torch.tensor([[examples, 0], [0, 0]])
        bins = Calibration(*torch.zeros(3, 15), error=0.2)
        evaluated = Evaluated(0.5, counts, bins, Mistakes(torch.zeros(0, 0), [], [], []))
        lines = table(evaluated, ["0", "cat"], "Test").splitlines()
        assert lines[3].startswith("  class 0 ")
        assert lines[4].startswith("  cat ")
        assert ("calibration" in lines[-1]) is (examples == 30)


def test_a_test_run_counts_every_image_once(
    tmp_path: Path, seen: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = Small(), digits()
    trainer(tmp_path, Evaluation()).test(model, datamodule=data, verbose=False)
    targets, p = probabilities(model, data)
    confusion = torch.zeros(10, 10, dtype=torch.int64)
    for target, predicted in zip(targets.tolist(), p.argmax(1).tolist(), strict=True):
        confusion[target, predicted] += 1
    ((evaluated, title),) = seen
    assert title == "Test"
    assert torch.equal(evaluated.confusion, confusion)
    loss = torch.nn.functional.nll_loss(p.log(), targets).item()
    assert evaluated.loss == pytest.approx(loss, rel=1e-5)
    hits = int(confusion.diagonal().sum())
    assert (evaluated.examples, evaluated.hits) == (360, hits)
    assert evaluated.calibration.counts.sum() == 360
    assert len(evaluated.mistakes.targets) == 24
    printed = capsys.readouterr().out
    assert re.search(rf"loss +{loss:.4f}\n", printed)
    assert re.search(rf"accuracy +{100 * hits / 360:.2f} % \({hits} of 360\)\n", printed)
    row = confusion[7]
    assert re.search(rf"\n  class 7 +[\d.]+ % \({row[7]} of {row.sum()}\)\n", printed)
    folder = tmp_path / "run" / "figures"
    pictures = {"confusion_test.png", "mistakes_test.png", "reliability_test.png"}
    assert {path.name for path in folder.glob("*.png")} == pictures


def test_the_end_of_fit_reports_its_last_validation_alone(tmp_path: Path, seen: list[Any]) -> None:
    model, data = Small(), digits()
    options = {"max_epochs": 2, "num_sanity_val_steps": 2, "limit_train_batches": 1}
    trainer(tmp_path, Evaluation(), **options).fit(model, datamodule=data)
    assert data.splits is not None
    assert data.splits.val is not None
    ((evaluated, title),) = seen
    assert (evaluated.examples, title) == (len(data.splits.val.targets), "Validation")
    assert (tmp_path / "run" / "figures" / "confusion_val.png").is_file()


def test_a_sanity_check_is_not_a_validation(tmp_path: Path, seen: list[Any]) -> None:
    run = trainer(tmp_path, Evaluation(), num_sanity_val_steps=2, max_steps=1)  # within an epoch
    run.fit(Small(), datamodule=digits())
    assert not seen


def test_other_models_and_trial_runs_draw_nothing(tmp_path: Path, seen: list[Any]) -> None:
    trainer(tmp_path, Evaluation()).validate(small(), datamodule=digits(), verbose=False)
    assert not seen
    trainer(tmp_path, Evaluation(), fast_dev_run=True).test(
        Small(), datamodule=digits(), verbose=False
    )
    assert len(seen) == 1
    assert not (tmp_path / "run" / "figures").exists()


EXISTS = "ignore:Experiment logs directory .* exists and is not empty"


@pytest.mark.filterwarnings(EXISTS)
def test_species_have_names_and_flowers_no_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = tmp_path / "run" / "figures" / "mistakes_test.png"
    stale.parent.mkdir(parents=True)
    stale.touch()
    model = Small((4,), 3)
    trainer(tmp_path, Evaluation()).test(model, datamodule=Iris(), verbose=False)
    assert "versicolor" in capsys.readouterr().out
    assert not stale.exists()
    assert stale.with_name("reliability_test.png").is_file()  # of 30 flowers


@pytest.mark.filterwarnings(EXISTS)
def test_four_points_have_no_reliability_diagram(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "figures"
    folder.mkdir(parents=True)
    stale = [folder / f"reliability_test.{suffix}" for suffix in ("png", "svg")]
    for file in stale:
        file.touch()
    trainer(tmp_path, Evaluation()).test(GateMLP(), datamodule=Gates(), verbose=False)
    assert (folder / "confusion_test.png").is_file()
    assert not any(file.exists() for file in stale)


def test_the_legend_of_a_reliability_diagram_lies_above_it() -> None:
    counts, shares = torch.tensor([0, 30]), torch.tensor([float("nan"), 0.9])
    figure = draw_reliability(Calibration(counts, shares, shares, 0.01), "Test")
    FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    legend = axes.get_legend()
    assert axes.bbox.y1 < legend.get_window_extent().y0
    assert legend.get_window_extent().y1 < figure._suptitle.get_window_extent().y0  # type: ignore
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [
        "as it should be: the probability",
        "share that is right",
        "its 95 % confidence interval",
    ]


def test_the_heat_map_has_counts_and_colours_by_row() -> None:
    figure = draw_confusion(torch.tensor([[3, 1], [0, 1]]), ["a", "b"], "Test: accuracy")
    axes = figure.axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["3\n75.0%", "1\n25.0%", "1\n100.0%"]  # a zero is left out
    assert axes.collections[0].get_array().ravel().tolist() == [0.75, 0.25, None, 1.0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert figure.get_suptitle() == "Test: accuracy 80.00 % (4 of 5)"
    assert figure.axes[1].get_ylabel() == "share of the row (white: none)"


@pytest.mark.parametrize(("classes", "text"), [(2, "3\n100.0%"), (12, "3"), (30, None)])
def test_a_matrix_of_any_size_fits_a_slide(classes: int, text: str | None) -> None:
    names = [f"class {k}" for k in range(classes)]
    figure = draw_confusion(3 * torch.eye(classes, dtype=torch.int64), names, "A title " * 9)
    width, height = figure.get_size_inches()
    assert height * figure.dpi <= 720
    assert width > height
    texts = {cell.get_text() for cell in figure.axes[0].texts} - {""}
    assert texts == ({text} if text else set())


def test_one_in_a_thousand_is_visible() -> None:
    """Its colour differs from white by more than the eye needs on a projector, 10 of 255."""
    figure = draw_confusion(torch.tensor([[999, 1], [0, 1000]]), ["a", "b"], "")
    mesh = figure.axes[0].collections[0]
    red, zero = (255 * mesh.to_rgba(mesh.get_array()).reshape(2, 2, 4)[k, 1 - k, 0] for k in (0, 1))
    assert zero - red > 10


def test_half_a_row_differs_from_the_whole_row() -> None:
    mesh = draw_confusion(torch.tensor([[2, 0], [1, 1]]), ["a", "b"], "").axes[0].collections[0]
    whole, half = mesh.to_rgba(np.array([1.0, 0.5]))[:, 2]
    assert half - whole > 0.25


def test_the_interval_of_a_share_contains_it_and_narrows() -> None:
    """Wilson's interval of 0 of 10 is [0, 0.278], of 9 of 10 [0.596, 0.982] (Newcombe 1998)."""
    low, high = wilson_interval(np.array([0.0, 0.9]), np.array([10, 10]))
    np.testing.assert_allclose(low, [0, 0.596], atol=1e-3)
    np.testing.assert_allclose(high, [0.278, 0.982], atol=1e-3)


def test_mistakes_are_titled_true_then_predicted() -> None:
    mistakes = Mistakes(torch.rand(1, 1, 4, 4), [1], [0], [0.75])
    (text,) = draw_mistakes(mistakes, ["cat", "dog"], "Test").axes[0].texts
    assert text.get_text() == "dog \N{RIGHTWARDS ARROW} cat\np = 0.7500"


@pytest.mark.parametrize(
    "names", [["0", "1"], ["circle", "square"], ["handwriting", "photographs"]]
)
def test_titles_of_mistakes_are_apart(names: list[str]) -> None:
    mistakes = Mistakes(torch.rand(24, 1, 28, 28), [1] * 24, [0] * 24, [0.75] * 24)
    figure = draw_mistakes(mistakes, names, "Test")
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    rows = [b for b in boxes if b.y0 == boxes[0].y0]
    assert 1 < len(rows) <= 8
    assert all(left.x1 + 3 < right.x0 for left, right in zip(rows, rows[1:], strict=False))
    assert figure.get_size_inches()[0] < 13


def test_a_figure_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    class Full(Figure):
        def savefig(self, path: Any, **kwargs: Any) -> None:
            Path(path).write_bytes(b"half a pict")
            raise OSError("no space left")

    (tmp_path / "a.png").write_bytes(b"the old one")
    with pytest.raises(OSError, match="no space"):
        publish(trainer(tmp_path), tmp_path, "a", Full())
    assert (tmp_path / "a.png").read_bytes() == b"the old one"


def test_shares_are_given_with_their_counts() -> None:
    assert percent(29, 30) == "96.67 % (29 of 30)"
    assert percent(torch.tensor(1500), torch.tensor(2000)) == "75.00 % (1,500 of 2,000)"
    assert percent(0, 0) == "-"


def test_the_callback_is_for_any_lightning_module() -> None:
    callback = Evaluation()
    callback.on_train_end(trainer(Path()), LightningModule())  # nothing was validated


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 5, 2)])
def test_mistakes_are_drawn_for_grey_and_colour_images_of_any_size(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    mistakes = Mistakes(torch.rand(2, *shape), [1, 0], [0, 1], [0.9, 0.8])
    figure = draw_mistakes(mistakes, ["a", "b"], "Test")
    assert len(figure.axes[0].texts) == 2
    publish(trainer(tmp_path), tmp_path, "mistakes", figure)
    assert (tmp_path / "mistakes.png").is_file()


def test_recorded_numbers_are_those_that_the_model_logged(tmp_path: Path) -> None:
    """Also if probabilities of 1.0 are wrong and those just below are right."""
    model, data = Small(), digits()
    with torch.no_grad():
        model.network[1].weight *= 100
    confidence, predicted = probabilities(model, data)[1].max(dim=1)
    assert 9 < (confidence == 1).sum() < 351
    targets = torch.where(confidence == 1, (predicted + 1) % 10, predicted)
    assert data.splits is not None
    data.splits = data.splits._replace(test=data.splits.test._replace(targets=targets))
    run = trainer(tmp_path, Evaluation())
    run.test(model, datamodule=data, verbose=False)
    recorded = read_json(tmp_path / "run" / "metrics.json")["test"]["scores"]
    for name in ("accuracy", "loss", "calibration_error"):
        logged = run.callback_metrics[f"test/{name}"].item()
        assert recorded[name] == pytest.approx(logged, rel=1e-6)


def test_images_of_two_channels_have_no_figure_of_mistakes(tmp_path: Path) -> None:
    data = digits()
    assert data.splits is not None
    test = data.splits.test
    data.splits = data.splits._replace(test=test._replace(inputs=test.inputs.repeat(1, 2, 1, 1)))
    trainer(tmp_path, Evaluation()).test(Small((2, 28, 28)), datamodule=data, verbose=False)
    pictures = {path.name for path in (tmp_path / "run" / "figures").glob("*.png")}
    assert pictures == {"confusion_test.png", "reliability_test.png"}
