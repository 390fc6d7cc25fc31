"""What a picture says of itself draws it again, and nothing in it is believed or opened."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from support.command_line import CommandLine
from support.pictures import photo, sha
from support.runs import models

from vqclip import images, resources
from vqclip.generation.models import Models
from vqclip.writers import metadata

pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(cli: CommandLine, *args: str) -> Path:
    """Draw into cat.png."""
    ran = cli.draw("a red cat", "-o", "cat.png", *args)
    assert ran.code == 0, ran.err
    return ran.files[0]


def again(cli: CommandLine, *args: str, source: str = "cat.png") -> Path:
    """Draw a picture again into again.png."""
    ran = cli("--from", source, "-o", "again.png", "--yes", *args)
    assert ran.code == 0, ran.err
    return ran.files[0]


def write(record: Any, path: str = "tampered.png") -> None:
    """Write a picture with any JSON as its record."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("vqclip", json.dumps(record))
    Image.new("RGB", (64, 64)).save(path, pnginfo=info)


@pytest.mark.parametrize("args", [[], ["--size", "128", "--stages", "64:0.5,full:0.5"], ["--seed", "-1"],
                                  ["--size", "70x50", "-opt", "sgd", "--negative", "a dog"], ["--steps", "0"],
                                  ["--set", "losses={tv: 0.1}", "--set", "latent.noise=0.2"]],
                         ids=["plain", "stages", "drawn seed", "odd size", "no steps", "losses"])  # fmt: skip
def test_a_picture_draws_itself_again_to_the_pixel(cli: CommandLine, args: list[str]) -> None:
    drawn(cli, *args)
    assert sha(again(cli)) == sha("cat.png")


@pytest.mark.parametrize("more", [[], ["--deterministic"]])
def test_one_picture_of_a_batch_draws_itself_again_and_no_other(cli: CommandLine, more: list[str]) -> None:
    ran = cli.draw("a red cat", "--count", "3", "--batch-size", "2", *more)
    assert ran.code == 0, ran.err
    assert [metadata.read(file)["record"]["seed"] for file in ran.files] == [7, 8, 9]
    for file in ran.files:
        redone = cli("--from", file, "-o", "again.png", "--yes")
        assert redone.files == [Path("again.png")]
        assert sha("again.png") == sha(file)
        assert metadata.read("again.png")["record"]["seed"] == metadata.read(file)["record"]["seed"]


def test_a_picture_in_another_format_draws_itself_again(cli: CommandLine) -> None:
    drawn(cli)
    for name in ("copy.webp", "copy.jpg"):
        assert cli.draw("a red cat", "-o", name).code == 0
        assert sha(again(cli, source=name)) == sha("cat.png")


def test_what_is_changed_changes_and_the_rest_stays(cli: CommandLine) -> None:
    drawn(cli, "--set", "views.count=3")
    assert sha(again(cli, "--seed", "8")) != sha("cat.png")
    before, after = (metadata.read(name)["record"]["config"] for name in ("cat.png", "again.png"))
    assert after == before | {"seed": 8}
    assert sha(again(cli, "a blue dog")) != sha("cat.png")
    assert metadata.read("again.png")["record"]["config"]["prompts"] == ["a blue dog"]


def test_the_record_names_no_path(cli: CommandLine) -> None:
    secret = Path("secret/folder")
    secret.mkdir(parents=True)
    photo(secret / "in.png")
    drawn(cli, "--init-image", str(secret.resolve() / "in.png"), "--image-prompt", f"{secret}/in.png:0.5:0.1")
    text = json.dumps(metadata.read("cat.png"))
    assert "secret" not in text
    assert str(Path.cwd()) not in text
    assert metadata.read("cat.png")["record"]["config"]["image_prompts"] == ["in.png:0.5:0.1"]


def test_an_init_image_is_asked_for_and_must_be_the_same(cli: CommandLine) -> None:
    photo(Path("in.png"))
    drawn(cli, "--init-image", "in.png", "--strength", "0.1")
    ran = cli("--from", "cat.png", "-o", "again.png")
    assert (ran.code, len(ran.complaints)) == (2, 1)
    assert "'in.png'" in ran.err
    assert "--init-image" in ran.err
    Path("in.png").rename("moved.png")
    assert sha(again(cli, "--init-image", "moved.png")) == sha("cat.png")
    photo(Path("other.png"), (48, 64))
    ran = cli("--from", "cat.png", "--init-image", "other.png", "-o", "again.png")
    assert (ran.code, len(ran.complaints)) == (2, 1)
    assert "sha256" in ran.err


