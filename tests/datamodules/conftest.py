"""Writes tiny data sets, and keeps tests from the network, the user's cache and earlier seeds."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

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
    monkeypatch.setattr(sources, "COUNTS", (60, 20))
    fashion = replace(sources.DATASETS["fashion"], system_folder="/nonexistent/fashion-mnist")
    monkeypatch.setitem(sources.DATASETS, "fashion", fashion)

    def write(folder: Path, suffix: str = "", pixel: int = 7) -> None:
        for k, count in ((0, 60), (2, 20)):
            images, labels = sources.FILES[k : k + 2]
            pixels = np.full((count, 28, 28), pixel, np.uint8)
            pixels[:, 0, 27] = 255  # a mark off the diagonal: top right
            write_idx(folder / (images + suffix), pixels)
            write_idx(folder / (labels + suffix), (np.arange(count) % 10).astype(np.uint8))

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
