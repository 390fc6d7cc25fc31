"""Pictures in and out: every mode a user's file may have, every way it may be broken."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vqclip import images
from vqclip.errors import UsageError


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def png_bytes(size=(8, 8)):
    stream = io.BytesIO()
    Image.new("RGB", size, (200, 30, 60)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "avif", "gif", "bmp", "tiff"])
def test_reads_each_format(tmp_path, ending):
    Image.new("RGB", (16, 12), (200, 30, 60)).save(tmp_path / f"a.{ending}")
    image = images.read_image(tmp_path / f"a.{ending}")
    assert (image.mode, image.size) == ("RGB", (16, 12))
    assert np.abs(np.asarray(image, int) - (200, 30, 60)).max() <= 6


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 80, (80, 80, 80)),
        ("LA", (0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
        ("P", 3, None),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 32768, (128, 128, 128)),
        ("I;16", 256, (1, 1, 1)),
    ],
)
def test_reads_each_mode_of_png(tmp_path, mode, color, expected):
    Image.new(mode, (3, 2), color).save(tmp_path / "a.png")
    image = images.read_image(tmp_path / "a.png")
    assert image.mode == "RGB"
    assert expected is None or image.getpixel((1, 1)) == expected


def test_reads_cmyk_and_transparent_palette(tmp_path):
    Image.new("CMYK", (8, 8), (0, 0, 0, 255)).save(tmp_path / "a.jpg")
    assert max(images.read_image(tmp_path / "a.jpg").getpixel((1, 1))) < 8
    Image.new("P", (8, 8), 0).save(tmp_path / "a.gif", transparency=0)
    assert images.read_image(tmp_path / "a.gif").getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_reads_16_bit_tiff_scaled(tmp_path, mode):
    Image.fromarray(np.full((4, 4), 32768, "<u2" if mode == "I;16" else ">u2")).save(tmp_path / "a.tiff")
    assert images.read_image(tmp_path / "a.tiff").getpixel((1, 1)) == (128, 128, 128)


def test_turns_by_exif_and_leaves_no_metadata(tmp_path):
    picture, exif = Image.new("RGB", (16, 8), "red"), Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif, comment="private", icc_profile=b"x" * 200)
    image = images.read_image(tmp_path / "a.jpg")
    assert image.size == (8, 16)
    assert image.info == {}


@pytest.mark.parametrize("data", [b"\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"])
def test_damaged_exif_is_no_obstacle(tmp_path, data):
    Image.new("RGB", (16, 8)).save(tmp_path / "a.jpg", exif=data)
    assert images.read_image(tmp_path / "a.jpg").size == (16, 8)


BROKEN = {
    "empty": b"",
    "text": b"this is not a picture\n" * 20,
    "truncated": png_bytes()[:50],
    "no pixels": png_header(8, 8),
    "bomb of 64 Mpx": png_header(8001, 8000),
    "bomb of 100 Mpx": png_header(10000, 10000),
    "bomb of 400 Mpx": png_header(20000, 20000),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    "psd": b"8BPS\0\x01" + b"\0" * 100,
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_file_is_a_usage_error_of_one_line(tmp_path, kind):
    path = tmp_path / "a.png"
    path.write_bytes(BROKEN[kind])
    with warnings.catch_warnings(record=True) as caught, pytest.raises(UsageError) as error:
        warnings.simplefilter("always")
        images.read_image(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert not caught
    if "bomb" in kind:
        assert "megapixels" in str(error.value)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "gif", "tiff", "bmp"])
def test_truncated_file_of_each_format(tmp_path, ending):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / f"a.{ending}")
    whole = (tmp_path / f"a.{ending}").read_bytes()
    (tmp_path / f"a.{ending}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"damaged|not a picture"):
        images.read_image(tmp_path / f"a.{ending}")


@pytest.mark.parametrize(
    "name", ["missing.png", ".", "https://example.org/a.png", "file:///etc/passwd", "x" * 300, "a\0b"]
)
def test_no_file_is_a_usage_error(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        images.read_image(name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UsageError, match="device"):
        images.read_image(tmp_path / "a.png")


def test_32_bit_picture_is_refused(tmp_path):
    Image.new("F", (4, 4), 0.5).save(tmp_path / "a.tiff")
    with pytest.raises(UsageError, match="32 bits"):
        images.read_image(tmp_path / "a.tiff")


def damaged_pictures():
    wholes = []
    for format in ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"):
        stream = io.BytesIO()
        Image.new("RGB", (16, 16), "red").save(stream, format)
        wholes.append(stream.getvalue())
    changes = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=8)
    return st.builds(damage, st.sampled_from(wholes), changes)


def damage(whole, changes):
    data = bytearray(whole)
    for place, value in changes:
        data[place % len(data)] = value
    return bytes(data)


@given(data=st.one_of(st.binary(max_size=100), damaged_pictures()))
def test_any_bytes_give_a_picture_or_a_usage_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.img"
    path.write_bytes(data)
    try:
        assert images.read_image(path).mode == "RGB"
    except UsageError as error:
        assert "\n" not in str(error)


def test_bytes_survive_the_way_through_tensors():
    pixels = np.arange(256, dtype=np.uint8).reshape(8, 32, 1).repeat(3, axis=2)
    tensor = images.to_tensor(Image.fromarray(pixels))
    assert tensor.shape == (1, 3, 8, 32) and tensor.dtype == torch.float32
    assert np.array_equal(np.asarray(images.to_pil(tensor)), pixels)
    assert np.array_equal(np.asarray(images.to_pil(tensor[0])), pixels)


def test_to_uint8_rounds_half_up_clamps_and_survives_nan():
    values = torch.tensor([0.5 / 255, 1.5 / 255, 0.4999 / 255, -3.0, 7.0, float("nan")], dtype=torch.float64)
    levels = images.to_uint8(values.expand(2, 3, 1, 6))
    assert levels.shape == (2, 1, 6, 3) and levels.dtype == np.uint8
    assert levels[1, 0, :, 2].tolist() == [1, 2, 0, 0, 255, 0]


@pytest.mark.parametrize("shape", [(8, 8), (4, 8, 8), (2, 3, 8, 8)])
def test_to_pil_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="shape"):
        images.to_pil(torch.zeros(shape))


def test_cover_keeps_the_middle():
    image = Image.new("RGB", (30, 10), "red")
    image.paste("blue", (10, 0, 20, 10))
    covered = images.cover(image, 20, 20)
    assert covered.size == (20, 20)
    assert covered.getpixel((10, 10)) == (0, 0, 255)


def test_crop_center():
    tensor = torch.arange(5 * 7).reshape(1, 1, 5, 7)
    assert images.crop_center(tensor, 3, 3)[0, 0].tolist() == [[9, 10, 11], [16, 17, 18], [23, 24, 25]]
    assert images.crop_center(tensor, 7, 5) is not None
    with pytest.raises(ValueError, match="cannot crop"):
        images.crop_center(tensor, 8, 5)


def test_contact_sheet_holds_all_images_and_cuts_captions():
    pictures = [Image.new("RGB", (20, 10), color) for color in ("red", "green", "blue")]
    captions = ["a fox", "日本 😀 \ud800", "a very long caption " * 40]
    sheet = images.contact_sheet(pictures, captions, columns=2, cell=40)
    assert sheet.size == (2 * 44 + 4, 2 * 60 + 4)
    assert sheet.getpixel((24, 24)) == (255, 0, 0) and sheet.getpixel((24, 84)) == (0, 0, 255)
    assert sheet.getpixel((70, 110)) == (255, 255, 255)
    assert images.contact_sheet(pictures, [], columns=3, cell=40).size == (3 * 44 + 4, 48)
    with pytest.raises(ValueError, match="contact sheet"):
        images.contact_sheet([], [], columns=2, cell=40)
