"""Decoded images in a file: what is decoded again, what is stored, damage, links and limits."""

import errno
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import BatchLoader, ImageFolder, Split, base, store
from datamodules.folders import find_in_folder
from datamodules.image_files import read_image, to_tensor
from datamodules.store import Store, StoredImages, entries, hash_of
from runtime.errors import UserError
from tests.datamodules.pictures import loaded, parts, stored, write_classes, write_images


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LADDER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def decodings(monkeypatch):
    """One entry for each image that was decoded."""
    found: list[int] = []

    def record(*options: Any) -> Image.Image:
        found.append(1)
        return read_image(*options)

    monkeypatch.setattr(store, "read_image", record)
    return found


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (23, 3, 4, 5), dtype=torch.uint8)


def decoded(root: Path, size: int = 8) -> StoredImages:
    found = Store(str(root), (3, size, size), "crop", 10**6, True)
    return found.load(find_in_folder(root, labeled=True))


def file_of(name: str = "pixels.npy") -> Path:
    return entries()[0] / name


# -- what is decoded again ------------------------------------------------------------------------


def test_a_set_is_decoded_once_and_again_after_each_change(photos, decodings):
    first = parts(loaded(photos))
    assert parts(loaded(photos)) == first
    assert len(decodings) == 20
    loaded(photos, size=9)
    loaded(photos, fit="pad")
    loaded(photos, max_pixels=10_000)  # a JPEG above it is decoded otherwise
    assert len(decodings) == 80
    write_images(photos / "bird", 10)
    assert set.union(*first) < set.union(*parts(loaded(photos)))
    assert len(decodings) == 110
    os.utime(photos / "cat" / "3.png", (1, 1))
    loaded(photos)
    (photos / "cat" / "3.png").unlink()
    loaded(photos)
    assert len(decodings) == 110 + 30 + 29
    assert len(entries()) == 4  # a changed set replaces the old one
    assert not (photos / ".ladder").exists()


def test_images_are_those_of_the_files_in_their_order_with_all_that_is_known(photos, monkeypatch):
    monkeypatch.setattr(store, "CHUNK_FILES", 7)
    (photos / "cat" / "2.png").write_bytes(b"no image")
    Image.new("RGB", (30, 40), (3, 9, 5)).save(photos / "dog" / "2.png")
    found = decoded(photos)
    paths = sorted(photos.rglob("*.png"))
    assert found.about["names"] == [str(path.relative_to(photos)) for path in paths]
    good = [i for i in range(20) if i != 2]
    expected = torch.stack([to_tensor(read_image(paths[i]), (3, 8, 8)) for i in good])
    assert torch.equal(found[torch.tensor(good)], expected)
    assert found.facts["size"][[2, 12]].tolist() == [[0, 0], [30, 40]]
    assert (found.facts["lightest"][12], found.facts["label"].tolist()) == (9, [0] * 10 + [1] * 10)
    assert found.facts["hash"][good].tolist() == [hash_of(image.numpy()) for image in expected]
    assert found.about["failures"] == ["cat/2.png (not an image in a format that can be read)"]


def test_several_runs_at_once_decode_once(photos, decodings):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: decoded(photos)[:], range(4)))
    assert all(torch.equal(images, found[0]) for images in found)
    assert len(decodings) == 20


def test_the_sets_that_were_not_used_for_the_longest_time_leave_first(tmp_path, monkeypatch):
    roots = [write_classes(tmp_path / name) for name in "abc"]
    decoded(roots[0])
    monkeypatch.setattr(store, "LIMIT", 2.5 * store.size_of(entries()[0]) / 1e9)
    decoded(roots[1])
    later = time.time() + 5
    os.utime(entries()[-1], (later, later))  # the first is used again
    used = entries()[0]
    decoded(roots[2])
    assert len(entries()) == 2
    assert used in entries()


