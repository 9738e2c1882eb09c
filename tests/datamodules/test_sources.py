"""IDX files, whole and broken, the search for them, downloads, and the embedded digits."""

import gzip
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from datamodules import download, sources
from datamodules.sources import DATASETS, find_files, load_idx_dataset, read_idx
from runtime.errors import UserError
from tests.datamodules.conftest import idx_bytes, write_idx

IMAGES = np.arange(2 * 28 * 28, dtype=np.int32).astype(np.uint8).reshape(2, 28, 28)


@pytest.mark.parametrize("name", ["a-idx3-ubyte", "a-idx3-ubyte.gz"])
@pytest.mark.filterwarnings("error")  # torch warns of memory that is not writable
def test_idx_is_read_raw_and_compressed(tmp_path: Path, name: str) -> None:
    tensor = read_idx(write_idx(tmp_path / name, IMAGES), dims=3)
    assert tensor.dtype == torch.uint8
    assert tensor.numpy().tolist() == IMAGES.tolist()
    tensor[0, 0, 0] = 9  # The tensor owns its memory.


def test_idx_integers_are_big_endian(tmp_path: Path) -> None:
    path = write_idx(tmp_path / "labels", np.array([[1, 70000], [-2, 3]], np.int32))
    assert path.read_bytes()[12:16] == b"\0\0\0\1"
    assert read_idx(path, dims=2).tolist() == [[1, 70000], [-2, 3]]


