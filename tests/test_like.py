"""Drawings of the user's own: named with `--like`, cut out, recorded, found again by a resumed run."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from support.children import Child
from support.command_line import CommandLine
from support.pictures import photo, sha
from support.runs import SMALL_FLAGS, small, threads
from support.sessions import carry_out

import vqclip
from vqclip.errors import UsageError
from vqclip.generation.models import Models
from vqclip.session import savepoint
from vqclip.session.job import Outcome
from vqclip.sketch.asked import check_words
from vqclip.sketch.own import check_named, cut_out, parse_like, with_files
from vqclip.writers import metadata


def config_of(*prompts: str, **values: Any) -> vqclip.Config:
    models = {"memory": "tiny"} | values.pop("models", {})
    return small(*prompts, models=models, optimizer={"lr": None}, stages=[], **values)


@pytest.fixture(scope="module")
def networks() -> Models:
    return Models.load(config_of("a cat"))


def drawing(path: Path, ground: tuple[int, ...] = (255, 255, 255), mode: str = "RGB") -> Path:
    picture = Image.new(mode, (90, 60), ground)
    ImageDraw.Draw(picture).ellipse((30, 10, 60, 50), fill=(200, 30, 30, 255)[: len(mode)])
    picture.save(path)
    return path


def test_a_plain_ground_or_transparency_is_cut_away(tmp_path: Path) -> None:
    for ground, mode in (((255, 255, 255), "RGB"), ((20, 90, 30), "RGB"), ((0, 0, 0, 0), "RGBA")):
        pixels = cut_out(Image.open(drawing(tmp_path / "d.png", ground, mode)))
        assert 28 <= pixels.shape[1] <= 34 and 38 <= pixels.shape[0] <= 44
        assert pixels[len(pixels) // 2, 15, 3] == 255 and pixels[0, 0, 3] < 40
    whole = cut_out(Image.open(photo(tmp_path / "p.png", (96, 64))))
    assert whole.shape[:2] == (64, 96) and whole[..., 3].min() == 255


def test_what_is_given_with_like_must_be_named() -> None:
    assert parse_like(["my dog=a.png, b.png", "cat=c.png"]) == {"my dog": ["a.png", "b.png"], "cat": ["c.png"]}
    for wrong in ("dog.png", "=dog.png", "my dog=", "my dog= , "):
        with pytest.raises(UsageError, match="--like"):
            parse_like([wrong])
    with pytest.raises(UsageError, match="at most 9"):
        parse_like(["dog=" + ",".join(f"{k}.png" for k in range(10))])
    check_named(["my dog"], "My  Dog at the beach")
    with pytest.raises(UsageError, match="did you mean 'my dog'"):
        check_named(["my dgo"], "my dog at the beach")
    with pytest.raises(UsageError, match="does not name it"):
        check_named(["dog"], "hotdogs")


def test_own_drawings_are_drawn_recorded_and_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line, like = CommandLine(monkeypatch, capsys), drawing(tmp_path / "dog.png")
    memory = ("--set", "models.memory=tiny", "--steps", "1")
    first = tmp_path / "a.png"
    ran = line.draw("my dog at the beach", *memory, "--like", f"my dog={like}", "-o", first)
    assert ran.code == 0, ran.err
    from vqclip.writers import metadata

    record = metadata.read(first)["record"]
    assert record["config"]["init"]["like"] == ["my dog=dog.png"]
    assert str(tmp_path) not in str(record)
    assert record["files"]["init.like.my dog.0"]["name"] == "dog.png"
    ran = line("--from", first, "-o", tmp_path / "b.png")
    assert ran.code == 2 and "--like" in ran.err
    ran = line("--from", first, "--like", f"my dog={like}", "-o", tmp_path / "b.png")
    assert ran.code == 0, ran.err
    assert sha(Image.open(first)) == sha(Image.open(tmp_path / "b.png"))
    ran = line("--from", first, "--like", f"my dog={drawing(tmp_path / 'x.png', (0, 0, 90))}", "-o", tmp_path / "c.png")
    assert ran.code == 2 and "another sha256" in ran.err


@pytest.mark.parametrize(
    ("like", "told"),
    [
        ("dog.png", "give NAME=FILE"),
        ("my cat=dog.png", "does not name it"),
        ("my dog=missing.png", "missing.png"),
        ("my dog=text.png", "not a picture"),
    ],
)
def test_a_mistake_in_like_is_one_line(
    tmp_path: Path, like: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    drawing(tmp_path / "dog.png")
    (tmp_path / "text.png").write_text("no picture")
    ran = CommandLine(monkeypatch, capsys).draw(
        "my dog at the beach", "--set", "models.memory=tiny", "--like", like, "--steps", "0"
    )
    assert ran.code == 2 and told in ran.err and "Traceback" not in ran.err
    assert len(ran.complaints) == 1


# --- the names of files ----------------------------------------------------------------------------------------------


def test_a_comma_in_a_name_is_escaped_and_the_home_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/a,b")
    monkeypatch.setenv("USERPROFILE", "/home/a,b")
    assert parse_like([r"my dog=x\,y.png, ~/z.png"]) == {"my dog": ["x,y.png", "/home/a,b/z.png"]}
    assert with_files(r"my dog=x\,y.png,~/z.png", lambda name: name) == r"my dog=x\,y.png,/home/a\,b/z.png"
    once = with_files("my dog=x.png", lambda name: f"/tmp/a,b/{name}")
    assert once == r"my dog=/tmp/a\,b/x.png" == with_files(once, lambda name: name)
    assert with_files(once, lambda name: Path(name).name) == "my dog=x.png"


def test_a_saved_config_names_every_file_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here := tmp_path / "a,b").mkdir()
    (here / "own.safetensors").touch()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    config = savepoint.absolute(
        config_of("my dog", init={"like": ["my dog=dog.png,~/d.png"]}, models={"memory": "own.safetensors"})
    )
    assert parse_like(config.init.like) == {"my dog": [str(here / "dog.png"), str(tmp_path / "d.png")]}
    assert config.models.memory == str(here / "own.safetensors")
    assert savepoint.absolute(config_of("a cat")).models.memory == "tiny"
    assert config_of("a cat", models={"memory": "~/m.safetensors"}).models.memory == str(tmp_path / "m.safetensors")


# --- what does not fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "like", "values", "told"),
    [
        ("my dog runs", "my dgo", {}, "--like my dgo: the prompt does not name it: did you mean 'my dog'?"),
        ("my dgo", "my dog", {}, "--like my dog: the prompt does not name it: did you mean 'my dgo'?"),
        ("a cat", "my dog", {"image_prompts": ["x.png"]}, "--like my dog: the prompt does not name it"),
        ("a cat", "my dog", {"models": {"clip": ["other"]}}, "--like my dog: the prompt does not name it"),
        ("a cat", "my dog", {"init": {"kind": "random"}}, "--like my dog: the prompt does not name it"),
        ("my dog", "my dog", {"models": {"memory": ""}}, "--like needs a memory of drawings: give --set models.memory"),
        ("my dog", "my dog", {"init": {"kind": "random"}}, "--like gives drawings for a sketch: leave out --init"),
        ("my dog", "my dog", {"init": {"image": "x.png"}}, "--like gives drawings for a sketch: leave out --init"),
        ("a", "a", {}, "--like a: the prompt is not read so: give a plain name of its own, such as 'my dog'"),
        ("my dog.2 runs", "dog.2", {}, "--like dog.2: the prompt is not read so: give a plain name of its own"),
        ("no. 5 at the beach", "no. 5", {}, "--like no. 5: the prompt is not read so: give a plain name of its own"),
    ],
)
def test_a_thing_that_no_sketch_will_show_is_told_of(prompt: str, like: str, values: dict[str, Any], told: str) -> None:
    init = {"like": [f"{like}=d.png"]} | values.pop("init", {}) if "init" in values else {"like": [f"{like}=d.png"]}
    with pytest.raises(UsageError) as error:
        check_words(config_of(prompt, init=init, **{key: values[key] for key in values if key != "init"}))
    assert str(error.value).startswith(told)


def test_a_name_inside_another_is_not_left_out_in_silence() -> None:
    with pytest.raises(UsageError, match="--like dog: the prompt is not read so"):
        check_words(config_of("my dog at the beach", init={"like": ["my dog=a.png", "dog=b.png"]}))


def test_own_things_are_compared_with_the_record_by_name_and_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    drawing(tmp_path / "a,b.png")
    line = CommandLine(monkeypatch, capsys)
    memory = ("--set", "models.memory=tiny", "--steps", "0")
    ran = line.draw("my dog and my cat", *memory, "--like", r"my dog=a\,b.png", "-o", "a.png")
    assert ran.code == 0, ran.err
    assert metadata.read(tmp_path / "a.png")["record"]["config"]["init"]["like"] == [r"my dog=a\,b.png"]
    again = ("--from", "a.png", "-o", "b.png", "--like")
    for like, told in (
        (r"my dog=a\,b.png,a\,b.png", "my dog: files given: 2, those the picture was drawn with: 1: give 1"),
        (r"my cat=a\,b.png", "my dog: files given: 0, those the picture was drawn with: 1: give 1"),
    ):
        ran = line(*again, like)
        assert ran.code == 2 and ran.complaints == [f"vqclip: --like {told}"]
    ran = line(*again, r"my dog=a\,b.png", "--like", r"my cat=a\,b.png")
    assert ran.code == 2 and ran.complaints[0].endswith("drawn with: 0: leave it out")
    assert line(*again, r"my dog=a\,b.png").code == 0 and sha("a.png") == sha("b.png")


def test_a_picture_of_an_init_image_asks_for_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file, line = photo(tmp_path / "p.png"), CommandLine(monkeypatch, capsys)
    start = ("--init-image", file, "--steps", "1")
    ran = line.draw("a cat, mosaic", *start, "--set", "models.memory=own.safetensors", "-o", "a.png")
    assert ran.code == 0, ran.err
    ran = line("--from", "a.png", "--init-image", file, "-o", "b.png")
    assert ran.code == 0, ran.err
    assert sha("a.png") == sha("b.png")
    ran = line("--from", "a.png", "--init-image", file, "--init", "sketch", "-o", "c.png")
    assert ran.code == 2 and "--set models.memory" in ran.err


# --- stopped, killed, and gone on with -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose name holds a comma, with a drawing in it."""
    (here := tmp_path / "a,b").mkdir()
    monkeypatch.chdir(here)
    drawing(here / "dog.png")
    return here


