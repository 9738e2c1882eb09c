"""Decoded images are kept for the next run."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from datamodules import ImageFolder, image_cache
from datamodules.image_files import read_image
from tests.datamodules.pictures import loaded, parts, write_images

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were decoded."""
    found: list[Path] = []

    def record(path: Path) -> Image.Image:
        found.append(path)
        return read_image(path)

    monkeypatch.setattr(image_cache, "read_image", record)
    return found


def entries(photos: Path) -> list[Path]:
    return sorted((photos / ".ladder").iterdir())


def test_the_second_run_decodes_nothing(
    photos: Path, decodings: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = parts(loaded(photos))
    assert len(decodings) == 20
    moved = photos.rename(photos.with_name("moved"))
    assert parts(loaded(moved)) == first
    assert len(decodings) == 20
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("Images")]
    assert said[0].startswith(
        "Images 3 x 8 x 8 of 2 classes (cat, dog): 14 training, 4 validation, 2 test; decoded in "
    )
    assert said[1].endswith(f"; from the cache in {moved}/.ladder.")


def test_other_content_shape_or_fit_is_decoded_again(photos: Path, decodings: list[Path]) -> None:
    loaded(photos)
    loaded(photos, size=9)
    loaded(photos, fit="pad")
    assert len(decodings) == 60
    write_images(photos / "cat", 1, seed=1)
    loaded(photos)
    assert len(decodings) == 80


def test_a_damaged_cache_is_replaced(photos: Path, decodings: list[Path]) -> None:
    first = parts(loaded(photos))
    (entry,) = entries(photos)
    whole = entry.read_bytes()
    middle = len(whole) // 2
    damaged = [b"", b"x", whole[:middle], whole[:middle] + b"\xff\x00" + whole[middle + 2 :]]
    for data in damaged:
        entry.write_bytes(data)
        decodings.clear()
        assert parts(loaded(photos)) == first
        assert len(decodings) == 20
        assert entry.read_bytes() == whole
    assert entries(photos) == [entry]


def test_without_cache_nothing_is_written(photos: Path) -> None:
    loaded(photos, cache=False)
    assert not (photos / ".ladder").exists()


def test_a_folder_that_is_not_writable_is_cached_for_the_user(
    photos: Path, decodings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / ".ladder").write_text("a file, where a folder is needed")
    first = parts(loaded(photos))
    assert parts(loaded(photos)) == first
    assert len(decodings) == 20
    monkeypatch.setenv("XDG_CACHE_HOME", str(photos / ".ladder"))
    with pytest.warns(UserWarning, match="cannot be kept for the next run"):
        loaded(photos)


def test_several_runs_may_write_the_cache_at_once(photos: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: parts(loaded(photos)), range(4)))
    assert all(splits == found[0] for splits in found)
    assert len(entries(photos)) == 1


def test_preparing_decodes_once_and_the_other_processes_find_the_cache(
    photos: Path, decodings: list[Path]
) -> None:
    first, other = (ImageFolder(str(photos), size=8) for _ in "ab")
    first.prepare_data()
    first.setup()
    other.setup()
    assert parts(first) == parts(other)
    assert len(decodings) == 20
