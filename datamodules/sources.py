"""MNIST and Fashion-MNIST: their files on this machine, and their download."""

import contextlib
import gzip
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import torch
from torch import Tensor

from datamodules.base import Split
from runtime.errors import UserError
from runtime.files import file_errors

IMAGE_SHAPE = (1, 28, 28)  # (C, H, W) of every data set here
COUNTS = (60_000, 10_000)  # training and test images of every data set here
FILES = (  # of every data set here, without `.gz`
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
CONNECT_SECONDS = 5.0  # time limit to notice that this machine is offline
DOWNLOAD_SECONDS = 60.0  # time limit of a data set's download


@dataclass(frozen=True)
class IdxDataset:
    """Four IDX files that are one data set; for the last two, see `InMemoryDataModule`."""

    name: str  # folder under the data directory, and torchvision's class
    system_folder: str | None = None  # where an operating system's package installs the files
    class_names: tuple[str, ...] | None = None
    mirrors: bool = False


DATASETS = {
    "mnist": IdxDataset("MNIST"),
    "fashion": IdxDataset(
        "FashionMNIST",
        system_folder="/usr/share/datasets/fashion-mnist",
        class_names=(
            *("T-shirt", "trousers", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "boot"),
        ),
        mirrors=True,
    ),
}


def searched_folders(key: str, data_dir: str | Path) -> list[Path]:
    """Returns the folders that are searched for the files of a data set, in this order."""
    spec = DATASETS[key]
    system = [Path(spec.system_folder)] if spec.system_folder else []
    return [Path(data_dir).expanduser() / spec.name / "raw", *system]


def find_idx_files(key: str, data_dir: str | Path) -> list[Path]:
    """Returns the four files in the order of `FILES`, none if no folder has all of them.

    Unpacked files come before `.gz`.
    """
    for folder in searched_folders(key, data_dir):
        raw = [folder / name for name in FILES]
        files = [path if path.is_file() else path.with_name(f"{path.name}.gz") for path in raw]
        if all(file.is_file() for file in files):
            return files
    return []


def load_idx_dataset(
    key: str, data_dir: str | Path, download_error: str = "not tried"
) -> tuple[Split, Split]:
    """Loads the training and test splits of a data set from this machine.

    Images are uint8 (N, 1, 28, 28), labels int64 (N,). The error of missing files contains
    `download_error`.
    """
    name, files = DATASETS[key].name, find_idx_files(key, data_dir)
    if not files:
        folders = " or ".join(map(str, searched_folders(key, data_dir)))
        raise UserError(
            f"the four files of {name} are not in {folders}, and there was no download "
            f"({download_error}): go online, or set --data.data_dir to a folder with {name}/raw "
            "and the files in it, or --data.dataset digits"
        )
    splits = []
    for count, images, labels in zip(COUNTS, files[::2], files[1::2], strict=True):
        pixels = read_idx(images, (count, *IMAGE_SHAPE[1:])).unsqueeze(1)
        splits.append(Split(pixels, read_idx(labels, (count,)).long()))
    return splits[0], splits[1]


def read_idx(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Reads a tensor uint8 of this shape from an IDX file, also from `.gz`."""
    # Type (8: uint8), number of dimensions and shape
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
    try:
        with file_errors(path), (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            data = file.read(len(header) + math.prod(shape) + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}): delete it") from error
    if not data.startswith(header) or len(data) != len(header) + math.prod(shape):
        wanted = " x ".join(map(str, shape))
        raise UserError(
            f"{path} is not a whole IDX file of {wanted} numbers: delete it, or put a good copy "
            "in its place"
        )
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=len(header)).view(shape)


def download(key: str, data_dir: str | Path) -> str:
    """Downloads a data set by torchvision into `<data_dir>/<Name>/raw`, within a time limit.

    Returns the reason for a failure in a few words; empty after success.
    """
    from torchvision import datasets

    dataset = getattr(datasets, DATASETS[key].name)
    try:
        _within(CONNECT_SECONDS, lambda: _connect(dataset.mirrors[0]))
        _within(DOWNLOAD_SECONDS, lambda: dataset(Path(data_dir).expanduser(), download=True))
    except Exception as error:  # any failure of the network, the disk or torchvision
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        return " ".join(reason.split())  # one line
    return ""


def _connect(url: str) -> None:
    with contextlib.suppress(HTTPError):  # An error page also proves that there is a network.
        urlopen(url, timeout=CONNECT_SECONDS).close()


def _within(seconds: float, function: Callable[[], object]) -> None:
    """Runs `function` in a daemon thread, because a name look-up accepts no time limit."""
    pool = ThreadPool(1)
    result = pool.apply_async(function)
    pool.close()
    result.wait(seconds)
    if not result.ready():
        raise TimeoutError(f"not done within {seconds:.0f} s")
    result.get()
