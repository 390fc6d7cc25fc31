"""Films: frames that hang together, films that go on after anything, files that say how they were drawn."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from support.children import Child
from support.depth import network as depth_network
from support.pictures import photo, sha
from support.runs import threads

from vqclip import images
from vqclip.animation import draw
from vqclip.animation.api import animate
from vqclip.animation.draw import Drawn, FilmDrawer
from vqclip.animation.folder import FilmFolder, find
from vqclip.animation.job import FilmFinished, FilmJob, FilmOutcome, FilmStarted, FrameDrawn
from vqclip.animation.output import side_car
from vqclip.animation.plan import plan_film
from vqclip.animation.record import read_record
from vqclip.animation.scenes import mixed, on_sphere
from vqclip.animation.work import run_film
from vqclip.cli.main import run
from vqclip.config import Config, make_config
from vqclip.config.film import Film, checked_film, film_from
from vqclip.errors import OutputError, ResumeError, UsageError, WeightsError
from vqclip.generation.control import Control
from vqclip.generation.models import Models
from vqclip.guidance.targets import PromptTargets
from vqclip.session.events import Event, NoticeGiven
from vqclip.weights import files
from vqclip.writers import metadata
from vqclip.writers.clips import VideoSource

pytestmark = pytest.mark.usefixtures("folder")

# a film of the command line that takes a moment
FLAGS = (
    "--size", "64", "--steps", "2", "--frame-steps", "1", "--seed", "7", "--views", "2", "--device", "cpu",
    "--precision", "fp32", "--set", "best.views=2", "--set", "models.upsampler=", "--fps", "8",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with threads(1):
        yield tmp_path


@pytest.fixture(scope="module")
def networks() -> Models:
    return Models.load(pictures())


def pictures(*prompts: str, **values: Any) -> Config:
    """The config of small pictures that begin with a sketch, on pixels."""
    usual: dict[str, Any] = {
        "seed": 7, "steps": 2, "size": 64, "views": {"count": 2}, "best": {"views": 2},
        "models": {"upsampler": ""}, "run": {"device": "cpu", "precision": "fp32"},
    }  # fmt: skip
    return make_config(*(prompts or ("a red car",)), **(usual | values))


def film(**values: Any) -> Film:
    return film_from({"frames": 5, "steps": 1, "fps": 8.0} | values)


def drawn(wanted: Film, networks: Models, *prompts: str, **values: Any) -> list[Drawn]:
    return list(animate(pictures(*prompts, **values), wanted, networks))


def hashes(frames: list[Drawn]) -> list[str]:
    return [sha(frame.image) for frame in frames]


def levels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(np.float64)


def made(networks: Models, output: str = "film.mp4", control: Control | None = None, **values: Any) -> FilmOutcome:
    return run_film(FilmJob(pictures(), film(**values), output), models=networks, control=control)


# --- frames -----------------------------------------------------------------------------------------------------------


def test_the_same_film_has_the_same_frames(networks: Models) -> None:
    wanted = film(frames=3, camera={"zoom": "1.05", "rotate": "3"})
    first = drawn(wanted, networks)
    assert [frame.number for frame in first] == [0, 1, 2]
    assert hashes(first) == hashes(drawn(wanted, networks))
    assert len(set(hashes(first))) == 3


def test_a_still_camera_without_steps_changes_nothing(networks: Models) -> None:
    frames = drawn(film(steps=0), networks)
    assert len(set(hashes(frames))) == 1


def test_a_camera_without_steps_shows_the_frame_before_from_where_it_is(networks: Models) -> None:
    frames = drawn(film(steps=0, frames=3, camera={"x": "5"}), networks)
    first, last = levels(frames[0].image), levels(frames[2].image)
    assert np.abs(last[:, 10:] - first[:, :-10]).max() <= 2


def test_frames_hold_to_the_one_before(networks: Models) -> None:
    """What a frame changes beside its camera grows smaller, the more it is held."""
    changes = []
    for hold in ("0", "200"):
        frames = drawn(film(frames=3, steps=3, hold=hold), networks)
        changes.append(np.abs(levels(frames[2].image) - levels(frames[1].image)).mean())
    assert changes[1] < 0.8 * changes[0]


def test_views_are_the_same_in_every_frame_unless_asked(networks: Models) -> None:
    same, fresh = (drawn(film(frames=3, same_views=value), networks) for value in (True, False))
    assert sha(same[0].image) == sha(fresh[0].image)
    assert sha(same[1].image) != sha(fresh[1].image)


def test_a_scene_becomes_the_next(networks: Models) -> None:
    frames = drawn(film(frames=6, to=["a blue sheep"], steps=4), networks)
    alone = drawn(film(frames=1), networks, "a blue sheep")[0]
    distances = [np.abs(levels(frame.image) - levels(alone.image)).mean() for frame in frames]
    assert distances[-1] < 0.6 * distances[0]


def test_a_cut_begins_anew(networks: Models) -> None:
    story = [{"at": 2, "prompt": "a blue sheep", "cut": True}]
    frames = drawn(film(frames=4, story=story), networks)
    alone = drawn(film(frames=1), networks, "a blue sheep")[0]
    assert sha(frames[2].image) == sha(alone.image)
    assert hashes(frames[:2]) == hashes(drawn(film(frames=2), networks))


def test_a_loop_ends_where_it_began(networks: Models) -> None:
    frames = drawn(film(frames=12, loop=True, steps=2, camera={"zoom": "1.03"}), networks)
    first, last, middle = (levels(frames[number].image) for number in (0, -1, 6))
    assert np.abs(last - first).mean() < 0.5 * np.abs(middle - first).mean()


def test_a_later_scene_has_its_own_seed(networks: Models) -> None:
    frames = [
        drawn(film(frames=2, story=[{"at": 1, "prompt": "a dog", "cut": True, "seed": seed}]), networks)[1]
        for seed in (1, 2)
    ]
    assert len(set(hashes(frames))) == 2


@pytest.mark.parametrize("border", ["mirror", "wrap", "black", "smear"])
def test_every_border_draws(networks: Models, border: str) -> None:
    frames = drawn(film(frames=2, steps=0, camera={"x": "30", "border": border}), networks)
    first, last = (levels(frame.image) for frame in frames)
    edge = {"mirror": first[:, :30][:, ::-1], "wrap": first[:, 34:], "smear": first[:, :1].repeat(30, 1)}
    expected = edge.get(border, np.zeros_like(first[:, :30]))
    assert np.abs(last[:, :29] - expected[:, :29]).mean() < 2


def test_a_camera_over_a_depth_moves_near_things_farther(networks: Models) -> None:
    """Over a map that is near on the left and far on the right, a shift of the camera shifts the left by more."""
    plan = plan_film(film(frames=2, steps=0, camera={"x": "6"}), pictures(size=96))
    drawer = FilmDrawer(plan, networks)
    first = drawer.first()
    near, far = torch.ones(1, 1, 96, 48), torch.zeros(1, 1, 96, 48)
    drawer.depth = lambda image: torch.cat([near, far], 3)
    second = drawer.next(1, 0, {0: first.image})
    before, after = levels(first.image), levels(second.image)

    def shift(columns: slice) -> int:
        ways = [np.abs(after[:, columns] - np.roll(before, k, axis=1)[:, columns]).mean() for k in range(13)]
        return int(np.argmin(ways))

    assert shift(slice(16, 40)) > shift(slice(64, 90))


def test_a_depth_network_of_a_file_moves_the_camera_and_is_recorded(networks: Models) -> None:
    save_file(dict(depth_network().state_dict()), "depth.safetensors")
    frame = drawn(film(frames=2, camera={"dolly": "0.1", "depth": "depth.safetensors"}), networks)[1]
    assert frame.record["weights"]["depth:depth.safetensors"] == files.sha256(Path("depth.safetensors"))
    with pytest.raises(WeightsError, match="nothing"):
        drawn(film(frames=2, camera={"depth": "nothing.safetensors"}), networks)


def test_the_prior_draws_what_comes_in(networks: Models) -> None:
    prior = pictures(models={"upsampler": "", "prior": "tiny"}, prior={"steps": 2}, size=128)
    wanted = film(frames=2, steps=0, camera={"x": "48", "border": "prior"})
    first, last = list(animate(prior, wanted, networks))
    smeared = list(animate(prior, film(frames=2, steps=0, camera={"x": "48", "border": "smear"}), networks))[1]
    assert np.abs(levels(last.image)[:, 56:] - levels(first.image)[:, 8:-48]).max() <= 2
    assert np.abs(levels(last.image)[:, :40] - levels(smeared.image)[:, :40]).mean() > 5


def test_frames_say_where_they_stand(networks: Models) -> None:
    frame = drawn(film(frames=2, camera={"zoom": "1.1"}), networks)[1]
    assert frame.record["frame"]["number"] == 1
    assert frame.record["frame"]["camera"]["zoom"] == 1.1
    assert "painted" in frame.losses
    assert frame.score is not None


def test_memory_holds_few_frames(networks: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator keeps the first frame, those that colors are compared with, and the last."""
    held = []
    next_frame = draw.FilmDrawer.next

    def counted(self: Any, number: int, before: int, frames: dict[int, Image.Image]) -> Drawn:
        held.append(len(frames))
        return next_frame(self, number, before, frames)

    monkeypatch.setattr(draw.FilmDrawer, "next", counted)
    drawn(film(frames=12, steps=0), networks)
    assert max(held) <= 3


