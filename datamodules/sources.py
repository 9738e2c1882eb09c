"""Sources of the image data sets: IDX files on this machine, or scikit-learn."""

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.base import Split
from runtime.errors import UserError

IMAGE_SHAPE = (1, 28, 28)  # (C, H, W) of every data set here
_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_KINDS = {1: "class labels", 2: "label records", 3: "images"}


@dataclass(frozen=True)
class IdxDataset:
    """Four IDX files that are one data set; for the last three, see `InMemoryDataModule`."""

    name: str  # folder under the data directory, and torchvision's class
    url: str  # from which torchvision downloads it
    # Files of images and labels, without `.gz`
    train: tuple[str, str] = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    test: tuple[str, str] = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    num_train: int = 60_000
    num_test: int = 10_000
    label_dims: int = 1  # of a label file; if there are two, the class is the first column
    transposed: bool = False  # the files contain the transpose of each image
    system_folder: str | None = None  # where an operating system's package installs the files
    download_seconds: float = 60.0  # time limit
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
    "qmnist": IdxDataset(
        "QMNIST",
        "https://raw.githubusercontent.com/facebookresearch/qmnist/master/",
        train=("qmnist-train-images-idx3-ubyte", "qmnist-train-labels-idx2-int"),
        test=("qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int"),
        num_test=60_000,
        label_dims=2,
        judge="mnist",  # the same digits in the same frame
    ),
    "emnist-digits": IdxDataset(
        "EMNIST",
        "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
        train=("emnist-digits-train-images-idx3-ubyte", "emnist-digits-train-labels-idx1-ubyte"),
        test=("emnist-digits-test-images-idx3-ubyte", "emnist-digits-test-labels-idx1-ubyte"),
        num_train=240_000,
        num_test=40_000,
        transposed=True,
        download_seconds=900.0,  # one archive of half a gigabyte
        judge="mnist",
    ),
}


def read_idx(path: str | Path, dims: int) -> Tensor:
    """Reads a tensor of `dims` dimensions (images: 3, labels: 1) from an IDX file or `.gz`."""
    path = Path(path)
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(path, f"cannot be read ({error})") from error
    header = 4 * (1 + dims)
    if len(data) < header or data[:2] != b"\0\0" or data[2] not in _IDX_DTYPES:
        raise _broken(path, f"is not an IDX file (it starts with 0x{data[:4].hex()})")
    if data[3] != dims:
        found = _KINDS.get(data[3], f"a tensor of {data[3]} dimensions")
        raise _broken(path, f"holds {found} where {_KINDS[dims]} are expected (files swapped?)")
    dtype = np.dtype(_IDX_DTYPES[data[2]])
    shape = np.frombuffer(data, ">u4", count=dims, offset=4).tolist()
    expected = header + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise _broken(path, f"has {len(data)} bytes where its header promises {expected}")
    values = np.frombuffer(data, dtype, offset=header).reshape(shape)
    return torch.from_numpy(values.astype(dtype.newbyteorder("=")))  # a writable copy


def _broken(path: Path, what: str) -> UserError:
    return UserError(f"{path} {what}: delete it, or put a good copy in its place")


def find_files(key: str, data_dir: str | Path) -> tuple[list[Path], list[str]]:
    """Searches this machine for the files of a data set, unpacked before `.gz`.

    Returns the four files in the order of `spec.train` and `spec.test`, none if no folder has all
    of them; and one entry per folder tried that names its first missing file.
    """
    spec = DATASETS[key]
    tried: list[str] = []
    folders = [data_root(spec, data_dir) / spec.name / "raw"]
    if spec.system_folder:
        folders.append(Path(spec.system_folder))
    for folder in folders:
        raw = [folder / name for name in (*spec.train, *spec.test)]
        files = [path if path.is_file() else path.with_name(path.name + ".gz") for path in raw]
        missing = [path.name for path, file in zip(raw, files, strict=True) if not file.is_file()]
        if not missing:
            return files, tried
        tried.append(f"{folder} (no {missing[0]}[.gz])")
    return [], tried


def data_root(spec: IdxDataset, data_dir: str | Path) -> Path:
    """Returns the data directory, even if `data_dir` is its `<Name>` or `<Name>/raw` folder."""
    root = Path(data_dir).expanduser()
    if root.parts[-2:] == (spec.name, "raw"):
        return root.parents[1]
    return root.parent if root.name == spec.name else root


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
    images, labels = read_idx(image_file, 3), read_idx(label_file, spec.label_dims).long()
    if spec.label_dims == 2:
        labels = labels[:, 0]
    if images.dtype != torch.uint8 or images.shape[1:] != IMAGE_SHAPE[1:]:
        found, known = (" x ".join(map(str, s)) for s in (images.shape[1:], IMAGE_SHAPE[1:]))
        raise _broken(image_file, f"holds {found} images of {images.dtype}, not {known} of uint8")
    for path, tensor in ((image_file, images), (label_file, labels)):
        if len(tensor) != count:
            raise _broken(path, f"has {len(tensor)} examples where {spec.name} has {count}")
    if labels.min() < 0 or labels.max() > 9:
        raise _broken(label_file, f"has labels {labels.min()}..{labels.max()} where 0..9 are known")
    if spec.transposed:
        images = images.transpose(1, 2).contiguous()
    return Split(images.unsqueeze(1), labels)  # (N, H, W) -> (N, 1, H, W)
