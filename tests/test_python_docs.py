"""The examples of docs/python.md, executed in their order."""

import re
from typing import Any

import pytest
from matplotlib import pyplot

import ladder
from tests.conftest import ROOT

TEXT = (ROOT / "docs/python.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_every_function_has_an_example_of_at_most_five_lines():
    text = "".join(EXAMPLES)
    functions = ["train", "load", "sample_images", "plot", "classify", "score", "curves", "layers"]
    assert [name for name in functions if f"ladder.{name}(" not in text] == []
    listed = [name for row in re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE)
              for name in re.findall(r"`(\w+)\(", row)]  # fmt: skip
    assert {*functions} <= {*listed} <= {*ladder.__all__}
    assert max(example.count("\n") for example in EXAMPLES) <= 5


def test_the_example_of_the_readme_runs(cgan):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    found: dict[str, Any] = {}
    exec(example.replace('"runs/cgan"', repr(str(cgan))), found)
    assert found["images"].shape == (25, 28, 28)
    assert set(found["labels"]) == {3, 7}


@pytest.mark.slow
def test_the_examples_run(tmp_path, monkeypatch):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    found: dict[str, Any] = {}
    for example in EXAMPLES:
        exec(example, found)
    pyplot.close("all")
    assert found["run"].is_dir()
    assert 0.3 < found["accuracy"] <= 1
    assert len(found["axes"].lines) == 2
    assert found["labels"].tolist() == [3, 1, 4] * 10
    assert (tmp_path / "digits.png").is_file()
    assert len(found["table"]) == 30
    assert found["table_of_files"]["file"].tolist() == ["scan.png"]
    assert found["probabilities"].shape == (8, 10)
    weights = sum(p.numel() for p in found["classifier"].network.parameters())
    assert type(found["autoencoder"]).__name__ == "VariationalAutoencoder"
    assert [path.exists() for path in found["files"]] == [True]
    assert found["table_of_scores"].score["accuracy"] > 0.3
    assert found["batch"].shape == (64, 1, 28, 28)
    assert found["table_of_layers"].parameters.sum() == weights
