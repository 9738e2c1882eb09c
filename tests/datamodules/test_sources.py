"""IDX files, whole and broken, the search for them, and downloads."""

import gzip
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets

from datamodules import sources
from datamodules.sources import DATASETS, FILES, IdxDataset, load_idx_dataset, read_idx
from runtime.errors import UserError
from tests.datamodules.conftest import idx_bytes, write_idx

IMAGES = np.arange(2 * 28 * 28, dtype=np.int32).astype(np.uint8).reshape(2, 28, 28)
WHOLE = idx_bytes(IMAGES)
BROKEN = {
    "truncated": ("a", WHOLE[:-5], "is not a whole IDX file"),
    "empty": ("a", b"", "is not a whole IDX file"),
    "no images": ("a", idx_bytes(IMAGES[:0]), "is not a whole IDX file"),
    "another file": ("a", b"\x89PNG" + WHOLE[4:], "is not a whole IDX file"),
    "labels": ("a", idx_bytes(np.zeros(9999, np.uint8)), "is not a whole IDX file of 3 dim"),
    "truncated gz": ("a.gz", gzip.compress(WHOLE)[:-20], "cannot be read"),
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
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("key", DATASETS)
def test_every_data_set_loads_from_a_folder_that_cannot_be_written(
    tmp_path: Path, tiny: Callable[..., None], key: str, suffix: str
) -> None:
    raw = tmp_path / DATASETS[key].name / "raw"
    tiny(raw, suffix)
    raw.chmod(0o500)
    before = sorted(tmp_path.rglob("*"))
    train, test = load_idx_dataset(key, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert (train.inputs.shape, train.inputs.dtype) == ((60, 1, 28, 28), torch.uint8)
    assert (test.targets.tolist(), test.targets.dtype) == ([i % 10 for i in range(20)], torch.int64)
    assert (train.inputs[:, 0, 0, 27] == 255).all()


def test_unpacked_is_read_before_gz_before_the_system_folder(
    tmp_path: Path, tiny: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, system = tmp_path / "data" / "FashionMNIST" / "raw", tmp_path / "system"
    spec = replace(DATASETS["fashion"], system_folder=str(system))
    monkeypatch.setitem(DATASETS, "fashion", spec)
    for place, suffix, pixel in ((system, ".gz", 1), (raw, ".gz", 2), (raw, "", 3)):
        tiny(place, suffix, pixel)
        train, _ = load_idx_dataset("fashion", tmp_path / "data")
        assert train.inputs[0, 0, 5, 5] == pixel


def test_nothing_found_names_places_and_remedies_in_one_line(
    tmp_path: Path, tiny: Callable[..., None]
) -> None:
    tiny(tmp_path / "FashionMNIST" / "raw")
    (tmp_path / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError) as caught:
        load_idx_dataset("fashion", tmp_path, "no route to host")
    message = str(caught.value)
    for part in (
        *(f"{tmp_path}/FashionMNIST/raw (no t10k-labels-idx1-ubyte[.gz])", "http://fashion-mnist"),
        *("/nonexistent/fashion-mnist", "no route to host", "--data.data_dir", "dataset digits"),
    ):
        assert part in message
    assert "\n" not in message


WRONG: dict[str, tuple[str, np.ndarray, str]] = {
    "count": ("t10k-labels-idx1-ubyte", np.zeros(19, np.uint8), "has 19 examples .* MNIST has 20"),
    "labels": ("train-labels-idx1-ubyte", np.full(60, 26, np.uint8), "has labels up to 26"),
    "size": ("train-images-idx3-ubyte", np.zeros((60, 32, 32), np.uint8), "holds 32 x 32 images"),
}


@pytest.mark.parametrize("case", WRONG)
def test_files_that_are_not_this_data_set_are_refused(
    tmp_path: Path, tiny: Callable[..., None], case: str
) -> None:
    name, values, message = WRONG[case]
    raw = tmp_path / "MNIST" / "raw"
    tiny(raw)
    write_idx(raw / name, values)
    with pytest.raises(UserError, match=f"{name} {message}"):
        load_idx_dataset("mnist", tmp_path)


def test_offline_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    assert sources.download("mnist", tmp_path / "data") == "tests are offline"
    assert not (tmp_path / "data").exists()


def test_a_download_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(sources, "_connect", lambda url: time.sleep(60))
    start = time.monotonic()
    assert "not done within" in sources.download("mnist", tmp_path)
    assert time.monotonic() - start < 30


def test_a_download_arrives_whole_or_not_at_all(
    tmp_path: Path, tiny: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    splits: list[bool] = []

    def fake(root: str, train: bool, download: bool) -> None:
        splits.append(train)
        tiny(Path(root) / "MNIST" / "raw")
        if len(splits) == 2:
            raise RuntimeError("the line\nbroke")

    monkeypatch.setattr(sources, "_connect", lambda url: None)
    monkeypatch.setattr(torchvision.datasets, "MNIST", fake)
    assert sources.download("mnist", tmp_path) == "the line broke"
    assert list(tmp_path.iterdir()) == []
    assert sources.download("mnist", tmp_path) == ""
    assert splits[2:] == [True, False]
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]
    assert len(load_idx_dataset("mnist", tmp_path)[0].targets) == 60


@pytest.mark.parametrize("spec", DATASETS.values(), ids=DATASETS)
def test_the_files_are_those_that_torchvision_downloads(spec: IdxDataset) -> None:
    resources = getattr(torchvision.datasets, spec.name).resources
    assert tuple(name.removesuffix(".gz") for name, _ in resources) == FILES
