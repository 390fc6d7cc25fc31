"""What goes wrong with films: stories, records and folders that do not fit, scenes beyond the end, very long zooms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.pictures import photo, sha
from support.runs import threads

from vqclip import images
from vqclip.animation.api import animate
from vqclip.animation.camera import Motion, matrix
from vqclip.animation.job import FilmJob, FilmOutcome, FrameDrawn
from vqclip.animation.layers import nearness, plan_layers
from vqclip.animation.output import check_output, film_path
from vqclip.animation.plan import Outline
from vqclip.animation.record import read_record
from vqclip.animation.story import scenes_of
from vqclip.animation.timeline import Timeline
from vqclip.animation.work import run_film
from vqclip.cli.main import run
from vqclip.config import Config, make_config
from vqclip.config.film import Film, film_from
from vqclip.errors import OutputError, UsageError
from vqclip.generation.control import Control
from vqclip.generation.models import Models
from vqclip.session.events import Event

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with threads(1):
        yield tmp_path


@pytest.fixture(scope="module")
def networks() -> Models:
    return Models.load(pictures("a red car"))


def pictures(*prompts: str, **values: Any) -> Config:
    usual: dict[str, Any] = {
        "seed": 7, "steps": 1, "size": 64, "views": {"count": 2}, "best": {"views": 2},
        "models": {"upsampler": ""}, "run": {"device": "cpu", "precision": "fp32"},
    }  # fmt: skip
    return make_config(*prompts, **(usual | values))


def film(**values: Any) -> Film:
    return film_from({"frames": 3, "steps": 1, "fps": 8.0} | values)


def stopped(networks: Models, config: Config, wanted: Film, output: str) -> FilmOutcome:
    """A film of which one frame was drawn."""
    control = Control()

    def stop(event: Event) -> None:
        if isinstance(event, FrameDrawn):
            control.stop()

    return run_film(FilmJob(config, wanted, output), stop, networks, control)


def frames_of(folder: str) -> list[str]:
    return [sha(images.read_image(file)) for file in sorted(Path(folder).glob("0*.png"))]


# --- the camera over many frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize("zoom", ["1.05", "0.9", "20"])
def test_a_long_zoom_keeps_its_center(zoom: str) -> None:
    line = Timeline(film_from({"camera": {"zoom": zoom}}), 1000, 12.0, (64, 64))
    assert torch.allclose(line.between(900, 901), matrix(Motion(zoom=float(zoom)), (64, 64)))
    assert nearness(line.between(0, 999)) >= 0  # and never an error, whatever it comes to
    (layer,) = plan_layers(scenes_of(line.film, make_config("a cat"), 1000, 12.0), line, 5, sketched=False)
    assert layer.base == 0


def test_a_scene_may_begin_so_late_that_it_is_never_whole(networks: Models) -> None:
    wanted = film(story=[{"at": 2, "prompt": "a blue sheep"}])
    assert len(list(animate(pictures("a red car"), wanted, networks))) == 3


def test_as_many_prompts_as_frames_are_drawn_and_no_more() -> None:
    wanted = film_from({"to": ["b", "c", "d"]})
    assert [each.stop for each in scenes_of(wanted, make_config("a"), 4, 8.0)] == [0, 1, 2, 3]
    with pytest.raises(UsageError, match="4 prompts in 3 frames"):
        scenes_of(wanted, make_config("a"), 3, 8.0)


def test_a_draft_keeps_the_shape_of_its_film() -> None:
    outline = Outline.of(film(draft=True), pictures("a red car", size=[130, 66]))
    assert outline.picture.size == [65, 33]
    assert Outline.of(film(draft=True), pictures("a red car", size=[96, 48])).picture.size == [64, 32]


# --- drawn again, gone on with ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["scenes", "weights", "image"])
def test_a_film_of_scenes_is_drawn_again_from_its_record(networks: Models, kind: str) -> None:
    photo(Path("photo.png"), (64, 64))
    story: list[dict[str, Any]] = {
        "scenes": [{"at": 0, "prompt": "a red car"}, {"at": 2, "prompt": "a blue sheep", "seed": 3, "cut": True}],
        "weights": [{"at": 0, "prompt": "a red car:(1-t/4) | a blue sheep:(t/4)", "negative": "a dog"}],
        "image": [{"at": 0, "prompt": "a house, watercolor", "image": "photo.png"}],
    }[kind]
    run_film(FilmJob(pictures(), film(story=story), "one"), models=networks)
    Path("story.json").write_text(json.dumps(story))
    given = ["--prompts", "story.json"] if kind == "image" else []
    assert run(["animate", "--from", "one", *given, "-o", "two"]) == 0
    assert frames_of("two") == frames_of("one")
    if kind == "image":
        assert run(["animate", "--from", "one", "-o", "three"]) == 2
        photo(Path("photo.png"), (60, 64))
        assert run(["animate", "--from", "one", *given, "-o", "three"]) == 2


def test_a_seed_is_drawn_once_for_all_scenes_and_kept(networks: Models) -> None:
    story = [{"at": 0, "prompt": "a red car"}, {"at": 1, "prompt": "a blue sheep", "cut": True}]
    outcome = stopped(networks, pictures(seed=-1), film(story=story), "frames")
    assert outcome.folder is not None
    seed = json.loads((outcome.folder / "film.json").read_text())["config"]["seed"]
    run_film(FilmJob(resume=outcome.folder), models=networks)
    straight = list(animate(pictures(seed=seed), film(story=story), networks))
    assert frames_of("frames") == [sha(frame.image) for frame in straight]


def test_a_film_whose_file_changed_does_not_go_on(networks: Models, capsys: pytest.CaptureFixture[str]) -> None:
    photo(Path("photo.png"), (64, 64))
    story = [{"at": 0, "prompt": "a red car", "image": "photo.png"}]
    stopped(networks, pictures(), film(story=story), "film.gif")
    photo(Path("photo.png"), (60, 64))
    assert run(["resume", "film.gif"]) == 5
    assert "changed since the film was begun" in capsys.readouterr().err


def test_a_film_that_is_stopped_before_its_first_frame_leaves_nothing(networks: Models) -> None:
    control = Control()
    control.stop()
    outcome = run_film(FilmJob(pictures("a red car"), film(), "film.gif"), models=networks, control=control)
    assert (outcome.stopped, outcome.folder, outcome.frames) == (True, None, 0)
    assert not list(Path.cwd().iterdir())


def test_a_storyboard_has_one_name_however_often_it_is_written(networks: Models) -> None:
    Path("board.png").write_text("mine")
    outcome = stopped(networks, pictures("a red car"), film(storyboard="board.png"), "film.gif")
    assert outcome.folder is not None
    run_film(FilmJob(resume=outcome.folder), models=networks)
    assert sorted(path.name for path in Path.cwd().glob("board*")) == ["board-1.png", "board.png"]
    assert Path("board.png").read_text() == "mine"


def test_a_strangers_folder_writes_beside_itself_only(networks: Models) -> None:
    folder = stopped(networks, pictures("a red car"), film(), "film.gif").folder
    assert folder is not None
    settings = json.loads((folder / "film.json").read_text())
    settings["film"]["storyboard"] = str(Path.cwd().parent / "elsewhere.png")
    (folder / "film.json").write_text(json.dumps(settings))
    assert run(["resume", str(folder)]) == 5
    assert not (Path.cwd().parent / "elsewhere.png").exists()


def test_a_disk_that_is_full_at_the_end_keeps_every_frame(networks: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **values: Any) -> None:
        raise OutputError("the disk is full")

    told: list[Event] = []
    with monkeypatch.context() as patch:
        patch.setattr("vqclip.animation.work.write_film", full)
        with pytest.raises(OutputError, match="disk is full"):
            run_film(FilmJob(pictures("a red car"), film(), "film.gif"), told.append, networks)
    assert any("3 of 3 frames are kept" in getattr(event, "text", "") for event in told)
    assert run(["resume", "film.gif"]) == 0
    assert Path("film.gif").is_file()


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_film_never_takes_the_folder_of_something_else() -> None:
    Path("film.run").mkdir()
    Path("film.run/config.yaml").write_text("a picture's run")
    assert film_path("film.mp4", replace=True) == Path("film-1.mp4").resolve()
    Path("film.run/film.json").write_text("{}")
    assert film_path("film.mp4", replace=True) == Path("film.mp4").resolve()
    assert film_path("film.mp4", replace=False) == Path("film-1.mp4").resolve()


def test_the_settings_beside_another_film_stay() -> None:
    Path("film.film.json").write_text("of film.mp4")
    assert film_path("film.gif", replace=False) == Path("film-1.gif").resolve()


@pytest.mark.parametrize("output", [".", "/", ".."])
def test_a_film_has_a_name(output: str) -> None:
    with pytest.raises(UsageError, match="name a film"):
        check_output(output, False)


@pytest.mark.parametrize("board", ["board.txt", "board", "file/board.png"])
def test_a_storyboard_that_cannot_be_written_is_refused_at_once(board: str) -> None:
    Path("file").touch()
    with pytest.raises((UsageError, OutputError)):
        check_output("film.gif", False, board)


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        ({"prompt": 3}, "prompts is 3"),
        ({"prompt": None}, "prompts is None"),
        ({"prompts": {"a": 1}}, "give a text in quotes"),
        ({"prompt": "a", "negative": 3}, "negative is 3"),
        ({"prompt": "a", "negative": [3]}, "negative is [3]"),
        ({"prompt": "a", "cut": "maybe"}, "cut is 'maybe'"),
        ({"prompt": "a", "image": ""}, "no name of a file"),
        ({"prompt": "a", "at": 1e300}, "at is"),
    ],
)
def test_a_scene_of_wrong_types_is_refused(scene: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        scenes_of(film_from({"story": [{"at": 0} | scene]}), make_config(), 9, 8.0)
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["camera: 3\nzoom: 1\n", "zoom: [1]\n", "camera: {zoom: {a: 1}}\n", "- 1\n"])
def test_a_camera_file_of_wrong_types_is_refused(text: str) -> None:
    Path("camera.yaml").write_text(text)
    assert run(["animate", "a red car", "--camera", "camera.yaml"]) == 2


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"film": {}, "config": 3},
        {"film": {"frames": "many"}, "config": {}},
        {"film": {}, "config": {"prompts": ["a cat"]}, "files": {"film.audio": {"name": "a.wav"}}},
        {"film": {}, "config": {"prompts": ["a cat"]}, "files": {"film.story.0.image": {"name": "a.png"}}},
    ],
)
def test_a_record_from_a_stranger_is_refused(record: dict[str, Any]) -> None:
    Path("record.json").write_text(json.dumps({"vqclip_film": record | {"film_schema": 1}}))
    assert run(["animate", "--from", "record.json"]) == 2


def test_a_video_has_its_own_camera() -> None:
    with pytest.raises(UsageError, match="its own camera"):
        Outline.of(film_from({"video": "clip.mp4", "camera": {"zoom": "1.1"}}), make_config("a cat"))


def test_mistakes_are_told_of_before_torch_is_loaded() -> None:
    """Of tracks, stories, sounds, names and run folders alike."""
    mistakes = [
        ["a cat", "--zoom", "0:(1), 4:(50)"],
        ["a cat", "--audio", "nothing.wav"],
        ["a cat", "--init-video", "nothing.mp4"],
        ["a cat", "-o", "film.avi"],
        ["a cat", "--depth", "nothing"],
        ["a cat", "--flow", "nothing"],
        ["a cat", "--frames", "2", "--to", "a dog", "--to", "a fox"],
        ["--from", "nothing.mp4"],
    ]
    code = (
        "import sys; from vqclip.cli.main import run\n"
        f"for args in {mistakes!r}:\n"
        "    assert run(['animate', *args]) in (2, 3), args\n"
        "    assert 'torch' not in sys.modules, args\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=dict(os.environ))


def test_a_record_says_what_was_asked_for(networks: Models) -> None:
    run_film(FilmJob(pictures("a red car"), film(draft=True, frames=1), "film.gif"), models=networks)
    config = read_record(Path("film.gif"))["config"]
    assert (config["size"], config["optimizer"]["lr"]) == ([64, 64], None)


def test_a_file_that_came_to_stand_at_a_films_name_stays(networks: Models) -> None:
    folder = stopped(networks, pictures("a red car"), film(), "film.mp4").folder
    assert folder is not None
    Path("film.mp4").write_text("mine")
    outcome = run_film(FilmJob(resume=folder), models=networks)
    assert outcome.film == Path("film-1.mp4").resolve()
    assert Path("film.mp4").read_text() == "mine"


def test_a_film_that_goes_on_takes_the_place_of_what_there_was_of_it(networks: Models) -> None:
    folder = stopped(networks, pictures("a red car"), film(), "film.mp4").folder
    assert folder is not None
    before = Path("film.mp4").read_bytes()
    assert run_film(FilmJob(resume=folder), models=networks).film == Path("film.mp4").resolve()
    assert Path("film.mp4").read_bytes() != before
