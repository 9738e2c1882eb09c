"""Image data sets of MNIST's format: their files on this machine, and their download."""

import contextlib
import gzip
import math
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import torch
from torch import Tensor

from datamodules.base import Split
from runtime.errors import UserError

IMAGE_SHAPE = (1, 28, 28)  # (C, H, W) of every data set here
FILES = (  # of every data set here, without `.gz`
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
_CONNECT_SECONDS = 5.0  # time limit to notice that this machine is offline
_DOWNLOAD_SECONDS = 60.0  # time limit of a data set's download


@dataclass(frozen=True)
class IdxDataset:
    """Four IDX files that are one data set; for the last three, see `InMemoryDataModule`."""

    name: str  # folder under the data directory, and torchvision's class
    url: str  # from which torchvision downloads it
    num_train: int = 60_000
    num_test: int = 10_000
    system_folder: str | None = None  # where an operating system's package installs the files
    class_names: tuple[str, ...] | None = None
    mirrors: bool = False
    judge: str | None = None


DATASETS = {
    "mnist": IdxDataset("MNIST", "https://ossci-datasets.s3.amazonaws.com/mnist/", judge="mnist"),
    "fashion": IdxDataset(
        "FashionMNIST",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        system_folder="/usr/share/datasets/fashion-mnist",
        class_names=(
            *("T-shirt", "trousers", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "boot"),
        ),
        mirrors=True,
        judge="fashion",
    ),
    "kmnist": IdxDataset("KMNIST", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
}


def find_files(key: str, data_dir: str | Path) -> tuple[list[Path], list[str]]:
    """Searches this machine for the files of a data set, unpacked before `.gz`.

    Returns the four files in the order of `FILES`, none if no folder has all of them; and one entry
    per folder tried that names its first missing file.
    """
    spec = DATASETS[key]
    tried: list[str] = []
    folders = [Path(data_dir).expanduser() / spec.name / "raw"]
    if spec.system_folder:
        folders.append(Path(spec.system_folder))
    for folder in folders:
        raw = [folder / name for name in FILES]
        files = [path if path.is_file() else path.with_name(path.name + ".gz") for path in raw]
        missing = [path.name for path, file in zip(raw, files, strict=True) if not file.is_file()]
        if not missing:
            return files, tried
        tried.append(f"{folder} (no {missing[0]}[.gz])")
    return [], tried


def load_idx_dataset(
    key: str, data_dir: str | Path, download_error: str = "not tried"
) -> tuple[Split, Split]:
    """Loads the training and test splits of a data set from this machine and checks them.

    Images are uint8 (N, 1, 28, 28), labels int64 (N,) in 0..9. The error of missing files contains
    `download_error`.
    """
    spec = DATASETS[key]
    files, tried = find_files(key, data_dir)
    if not files:
        raise UserError(
            f"{spec.name} is in none of: {'; '.join(tried)}; download from {spec.url} "
            f"({download_error}). Go online, or set --data.data_dir to a folder with "
            f"{spec.name}/raw and its four files in it, or --data.dataset digits"
        )
    train = _load_split(spec, files[0], files[1], spec.num_train)
    return train, _load_split(spec, files[2], files[3], spec.num_test)


def _load_split(spec: IdxDataset, image_file: Path, label_file: Path, count: int) -> Split:
    images, labels = read_idx(image_file, 3), read_idx(label_file, 1).long()
    if images.shape[1:] != IMAGE_SHAPE[1:]:
        found, known = (" x ".join(map(str, s)) for s in (images.shape[1:], IMAGE_SHAPE[1:]))
        raise _broken(image_file, f"holds {found} images, not {known}")
    for path, tensor in ((image_file, images), (label_file, labels)):
        if len(tensor) != count:
            raise _broken(path, f"has {len(tensor)} examples where {spec.name} has {count}")
    if labels.max() > 9:
        raise _broken(label_file, f"has labels up to {labels.max()} where 0..9 are known")
    return Split(images.unsqueeze(1), labels)  # (N, H, W) -> (N, 1, H, W)


def read_idx(path: Path, dims: int) -> Tensor:
    """Reads a tensor uint8 of `dims` dimensions (images: 3, labels: 1) from IDX, or from `.gz`."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(path, f"cannot be read ({error})") from error
    start = 4 + 4 * dims  # after a magic number, which names type and dimensions, and the shape
    shape = [int.from_bytes(data[at : at + 4]) for at in range(4, start, 4)]
    if data[:4] != bytes([0, 0, 8, dims]) or not start < len(data) == start + math.prod(shape):
        raise _broken(path, f"is not a whole IDX file of {dims} dimensions")
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=start).view(shape)


def _broken(path: Path, what: str) -> UserError:
    return UserError(f"{path} {what}: delete it, or put a good copy in its place")


def download(key: str, data_dir: str | Path) -> str:
    """Downloads a data set by torchvision into `<data_dir>/<Name>/raw`, within a time limit.

    The files appear there only after all have arrived with the right checksums. Returns the reason
    for a failure in a few words; empty after success.
    """
    spec = DATASETS[key]
    try:
        _within(_CONNECT_SECONDS, lambda: _connect(spec.url))
        _within(_DOWNLOAD_SECONDS, lambda: _fetch(spec, Path(data_dir).expanduser()))
    except Exception as error:  # any failure of the network, the disk or torchvision
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        return " ".join(reason.split())  # one line
    return ""


def _connect(url: str) -> None:
    with contextlib.suppress(HTTPError):  # An error page also proves that there is a network.
        urlopen(url, timeout=_CONNECT_SECONDS).close()


def _fetch(spec: IdxDataset, root: Path) -> None:
    from torchvision import datasets

    target = root / spec.name / "raw"
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(".part", dir=root, ignore_cleanup_errors=True) as folder:
        for train in (True, False):
            getattr(datasets, spec.name)(folder, train=train, download=True)
        target.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (Path(folder) / spec.name / "raw" / name).replace(target / name)


def _within(seconds: float, function: Callable[[], None]) -> None:
    """Runs `function` in a daemon thread, because a name look-up accepts no time limit."""
    pool = ThreadPool(1)
    result = pool.apply_async(function)
    pool.close()
    result.wait(seconds)
    if not result.ready():
        raise TimeoutError(f"not done within {seconds:.0f} s")
    result.get()
