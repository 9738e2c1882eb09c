"""Scores of a run are of the data that its checkpoint names, and of images it has not seen."""

import os
import re
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import cli
import ladder
from commands import arguments
from datamodules import Images
from datamodules.data_module import hashes_of
from datamodules.provenance import SEEN, keep_seen
from tests.commands.runs import QUIET
from tests.datamodules.pictures import write_classes
from tests.test_cli import fails, run

OTHER_DATA = ["test", "validate", "predict"]


@pytest.fixture
def changed(classifier, tmp_path):
    """Returns a function that copies a run and changes its description of the data."""

    def change(class_path: str | None = None, **options: Any) -> str:
        folder = Path(shutil.copytree(classifier, tmp_path / "run"))
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["data"]["init_args"] |= options
        if class_path:
            config["data"] = {"class_path": class_path, "init_args": {}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        return str(folder)

    return change


@pytest.mark.parametrize("command", OTHER_DATA)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"scale": 275.0},
            r"with data.scale 255.0, this run has 275.0: give --data.scale 255",
        ),
        (
            {"split_seed": 1},
            r"with data.split_seed 0, this run has 1: give --data.split_seed",
        ),
        (
            {"val_fraction": 0.5},
            r"with data.val_fraction 0.08.*, this run has 0.5: give --data",
        ),
        (
            {"class_path": f"{__name__}.OtherDigits"},
            r"trained with data of Images, and its run's config.yaml has OtherDigits: correct it",
        ),
    ],
)
def test_data_of_a_changed_config_are_refused(command, change, message, changed, capsys):
    trust = ["--trust", "true"]
    line = fails(capsys, command, changed(**change), *trust)
    assert re.search(message, line), line


class OtherDigits(Images):
    """Digits of a user's own class."""

    def __init__(self, dataset: str = "digits") -> None:
        super().__init__("digits")


def test_an_option_of_the_user_is_other_data(changed, capsys):
    folder = changed(scale=275.0, split_seed=1)
    assert "split_seed" in fails(capsys, "test", folder, "--data.scale=275")
    assert "scale" in fails(capsys, "test", folder, "--data.split_seed=1")
    run("test", folder, "--data.split_seed=1", "--data.scale=275", *QUIET)
    run("test", folder, "--data.split_seed=0", "--data.scale=255", *QUIET)


def test_a_whole_config_of_the_user_is_his_own_data_but_that_of_the_run_is_not(tmp_path):
    for folder in ("run/checkpoints", "trainer"):
        (tmp_path / folder).mkdir(parents=True)
    own, of_run, overlay = (
        f"--config={tmp_path / name}" for name in ("a.yaml", "run/config.yaml", "trainer/a.yaml")
    )
    for given, expected in (
        ([], set()),
        (["--data.path=a", "--data.init_args.size", "8"], {"path", "size"}),
        ([overlay, of_run], set()),
        ([own], None),
        (["--data=Images"], None),
    ):
        assert arguments.given_data(["test", "RUN", *given]) == expected


# -- images that were seen ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_photos(tmp_path_factory):
    """A folder of images, and a classifier of them."""
    root = tmp_path_factory.mktemp("seen")
    photos = write_classes(root / "photos", count=60)
    cli.main(["fit", "--model=ImageClassifier", "--model.network=FeedForward", "--data=ImageFolder",
              f"--data.path={photos}", "--data.size=8", "--data.batch_size=8", *QUIET,
              "--trainer.max_steps=1", f"--trainer.default_root_dir={root}"])  # fmt: skip
    return photos, root / "imageclassifier" / "version_0"


def as_test(photos: Path, folder: Path, seen: int, count: int) -> Path:
    """Writes a folder with `seen` of each class's images and new ones, `count` of both classes."""
    write_classes(folder / "train", count=20)
    write_classes(folder / "test", count=count - seen)
    data = loaded_files(photos)
    for name in ("cat", "dog"):
        for file in data[name][:seen]:
            shutil.copy(file, folder / "test" / name / f"seen_{file.name}")
    return folder


