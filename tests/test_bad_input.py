"""What a user may get wrong: each mistake ends in one line on stderr and its exit code, without a traceback."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import stat
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from support.command_line import CommandLine
from support.pictures import photo, sha

from vqclip import make_config, resources
from vqclip.config.text import nest
from vqclip.drawables import Moment
from vqclip.errors import UsageError
from vqclip.evaluation.listing import read_list
from vqclip.generation.models import Models
from vqclip.guidance import Guidance
from vqclip.guidance.guide import Guided
from vqclip.weights import files
from vqclip.writers import metadata

PROGRAM = "#!/bin/sh\n"


pytestmark = pytest.mark.usefixtures("one_thread")


def refused(cli: CommandLine, code: int, words: str, *args: str) -> None:
    """Check that a call fails with one line that holds the words, and draws nothing."""
    ran = cli.draw(*args)
    assert (ran.code, ran.out) == (code, "")
    assert len(ran.complaints) == 1, ran.err
    line = ran.complaints[0]
    assert line.startswith("vqclip: ")
    assert len(line) < 1000
    assert words.lower() in line.lower()
    assert not [*Path().rglob("*.png.tmp"), *Path().rglob("*.run"), *Path("outputs").rglob("*.png")]


# --- what is typed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([""], "empty"),
        (["\t\n"], "empty"),
        ([" | "], "empty"),
        ([":0.5"], "no text"),
        ([":1:2"], "no text"),
        (["cat:0"], "weight 0"),
        (["cat:1:abc"], "no number"),
        (["cat:1e999"], "finite"),
        (["x" * 20_001], "20001 characters"),
        (["--negative", "dog"], "no prompt"),
        (["cat", "--negative", ""], "empty"),
        (["cat", "--steps", "-5"], "steps is -5"),
        (["cat", "--steps", "many"], "many"),
        (["cat", "--steps", "1.5"], "1.5"),
        (["cat", "--steps", "9" * 30], "steps is"),
        (["cat", "--size", "0"], "size is 0x0"),
        (["cat", "--size", "-64"], "size is -64x-64"),
        (["cat", "--size", "64x0"], "64x0"),
        (["cat", "--size", "large"], "large"),
        (["cat", "--size", "64x"], "64x"),
        (["cat", "--size", "99999"], "99999"),
        (["cat", "--views", "0"], "views.count is 0"),
        (["cat", "--count", "0"], "count is 0"),
        (["cat", "--lr", "-1"], "optimizer.lr is -1"),
        (["cat", "--lr", "nan"], "optimizer.lr is nan"),
        (["cat", "--strength", "2"], "strength is 2"),
        (["cat", "--save-every", "-1"], "save_every is -1"),
        (["cat", "--set", "only=7"], "only"),
        (["cat", "--set", "only=-1"], "only"),
        (["cat", "--preset", "tinny"], "did you mean 'tiny'"),
        (["cat", "--preset", "../../etc/passwd"], "unknown preset"),
        (["cat", "--vqgan", "tinny"], "did you mean 'tiny'"),
        (["cat", "--clip", "tinny"], "did you mean 'tiny'"),
        (["cat", "--model", "tinny"], "did you mean 'tiny'"),
        (["cat", "--optimizer", "adamm"], "did you mean 'adam'"),
        (["cat", "--init", "imgae"], "did you mean 'image'"),
        (["cat", "--init", "image"], "--init-image"),
        (["cat", "--precision", "fp64"], "did you mean"),
        (["cat", "--precision", "fp16"], "cuda"),
        (["cat", "--compile", "maybe"], "known are"),
        (["cat", "--device", "gpu"], "unknown device 'gpu'"),
        (["cat", "--device", "cuda:99"], "cuda:99"),
        (["cat", "--device", "meta"], "meta"),
        (["cat", "--stages", "128:1"], "full"),
        (["cat", "--stages", "x:1,full:1"], "x:1"),
        (["cat", "--set", "steps"], "key=value"),
        (["cat", "--set", "optimzer.lr=1"], "did you mean 'optimizer.lr'"),
        (["cat", "--set", "cutz=1"], "unknown config key"),
        (["cat", "--set", "lr=0.1"], "optimizer.lr"),
        (["cat", "--set", "views=3"], "group"),
        (["cat", "--set", "views.count=few"], "few"),
        (["cat", "--set", "views.augmentations={rotat: 3}"], "did you mean 'rotate'"),
        (["cat", "--set", "losses={tw: 3}"], "did you mean 'tv'"),
        (["cat", "--set", "losses=[1"], "losses"),
        (["cat", "--set", "output.folder=${oc.env:HOME}"], "${"),
        (["cat", "--set", "steps=${oc.env:HOME}"], "steps"),
        (["cat", "--bogus"], "--bogus"),
        (["cat", "--steps"], "--steps"),
        (["cat", "-o", "cat.txt"], ".png"),
        (["cat", "-o", "cat"], "no ending"),
        (["cat", "--video", "film.avi"], ".mp4"),
        (["cat", "--video", "film"], "no ending"),
        (["cat", "--video", "film.mp4", "--fps", "0"], "fps"),
        (["cat", "--video", "film.mp4", "--length", "-1"], "length"),
        (["@missing.txt"], "missing.txt"),
        (["cat", "--from", "missing.png"], "missing.png"),
        (["cat", "-c", "missing.yaml"], "missing.yaml"),
        (["cat", "--init-image", "missing.png"], "missing.png"),
        (["cat", "--init-image", "https://example.org/a.png"], "no URL"),
        (["cat", "--init-image", "."], "folder"),
        (["cat", "--init-image", "x" * 300], "too long"),
        (["cat", "--image-prompt", "missing.png:0.5"], "missing.png"),
        (["cat", "--image-prompt", "x" * 300], "too long"),
        *(
            (["cat", option, ""], "is empty")
            for option in (
                "-o",
                "--video",
                "--init-image",
                "--mask",
                "--image-prompt",
                "--vqgan",
                "--vqgan-config",
                "--clip",
                "--model",
                "--preset",
                "-c",
                "--from",
                "--device",
                "--stages",
            )
        ),
        (["cat", "--set", "output.folder="], "output.folder is empty"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_mistake_in_what_is_typed(cli: CommandLine, args: list[str], words: str) -> None:
    refused(cli, 2, words, *args)


def test_an_output_name_that_is_too_long_is_one_line(cli: CommandLine) -> None:
    refused(cli, 1, "too long", "cat", "-o", "x" * 300 + ".png")


@pytest.mark.parametrize("args", [["--size", "16384"], ["--size", "16000x8000"], ["--size", "4096", "--count", "99",
                                  "--batch-size", "99"]])  # fmt: skip
def test_a_size_beyond_the_memory_is_refused_with_both_numbers(cli: CommandLine, args: list[str]) -> None:
    refused(cli, 6, "GB", "cat", *args)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stps: 3", "did you mean 'steps'"),
        ("views: {cuont: 3}", "views.count"),
        ("views: 3", "group"),
        ("steps: soon", "steps"),
        ("- a\n- b", "no keys"),
        ("steps: [", "no valid YAML"),
        ("steps: !!python/object/apply:os.system ['touch x']", "no valid YAML"),
        ("output: {folder: '${oc.env:HOME}'}", "${"),
        ("steps: ???", "???"),
        ("prompts: [1, 2]", "prompts"),
        ("prompts: {a: b}", "prompts"),
        ("stages: &a [*a]", "aliases"),
        ("views: {overview: [1]}", "overview"),
        ("views: {detail_prompt: a detail}", "write {} where the prompt is to stand"),
        ("views: {smallest: 0.9, largest: 0.5}", "smallest"),
        ("models: {clip: []}", "clip"),
        ("optimizer: {betas: [1.5, 0]}", "betas"),
        ("x" * 300_000, "no config"),
    ],
    ids=lambda value: value[:30],
)
def test_a_mistake_in_a_config_file(cli: CommandLine, text: str, words: str) -> None:
    Path("my.yaml").write_text(text)
    refused(cli, 2, words, "cat", "-c", "my.yaml")
    assert not Path("x").exists()


def test_a_config_file_of_many_aliases_does_not_hang(cli: CommandLine) -> None:
    lines = ["stages:", "- &a0 [x, x]"] + [f"- &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 23)]
    Path("my.yaml").write_text("\n".join(lines))
    refused(cli, 2, "aliases", "cat", "-c", "my.yaml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no prompt"),
        (b"\n \n", "no prompt"),
        (b"\xff\xfe", "(byte 0xff in line 1): save it as UTF-8"),
        ("a cat\na caf\xe9".encode("latin-1"), "(byte 0xe9 in line 2): save it as UTF-8"),
        ("a cat\n".encode("utf-16"), "looks like UTF-16, not UTF-8: save it as UTF-8"),
        ("a cat\n".encode("utf-16-le"), "looks like UTF-16"),
        (b"a cat\n" * 50_000, "over 256 KB"),
    ],
    ids=["empty", "blank", "byte", "latin-1", "utf-16", "utf-16 without mark", "large"],
)
@pytest.mark.parametrize("word", ["@prompts.txt", "-"])
def test_a_prompt_file_without_a_prompt(
    cli: CommandLine, word: str, content: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("prompts.txt").write_bytes(content)
    with Path("prompts.txt").open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        refused(cli, 2, words, word)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_text_files_are_asked_for_in_utf_8_too(cli: CommandLine, encoding: str) -> None:
    Path("my.yaml").write_bytes("prompts: caf\xe9".encode(encoding))
    refused(cli, 2, "save it as UTF-8", "-c", "my.yaml")
    Path("my.yaml").write_bytes("caf\xe9".encode(encoding))
    with pytest.raises(UsageError, match="save it as UTF-8"):
        read_list(Path("my.yaml"))


# --- pictures --------------------------------------------------------------------------------------------------------


def bomb() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9999)))


@pytest.mark.parametrize("option", ["--init-image", "--image-prompt", "--from"])
@pytest.mark.parametrize(
    ("content", "words"),
    [(b"just text", "not a picture"), (b"", "empty"), (bomb(), "megapixels"), (b"\x89PNG\r\n\x1a\n" + b"x" * 99, "")],
    ids=["text", "empty", "bomb", "damaged"],
)
def test_a_picture_that_cannot_be_read(cli: CommandLine, option: str, content: bytes, words: str) -> None:
    Path("in.png").write_bytes(content)
    refused(cli, 2, words, "cat", option, "in.png")


def test_a_picture_that_ends_too_early(cli: CommandLine) -> None:
    photo(Path("in.png"))
    Path("in.png").write_bytes(Path("in.png").read_bytes()[:200])
    refused(cli, 2, "damaged", "cat", "--init-image", "in.png")


def unusual(kind: str, plain: Image.Image) -> tuple[Image.Image, dict[str, Any], Image.Image]:
    """Return a picture of an unusual kind, options to save it with, and the ordinary one it stands for."""
    if kind == "alpha":
        mask = Image.new("L", plain.size, 255)
        mask.paste(0, (0, 0, 32, 64))
        seen = plain.copy()
        seen.paste((255, 255, 255), (0, 0, 32, 64))
        return Image.merge("RGBA", (*plain.split(), mask)), {}, seen
    if kind == "palette":
        few = plain.quantize(16)
        return few, {}, few.convert("RGB")
    if kind == "16 bit":
        gray = np.asarray(plain.convert("L"))
        return Image.fromarray(gray.astype(np.uint16) * 257), {}, Image.fromarray(gray).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    return plain, {"exif": exif}, plain.transpose(Image.Transpose.ROTATE_270)


@pytest.mark.parametrize("kind", ["alpha", "palette", "16 bit", "EXIF rotation"])
def test_unusual_pictures_are_read_as_they_look(cli: CommandLine, kind: str) -> None:
    odd, options, seen = unusual(kind, Image.open(photo(Path("in.png"))).convert("RGB"))
    odd.save("odd.png", **options)
    seen.save("seen.png")
    for name in ("odd", "seen"):
        args = ("cat", "--init-image", f"{name}.png", "--strength", "0", "--steps", "1", "-o", f"{name}-out.png")
        assert cli.draw(*args).code == 0
    assert sha("odd-out.png") == sha("seen-out.png")


# --- weights ---------------------------------------------------------------------------------------------------------


def truncated(source: Path) -> bytes:
    return source.read_bytes()[:100_000]


@pytest.mark.parametrize("kind", ["vqgan", "clip"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (truncated, "damaged"),
        (lambda source: b"<!DOCTYPE html><html>404</html>", "web page"),
        (lambda source: b"", "empty"),
        (lambda source: b"\x80\x04pickle", "pickled"),
        (lambda source: b"PK\x03\x04zip", "pickled"),
        (lambda source: b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        (lambda source: bytes(1000), "damaged"),
        (lambda source: b"\xff" * 1000, "damaged"),
    ],
    ids=["truncated", "HTML", "empty", "pickle", "zip", "LFS", "zeros", "noise"],
)
def test_a_weight_file_that_is_none(cli: CommandLine, kind: str, content: Callable[[Path], bytes], words: str) -> None:
    Path("w.safetensors").write_bytes(content(resources.path(f"checkpoints/tiny-{kind}.safetensors")))
    if (kind, words) == ("clip", "pickled"):  # as some CLIPs are; what this one is, nothing says
        words = "open_clip_config.json"
    refused(cli, 3, words, "cat", f"--{kind}", "w.safetensors")


def test_a_weight_file_that_is_missing_or_a_folder(cli: CommandLine) -> None:
    Path("folder.safetensors").mkdir()
    for name in ("missing.safetensors", "folder.safetensors", "no/such/file"):
        refused(cli, 3, name, "cat", "--vqgan", name)


@pytest.mark.parametrize("kind", ["vqgan", "clip"])
def test_a_weight_file_of_the_other_kind(cli: CommandLine, kind: str) -> None:
    other = {"vqgan": "clip", "clip": "vqgan"}[kind]
    path = resources.path(f"checkpoints/tiny-{other}.safetensors")
    refused(cli, 3, f"is of kind {other}", "cat", f"--{kind}", str(path))


@pytest.mark.parametrize(("change", "words"), [({"n_embed": 999}, "does not fit"), ({"ch": 64}, "does not fit"),
                                               ({"m_embed": 3}, "damaged"), ({"ch_mult": 3}, "damaged"),
                                               ({"ch": "x"}, ""), ({"ch": -32}, ""), ({"n_embed": 10**12}, "")],
                         ids=str)  # fmt: skip
def test_a_weight_file_of_another_architecture(cli: CommandLine, change: dict[str, Any], words: str) -> None:
    weights = files.read(resources.path("checkpoints/tiny-vqgan.safetensors"), "vqgan")
    architecture = json.dumps(json.loads(weights.architecture) | change)
    files.save(Path("w.safetensors"), "vqgan", architecture, weights.tensors, {})
    refused(cli, 3, words, "cat", "--vqgan", "w.safetensors")


# --- output ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [["-o", "file/cat.png"], ["--set", "output.folder=file/outputs"],
                                  ["--video", "file/film.mp4"]])  # fmt: skip
def test_an_output_folder_that_cannot_be(cli: CommandLine, args: list[str]) -> None:
    Path("file").write_text("in the way")
    refused(cli, 1, "cannot write", "cat", *args)


@pytest.mark.parametrize("kind", ["folder", "link", "link to nothing", "link to a folder", "pipe"])
@pytest.mark.parametrize("option", ["-o", "--video"])
def test_what_cannot_be_replaced_is_told_of_before_the_first_step(
    cli: CommandLine, kind: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "in-the-way.webp"
    Path("target").write_text("mine")
    Path("folder").mkdir()
    {"folder": lambda: Path(name).mkdir(), "pipe": lambda: os.mkfifo(name)}.get(
        kind, lambda: os.symlink({"link": "target", "link to a folder": "folder"}.get(kind, "nothing"), name)
    )()
    monkeypatch.setattr(Models, "load", lambda config: pytest.fail("networks were loaded first"))
    words = {"folder": "is a folder", "pipe": "is no ordinary file"}.get(kind, "is a link")
    refused(cli, 1, words, "cat", option, name, "--yes")
    assert os.path.lexists(name) and Path("target").read_text() == "mine"


def test_a_link_is_never_followed_nor_replaced(cli: CommandLine) -> None:
    Path("target.png").write_text("mine")
    os.symlink("target.png", "cat.png")
    ran = cli.draw("cat", "-o", "cat.png")
    assert (ran.code, ran.files) == (0, [Path("cat-1.png")])
    assert os.path.islink("cat.png") and Path("target.png").read_text() == "mine"


def test_the_home_of_the_user_is_found(cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    photo(tmp_path / "home/in.png")
    Path("home/words.txt").write_text("a cat")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    ran = cli.draw("@~/words.txt", "--output=~/x.png", "--video=~/x.gif", "--init-image=~/in.png")
    assert ran.code == 0, ran.err
    assert sorted(ran.files) == [tmp_path / "home/x.gif", tmp_path / "home/x.png"]
    assert cli("info", "~/x.png").code == 0
    config = make_config("a cat", output={"folder": "~/o"}, models={"vqgan": "~/v.ckpt", "clip": ["~/c.pt", "tiny"]})
    assert config.output.folder == str(tmp_path / "home/o") and config.models.vqgan == str(tmp_path / "home/v.ckpt")
    assert config.models.clip == [str(tmp_path / "home/c.pt"), "tiny"]
    assert not list(Path().glob("~*"))


@pytest.mark.parametrize("key", ["init.image", "init.mask", "output.file", "output.video", "output.folder"])
def test_an_empty_name_is_a_mistake_in_python_too(key: str) -> None:
    with pytest.raises(UsageError, match=f"{key} is empty"):
        make_config("a cat", **nest([(key, "")]))
    with pytest.raises(UsageError, match="empty name"):
        make_config("a cat", image_prompts=[""])


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_without_permission(cli: CommandLine) -> None:
    Path("locked").mkdir(mode=0o500)
    refused(cli, 1, "no permission", "cat", "-o", "locked/cat.png")


def test_a_full_disk_leaves_no_half_picture(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    ran = cli.draw("cat", "-o", "cat.png")
    assert (ran.code, ran.out, len(ran.complaints)) == (1, "", 1)
    assert "the disk is full" in ran.err
    assert not [*Path().rglob("*.png"), *Path().rglob("*.tmp")]


def test_a_file_beyond_the_limit_leaves_no_half_picture(cli: CommandLine) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        ran = cli.draw("cat", "-o", "cat.png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (ran.code, ran.out, len(ran.complaints)) == (1, "", 2)
    assert "the state is not saved" in ran.complaints[0] and "the disk is full" in ran.complaints[1]
    assert not [*Path().rglob("*.png"), *Path().rglob("*.tmp")]


def program(path: Path, text: str) -> str:
    path.write_text(PROGRAM + text)
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return str(path.resolve())


@pytest.mark.parametrize("name", ["missing", "failing", "no program"])
def test_a_missing_or_failing_encoder_is_told_of_before_the_first_step(
    cli: CommandLine, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("text").write_text("no program")
    exe = {"missing": "/nowhere/ffmpeg", "failing": program(Path("bad"), "exit 3\n"), "no program": "text"}[name]
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", exe)
    refused(cli, 1, "no video encoder", "cat", "--video", "film.mp4")


def test_an_encoder_that_fails_on_the_way_costs_the_video_not_the_picture(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = imageio_ffmpeg.get_ffmpeg_exe()
    broken = f'case "$*" in *part.mp4*) echo "no such luck" >&2; exit 3;; esac\nexec {real} "$@"\n'
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", program(Path("broken"), broken))
    ran = cli.draw("cat", "-o", "cat.png", "--video", "film.mp4")
    assert ran.code == 1
    assert len(ran.complaints) == 1
    assert "ffmpeg failed" in ran.complaints[0]
    assert Image.open("cat.png").size == (64, 64)
    assert not Path("film.mp4").exists()


# --- on the way ------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_exits_4_with_the_picture_so_far(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = Guidance.backward

    def broken(self: Guidance, image: Any, moment: Moment) -> Guided:
        guided = sound(self, image, moment)
        nan = {name: loss * math.nan for name, loss in guided.losses.items()}
        return Guided(nan, guided.views) if moment.step == 2 else guided

    monkeypatch.setattr(Guidance, "backward", broken)
    ran = cli.draw("cat", "-o", "cat.png", "--video", "film.mp4", "--steps", "9", "--set", "best.every=1")
    assert ran.code == 4
    assert len(ran.complaints) == 4
    assert all("step 3" in line for line in ran.complaints)
    rates = [line.rpartition(" ")[2] for line in ran.complaints[:3]]
    assert rates == ["0.05", "0.025", "0.0125"]
    assert metadata.read("cat.png")["record"]["stopped_at_step"] == 2
    assert imageio_ffmpeg.count_frames_and_secs("film.mp4")[0] == 2
    assert "vqclip resume cat.run" in ran.err


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"),
                                   RuntimeError("CUDA out of memory. Tried to allocate")])  # fmt: skip
def test_memory_that_runs_out_exits_6(cli: CommandLine, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(Guidance, "backward", fail)
    ran = cli.draw("cat", "-o", "cat.png")
    assert (ran.code, len(ran.complaints)) == (6, 1)
    assert "out of memory" in ran.err
