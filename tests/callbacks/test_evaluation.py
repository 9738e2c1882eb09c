"""The printed and drawn results of an evaluation are those of the model's predictions."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule
from matplotlib.figure import Figure

from callbacks import evaluation
from callbacks.evaluation import Evaluation
from callbacks.results import percent
from callbacks.tally import Calibration, Evaluated, Mistakes
from datamodules import Gates, Iris
from figures.evaluation import (
    table,
)
from figures.pictures import publish
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