WHOLE = idx_bytes(IMAGES)
BROKEN = {
    "truncated": ("a", WHOLE[:-5], "has 1579 bytes where its header promises 1584"),
    "longer": ("a", WHOLE + b"x", "has 1585 bytes where"),
    "header only in part": ("a", WHOLE[:9], "is not an IDX file"),
    "empty": ("a", b"", "is not an IDX file"),
    "wrong magic": ("a", b"\x89PNG" + WHOLE[4:], r"is not an IDX file \(it starts with 0x8950"),
    "unknown type": ("a", b"\0\0\x07\3" + WHOLE[4:], "is not an IDX file"),
    "labels": ("a", idx_bytes(np.zeros(9999, np.uint8)), "holds class labels where images are"),
    "truncated gz": ("a.gz", gzip.compress(WHOLE)[:-20], "cannot be read"),
    "corrupt gz": ("a.gz", b"\x1f\x8b\x08\0" + b"?" * 60, "cannot be read"),
    "a web page": ("a.gz", b"<html>not found</html>", "cannot be read"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_named_in_one_line(tmp_path: Path, case: str) -> None:
    name, data, message = BROKEN[case]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        read_idx(path, dims=3)
    assert str(caught.value).startswith(str(path))
    assert "delete it" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", sources.DATASETS)
def test_every_data_set_loads(tmp_path: Path, tiny: Callable[..., None], key: str) -> None:
    tiny(tmp_path / sources.DATASETS[key].name / "raw", key)
    train, test = load_idx_dataset(key, tmp_path)
    assert train.inputs.shape == (60, 1, 28, 28)
    assert train.inputs.dtype == torch.uint8
    assert train.targets.dtype == torch.int64
    assert test.targets.tolist() == [i % 10 for i in range(20)]
    mark = (27, 0) if key == "emnist-digits" else (0, 27)  # EMNIST's files hold mirrored images
    assert (train.inputs[:, 0, *mark] == 255).all()
    assert train.inputs.is_contiguous()


def test_unpacked_is_read_before_gz_before_the_system_folder(
    tmp_path: Path, tiny: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, system = tmp_path / "data" / "FashionMNIST" / "raw", tmp_path / "system"
    spec = sources.DATASETS["fashion"]
    monkeypatch.setitem(
        sources.DATASETS,
        "fashion",
        sources.IdxDataset(
            spec.name, spec.url, num_train=60, num_test=20, system_folder=str(system)
        ),
    )

    def loaded() -> int:
        return int(load_idx_dataset("fashion", tmp_path / "data")[0].inputs[0, 0, 5, 5])

    tiny(system, "fashion", ".gz", pixel=1)
    assert loaded() == 1
    tiny(raw, "fashion", ".gz", pixel=2)
    assert loaded() == 2
    tiny(raw, "fashion", pixel=3)
    assert loaded() == 3


@pytest.mark.parametrize("given", ["", "MNIST", "MNIST/raw"])
def test_the_data_directory_may_be_given_in_full(
    tmp_path: Path, tiny: Callable[..., None], given: str
) -> None:
    tiny(tmp_path / "MNIST" / "raw")
    assert len(find_files("mnist", tmp_path / given)[0]) == 4


def test_nothing_found_names_places_and_remedies_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(DATASETS["fashion"], system_folder=str(tmp_path / "system"))
    monkeypatch.setitem(DATASETS, "fashion", spec)  # This machine may have the real one.
    with pytest.raises(UserError) as caught:
        load_idx_dataset("fashion", tmp_path, "no route to host")
    message = str(caught.value)
    places = (f"{tmp_path}/FashionMNIST/raw", "http://fashion-mnist", "no route to host")
    for part in (*places, "--data.data_dir", "--data.dataset digits"):
        assert part in message
    assert str(tmp_path / "system") in message
    assert "\n" not in message


def test_a_missing_file_is_named(tmp_path: Path, tiny: Callable[..., None]) -> None:
    raw = tmp_path / "MNIST" / "raw"
    tiny(raw)
    (raw / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match=r"no t10k-labels-idx1-ubyte\[.gz\]"):
        load_idx_dataset("mnist", tmp_path)


def swap(raw: Path) -> None:
    images, labels = raw / "train-images-idx3-ubyte", raw / "train-labels-idx1-ubyte"
    images.rename(raw / "x")
    labels.rename(images)
    (raw / "x").rename(labels)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (swap, "train-images-idx3-ubyte holds class labels where images are expected"),
        (
            lambda raw: write_idx(raw / "t10k-labels-idx1-ubyte", np.zeros(19, np.uint8)),
            "t10k-labels-idx1-ubyte has 19 examples where MNIST has 20",
        ),
        (
            lambda raw: write_idx(raw / "train-images-idx3-ubyte", IMAGES),
            "train-images-idx3-ubyte has 2 examples where MNIST has 60",
        ),
        (
            lambda raw: write_idx(raw / "train-labels-idx1-ubyte", np.full(60, 26, np.uint8)),
            r"train-labels-idx1-ubyte has labels 26\.\.26",
        ),
        (
            lambda raw: write_idx(
                raw / "train-images-idx3-ubyte", np.zeros((60, 32, 32), np.uint8)
            ),
            "train-images-idx3-ubyte holds 32 x 32 images",
        ),
    ],
)
def test_files_that_are_not_this_data_set_are_refused(
    tmp_path: Path, tiny: Callable[..., None], damage: Callable[[Path], Any], message: str
) -> None:
    raw = tmp_path / "MNIST" / "raw"
    tiny(raw)
    damage(raw)
    with pytest.raises(UserError, match=message):
        load_idx_dataset("mnist", tmp_path)


def test_offline_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    assert download.download("mnist", tmp_path / "data") == "tests are offline"
    assert not (tmp_path / "data").exists()


def test_a_download_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(download, "_connect", lambda url: time.sleep(60))
    start = time.monotonic()
    assert "not done within" in download.download("mnist", tmp_path)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("key", ["mnist", "emnist-digits"])
def test_a_download_arrives_whole_or_not_at_all(
    tmp_path: Path, tiny: Callable[..., None], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    import torchvision.datasets

    spec = sources.DATASETS[key]
    splits = []

    def fake(root: str, train: bool, download: bool, **kwargs: str) -> SimpleNamespace:
        splits.append((train, kwargs))
        tiny(Path(root) / spec.name / "raw", key)
        if len(splits) == 2:
            raise RuntimeError("the line\nbroke")
        return SimpleNamespace()

    monkeypatch.setattr(download, "_connect", lambda url: None)
    monkeypatch.setattr(torchvision.datasets, spec.name, fake)
    assert download.download(key, tmp_path) == "the line broke"
    assert list(tmp_path.iterdir()) == []
    assert download.download(key, tmp_path) == ""
    extra = {"split": "digits"} if key == "emnist-digits" else {}
    assert splits[2:] == [(True, extra), (False, extra)]
    assert [path.name for path in tmp_path.iterdir()] == [spec.name]
    assert len(load_idx_dataset(key, tmp_path)[0].targets) == 60


def test_specs_name_the_files_that_torchvision_downloads() -> None:
    from torchvision import datasets

    for key in ("mnist", "fashion", "kmnist"):
        spec = sources.DATASETS[key]
        known = [name.removesuffix(".gz") for name, _ in getattr(datasets, spec.name).resources]
        assert known == [*spec.train, *spec.test]
    spec = sources.DATASETS["qmnist"]
    urls = [url for part in ("train", "test") for url, _ in datasets.QMNIST.resources[part]]
    assert urls == [f"{spec.url}{name}.gz" for name in (*spec.train, *spec.test)]
