"""Pictures in tars, tables and at addresses: labels, splits, names, limits, and mistakes."""

import io
import json
import os
import shutil
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datamodules import ImageArrays, ImageFolder
from results import building
from runtime.errors import UserError
from runtime.trust import only_trusted
from tests.datamodules.pictures import loaded, parts


@pytest.fixture(autouse=True)
def own_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("LADDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def labeled(photos: Path, label: dict[str, str]) -> dict[str, bytes]:
    """The images, each beside its class, in turns."""
    files = sorted(photos.rglob("*.png"), key=lambda path: (path.stem, path.parent.name))
    members = {}
    for file in files:
        key = f"{file.parent.name}/{file.stem}"  # the same names in two folders
        members |= {f"{key}.png": file.read_bytes(), f"{key}.cls": label[file.parent.name].encode()}
    return members


@pytest.fixture
def tar(photos, tmp_path):
    return write_tar(tmp_path / "it.tar", labeled(photos, {"cat": "0", "dog": "1"}))


def counts(data: Any) -> list[list[int]]:
    return [split.targets.bincount().tolist() for split in data.splits if split]


def equal(found: ImageFolder, folder: ImageFolder) -> None:
    """Checks that these are the images of the folder, each with its class."""
    assert found.class_names == folder.class_names
    classes = [
        {
            image.numpy().tobytes(): int(label)
            for split in data.splits if split
            for image, label in zip(split.inputs[:], split.targets, strict=True)
        }
        for data in (found, folder)
    ]  # fmt: skip
    assert classes[0] == classes[1]
    assert len(classes[0]) == 20


# -- tars -----------------------------------------------------------------------------------------


def test_a_tar_has_the_images_of_the_folder(photos, tar):
    write_tar(tar, labeled(photos, {"cat": " cat \n", "dog": "dog\n"}))
    found = loaded(tar)
    equal(found, loaded(photos))
    assert parts(loaded(tar)) == parts(found)  # from the cache
    write_tar(tar, labeled(photos, {"cat": "0", "dog": "1"}))
    found = loaded(tar, val_fraction=0)
    assert (found.num_classes, found.class_names) == (2, ("0", "1"))
    assert counts(found) == [[9, 9], [1, 1]]


def test_files_with_names_of_classes_and_splits(photos, tmp_path):
    items = list(labeled(photos, {"cat": "tiger cat", "dog": "dog"}).items())
    write_tar(tmp_path / "train-000.tar", dict(items[:14]))
    write_tar(tmp_path / "train-001.tar", dict(items[14:30]))
    write_tar(tmp_path / "train-002.tar", dict(items[30:36]))
    write_tar(tmp_path / "test-000.tar", dict(items[36:]))
    data = loaded(tmp_path / "train-{000..002}.tar", val_fraction=0)
    assert data.class_names == ("dog", "tiger cat")
    assert sum(map(sum, counts(data))) == 18
    data = loaded(tmp_path / "*.tar", val_fraction=0)
    assert counts(data) == [[9, 9], [1, 1]]
    alone = loaded(tmp_path / "train-{000..002}.tar", val_fraction=0, test_fraction=0.2)
    assert parts(data)[0] == set.union(*parts(alone))
    assert loaded(tmp_path / "*.tar", labels="none").num_classes is None
    for pattern, message in {
        "train-{000..003}.tar": r"no file .*train-003.tar: correct --data.path",
        "x*.tar": r"no file .*x\*.tar: correct",
        "{0..999999999}.tar": "means more than 100,000 files",
        "{0..9999999999}.tar": "there is no file",
        "test-000.tar": "has no training images: there is no file named train-",
    }.items():
        with pytest.raises(UserError, match=message):
            ImageFolder(str(tmp_path / pattern))


def cut_short(content: bytes) -> list[bytes]:
    return [content[:size] for size in (len(content) - 10_240, 700, 100, 0)]


def damaged_header(content: bytes) -> list[bytes]:
    """A header in the middle that is noise, or zeros, which also mean the end."""
    place = content.index(b"dog/4.png")
    return [content[:place] + part + content[place + 512 :] for part in (b"x" * 512, bytes(512))]


def zeros_over_members(content: bytes) -> list[bytes]:
    place = content.index(b"dog/4.png")
    return [content[:place] + bytes(4096) + content[place + 4096 :]]


def huge(kind: bytes, name: bytes = b"a.png") -> bytes:
    """A header that claims three gigabytes."""
    member = tarfile.TarInfo(name.decode())
    member.size, member.type = 3 * 10**9, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def endless_sparse_map(content: bytes) -> list[bytes]:
    member = tarfile.TarInfo("GNUSparseFile.0/a.png")
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
    member.pax_headers, member.size = headers, 512
    return [member.tobuf(tarfile.PAX_FORMAT) + b"1000000000\n".ljust(512, b"1")]


def huge_members(content: bytes) -> list[bytes]:
    names = ((tarfile.REGTYPE, b"a.png"), (tarfile.REGTYPE, b"a.cls"), (tarfile.GNUTYPE_LONGNAME,
             b"a"), (tarfile.XHDTYPE, b"a"))  # fmt: skip
    return [huge(*one) for one in names]


@pytest.mark.parametrize(
    "damage", [cut_short, damaged_header, zeros_over_members, huge_members, endless_sparse_map]
)
def test_a_tar_is_read_to_its_end_or_refused(damage, tar):
    for content in damage(tar.read_bytes()):
        tar.write_bytes(content)
        if damage in (huge_members, endless_sparse_map):
            os.truncate(tar, 4 * 10**9)  # sparse
        with pytest.raises(UserError, match=r"it.tar cannot be read as a tar .* copy or make it"):
            loaded(tar)


@pytest.mark.parametrize("label", ["-1", ".5", "10000000000", "1" * 5000, "65536", "1e3.5 "])
def test_labels_are_names_or_small_integers(label, tar):
    write_tar(tar, {"a.png": b"", "a.cls": label.encode()})
    if label == "1e3.5 ":
        assert ImageFolder(str(tar)).class_names == ("1e3.5",)
        return
    with pytest.raises(UserError, match="it.tar/a.png has the label .*: labels are names, or inte"):
        ImageFolder(str(tar))


def test_images_without_labels_and_unreadable_ones_are_one_line(tar):
    write_tar(tar, {"a.png": b"no image", "a.txt": b"", "b.png": b""})
    with pytest.raises(UserError, match="it.tar/a.png has no label.*--data.labels none"):
        loaded(tar)
    with pytest.raises(UserError, match=r"2 image\(s\) of .* cannot be read: it.tar/a.png \("):
        loaded(tar, labels="none")


def test_a_fifo_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "it.tar")
    with pytest.raises(UserError, match="no file .*it.tar"):
        ImageFolder(str(tmp_path / "it.tar"))


