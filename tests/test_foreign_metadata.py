"""Metadata that other programs read and write: EXIF comments in their forms, and pictures that they made."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import piexif
import piexif.helper
import pytest
import sd_parsers
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from support.command_line import CommandLine
from support.records import PICTURE, record_of

from vqclip import config as configs
from vqclip.errors import UsageError
from vqclip.writers import comment, foreign, metadata
from vqclip.writers.picture import save_image

SETTINGS = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1234567890, Size: 512x768, Model hash: abc, Model: dream"


def png(path: Path, **texts: str) -> Path:
    """Write a PNG with these texts."""
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_itxt(name.replace("_DASH_", "-"), text)
    PICTURE.save(path, pnginfo=info)
    return path


def commented(path: Path, value: bytes, form: str = "undefined") -> Path:
    """Write a JPEG or WebP whose UserComment has these bytes, as Pillow (BYTE) or piexif (UNDEFINED) write it."""
    if form == "undefined":
        block = piexif.dump({"Exif": {piexif.ExifIFD.UserComment: value}})
    else:
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9286] = value
        block = exif.tobytes()
    PICTURE.save(path, exif=block)
    return path


# what is written


@pytest.mark.parametrize("ending", ["jpg", "webp"])
@pytest.mark.parametrize("prompt", ["a fox", "狐 🦊 ē", "x" * 30_000, "🦊" * 30_000], ids=lambda text: text[:5])
def test_piexif_reads_the_comment_as_automatic1111_does(tmp_path: Path, ending: str, prompt: str) -> None:
    record = record_of([prompt])
    path = save_image(PICTURE, tmp_path / f"a.{ending}", record)
    value = piexif.load(str(path))["Exif"][piexif.ExifIFD.UserComment]
    assert isinstance(value, bytes)
    text = piexif.helper.UserComment.load(value)
    if len(prompt) < 10:
        assert text == metadata.parameters_text(record)
    assert text.startswith(prompt[:5000]) and text.endswith("Version: vqclip 0.1.0")
    assert metadata.read(path)["parameters"] == text


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_exiftool_finds_the_comment_in_the_standards_form(tmp_path: Path, ending: str) -> None:
    path = save_image(PICTURE, tmp_path / f"a.{ending}", record_of(["狐 🦊"]))
    told = subprocess.run(
        ["exiftool", "-json", "-warning", "-validate", "-a", "-UserComment", "-ExifVersion", path],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    (found,) = json.loads(told.stdout)
    assert found["UserComment"].startswith("狐 🦊\nSteps: 500") and found["ExifVersion"] == "0232"
    assert "Non-standard" not in told.stdout and (ending == "jpg" or found["Validate"] == "OK")


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_sd_parsers_finds_prompts_seed_and_steps(tmp_path: Path, ending: str) -> None:
    path = save_image(PICTURE, tmp_path / f"a.{ending}", record_of(["a red car: with, commas | snow:0.5 | blur:-0.3"]))
    found = sd_parsers.ParserManager().parse(str(path))
    (sampler,) = found.samplers
    assert [p.value for p in sampler.prompts] == ["a red car: with, commas | snow:0.5"]
    assert [p.value for p in sampler.negative_prompts] == ["blur"]
    assert sampler.parameters["seed"] == "1" and sampler.parameters["steps"] == "500"
    assert found.metadata["Size"] == "256x256"


@pytest.mark.parametrize(
    ("prompts", "negative", "lines"),
    [
        (["a red car: with, commas | snow:0.5 | blur:-0.3"], [], ["a red car: with, commas | snow:0.5", "blur"]),
        (["blur:-0.3 | a red car: with, commas"], [], ["a red car: with, commas", "blur"]),
        (["fog:-1e-1:0.5|a hut", "mist: -.5"], [], ["a hut", "fog | mist"]),
        ([r"one \| two:-1 | at 8:-30"], ["text:2|mud:-1"], ["at 8:-30 | mud", r"one \| two | text"]),
        (["zero:0 | a hut"], [], ["zero:0 | a hut"]),
        (["a hut:1e999 | b"], [], ["a hut:1e999 | b"]),
        ([r"a\:-3"], [], [r"a\:-3"]),
    ],
)
def test_parts_are_sorted_by_their_own_sign(prompts: list[str], negative: list[str], lines: list[str]) -> None:
    found = metadata.parameters_text(record_of(prompts, negative=negative)).split("\n")
    told = [lines[0], *(f"Negative prompt: {text}" for text in lines[1:])]
    assert found[:-1] == told


# comments in the forms of others

TEXTS = [
    "a fox\nSteps: 20, Seed: 3",
    "日本の狐",
    "一个 红色 的 汽车",
    "カメラ",
    "ひつじ",
    "赤い",
    "Лиса",
    "a 🦊",
    "빨간 차",
    "qué ñandú",
    "ab",
]
CODES = {"UNICODE": b"UNICODE\0", "none": b"", "undefined": b"\0" * 8, "ASCII": b"ASCII\0\0\0"}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-be", "utf-16-le", "utf-16"])
def test_behind_unicode_any_order_and_utf_8_are_read(text: str, encoding: str) -> None:
    for little in (False, True):
        assert comment.decode(b"UNICODE\0" + text.encode(encoding), little) == text


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("ending", ["jpg", "webp"])
@pytest.mark.parametrize("form", ["undefined", "byte"])
def test_every_code_is_read_from_files(tmp_path: Path, code: str, ending: str, form: str) -> None:
    path = commented(tmp_path / f"a.{ending}", CODES[code] + "a café 狐\nSteps: 3".encode() + b"\0\0", form)
    assert metadata.read(path)["parameters"] == "a café 狐\nSteps: 3"


def test_the_japanese_code_and_what_is_no_text() -> None:
    assert comment.decode(b"JIS\0\0\0\0\0" + "赤い狐".encode("iso2022_jp")) == "赤い狐"
    assert not comment.decode(b"\0" * 8) and not comment.decode(b"")
    assert comment.decode(b"UNICODE\0\0\1\1\0") is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(list(CODES)), st.booleans())
def test_any_bytes_are_a_text_or_none(body: bytes, code: str, little: bool) -> None:
    found = comment.decode(CODES[code] + body, little)
    assert found is None or (isinstance(found, str) and "\0" not in found.rstrip("\0"))


# pictures that others made


def test_automatic1111(tmp_path: Path) -> None:
    text = rf"""a (red:1.3) fox \(animal\), [[snow]] <lora:ink:0.8>
