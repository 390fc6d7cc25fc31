"""What a picture says of itself: written in the forms of the field, read back whole, harmless when foreign."""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.records import PICTURE, record_of

from vqclip.errors import OutputError, UsageError
from vqclip.writers import metadata
from vqclip.writers.picture import save_image

ENDINGS = ("png", "jpg", "webp")


def test_parameters_in_the_form_of_automatic1111():
    assert metadata.parameters_text(record_of(["a fox:1.5", "ink wash"])) == (
        "a fox:1.5 | ink wash\n"
        "Steps: 500, Sampler: adam, Seed: 1, Size: 256x256, Model hash: ababababab, Model: tiny, Version: vqclip 0.1.0"
    )


def test_parameters_name_negative_prompts_apart():
    prompts = ["a fox", "text:-0.3", "blur:-1:-0.5", "at 8:-30", "cat:1:-0.5"]
    lines = metadata.parameters_text(record_of(prompts, negative="watermark")).split("\n")
    assert lines[:2] == ["a fox | at 8:-30 | cat:1:-0.5", "Negative prompt: text | blur | watermark"]
    assert metadata.parameters_text(record_of(["x"], negative=["a", "b"])).split("\n")[1] == "Negative prompt: a | b"


def test_parameters_quote_what_would_break_the_line():
    record = record_of(["a\nSteps: 3\r\nNegative prompt: b"])
    record["config"]["models"]["vqgan"] = 'my, model: "x"'
    lines = metadata.parameters_text(record).split("\n")
    assert lines[0] == "a Steps: 3 Negative prompt: b"
    assert r'Model: "my, model: \"x\"",' in lines[1] and len(lines) == 2


@pytest.mark.parametrize("record", [{}, {"config": None}, {"config": {"size": 3, "models": "x", "prompts": 5}}])
@pytest.mark.parametrize("ending", ENDINGS)
def test_records_without_the_usual_keys_are_written_all_the_same(tmp_path, record, ending):
    path = save_image(PICTURE, tmp_path / f"a.{ending}", record)
    assert metadata.read(path)["record"] == record


@given(
    prompts=st.lists(st.text(st.characters(exclude_categories=())), max_size=4),
    ending=st.sampled_from(ENDINGS),
)
def test_round_trip_of_any_prompt(tmp_path_factory, prompts, ending):
    record = record_of(prompts)
    path = save_image(PICTURE, tmp_path_factory.getbasetemp() / f"trip.{ending}", record)
    assert metadata.read(path) == {"parameters": metadata.parameters_text(record), "record": record}


@pytest.mark.parametrize("ending", ENDINGS)
def test_hard_prompts_come_back(tmp_path, ending):
    prompts = ["日本の狐 🦊 ē Ā", "<b>&amp;</vqclip:record>\"'", "\0\x1b[31m\ud800\x9b", "]]>", "${HOME} $(touch x)"]
    record = record_of(prompts)
    found = metadata.read(save_image(PICTURE, tmp_path / f"a.{ending}", record))
    assert found["record"] == record
    assert found["parameters"].startswith("日本の狐 🦊 ē Ā | <b>&amp;</vqclip:record>\"' | [31m\ufffd | ]]>")


def test_png_chunks_are_what_other_readers_look_for(tmp_path):
    record = record_of(["狐"])
    with Image.open(save_image(PICTURE, tmp_path / "a.png", record)) as image:
        assert image.info["parameters"] == metadata.parameters_text(record)
        assert image.info["vqclip"].isascii() and json.loads(image.info["vqclip"]) == record