# -- tables ---------------------------------------------------------------------------------------


def rows_of(photos: Path) -> dict[str, Any]:
    files = sorted(photos.rglob("*.png"), key=lambda path: (path.stem, path.parent.name))
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    return {"image": images, "label": [int(file.parent.name == "dog") for file in files]}


def write_parquet(
    path: Path, columns: dict[str, Any], names: list[str] | None = None, features: Any = None
) -> Path:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table(columns)
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
    if features:  # as Hugging Face writes them
        features = {"image": {"_type": "Image"}} | features
        about = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": about})
    parquet.write_table(table, path, row_group_size=7)
    return path


@pytest.mark.extras
def test_tables_have_the_images_of_the_folder(photos, tmp_path):
    folder, columns = loaded(photos), rows_of(photos)
    path = write_parquet(tmp_path / "train-00000-of-00001.parquet", columns, ["cat", "dog"])
    equal(loaded(path), folder)
    plain = {"image": [image["bytes"] for image in columns["image"]], "label": columns["label"]}
    plain["label"] = [("cat", "dog")[k] for k in plain["label"]]
    equal(loaded(write_parquet(tmp_path / "plain.parquet", plain)), folder)
    (tmp_path / "it.csv").write_text(
        "file_name,label\n"
        + "".join(f"photos/{p.parent.name}/{p.name},{p.parent.name}\n" for p in photos.rglob("*.*"))
    )
    equal(loaded(tmp_path / "it.csv"), folder)
    (photos / "cat" / "0.png").write_bytes((photos / "dog" / "0.png").read_bytes())
    with pytest.warns(UserWarning, match="1 images in .*it.csv equal another one"):
        loaded(tmp_path / "it.csv")  # decoded again, because a picture has changed
    import datasets

    datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path)).save_to_disk(
        str(tmp_path / "it")
    )
    (arrow,) = (tmp_path / "it").glob("*.arrow")
    equal(loaded(arrow), folder)


