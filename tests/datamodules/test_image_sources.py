"""Images in tars (WebDataset) and Parquet files: labels, splits, names, and mistakes."""

import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from datamodules import ImageFolder
from runtime.errors import UserError
from tests.datamodules.pictures import loaded, parts


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def labelled(photos: Path, label: dict[str, str]) -> dict[str, bytes]:
    """The images, each beside its class, in turns."""
    files = sorted(photos.rglob("*.png"), key=lambda path: (path.stem, path.parent.name))
    members = {}
    for file in files:
        key = f"{file.parent.name}-{file.stem}"
        members |= {f"{key}.png": file.read_bytes(), f"{key}.cls": label[file.parent.name].encode()}
    return members


@pytest.fixture
def tar(photos, tmp_path):
    return write_tar(tmp_path / "it.tar", labelled(photos, {"cat": "0", "dog": "1"}))


def counts(data: Any) -> list[list[int]]:
    return [split.targets.bincount().tolist() for split in data.splits if split]


def test_a_tar_has_the_images_of_the_folder(photos, tar):
    folder, found = loaded(photos, val_fraction=0), loaded(tar, val_fraction=0)
    assert set.union(*parts(found)) == set.union(*parts(folder))
    assert (found.num_classes, found.class_names) == (2, ("0", "1"))
    assert counts(found) == [[9, 9], [1, 1]]
    assert parts(loaded(tar, val_fraction=0)) == parts(found)  # from the cache


def test_shards_with_names_of_classes_and_splits(photos, tmp_path):
    members = labelled(photos, {"cat": "tiger cat", "dog": "dog"})
    items = list(members.items())
    write_tar(tmp_path / "train-000.tar", dict(items[:14]))
    write_tar(tmp_path / "train-001.tar", dict(items[14:30]))
    write_tar(tmp_path / "train-002.tar", dict(items[30:36]))
    write_tar(tmp_path / "test-000.tar", dict(items[36:]))
    data = loaded(tmp_path / "train-{000..002}.tar", val_fraction=0)
    assert data.class_names == ("dog", "tiger cat")
    assert sum(map(sum, counts(data))) == 18
    data = loaded(tmp_path / "*.tar", val_fraction=0)
    assert counts(data) == [[9, 9], [1, 1]]
    plain = loaded(tmp_path / "*.tar", labels="none", block=4)
    assert plain.num_classes is None
    with pytest.raises(UserError, match=r"no file .*train-003.tar: correct --data.path"):
        loaded(tmp_path / "train-{000..003}.tar")


def test_a_torn_tar_and_one_without_labels_are_one_line(tar):
    whole = tar.read_bytes()
    for size in (len(whole) - 10_240, 700, 100, 0):
        tar.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"it.tar cannot be read as a tar .* copy or make it"):
            loaded(tar)
    write_tar(tar, {"a.png": b"no image", "a.txt": b"", "b.png": b""})
    with pytest.raises(UserError, match="2 of 2 images have no label.*--data.labels none"):
        loaded(tar)
    with pytest.raises(UserError, match=r"2 image\(s\) cannot be read: it.tar/a.png \("):
        loaded(tar, labels="none")


def parquet_of(photos: Path, path: Path, **columns: Any) -> Path:
    import pyarrow
    from pyarrow import parquet

    files = sorted(photos.rglob("*.png"))
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    labels = [int(file.parent.name == "dog") for file in files]
    table = pyarrow.table({"image": images, "label": labels} | columns)
    about = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    parquet.write_table(table, path, row_group_size=7)
    return path


@pytest.mark.extras
def test_a_parquet_file_has_the_images_of_the_folder(photos, tmp_path):
    path = parquet_of(photos, tmp_path / "train-00000-of-00001.parquet")
    folder, found = loaded(photos, val_fraction=0), loaded(path, val_fraction=0)
    assert set.union(*parts(found)) == set.union(*parts(folder))
    assert found.class_names == ("cat", "dog")
    assert counts(found) == counts(folder)


@pytest.mark.extras
def test_a_parquet_file_of_another_kind_is_one_line(photos, tmp_path):
    path = parquet_of(photos, tmp_path / "it.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"it.parquet cannot be read as Parquet .*copy it again"):
        ImageFolder(str(path))
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"img": [b""]}), path)
    with pytest.raises(UserError, match="no column `image` but img"):
        ImageFolder(str(path))


def test_parquet_without_its_library_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "it.parquet").touch()
    with pytest.raises(UserError, match=r'needs pyarrow: pip install -e ".\[parquet\]"'):
        ImageFolder(str(tmp_path / "it.parquet"))
