"""Folders of image files and files of arrays: layouts, splits, the cache, and mistakes."""

import os
import re
import shutil
import warnings
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn
from PIL import Image

from datamodules import ImageArrays, ImageFolder, image_files
from datamodules.image_files import read_image, to_tensor
from datamodules.input_spec import match_spec
from runtime.errors import UserError
from tests.datamodules.pictures import loaded, parts, write_classes, write_images


def sizes(data: Any) -> list[int]:
    return [len(split.targets) for split in data.splits if split]


def said(caught: list[warnings.WarningMessage], message: str) -> bool:
    """Returns whether one warning was given, and begins so; none is False, others are errors."""
    assert all(str(warning.message).startswith(message) for warning in caught)
    assert len(caught) < 2
    return bool(caught)


def into(folder: str, photos: Path) -> Path:
    """Moves all images into a folder below theirs, such as `train`."""
    inner = photos.rename(photos.with_name("inner"))
    photos.mkdir()
    inner.rename(photos / folder)
    return photos


def test_splits_are_stratified_seeded_and_apart(photos):
    data, again, other = loaded(photos), loaded(photos), loaded(photos, split_seed=1)
    counts = [split.targets.bincount().tolist() for split in data.splits]
    assert counts == [[7, 7], [2, 2], [1, 1]]
    assert len(set.union(*parts(data))) == 20
    assert parts(again) == parts(data)
    assert parts(other) != parts(data)


@pytest.mark.parametrize(
    ("train", "test", "val"),
    [("train", "test", "validation"), ("train", "test", None), ("Training", "Testing", "VAL")],
)
def test_given_splits_stay(train, test, val, tmp_path):
    for name in (train, test, *([val] if val else [])):
        write_classes(tmp_path / name, count=5)
    data = loaded(tmp_path)
    assert sizes(data) == ([10, 10, 10] if val else [8, 2, 10])
    expected = set.union(*parts(loaded(tmp_path / test, test_fraction=0.2)))
    assert expected == parts(data)[2]


def test_examples_are_in_the_order_of_their_files(photos):
    into("train", photos)
    write_classes(photos / "test", count=3)
    data = loaded(photos, val_fraction=0)
    assert (data.image_shape, data.num_classes) == ((3, 8, 8), 2)
    assert (data.class_names, data.title) == (("cat", "dog"), "photos")
    for name, split in (("train", data.splits.train), ("test", data.splits.test)):
        files = sorted((photos / name).rglob("*.png"))
        expected = torch.stack([to_tensor(read_image(file), (3, 8, 8)) for file in files])
        assert torch.equal(split.inputs[:], expected)
        assert split.targets.tolist() == [int(file.parent.name == "dog") for file in files]


@pytest.mark.parametrize("given", [False, True])
def test_the_first_validation_images_are_of_all_classes_in_any_order_of_files(given, tmp_path):
    """So `limit_val_batches` does not validate the first class alone."""
    write_classes(tmp_path / "it/train", count=40)
    if given:
        write_classes(tmp_path / "it/val", count=40)
    data = loaded(tmp_path / "it", val_fraction=0.5, batch_size=10)
    images, labels = next(iter(data.val_dataloader()))
    assert 0 < labels.sum() < len(labels) == 10
    for folder in tmp_path.glob("it/*"):
        (folder / "cat").rename(folder / "horse")
    other = next(iter(loaded(tmp_path / "it", val_fraction=0.5, batch_size=10).val_dataloader()))
    assert torch.equal(images, other[0])
    assert torch.equal(labels, 1 - other[1])


def test_a_class_may_be_called_train(tmp_path):
    assert ImageFolder(str(write_classes(tmp_path, ("car", "train")))).num_classes == 2


def test_images_without_classes(tmp_path):
    write_images(tmp_path, 8)
    write_images(tmp_path / "more", 2)
    data = loaded(tmp_path, labels="none")
    assert (data.num_classes, data.class_names) == (None, None)
    assert sizes(data) == [7, 2, 1]