# --- between scenes ---------------------------------------------------------------------------------------------------


def test_embeddings_go_along_a_great_circle() -> None:
    one, other = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    half = on_sphere(one, other, 0.5)
    assert torch.allclose(half, torch.tensor([[0.5**0.5, 0.5**0.5, 0.0]]))
    assert torch.allclose(on_sphere(one, other, 1 / 3), torch.tensor([[0.75**0.5, 0.5, 0.0]]), atol=1e-6)
    assert torch.allclose(on_sphere(one, one, 0.3), one)


def test_scenes_of_different_numbers_of_prompts_share_their_weights() -> None:
    def targets(count: int) -> PromptTargets:
        embeddings = torch.nn.functional.normalize(
            torch.randn(count, 4, generator=torch.Generator().manual_seed(count))
        )
        return PromptTargets(embeddings, torch.ones(count), torch.full((count,), -torch.inf))

    (mix,) = mixed([targets(1)], [targets(2)], 0.25, "sphere")
    assert isinstance(mix, PromptTargets)
    assert mix.weights.tolist() == [0.75, 0.25, 0.25]
    (on_way,) = mixed([targets(2)], [targets(2)], 0.25, "sphere")
    assert isinstance(on_way, PromptTargets)
    assert len(on_way.weights) == 2
    assert not on_way.stops.isnan().any()


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_film_is_written_and_its_folder_goes(networks: Models) -> None:
    outcome = made(networks, frames=3, storyboard="board.png")
    assert outcome.film == Path("film.mp4").resolve()
    video = VideoSource.open("film.mp4")
    assert (video.size, video.stored, float(video.fps)) == ((64, 64), 3, 8.0)
    assert outcome.folder is None
    assert not Path("film.run").exists()
    assert {path.name for path in outcome.others} == {"film.film.json", "board.png"}


