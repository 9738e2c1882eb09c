"""Writes tiny data sets, and keeps tests from the network, the user's cache and earlier seeds."""

import gzip
import pickle
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets
from scipy.io import savemat

from datamodules import sources
from tests.datamodules.pictures import write_classes


def idx_bytes(values: np.ndarray) -> bytes:
    """Returns the content of an IDX file of an array of uint8."""
    header = bytes([0, 0, 0x08, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    return header + values.tobytes()


def write_idx(path: Path, values: np.ndarray) -> Path:
    """Writes an IDX file, compressed if its name ends in `.gz`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = idx_bytes(values)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def tiny(monkeypatch):
    """Returns a writer of tiny data sets, and makes every data set expect 60 + 20 examples."""
    for key, spec in sources.DATASETS.items():
        system = spec.system_folder and "/nonexistent/fashion-mnist"
        changed = replace(spec, counts=(60, 20), system_folder=system)
        monkeypatch.setitem(sources.DATASETS, key, changed)

    def write(folder: Path, suffix: str = "", pixel: int = 7) -> None:
        for k, count in ((0, 60), (2, 20)):
            images, labels = sources.FILES[k : k + 2]
            pixels = np.full((count, 28, 28), pixel, np.uint8)
            pixels[:, 0, 27] = 255  # a mark off the diagonal: top right
            write_idx(folder / (images + suffix), pixels)
            write_idx(folder / (labels + suffix), (np.arange(count) % 10).astype(np.uint8))

    return write


def colors(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns random images uint8 (N, 3, 32, 32), and labels (N,) of ten classes."""
    pixels = np.random.default_rng(count).integers(0, 256, (count, 3, 32, 32), np.uint8)
    return pixels, np.arange(count) % 10


@pytest.fixture
def tiny_colors(tiny, monkeypatch):
    """Returns a writer of tiny data sets in color, whose MD5 sums torchvision then expects."""

    def pickle_file(path: Path, content: dict[str, Any]) -> list[str]:
        path.write_bytes(pickle.dumps(content))
        return [path.name, md5(path.read_bytes()).hexdigest()]

    def write(key: str, data_dir: Path) -> None:
        spec = sources.DATASETS[key]
        dataset, folder = getattr(torchvision.datasets, spec.name), data_dir / spec.folder
        folder.mkdir(parents=True, exist_ok=True)
        if key == "svhn":
            sums = {}
            for split, count in (("train", 60), ("test", 20)):
                pixels, labels = colors(count)
                path = folder / f"{split}_32x32.mat"
                y = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
                savemat(path, {"X": pixels.transpose(2, 3, 1, 0), "y": y})
                sums[split] = ["", path.name, md5(path.read_bytes()).hexdigest()]
            monkeypatch.setattr(dataset, "split_list", sums)
            return
        prefix = "fine_" if key == "cifar100" else ""
        for listed, count in (("train_list", 60), ("test_list", 20)):
            names = [name for name, _ in getattr(dataset, listed)]
            shares = zip(*(np.split(part, len(names)) for part in colors(count)), strict=True)
            parts = [{"data": x.reshape(len(x), -1), f"{prefix}labels": [*y]} for x, y in shares]
            sums = [pickle_file(folder / name, p) for name, p in zip(names, parts, strict=True)]
            monkeypatch.setattr(dataset, listed, sums)
        name, key = dataset.meta["filename"], dataset.meta["key"]
        found = pickle_file(folder / name, {key: spec.class_names})
        monkeypatch.setattr(dataset, "meta", {"filename": name, "key": key, "md5": found[1]})

    return write


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    def refuse(url: str) -> None:
        raise OSError("tests are offline")

    monkeypatch.setattr(sources, "_connect", refuse)
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)


@pytest.fixture
def photos(tmp_path):
    """Ten images of each of two classes."""
    return write_classes(tmp_path / "photos")