def test_a_moved_folder_is_the_same_data_and_another_file_is_not(photos):
    identity = loaded(photos).identity()
    moved = photos.rename(photos.with_name("moved"))
    assert loaded(moved).identity() == identity
    write_images(moved / "cat", 1, seed=1)
    assert loaded(moved).identity() != identity


def test_a_path_object_is_kept_as_text(photos):
    """A checkpoint with another object than plain values cannot be loaded."""
    data = ImageFolder(photos)
    assert data.hparams["path"] == str(photos)


def wide(folder: Path, width: int, count: int) -> None:
    folder.mkdir(exist_ok=True)
    for i in range(count):
        random = np.random.default_rng([width, i, *folder.name.encode()])
        pixels = random.integers(0, 256, (20, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"wide{i}.png")


def test_a_crop_that_loses_a_third_of_images_is_said_with_their_share(tmp_path):
    for name, width, count in (("cat", 29, 10), ("dog", 29, 10), ("cat", 30, 5)):  # 29 loses 31 %
        wide(tmp_path / name, width, count)
    message = r"a third or more of 5 of 20 images \(25%\), such as .*cat/wide0.png"
    for _ in range(2):  # the second time from the cache
        with pytest.warns(UserWarning, match=message):
            loaded(tmp_path)
    with warnings.catch_warnings(action="error"):
        loaded(tmp_path, fit="pad")
        loaded(tmp_path, size=(8, 12))
    for size in ((12, 5), (6, 18)):  # all are too wide, or too high
        with pytest.warns(UserWarning, match=r"a third or more of 20 of 20 images \(100%\)"):
            loaded(tmp_path, size=size)


def test_white_edges_of_pad_are_no_background(tmp_path):
    for name in ("cat", "dog"):
        wide(tmp_path / name, 40, count=10)
    data = loaded(tmp_path, channels=1, fit="pad")
    for image in map(read_image, data.source.files.values()):
        pixels, note = match_spec(image, data.input_spec())
        assert torch.equal(pixels, to_tensor(image, (1, 8, 8), "pad"))
        assert note == ""


@pytest.mark.parametrize(("highest", "is_said"), [(255, True), (4095, True), (65535, False)])
def test_images_that_use_few_of_16_bits_are_said(highest, is_said, tmp_path):
    random = np.random.default_rng(0)
    for path in (tmp_path / name / f"{i}.tiff" for name in ("cat", "dog") for i in range(10)):
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, highest + 1, (8, 8), np.uint16)).save(path)
    with warnings.catch_warnings(record=True) as caught, suppress(UserError):
        loaded(tmp_path, channels=1)  # Black images are equal, so they cannot be cut.
    assert said(caught, f"100% of the training images in {tmp_path} are nearly black") == is_said


def test_a_run_does_not_go_on_with_fewer_images(photos):
    state = loaded(photos).state_dict()
    (photos / "cat" / "3.png").unlink()
    data = loaded(photos)
    data.trainer = SimpleNamespace(state=SimpleNamespace(fn=TrainerFn.FITTING))
    with pytest.raises(UserError, match=r"photos has not the examples .*content differs.*put back"):
        data.load_state_dict(state)


def test_a_class_name_commands_no_terminal(tmp_path, caplog):
    (write_classes(tmp_path, ("cat\n\x1b[2J", "dog")) / "\x1b[2J.txt").touch()
    caplog.set_level("INFO", "lightning.pytorch.utilities.rank_zero")
    data = loaded(tmp_path)
    assert data.class_names == (r"cat\n\x1b[2J", "dog")
    assert len(parts(data)[0]) == 14
    assert r"such as \x1b[2J.txt" in caplog.text


def test_unreadable_images_are_named_or_left_out(photos):
    for i in range(5):
        (photos / "dog" / f"{i}.png").write_bytes(b"no image")
    message = (
        r"5 image.s. of .*photos cannot be read: dog/0.png .not an im.*dog/2.png .*. and 2 more"
    )
    with pytest.raises(UserError, match=message + ".*--data.skip_unreadable true"):
        loaded(photos)
    with pytest.warns(UserWarning, match=message):
        data = loaded(photos, skip_unreadable=True)
    assert sum(map(len, parts(data))) == 15


