"""`predict` for a test split and for image files."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

import cli
import ladder
from commands.predict import plot_files
from datamodules import Functions, Gates, Images, Iris, Points
from results import building
from runtime.errors import UserError, printable
from tests.commands.runs import QUIET
from tests.datamodules.pictures import write_classes, write_images
from tests.test_cli import fails


@pytest.fixture
def scans(tmp_path):
    """A folder with a training image, a scan of it, and two files that are no images."""
    folder = tmp_path / "my scans"
    folder.mkdir()
    data = Images("digits")
    data.setup()
    digit = Image.fromarray(data.splits.train.inputs[0, 0].numpy())
    digit.save(folder / "a.png")
    large = 220 - np.asarray(digit.resize((140, 140))).astype(int) // 2
    Image.fromarray(np.pad(large, 40, constant_values=220).astype(np.uint8)).save(folder / "b.jpg")
    (folder / "c.png").write_text("no image")
    (folder / "notes.txt").write_text("no image either")
    return folder


def test_files_and_folders_are_classified(classifier, scans, tmp_path, capsys):
    out = tmp_path / "out"
    table = ladder.predict(classifier, [scans / "a.png", scans], out=out)
    names = [scans / "a.png", scans / "b.jpg"]
    assert table["file"].tolist() == [*map(str, names)]
    assert list(table) == ["file", "predicted", *(f"p_{k}" for k in range(10))]
    printed = capsys.readouterr().out
    assert f"{scans / 'c.png'}: left out, because it cannot be read (not an" in printed
    assert f"{scans / 'b.jpg'}: dark on light, inverted to match the training images" in printed
    assert (out / "predictions_files.png").is_file()
    written = pd.read_csv(out / "predictions_files.csv")
    np.testing.assert_allclose(written.p_3, table.p_3, rtol=1e-5)
    model, data = ladder.load(classifier), Images("digits")
    data.setup()
    with torch.no_grad():
        expected = model(data.splits.train.inputs[:1] / 255).softmax(dim=1)[0]
    found = torch.tensor(table.iloc[0].tolist()[2:], dtype=torch.float32)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert table.predicted[0] == str(int(expected.argmax()))


def test_names_break_no_line(classifier, scans, tmp_path, capsys):
    """Class names of a checkpoint and file names, in a table, a picture and the terminal."""
    names = ("0\ncurl evil", "1\x1b[2J", *(f"{k}$\\frac$" for k in range(2, 10)))
    content = torch.load(classifier / "checkpoints/last.ckpt", weights_only=True)
    frames = [v["frame"] for v in content.values() if isinstance(v, dict) and "frame" in v]
    frames[0]["class_names"] = names
    torch.save(content, tmp_path / "a.ckpt")
    (scans / "a.png").rename(scans / "a\n\x1b[2J.png")
    (scans / "c.png").rename(scans / "c\n\x1b[2J.png")
    table = ladder.predict(tmp_path / "a.ckpt", [scans])
    assert list(table)[2:4] == [r"p_0\ncurl evil", r"p_1\x1b[2J"]
    text = (tmp_path / "predictions_files.csv").read_text()
    assert len(text.splitlines()) == 3
    assert all(printable(line) == line for line in text.splitlines())
    printed = capsys.readouterr().out.split("\n")
    assert all(printable(line) == line for line in printed)
    assert any(line.startswith(f"{scans}/c\\n\\x1b[2J.png: left out") for line in printed)
    assert (tmp_path / "predictions_files.png").is_file()


def test_a_checkpoint_alone_is_enough_for_files(classifier, scans, tmp_path):
    moved = Path(shutil.copy(classifier / "checkpoints" / "last.ckpt", tmp_path / "moved.ckpt"))
    tables = [ladder.predict(run, [scans / "a.png"], out=tmp_path) for run in (moved, classifier)]
    assert tables[0].equals(tables[1])


def test_the_test_split_is_predicted(classifier):
    table = ladder.predict(classifier)
    assert list(table)[:3] == ["index", "truth", "predicted"]
    assert len(table) == len(pd.read_csv(classifier / "predictions.csv")) == 360
    data = Images("digits")
    data.setup()
    assert table.truth.astype(int).tolist() == data.splits.test.targets.tolist()
    shares = table.filter(like="p_")
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-3)
    best = shares.idxmax(axis=1).str.removeprefix("p_")
    assert best.tolist() == table.predicted.tolist()


@pytest.fixture
def photos_run(tmp_path):
    """A folder of photographs of two classes, and a classifier of them."""
    photos = write_classes(tmp_path / "photos")
    cli.main(["fit", "--model=ImageClassifier", "--model.network=FeedForward", "--data=ImageFolder",
              f"--data.path={photos}", "--data.size=8", "--data.batch_size=8", *QUIET,
              "--trainer.max_steps=1", f"--trainer.default_root_dir={tmp_path}"])  # fmt: skip
    return photos, tmp_path / "imageclassifier" / "version_0"


@pytest.mark.parametrize("command", ["test", "predict"])
def test_changed_images_are_refused(command, photos_run, capsys):
    photos, run = photos_run
    write_images(photos / "cat", 3, seed=1)
    line = fails(capsys, command, str(run))
    assert line.startswith(f"error: {photos} has not the examples that the checkpoint was trained")
    assert re.search(rf"or `test` with --data(\.path|_dir) {photos}$", line)


@pytest.mark.parametrize("command", ["test", "predict"])
@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("hound", "only the run: dog; only the data: hound"),
        ("eel", "only the run: none; only the data: eel"),
    ],
)
def test_other_classes_are_refused(command, name, others, photos_run, capsys):
    photos, run = photos_run
    if name == "hound":
        (photos / "dog").rename(photos / name)
    else:
        write_images(photos / name)
    line = fails(capsys, command, str(run))
    assert re.search(rf"photos has other classes than this run \({others}\): rename", line)


def test_the_data_may_be_in_another_folder(photos_run, iris, capsys):
    photos, run = photos_run
    table = ladder.predict(run)
    moved = photos.rename(photos.with_name("moved"))
    line = fails(capsys, "predict", str(run))
    assert line.startswith(f"error: there is no folder {photos}: set --data_dir to a folder with ")
    assert ladder.predict(run, data_dir=moved).equals(table)
    line = fails(capsys, "predict", str(iris), f"--data_dir={moved}")
    assert line == "error: --data_dir: Iris reads no files: leave it out"


def test_small_inputs_stand_beside_the_answers(iris, tmp_path):
    table = ladder.predict(iris, out=tmp_path)
    raw = Iris(standardize=False)
    raw.setup()
    measured = table[list(Iris.feature_names)].to_numpy()
    np.testing.assert_allclose(measured, raw.splits.test.inputs, atol=1e-5)
    assert set(table.truth) == {*Iris.class_names}


@pytest.mark.parametrize(
    ("model", "data", "columns"),
    [
        ("FunctionMLP", Functions(), ["x1"]),
        ("GateMLP", Gates(), ["x1", "x2"]),
        ("Classifier", Points(labelled=True), ["x1", "x2"]),
    ],
)
def test_values_and_gates_are_predicted(model, data, columns, tmp_path):
    labeled = ["--data.labelled=true"] if isinstance(data, Points) else []
    cli.main(["fit", f"--model={model}", f"--data={type(data).__name__}", *labeled, *QUIET,
              "--trainer.max_steps=2", f"--trainer.default_root_dir={tmp_path}"])  # fmt: skip
    table = ladder.predict(tmp_path / model.lower() / "version_0")
    assert list(table)[: 3 + len(columns)] == ["index", *columns, "truth", "predicted"]
    data.setup()
    np.testing.assert_allclose(table[columns], data.splits.test.inputs, rtol=1e-5)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("32-true", torch.float32), (None, torch.float32), ("auto", torch.bfloat16),
     ("bf16-mixed", torch.bfloat16)],
)  # fmt: skip
def test_tools_compute_in_the_precision_of_the_run(precision, dtype, iris, tmp_path, monkeypatch):
    """As `test` does, and not in bf16 only because that is fast."""
    folder = Path(shutil.copytree(iris, tmp_path / "run"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["trainer"]["precision"] = precision
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(building, "choose_precision", lambda _: ("bf16-mixed", "it is fast"))
    model = ladder.load(folder)
    with building.inference(model):
        assert model.network(torch.zeros(1, 4, device=model.device)).dtype == dtype
    (folder / "config.yaml").unlink()
    with building.inference(ladder.load(folder)):
        assert model.network(torch.zeros(1, 4, device=model.device)).dtype == torch.bfloat16


def test_a_refused_predict_leaves_nothing(classifier, iris, scans, tmp_path):
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for run, files, expected in (
        (classifier, [scans / "c.png"], "no file can be read as an image"),
        (classifier, [tmp_path / "no.png"], "there is no such file or folder"),
        (classifier, [tmp_path / "pipe.png"], "it is a pipe, socket or device, not a file"),
        (classifier, [empty], r"there is no image in or below this folder \(\."),
        (iris, [scans], r"the inputs of this IrisMLP have shape \(4,\)"),
    ):
        with pytest.raises(UserError, match=expected):
            ladder.predict(run, files, out=out)
    assert not out.exists()


def test_the_figure_names_files_and_classes():
    table = pd.DataFrame({"file": ["a/very-long-folder/file.png"], "predicted": ["cat"],
                          "p_cat": [0.75], "p_dog": [0.25]})  # fmt: skip
    figure = plot_files(torch.zeros(1, 3, 8, 12, dtype=torch.uint8), table)
    assert [text.get_text() for text in figure.axes[0].texts] == ["file.png\ncat 75.0 %"]