@pytest.mark.parametrize("max_pixels", [36, 36 * 8])
def test_two_images_of_the_largest_size_are_decoded_at_a_time(max_pixels, tmp_path, monkeypatch):
    """More at a time would take more memory."""
    for i in range(4):
        Image.new("RGB", (6, 6)).save(tmp_path / f"{i}.png")
    counts, busy = [0], [0]

    def slow(*args: Any) -> torch.Tensor:
        busy[0] += 1
        counts.append(busy[0])
        time.sleep(0.02)
        busy[0] -= 1
        return to_tensor(*args)

    monkeypatch.setattr(store, "to_tensor", slow)
    found = Store(str(tmp_path), (1, 2, 2), "crop", max_pixels, False)
    found.load(find_in_folder(tmp_path, labeled=False))
    assert (max(counts) <= 2) == (max_pixels == 36)


# -- damage, a full disk, links -------------------------------------------------------------------


def cut(name: str) -> None:
    os.truncate(file_of(name), 1000)


def noise(name: str) -> None:
    file_of(name).write_bytes(os.urandom(5000))


def gone(name: str) -> None:
    file_of(name).unlink()


def fifo(name: str) -> None:
    gone(name)
    os.mkfifo(file_of(name))


def of_another(name: str) -> None:
    other = {"pixels.npy": np.zeros((20, 3, 9, 9), np.uint8), "index.npz": {"about": np.zeros(3)}}
    save = np.save if name == "pixels.npy" else np.savez
    save(file_of(name), **{"arr": other[name]} if name == "pixels.npy" else other[name])


def objects(name: str) -> None:
    array = np.array([{}] * 20, dtype=object)
    np.save(file_of(name), array) if name == "pixels.npy" else np.savez(file_of(name), about=array)


@pytest.mark.parametrize("name", ["pixels.npy", "index.npz"])
@pytest.mark.parametrize("damage", [cut, noise, gone, fifo, of_another, objects])
def test_a_damaged_file_is_decoded_again(damage, name, photos):
    first = decoded(photos)
    whole, content = first[:], first.about["content"]
    damage(name)
    again = decoded(photos)
    assert torch.equal(again[:], whole)
    assert again.about["content"] == content


def test_no_bit_of_the_header_of_pixels_may_change(photos):
    """NumPy evaluates it, and raises errors of many kinds."""
    decoded(photos)
    source, found = find_in_folder(photos, True), Store(str(photos), (3, 8, 8), "crop", 10**6, True)
    assert found._open(source)
    content = file_of().read_bytes()
    for bit in range(128 * 8):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        file_of().write_bytes(changed)
        assert found._open(source) is None


@pytest.mark.parametrize("place", [200, -1])
def test_changed_pixels_never_train_and_are_decoded_again(place, photos, decodings):
    data = loaded(photos, test_fraction=0.5, val_fraction=0)
    whole = parts(data)
    content = bytearray(file_of().read_bytes())
    content[place] ^= 1
    file_of().write_bytes(content)
    for _ in range(2):
        data = loaded(photos, test_fraction=0.5, val_fraction=0)
        batches = (it for name in ("train", "test") for it in data._loader(name))
        with pytest.raises(UserError, match=r"pixels.npy: image \d+ is not what was decoded.*last"):
            list(batches)
        again = loaded(photos, test_fraction=0.5, val_fraction=0)
        assert parts(again) == whole
        file_of().write_bytes(content)
    assert len(decodings) == 20 + 2 * 20


def test_all_images_are_compared_before_they_lie_on_the_device(photos, monkeypatch):
    decoded_ = loaded(photos)
    monkeypatch.setenv("LADDER_EXAMPLES", "device")
    assert isinstance(decoded_.train_dataloader().arrays[0], torch.Tensor)
    content = bytearray(file_of().read_bytes())
    content[128:] = bytes(len(content) - 128)
    file_of().write_bytes(content)
    with pytest.raises(UserError, match="is not what was decoded"):
        loaded(photos).train_dataloader()


