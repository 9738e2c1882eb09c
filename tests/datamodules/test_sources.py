"""IDX files, whole and broken, the search for them, and downloads."""

import gzip
import pickle
import tempfile
import time
import tracemalloc
from dataclasses import replace
from email.message import Message
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.error import HTTPError, URLError

import numpy as np
import pytest
import torch
import torchvision.datasets

from datamodules import sources
from datamodules.sources import DATASETS, FILES, load_dataset
from runtime.errors import UserError
from tests.datamodules.conftest import colors, idx_bytes

GRAY, COLORS = ("mnist", "fashion", "kmnist"), ("cifar10", "cifar100", "svhn")
connect = sources._connect  # which other tests replace

WHOLE = idx_bytes(np.zeros((60, 28, 28), np.uint8))
BROKEN = {
    "truncated": ("", WHOLE[:-5]),
    "too long": ("", WHOLE + b"x"),
    "another shape": ("", idx_bytes(np.zeros((60, 32, 32), np.uint8))),
    "another type": ("", WHOLE[:2] + b"\x0d" + WHOLE[3:]),
    "empty": ("", b""),
    "three bytes": ("", WHOLE[:3]),
    "no sizes": ("", WHOLE[:4]),
    "huge sizes": ("", WHOLE[:4] + b"\xff" * 12),
    "truncated gz": (".gz", gzip.compress(WHOLE)[:-20]),
    "a web page": (".gz", b"<html>not found</html>"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_one_line(tmp_path, tiny, case):
    suffix, data = BROKEN[case]
    tiny(tmp_path / "MNIST" / "raw", suffix)
    (tmp_path / "MNIST" / "raw" / f"{FILES[0]}{suffix}").write_bytes(data)
    with pytest.raises(UserError, match=f"the files of MNIST in {tmp_path}.* damaged") as caught:
        load_dataset("mnist", tmp_path)
    assert "\n" not in str(caught.value)


def test_no_more_of_a_file_is_unpacked_than_it_should_have(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(sources, "LONGEST_FILE", 2**17)
    tiny(tmp_path / "MNIST" / "raw", ".gz")
    (tmp_path / "MNIST" / "raw" / f"{FILES[0]}.gz").write_bytes(gzip.compress(WHOLE + bytes(2**24)))
    tracemalloc.start()
    with pytest.raises(UserError, match="damaged"):
        load_dataset("mnist", tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_nothing_is_unpacked_onto_a_disk(suffix, tmp_path, tiny, monkeypatch):
    """A killed process would leave it there, and a full disk would refuse it."""
    tiny(tmp_path / "MNIST" / "raw", suffix)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    assert len(load_dataset("mnist", tmp_path)[0].targets) == 60


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("key", GRAY)
def test_every_data_set_loads_from_a_folder_that_cannot_be_written(tmp_path, tiny, key, suffix):
    raw = tmp_path / DATASETS[key].name / "raw"
    tiny(raw, suffix)
    raw.chmod(0o500)
    before = sorted(tmp_path.rglob("*"))
    train, test = load_dataset(key, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert (train.inputs.shape, train.inputs.dtype) == ((60, 1, 28, 28), torch.uint8)
    assert (test.targets.tolist(), test.targets.dtype) == ([i % 10 for i in range(20)], torch.int64)
    assert (train.inputs[:, 0, 0, 27] == 255).all()


def test_unpacked_is_read_before_gz_before_the_system_folder(tmp_path, tiny, monkeypatch):
    raw, system = tmp_path / "data" / "FashionMNIST" / "raw", tmp_path / "system"
    spec = replace(DATASETS["fashion"], system_folder=str(system))
    monkeypatch.setitem(DATASETS, "fashion", spec)
    for place, suffix, pixel in ((system, ".gz", 1), (raw, ".gz", 2), (raw, "", 3)):
        tiny(place, suffix, pixel)
        train, _ = load_dataset("fashion", tmp_path / "data")
        assert train.inputs[0, 0, 5, 5] == pixel


def test_nothing_found_names_places_and_remedies_in_one_line(tmp_path, tiny):
    tiny(tmp_path / "FashionMNIST" / "raw")
    (tmp_path / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError) as caught:
        load_dataset("fashion", tmp_path, "no route to host")
    message = str(caught.value)
    for part in (
        *(f"{tmp_path}/FashionMNIST/raw or /nonexistent/fashion-mnist", "no route to host"),
        *("--data.data_dir", "dataset digits"),
    ):
        assert part in message
    assert "\n" not in message


def test_offline_is_said_and_leaves_nothing(tmp_path):
    assert sources.download("mnist", tmp_path / "data") == "tests are offline"
    assert not (tmp_path / "data").exists()


def test_a_server_that_answers_at_all_can_be_reached(monkeypatch):
    monkeypatch.setattr(sources, "urlopen", Mock(side_effect=URLError("no route to host")))
    with pytest.raises(URLError, match="no route to host"):
        connect("http://localhost")
    forbidden = HTTPError("http://localhost", 403, "Forbidden", Message(), None)
    monkeypatch.setattr(sources, "urlopen", Mock(side_effect=forbidden))
    connect("http://localhost")


def test_a_download_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(sources, "_connect", lambda url: time.sleep(60))
    start = time.monotonic()
    assert "not done within" in sources.download("mnist", tmp_path)
    assert time.monotonic() - start < 30


def test_a_download_is_found_and_a_failure_is_one_line(tmp_path, tiny, monkeypatch):
    class Fake(torchvision.datasets.MNIST):
        def __init__(self, root: Path, train: bool, download: bool) -> None:
            if root == tmp_path / "broken":
                raise RuntimeError("the line\nbroke")
            tiny(root / "MNIST" / "raw", ".gz")

    monkeypatch.setattr(sources, "_connect", lambda url: None)
    real = torchvision.datasets.MNIST
    monkeypatch.setattr(torchvision.datasets, "MNIST", Fake)
    assert sources.download("mnist", tmp_path / "broken") == "the line broke"
    assert sources.download("mnist", tmp_path) == ""
    monkeypatch.setattr(torchvision.datasets, "MNIST", real)
    assert len(load_dataset("mnist", tmp_path)[0].targets) == 60


@pytest.mark.parametrize("key", GRAY)
def test_the_files_are_those_that_torchvision_downloads(key):
    resources = getattr(torchvision.datasets, DATASETS[key].name).resources
    assert tuple(name.removesuffix(".gz") for name, _ in resources) == FILES


@pytest.mark.parametrize("key", DATASETS)
def test_the_address_is_that_of_torchvision(key):
    dataset = getattr(torchvision.datasets, DATASETS[key].name)
    urls = (
        dataset.mirrors
        if key in GRAY
        else [dataset.split_list["train"][0]]
        if key == "svhn"
        else [dataset.url]
    )
    assert urls[0].startswith(DATASETS[key].url)


@pytest.mark.parametrize("key", COLORS)
def test_color_images_load_from_torchvisions_files(tmp_path, tiny_colors, key):
    tiny_colors(key, tmp_path)
    for split, count in zip(load_dataset(key, tmp_path), (60, 20), strict=True):
        pixels, labels = colors(count)
        assert split.inputs.equal(torch.from_numpy(pixels))
        assert split.inputs.is_contiguous()
        assert split.targets.equal(torch.from_numpy(labels))


@pytest.mark.parametrize("key", COLORS)
def test_other_files_or_counts_than_the_authors_are_one_line(
    tmp_path, tiny_colors, monkeypatch, key
):
    tiny_colors(key, tmp_path)
    spec, ran = DATASETS[key], tmp_path / "ran"
    monkeypatch.setitem(DATASETS, key, replace(spec, counts=(60, 21)))
    with pytest.raises(UserError, match=f"the files of {spec.name} in .* are damaged"):
        load_dataset(key, tmp_path)
    monkeypatch.setitem(DATASETS, key, spec)
    (tmp_path / spec.folder / spec.files[0]).write_bytes(pickle.dumps(Program(ran)))
    with pytest.raises(UserError, match="delete them, .* good copies") as caught:
        load_dataset(key, tmp_path)
    assert "\n" not in str(caught.value)
    assert not ran.exists()
    (tmp_path / spec.folder / spec.files[-1]).unlink()
    with pytest.raises(UserError, match=f"{spec.files[0]} and the others, or --data.dataset dig"):
        load_dataset(key, tmp_path)


class Program:
    """Unpickles to a new file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_both_splits_of_svhn_are_downloaded(tmp_path, monkeypatch):
    asked: list[Any] = []
    monkeypatch.setattr(sources, "_connect", lambda url: None)
    monkeypatch.setattr(
        torchvision.datasets, "SVHN", lambda *args, **options: asked.append((args, options))
    )
    assert sources.download("svhn", tmp_path) == ""
    assert asked == [((tmp_path, split), {"download": True}) for split in ("train", "test")]


def test_what_is_known_of_the_data_sets():
    counts = {key: spec.counts for key, spec in DATASETS.items()}
    assert {counts[key] for key in GRAY} == {(60_000, 10_000)}
    assert [counts[key] for key in COLORS] == [(50_000, 10_000)] * 2 + [(73_257, 26_032)]
    assert [k for k, spec in DATASETS.items() if spec.mirrors] == ["fashion", "cifar10", "cifar100"]
    assert DATASETS["kmnist"].class_names == tuple(torchvision.datasets.KMNIST.classes)
    names = DATASETS["cifar100"].class_names
    assert [*names] == sorted({*names})
    assert len(names) == 100