def loaded_files(photos: Path) -> dict[str, list[Path]]:
    """Returns the files of training images of each class."""
    data = ladder.data_of(photos.parent / "imageclassifier" / "version_0")
    train = {*hashes_of(data.splits.train).tolist()}
    names = [Path(name) for name in data._stored.about["names"]]
    known = zip(names, data._stored.facts["hash"].tolist(), strict=True)
    files = [photos / name for name, number in known if number in train]
    return {name: [file for file in files if file.parent.name == name] for name in ("cat", "dog")}


def with_data(command: str, folder: Path | str) -> list[str]:
    return [f"--data_dir={folder}"] if command == "predict" else [f"--data.path={folder}"]


@pytest.mark.parametrize("command", ["test", "predict"])
def test_other_data_with_training_images_are_refused_with_their_number(
    command, of_photos, tmp_path, capsys, caplog
):
    photos, folder = of_photos
    other = as_test(photos, tmp_path / "other", 3, 20)
    args = [command, str(folder), *with_data(command, other)]
    line = fails(capsys, *args)
    assert "6 of the 40 test images are training images of this run, so scores" in line
    assert line.endswith("add --allow_seen true")
    caplog.set_level("INFO")
    run(*args, "--allow_seen", "true")
    assert "6 of the 40 test images are training images of this run." in caplog.text


def test_one_in_a_hundred_is_said(of_photos, tmp_path, caplog):
    photos, folder = of_photos
    caplog.set_level("INFO")
    run("test", str(folder), f"--data.path={as_test(photos, tmp_path / 'other', 1, 100)}")
    assert "2 of the 200 test images are training images of this run." in caplog.text


def test_validation_images_are_counted(of_photos, tmp_path, capsys):
    photos, folder = of_photos
    other = as_test(photos, tmp_path / "other", 3, 20)
    (other / "test").rename(other / "val")
    write_classes(other / "test", count=5)
    line = fails(capsys, "validate", str(folder), f"--data.path={other}")
    assert "6 of the 40 validation images are training images" in line


@pytest.mark.parametrize("command", ["test", "predict"])
def test_the_same_images_in_another_place_have_none(command, of_photos, tmp_path, caplog):
    """In a tar, in another order."""
    photos, folder = of_photos
    files = sorted(photos.rglob("*.png"))
    np.random.default_rng(0).shuffle(files)
    with tarfile.open(tmp_path / "it.tar", "w") as tar:
        for number, file in enumerate(files):
            (tmp_path / "label").write_text(file.parent.name)
            tar.add(file, f"{number}.png")
            tar.add(tmp_path / "label", f"{number}.cls")
    caplog.set_level("INFO")
    run(command, str(folder), *with_data(command, tmp_path / "it.tar"))
    assert "training images of this run" not in caplog.text


@pytest.mark.filterwarnings("ignore:.* equal another one")
def test_equal_images_of_the_run_itself_are_counted_and_not_refused(tmp_path, caplog):
    photos = write_classes(tmp_path / "photos/train", count=10)
    write_classes(tmp_path / "photos/test", count=4)
    shutil.copy(photos / "cat/0.png", tmp_path / "photos/test/cat/copy.png")
    shutil.copytree(photos.parent / "test", photos.parent / "val")
    cli.main(["fit", "--model=ImageClassifier", "--model.network=FeedForward", "--data=ImageFolder",
              f"--data.path={photos.parent}", "--data.size=8", "--data.batch_size=8", *QUIET,
              "--trainer.max_steps=1", f"--trainer.default_root_dir={tmp_path}"])  # fmt: skip
    caplog.set_level("INFO")
    run("test", str(tmp_path / "imageclassifier/version_0"))
    assert "1 of the 9 test images are training images of this run." in caplog.text


def test_the_list_has_the_hashes_of_the_training_images_and_follows_no_link(classifier, tmp_path):
    data = Images("digits")
    data.setup()
    expected = np.unique(hashes_of(data.splits.train)).tobytes()
    content = (classifier / "checkpoints" / SEEN).read_bytes()
    assert content == expected + zlib.crc32(expected).to_bytes(8, "little")
    (tmp_path / SEEN).symlink_to(tmp_path / "other")
    keep_seen(tmp_path, data)
    assert not (tmp_path / "other").exists()
    assert (tmp_path / SEEN).read_bytes() == content