def test_a_folder_takes_every_frame_with_its_record(networks: Models) -> None:
    outcome = made(networks, "frames")
    assert outcome.film == Path("frames").resolve()
    files = sorted(Path("frames").glob("*.png"))
    assert len(files) == 5
    record = metadata.read(files[3])["record"]
    assert record is not None
    assert record["frame"]["number"] == 3
    assert json.loads(Path("frames/film.json").read_text())["vqclip_film"]["film"]["frames"] == 5


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_other_kinds_of_films_are_written(networks: Models, suffix: str) -> None:
    made(networks, f"film.{suffix}", frames=3)
    with Image.open(f"film.{suffix}") as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]


def test_a_draft_is_small_and_has_every_fourth_frame(networks: Models) -> None:
    made(networks, frames=9, draft=True)
    video = VideoSource.open("film.mp4")
    assert (video.size, video.stored, float(video.fps)) == ((32, 32), 3, 2.0)


def test_frames_between_are_made_of_their_neighbours(networks: Models) -> None:
    told: list[Event] = []
    job = FilmJob(pictures(), film(frames=9, every=3, camera={"x": "2"}, steps=0), "frames")
    run_film(job, told.append, networks)
    assert [event.drawn.number for event in told if isinstance(event, FrameDrawn)] == [0, 3, 6, 8]
    straight = drawn(film(frames=9, camera={"x": "2"}, steps=0), networks)
    files = sorted(Path("frames").glob("*.png"))
    assert len(files) == 9
    for number in (1, 2, 4, 7):
        error = np.abs(levels(images.read_image(files[number])) - levels(straight[number].image))[:, 20:-20]
        assert error.mean() < 3


def test_a_films_comment_and_the_file_beside_it_say_how_it_was_drawn(networks: Models) -> None:
    made(networks, frames=1, camera={"zoom": "1.05"})
    record = read_record(Path("film.mp4"))
    assert record == read_record(side_car(Path("film.mp4")))
    assert record["film"]["camera"]["zoom"] == "1.05"
    assert str(Path.cwd()) not in json.dumps(record)


