"""Files are written whole or not at all."""

import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from runtime import files
from runtime.errors import UserError


def test_the_content_is_on_disk_before_the_file_gets_its_name_and_then_the_name(
    tmp_path, monkeypatch
):
    seen: list[tuple[bytes | str, bool]] = []
    path = tmp_path / "a.txt"

    def fsync(descriptor: int) -> None:
        folder = os.path.samestat(os.fstat(descriptor), tmp_path.stat())
        seen.append(("folder" if folder else os.pread(descriptor, 9, 0), path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    files.write(path, lambda partial: partial.write_text("content"))
    assert seen == [(b"content", False), ("folder", True)]
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(("function", "error"), [("open", 13), ("fsync", 22)])
def test_a_system_that_flushes_no_folders_is_no_error(function, error, tmp_path, monkeypatch):
    (tmp_path / "file").touch()

    def refuse(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, function, refuse)
    files.fsync(tmp_path)
    with pytest.raises(OSError, match=os.strerror(error)):
        files.fsync(tmp_path / "file")


def test_incomplete_files_are_removed_once_they_are_old(tmp_path):
    old, young, whole = (tmp_path / name for name in (".a.partial", ".b.partial.ckpt", "c.ckpt"))
    for path in (old, young, whole):
        path.touch()
    os.utime(old, (0, 0))
    files.remove_partial_files(tmp_path, 60.0)
    assert {*tmp_path.iterdir()} == {young, whole}
    files.remove_partial_files(tmp_path)
    assert {*tmp_path.iterdir()} == {whole}


def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    """Not one with an earlier version's name, nor one whose name was guessed."""
    folder, victim = tmp_path / "run", tmp_path / "victim"
    folder.mkdir()
    victim.write_text("precious")
    (folder / ".a.partial.txt").symlink_to(victim)
    (folder / "a.txt").symlink_to(victim)
    files.write(folder / "a.txt", lambda partial: partial.write_text("content"))
    assert victim.read_text() == "precious"
    monkeypatch.setattr("secrets.token_hex", lambda count: "guessed")
    files.partial_name(folder / "a.txt").symlink_to(victim)
    with pytest.raises(FileExistsError):
        files.write(folder / "a.txt", lambda partial: partial.write_text("other"))
    assert (folder / "a.txt").read_text() == "content"
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("save", [partial(np.savez, a=1), partial(np.savez_compressed, a=1)])
def test_a_file_has_its_suffix_and_the_usual_mode(save, tmp_path):
    """numpy appends `.npz` to other names."""
    before = os.umask(0o027)
    try:
        files.write(tmp_path / "a.npz", save)
    finally:
        os.umask(before)
    assert (tmp_path / "a.npz").stat().st_mode & 0o777 == 0o640
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(
    ("link", "target", "leads_out"),
    [
        ("checkpoints/last.ckpt", "epoch=0.ckpt", False),
        ("a", "nowhere", False),
        ("a", "a", False),
        ("a", "checkpoints/../checkpoints", False),
        ("checkpoints/last.ckpt", "../../runs/epoch=0.ckpt", True),
        ("figures", "/etc", True),
        (".lock", "../nowhere", True),
        ("checkpoints/a", "../inside", True),  # by way of a link inside
        ("a", "../run-2", True),
        ("a", "/proc/self/root\x1b[2J", True),
    ],
)
def test_links_out_of_a_folder_are_refused(link, target, leads_out, tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (tmp_path / "alias").symlink_to(run)
    if target == "../inside":
        (run / "inside").symlink_to("..")
    (run / link).symlink_to(target)
    for folder in (run, tmp_path / "alias"):
        refused = pytest.raises(UserError, match=r"^[ -~]+ add --trust true$")
        with refused if leads_out else nullcontext():
            files.check_links(folder)


def test_pipes_and_huge_files_are_refused_unread(tmp_path):
    """A pipe has no end, and a sparse file takes no space on a disk."""
    pipe, csv, json = (tmp_path / name for name in ("pipe", "a.csv", "a.json"))
    os.mkfifo(pipe)
    for path in (csv, json):
        path.touch()
        os.truncate(path, 3_000_000_000)
    with pytest.raises(UserError, match=r"pipe is no file: remove it, or add --trust true"):
        files.check_links(tmp_path)
    with pytest.raises(UserError, match=r"a\.json: .*has 3,000,000,000 bytes"):
        files.read_json(json)
    with pytest.raises(ValueError, match="has 3,000,000,000 bytes"):
        files.complete_lines(csv)
    for read in (files.read_json, files.complete_lines):
        with pytest.raises((UserError, ValueError), match="is no file"):
            read(pipe)


def test_damaged_lines_are_left_out(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"step,loss\n1,0.5\n2,\0\0\0\n3,0.25\n4,0.")
    assert files.complete_lines(tmp_path / "a.csv") == "step,loss\n1,0.5\n3,0.25\n"
    assert files.complete_lines(tmp_path / "b.csv") == ""


def test_numbers_that_are_not_finite_become_null(tmp_path):
    files.write_json(tmp_path / "a.json", {"a": [float("nan"), 1.0], 2: float("-inf")})
    assert files.read_json(tmp_path / "a.json") == {"a": [None, 1.0], "2": None}


def test_no_file_is_empty_and_what_is_no_json_object_is_one_line(tmp_path):
    assert files.read_json(tmp_path / "a.json") == files.read_json(tmp_path / "a" / "b.json") == {}
    for content in (b"{", b"[1]", b"null", b"", b"\0", b"\xff\xfe", 100_000 * b"[", b"1" * 5000):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.json: .*JSON"):
            files.read_json(tmp_path / "a.json")


def test_an_error_of_the_disk_names_the_file(tmp_path):
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device") as caught:
        files.write(tmp_path / "x.csv", full)
    assert caught.value.filename == str(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0.0 kB"), (1_500, "1.5 kB"), (2_500_000, "2.5 MB"), (1_234_500_000_000, "1,234.5 GB")],
)
def test_a_size_has_the_unit_that_suits_it(nbytes, text):
    assert files.describe_size(nbytes) == text
