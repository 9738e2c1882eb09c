"""`predict --files` as a user meets it."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from callbacks.results import class_names
from commands.predict_figures import draw_files
from commands.trained import load
from datamodules import Images
from tests.commands.test_sample import QUIET, train
from tests.models.gans import WIDTH_2
from tests.test_cli import fails, run

NETWORK = ["--model.network=ResidualConvNet", "--model.network.width=2"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("runs"), "ImageClassifier", *NETWORK)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder with a training image, a scan of it, and two files that are no images."""
    folder = tmp_path / "my scans"
    folder.mkdir()
    data = Images("digits")
    data.setup()
    assert data.splits is not None
    digit = Image.fromarray(data.splits.train.inputs[0, 0].numpy())
    digit.save(folder / "a.png")
    large = 220 - np.asarray(digit.resize((140, 140))).astype(int) // 2
    Image.fromarray(np.pad(large, 40, constant_values=220).astype(np.uint8)).save(folder / "b.jpg")
    (folder / "c.png").write_text("no image")
    (folder / "notes.txt").write_text("no image either")
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions_files.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def predict(ckpt: Path, *args: object) -> None:
    run("predict", "--ckpt_path", str(ckpt), *map(str, args), *QUIET)


def test_files_and_folders_are_classified(
    classifier: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with pytest.warns(UserWarning, match=r"1 of 4 files cannot be read .*c\.png \(not an image"):
        predict(classifier, "--files", scans / "a.png", scans, "--out", out)
    rows = rows_of(out)
    names = [scans / "a.png", scans / "a.png", scans / "b.jpg"]
    assert [row["file"] for row in rows] == [str(name) for name in names]
    assert list(rows[0]) == ["file", "predicted", *(f"p_{k}" for k in range(10))]
    printed = capsys.readouterr().out
    assert f"{scans / 'b.jpg'}: dark on light, inverted to match the training images" in printed
    assert "All predictions:" in printed
    assert Image.open(out / "predictions_files.png").width > 300
    model, data = load(classifier / "checkpoints" / "last.ckpt"), Images("digits")
    data.setup()
    assert data.splits is not None
    with torch.no_grad():
        expected = model(data.splits.train.inputs[:1] / 255).softmax(dim=1)[0]
    found = torch.tensor([float(rows[0][f"p_{k}"]) for k in range(10)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert rows[0]["predicted"] == str(int(expected.argmax()))


def test_the_data_set_is_not_built(classifier: Path, scans: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(classifier, tmp_path / "experiment" / "run", symlinks=True)
    config = (elsewhere / "config.yaml").read_text()
    (elsewhere / "config.yaml").write_text(config.replace("scale: 255.0", "scale: -1.0"))
    predict(elsewhere, "--files", scans / "a.png")
    assert len(rows_of(elsewhere)) == 1
    with pytest.raises(SystemExit):  # the data set refuses this scale
        predict(elsewhere)


def test_a_checkpoint_alone_is_enough(
    classifier: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = shutil.copy(classifier / "checkpoints" / "last.ckpt", tmp_path / "moved.ckpt")
    monkeypatch.chdir(tmp_path)
    predict(Path(moved), "--files", scans / "a.png", "--out", "out")
    predict(classifier, "--files", scans / "a.png", "--out", "same")
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "same")
    assert not (tmp_path / "runs").exists()


def test_without_files_the_test_split_is_predicted(classifier: Path) -> None:
    predict(classifier)
    assert len((classifier / "predictions.csv").read_text().splitlines()) == 361


def test_an_old_checkpoint_says_what_is_not_known(
    classifier: Path, scans: Path, tmp_path: Path
) -> None:
    checkpoint = torch.load(classifier / "checkpoints" / "last.ckpt", weights_only=True)
    del checkpoint["Images"]["frame"]
    torch.save(checkpoint, tmp_path / "old.ckpt")
    with pytest.warns(UserWarning, match="only resized, and classes are numbered.") as warned:
        predict(tmp_path / "old.ckpt", "--files", scans / "a.png", "--out", tmp_path / "old")
    assert not any("divided by 255" in str(warning.message) for warning in warned)
    predict(classifier, "--files", scans / "a.png", "--out", tmp_path / "new")
    assert rows_of(tmp_path / "old") == rows_of(tmp_path / "new")


def test_mistakes_are_one_line_and_leave_nothing(
    classifier: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, out = tmp_path / "empty", tmp_path / "out"
    empty.mkdir()
    (tmp_path / "file").touch()
    for args, expected in (
        (["--files", scans / "c.png", scans / "notes.txt"], r"c.png (not an image in"),
        (["--files", tmp_path / "no.png"], f"{tmp_path / 'no.png'}: there is no such file"),
        (["--files", empty], f"--files {empty}: there is no image in or below this folder (.png"),
        (["--files"], "--files needs a value: write one or several after it"),
        (["--files", scans / "a.png", "--out", tmp_path / "file" / "x"], "cannot be written to"),
        ([], "--out is for the predictions of --files"),
    ):
        options = [] if "--out" in args else ["--out", out]
        line = fails(
            capsys, "predict", "--ckpt_path", str(classifier), *map(str, [*args, *options])
        )
        assert expected in line
    assert not out.exists()


def test_an_untrained_network_says_so(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model=ImageClassifier", *NETWORK, "--model.num_classes=3"]
    shape = "--model.input_shape=[1,20,20]"
    file = str(scans / "a.png")
    run("predict", *model, shape, "--untrained=true", "--files", file, f"--out={tmp_path}", *QUIET)
    assert "No --ckpt_path: these are the predictions of an untrained" in capsys.readouterr().out
    assert [*rows_of(tmp_path)[0]] == ["file", "predicted", "p_0", "p_1", "p_2"]


def test_other_models_are_refused(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--untrained=true", "--files", str(scans)]
    for args, expected in (
        (["--model=IrisMLP"], "the inputs of this IrisMLP have shape (4,)"),
        (["--model=GateMLP"], "the inputs of this GateMLP have shape (2,)"),
        (["--model=FunctionMLP"], "image files are for a classifier of images, but this model is"),
        (["--model=GAN", *WIDTH_2, "--model.image_shape=[1,28,28]"], "python cli.py sample"),
    ):
        assert expected in fails(capsys, "predict", *args, *files, f"--out={tmp_path}/out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_figure_takes_files_of_any_kind(channels: int) -> None:
    pixels = torch.zeros(channels, 8, 12, dtype=torch.uint8)
    image = Image.new("L" if channels == 1 else "RGB", (30, 10), "red" if channels == 3 else 99)
    files = [("a/folder/file.png", image, pixels), (f"a/{'very-' * 9}long.png", image, pixels)]
    names = class_names(None, 2)
    figure = draw_files(files, torch.tensor([[0.25, 0.75]] * 30), names, total=30)
    texts = [text.get_text() for text in figure.axes[0].texts]
    names = ["file.png", "…ery-very-very-very-long.png"]
    assert texts == [f"{name}\n1: 75.0 %\n0 25.0 %" for name in names]
    assert figure._suptitle.get_text().startswith("The first 2 of 30 files")  # type: ignore


def test_a_white_picture_has_a_frame() -> None:
    pixels = torch.full((1, 8, 8), 255, dtype=torch.uint8)
    image = Image.new("L", (30, 10), "white")
    figure = draw_files([("a.png", image, pixels)], torch.ones(1, 1), ["a"], total=1)
    shown = np.nan_to_num(figure.axes[0].images[0].get_array().data, nan=255)
    grey = shown == 150
    assert grey.any(axis=0).sum() > 300  # over both pictures
    assert grey.mean() < 0.06