def test_a_file_of_too_many_pixels_is_named_with_its_size_or_left_out(photos):
    Image.new("P", (60, 50)).save(photos / "dog/0.png")
    message = r"1 image.s. .* dog/0.png \(60 x 50 pixels, max_pixels is 2,999: shrink it\)"
    with pytest.raises(UserError, match=message):
        loaded(photos, max_pixels=2999)
    with pytest.warns(UserWarning, match=message):
        data = loaded(photos, max_pixels=2999, skip_unreadable=True)
    assert sum(map(len, parts(data))) == 19
    assert sum(map(len, parts(loaded(photos, max_pixels=3000)))) == 20


def double(folder: Path, times: int = 1) -> None:
    """Copies each image in a folder, under other names."""
    for file in sorted(folder.rglob("*.png")):
        for k in range(times):
            shutil.copy(file, file.with_stem(f"{file.stem}_{k}"))


@pytest.mark.parametrize("copies", [1, 3])
def test_equal_images_stay_in_one_split(copies, photos):
    before = parts(loaded(photos))
    double(photos, copies)
    n = copies + 1
    message = f"^{20 * copies} images in {photos} equal another one, but no val"
    with pytest.warns(UserWarning, match=message):
        data = loaded(photos)
    assert parts(data) == before  # each image once in these sets
    counts = [split.targets.bincount().tolist() for split in data.splits if split]
    assert counts == [[7 * n, 7 * n], [2 * n, 2 * n], [n, n]]
    assert parts(loaded(photos, split_seed=1)) != before


def test_equal_images_of_two_classes_stay_in_one_split(photos):
    for i in range(4):
        shutil.copy(photos / f"cat/{i}.png", photos / f"dog/cat{i}.png")
    for seed in range(5):
        found = parts(loaded(photos, split_seed=seed, test_fraction=0.3))
        assert sum(map(len, found)) == len(set.union(*found)) == 20


def test_images_of_given_splits_that_also_occur_in_training_are_said(photos):
    into("train", photos)
    for name in ("train", "val", "test"):
        write_classes(photos / name, count=6)
    for i in range(3):
        shutil.copy(photos / f"train/cat/{i}.png", photos / f"test/cat/{i}.png")
    shutil.copy(photos / "train/dog/0.png", photos / "val/cat/0.png")
    message = (
        "4 images in .* equal another one, and 4 of the 24 .* equal a training image, so .* Remove "
        r"these\. val/cat/0.png = train/dog/0.png, test/cat/0.png = .*, .* and 1 more\.$"
    )
    with pytest.warns(UserWarning, match=message):
        data = loaded(photos)
    assert sizes(data) == [20, 12, 12]
    pairs = [f"test/cat/{i}.png = train/cat/{i}.png" for i in range(3)]
    assert data.lists == {"Equal images": ["val/cat/0.png = train/dog/0.png", *pairs]}


