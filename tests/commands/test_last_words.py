"""The last lines of a command."""

import os
from pathlib import Path

import pytest

from commands import last_words
from tests.models.gans import WIDTH_2
from tests.test_cli import DIGITS, run


def picture(run: Path, name: str, time: int = 1) -> None:
    (run / "figures").mkdir(exist_ok=True)
    (run / "figures" / name).touch()
    os.utime(run / "figures" / name, ns=(time, time))


def test_pictures_of_training_are_those_that_show_most(tmp_path: Path) -> None:
    assert last_words.pictures_of_training(tmp_path) == []
    for name in ("data_examples.png", "curves.png", "network.png", "network.svg"):
        picture(tmp_path, name)
    (line,) = last_words.pictures_of_training(tmp_path)
    assert line == f"Pictures: {tmp_path}/figures, such as curves.png"
    picture(tmp_path, "samples.png")
    assert last_words.pictures_of_training(tmp_path)[0].endswith("as samples.png and curves.png")


def test_new_pictures_are_those_written_since(tmp_path: Path) -> None:
    for name in ("curves.png", "confusion_test.png"):
        picture(tmp_path, name)
    before = last_words.written_at(tmp_path)
    assert last_words.new_pictures(tmp_path, before) == []
    picture(tmp_path, "confusion_test.png", time=2)
    picture(tmp_path, "asked_test.png")
    (line,) = last_words.new_pictures(tmp_path, before)
    assert line == f"Pictures: {tmp_path}/figures: asked_test.png, confusion_test.png"


def test_a_gan_ends_with_its_scores_beside_real_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run("fit", "--model=ConditionalGAN", *WIDTH_2, *DIGITS, "--trainer.max_epochs=1",
        "--trainer.limit_train_batches=2", f"--trainer.default_root_dir={tmp_path}",
        "--quality.samples=100", "--experiment=tiny")  # fmt: skip
    printed = capsys.readouterr().out.splitlines()
    assert "Quality of generated images against the validation split, by the judge digits" in (
        printed
    )
    (row,) = (line for line in printed if line.startswith("frechet"))
    assert row.endswith("  Frechet distance")
    folder = tmp_path / "tiny" / "version_0"
    assert f"Pictures: {folder}/figures, such as samples.png and curves.png" in caplog.messages
    assert not any(line.startswith("No validation") for line in caplog.messages)


def test_functions_end_with_their_largest_error(
    tmp_path: Path,
    in_root: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    run("fit", "--config=configs/functions.yaml", "--trainer.max_steps=3",
        f"--trainer.default_root_dir={tmp_path}")  # fmt: skip
    assert "points: largest error " in capsys.readouterr().out
    folder = tmp_path / "functions" / "version_0"
    (line,) = (line for line in caplog.messages if line.startswith("No validation"))
    assert "32 batches, and the run ended after 3. " in line
    assert f"validate --ckpt_path {folder}` validates it now." in line
    run("test", f"--ckpt_path={folder}")
    assert "\n  largest error       " in capsys.readouterr().out


def test_test_names_the_pictures_that_it_writes(
    tmp_path: Path, in_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run("fit", "--config=configs/iris.yaml", "--trainer.max_steps=3",
        f"--trainer.default_root_dir={tmp_path}")  # fmt: skip
    folder = tmp_path / "iris" / "version_0"
    for _ in range(2):
        caplog.clear()
        run("test", f"--ckpt_path={folder}")
        names = "confusion_test.png, reliability_test.png"
        assert f"Pictures: {folder}/figures: {names}" in caplog.messages
