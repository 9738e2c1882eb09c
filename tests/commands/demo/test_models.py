"""`demo` finds the newest models, and leaves out what it cannot use with the reason."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from commands.demo import models
from commands.demo.models import find, training_images
from models import ConditionalGAN
from tests.commands.test_sample import train
from tests.models.gans import WIDTH_2

TINY = ["--model.network=ResidualConvNet", "--model.network.width=2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a classifier, a conditional GAN, and a classifier of other data than images."""
    root = tmp_path_factory.mktemp("runs")
    train(root, "ImageClassifier", *TINY)
    train(root, "ConditionalGAN", *WIDTH_2)
    return root


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """A copy of these runs, to damage."""
    return Path(shutil.copytree(trained, tmp_path / "runs", symlinks=True))


def date(folder: Path, seconds: float) -> None:
    for path in (folder / "checkpoints").iterdir():
        os.utime(path, (seconds, seconds), follow_symlinks=False)


def rewrite(folder: Path, **changes: object) -> None:
    """Changes entries of a run's checkpoint."""
    path = (folder / "checkpoints" / "last.ckpt").resolve()
    torch.save(torch.load(path, weights_only=True) | changes, path)


def test_models_are_found_by_kind(runs: Path) -> None:
    found = find(runs)
    assert [*found.classifiers] == ["imageclassifier/version_0"]
    assert [*found.gans] == ["conditionalgan/version_0"]
    assert found.skipped == []
    gan = found.gans["conditionalgan/version_0"]
    assert isinstance(gan.model, ConditionalGAN)
    assert not gan.model.training
    assert gan.classes == [*map(str, range(10))]


def test_a_model_is_loaded_once(runs: Path) -> None:
    first, again = find(runs), find(runs)
    assert [*first.classifiers.values()] == [*again.classifiers.values()]
    rewrite(runs / "imageclassifier/version_0", epoch=99)
    assert [*find(runs).classifiers.values()] != [*first.classifiers.values()]


def test_the_newest_run_comes_first(runs: Path) -> None:
    old, new = runs / "imageclassifier/version_0", runs / "other"
    shutil.copytree(old, new, symlinks=True)
    date(old, 1e9)
    date(new, 1.1e9)
    assert [*find(runs).classifiers] == ["other", "imageclassifier/version_0"]
    date(old, 1.2e9)
    assert [*find(runs).classifiers] == ["imageclassifier/version_0", "other"]


def test_a_damaged_run_is_left_out_with_the_reason(runs: Path) -> None:
    folder = runs / "imageclassifier/version_0"
    for path in (folder / "checkpoints").iterdir():
        if not path.is_symlink():
            path.write_bytes(path.read_bytes()[:5000])
    found = find(runs)
    assert found.skipped == ["imageclassifier/version_0: not a checkpoint, or an incomplete one"]
    assert not found.classifiers
    assert found.gans


def test_a_foreign_class_is_not_imported(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    rewrite(runs / "imageclassifier/version_0", hyper_parameters={"_class_path": "evil.Model"})
    found = find(runs)
    (line,) = found.skipped
    assert line.startswith("imageclassifier/version_0: checkpoints/")
    assert "names the class evil.Model, which is not of this project" in line
    assert line.endswith("add --trust true.")
    assert not Path("ran").exists()


def test_a_file_of_something_else_is_left_out(runs: Path) -> None:
    folder = runs / "others" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save({"state_dict": {}}, folder / "model.ckpt")
    (runs / "empty" / "checkpoints").mkdir(parents=True)
    found = find(runs)
    (line,) = found.skipped
    assert line.startswith("others: checkpoints/model.ckpt does not say its model's class")
    assert len(found.classifiers) == len(found.gans) == 1


def test_only_the_newest_folders_are_looked_at(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "LOOKED_AT", 1)
    date(runs / "imageclassifier/version_0", 1e9)
    found = find(runs)
    assert [found.classifiers, [*found.gans]] == [{}, ["conditionalgan/version_0"]]
    assert found.skipped == ["1 older ones, behind 1 newer ones"]


def test_an_empty_and_a_missing_folder_have_no_models(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        found = find(folder)
        assert [found.classifiers, found.gans, found.skipped] == [{}, {}, []]


def test_training_images_are_those_of_the_run(runs: Path) -> None:
    (one,) = find(runs).gans.values()
    images, missing = training_images(one)
    assert images is not None
    assert missing == ""
    assert images.dtype == torch.uint8
    assert images.shape == (1317, 1, 28, 28)  # without the validation split


def test_other_data_do_not_count_as_training_images(runs: Path) -> None:
    rewrite(
        runs / "conditionalgan/version_0",
        Images={"identity": {"dataset": "mnist", "val_fraction": 1 / 12, "split_seed": 0}},
    )
    (one,) = find(runs).gans.values()
    images, missing = training_images(one)
    assert images is None
    assert missing == (
        "The training images cannot be shown: what Images finds on this machine are others."
    )


def test_training_images_of_a_foreign_class_are_refused_by_name(runs: Path) -> None:
    rewrite(
        runs / "conditionalgan/version_0",
        datamodule_hyper_parameters={"_class_path": "somewhere.Else"},
    )
    (one,) = find(runs).gans.values()
    images, missing = training_images(one)
    assert images is None
    assert "names the class somewhere.Else, which is not of this project" in missing
