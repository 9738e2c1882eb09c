"""Every function of `ladder.py` takes text for paths and one for many, and refuses nonsense."""

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image

import ladder
from commands.arguments import checked
from commands.fit import lightning_run
from datamodules import Gates, Images, Iris
from models import ImageClassifier, IrisMLP
from models.networks import FeedForward
from runtime.errors import UserError
from tests.conftest import ROOT
from tests.models.gans import small

FUNCTIONS = {
    name: function
    for name in ladder.__all__
    if not isinstance(function := getattr(ladder, name), type)
}
NONSENSE: list[Any] = [
    None, 5, -1, 2.5, float("nan"), True, "", "nonsense", Path("nonsense"), [], {}, [None],
    {"a": 1}, object(), b"bytes", np.zeros((2, 2)), torch.nn.Linear(1, 1), IrisMLP, print, range(0),
]  # fmt: skip
VALID = {  # arguments that lead to a run that does not exist, and would do no work
    "classify": ["none", np.zeros((1, 28, 28), np.uint8)],
    "compare": [["none"]],
    "demo": ["none"],
    "figure": ["none", "curves"],
    "plot": [np.zeros((2, 8, 8))],
    "quiet": [],
    "sweep": ["none.yaml"],
    "train": ["none.yaml", {"trainer.max_epochs": 1}],
}


def outcome(call: Any) -> str:
    """Returns the line of a UserError, or "" for a result."""
    try:
        call()
    except UserError as error:
        return str(error)
    return ""


def refuse(args: list[str]) -> None:
    raise UserError("there is no such run")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nonsense_for_any_parameter_is_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lightning_run, "run_lightning", refuse)  # takes a second to read options
    function, valid = FUNCTIONS[name], VALID.get(name, ["none"])
    given = dict(zip(inspect.signature(function).parameters, valid, strict=False))
    names = [n for n in inspect.signature(function).parameters if n != "search"]
    for parameter, value in ((p, v) for p in names for v in NONSENSE):
        line = outcome(lambda p=parameter, v=value: function(**given | {p: v}))
        # Without an error it is a picture, as only `plot` needs no run.
        assert line or name == "plot", (parameter, value)
        assert "\n" not in line
    assert "unexpected keyword argument 'cuont'" in outcome(lambda: function(*valid, cuont=1))
    assert "too many positional" in outcome(lambda: function(*range(99)))


def test_a_wrong_argument_is_named_with_what_is_expected():
    for line, call in {
        "--run: expected a path, got NoneType.": lambda: ladder.load(None),
        "load: missing a required argument: 'run'.": ladder.load,
        "Did you mean count?": lambda: ladder.sample("none", cuont=3),
        "--count: expected int, got 'many'.": lambda: ladder.sample("none", count="many"),
        "--count: expected a number >=1": lambda: ladder.sample("none", count=0),
        "--gif: expected bool, got 'maybe'.": lambda: ladder.sample("none", gif="maybe"),
        "Did you mean onnx?": lambda: ladder.export("none", format="onxx"),
        "--classes: expected text or a number": lambda: ladder.sample("none", classes=[None]),
        "--model: expected a path, got Linear.": lambda: ladder.layers(torch.nn.Linear(1, 1)),
        "options: give a dictionary": lambda: ladder.train("none.yaml", 5),
        "--model: expected a LightningModule's class": lambda: ladder.load("none", model=int),
        "--data: expected a DataModule or a DataLoader": lambda: ladder.score(IrisMLP(), 5),
        "got NoneType.": lambda: ladder.score(IrisMLP()),
        "--split: expected one of 'val', 'test', got 'all'.": lambda: ladder.score("none", "all"),
        "cannot be scored on these data": lambda: ladder.score(IrisMLP(), Gates()),
        "there is no split 'tran'": lambda: Iris().as_dataset("tran"),
    }.items():
        assert line in outcome(call)