def test_a_film_is_drawn_again_from_itself(networks: Models) -> None:
    assert run(["animate", "a red car", *FLAGS, "--frames", "3", "--zoom", "1.05", "-o", "one.mp4"]) == 0
    assert run(["animate", "--from", "one.mp4", "-o", "two.mp4"]) == 0
    assert sha_of("one.mp4") == sha_of("two.mp4")
    assert run(["animate", "--from", "one.film.json", "--zoom", "1.1", "-o", "three.mp4"]) == 0
    assert sha_of("one.mp4") != sha_of("three.mp4")


def sha_of(name: str) -> str:
    frames = list(VideoSource.open(name).frames())
    return sha(Image.fromarray(np.concatenate(frames)))


def test_no_metadata_leaves_none(networks: Models) -> None:
    run_film(FilmJob(pictures(output={"metadata": False}), film(frames=1), "film.mp4"), models=networks)
    assert not Path("film.film.json").exists()
    with pytest.raises(UsageError, match="does not say how it was drawn"):
        read_record(Path("film.mp4"))


def test_nothing_is_replaced_unasked(networks: Models) -> None:
    Path("film.mp4").write_text("mine")
    assert made(networks, frames=1).film == Path("film-1.mp4").resolve()
    assert Path("film.mp4").read_text() == "mine"
    run_film(FilmJob(pictures(), film(frames=2), "film.mp4", replace=True), models=networks)
    assert VideoSource.open("film.mp4").stored == 2


# --- going on ---------------------------------------------------------------------------------------------------------


def test_a_film_that_was_stopped_again_and_again_is_the_same(networks: Models) -> None:
    wanted = film(frames=4, camera={"zoom": "1.04"}, to=["a blue sheep"])
    straight = hashes(drawn(wanted, networks))
    control, told = Control(), list[Event]()

    def stop(event: Event) -> None:
        told.append(event)
        if isinstance(event, FrameDrawn):
            control.stop()

    outcome = run_film(FilmJob(pictures(), wanted, "frames"), stop, networks, control)
    assert (outcome.stopped, outcome.frames, outcome.exit_code) == (True, 1, 130)
    while outcome.stopped:
        folder, control = outcome.folder, Control()
        assert folder is not None
        outcome = run_film(FilmJob(resume=folder), stop, networks, control)
    done = [event.done for event in told if isinstance(event, FilmStarted)]
    assert done == [0, 1, 2, 3]
    assert [sha(images.read_image(file)) for file in sorted(Path("frames").glob("0*.png"))] == straight