@pytest.mark.extras
def test_tables_with_splits_keep_their_names_of_classes_and_refuse_two(photos, tmp_path):
    columns = rows_of(photos)
    for name, rows in {"train": slice(0, 14), "test": slice(14, 20)}.items():
        part = {key: values[rows] for key, values in columns.items()}
        write_parquet(tmp_path / f"{name}-0.parquet", part, ["dog", "cat"])
    data = loaded(tmp_path / "*.parquet", val_fraction=0)
    assert (data.class_names, counts(data)) == (("dog", "cat"), [[7, 7], [3, 3]])
    write_parquet(tmp_path / "test-0.parquet", columns, ["cat", "dog"])
    with pytest.raises(UserError, match="its files or splits have different classes"):
        loaded(tmp_path / "*.parquet")


@pytest.mark.extras
def test_a_table_of_another_kind_is_one_line(photos, tmp_path):
    columns = rows_of(photos)
    path = write_parquet(tmp_path / "it.parquet", columns)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"it.parquet cannot be read \(.*copy or make it again"):
        ImageFolder(str(path))
    image = columns["image"]
    for wrong, message in [
        ({"img": [b""]}, "has no column `image` but img"),
        ({"image": image, "label": [-1] * 20}, "train/0 has the label -1: labels are names"),
        ({"image": image, "label": [0.5] * 20}, "train/0 has the label 0.5"),
        ({"image": image, "label": [10**10] * 20}, "train/0 has the label 10000000000"),
        ({"image": image, "label": [None] * 20}, "train/0 has no label"),
        ({"image": image}, "train/0 has no label"),
        ({"image": ["https://a/b.png"], "label": [0]}, "https://a/b.png is no image file beside"),
        ({"image": ["none.png"], "label": [0]}, r"none.png cannot be read \(No such file"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            ImageFolder(str(write_parquet(path, wrong)))
        assert "\n" not in str(caught.value)
    named = write_parquet(path, {"image": image, "label": [2] * 20}, ["cat", "dog"])
    with pytest.raises(UserError, match="the largest label is 2 of 2 classes|cannot be read"):
        ImageFolder(str(named))


@pytest.mark.extras
def test_a_damaged_page_of_a_table_with_checksums_is_one_line(tmp_path):
    """Nothing else would tell it of a JPEG."""
    import pyarrow
    from pyarrow import parquet

    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    columns = pyarrow.table({"image": [file.getvalue()] * 20, "label": [0, 1] * 10})
    path = tmp_path / "it.parquet"
    parquet.write_table(columns, path, compression="none", write_page_checksum=True)
    whole = path.read_bytes()
    ImageFolder(str(path))
    place = whole.index(file.getvalue()) + file.tell() // 2
    path.write_bytes(whole[:place] + bytes(200) + whole[place + 200 :])
    with pytest.raises(UserError, match=r"it.parquet cannot be read \(.*CRC.*copy or make it"):
        ImageFolder(str(path))


def test_tables_without_their_library_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "it.parquet").touch()
    with pytest.raises(UserError, match=r'needs datasets: pip install -e ".\[datasets\]"'):
        ImageFolder(str(tmp_path / "it.parquet"))


def plain_path(folder: Path) -> str:
    return str(folder / "victim.png")


def dots(folder: Path) -> str:
    return "../victim.png"


def link(folder: Path) -> str:
    (folder / "data/link.png").symlink_to(folder / "victim.png")
    return "link.png"


def linked_folder(folder: Path) -> str:
    (folder / "data/more").symlink_to(folder)
    return "more/victim.png"


def device(folder: Path) -> str:
    (folder / "data/zero.png").symlink_to("/dev/zero")
    return "zero.png"


def fifo(folder: Path) -> str:
    os.mkfifo(folder / "data/fifo.png")
    return "fifo.png"


@pytest.mark.extras
@pytest.mark.parametrize("named", [plain_path, dots, link, linked_folder, device, fifo])
def test_a_table_names_plain_files_in_and_below_its_folder(named, tmp_path):
    (tmp_path / "data").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "victim.png")
    path = tmp_path / "data/it.csv"
    path.write_text("image,label\n" + f"{named(tmp_path)},cat\n" * 12)
    reason = r"cannot be read \(no plain file\)" if named is fifo else "is outside of .*data: copy"
    with pytest.raises(UserError, match=reason):
        ImageFolder(str(path))


