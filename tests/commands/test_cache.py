"""`cache` lists and clears the decoded images."""

import os

import pytest
from filelock import FileLock

from commands.cache import cache
from datamodules.store import entries
from runtime.errors import UserError
from tests.datamodules.pictures import loaded, write_classes


def test_sets_are_listed_and_cleared(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LADDER_CACHE", str(tmp_path / "cache"))
    cache(clear="all")
    assert "Removed 0 of 0 sets" in capsys.readouterr().out
    photos = write_classes(tmp_path / "photos")
    data = loaded(photos)
    loaded(photos, size=9)
    cache()
    listed = capsys.readouterr().out
    assert f"{tmp_path / 'cache'}: 2 sets" in listed
    assert f"3 x 9 x 9  {photos}" in listed
    key = entries()[0].name
    with pytest.raises(UserError, match=f"--clear all2: there is no such set: one of {key}, "):
        cache(clear="all2")
    with FileLock(f"{entries()[0]}.lock"), pytest.raises(UserError, match="is decoding"):
        cache(clear=key)
    cache(clear=key)
    assert len(entries()) == 1
    old = tmp_path / "cache" / "0123456789abcdef"  # as an earlier version has left it
    old.mkdir()
    os.mkfifo(old / "index.npz")
    cache()
    assert "incomplete, or of an earlier version" in capsys.readouterr().out
    cache(clear="all")
    assert not entries()
    assert len(next(iter(data.train_dataloader()))[0])  # a run keeps what it has opened