def test_a_frame_that_was_torn_is_drawn_again(networks: Models) -> None:
    straight = hashes(drawn(film(frames=3), networks))
    control = Control()
    seen = iter(range(3))

    def stop(event: Event) -> None:
        if isinstance(event, FrameDrawn) and next(seen) == 1:
            control.stop()

    outcome = run_film(FilmJob(pictures(), film(frames=3), "frames"), stop, networks, control)
    assert outcome.folder is not None
    kept = FilmFolder(outcome.folder)
    data = kept.file(1).read_bytes()
    kept.file(1).write_bytes(data[: len(data) // 2])
    run_film(FilmJob(resume=outcome.folder), models=networks)
    files = sorted(file for file in Path("frames").glob("0*.png"))
    assert [sha(images.read_image(file)) for file in files] == straight


def test_what_goes_wrong_keeps_every_frame(networks: Models) -> None:
    told: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, FrameDrawn) and event.done == 3:
            raise OutputError("the disk is full")
        if isinstance(event, NoticeGiven):
            told.append(event.text)

    with pytest.raises(OutputError, match="the disk is full"):
        run_film(FilmJob(pictures(), film(), "film.mp4"), listen, networks)
    folder = find(Path("film.mp4"))
    assert folder is not None
    assert len(FilmFolder(folder)) == 3
    assert any("3 of 5 frames are kept; go on with: vqclip resume" in text for text in told)
    told.clear()
    outcome = run_film(FilmJob(resume=folder), models=networks)
    assert outcome.film is not None
    assert VideoSource.open(outcome.film).stored == 5


def test_a_killed_film_goes_on(networks: Models) -> None:
    args = ["a red car", *FLAGS, "--frames", "12", "--zoom", "1.02", "-o", "film.mp4"]
    child = Child(args, Path.cwd(), command="animate")
    until = time.monotonic() + 60
    while len(FilmFolder(Path("film.run"))) < 3:
        assert time.monotonic() < until, child.log.read_text("utf-8")
        time.sleep(0.01)
    child.process.kill()
    child.process.join()
    there = len(FilmFolder(Path("film.run")))
    assert 3 <= there < 12
    frames = [sha(FilmFolder(Path("film.run"))[number]) for number in range(2)]
    assert run(["resume", "film.mp4", "--keep-run"]) == 0
    assert [sha(FilmFolder(Path("film.run"))[number]) for number in range(2)] == frames
    assert VideoSource.open("film.mp4").stored == 12


def test_another_process_does_not_draw_the_same_film(networks: Models) -> None:
    control = Control()
    outcome = run_film(
        FilmJob(pictures(), film(), "film.mp4"),
        lambda event: control.stop() if isinstance(event, FrameDrawn) else None,
        networks,
        control,
    )
    folder = outcome.folder
    assert folder is not None
    errors = []

    def again(event: Event) -> None:
        if isinstance(event, FrameDrawn) and not errors:
            try:
                run_film(FilmJob(resume=folder), models=networks)
            except ResumeError as error:
                errors.append(str(error))

    run_film(FilmJob(resume=folder), again, networks)
    assert "is being drawn by another process" in errors[0]


@pytest.mark.parametrize("what", ["json", "name", "link", "format"])
def test_a_folder_that_is_no_films_is_refused(networks: Models, what: str) -> None:
    control = Control()
    folder = run_film(
        FilmJob(pictures(), film(), "film.mp4"),
        lambda event: control.stop() if isinstance(event, FrameDrawn) else None,
        networks,
        control,
    ).folder
    assert folder is not None
    settings = folder / "film.json"
    values = json.loads(settings.read_text())
    if what == "json":
        settings.write_text("{")
    elif what == "name":
        settings.write_text(json.dumps(values | {"name": "../elsewhere.mp4"}))
    elif what == "format":
        settings.write_text(json.dumps(values | {"format": "other"}))
    else:
        os.symlink("/etc/passwd", folder / "frames" / "000099.png")
    assert run(["resume", str(folder)]) == 5


def test_resume_takes_no_changes_of_a_film(networks: Models, capsys: pytest.CaptureFixture[str]) -> None:
    control = Control()
    run_film(
        FilmJob(pictures(), film(), "film.mp4"),
        lambda event: control.stop() if isinstance(event, FrameDrawn) else None,
        networks,
        control,
    )
    assert run(["resume", "film.mp4", "--steps", "9"]) == 2
    assert "is one of a film" in capsys.readouterr().err


# --- videos and sound -------------------------------------------------------------------------------------------------


def moving_video(name: str = "clip.mp4", count: int = 6) -> None:
    """A video of a dark square that goes to the right by 4 pixels a frame."""
    from vqclip.writers.films import write_film

    def frame(number: int) -> np.ndarray:
        pixels = np.full((64, 64, 3), 230, np.uint8)
        pixels[::7] = 180
        pixels[20:44, 4 + 4 * number : 28 + 4 * number] = (40, 60, 120)
        return pixels

    write_film((frame(number) for number in range(count)), name, (64, 64), 8.0, folder="making")
    shutil.rmtree("making")


def test_a_video_is_drawn_anew(networks: Models) -> None:
    moving_video(count=4)
    outcome = run_film(
        FilmJob(pictures("a watercolor"), film_from({"video": "clip.mp4", "steps": 1}), "film.mp4"), models=networks
    )
    assert outcome.frames == 4
    given, new = (list(VideoSource.open(name).frames()) for name in ("clip.mp4", "film.mp4"))
    assert float(VideoSource.open("film.mp4").fps) == 8.0
    for number in range(4):
        place = np.argmin(new[number].mean((0, 2))) - np.argmin(given[number].mean((0, 2)))
        assert abs(place) < 24  # the square is where it is in the video
        assert np.abs(given[number].astype(float) - new[number]).mean() > 1


def test_strength_0_keeps_a_video(networks: Models) -> None:
    moving_video(count=2)
    distances = []
    for strength in ("0", "1"):
        values = {"video": "clip.mp4", "steps": 2, "strength": strength}
        frames = list(animate(pictures("a house, stained glass"), film_from(values), networks))
        given = list(VideoSource.open("clip.mp4").frames())
        distances.append(np.abs(levels(frames[1].image) - given[1]).mean())
    assert distances[0] < 0.5 * distances[1]


def test_what_comes_into_view_in_a_video_is_painted(networks: Models) -> None:
    """After a cut nothing can be carried along: the frame begins as a first one does, not as the video's own."""
    from vqclip.writers.films import write_film

    def scene(number: int) -> np.ndarray:
        pixels = np.full((64, 64, 3), (200, 220, 240) if number else (30, 40, 20), np.uint8)
        rng = np.random.default_rng(number)
        for x, y in rng.integers(0, 48, (6, 2)):
            pixels[y : y + 16, x : x + 16] = rng.integers(0, 255, 3)
        return pixels

    for name, numbers in (("cut.mp4", (0, 1)), ("second.mp4", (1, 1))):
        write_film((scene(number) for number in numbers), name, (64, 64), 8.0, folder="making")
    cut, second = (
        list(animate(pictures("a house, mosaic"), film_from({"video": name, "steps": 0, "strength": "1"}), networks))
        for name in ("cut.mp4", "second.mp4")
    )
    given, painted = list(VideoSource.open("cut.mp4").frames())[1].astype(float), levels(second[0].image)
    assert np.abs(given - painted).mean() > 5
    assert np.abs(levels(cut[1].image) - painted).mean() < 0.4 * np.abs(given - painted).mean()


def test_a_video_and_what_excludes_it(networks: Models) -> None:
    moving_video()
    photo(Path("photo.png"))
    with pytest.raises(UsageError, match="exclude each other"):
        list(
            animate(pictures(init={"image": "photo.png", "kind": "image"}), film_from({"video": "clip.mp4"}), networks)
        )
    with pytest.raises(UsageError, match="exclude each other"):
        list(animate(pictures(), film_from({"video": "clip.mp4", "loop": True}), networks))


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--zoom", "0:(1"], "bracket"),
        (["--zoom", "1+zoom"], "zoom"),
        (["--zoom", "0:(1), 4:(50)"], "at frame"),
        (["--rotate", "bass"], "--audio"),
        (["--frames", "0"], "frames is 0"),
        (["--frames", "3", "--seconds", "2"], "give one of the two"),
        (["--fps", "500"], "fps is 500"),
        (["--border", "miror"], "mirror"),
        (["--ease", "slow"], "smooth"),
        (["--every", "0"], "every is 0"),
        (["--init-video", "nothing.mp4"], "nothing.mp4"),
        (["--audio", "nothing.wav"], "nothing.wav"),
        (["--prompts", "nothing.txt"], "nothing.txt"),
        (["-o", "film.avi"], ".avi"),
        (["--from", "nothing.mp4"], "nothing.mp4"),
        (["--init-image", "nothing.png"], "nothing.png"),
        (["--vqgan", "nothing"], "nothing"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_drawn(
    args: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["animate", "a red car", *FLAGS[:-2], *args])
    err = capsys.readouterr().err
    assert code in (2, 3), err
    assert words in err
    assert "Traceback" not in err
    assert not list(Path.cwd().glob("*.run"))
    assert not Path("outputs").exists() or not any(Path("outputs").rglob("*.png"))


def test_a_film_without_a_prompt_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["animate"]) == 2
    assert "there is no prompt" in capsys.readouterr().err


@pytest.mark.parametrize("value", [{"zom": "1"}, {"camera": {"zom": "1"}}, {"camera": 3}, {"every": "often"}])
def test_an_unknown_setting_of_a_film_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        film_from(value)


def test_a_film_from_python_is_checked_whenever_it_is_used() -> None:
    wanted = Film(frames=4)
    wanted.every = 1000
    with pytest.raises(UsageError, match="every is 1000"):
        checked_film(wanted)
    wanted = Film(story=[3])
    with pytest.raises(UsageError, match=r"film\.story"):
        checked_film(wanted)


def test_a_mask_and_several_pictures_are_refused(networks: Models) -> None:
    photo(Path("photo.png"))
    with pytest.raises(UsageError, match="takes no mask"):
        drawn(film(), networks, init={"image": "photo.png", "mask": "photo.png"})
    with pytest.raises(UsageError, match="count is 2"):
        drawn(film(), networks, count=2)


def test_the_last_event_tells_what_came_of_it(networks: Models) -> None:
    told: list[Event] = []
    outcome = run_film(FilmJob(pictures(), film(frames=2), "film.mp4"), told.append, networks)
    assert isinstance(told[-1], FilmFinished)
    assert told[-1].outcome == outcome