second line
Negative prompt: blur, (text:1.2)
ugly
{SETTINGS}, Lora hashes: "ink: 12, x: 3", Version: v1.9.3"""
    for path in (
        png(tmp_path / "a.png", parameters=text),
        commented(tmp_path / "a.jpg", piexif.helper.UserComment.dump(text, "unicode")),
    ):
        found = foreign.read(path)
        assert found.program == "AUTOMATIC1111's web UI or its kin"
        assert found.prompt == "a red fox (animal), snow second line" and found.negative == "blur, text ugly"
        assert (found.seed, found.size, found.steps) == (1234567890, (512, 768), 20)
        left = {"Sampler", "CFG scale", "Model", "Lora hashes", "lora:ink:0.8", "weights inside the prompt"}
        assert left <= set(found.left)
    assert foreign.read(png(tmp_path / "b.png", parameters=f"Negative prompt: mud\n{SETTINGS}")).negative == "mud"


SAMPLER = {"seed": 99, "steps": 28, "cfg": 7.5, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
GRAPH: dict[str, Any] = {
    "3": {"class_type": "KSampler", "inputs": {**SAMPLER, "model": ["4", 0], "positive": ["6", 0],
                                               "negative": ["7", 0], "latent_image": ["5", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "dream.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 640, "height": 448, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse (at night:1.2)", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blur, embedding:bad", "clip": ["4", 1]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}},
}  # fmt: skip


def graph(**changes: Any) -> str:
    return json.dumps({**GRAPH, **changes})


def test_comfyui(tmp_path: Path) -> None:
    found = foreign.read(png(tmp_path / "a.png", prompt=graph(), workflow="{}"))
    assert (found.program, found.prompt, found.negative) == ("ComfyUI", "a lighthouse at night", "blur")
    assert (found.seed, found.size, found.steps) == (99, (640, 448), 28)
    assert {"cfg", "sampler_name", "ckpt_name dream.safetensors", "embedding:bad"} <= set(found.left)
    exif = Image.Exif()
    exif[0x0110], exif[0x010F] = "prompt:" + graph(), "workflow:{}"
    PICTURE.save(tmp_path / "a.webp", exif=exif)
    assert foreign.read(tmp_path / "a.webp") == found


def test_comfyui_through_other_nodes(tmp_path: Path) -> None:
    """A text from a node of its own, two prompts joined, a control net, a negative that is nothing, a second pass."""
    refiner = {**SAMPLER, "seed": 5, "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["3", 0]}
    text = graph(**{
        "1": {"class_type": "KSampler", "inputs": refiner},
        "3": {"class_type": "KSampler", "inputs": {**SAMPLER, "seed": ["20", 0], "positive": ["30", 0],
                                                   "negative": ["30", 1], "latent_image": ["5", 0]}},
        "20": {"class_type": "Seed (rgthree)", "inputs": {"seed": 2**64 - 1}},
        "30": {"class_type": "ControlNetApplyAdvanced", "inputs": {"positive": ["31", 0], "negative": ["32", 0],
                                                                   "image": ["6", 0], "strength": 1.0}},
        "31": {"class_type": "ConditioningCombine", "inputs": {"conditioning_1": ["6", 0],
                                                               "conditioning_2": ["33", 0]}},
        "32": {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["6", 0]}},
        "33": {"class_type": "CLIPTextEncode", "inputs": {"text": ["34", 0]}},
        "34": {"class_type": "PrimitiveStringMultiline", "inputs": {"value": "a storm"}},
    })  # fmt: skip
    found = foreign.read(png(tmp_path / "a.png", prompt=text))
    assert (found.prompt, found.negative) == ("a lighthouse at night, a storm", "")
    assert (found.seed, found.steps) == (2**64 - 1, 28)


def test_comfyui_with_a_guider(tmp_path: Path) -> None:
    """The nodes that models such as Flux are used with."""
    nodes = {
        "1": ("SamplerCustomAdvanced", {"noise": ["2", 0], "guider": ["3", 0], "sigmas": ["4", 0],
                                        "latent_image": ["5", 0]}),
        "2": ("RandomNoise", {"noise_seed": 7}),
        "3": ("BasicGuider", {"conditioning": ["6", 0], "model": ["8", 0]}),
        "4": ("BasicScheduler", {"steps": 4, "scheduler": "simple", "model": ["8", 0]}),
        "5": ("EmptySD3LatentImage", {"width": 1024, "height": 768}),
        "6": ("FluxGuidance", {"guidance": 3.5, "conditioning": ["7", 0]}),
        "7": ("CLIPTextEncodeFlux", {"clip_l": "a hut", "t5xxl": "a hut", "guidance": 3.5}),
        "8": ("UNETLoader", {"unet_name": "flux"}),
    }  # fmt: skip
    text = json.dumps({number: {"class_type": kind, "inputs": inputs} for number, (kind, inputs) in nodes.items()})
    found = foreign.read(png(tmp_path / "a.png", prompt=text))
    assert (found.prompt, found.negative, found.seed, found.steps) == ("a hut", "", 7, 4)
    assert found.size == (1024, 768)


def test_comfyui_by_its_screen_only(tmp_path: Path) -> None:
    links = [[1, 6, 0, 3, 1, "CONDITIONING"], [2, 7, 0, 3, 2, "CONDITIONING"], [3, 5, 0, 3, 3, "LATENT"]]
    inputs = [{"name": name, "link": n} for n, name in enumerate(("positive", "negative", "latent_image"), 1)]
    nodes = [
        {"id": 3, "type": "KSampler", "inputs": inputs, "widgets_values": [42, "randomize", 30, 8, "euler", "x", 1]},
        {"id": 5, "type": "EmptyLatentImage", "widgets_values": [320, 256, 1]},
        {"id": 6, "type": "CLIPTextEncode", "widgets_values": ["a barn"]},
        {"id": 7, "type": "CLIPTextEncode", "widgets_values": ["mud"]},
    ]
    found = foreign.read(png(tmp_path / "a.png", workflow=json.dumps({"nodes": nodes, "links": links})))
    assert (found.prompt, found.negative) == ("a barn", "mud")
    assert (found.seed, found.steps, found.size) == (42, 30, (320, 256))


def test_invokeai_in_its_three_forms(tmp_path: Path) -> None:
    new = {"positive_prompt": "a (cat)1.3 and a dog++", "negative_prompt": "fog", "seed": 3, "steps": 30, "width": 512,
           "height": 576, "cfg_scale": 7, "model": {"name": "x"}, "scheduler": "euler"}  # fmt: skip
    found = foreign.read(png(tmp_path / "a.png", invokeai_metadata=json.dumps(new), invokeai_graph="{}"))
    assert (found.program, found.prompt, found.negative) == ("InvokeAI", "a cat and a dog", "fog")
    assert (found.seed, found.steps, found.size) == (3, 30, (512, 576))
    assert {"cfg_scale", "model", "scheduler", "invokeai_graph"} <= set(found.left)
    image = {"prompt": [{"prompt": "a cat [fog]", "weight": 1}], "seed": 3, "steps": 30, "width": 512, "height": 576}
    old = json.dumps({"app_id": "invoke-ai", "image": image | {"cfg_scale": 7}})
    assert foreign.read(png(tmp_path / "b.png", sd_DASH_metadata=old)).facts() == [
        ("prompt", "a cat"), ("negative", "fog"), ("seed", "3"), ("size", "512x576"), ("steps", "30")
    ]  # fmt: skip
    dream = '"a cat [fog]" -s 30 -S 3 -W 512 -H 576 -C 7.5 -A k_lms'
    found = foreign.read(png(tmp_path / "c.png", Dream=dream))
    assert (found.prompt, found.negative, found.seed, found.steps) == ("a cat", "fog", 3, 30)
    assert found.size == (512, 576) and found.left == ("-C", "-A")


def test_flat_json_of_fooocus_and_novelai(tmp_path: Path) -> None:
    fooocus = {"prompt": "a cat", "negative_prompt": "fog", "seed": "3", "steps": 30, "resolution": "(512, 576)"}
    found = foreign.read(png(tmp_path / "a.png", parameters=json.dumps(fooocus)))
    assert (found.prompt, found.negative, found.seed, found.size) == ("a cat", "fog", 3, (512, 576))
    novel = {"uc": "fog", "seed": 3, "steps": 28, "height": 576, "width": 512, "scale": 5}
    found = foreign.read(png(tmp_path / "b.png", Comment=json.dumps(novel), Description="a cat"))
    assert (found.prompt, found.negative, found.steps, found.left) == ("a cat", "fog", 28, ("scale",))


@pytest.mark.parametrize(
    "texts",
    [
        {"parameters": "just words"},
        {"parameters": "Steps: 3"},
        {"prompt": "a plain text"},
        {"prompt": "[" * 100_000},
        {"prompt": json.dumps({"1": {"inputs": {"positive": ["1", 0], "latent_image": ["1", 0]}}})},
        {"prompt": json.dumps({"1": 3, "2": {"inputs": [1]}})},
        {"workflow": json.dumps({"nodes": [3, {"id": [1], "inputs": 3}], "links": [[1], "x"]})},
        {"invokeai_metadata": "[1]"},
        {"sd_DASH_metadata": json.dumps({"image": 3})},
        {"Comment": "{}"},
        {"Dream": '"'},
    ],
)  # fmt: skip
def test_what_tells_nothing_is_none(tmp_path: Path, texts: dict[str, str]) -> None:
    assert foreign.read(png(tmp_path / "a.png", **texts)) is None


def test_numbers_out_of_range_are_left(tmp_path: Path) -> None:
    values = {"positive_prompt": "a", "seed": -1, "steps": 10**9, "width": 10**6, "height": 8, "cfg_scale": None}
    found = foreign.read(png(tmp_path / "a.png", invokeai_metadata=json.dumps(values)))
    assert (found.seed, found.steps, found.size, found.left) == (None, None, None, ("seed", "steps", "size"))


@settings(max_examples=150, deadline=None)
@given(
    key=st.sampled_from(["prompt", "workflow", "invokeai_metadata", "sd_DASH_metadata", "parameters", "Comment"]),
    value=st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([["1", 0], ["2", 0]]),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
            st.sampled_from(["1", "2", "inputs", "class_type", "positive", "latent_image", "text", "nodes", "links",
                             "id", "type", "image", "prompt", "seed", "width", "height", "steps", "uc",
                             "widgets_values"]),
            inner, max_size=5),
        max_leaves=25,
    ),
)  # fmt: skip
def test_any_json_tells_something_or_nothing(tmp_path_factory: pytest.TempPathFactory, key: str, value: Any) -> None:
    found = foreign.read(png(tmp_path_factory.getbasetemp() / "any.png", **{key: json.dumps(value)}))
    if found is not None:
        assert all(line.isprintable() for _, line in found.facts()) and all(name.isprintable() for name in found.left)
        assert configs.from_dict(found.settings())


# on the command line


def test_a_picture_of_another_program_is_drawn_by_what_it_tells(cli: CommandLine) -> None:
    text = "a red: cat | fog\nNegative prompt: a dog\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 11, Size: 64x96"
    png(Path("theirs.png"), parameters=text)
    flags = ("--views", "2", "--set", "models.prior=", "--set", "models.upsampler=", "--stages", "full:1")
    ran = cli("--from", "theirs.png", *flags, "-o", "ours.png")
    assert ran.code == 0, ran.err
    assert "took prompt, negative, seed, size, steps; left Sampler, CFG scale" in ran.err
    config = metadata.read("ours.png")["record"]["config"]
    assert (config["prompts"], config["negative"]) == ([r"a red\: cat \| fog"], ["a dog"])
    assert (config["seed"], config["size"], config["steps"]) == (11, [64, 96], 2)
    assert Image.open("ours.png").size == (64, 96)
    ran = cli("a blue dog", "--from", "theirs.png", "--size", "80", "--print-config")
    assert ran.code == 0 and "took negative, seed, steps; left" in ran.err
    assert "a blue dog" in ran.out and "- 80" in ran.out and "seed: 11" in ran.out


def test_info_shows_what_another_program_tells(cli: CommandLine) -> None:
    png(Path("theirs.png"), prompt=graph())
    out = cli("info", "theirs.png").out.splitlines()
    assert out[:6] == ["made by: ComfyUI", "prompt: a lighthouse at night", "negative: blur", "seed: 99",
                       "size: 640x448", "steps: 28"]  # fmt: skip
    assert "left: ckpt_name dream.safetensors" in out
    told = json.loads(cli("info", "theirs.png", "--json").out)
    assert (told["program"], told["seed"], told["size"]) == ("ComfyUI", 99, [640, 448])


def test_a_picture_that_lost_its_record_tells_the_rest(tmp_path: Path) -> None:
    text = metadata.parameters_text(record_of(["a fox:1.5 | snow", "blur:-1"]))
    found = foreign.read(png(tmp_path / "a.png", parameters=text))
    assert found.program == "vqclip" and found.settings()["prompts"] == ("a fox:1.5 | snow",)
    assert found.settings()["negative"] == ("blur",)


def test_texts_behind_the_pixels_are_found(tmp_path: Path) -> None:
    data = png(tmp_path / "a.png", parameters=f"a fox\n{SETTINGS}").read_bytes()
    begin, pixels, end = data.index(b"iTXt") - 4, data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    (tmp_path / "b.png").write_bytes(data[:begin] + data[pixels:end] + data[begin:pixels] + data[end:])
    assert foreign.read(tmp_path / "b.png").prompt == "a fox"


def test_a_picture_that_tells_nothing_is_refused_in_one_line(cli: CommandLine) -> None:
    PICTURE.save("plain.png")
    ran = cli("--from", "plain.png")
    assert (ran.code, len(ran.complaints)) == (2, 1) and "ComfyUI" in ran.err
    with pytest.raises(UsageError):
        foreign.read("missing.png")
