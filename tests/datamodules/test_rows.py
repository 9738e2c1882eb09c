"""Rows in a file: equal batches in all places, reading ahead, and the choice of a place."""

import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from datamodules import BatchLoader, Split, rows
from datamodules.rows import FileRows, OpenFile, choose_place, free_memory, put
from runtime.errors import UserError
from tests.datamodules.pictures import loaded, parts

CPU = torch.device("cpu")
GB = 10**9


def in_file(path: Path, pixels: torch.Tensor) -> FileRows:
    path.write_bytes(pixels.numpy().tobytes())
    return FileRows(OpenFile(path), tuple(pixels.shape[1:]), torch.arange(len(pixels)))


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (23, 3, 4, 5), dtype=torch.uint8)


def test_rows_of_a_file_are_those_of_the_tensor(pixels, tmp_path):
    found = in_file(tmp_path / "it", pixels)
    (tmp_path / "it").unlink()  # as another run may do
    assert (len(found), tuple(found.shape), found.nbytes) == (23, (23, 3, 4, 5), 23 * 60)
    some = torch.tensor([7, 0, 22, 7])
    for index in (some, slice(3, 9), slice(None), torch.arange(23) % 2 == 0, some[:0]):
        assert torch.equal(found[index], pixels[index])
        assert torch.equal(found.take(index)[:], pixels[index])
    assert torch.equal(Split(found, torch.arange(23)).take(some).inputs[1:3], pixels[some[1:3]])


def test_rows_are_read_where_no_call_reads_at_a_place(pixels, tmp_path, monkeypatch):
    """As on Windows."""
    monkeypatch.delattr(os, "preadv")
    found = in_file(tmp_path / "it", pixels)
    assert torch.equal(found[torch.tensor([7, 0, 22])], pixels[[7, 0, 22]])
    os.truncate(tmp_path / "it", 100)
    with pytest.raises(UserError, match="ends before its image 1"):
        found[:]


def test_a_file_that_has_become_shorter_is_one_line(pixels, tmp_path):
    found = in_file(tmp_path / "it", pixels)
    os.truncate(tmp_path / "it", 100)
    with pytest.raises(UserError, match=r"ends before its image 1: .*cache --clear"):
        found[:]


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("block", [0, 3])
def test_batches_are_equal_in_all_places_and_after_a_change_of_place(
    world_size, shuffle, block, pixels, tmp_path
):
    targets = torch.arange(23)
    places = [(pixels, targets), (in_file(tmp_path / "it", pixels), targets)]
    for rank in range(world_size):
        device, disk = (
            BatchLoader(it, 8, rank, world_size, shuffle=shuffle, seed=3, block=block)
            for it in places
        )
        expected = list(device)
        for found, batch in zip(disk, expected, strict=True):
            assert all(map(torch.equal, found, batch))
        begun = iter(disk)
        next(begun)  # others are read ahead, and do not count
        state = disk.state_dict()
        begun.close()  # type: ignore[attr-defined]  # a generator
        again = BatchLoader(places[0], 8, rank, world_size, shuffle=shuffle, block=block)
        again.load_state_dict(state)
        if shuffle:
            assert [b[1].tolist() for b in again] == [b[1].tolist() for b in expected[1:]]


class Slow(FileRows):
    """Each read takes 20 ms."""

    def __getitem__(self, index: Any) -> torch.Tensor:
        time.sleep(0.02)
        return super().__getitem__(index)