def test_images_that_the_first_weights_have_seen_stay_in_the_list(of_photos, tmp_path, capsys):
    photos, folder = of_photos
    others = write_classes(tmp_path / "photos", count=20)
    fit = ["fit", "--data.size=8", "--data.batch_size=8", *QUIET, "--checkpoint.min_steps=0",
           f"--trainer.default_root_dir={tmp_path}"]  # fmt: skip
    run(*fit, f"--init_from={folder}", f"--data.path={others}", "--trainer.max_steps=1",
        "--experiment=next")  # fmt: skip
    tuned = tmp_path / "next/version_0"
    run("fit", f"--ckpt_path={tuned}", "--trainer.max_steps=2")
    other = as_test(photos, tmp_path / "other", 3, 20)
    assert "6 of the 40 test" in fails(capsys, "test", str(tuned), f"--data.path={other}")


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "pipe"])
def test_a_damaged_list_is_one_line(damage, of_photos, tmp_path, capsys):
    photos, original = of_photos
    folder = Path(shutil.copytree(original, tmp_path / "run"))
    path = folder / "checkpoints" / SEEN
    content = path.read_bytes()
    path.unlink()
    if damage == "pipe":
        os.mkfifo(path)
    else:
        flipped = content[:9] + bytes([content[9] ^ 1]) + content[10:]
        path.write_bytes({"cut": content[:-8], "bit": flipped, "empty": b""}[damage])
    line = fails(capsys, "test", str(folder), f"--data.path={photos}", "--trust=true")
    assert SEEN in line
    assert "damaged" in line or "no plain file" in line


def test_other_data_of_a_run_without_a_list_are_said_to_be_unknown(of_photos, tmp_path):
    photos, original = of_photos
    folder = Path(shutil.copytree(original, tmp_path / "run"))
    (folder / "checkpoints" / SEEN).unlink()
    run("test", str(folder))  # its own: nothing to say
    with pytest.warns(UserWarning, match=f"{SEEN} is missing, so images that the run"):
        run("test", str(folder), f"--data.path={as_test(photos, tmp_path / 'other', 1, 5)}")


def test_a_run_does_not_allow_itself(of_photos, tmp_path, capsys):
    photos, original = of_photos
    folder = Path(shutil.copytree(original, tmp_path / "run"))
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("allow_seen: false", "allow_seen: true"))
    assert "allow_seen: true" in config.read_text()
    other = as_test(photos, tmp_path / "other", 3, 20)
    assert "training images" in fails(capsys, "test", str(folder), f"--data.path={other}")


def test_names_of_which_a_line_shows_three_are_beside_the_run(tmp_path, capsys):
    photos = write_classes(tmp_path / "photos", count=12)
    for number in range(5):
        (photos / f"cat/{number}.png").write_bytes(b"no image")
    args = ["fit", "--model=ImageClassifier", "--model.network=FeedForward", "--data=ImageFolder",
            f"--data.path={photos}", "--data.size=8", "--data.batch_size=8", *QUIET,
            "--trainer.max_steps=1", f"--trainer.default_root_dir={tmp_path}"]  # fmt: skip
    with pytest.warns(UserWarning, match=r"cannot be read: cat/0.png .* and 2 more\. They are"):
        run(*args, "--data.skip_unreadable=true")
    lines = (tmp_path / "imageclassifier/version_0/images.txt").read_text().splitlines()
    assert lines[0] == "# Unreadable images"
    assert [line.split()[0] for line in lines[1:]] == [f"cat/{i}.png" for i in range(5)]


def test_numbers_have_no_list(iris):
    assert not (iris / "checkpoints" / SEEN).exists()
    assert torch.load(iris / "checkpoints/last.ckpt", weights_only=True)["Iris"]["identity"]