def test_image_prompts_are_asked_for(cli: CommandLine) -> None:
    photo(Path("in.png"))
    drawn(cli, "--image-prompt", "in.png:0.5")
    ran = cli("--from", "cat.png", "-o", "again.png")
    assert (ran.code, len(ran.complaints)) == (2, 1)
    assert "--image-prompt" in ran.err
    assert sha(again(cli, "--image-prompt", "in.png:0.5")) == sha("cat.png")


def test_weights_of_ones_own_are_asked_for_and_must_be_the_same(cli: CommandLine) -> None:
    Path("mine.safetensors").write_bytes(resources.path("checkpoints/tiny-vqgan.safetensors").read_bytes())
    drawn(cli, "--vqgan", "mine.safetensors")
    ran = cli("--from", "cat.png", "-o", "again.png")
    assert (ran.code, len(ran.complaints)) == (2, 1)
    assert "--vqgan" in ran.err
    assert sha(again(cli, "--vqgan", "mine.safetensors")) == sha("cat.png")
    record = metadata.read("cat.png")["record"]
    record["weights"]["vqgan:mine.safetensors"] = "0" * 64
    write(record)
    ran = cli("--from", "tampered.png", "--vqgan", "mine.safetensors", "-o", "again.png", "--yes")
    assert (ran.code, len(ran.complaints)) == (3, 1)


def test_changed_weights_and_versions_are_told_of(cli: CommandLine) -> None:
    drawn(cli)
    assert "differ" not in cli("--from", "cat.png", "-o", "again.png").err
    record = metadata.read("cat.png")["record"]
    record["weights"]["clip:tiny"] = "0" * 64
    record["versions"]["torch"] = "1.0"
    write(record)
    ran = cli("--from", "tampered.png", "-o", "again.png")
    assert ran.code == 0
    assert len([line for line in ran.complaints if "differ" in line]) == 2


@pytest.mark.parametrize("picture", ["foreign", "a1111", "list", "other schema", "no config"])
def test_a_picture_that_is_not_from_here(cli: CommandLine, picture: str) -> None:
    photo(Path("tampered.png"))
    if picture == "a1111":
        info = PngImagePlugin.PngInfo()
        info.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler")
        Image.new("RGB", (64, 64)).save("tampered.png", pnginfo=info)
    elif picture != "foreign":
        write({"list": [1], "other schema": {"schema": 99, "config": {}}, "no config": {"schema": 1}}[picture])
    ran = cli("--from", "tampered.png")
    assert (ran.code, ran.out, len(ran.complaints)) == (2, "", 1)


