"""Pictures in tars (WebDataset), and in what Hugging Face `datasets` reads: tables and the Hub.

All that such files say may be wrong, so each number is compared with a limit before it is used.
"""

import io
import re
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

from datamodules.folders import SPLITS
from datamodules.image_files import SUFFIXES
from datamodules.store import MAX_CLASSES, PIXEL_BYTES, Picture, Source
from runtime.errors import UserError, printable
from runtime.trust import require_own_address

TAR, HUB = ".tar", "hf://datasets/"
TABLES = {".parquet": "parquet", ".csv": "csv", ".arrow": "arrow"}  # `datasets` reads these
ENDING = re.compile(r"\.(tar|parquet|csv|arrow)$")
IMAGE, LABEL = ("image", "file_name"), ("label", "cls")  # names of columns
MAX_FILES, MAX_HEADER = 100_000, 2**16  # of a pattern; bytes of what describes a tar's member
END = bytes(1024)  # of a tar
NUMBER = re.compile(r"[+-]?\d*\.?\d+")
Opened = tuple[Iterable[Picture], tuple[str, ...] | None]  # as `Source.open` returns it


def is_address(path: str) -> bool:
    """Returns whether a path leads out of this machine."""
    return "://" in path


def is_no_folder(path: str) -> bool:
    """Returns whether pictures are in files of many, or at an address."""
    return is_address(path) or ENDING.search(path) is not None


def find_in_files(path: str, labeled: bool, max_pixels: int) -> Source:
    """Finds the files with pictures that a path, a pattern or an address means.

    Args:
        path: Such as `images-{000..099}.tar`, `data/*.parquet`, `pictures.csv`,
            `s3://bucket/train-*.parquet` or `hf://datasets/OWNER/NAME`.
        labeled: The pictures have classes.
        max_pixels: Limit for each picture.
    """
    if is_address(path):
        require_own_address(path)
    ending = ENDING.search(path)
    if ending is None and not re.fullmatch(f"{HUB}[^/]+/[^/]+", path):
        raise UserError(
            f"{path}: give files that end in {TAR} {' '.join(TABLES)}, or {HUB}OWNER/NAME"
        )
    names = _expand(path) if ending else [path]
    if ending and "train" not in map(_split_of, names):
        raise UserError(f"{path} has no training images: there is no file named train-...")

    def opened() -> Opened:
        if ending and ending[0] == TAR:
            pictures, classes = _open_tars(names, PIXEL_BYTES * max_pixels)
        else:
            pictures, classes = _open_tables(path, names)
        return (it._replace(label=_label(it) if labeled else 0) for it in pictures), classes

    return Source({} if is_address(path) else {name: Path(name) for name in names}, opened)


def _expand(pattern: str) -> list[str]:
    """Returns the files of a pattern with numbers {000..099}, or with `*`."""
    paths = [pattern]
    if numbers := re.fullmatch(r"(.*)\{(\d{1,9})\.\.(\d{1,9})\}(.*)", pattern):
        before, first, last, after = numbers.groups()
        if int(last) - int(first) >= MAX_FILES:
            raise UserError(f"{pattern} means more than {MAX_FILES:,} files: give fewer")
        counted = range(int(first), int(last) + 1)
        paths = [f"{before}{number:0{len(first)}}{after}" for number in counted]
    if is_address(pattern):
        return paths
    if "*" in pattern and not numbers:
        paths = sorted(map(str, Path(pattern).parent.glob(Path(pattern).name)))
    if missing := next((name for name in paths or [pattern] if not Path(name).is_file()), None):
        raise UserError(f"there is no file {missing}: correct --data.path, or add the file")
    return paths


def _split_of(name: str) -> str:
    return SPLITS.get(re.split(r"[^A-Za-z]", name.rpartition("/")[2])[0].lower(), "train")


def _label(picture: Picture) -> int | str:
    """Returns the number or name of a picture's class, checked."""
    value: Any = picture.label
    if isinstance(value, str):
        value = value.strip()
        if NUMBER.fullmatch(value):
            value = int(value) if value.isdecimal() and len(value) < 10 else float(value)
    if value is None or value == "":
        raise UserError(
            f"{printable(picture.name)} has no label (in a tar a file .cls beside the image, in a "
            "table a column `label`): set --data.labels none for images without classes"
        )
    if isinstance(value, str) or (isinstance(value, int) and 0 <= value < MAX_CLASSES):
        return value
    raise UserError(
        f"{printable(picture.name)} has the label {value!s:.40}: labels are names, or integers "
        f"from 0 to {MAX_CLASSES - 1:,}"
    )


class _TarFile(io.FileIO):
    """A tar that refuses to read more than a header has at once, or often behind its end."""

    limit, ends = MAX_HEADER, 0

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= self.limit:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        content = super().read(size)
        self.ends += not content and size > 0
        if self.ends > 2:
            raise tarfile.ReadError("its end is missing")
        return content