@checked
def tool(
    run: Path, count: int = 1, classes: list[str] | None = None, files: list[Path] | None = None,
    rate: float = 1.0, gif: bool = False, out: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Returns what it got."""
    return locals()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("run", "a", Path("a")), ("run", ladder.Run(Path("a")), Path("a")), ("out", None, None),
        ("out", "null", None), ("out", Path("null"), Path("null")), ("count", "7", 7),
        ("count", np.int64(7), 7), ("classes", 7, ["7"]), ("classes", "cat", ["cat"]),
        ("classes", ("07", 7), ["07", "7"]), ("classes", np.arange(2), ["0", "1"]),
        ("classes", "a, b", ["a, b"]), ("files", "a.png", [Path("a.png")]),
        ("files", iter(["a", Path("b")]), [Path("a"), Path("b")]), ("files", [], []),
        ("rate", 1, 1.0), ("rate", "1e-3", 0.001), ("rate", np.float32(0.5), 0.5),
        ("gif", "true", True), ("gif", np.bool_(True), True),
    ],
)  # fmt: skip
def test_arguments_are_converted_like_options(name, value, expected):
    found = tool(**{"run": "r", name: value})[name]
    assert found == expected
    assert type(found) is type(expected)
    assert tool("r", 3)["count"] == 3  # also by position


@pytest.mark.slow
def test_tools_take_text_and_one_for_many(classifier, cgan, iris, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (28, 28)).save("a.png")
    name = str(classifier)
    assert len(ladder.predict(name, files="a.png", out="predicted")) == 1
    assert Path("predicted/predictions_files.csv").is_file()
    assert len(ladder.classify(name, "a.png")) == len(ladder.classify(name, ["a.png"])) == 1
    assert len(ladder.classify(name, np.zeros((2, 28, 28), np.uint8))) == 2
    assert ladder.layers(name).equals(ladder.layers(ladder.load(classifier)))
    assert ladder.sample(str(cgan), 2, classes=7, out="sampled").labels.tolist() == [7, 7]
    assert ladder.sample_images(cgan, "2", 7).labels.tolist() == [7, 7]
    assert ladder.export(str(classifier), format="torch", out="x") == [Path("x/classifier.pt2")]
    assert ladder.maximize(name, steps="1", occlusion=0, out="m")[0].is_file()
    assert ladder.curves(name).equals(ladder.curves(ladder.Run.find(name)))
    assert type(ladder.data_of(str(iris))) is Iris
    one, several = ladder.compare(str(iris), out="c", list=True), ladder.compare([iris], list=True)
    assert one.equals(several)


@pytest.mark.slow
def test_training_takes_text(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = "configs/iris.yaml"
    run = ladder.train(config, ["trainer.max_epochs=1", f"--trainer.default_root_dir={tmp_path}"])
    options = {"trainer.max_epochs": np.int64(1), "trainer.default_root_dir": tmp_path}
    assert ladder.train([config], options).parent == run.parent
    assert "no option '--nonsense'" in outcome(lambda: ladder.train(config, "nonsense"))
    score = ladder.score(str(run), "test")
    assert score.equals(ladder.score(run, split="test"))
    in_memory = ladder.score(ladder.load(run), ladder.data_of(run), "test")
    np.testing.assert_allclose(in_memory.score, score.score, rtol=1e-5)


def test_a_sweep_takes_a_config_and_options(monkeypatch):
    given = {}
    monkeypatch.setattr(ladder.sweeping, "sweep", lambda **options: given.update(options))
    ladder.sweep("configs/iris.yaml", "trainer.max_epochs=1", seeds=2)
    assert given == {"fit": ["--config", "configs/iris.yaml", "--trainer.max_epochs=1"], "seeds": 2}
    monkeypatch.undo()
    for line, options in {
        "Did you mean seeds?": {"seed": 2},
        "--seeds: expected a number >0": {"seeds": 0},
        "give --seeds N": {},
    }.items():
        assert line in outcome(partial(ladder.sweep, "configs/iris.yaml", **options))


@pytest.mark.parametrize(
    ("shape", "labels", "fits"),
    [
        ((8, 8), "cat", True), ((8, 8), 3, True), ((8, 8, 3), None, True), ((2, 8, 8), "ab", True),
        ((2, 8, 8, 3), None, True), ((2, 1, 8, 8), None, True), ((2, 8, 8), "abc", False),
        ((2, 8, 8), 5, False), ((0, 8, 8), None, False), ((8,), None, False),
        ((2, 8, 8, 2), None, False),
    ],
)  # fmt: skip
def test_a_plot_takes_one_image_or_many(shape, labels, fits):
    assert (outcome(lambda: ladder.plot(np.zeros(shape), labels)) == "") == fits


def test_a_model_in_memory_is_exported_and_scored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = Images("digits", batch_size=32)
    model = ImageClassifier((1, 28, 28), 10, partial(FeedForward, hidden=2))
    Trainer(max_steps=1, barebones=True).fit(model, data)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert ladder.export(model.train(), "torch") == [Path("export/classifier.pt2")]
    assert ladder.export(small(), "torch", out="gan")[0].is_file()
    assert model.training
    assert all(weight.requires_grad for weight in model.parameters())
    loader = torch.utils.data.DataLoader(data.as_dataset("val"), batch_size=50)
    whole, batches = ladder.score(model, data), ladder.score(model, loader)
    np.testing.assert_allclose(whole.score, batches.score, rtol=1e-5)
    probabilities = model.eval()(torch.stack([x for x, _ in data.as_dataset("val")])).argmax(1)
    right = probabilities == data.splits.val.targets
    assert whole.score["accuracy"] == pytest.approx(float(right.float().mean()))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert "needs a run" in outcome(lambda: ladder.export(model, "html"))


@pytest.mark.slow
def test_a_generator_in_memory_has_floors(cgan):
    model, data = ladder.load(cgan), Images("digits")
    found = ladder.score(model, data)
    assert {"frechet", "d_loss"} <= {*found.index}
    options = {"quality.final_samples": 10_000, "trainer.precision": "32-true"}
    of_run = ladder.score(cgan, options=options | {"trainer.limit_val_batches": 1.0})
    for column in ("score", "floor"):
        same = found[column]["frechet"], of_run[column]["frechet"]
        assert same[0] == pytest.approx(same[1], rel=1e-3)