TAMPERED: dict[str, dict[str, Any]] = {
    "unknown key": {"shell": "touch x"},
    "unknown nested key": {"views": {"exec": "touch x"}},
    "interpolation": {"models": {"vqgan": "${oc.env:HOME}", "clip": ["tiny"]}},
    "interpolated key": {"losses": {"${oc.env:HOME}": 1.0}},
    "missing marker": {"steps": "???"},
    "text for a number": {"steps": "\x1b[31mmany"},
    "list for a number": {"steps": [1]},
    "number for a group": {"views": 3},
    "null for a group": {"views": None},
    "null for a number": {"steps": None},
    "huge size": {"size": [10**9, 10**9]},
    "huger size": {"size": [10**400, 1]},
    "one side": {"size": [64]},
    "huge steps": {"steps": 10**12},
    "huge views": {"views": {"count": 10**9}},
    "huge batch": {"count": 10**9, "batch_size": 10**9},
    "beyond memory": {"size": [16384, 16384]},
    "not a number": {"optimizer": {"lr": float("nan")}},
    "infinite": {"optimizer": {"lr": float("inf")}},
    "none of them": {"only": 5},
    "unknown model": {"models": {"vqgan": "nosuch", "clip": ["tiny"]}},
    "unknown optimizer": {"optimizer": {"name": "__import__('os')"}},
    "prompts of numbers": {"prompts": [1, 2]},
    "prompts of nothing": {"prompts": []},
    "a prompt beyond all": {"prompts": ["x" * 30_000]},
    "no clip": {"models": {"vqgan": "tiny", "clip": []}},
    "device": {"run": {"device": "/dev/sda"}},
    "stages": {"stages": ["128:1:1:1"]},
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_record_ends_in_one_line(cli: CommandLine, name: str) -> None:
    drawn(cli, "--steps", "0")
    record = metadata.read("cat.png")["record"]
    for key, value in TAMPERED[name].items():
        old = record["config"].get(key)
        record["config"][key] = old | value if isinstance(old, dict) and isinstance(value, dict) else value
    write(record)
    ran = cli("--from", "tampered.png", "-o", "again.png")
    assert ran.code in (2, 6), ran.err
    assert (ran.out, len(ran.complaints)) == ("", 1), ran.err
    assert len(ran.err) < 1200
    assert "\x1b" not in ran.err
    assert not Path("x").exists()
    assert not Path("again.png").exists()


PLACES = {
    "init image": ("init", "image"),
    "number as init image": ("init", "image"),
    "vqgan": ("models", "vqgan"),
    "vqgan without ending": ("models", "vqgan"),
    "clip": ("models", "clip"),
    "image prompt": ("image_prompts",),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_path_in_a_record_is_never_opened(cli: CommandLine, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(cli, "--steps", "0")
    bait = {"init image": "in.png", "number as init image": 5, "vqgan": "sub/w.safetensors", "vqgan without ending":
            "sub/weights", "clip": ["sub/weights"], "image prompt": ["in.png"]}[name]  # fmt: skip
    Path("sub").mkdir()
    for file in ("in.png", "5", "sub/w.safetensors", "sub/weights"):
        photo(Path("tmp.png")).rename(file)
    record = copy.deepcopy(metadata.read("cat.png")["record"])
    *parents, last = PLACES[name]
    place = record["config"]
    for parent in parents:
        place = place[parent]
    place[last] = bait
    if name.endswith("init image"):
        record["config"]["init"]["kind"] = "image"
    write(record)
    opened: list[str] = []
    monkeypatch.setattr(images, "read_image", lambda path: opened.append(str(path)))
    load = Models.load

    def watched(config: Any) -> Models:
        used = {config.models.vqgan, *config.models.clip}
        opened.extend(used - {"tiny"})
        return load(config) if used == {"tiny"} else models()

    monkeypatch.setattr(Models, "load", watched)
    ran = cli("--from", "tampered.png", "-o", "again.png")
    assert opened == []
    assert (ran.code, len(ran.complaints)) == (2, 1), ran.err


def test_info_shows_prompt_seed_settings_weights_and_versions(cli: CommandLine) -> None:
    drawn(cli, "--negative", "a dog")
    out = cli("info", "cat.png").out
    for words in ("a red cat", "Negative prompt: a dog", "Steps: 3", "Seed: 7", "Size: 64x64", "weights: vqgan:tiny",
                  "weights: clip:tiny", "versions: torch"):  # fmt: skip
        assert words in out
    assert json.loads(cli("info", "cat.png", "--json").out) == metadata.read("cat.png")["record"]


def test_info_of_a_strangers_picture_writes_no_control_characters(cli: CommandLine) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("parameters", "\x1b[31mred\x07")
    info.add_itxt("vqclip", json.dumps({"weights": {"\x1b[31m": "\x1b"}, "versions": [1], "files": "x"}))
    Image.new("RGB", (8, 8)).save("tampered.png", pnginfo=info)
    for args in ((), ("--json",)):
        ran = cli("info", "tampered.png", *args)
        assert ran.code == 0, ran.err
        assert "\x1b" not in ran.out + ran.err


# --- prompts that look dangerous -------------------------------------------------------------------------------------

STRANGE = {
    "control": "a \x1b[31mred\x07 cat\x00\x9b",
    "emoji": "🐱🦊👩‍👩‍👧",
    "CJK": "一只红色的猫",
    "right to left": "قطة حمراء",
    "long": ("a red cat, " * 1000)[:10_000],
    "one long word": "x" * 10_000,
    "path": "../../../../tmp/pwned",
    "absolute path": "/etc/passwd",
    "windows path": "C:\\Windows\\system32",
    "substitution": "$(touch x)",
    "backticks": "`touch x`",
    "semicolon": "cat; rm -rf *; touch x",
    "interpolation": "${oc.env:HOME} ???",
    "python": "{0.__class__} %s %(x)s {x}",
    "yaml": "a: [b, &c *c]",
    "quotes": "\"'`",
    "surrogate": "cat \udc80",
    "combining": "Z" + "\u0334" * 50,
    "dots": "...",
    "nul device": "con",
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_prompt_is_drawn_and_does_nothing_else(cli: CommandLine, name: str) -> None:
    film = ["--video", "film.mp4"] if name in ("control", "substitution", "quotes", "long") else []
    ran = cli.draw("--steps", "1", *film, "--", STRANGE[name])
    assert ran.code == 0, ran.err
    assert not set(map(chr, (*range(10), *range(11, 32), *range(127, 160)))) & set(ran.out + ran.err)
    assert max(map(len, ran.err.splitlines())) < 1000
    assert sorted(file.name for file in Path().iterdir()) == [*film[1:], "outputs"]
    picture, *films = ran.files
    assert picture.parts[0] == "outputs"
    assert len(picture.parts) == 3
    assert films == [Path(file) for file in film[1:]]
    again = cli("--from", picture, "-o", "again.png")
    assert again.code == 0, again.err
    assert sha("again.png") == sha(picture)