def _open_tars(names: list[str], limit: int) -> Opened:
    local = [Path(name) for name in names]
    if is_address(names[0]):
        import fsspec

        with _explained(names[0]):
            urls = [f"simplecache::{name}" for name in names]
            copies = [fsspec.open_local(url, simplecache={"same_names": True}) for url in urls]
        local = [Path(path) for it in copies for path in ([it] if isinstance(it, str) else it)]
    return (picture for path in local for picture in _in_tar(path, limit)), None


def _in_tar(path: Path, limit: int) -> Iterator[Picture]:
    """Yields the images of a tar, each with the content of the file `.cls` of the same name."""
    images, labels = list[tuple[str, tarfile.TarInfo]](), dict[str, Any]()
    try:
        with _TarFile(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                key, _, ending = name.partition(".")
                key, is_label = f"{folder}/{key}", ending == "cls"
                if not member.isfile() or not (is_label or name.lower().endswith(SUFFIXES)):
                    continue
                if member.size > (MAX_HEADER if is_label else limit):
                    raise tarfile.ReadError(f"{member.name} has {member.size:,} bytes")
                if is_label:
                    labels[key] = _content(tar, member).decode()
                else:
                    images.append((key, member))
            file.limit = limit
            file.seek(tar.offset)  # A damaged header looks like the end.
            rest = [file.read(len(END)), *iter(lambda: file.read(MAX_HEADER), b"")]
            if rest[0] != END or any(part.strip(b"\0") for part in rest):
                raise tarfile.ReadError(f"byte {tar.offset:,} begins neither a member nor the end")
            for key, member in images:
                name, split = f"{path.name}/{member.name}", _split_of(path.name)
                yield Picture(name, _content(tar, member), split, labels.get(key))
    except (tarfile.TarError, OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as a tar without compression ({printable(str(error))}): copy "
            "or make it again"
        ) from None


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file else b""


def _open_tables(path: str, names: list[str]) -> Opened:
    """Opens tables or a data set of the Hub as a stream, so that no copy is kept."""
    try:
        import datasets
    except ImportError:
        raise UserError(f'{path} needs datasets: pip install -e ".[datasets]"') from None
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    with _explained(path):
        if ending := ENDING.search(path):  # Together, all would get the classes of the first.
            kind = TABLES[ending[0]]
            load = partial(datasets.load_dataset, kind, split="train", streaming=True)
            if kind == "parquet":
                load = partial(load, fragment_scan_options=_with_checksums())
            opened = ((name, load(data_files=[name])) for name in names)
            tables = [(_split_of(name), table, Path(name).parent) for name, table in opened]
        else:
            splits = datasets.load_dataset(path.removeprefix(HUB), streaming=True).items()
            tables = [(SPLITS[k.lower()], it, Path()) for k, it in splits if k.lower() in SPLITS]
        if "train" not in (split for split, *_ in tables):
            raise UserError(f"{path} has no training images: there is no split train")
        features = [table.features or {} for _, table, _ in tables]
    classes = {(*getattr(it.get(name), "names", ()),) for it in features for name in LABEL} - {()}
    if len(classes) > 1:
        raise UserError(f"{path}: its files or splits have different classes: rename them")
    pictures = (picture for table in tables for picture in _in_table(path, *table))
    return pictures, classes.pop() if classes else None


def _with_checksums() -> Any:
    """Returns the option to compare the pages of a Parquet file with its checksums, if it has some.

    Without them, an image format without checksums, such as JPEG, hides a damage.
    """
    from pyarrow.dataset import ParquetFragmentScanOptions

    return ParquetFragmentScanOptions(page_checksum_verification=True)


def _in_table(path: str, split: str, table: Any, folder: Path) -> Iterator[Picture]:
    """Yields the images of a split: their files' bytes, or names of files in the folder.

    `datasets` would open what a file or an address in any column leads to.
    """
    with _explained(path):
        if table.features:
            wanted = [name for name in (*IMAGE, *LABEL) if name in table.features]
            table = table.decode(False).select_columns(wanted or [*table.features])
        for number, row in enumerate(table):
            image, label = (next((k for k in names if k in row), None) for names in (IMAGE, LABEL))
            if image is None:
                columns = printable(shorten(", ".join(row), 200))
                raise UserError(f"{path} has no column `image` but {columns}: rename one of them")
            name, content = f"{split}/{number}", row[image]
            if isinstance(content, dict):
                content = content["bytes"] or content["path"]
            if isinstance(content, str) and not is_address(path) and not is_address(content):
                name, content = content, folder / content
            elif not isinstance(content, bytes | None):
                shown = printable(shorten(str(content), 200))
                raise UserError(f"{path}: {shown} is no image file beside it")
            yield Picture(name, content or b"", split, row[label] if label else None, folder)


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turns what libraries raise, of many kinds, into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = printable(shorten(" ".join(str(error).split()) or type(error).__name__, 200))
        raise UserError(
            f"{path} cannot be read ({reason}): correct --data.path, or copy or make it again"
        ) from error
