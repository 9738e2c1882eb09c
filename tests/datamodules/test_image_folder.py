"""Folders of image files: layouts, splits, the cache and mistakes."""

import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from PIL import Image

from datamodules import ImageFolder, Split, image_cache
from datamodules.image_files import read_image, to_tensor
from tests.datamodules.pictures import write_classes, write_images
from tests.test_cli import fails


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten images of each of two classes."""
    return write_classes(tmp_path / "photos")


def loaded(path: Path, **options: Any) -> ImageFolder:
    data = ImageFolder(str(path), **({"size": 8, "val_fraction": 0.2} | options))
    data.setup()
    return data


def rows(split: Split | None) -> set[bytes]:
    assert split is not None
    return {image.numpy().tobytes() for image in split.inputs}


def parts(data: ImageFolder) -> list[set[bytes]]:
    assert data.splits is not None
    return [rows(split) for split in data.splits]


def test_shape_and_classes_are_known_before_anything_is_decoded(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamodules.image_folder.decode", None)
    data = ImageFolder(str(photos), size=(8, 12), channels=None)
    assert (data.image_shape, data.num_classes) == ((3, 8, 12), 2)
    assert (data.class_names, data.title) == (("cat", "dog"), "photos")


def test_images_are_decoded_in_order_with_the_label_of_their_folder(photos: Path) -> None:
    data = loaded(photos, val_fraction=0.0, test_fraction=0.1)
    assert data.splits is not None
    known = {}
    for k, name in enumerate(("cat", "dog")):
        for file in (photos / name).iterdir():
            known[to_tensor(read_image(file), (3, 8, 8)).numpy().tobytes()] = k
    for split in (data.splits.train, data.splits.test):
        for image, label in zip(*split, strict=True):
            assert known.pop(image.numpy().tobytes()) == label
    assert not known


def test_splits_are_stratified_seeded_and_apart(photos: Path) -> None:
    data, again, other = loaded(photos), loaded(photos), loaded(photos, split_seed=1)
    assert data.splits is not None
    sizes = [split.targets.bincount().tolist() for split in data.splits if split]
    assert sizes == [[7, 7], [2, 2], [1, 1]]
    train, val, test = parts(data)
    assert len(train | val | test) == 20
    assert parts(again) == [train, val, test]
    assert parts(other) != [train, val, test]


def test_equal_images_on_both_sides_of_a_split_are_counted(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write_classes(tmp_path / name, count=5)
    shutil.copy(tmp_path / "train" / "cat" / "0.png", tmp_path / "test" / "cat" / "copy.png")
    with pytest.warns(UserWarning, match="1 of 11 test images are also training images"):
        loaded(tmp_path, val_fraction=0.0)


@pytest.mark.parametrize("val", ["val", "validation", "valid", None])
def test_given_splits_stay(val: str | None, tmp_path: Path) -> None:
    for name in ("train", "test", *([val] if val else [])):
        write_classes(tmp_path / name, count=5)
    data = loaded(tmp_path)
    assert data.splits is not None
    sizes = [len(split.targets) for split in data.splits if split]
    assert sizes == ([10, 10, 10] if val else [8, 2, 10])
    expected = set.union(*parts(loaded(tmp_path / "test", test_fraction=0.2)))
    assert expected == parts(data)[2]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert ImageFolder(str(write_classes(tmp_path, ("car", "train")))).num_classes == 2


def test_images_without_classes(tmp_path: Path) -> None:
    write_images(tmp_path, 8)
    write_images(tmp_path / "more", 2)
    data = loaded(tmp_path, labels="none")
    assert (data.num_classes, data.class_names) == (None, None)
    assert data.splits is not None
    assert [len(split.targets) for split in data.splits if split] == [7, 2, 1]


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_channels_are_those_of_the_files_if_none_are_given(
    mode: str, channels: int, tmp_path: Path
) -> None:
    data = loaded(write_classes(tmp_path, mode=mode), channels=None)
    assert data.image_shape == (channels, 8, 8)
    assert loaded(tmp_path, channels=4 - channels).image_shape == (4 - channels, 8, 8)


# The cache


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were decoded."""
    found: list[Path] = []

    def record(path: Path) -> Image.Image:
        found.append(path)
        return read_image(path)

    monkeypatch.setattr(image_cache, "read_image", record)
    return found