@pytest.mark.parametrize("ending", ENDINGS)
def test_xmp_marks_the_picture_as_made_by_an_algorithm(tmp_path, ending):
    record = record_of(["<&>"])
    record["vqclip"] = '0.1"<&>\0\ud800'
    with Image.open(save_image(PICTURE, tmp_path / f"a.{ending}", record)) as image:
        packet = image.info["xmp"]
    root = ElementTree.fromstring(packet)
    description = root.find(".//{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    source = description.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert source == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert description.get("{http://ns.adobe.com/xap/1.0/}CreatorTool") == 'vqclip 0.1"<&>\ufffd'


@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_exif_comment_is_utf_16_as_the_standard_says(tmp_path, ending):
    with Image.open(save_image(PICTURE, tmp_path / f"a.{ending}", record_of(["狐"]))) as image:
        comment = image.getexif().get_ifd(0x8769)[0x9286]
    assert comment.startswith(b"UNICODE\0\x72\xd0\0\n\0S")


@pytest.mark.parametrize("ending", [*ENDINGS, "jpeg"])
def test_no_metadata_leaves_nothing(tmp_path, ending):
    picture = PICTURE.copy()
    picture.info.update(comment=b"private", icc_profile=b"x" * 200, exif=b"Exif\0\0private", parameters="private")
    path = save_image(picture, tmp_path / f"a.{ending}", None)
    assert metadata.read(path) == {"parameters": None, "record": None}
    assert not re.search(rb"private|vqclip|EXIF|Exif|xmp|ICC|tEXt|iTXt|tIME|prompt", path.read_bytes())


@pytest.mark.parametrize("length", [30_000, 300_000])
def test_jpeg_keeps_a_shortened_record_of_what_is_too_long(tmp_path, length):
    record = record_of(["狐" * length])
    assert not metadata.fits(record, "JPEG") and metadata.fits(record, "PNG") == (length == 30_000)
    found = metadata.read(save_image(PICTURE, tmp_path / "a.jpg", record))
    assert found["record"]["shortened"] is True and found["record"]["config"]["seed"] == 1
    assert found["parameters"].endswith("Version: vqclip 0.1.0")
    record["config"]["models"]["vqgan"] = "x" * 100_000
    found = metadata.read(save_image(PICTURE, tmp_path / "a.jpg", record))
    assert found["record"] == {"schema": 1, "vqclip": "0.1.0", "shortened": True}


def test_long_record_fits_webp_and_png(tmp_path):
    record = record_of(["a fox, " * 20_000])
    for ending in ("png", "webp"):
        assert metadata.read(save_image(PICTURE, tmp_path / f"a.{ending}", record))["record"] == record


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1]", "3", "null", "[" * 100_000, '{"a":' * 100_000, '{"a": "' + "x" * 2**21 + '"}', "9" * 10_000],
)
def test_hostile_json_is_no_record(tmp_path, text):
    info = metadata.PngImagePlugin.PngInfo()
    info.add_itxt("vqclip", text)
    PICTURE.save(tmp_path / "a.png", pnginfo=info)
    assert metadata.read(tmp_path / "a.png")["record"] is None


def test_foreign_metadata(tmp_path):
    info = metadata.PngImagePlugin.PngInfo()
    info.add_text("parameters", "a fox\nSteps: 20, Sampler: Euler a", zip=True)
    PICTURE.save(tmp_path / "a.png", pnginfo=info)
    assert metadata.read(tmp_path / "a.png")["parameters"].startswith("a fox\n")
    comments = {b"UNICODE\0" + "a fox".encode("utf-16-le"): "a fox", b"ASCII\0\0\0a fox\0": "a fox", b"\0" * 8: None}
    for comment, expected in comments.items():
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9286] = comment
        PICTURE.save(tmp_path / "a.jpg", exif=exif)
        assert metadata.read(tmp_path / "a.jpg") == {"parameters": expected, "record": None}
    PICTURE.save(tmp_path / "a.webp", xmp=b"<x vqclip:record='{&quot;a&quot;: &#x22;&amp;lt;&#x22;}'/>\xff")
    assert metadata.read(tmp_path / "a.webp")["record"] == {"a": "&lt;"}


def test_a_file_that_is_no_picture_is_a_usage_error(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    for name in ("a.png", "missing.png", "."):
        with pytest.raises(UsageError):
            metadata.read(tmp_path / name)


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    record = record_of(["a fox 狐"])
    return {ending: save_image(PICTURE, folder / f"a.{ending}", record).read_bytes() for ending in ENDINGS}


@given(
    ending=st.sampled_from(ENDINGS),
    changes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=8),
    noise=st.none() | st.binary(max_size=60),
)
def test_reader_survives_any_bytes(tmp_path_factory, written, ending, changes, noise):
    data = bytearray(written[ending] if noise is None else noise)
    for place, value in changes if data else ():
        data[place % len(data)] = value
    path = tmp_path_factory.getbasetemp() / f"fuzz.{ending}"
    path.write_bytes(data)
    try:
        found = metadata.read(path)
    except UsageError:
        return
    assert found["parameters"] is None or isinstance(found["parameters"], str)
    assert found["record"] is None or isinstance(found["record"], dict)


@pytest.mark.parametrize("ending", ENDINGS)
def test_same_picture_same_bytes(tmp_path, ending):
    paths = [save_image(PICTURE, tmp_path / f"{name}.{ending}", record_of(["a"])) for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_pixels_are_those_of_the_picture(tmp_path, ending):
    with Image.open(save_image(PICTURE, tmp_path / f"a.{ending}", None)) as image:
        assert image.size == (16, 12)
        assert all(abs(a - b) <= 4 for a, b in zip(image.convert("RGB").getpixel((3, 3)), (200, 30, 60), strict=True))


def test_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = save_image(PICTURE, tmp_path / "a.png", None)
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vqclip.atomic.os.fsync", full)
    with pytest.raises(OutputError, match="disk is full"):
        save_image(Image.new("RGB", (64, 64)), path, record_of(["x"]))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_unknown_ending_and_picture_too_large_for_the_format(tmp_path):
    with pytest.raises(UsageError, match="known are"):
        save_image(PICTURE, tmp_path / "a.bmp", None)
    with pytest.raises(OutputError, match="as WEBP"):
        save_image(Image.new("RGB", (16400, 1)), tmp_path / "a.webp", None)
    assert not list(tmp_path.iterdir())