def test_a_full_disk_is_one_line_and_leaves_nothing(photos, monkeypatch):
    def full(self: Any, images: Any, chunk: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Store, "_decode_into", full)
    with pytest.raises(UserError, match="No space left on device.* 0.00 GB.*LADDER_CACHE"):
        decoded(photos)
    assert not [*entries()[0].iterdir()]


def test_a_cache_that_cannot_be_written_is_one_line(photos, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written.*LADDER_CACHE"):
        decoded(photos)


@pytest.mark.parametrize("name", ["pixels.npy", "index.npz", ""])
def test_nothing_is_written_through_a_link(name, photos, tmp_path):
    decoded(photos)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    if name:
        (file_of(name)).unlink()
        (file_of(name)).symlink_to(victim)
        decoded(photos)
        assert not file_of(name).is_symlink()
    else:
        folder, outside = entries()[0], tmp_path / "outside"
        folder.rename(outside)
        folder.symlink_to(outside)
        before = {path: path.stat().st_mtime_ns for path in outside.iterdir()}
        with pytest.raises(UserError, match="is a link: remove it"):
            decoded(photos)
        assert {path: path.stat().st_mtime_ns for path in outside.iterdir()} == before
        assert not entries()
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_no_picture_is_read_through_a_link_out_of_the_folder(kind, photos, tmp_path):
    if kind == "file":
        (photos / "cat/2.png").rename(tmp_path / "mine.png")
        (photos / "cat/2.png").symlink_to(tmp_path / "mine.png")
    else:
        (photos / "cat").rename(tmp_path / "mine")
        (photos / "cat").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match=r"cat/\d.png is outside of .*photos: copy the file there"):
        loaded(photos)


def test_a_link_inside_of_the_folder_is_a_picture(photos, tmp_path):
    (photos / "cat/2.png").rename(photos / "dog/a.png")
    (photos / "cat/2.png").symlink_to("../dog/a.png")
    (tmp_path / "link").symlink_to(photos)
    with pytest.warns(UserWarning, match="1 images in .* equal another one"):
        assert len(set.union(*parts(loaded(tmp_path / "link")))) == 20


def test_the_lock_is_no_link(photos, tmp_path):
    decoded(photos)
    lock = Path(f"{entries()[0]}.lock")
    lock.unlink()
    (tmp_path / "victim").write_text("mine")
    lock.symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match="cannot be written"):
        decoded(photos)
    assert (tmp_path / "victim").read_text() == "mine"


def test_files_of_a_killed_decoding_leave_with_the_next(photos):
    decoded(photos)
    file_of("index.npz").unlink()
    left = entries()[0] / ".0123456789abcdef.pixels.partial.npy"
    left.touch()
    decoded(photos)
    assert not left.exists()
    assert stat.S_IMODE(entries()[0].stat().st_mode) == 0o700


def test_a_picture_that_the_disk_refuses_is_one_line(photos, monkeypatch):
    real = os.open

    def refuse(path: str, *args: Any, **options: Any) -> Any:
        if Path(path).name == "3.png":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match=r"3.png cannot be read \(Input/output error\)"):
        decoded(photos)


def test_no_more_is_read_of_a_huge_sparse_file_than_its_pixels_can_have(photos, monkeypatch):
    os.truncate(photos / "cat" / "2.png", 0)
    os.truncate(photos / "cat" / "2.png", 3 * 10**9)
    sizes: list[int] = []
    monkeypatch.setattr(store, "count_pixels", lambda content: sizes.append(len(content)) or 1)
    found = decoded(photos)
    assert found.about["failures"] == ["cat/2.png (not an image in a format that can be read)"]
    assert max(sizes) == 8 * 10**6  # eight bytes for each of `max_pixels`


# -- reading --------------------------------------------------------------------------------------


