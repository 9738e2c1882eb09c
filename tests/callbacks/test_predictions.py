"""Predictions are written in order, each once, whoever made them."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from callbacks.predictions import Predictions, tabulate
from datamodules import Functions, Iris
from models import FunctionMLP
from tests.callbacks.runs import Pictures, Small, digits, probabilities, trainer
from tests.conftest import ROOT


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_the_test_split_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = Small(), digits()
    trainer(tmp_path, Predictions(rows=3)).predict(model, datamodule=data)
    targets, p = probabilities(model, data)
    rows = rows_of(tmp_path / "run" / "predictions.csv")
    assert [row["index"] for row in rows] == [str(i) for i in range(360)]
    assert [row["truth"] for row in rows] == [str(t) for t in targets.tolist()]
    assert [row["predicted"] for row in rows] == [str(c) for c in p.argmax(1).tolist()]
    written = torch.tensor([[float(row[f"p_{c}"]) for c in range(10)] for row in rows])
    torch.testing.assert_close(written, p, rtol=1e-5, atol=1e-6)
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("The first 3 of 360 predictions:")
    assert [line.split()[0] for line in lines[start + 1 : start + 5]] == ["index", "0", "1", "2"]
    assert lines[start + 5].startswith("Predictions: ")
    assert [path.name for path in (tmp_path / "run").glob("*pred*")] == ["predictions.csv"]


def test_species_are_named(tmp_path: Path) -> None:
    trainer(tmp_path, Predictions()).predict(Small((4,), 3), datamodule=Iris())
    rows = rows_of(tmp_path / "run" / "predictions.csv")
    assert list(rows[0])[3:] == ["p_setosa", "p_versicolor", "p_virginica"]
    assert [row["truth"] for row in rows[:3]] == [
        "virginica",
        "versicolor",
        "setosa",
    ]  # the slide's


def test_values_of_a_function(tmp_path: Path) -> None:
    model, data = FunctionMLP(), Functions(num_eval=50)
    trainer(tmp_path, Predictions()).predict(model, datamodule=data)
    rows = rows_of(tmp_path / "run" / "predictions.csv")
    assert data.splits is not None
    points, truth = data.splits.test
    for name, values in (("truth", truth), ("predicted", model.eval()(points).detach())):
        found = torch.tensor([[float(row[name])] for row in rows])
        torch.testing.assert_close(found, values, rtol=1e-5, atol=1e-6)


def test_a_table_says_the_most_probable_class() -> None:
    table = tabulate(torch.tensor([1, 0]), torch.tensor([[0.2, 0.8], [0.4, 0.6]]), ["no", "yes"])
    assert table.values.tolist() == [
        [0, "yes", "yes", pytest.approx(0.2), pytest.approx(0.8)],
        [1, "no", "yes", pytest.approx(0.4), pytest.approx(0.6)],
    ]


def test_many_classes_fit_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Pictures((1, 16, 16), num_classes=16)
    trainer(tmp_path, Predictions()).predict(Small((1, 16, 16), 16), datamodule=data)
    printed = capsys.readouterr().out
    assert "p_kind 15" in printed
    assert "p_kind 8" not in printed
    assert "p_kind 8" in rows_of(tmp_path / "run" / "predictions.csv")[0]


SCRIPT = """
import sys
from pathlib import Path
import torch
from callbacks import evaluation
from callbacks.predictions import Predictions
from tests.callbacks.runs import Small, digits, trainer

if __name__ == "__main__":
    devices, folder = int(sys.argv[1]), Path(sys.argv[2])
    found = {}
    evaluation.table = lambda evaluated, *rest: found.update(it=evaluated) or ""
    run = trainer(folder, Predictions(), evaluation.Evaluation(), devices=devices,
                  strategy="ddp" if devices > 1 else "auto")
    run.predict(Small(), datamodule=digits(), return_predictions=False)
    run.test(Small(), datamodule=digits(), verbose=False)
    it = found["it"]
    if run.is_global_zero:
        torch.save([torch.tensor(it.loss), it.confusion, *it.calibration[:3],
                *map(torch.as_tensor, it.mistakes)],
                   folder / "found.pt")
"""


@pytest.mark.ddp
@pytest.mark.slow
def test_two_ranks_predict_and_count_as_one_does(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    found = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, str(script), str(devices), str(folder)],
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found.append((rows_of(folder / "run" / "predictions.csv"), torch.load(folder / "found.pt")))
    (one, counts), (two, other_counts) = found
    assert len(one) == len(two) == 360
    for row, other in zip(one, two, strict=True):
        assert [row[k] for k in ("index", "truth")] == [other[k] for k in ("index", "truth")]
        for k in range(10):
            assert float(row[f"p_{k}"]) == pytest.approx(float(other[f"p_{k}"]), rel=1e-4, abs=1e-6)
    for value, other_value in zip(counts, other_counts, strict=True):
        torch.testing.assert_close(value, other_value, rtol=1e-4, atol=1e-6, equal_nan=True)
