"""Mistakes in a folder of image files: each is one line that names it and the remedy."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

from datamodules import ImageFolder
from runtime.errors import UserError
from tests.datamodules.pictures import loaded, parts, write_classes, write_images
from tests.test_cli import fails

pytestmark = pytest.mark.usefixtures("own_cache")


def broken(photos: Path, count: int) -> None:
    for i in range(count):
        (photos / "dog" / f"{i}.png").write_bytes(b"no image")


def test_unreadable_images_are_named_or_left_out(photos: Path) -> None:
    broken(photos, 5)
    message = r"5 image\(s\) cannot be read: .*dog/0.png \(not an image .*dog/2.png .*\) and 2 more"
    for _ in range(2):  # the second time from the cache
        with pytest.raises(UserError, match=message + ".*--data.skip_unreadable true"):
            loaded(photos)
    with pytest.warns(UserWarning, match=message):
        data = loaded(photos, skip_unreadable=True)
    assert sum(map(len, parts(data))) == 15


def empty_class(photos: Path) -> None:
    (photos / "eel").mkdir()


def one_image(photos: Path) -> None:
    write_images(photos / "eel", 1)


def only_hidden(photos: Path) -> None:
    shutil.rmtree(photos)
    (photos / ".ladder").mkdir(parents=True)


def flat(photos: Path) -> None:
    write_images(photos, 3)


def a_file(photos: Path) -> None:
    shutil.rmtree(photos)
    photos.touch()


def missing(photos: Path) -> None:
    photos.rename(photos.with_name("photo"))


def nested(photos: Path) -> None:
    photos.rename(photos.with_name("inner"))
    photos.mkdir()
    photos.with_name("inner").rename(photos / "inner")


def other_classes(photos: Path) -> None:
    nested(photos)
    (photos / "inner").rename(photos / "train")
    write_classes(photos / "test", ("cat", "dgo"))


def two_validations(photos: Path) -> None:
    nested(photos)
    (photos / "inner").rename(photos / "train")
    write_classes(photos / "val")
    write_classes(photos / "valid")


def splits_and_classes(photos: Path) -> None:
    write_images(photos / "train")
    write_images(photos / "test")


def grey_one(photos: Path) -> None:
    write_images(photos / "dog", 1, mode="L")


MISTAKES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "empty class": (empty_class, {}, "eel has no images: remove it"),
    "rare class": (
        one_image,
        {},
        "test_fraction 0.1 of 21 .*: give class 'eel', which has 1, more",
    ),
    "empty": (only_hidden, {}, "photos is empty: it needs one sub-folder for each class"),
    "flat": (flat, {}, "images outside of class folders, such as 0.png.*--data.labels none"),
    "file": (a_file, {}, "is a file, not a folder: set --data.path"),
    "missing": (missing, {}, "there is no folder .*photos: .*Did you mean .*/photo"),
    "nested": (nested, {}, "single sub-folder, inner, .*set --data.path .*photos/inner"),
    "classes": (other_classes, {}, "test has the class 'dgo' and .*train has not|'dog'"),
    "twice": (two_validations, {}, "val and .*valid are both for validation"),
    "mixed": (splits_and_classes, {}, "has test/, train/ and also cat/"),
    "modes": (grey_one, {"channels": None}, "mixed modes: .*dog/0.png is grey and .*cat/0.png"),
    "channels": (None, {"channels": 2}, "set --data.channels to one of 1, 3, None"),
    "fit": (None, {"fit": "squash"}, "set --data.fit to one of crop, pad, stretch"),
    "labels": (None, {"labels": "names"}, "set --data.labels to one of folders, none"),
    "no test": (None, {"test_fraction": 0.0}, "set --data.test_fraction to 0.1, or add test"),
    "fraction": (
        None,
        {"val_fraction": 0.99},
        "val_fraction 0.99 of 18.*--data.val_fraction to 0 or from 0.12 to 0.5",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_with_a_remedy(mistake: str, photos: Path) -> None:
    change, options, message = MISTAKES[mistake]
    if change:
        change(photos)
    with pytest.raises(UserError, match=message) as caught:
        loaded(photos, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [missing, empty_class, lambda photos: broken(photos, 1)])
def test_the_command_line_prints_one_line(
    change: Any, photos: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    change(photos)
    flags = ["--model=ImageClassifier", "--data=ImageFolder", f"--data.path={photos}"]
    root = f"--trainer.default_root_dir={tmp_path}"
    line = fails(capsys, "fit", *flags, root, "--trainer.fast_dev_run=1")
    assert str(photos) in line


def test_other_files_are_counted_in_a_warning(photos: Path) -> None:
    for name in ("notes.txt", "a.gif", "b.gif", ".DS_Store"):
        (photos / "cat" / name).touch()
    with pytest.warns(UserWarning, match=r"3 file\(s\) that are no images .*\(2 .gif, 1 .txt\)"):
        ImageFolder(str(photos))


def test_good_folders_cause_no_warning(photos: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded(photos)