@pytest.mark.parametrize("like", [[], ["my dog=dog.png,dog.png"]])
def test_a_sketch_that_was_stopped_ends_in_the_same_picture(
    folder: Path, tmp_path: Path, networks: Models, cli: CommandLine, monkeypatch: pytest.MonkeyPatch, like: list[str]
) -> None:
    monkeypatch.chdir(folder)

    def draw(name: str, until: int | None = None) -> Outcome:
        config = config_of("my dog in a forest, mosaic", steps=8, init={"like": like}, output={"file": name})
        seen: list[int] = []
        return carry_out(
            config,
            lambda s: seen.append(s.step),
            stop=lambda: until is not None and seen[-1] >= until,
            networks=networks,
        )

    with threads(1):
        draw("straight.png")
        assert draw("d.png", 4).stopped
        stopped = sha(folder / "d.png")
        monkeypatch.chdir(tmp_path)
        ran = cli("resume", folder / "d.run")
    assert ran.code == 0, ran.err
    assert sha(folder / "d.png") == sha(folder / "straight.png") != stopped


@pytest.mark.fault
def test_a_sketch_of_an_own_thing_that_was_killed_ends_in_the_same_picture(
    folder: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    asked = [
        "my dog in a forest",
        *SMALL_FLAGS,
        "--set",
        "models.memory=tiny",
        "--steps",
        "24",
        "--like",
        "my dog=dog.png",
    ]
    straight = Child([*asked, "-o", "straight.png"], folder)
    assert straight.end() == 0
    child = Child([*asked, "-o", "d.png"], folder)
    child.wait_for(6)
    child.signal(signal.SIGUSR1)
    child.wait_for_words("saved at step")
    child.signal(signal.SIGKILL)
    assert child.end() == -signal.SIGKILL
    with threads(1):
        ran = cli("resume", "d.run")
    assert ran.code == 0, ran.err
    assert "from step 0" not in ran.err and sha("d.png") == sha("straight.png")
