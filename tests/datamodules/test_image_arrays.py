"""Images in numpy files: shapes, splits and mistakes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules import ImageArrays
from runtime.errors import UserError
from tests.test_cli import fails

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (40, 4, 6, 3), np.uint8)
GREY, LABELS = COLOUR[..., 0], np.arange(40) % 4


def archive(folder: Path, **arrays: Any) -> str:
    path = folder / "mine.npz"
    np.savez(path, **arrays)
    return str(path)


def loaded(path: str, **options: Any) -> ImageArrays:
    data = ImageArrays(path, **options)
    data.setup()
    return data


def test_colour_images_have_their_channels_first(tmp_path: Path) -> None:
    data = ImageArrays(archive(tmp_path, images=COLOUR, labels=LABELS))
    assert (data.image_shape, data.num_classes, data.class_names) == ((3, 4, 6), 4, None)
    data.setup()
    assert data.splits is not None
    assert [len(split.targets) for split in data.splits if split] == [32, 4, 4]
    found = torch.cat([split.inputs for split in data.splits if split])
    targets = torch.cat([split.targets for split in data.splits if split])
    assert (found.dtype, targets.dtype) == (torch.uint8, torch.int64)
    known = {image.tobytes(): k for image, k in zip(COLOUR, LABELS, strict=True)}
    for image, k in zip(found, targets.tolist(), strict=True):
        assert known.pop(image.permute(1, 2, 0).contiguous().numpy().tobytes()) == k


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(np.uint8), LABELS[:, None]])
def test_grey_images_and_labels_of_several_forms(labels: np.ndarray, tmp_path: Path) -> None:
    data = loaded(archive(tmp_path, images=GREY, labels=labels), class_names=list("abcd"))
    assert (data.image_shape, data.class_names) == ((1, 4, 6), ("a", "b", "c", "d"))


@pytest.mark.filterwarnings("ignore:40 of 40 test images")
def test_given_splits_stay(tmp_path: Path) -> None:
    arrays = {f"{name}_images": GREY for name in ("train", "val", "test")}
    labels = {f"{name}_labels": LABELS for name in ("train", "val", "test")}
    with pytest.warns(UserWarning, match="40 of 40 validation images are also training images"):
        data = loaded(archive(tmp_path, **arrays, **labels))
    assert data.splits is not None
    assert all(split and torch.equal(split.targets, torch.tensor(LABELS)) for split in data.splits)


def test_a_plain_array_takes_its_labels_from_another_file(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", GREY)
    np.save(tmp_path / "y.npy", LABELS)
    data = loaded(f"{tmp_path}/x.npy", labels=f"{tmp_path}/y.npy")
    assert data.num_classes == 4
    assert loaded(f"{tmp_path}/x.npy", labels="none").num_classes is None
    with pytest.raises(UserError, match="no file .*z.npy: set --data.labels to"):
        loaded(f"{tmp_path}/x.npy", labels=f"{tmp_path}/z.npy")


def test_floats_in_0_to_1_become_pixels(tmp_path: Path) -> None:
    images = (GREY / 255).astype(np.float32)
    first = loaded(archive(tmp_path, images=images), labels="none")
    second = loaded(archive(tmp_path, images=GREY), labels="none")
    assert first.splits is not None
    assert second.splits is not None
    assert torch.equal(first.splits.train.inputs, second.splits.train.inputs)


def test_samples_of_some_classes_keep_their_numbers(tmp_path: Path) -> None:
    """As `sample --classes 1 3` writes them."""
    scores = {"scores": np.ones(20), "seed": np.array(0)}
    path = archive(tmp_path, images=GREY[1::2], labels=LABELS[1::2], **scores)
    data = loaded(path, class_names=list("abcd"))
    assert data.num_classes == 4
    assert data.splits is not None
    assert data.splits.train.targets.unique().tolist() == [1, 3]


def test_the_identity_is_the_content_wherever_the_file_is(tmp_path: Path) -> None:
    first = loaded(archive(tmp_path, images=GREY, labels=LABELS)).identity()
    moved = (tmp_path / "mine.npz").rename(tmp_path / "moved.npz")
    assert loaded(str(moved)).identity() == first
    other = loaded(archive(tmp_path, images=255 - GREY, labels=LABELS))
    assert other.identity()["content"] != first["content"]


FLOATS = GREY.astype(np.float32)
OBJECTS = np.array([{}, {}], dtype=object)
MISTAKES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no images": ({"x": GREY, "y": LABELS}, {}, "has no 'images' but x, y: name the array"),
    "no labels": ({"images": GREY}, {}, "has no 'labels' but images: .*--data.labels to .*none"),
    "split": ({"train_images": GREY}, {}, "has no 'train_labels' but train_images"),
    "objects": ({"images": OBJECTS}, {}, "it holds Python objects"),
    "text": ({"images": GREY.astype(str)}, {"labels": "none"}, "values of <U.*: use uint8"),
    "floats": ({"images": FLOATS}, {"labels": "none"}, r"from 0 to 255: floating-.* in 0\.\.1"),
    "nan": ({"images": FLOATS * np.nan}, {"labels": "none"}, r"from nan to nan.*0\.\.1"),
    "large": ({"images": GREY.astype(int) + 1}, {"labels": "none"}, r"1 to 256: integer .*255"),
    "channels first": (
        {"images": np.moveaxis(COLOUR, 3, 1)},
        {"labels": "none"},
        r"shape \(40, 3, 4, 6\): .*images.transpose\(0, 2, 3, 1\)",
    ),
    "flat": ({"images": GREY[0]}, {"labels": "none"}, r"shape \(4, 6\): images are N x H x W"),
    "lengths": ({"images": GREY, "labels": LABELS[1:]}, {}, "39 labels for 40 images"),
    "matrix": ({"images": GREY, "labels": np.eye(40)}, {}, r"shape \(40, 40\) of float64: labels"),
    "gap": ({"images": GREY, "labels": LABELS * 2}, {}, "has the labels 0, 2, 4, 6: number the"),
    "from 1": ({"images": GREY, "labels": LABELS + 1}, {}, "labels 1, 2, 3, 4: number the classes"),
    "negative": ({"images": GREY, "labels": LABELS - 1}, {}, "labels -1, 0, 1, 2: number"),
    "names": ({"images": GREY, "labels": LABELS}, {"class_names": ["a"]}, "class_names .*not 1"),
    "shapes": (
        {
            **{"train_images": GREY, "train_labels": LABELS},
            **{"test_images": COLOUR, "test_labels": LABELS},
        },
        {},
        r"shapes \(1, 4, 6\), \(3, 4, 6\)",
    ),
    "rare": (
        {"images": GREY, "labels": np.r_[LABELS[:-1], 4]},
        {},
        "test_fraction 0.1 .*: give class 4, which has 1, more examples",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_with_a_remedy(mistake: str, tmp_path: Path) -> None:
    arrays, options, message = MISTAKES[mistake]
    path = archive(tmp_path, **arrays)
    with pytest.raises(UserError, match=message) as caught:
        loaded(path, **options)
    assert "\n" not in str(caught.value)
    assert mistake == "rare" or path in str(caught.value)


def test_files_that_are_no_arrays_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, cut = tmp_path / "a.npz", tmp_path / "b.npz"
    text.write_text("hello")
    cut.write_bytes(Path(archive(tmp_path, images=GREY)).read_bytes()[:500])
    for path, problem in {
        text: "not such a file",
        cut: "cannot be read as numpy arrays",
        tmp_path: "cannot be read",
        tmp_path / "c.npz": "there is no file",
    }.items():
        flags = ["--model=ImageClassifier", "--data=ImageArrays", f"--data.path={path}"]
        line = fails(capsys, "fit", *flags, "--trainer.fast_dev_run=1")
        assert problem in line
        assert str(path) in line