@pytest.mark.extras
def test_tables_in_several_folders_name_files_beside_them(photos, tmp_path):
    for number, name in enumerate(("cat", "dog")):
        rows = "".join(f"{file.name},{name}\n" for file in (photos / name).iterdir())
        (photos / name).rename(photos / str(number))
        (photos / str(number) / "it.csv").write_text("image,label\n" + rows)
    data = loaded(photos / "{0..1}/it.csv")
    assert (data.class_names, len(set.union(*parts(data)))) == (("cat", "dog"), 20)


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize("column", ["other", "label"])
@pytest.mark.parametrize("kind", ["list", "struct"])
def test_no_column_of_a_table_leads_to_an_address(kind, column, photos, tmp_path, server, asked):
    import pyarrow

    image: Any = {"bytes": None, "path": f"{server}/photos/cat/0.png"}
    stored = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    feature: Any = {"_type": "Image"}
    if kind == "list":
        image, stored, feature = [image], pyarrow.list_(stored), [feature]
    else:
        image, stored, feature = {"it": image}, pyarrow.struct({"it": stored}), {"it": feature}
    columns = rows_of(photos) | {column: pyarrow.array([image] * 20, stored)}
    path = write_parquet(tmp_path / "it.parquet", columns, features={column: feature})
    if column == "other":
        loaded(path)
    else:
        with pytest.raises(UserError, match="train/0 has the label"):
            loaded(path)
    assert not asked


# -- the same pictures in other forms -------------------------------------------------------------


def renamed(photos: Path, files: list[Path], folder: Path) -> Path:
    """The last are the first, and the classes change places."""
    for i, file in enumerate(files):
        number = int(file.parent.name)
        target = folder / f"images/{10 - number:02d}/{100 - i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    return folder / "images"


def in_tar(photos: Path, files: list[Path], folder: Path) -> Path:
    members = {}
    for i, file in enumerate(files):
        members |= {f"{i}.png": file.read_bytes(), f"{i}.cls": file.parent.name.encode()}
    return write_tar(folder / "it.tar", members)


def in_arrays(photos: Path, files: list[Path], folder: Path) -> Path:
    images = [np.asarray(Image.open(file)) for file in files]
    labels = [int(file.parent.name) for file in files]
    np.savez(folder / "it.npz", images=images, labels=labels)
    return folder / "it.npz"


def in_csv(photos: Path, files: list[Path], folder: Path) -> Path:
    lines = [f"{file.relative_to(folder)},{file.parent.name}\n" for file in files]
    (folder / "it.csv").write_text("image,label\n" + "".join(lines))
    return folder / "it.csv"


def in_parquet(photos: Path, files: list[Path], folder: Path) -> Path:
    images = [file.read_bytes() for file in files]
    columns = {"image": images, "label": [file.parent.name for file in files]}
    return write_parquet(folder / "it.parquet", columns)


