"""Colors of pictures are those that their profiles mean; masks and long texts are read as they are meant."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from support.command_line import CommandLine
from support.profiles import SPACES, cmyk_profile, gray_profile, profile_of, stored_as
from support.runs import draw, small

import vqclip
from vqclip import images
from vqclip.errors import UsageError
from vqclip.writers import metadata
from vqclip.writers.picture import save_image

pytestmark = pytest.mark.usefixtures("one_thread")
COLORS = [(230, 41, 29), (70, 160, 90), (30, 60, 200), (128, 128, 128), (255, 255, 255), (0, 0, 0), (250, 220, 40)]


def near(found: object, wanted: object, levels: int = 2) -> bool:
    return bool(np.abs(np.asarray(found, int) - np.asarray(wanted, int)).max() <= levels)


def in_space(space: str, size: tuple[int, int] = (64, 64)) -> Image.Image:
    """Return columns of known colors as another space stores them."""
    picture = Image.new("RGB", size)
    width = size[0] // len(COLORS) + 1
    for place, color in enumerate(COLORS):
        picture.paste(stored_as(color, space), (place * width, 0, (place + 1) * width, size[1]))
    return picture


# --- profiles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tiff", "avif"])
@pytest.mark.parametrize("space", [name for name in SPACES if name != "sRGB"])
def test_a_picture_with_a_profile_is_read_as_srgb(tmp_path: Path, space: str, ending: str) -> None:
    options = {"quality": 100, "subsampling": "4:4:4"} if ending in ("jpg", "avif") else {}
    options |= {"lossless": True} if ending == "webp" else {}
    in_space(space, (70, 8)).save(tmp_path / f"a.{ending}", icc_profile=profile_of(space), **options)
    image = images.read_image(tmp_path / f"a.{ending}")
    assert image.mode == "RGB" and image.info == {}
    found = [image.getpixel((place * 11 + 5, 4)) for place in range(6)]
    assert near(found, COLORS[:6], 3 if ending in ("png", "tiff", "webp") else 20)


def test_the_numbers_of_the_report_are_the_color_that_was_meant(tmp_path: Path) -> None:
    assert near(stored_as((230, 41, 29), "ProPhoto"), (159, 70, 34), 1)
    Image.new("RGB", (4, 4), (159, 70, 34)).save(tmp_path / "a.png", icc_profile=profile_of("ProPhoto"))
    assert near(images.read_image(tmp_path / "a.png").getpixel((1, 1)), (230, 41, 29))


def test_a_profile_that_is_srgb_by_any_name_changes_no_level(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    for mode in ("RGB", "RGBA"):
        Image.fromarray(pixels).convert(mode).save(tmp_path / "a.png", icc_profile=profile_of("sRGB"))
        assert np.array_equal(np.asarray(images.read_image(tmp_path / "a.png")), pixels)


def test_gray_levels_and_inks_have_profiles_too(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 128).save(tmp_path / "a.png", icc_profile=gray_profile(1.0))
    assert near(images.read_image(tmp_path / "a.png").getpixel((1, 1)), (188, 188, 188), 1)
    Image.fromarray(np.full((4, 4), 128 * 257, np.uint16)).save(tmp_path / "b.png", icc_profile=gray_profile(1.0))
    assert near(images.read_image(tmp_path / "b.png").getpixel((1, 1)), (188, 188, 188), 1)
    for name in ("c.jpg", "c.tiff"):
        ink = Image.new("CMYK", (16, 16), (0, 255, 0, 0))
        ink.paste((0, 0, 0, 0), (0, 0, 8, 16))
        ink.save(tmp_path / name, icc_profile=cmyk_profile((50, 60, 20)), quality=100)
        image = images.read_image(tmp_path / name)
        # Lab (50, 60, 20) of D50 in sRGB
        assert near(image.getpixel((13, 8)), (206, 60, 88), 4) and near(image.getpixel((2, 8)), (255, 255, 255))


def test_a_profile_keeps_transparency_and_palettes(tmp_path: Path) -> None:
    stored = stored_as((230, 41, 29), "ProPhoto")
    layer = Image.new("RGBA", (8, 8), (*stored, 255))
    layer.paste((*stored, 0), (0, 0, 4, 8))
    layer.save(tmp_path / "a.png", icc_profile=profile_of("ProPhoto"))
    few = Image.new("P", (8, 8), 1)
    few.putpalette([0, 0, 0, *stored])
    few.paste(0, (0, 0, 4, 8))
    few.save(tmp_path / "b.png", icc_profile=profile_of("ProPhoto"), transparency=0)
    for name in ("a.png", "b.png"):
        image = images.read_image(tmp_path / name)
        assert near(image.getpixel((6, 4)), (230, 41, 29)) and image.getpixel((1, 4)) == (255, 255, 255)


@pytest.mark.parametrize(
    "data", [b"x" * 200, profile_of("ProPhoto")[:300], bytes(200), gray_profile(1.0), cmyk_profile((50, 60, 20))],
    ids=["noise", "cut", "zeros", "gray", "inks"],
)  # fmt: skip
def test_a_profile_that_is_damaged_or_of_another_kind_changes_nothing(tmp_path: Path, data: bytes) -> None:
    Image.new("RGB", (4, 4), (159, 70, 34)).save(tmp_path / "a.png", icc_profile=data)
    assert images.read_image(tmp_path / "a.png").getpixel((1, 1)) == (159, 70, 34)


def test_what_a_mask_keeps_of_a_picture_with_a_profile_has_its_colors(tmp_path: Path) -> None:
    in_space("ProPhoto").save(tmp_path / "in.png", icc_profile=profile_of("ProPhoto"))
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 32, 64, 64))
    mask.save(tmp_path / "mask.png", icc_profile=gray_profile(1.0))
    init = {"kind": "image", "image": str(tmp_path / "in.png"), "mask": str(tmp_path / "mask.png")}
    (file,) = draw(small(steps=1, init=init)).save(tmp_path / "out.png")
    with Image.open(file) as image:
        assert near(image.getpixel((4, 8)), (230, 41, 29)) and "icc_profile" not in image.info


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_what_is_written_is_srgb_and_carries_no_profile(tmp_path: Path, name: str) -> None:
    picture = Image.new("RGB", (8, 8), (230, 41, 29))
    picture.info["icc_profile"] = profile_of("ProPhoto")
    save_image(picture, tmp_path / name, {"schema": 1})
    with Image.open(tmp_path / name) as image:
        assert "icc_profile" not in image.info and near(image.convert("RGB").getpixel((4, 4)), (230, 41, 29), 4)


# --- masks and transparent colors ------------------------------------------------------------------------------------


def test_white_paint_on_a_transparent_layer_is_a_mask(tmp_path: Path) -> None:
    layer = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    layer.paste((255, 255, 255, 255), (0, 0, 4, 8))
    layer.paste((255, 255, 255, 128), (4, 0, 5, 8))
    layer.save(tmp_path / "a.png")
    levels, clear = images.read_mask(tmp_path / "a.png")
    assert clear and levels.mode == "L"
    assert [levels.getpixel((x, 4)) for x in (1, 4, 6)] == [255, 128, 0]
    opaque, clear = Image.new("RGBA", (8, 8), (255, 255, 255, 255)), None
    opaque.save(tmp_path / "b.png")
    levels, clear = images.read_mask(tmp_path / "b.png")
    assert not clear and levels.getextrema() == (255, 255)


@pytest.mark.parametrize("mode", ["L", "1", "I;16", "RGB", "P", "LA", "RGBA"])
def test_a_transparent_color_is_transparent_in_every_mode(tmp_path: Path, mode: str) -> None:
    gray = np.zeros((8, 8), np.uint8)
    gray[:, 4:] = 200
    if mode == "I;16":
        picture = Image.fromarray(gray.astype(np.uint16) * 257)
    elif mode in ("LA", "RGBA"):
        picture = Image.fromarray(gray).convert(mode)
        picture.putalpha(Image.fromarray(np.where(gray == 0, 0, 255).astype(np.uint8)))
    else:
        picture = Image.fromarray(gray).convert(mode, dither=Image.Dither.NONE)
    black = {"RGB": (0, 0, 0)}.get(mode, 0)
    if mode == "P":
        black = picture.getpixel((0, 0))
    options = {} if mode in ("LA", "RGBA") else {"transparency": black}
    picture.save(tmp_path / "a.png", **options)
    bright = 255 if mode == "1" else 200
    image, (levels, clear) = images.read_image(tmp_path / "a.png"), images.read_mask(tmp_path / "a.png")
    assert image.getpixel((1, 4)) == (255, 255, 255) and near(image.getpixel((6, 4)), (bright,) * 3, 6)
    assert clear and levels.getpixel((1, 4)) == 0 and near(levels.getpixel((6, 4)), bright, 6)


def test_a_transparent_mask_is_told_of_and_lets_only_its_paint_change(cli: CommandLine) -> None:
    in_space("sRGB").save("in.png")
    layer = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    layer.paste((255, 255, 255, 255), (0, 32, 64, 64))
    layer.save("mask.png")
    ran = cli.draw("a red cat", "--init-image", "in.png", "--mask", "mask.png", "-o", "out.png", "--steps", "1")
    assert ran.code == 0 and ran.err.count("where the mask is transparent it counts as black") == 1
    was, now = (np.asarray(Image.open(name).convert("RGB")) for name in ("in.png", "out.png"))
    assert np.array_equal(was[:32], now[:32]) and not np.array_equal(was[32:], now[32:])


# --- long texts ------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


LONG = zlib.compress(b"a" * (3 * 2**20))
TEXTS = {
    "zTXt": chunk(b"zTXt", b"workflow\0\0" + LONG),
    "iTXt": chunk(b"iTXt", b"workflow\0\1\0\0\0" + LONG),
    "tEXt": chunk(b"tEXt", b"workflow\0" + b"a" * (2 * 2**20)),
    "many": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b"a" * 2**20)) * 80,
}


@pytest.mark.parametrize("place", ["before the pixels", "behind them"])
@pytest.mark.parametrize("kind", TEXTS)
def test_a_long_text_in_a_png_harms_neither_pixels_nor_other_texts(tmp_path: Path, kind: str, place: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("parameters", "a cat\nSteps: 3")
    stream = io.BytesIO()
    in_space("sRGB").save(stream, "PNG", pnginfo=info)
    whole = stream.getvalue()
    at = whole.index(b"IDAT") - 4 if place == "before the pixels" else whole.index(b"IEND") - 4
    (tmp_path / "a.png").write_bytes(whole[:at] + TEXTS[kind] + whole[at:])
    assert np.array_equal(np.asarray(images.read_image(tmp_path / "a.png")), np.asarray(in_space("sRGB")))
    assert metadata.read(tmp_path / "a.png")["parameters"] == "a cat\nSteps: 3"


def test_a_profile_beyond_what_can_be_read_is_named(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "PNG")
    whole = stream.getvalue()
    at = whole.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(whole[:at] + chunk(b"iCCP", b"x\0\0" + LONG) + whole[at:])
    with pytest.raises(UsageError, match="color profile of over 1 MB: convert it to sRGB"):
        images.read_image(tmp_path / "a.png")


def test_an_init_image_with_a_long_text_begins_a_run(tmp_path: Path) -> None:
    stream = io.BytesIO()
    in_space("sRGB").save(stream, "PNG")
    whole = stream.getvalue()
    (tmp_path / "a.png").write_bytes(whole[:33] + TEXTS["zTXt"] + whole[33:])
    config = small(steps=0, init={"kind": "image", "image": str(tmp_path / "a.png")})
    assert isinstance(draw(config), vqclip.Result)
