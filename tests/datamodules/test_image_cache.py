"""The cache of decoded images: what is decoded again, interruptions, damage, size and memory."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import image_cache
from datamodules.image_cache import ImageCache, entries
from datamodules.image_files import read_image, to_tensor
from datamodules.image_sources import find_parts
from runtime.errors import UserError
from tests.datamodules.pictures import loaded, parts, write_classes, write_images


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

    monkeypatch.setattr(image_cache, "read_image", record)
    return found


def decoded(root: Path, size: int = 8) -> image_cache.Decoded:
    sources = find_parts(root, labelled=True)[0]["train"]
    return ImageCache(root, (3, size, size), "crop", 10**6).load(sources, range(len(sources)))


def test_only_new_and_changed_images_are_decoded(photos, decodings):
    first = parts(loaded(photos))
    assert parts(loaded(photos)) == first
    assert len(decodings) == 20
    loaded(photos, size=9)
    loaded(photos, fit="pad")
    loaded(photos, max_pixels=10_000)  # a JPEG above it is decoded otherwise
    assert len(decodings) == 80
    write_images(photos / "bird", 10)
    os.utime(photos / "cat" / "3.png", (1, 1))
    again = loaded(photos)
    assert len(decodings) == 91
    assert set.union(*first) < set.union(*parts(again))
    assert not (photos / ".ladder").exists()


def test_images_are_those_of_the_files_whatever_was_decoded_before(photos):
    """The place of an image in the cache depends on the history, its content does not."""
    write_images(photos / "eel", 3)
    decoded(photos)
    write_images(photos / "bird", 4)
    (photos / "cat" / "2.png").unlink()
    found = decoded(photos)
    sources = find_parts(photos, labelled=True)[0]["train"]
    expected = torch.stack([to_tensor(read_image(it.path), (3, 8, 8)) for it in sources])
    assert torch.equal(found.images[:], expected)
    alone = ImageCache(photos, (3, 8, 8), "crop", 10**5)  # decodes all of them anew
    assert alone.load(sources, range(len(sources))).content == found.content


def damage_cut(folder: Path) -> None:
    with (folder / "pixels.u8").open("r+b") as file:
        file.truncate(1000)


def damage_swapped(folder: Path) -> None:
    pixels = np.fromfile(folder / "pixels.u8", np.uint8)
    pixels[::-1].tofile(folder / "pixels.u8")


def damage_zeros_behind(folder: Path) -> None:
    """As some file systems leave behind after a power cut."""
    with (folder / "index").open("ab") as file:
        file.write(bytes(300))


def damage_index(folder: Path) -> None:
    (folder / "index").write_bytes(os.urandom(500))


def damage_gone(folder: Path) -> None:
    (folder / "pixels.u8").unlink()


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize(
    "damage", [damage_cut, damage_swapped, damage_zeros_behind, damage_index, damage_gone]
)
def test_a_damaged_cache_is_replaced(damage, photos):
    first = decoded(photos)
    whole = first.images[:]
    (folder,) = entries()
    damage(folder)
    for _ in range(2):
        again = decoded(photos)
        assert torch.equal(again.images[:], whole)
        assert again.content == first.content


def test_swapped_pixels_are_said(photos):
    decoded(photos)
    damage_swapped(entries()[0])
    with pytest.warns(UserWarning, match=r"is damaged: the images are decoded again"):
        decoded(photos)


def test_a_full_disk_is_one_line_and_nothing_is_lost(photos, decodings, monkeypatch):
    monkeypatch.setattr(image_cache, "CHUNK_FILES", 4)
    fsync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device.*LADDER_CACHE"):
        decoded(photos)
    assert len(decodings) == 12
    decoded(photos)
    assert len(decodings) == 12 + 20 - 8  # two groups of four are there


def test_a_cache_that_cannot_be_written_is_one_line(photos, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written.*LADDER_CACHE"):
        decoded(photos)


def test_a_link_in_the_cache_is_not_followed(photos, tmp_path):
    decoded(photos)
    (folder,) = entries()
    (tmp_path / "other").touch()
    (folder / "pixels.u8").unlink()
    (folder / "pixels.u8").symlink_to(tmp_path / "other")
    with pytest.raises(UserError, match="cannot be written"):
        decoded(photos)
    assert not (tmp_path / "other").read_bytes()


def test_several_runs_at_once_decode_once(photos, decodings):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: decoded(photos).images[:], range(4)))
    assert all(torch.equal(images, found[0]) for images in found)
    assert len(decodings) == 20


def test_the_sets_that_were_not_used_for_the_longest_time_leave_first(tmp_path, monkeypatch):
    monkeypatch.setattr(image_cache, "LIMIT", 12_000 / 1e9)  # GB: two sets of 20 x 192 bytes
    roots = [write_classes(tmp_path / name) for name in "abc"]
    decoded(roots[0])
    decoded(roots[1])
    later = time.time() + 5
    os.utime(entries()[-1] / "about.json", (later, later))  # the first is used again
    used = entries()[0]
    decoded(roots[2])
    assert len(entries()) == 2
    assert used in entries()


@pytest.mark.parametrize("max_pixels", [36, 36 * 8])
def test_two_images_of_the_largest_size_are_decoded_at_a_time(max_pixels, tmp_path, monkeypatch):
    """Eight at a time would take eight times the memory."""
    for i in range(4):
        Image.new("RGB", (6, 6)).save(tmp_path / f"{i}.png")
    counts, busy = [0], [0]

    def slow(*args: Any) -> torch.Tensor:
        busy[0] += 1
        counts.append(busy[0])
        time.sleep(0.02)
        busy[0] -= 1
        return to_tensor(*args)

    monkeypatch.setattr(image_cache, "to_tensor", slow)
    sources = find_parts(tmp_path, labelled=False)[0]["train"]
    ImageCache(tmp_path, (1, 2, 2), "crop", max_pixels).load(sources, range(4))
    assert (max(counts) <= 2) == (max_pixels == 36)