@pytest.mark.filterwarnings("ignore:1 images in .* equal another one")
@pytest.mark.parametrize(
    "form",
    [
        renamed, in_tar, in_arrays,
        pytest.param(in_csv, marks=pytest.mark.extras),
        pytest.param(in_parquet, marks=pytest.mark.extras),
    ],
)  # fmt: skip
def test_the_same_pictures_have_the_same_splits(form, tmp_path):
    """In any order of files and classes; in folders, class 10 comes before 2."""
    random = np.random.default_rng(0)
    for name in range(11):
        (tmp_path / f"photos/{name}").mkdir(parents=True)
        for i, pixels in enumerate(random.integers(0, 256, (6, 8, 8, 3), np.uint8)):
            Image.fromarray(pixels).save(tmp_path / f"photos/{name}/{i}.png")
    shutil.copy(tmp_path / "photos/3/0.png", tmp_path / "photos/10/copy.png")
    files = sorted((tmp_path / "photos").rglob("*.png"))
    random.shuffle(files)
    path = form(tmp_path / "photos", files, tmp_path)
    fractions = {"val_fraction": 0.2, "test_fraction": 0.2, "split_seed": 3}
    data = ImageArrays if form is in_arrays else partial(ImageFolder, size=8)
    folder, other = loaded(tmp_path / "photos", **fractions), data(str(path), **fractions)
    other.setup()
    assert parts(folder) == parts(other)
    assert [len(part) for part in parts(folder)] == [42, 11, 13]
    assert parts(folder) != parts(loaded(tmp_path / "photos", **fractions | {"split_seed": 4}))


# -- addresses ------------------------------------------------------------------------------------


@pytest.fixture
def asked():
    """The requests to the server."""
    return []


@pytest.fixture
def server(tmp_path, asked):
    """Serves a folder on this machine."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *request: Any) -> None:
            asked.append(request)

    handler = partial(Handler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore:.*")
def test_files_at_an_address_are_read_once(photos, tmp_path, tar, server):
    folder = loaded(photos)
    write_tar(tar, labeled(photos, {"cat": "cat", "dog": "dog"}))
    equal(loaded(f"{server}/it.tar"), folder)
    tar.unlink()
    equal(loaded(f"{server}/it.tar"), folder)  # until the cache is cleared
    for path in ("none.tar", "none.parquet", "folder/of/images"):
        with pytest.raises(UserError, match=f"{server}/{path}") as caught:
            ImageFolder(f"{server}/{path}")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["s3://bucket/it.parquet", "hf://datasets/owner/name"])
def test_a_foreign_run_leads_to_no_address(address, tmp_path, monkeypatch):
    from datamodules import formats

    opened: list[Any] = []
    monkeypatch.setattr(formats, "_open_tables", lambda *it: opened.append(it) or ([], None))
    data = {"class_path": "ImageFolder", "init_args": {"path": address, "keep": "auto"}}
    monkeypatch.setattr(building.checkpoints, "contents", lambda _: {})
    file = tmp_path / "config.yaml"
    with pytest.raises(UserError, match=f"names data at {address}.*--trust true.* --data_dir"):
        building.data_of(data, file, file, None, trust=False)
    with pytest.raises(UserError, match="no folder"):
        building.data_of(data, file, file, tmp_path / "mine", trust=False)
    assert not opened
    with (
        only_trusted(data, file, addresses=[address]),
        pytest.raises(UserError, match="has no images"),
    ):
        ImageFolder(address)  # which the user has named
    with pytest.raises(UserError, match="has no images"):
        building.data_of(data, file, file, None, trust=True)
    assert len(opened) == 2


def test_a_removed_option_of_a_run_is_dropped_or_named(tmp_path, monkeypatch):
    monkeypatch.setattr(building.checkpoints, "contents", lambda _: {})
    args = {"path": "none", "keep": "auto", "block": 0, "near_duplicates": False}
    file = tmp_path / "config.yaml"
    for change, message in [
        ({}, "no folder none"),
        ({"keep": "disk"}, "option keep any more, .* disk"),
    ]:
        data = {"class_path": "datamodules.ImageFolder", "init_args": args | change}
        with pytest.raises(UserError, match=message):
            building.data_of(data, file, file, None, trust=False)