def test_batches_are_read_while_the_model_computes(pixels, tmp_path):
    known = in_file(tmp_path / "it", pixels)
    slow = Slow(known.file, (3, 4, 5), known.numbers)
    waited = []
    begin = time.perf_counter()
    for _ in BatchLoader((slow, torch.arange(23)), 1, shuffle=True):
        waited.append(time.perf_counter() - begin)
        time.sleep(0.02)
        begin = time.perf_counter()
    assert sorted(waited)[len(waited) // 2] < 0.01
    assert threading.active_count() < 10  # the readers have ended


def test_an_error_of_a_reader_reaches_the_run(pixels, tmp_path):
    found = in_file(tmp_path / "it", pixels)
    os.truncate(tmp_path / "it", 700)
    with pytest.raises(UserError, match="ends before its image"):
        list(BatchLoader((found, torch.arange(23)), 4, shuffle=True))


def test_blocks_are_shuffled_and_rows_within_some_of_them():
    count, block = 10_000, 10
    loader = BatchLoader((torch.arange(count),), 100, shuffle=True, block=block)
    order = torch.cat([batch for (batch,) in loader])
    assert order.sort().values.tolist() == list(range(count))
    near = order[: 16 * block].div(block, rounding_mode="floor").unique()
    assert len(near) == 16  # the first rows come from 16 blocks,
    assert near.max() - near.min() > 100  # which lie anywhere
    assert not torch.equal(order[:20].sort().values, order[:20])
    assert torch.equal(order, torch.cat([batch for (batch,) in loader]))
    loader.set_epoch(1)
    assert not torch.equal(order, torch.cat([batch for (batch,) in loader]))


@pytest.mark.parametrize(
    ("free", "shared", "processes", "place"),
    [
        (8 * GB, 8 * GB, 1, "device"),
        (8 * GB, 8 * GB, 2, "memory"),  # twice on the device would be too much
        (8 * GB, GB, 2, "disk"),  # as in a container
        (3 * GB, 8 * GB, 1, "disk"),
    ],
)
def test_a_place_has_four_times_the_room(free, shared, processes, place, monkeypatch):
    monkeypatch.setattr(rows, "free_memory", lambda device: free)
    monkeypatch.setattr(rows.shutil, "disk_usage", lambda _: SimpleNamespace(free=shared))
    assert choose_place(2 * GB, CPU, processes) == place


def test_the_limit_of_a_job_counts(tmp_path, monkeypatch):
    group = tmp_path / "job_1" / "step_0"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("100\n")
    (group / "memory.stat").write_text("anon 40\nactive_file 10\ninactive_file 50\n")
    job = {
        "memory.max": "1000",
        "memory.current": "400",
        "memory.stat": "active_file 100\ninactive_file 200",
    }
    for name, text in job.items():
        (tmp_path / "job_1" / name).write_text(text)
    assert rows._limits(tmp_path, "job_1/step_0") == [900]  # the page cache can be given up
    old = {"memory.limit_in_bytes": "70", "memory.usage_in_bytes": "50"}
    for name, text in old.items():
        (group / name).write_text(text)
    (group / "memory.stat").write_text("total_active_file 2\ntotal_inactive_file 3")
    assert min(rows._limits(tmp_path, "job_1/step_0")) == 25
    assert 0 < free_memory(CPU) < 2**50


@pytest.mark.parametrize("keep", ["memory", "disk"])
def test_images_that_are_kept_elsewhere_train_in_the_same_order(keep, photos):
    device, other = loaded(photos, keep="device"), loaded(photos, keep=keep)
    assert isinstance(other.train_dataloader().arrays[0], FileRows)
    for one, two in zip(device.train_dataloader(), other.train_dataloader(), strict=True):
        assert all(map(torch.equal, one, two))
    assert parts(device) == parts(other)


def test_a_batch_that_fits_nowhere_is_one_line(photos, monkeypatch):
    monkeypatch.setattr("datamodules.base.free_memory", lambda device: 5_000)
    with pytest.raises(UserError, match="a batch of 8 examples .* smaller --data.batch_size"):
        loaded(photos, batch_size=16).train_dataloader()


def test_shared_memory_that_is_too_small_is_one_line(pixels, monkeypatch):
    monkeypatch.setattr(rows, "create", lambda path: os.open("/dev/full/x", os.O_WRONLY))
    with pytest.raises(UserError, match=r"has no room .*--data.keep disk.*--shm-size"):
        put(pixels, "memory", CPU, None, 0)
    assert not list(rows.shared_folder().glob(".*.rows.partial*"))


def test_blocks_and_balanced_classes_exclude_each_other(photos):
    with pytest.raises(UserError, match="--data.balanced false or --data.block 0"):
        loaded(photos, balanced=True, block=4)