def test_rows_of_a_file_are_those_of_the_tensor(pixels, tmp_path):
    found = stored(pixels, tmp_path)
    (tmp_path / "pixels.npy").unlink()  # as another run may do
    assert (len(found), tuple(found.shape), found.nbytes) == (23, (23, 3, 4, 5), 23 * 60)
    some = torch.tensor([7, 0, 22, 7])
    for index in (some, slice(3, 9), slice(None), torch.arange(23) % 2 == 0, some[:0]):
        assert torch.equal(found[index], pixels[index])
        assert torch.equal(found.take(index)[:], pixels[index])
        assert len(found.take(index).facts) == len(pixels[index])
    assert torch.equal(Split(found, torch.arange(23)).take(some).inputs[1:3], pixels[some[1:3]])


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_are_equal_from_a_file_and_after_a_change_of_place(
    world_size, shuffle, pixels, tmp_path
):
    targets = torch.arange(23)
    places = [(pixels, targets), (stored(pixels, tmp_path), targets)]
    for rank in range(world_size):
        device, disk = (
            BatchLoader(it, 8, rank, world_size, shuffle=shuffle, seed=3) for it in places
        )
        expected = list(device)
        for found, batch in zip(disk, expected, strict=True):
            assert all(map(torch.equal, found, batch))
        begun = iter(disk)
        next(begun)
        again = BatchLoader(places[0], 8, rank, world_size, shuffle=shuffle)
        again.load_state_dict(disk.state_dict())
        if shuffle:
            assert [b[1].tolist() for b in again] == [b[1].tolist() for b in expected[1:]]


@pytest.mark.parametrize("place", ["device", "file"])
def test_images_train_in_the_same_order_wherever_they_are(place, photos, monkeypatch):
    expected = [batch for batch in loaded(photos).train_dataloader()]
    monkeypatch.setenv("LADDER_EXAMPLES", place)
    loader = loaded(photos).train_dataloader()
    assert isinstance(loader.arrays[0], torch.Tensor if place == "device" else StoredImages)
    for one, two in zip(expected, loader, strict=True):
        assert all(map(torch.equal, one, two))


def test_examples_that_a_gpu_has_no_room_for_stay_where_they_are(photos, monkeypatch):
    gpu, free = torch.device("cuda"), [20 * 192 * 4]
    monkeypatch.setattr(base, "free_memory", lambda device: free[0])
    moved: list[Any] = []
    monkeypatch.setattr(StoredImages, "to", lambda images, device: moved.append(device))
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: tensor)
    data = loaded(photos, batch_size=1)
    for free[0] in (20 * 192 * 4 - 1, 20 * 192 * 4):
        inputs, _ = data._put(data.splits.train, gpu)
        assert isinstance(inputs, StoredImages) == (not moved)
    assert moved == [gpu]


def test_a_batch_that_fits_nowhere_is_one_line(photos, monkeypatch):
    monkeypatch.setattr(base, "free_memory", lambda device: 5_000)
    with pytest.raises(UserError, match="a batch of 8 examples .* smaller --data.batch_size"):
        loaded(photos, batch_size=16).train_dataloader()
    monkeypatch.undo()
    assert 0 < base.free_memory(torch.device("cpu")) < 2**50


# -- options of earlier versions ------------------------------------------------------------------


def test_a_checkpoint_of_an_earlier_version_continues_with_its_defaults(photos):
    from types import SimpleNamespace

    from lightning.pytorch.trainer.states import TrainerFn

    class Own(ImageFolder):
        """One of a user."""

    data = Own(str(photos), size=8)
    data.setup()
    state = data.state_dict()
    data.trainer = SimpleNamespace(state=SimpleNamespace(fn=TrainerFn.FITTING))
    state["identity"] |= {"near_duplicates": False, "block": 0}
    data.load_state_dict(state)
    state["identity"] |= {"near_duplicates": True}
    with pytest.raises(
        UserError, match="has no option near_duplicates any more, and here it is True"
    ):
        data.load_state_dict(state)