def entries(photos: Path) -> list[Path]:
    return sorted((photos / ".ladder").iterdir())


def test_the_second_run_decodes_nothing(
    photos: Path, decodings: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = parts(loaded(photos))
    assert len(decodings) == 20
    moved = photos.rename(photos.with_name("moved"))
    assert parts(loaded(moved)) == first
    assert len(decodings) == 20
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("Images")]
    assert said[0].startswith(
        "Images 3 x 8 x 8 of 2 classes (cat, dog): 14 training, 4 validation, 2 test; decoded in "
    )
    assert said[1].endswith(f"; from the cache in {moved}/.ladder.")


def test_other_content_shape_or_fit_is_decoded_again(photos: Path, decodings: list[Path]) -> None:
    loaded(photos)
    loaded(photos, size=9)
    loaded(photos, fit="pad")
    assert len(decodings) == 60
    write_images(photos / "cat", 1, seed=1)
    loaded(photos)
    assert len(decodings) == 80


def test_a_damaged_cache_is_replaced(photos: Path, decodings: list[Path]) -> None:
    first = parts(loaded(photos))
    (entry,) = entries(photos)
    whole = entry.read_bytes()
    middle = len(whole) // 2
    damaged = [b"", b"x", whole[:middle], whole[:middle] + b"\xff\x00" + whole[middle + 2 :]]
    for data in damaged:
        entry.write_bytes(data)
        decodings.clear()
        assert parts(loaded(photos)) == first
        assert len(decodings) == 20
        assert entry.read_bytes() == whole
    assert entries(photos) == [entry]


def test_without_cache_nothing_is_written(photos: Path) -> None:
    loaded(photos, cache=False)
    assert not (photos / ".ladder").exists()


def test_a_folder_that_is_not_writable_is_cached_for_the_user(
    photos: Path, decodings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / ".ladder").write_text("a file, where a folder is needed")
    first = parts(loaded(photos))
    assert parts(loaded(photos)) == first
    assert len(decodings) == 20
    monkeypatch.setenv("XDG_CACHE_HOME", str(photos / ".ladder"))
    with pytest.warns(UserWarning, match="cannot be kept for the next run"):
        loaded(photos)


def test_several_runs_may_write_the_cache_at_once(photos: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: parts(loaded(photos)), range(4)))
    assert all(splits == found[0] for splits in found)
    assert len(entries(photos)) == 1


def test_preparing_decodes_once_and_the_other_processes_find_the_cache(
    photos: Path, decodings: list[Path]
) -> None:
    first, other = (ImageFolder(str(photos), size=8) for _ in "ab")
    first.prepare_data()
    first.setup()
    other.setup()
    assert parts(first) == parts(other)
    assert len(decodings) == 20


# Identity


def test_a_moved_folder_is_the_same_data_and_another_file_is_not(photos: Path) -> None:
    data = loaded(photos)
    state = data.state_dict()
    assert "path" not in state["identity"]
    assert state["frame"]["class_names"] == ("cat", "dog")
    assert loaded(photos.rename(photos.with_name("moved"))).identity() == state["identity"]
    write_images(photos.with_name("moved") / "cat", 1, seed=1)
    assert loaded(photos.with_name("moved")).identity() != state["identity"]


# Mistakes


def broken(photos: Path, count: int) -> None:
    for i in range(count):
        (photos / "dog" / f"{i}.png").write_bytes(b"no image")


def test_unreadable_images_are_named_or_left_out(photos: Path) -> None:
    broken(photos, 5)
    message = r"5 image\(s\) cannot be read: .*dog/0.png \(not an image .*dog/2.png .*\) and 2 more"
    for _ in range(2):  # the second time from the cache
        with pytest.raises(
            MisconfigurationException, match=message + ".*--data.skip_unreadable true"
        ):
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
    "size": (None, {"size": 0}, "data.size is 0: set it to 1"),
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
    with pytest.raises(MisconfigurationException, match=message) as caught:
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
