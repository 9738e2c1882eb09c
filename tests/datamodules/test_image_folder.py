"""Folders of image files: layouts, splits and identity."""

import shutil
from pathlib import Path

import pytest

from datamodules import ImageFolder
from datamodules.image_files import read_image, to_tensor
from tests.datamodules.pictures import loaded, parts, write_classes, write_images

pytestmark = pytest.mark.usefixtures("own_cache")


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


def test_a_moved_folder_is_the_same_data_and_another_file_is_not(photos: Path) -> None:
    data = loaded(photos)
    state = data.state_dict()
    assert "path" not in state["identity"]
    assert state["frame"]["class_names"] == ("cat", "dog")
    assert loaded(photos.rename(photos.with_name("moved"))).identity() == state["identity"]
    write_images(photos.with_name("moved") / "cat", 1, seed=1)
    assert loaded(photos.with_name("moved")).identity() != state["identity"]
