"""Image files of every mode become images of one shape."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.image_files import (
    SUFFIXES,
    UnreadableImageError,
    find_images,
    read_image,
    to_tensor,
)

GRADIENT = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
RED = (255, 0, 0)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def palette() -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, 0, 0, 255])
    image.putpixel((1, 0), 1)
    return image


def pixel(image: Image.Image, x: int = 0, y: int = 0) -> Any:
    return image.getpixel((x, y))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_is_found_and_read(suffix, tmp_path):
    path = saved(tmp_path / f"a{suffix.upper()}", Image.new("RGB", (5, 4), RED))
    (tmp_path / ".ladder").mkdir()
    for name in (".ladder/a.png", ".b.png", "c.txt"):
        (tmp_path / name).touch()
    assert list(find_images(tmp_path)) == [path]
    image = read_image(path)
    assert (image.mode, image.size) == ("RGB", (5, 4))
    np.testing.assert_allclose(pixel(image), RED, atol=3)  # JPEG and WebP lose a little


def test_a_hidden_folder_may_vanish_during_the_search(tmp_path, monkeypatch):
    """Another run writes its images into a temporary folder in `.ladder`, and removes it."""
    path = saved(tmp_path / "a.png", Image.new("RGB", (5, 4)))
    (tmp_path / ".ladder" / "gone").mkdir(parents=True)
    scandir = os.scandir

    def without_gone(folder: Any = ".") -> Any:
        if Path(os.fspath(folder)).name == "gone":
            raise FileNotFoundError(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", without_gone)
    assert list(find_images(tmp_path)) == [path]


WHITE = (255, 255, 255)
SOURCES: dict[str, tuple[Image.Image, dict[str, Any], tuple[int, ...]]] = {
    "1 bit": (Image.new("1", (2, 2), 1), {}, WHITE),
    "gray": (Image.new("L", (2, 2), 70), {}, (70, 70, 70)),
    "gray with alpha": (Image.new("LA", (2, 2), (0, 0)), {}, WHITE),
    "gray with a transparent value": (Image.new("L", (2, 2), 7), {"transparency": 7}, WHITE),
    "16 bits": (Image.fromarray(np.full((2, 2), 257 * 70, np.uint16)), {}, (70, 70, 70)),
    "32 bits": (Image.fromarray(np.full((2, 2), 65535, np.int32)), {}, WHITE),
    "half transparent": (Image.new("RGBA", (2, 2), (255, 0, 0, 51)), {}, (255, 204, 204)),
    "palette": (palette(), {}, RED),
    "transparent palette": (palette(), {"transparency": 0}, WHITE),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_mode_becomes_color_on_white(kind, tmp_path):
    source, options, expected = SOURCES[kind]
    path = saved(tmp_path / ("a.tiff" if source.mode == "I" else "a.png"), source, **options)
    image = read_image(path)
    assert (image.mode, pixel(image)) == ("RGB", expected)
    if len({*expected}) == 1:  # gray stays what it is in one channel
        assert to_tensor(image.crop((0, 0, 1, 1)), (1, 1, 1)).item() == expected[0]


def test_all_levels_of_16_bits_are_scaled_alike(tmp_path):
    """65,535 is 255 times 257; a division by 256 would make a dark level lighter."""
    levels = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    image = read_image(saved(tmp_path / "a.png", Image.fromarray(levels)))
    assert np.array_equal(np.asarray(image)[..., 0], levels // 257)


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (5, 3)), (6, (3, 0))])
def test_a_turned_photograph_is_upright(orientation, corner, tmp_path):
    source = Image.new("L", (6, 4))
    source.putpixel((0, 0), 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image(saved(tmp_path / "a.png", source, exif=exif))
    assert image.size == ((4, 6) if orientation == 6 else (6, 4))
    assert pixel(image, *corner) == (255, 255, 255)


def test_files_that_cannot_be_read_are_named_with_the_reason(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8))
    whole = saved(tmp_path / "a.jpg", noise)
    cut, text = tmp_path / "cut.jpg", tmp_path / "text.png"
    cut.write_bytes(whole.read_bytes()[:600])
    text.write_text("hello")
    floating = saved(tmp_path / "f.tiff", Image.fromarray(np.zeros((2, 2), np.float32)))
    for path, reason in {cut: "truncated", text: "not an image", floating: "floating"}.items():
        with pytest.raises(UnreadableImageError, match=reason):
            read_image(path)


def png(width: int, height: int) -> bytes:
    """A PNG of a palette of this size in its header, with hardly any pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = {b"IHDR": header, b"PLTE": bytes(6), b"IDAT": zlib.compress(bytes(9)), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )


def icon(width: int, height: int) -> bytes:
    """An ICO that claims 16 x 16 pixels and contains a PNG of this size."""
    data = png(width, height)
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(data), 22) + data


SMALL_FILES = {
    "palette": (png(13_300, 13_300), "13,300 x 13,300 pixels, max_pixels is 67,108,864: shr"),
    "above Pillow's limit": (png(40_000, 40_000), "1600000000 pixels"),
    "in an icon": (icon(13_300, 13_300), "not an image in a format that can be read"),
}


@pytest.mark.parametrize("kind", SMALL_FILES)
def test_a_small_file_of_too_many_pixels_is_refused_before_it_is_decoded(kind, tmp_path):
    data, message = SMALL_FILES[kind]
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UnreadableImageError, match=message):
        read_image(tmp_path / "a.png")


def test_a_jpeg_above_the_limit_is_decoded_at_half_its_size(tmp_path):
    photo = Image.linear_gradient("L").resize((80, 60))
    path = saved(tmp_path / "a.jpg", photo, quality=95)
    half = read_image(path, max_pixels=1200)
    assert half.size == (40, 30)
    whole = to_tensor(read_image(path, max_pixels=4800), (1, 8, 8)).int()
    assert (to_tensor(half, (1, 8, 8)).int() - whole).abs().max() <= 2
    with pytest.raises(UnreadableImageError, match="80 x 60 pixels, max_pixels is 1,199"):
        read_image(path, max_pixels=1199)


def test_crop_pad_and_stretch_of_a_wide_image():
    """A white square between black sides, 3 : 1."""
    wide = Image.new("L", (90, 30))
    wide.paste(255, (30, 0, 60, 30))
    crop, pad, stretch = (to_tensor(wide, (1, 9, 9), fit)[0] for fit in ("crop", "pad", "stretch"))
    assert (crop[:, 2:-2] > 250).all()  # the middle
    assert (pad[[0, 1, -2, -1]] == 255).all()  # white edges above and below
    assert pad[4, 0] == 0
    assert (stretch[:, [0, 1, -2, -1]] < 5).all()
    assert (stretch[:, 4] > 250).all()


@pytest.mark.parametrize("size", [(1000, 10), (10, 1000)])
def test_a_thin_image_is_padded_to_a_line(size):
    padded = to_tensor(Image.new("L", size), (1, 9, 9), "pad")[0]
    lines = padded if size[0] > size[1] else padded.T
    assert lines.tolist() == [[255] * 9] * 4 + [[0] * 9] + [[255] * 9] * 4


@pytest.mark.parametrize("size", [(30_000, 1), (1, 30_000)])
def test_a_thin_image_is_not_enlarged_to_pad_it(size, monkeypatch):
    """One of 1 x 1,000,000 pixels would take 55 GB."""
    resize, sizes = Image.Image.resize, []

    def record(self: Image.Image, size: tuple[int, int], *args: Any, **options: Any) -> Image.Image:
        sizes.append(size)
        return resize(self, size, *args, **options)

    monkeypatch.setattr(Image.Image, "resize", record)
    padded = to_tensor(Image.new("L", size), (1, 9, 9), "pad")
    assert (padded == 0).sum() == 9
    assert max(width * height for width, height in sizes) <= 81


def test_shrinking_averages_instead_of_picking_pixels():
    board = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    small = to_tensor(board, (1, 8, 8)).float()
    assert small.sub(127.5).abs().max() < 3


@pytest.mark.parametrize("shape", [(1, 4, 6), (3, 4, 6), (3, 8, 2)])
def test_channels_and_sides_are_those_wanted(shape):
    for mode in ("L", "RGB"):
        tensor = to_tensor(Image.fromarray(GRADIENT).convert(mode), shape)
        assert (tuple(tensor.shape), tensor.dtype) == (shape, torch.uint8)
        assert tensor.is_contiguous()
    same = to_tensor(Image.fromarray(GRADIENT), (1, 4, 6))
    assert torch.equal(same[0], torch.from_numpy(GRADIENT))
    red = to_tensor(Image.new("RGB", (3, 3), RED), (3, 2, 2))
    assert red[:, 0, 0].tolist() == [255, 0, 0]  # channels first