def test_equal_arrays_are_named_by_their_rows(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
    images[7] = images[3]
    np.savez(tmp_path / "a.npz", images=images)
    data = ImageArrays(str(tmp_path / "a.npz"))
    with pytest.warns(UserWarning, match=r"1 images .* train\[7\] = train\[3\]"):
        data.setup()


@pytest.mark.parametrize("place", [".", "train"])
def test_a_folder_that_datasets_saved_is_said_with_the_pattern_of_its_files(place, tmp_path):
    folder = tmp_path / "it" / place
    folder.mkdir(parents=True)
    for name in ("data-00000-of-00001.arrow", "state.json", "dataset_info.json"):
        (folder / name).touch()
    pattern = f"{folder.resolve()}/data-*.arrow"
    with pytest.raises(UserError, match="that `datasets` saved: set .*" + re.escape(pattern)):
        ImageFolder(str(tmp_path / "it"))


def test_images_that_an_earlier_version_cut_are_other_data(photos):
    """A model of before may have learned images that are test images now."""
    data = loaded(photos)
    state = data.state_dict()
    plain = ImageFolder(str(photos), size=8)
    plain.load_parts()
    assert state["identity"]["content"] != plain.content
    state["identity"] |= {"content": plain.content}
    with pytest.raises(UserError, match="has not the examples .*content differs"):
        data.check_same(state)
    data.check_same(state, {"path"})
    with pytest.raises(UserError, match="has not the examples"):
        data.check_same(state, {"batch_size"})


def test_files_that_are_left_out_are_said(photos, caplog):
    with caplog.at_level("INFO"):
        loaded(photos)
        assert "left out" not in caplog.text
        for name in ("cat/phone.heic", "loose.png", ".hidden"):
            (photos / name).write_bytes(b"")
        loaded(photos)
    assert "Files left out: 2, such as cat/phone.heic, loose.png. Images end in .jpg" in caplog.text


def damage(folder: Path) -> None:
    for file in folder.rglob("*.png"):
        file.write_bytes(b"no image")


@pytest.mark.filterwarnings("ignore:.*cannot be read")
def test_classes_without_training_images_are_said(photos, tmp_path):
    write_images(photos / "eel")
    damage(photos / "dog")
    with pytest.warns(UserWarning, match="1 of the 3 classes of .*photos have no training .*: dog"):
        loaded(photos, skip_unreadable=True)
    path = archive(tmp_path, images=GRAY, labels=np.where(LABELS % 2, 0, 255))
    with pytest.warns(UserWarning, match=r"254 of the 256 .*: 1, 2, 3 and 251 more.*0, 1, 2"):
        read(path)


def damaged_test(photos: Path) -> None:
    damage(write_classes(into("train", photos) / "test"))


def other_classes(photos: Path) -> None:
    write_classes(into("train", photos) / "test", ("cat", "dgo"))


def twice_validation(photos: Path) -> None:
    into("train", photos)
    for name in ("val", "valid"):
        shutil.copytree(photos / "train", photos / name)


def beside_train(photos: Path) -> None:
    write_images(into("Train", photos) / "new")


def beside_splits(photos: Path, given: str) -> None:
    for name in ("train", given):
        write_images(photos / name, 3)


FOLDER_MISTAKES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "empty class": (lambda photos: (photos / "eel").mkdir(), {}, "eel has no images: remove it"),
    "rare class": (
        lambda photos: write_images(photos / "eel", 1), {},
        "test_fraction 0.1 of 21 .*: .*give class 'eel', which has 1, more",
    ),
    "flat": (
        lambda photos: photos.rename(photos.with_name("x")) and write_images(photos, 3), {},
        "photos has no folders of classes: .*--data.labels none",
    ),
    "missing": (
        lambda photos: photos.rename(photos.with_name("photo")), {}, "no folder .*photos: ",
    ),
    "classes": (other_classes, {}, "test and .*train have different classes, such as 'dgo'"),
    "two val": (twice_validation, {}, "has two folders for one split, val and valid: "),
    "too deep": (
        partial(into, "archive"), {},
        "photos/archive has no images but folders of images: .*path .*one sub-fold",
    ),
    "beside train": (
        beside_train, {}, "photos/Train has no images but folders of images: .*or train/ and",
    ),
    "beside train and test": (
        partial(beside_splits, given="test"), {"labels": "none"},
        "photos has the splits test and train, and cat, which is none: move it",
    ),
    "beside train and val": (
        partial(beside_splits, given="val"), {"labels": "none"},
        "photos has the splits train and val, and cat, which is none: move it",
    ),
    "damaged test": (
        damaged_test, {"skip_unreadable": True},
        "photos has no test images that can be read: .*or remove these, ",
    ),
    "no test": (None, {"test_fraction": 0.0}, "set --data.test_fraction to 0.1, or add test"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*cannot be read")  # where these are skipped
@pytest.mark.parametrize("mistake", FOLDER_MISTAKES)
def test_mistakes_in_a_folder_are_named_with_a_remedy(mistake, photos):
    change, options, message = FOLDER_MISTAKES[mistake]
    if change:
        change(photos)
    with pytest.raises(UserError, match=message) as caught:
        loaded(photos, **options)
    assert "\n" not in str(caught.value)


COLOR = np.random.default_rng(0).integers(0, 256, (40, 4, 6, 3), np.uint8)
GRAY, LABELS = COLOR[..., 0], np.arange(40) % 4


def archive(folder: Path, **arrays: Any) -> str:
    path = folder / "mine.npz"
    np.savez(path, **arrays)
    return str(path)


def read(path: str, **options: Any) -> ImageArrays:
    data = ImageArrays(path, **options)
    data.setup()
    return data


def test_color_images_have_their_channels_first_and_their_content_as_identity(tmp_path):
    data = read(archive(tmp_path, images=COLOR, labels=LABELS))
    assert (data.image_shape, data.num_classes, data.class_names) == ((3, 4, 6), 4, None)
    assert [len(split.targets) for split in data.splits if split] == [32, 4, 4]
    known = {image.tobytes(): k for image, k in zip(COLOR, LABELS, strict=True)}
    for split in data.splits:
        for image, k in zip(split.inputs, split.targets.tolist(), strict=True):
            assert known.pop(image.permute(1, 2, 0).contiguous().numpy().tobytes()) == k
    moved = (tmp_path / "mine.npz").rename(tmp_path / "moved.npz")
    assert read(str(moved)).identity() == data.identity()
    other = read(archive(tmp_path, images=255 - COLOR, labels=LABELS))
    assert other.identity() != data.identity()
    relabeled = read(archive(tmp_path, images=COLOR, labels=LABELS[::-1]))
    assert relabeled.identity() != data.identity()


def test_given_arrays_stay_and_labels_may_be_a_column(tmp_path):
    """As in the files of MedMNIST."""
    arrays = {f"{name}_images": np.roll(GRAY, i, 2) for i, name in enumerate(("train", "test"))}
    labels = {"train_labels": LABELS[:, None], "test_labels": LABELS.astype(np.uint8)}
    data = read(archive(tmp_path, **arrays, **labels), val_fraction=0)
    assert (data.image_shape, data.num_classes) == ((1, 4, 6), 4)
    assert data.splits.val is None
    assert torch.equal(data.splits.test.inputs[:, 0], torch.from_numpy(arrays["test_images"]))
    for split in (data.splits.train, data.splits.test):
        assert split.targets.tolist() == LABELS.tolist()


def test_images_without_labels_have_no_classes_and_numbers_of_classes_stay(tmp_path):
    data = read(archive(tmp_path, images=GRAY))
    assert (data.num_classes, data.input_shape) == (None, (1, 4, 6))
    assert sum(map(len, parts(data))) == 40
    # as `sample --classes 1 3` writes them
    with pytest.warns(UserWarning, match="2 of the 4 classes .*: 0, 2"):
        data = read(archive(tmp_path, images=GRAY[1::2], labels=LABELS[1::2], scores=np.ones(20)))
    assert data.num_classes == 4
    assert data.splits.train.targets.unique().tolist() == [1, 3]


ARRAY_MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no images": ({"x": GRAY, "y": LABELS}, "has no array 'images' but x, y: name the array"),
    "no labels": (
        {"train_images": GRAY, "train_labels": LABELS, "val_images": GRAY},
        "has no array 'val_labels' but train_images, ",
    ),
    "no training images": (
        {"test_images": GRAY, "test_labels": LABELS},
        "has no array 'train_images' but test_images, test_labels: name",
    ),
    "empty": ({"images": GRAY[:0], "labels": LABELS[:0]}, r"shape \(0, 4, 6, 1\): images are"),
    "empty test": ({"train_images": GRAY, "test_images": GRAY[:0]}, r"test_images is .* \(0, 4, "),
    "objects": ({"images": np.array([{}, {}], dtype=object)}, "cannot be read as arrays"),
    "floats": (
        {"images": GRAY / 255},
        r"images is float64 of shape \(40, 4, 6, 1\): images are",
    ),
    "channels first": ({"images": np.moveaxis(COLOR, 3, 1)}, "with 1 or 3 channels"),
    "one image": ({"images": GRAY[0]}, r"of shape \(4, 6\): images are uint8, N x H x W"),
    "lengths": ({"images": GRAY, "labels": LABELS[1:]}, r"shape \(39,\): give .* 40 images"),
    "floating": ({"images": GRAY, "labels": LABELS / 2}, "labels is float64 of .*: give each"),
    "negative": ({"images": GRAY, "labels": LABELS - 1}, "one integer from 0 to 65,535"),
    "above int64": (
        {"images": GRAY, "labels": LABELS.astype(np.uint64) + 2**63},
        r"labels is uint64 of shape \(40,\): give each",
    ),
    "2^40 classes": ({"images": GRAY, "labels": LABELS * 2**38}, "one integer from 0 to 65,535"),
    "shapes": ({"train_images": GRAY, "test_images": COLOR}, r"examples of \(3, 4, 6\) and"),
}


@pytest.mark.parametrize("mistake", ARRAY_MISTAKES)
def test_mistakes_in_arrays_are_named_with_a_remedy(mistake, tmp_path):
    arrays, message = ARRAY_MISTAKES[mistake]
    path = archive(tmp_path, **arrays)
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert path in str(caught.value) or mistake == "shapes"


def test_files_that_are_no_arrays_are_refused(tmp_path):
    cut = Path(archive(tmp_path, images=GRAY))
    cut.write_bytes(cut.read_bytes()[:500])
    np.save(tmp_path / "x.npy", GRAY)
    os.mkfifo(tmp_path / "fifo.npz")
    names = ("x.npy", "", "missing.npz", "fifo.npz")
    for path in (cut, *(tmp_path / name for name in names)):
        with pytest.raises(UserError, match=f"{path} cannot be read as arrays"):
            ImageArrays(str(path))


def record(path: Path, shape: tuple[int, ...], content: bytes, descr: Any = "|u1") -> Path:
    """Writes an archive of one array whose header may claim anything."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        with file.open("images.npy", "w") as member:
            np.lib.format.write_array_header_1_0(member, header)
            member.write(content)
    return path


NPY = b"\x93NUMPY\x01\x00"
HEADERS = [b"(" * 5000, b"[" * 90, b"'", b"  x\n y\n", b"\0\n", b"-" * 9000 + b"1"]


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_cannot_be_evaluated_is_one_line(header, tmp_path):
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", NPY + len(header).to_bytes(2, "little") + header)
    with pytest.raises(UserError, match="mine.npz cannot be read as arrays") as caught:
        ImageArrays(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["version", "flags"])
def test_a_member_of_another_version_or_encrypted_is_one_line(field, tmp_path):
    path = Path(archive(tmp_path, images=GRAY))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + {"version": 6, "flags": 8}[field]] |= 65
    path.write_bytes(content)
    with pytest.raises(UserError, match="mine.npz cannot be read as arrays"):
        ImageArrays(str(path))


def test_a_header_must_fit_its_array_before_memory_is_taken(tmp_path, monkeypatch):
    path = tmp_path / "mine.npz"
    monkeypatch.setattr(np, "ndarray", None)  # with which NumPy allocates
    for shape, descr in (((2**50, 4, 6), "|u1"), ((2**31, 1, 1), "|u1"), ((3, 4, 6), "<U9")):
        assert record(path, shape, b"0" * 24, descr).stat().st_size < 400
        with pytest.raises(UserError, match=r"mine.npz .* as arrays \(an array .* in 1?\d\d bytes"):
            ImageArrays(str(path))


def test_a_small_file_of_huge_arrays_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "mine.npz"
    monkeypatch.setattr(image_files, "MAX_UNPACKED", 10**5)
    np.savez_compressed(path, images=np.zeros((10**5, 2, 3), np.uint8))
    message = r"\(600,\d\d\d bytes of arrays in a file of \d\d\d bytes\).*np.savez"
    with pytest.raises(UserError, match="mine.npz cannot be read as arrays " + message):
        ImageArrays(str(path))
    np.savez(path, images=np.zeros((10**5, 2, 3), np.uint8))
    assert len(ImageArrays(str(path)).parts["train"].targets) == 10**5
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as file:  # packs zeros 10,000 times
        file.writestr("images.npy", bytes(2 * 10**6))
    monkeypatch.undo()
    with pytest.raises(UserError, match="bytes of arrays in a file of"):
        ImageArrays(str(path))
