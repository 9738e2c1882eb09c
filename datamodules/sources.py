"""Public data sets: their files on this machine, and their download."""

import contextlib
import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import torch
from torch import Tensor

from datamodules.base import Split
from runtime.errors import UserError
from runtime.files import file_errors

IMAGE_SHAPE = (1, 28, 28)  # (C, H, W) of MNIST
FILES = (  # of the data sets in MNIST's format, without `.gz`
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
LONGEST_FILE = 50_000_000  # bytes, of MNIST's format; a `.gz` may stand for more
TORCHVISION_ERRORS = RuntimeError, ValueError, TypeError, KeyError, AssertionError  # damaged files
CONNECT_SECONDS = 5.0  # time limit to notice that this machine is offline


@dataclass(frozen=True)
class PublicDataset:
    """A data set of torchvision, in MNIST's format."""

    name: str  # torchvision's class
    folder: str  # in the data directory, where torchvision writes the files
    url: str  # from which torchvision downloads
    files: tuple[str, ...] = FILES
    counts: tuple[int, int] = (60_000, 10_000)  # training and test images
    image_shape: tuple[int, int, int] = IMAGE_SHAPE
    class_names: tuple[str, ...] | None = None
    mirrors: bool = False  # see `ArrayDataModule`
    system_folder: str | None = None  # where an operating system's package installs the files
    download_seconds: float = 60.0  # time limit

    splits: ClassVar[tuple[Any, Any]] = True, False  # torchvision's second argument

    def torchvision(self, data_dir: str | Path, **options: bool) -> list[Any]:
        """Returns torchvision's training and test split."""
        from torchvision import datasets

        folder, dataset = Path(data_dir).expanduser(), getattr(datasets, self.name)
        return [dataset(folder, split, **options) for split in self.splits]

    def read(self, files: list[Path]) -> list[tuple[Tensor, Tensor]]:
        """Reads images uint8 (N, C, H, W) and labels (N,) of the training and test split."""
        images, labels, test_images, test_labels = map(_read_idx, files)
        return [(images.unsqueeze(1), labels), (test_images.unsqueeze(1), test_labels)]


def _read_idx(file: Path) -> Tensor:
    """Reads an array of uint8 in MNIST's format, which torchvision reads only without `.gz`.

    Raises:
        ValueError: If it is of another type or size than its header claims.
    """
    unpacked = gzip.open if file.suffix == ".gz" else open
    with file_errors(file), unpacked(file, "rb") as data:
        content = bytearray(data.read(LONGEST_FILE))
    if content[:3] != b"\0\0\x08" or len(content) < 4:
        raise ValueError("not an array of uint8")
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
    values = np.frombuffer(content, np.uint8, offset=4 + shape.nbytes)
    return torch.from_numpy(values.reshape(shape.tolist()))


class Cifar(PublicDataset):
    """Pickles. These are programs, so torchvision runs only those with the authors' MD5 sums."""

    def read(self, files: list[Path]) -> list[tuple[Tensor, Tensor]]:
        splits = self.torchvision(files[0].parent.parent)
        return [(torch.tensor(x.data).movedim(3, 1), torch.tensor(x.targets)) for x in splits]


class Svhn(PublicDataset):
    """Files of MATLAB, whose MD5 sums torchvision checks, too."""

    splits = "train", "test"

    def read(self, files: list[Path]) -> list[tuple[Tensor, Tensor]]:
        splits = self.torchvision(files[0].parent)
        return [(torch.tensor(x.data), torch.tensor(x.labels)) for x in splits]


COLOR: dict[str, Any] = {"image_shape": (3, 32, 32), "download_seconds": 900.0}
CIFAR: dict[str, Any] = {"counts": (50_000, 10_000), "mirrors": True, **COLOR}
DATASETS = {
    "mnist": PublicDataset("MNIST", "MNIST/raw", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
    "fashion": PublicDataset(
        "FashionMNIST",
        "FashionMNIST/raw",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        system_folder="/usr/share/datasets/fashion-mnist",
        class_names=(
            *("T-shirt", "trousers", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "boot"),
        ),
        mirrors=True,
    ),
    "kmnist": PublicDataset(
        *("KMNIST", "KMNIST/raw", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
    "cifar10": Cifar(
        *("CIFAR10", "cifar-10-batches-py", "https://www.cs.toronto.edu/~kriz/"),
        files=(*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
        class_names=(
            *("airplane", "automobile", "bird", "cat", "deer"),
            *("dog", "frog", "horse", "ship", "truck"),
        ),
        **CIFAR,
    ),
    "cifar100": Cifar(
        *("CIFAR100", "cifar-100-python", "https://www.cs.toronto.edu/~kriz/"),
        files=("train", "test", "meta"),
        class_names=tuple(CIFAR100_CLASSES.split()),
        **CIFAR,
    ),
    "svhn": Svhn(
        *("SVHN", ".", "http://ufldl.stanford.edu/housenumbers/"),
        files=("train_32x32.mat", "test_32x32.mat"),
        counts=(73_257, 26_032),
        **COLOR,
    ),
}


def searched_folders(key: str, data_dir: str | Path) -> list[Path]:
    """Returns the folders that are searched for the files of a data set, in this order."""
    spec = DATASETS[key]
    system = [Path(spec.system_folder)] if spec.system_folder else []
    return [Path(data_dir).expanduser() / spec.folder, *system]


def find_dataset(key: str, data_dir: str | Path) -> list[Path]:
    """Returns the files of a data set in the order of its `files`, none if no folder has all.

    Unpacked files come before `.gz`.
    """
    for folder in searched_folders(key, data_dir):
        raw = [folder / name for name in DATASETS[key].files]
        files = [path if path.is_file() else path.with_name(f"{path.name}.gz") for path in raw]
        if all(file.is_file() for file in files):
            return files
    return []


def load_dataset(
    key: str, data_dir: str | Path, download_error: str = "not tried"
) -> tuple[Split, Split]:
    """Loads the training and test splits of a data set from this machine.

    Images are uint8 (N, C, H, W), labels int64 (N,). The error of missing files contains
    `download_error`.
    """
    spec, files = DATASETS[key], find_dataset(key, data_dir)
    folders = " or ".join(map(str, searched_folders(key, data_dir)))
    if not files:
        raise UserError(
            f"the {len(spec.files)} files of {spec.name} are not in {folders}, and there was no "
            f"download ({download_error}): go online, or set --data.data_dir to a folder with "
            f"{Path(spec.folder, spec.files[0])} and the others, or --data.dataset digits"
        )
    try:
        splits = [Split(images.contiguous(), labels.long()) for images, labels in spec.read(files)]
    except (zlib.error, EOFError, gzip.BadGzipFile, *TORCHVISION_ERRORS):
        splits = []
    shapes = [(*split.inputs.shape, len(split.targets)) for split in splits]
    if shapes != [(count, *spec.image_shape, count) for count in spec.counts]:
        raise UserError(
            f"the files of {spec.name} in {folders} are damaged or not the original ones: delete "
            "them, so that they are downloaded again, or put good copies in their place"
        )
    return splits[0], splits[1]


def download(key: str, data_dir: str | Path) -> str:
    """Downloads a data set by torchvision into the data directory, within a time limit.

    Returns the reason for a failure in a few words; empty after success.
    """
    spec = DATASETS[key]
    try:
        _within(CONNECT_SECONDS, lambda: _connect(spec.url))
        _within(spec.download_seconds, lambda: spec.torchvision(data_dir, download=True))
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
