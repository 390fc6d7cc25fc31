"""Which steps become frames, and that a video lasts as long as was asked for."""

from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.command_line import CommandLine
from support.runs import small
from support.sessions import carry_out

from vqclip.errors import UsageError
from vqclip.writers import frames
from vqclip.writers.frames import FramePlan, plan

pytestmark = pytest.mark.usefixtures("one_thread")


def seconds(name: str) -> float:
    """Return how long a video lasts, as players count it."""
    if name.endswith(".mp4"):
        return imageio_ffmpeg.count_frames_and_secs(name)[1]
    total = 0.0
    with Image.open(name) as image:
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            total += image.info["duration"] / 1000
    return total


def pictures(name: str, size: tuple[int, int] = (64, 64)) -> list[np.ndarray]:
    reader = imageio_ffmpeg.read_frames(name)
    assert next(reader)["size"] == size
    return [np.frombuffer(frame, np.uint8).reshape(size[1], size[0], 3).astype(int) for frame in reader]


def test_plan_of_known_runs() -> None:
    assert plan(500) == FramePlan(30, 500, 500)
    assert plan(500, fps=60) == FramePlan(60, 500, 500)
    assert plan(500, length=10) == FramePlan(50, 500, 500)
    assert plan(500, length=5) == FramePlan(60, 500, 300)
    assert plan(500, fps=30, length=10) == FramePlan(30, 500, 300)
    assert plan(500, length=5, suffix=".gif") == FramePlan(50, 500, 250)
    assert plan(0) == FramePlan(30, 1, 1)
    # few steps are held
    assert plan(30, length=10) == FramePlan(10, 30, 100)
    assert plan(4, fps=30, length=10) == FramePlan(30, 4, 300)
    assert plan(0, length=2) == FramePlan(10, 1, 20)
    assert [plan(4, fps=10, length=1).times(step) for step in range(4)] == [2, 3, 2, 3]


@given(steps=st.integers(1, 900), fps=st.none() | st.floats(1, 50), length=st.none() | st.floats(0.01, 100))
def test_plan_has_as_many_frames_as_it_says_evenly_and_the_length_that_was_asked_for(steps, fps, length) -> None:
    for suffix in (".mp4", ".gif"):
        found = plan(steps, fps, length, suffix)
        times = [found.times(step) for step in range(steps)]
        assert sum(times) == found.frames and times[-1] >= 1 and max(times) - min(times) <= 1
        assert 1 <= found.fps <= frames.highest_fps(suffix) and (fps is None or found.fps == fps)
        if length is not None and found.frames > 1:
            assert abs(found.frames / found.fps - length) <= 0.51 / found.fps


@pytest.mark.parametrize(
    "options",
    [{"fps": 0}, {"fps": float("nan")}, {"fps": 61}, {"fps": 51, "suffix": ".gif"}, {"length": 0}, {"length": 1e9},
     {"length": float("inf")}, {"length": 3601}],
)  # fmt: skip
def test_plan_refuses_what_is_out_of_range(options) -> None:
    with pytest.raises(UsageError, match="out of range"):
        plan(100, **options)


@pytest.mark.parametrize(
    ("name", "flags", "asked"),
    [
        ("film.mp4", ("--length", "3"), 3),
        ("film.mp4", ("--length", "2", "--fps", "30"), 2),
        ("film.gif", ("--length", "2"), 2),
        ("film.webp", ("--length", "2", "--fps", "20"), 2),
        ("film.mp4", ("--length", "0.5", "--steps", "0"), 0.5),
        ("film.mp4", ("--length", "0.1", "--steps", "12", "--fps", "20"), 0.1),
    ],
)
def test_a_video_lasts_as_long_as_was_asked_for(
    cli: CommandLine, name: str, flags: tuple[str, ...], asked: float
) -> None:
    ran = cli.draw("a red cat", "-o", "cat.png", "--video", name, *flags)
    assert ran.code == 0, ran.err
    assert seconds(name) == pytest.approx(asked, abs=0.05)


def test_steps_are_held_evenly_and_in_their_order(cli: CommandLine) -> None:
    assert cli.draw("a red cat", "-o", "cat.png", "--video", "plain.mp4", "--lr", "1").code == 0
    assert cli.draw("a red cat", "-o", "cat2.png", "--video", "film.mp4", "--lr", "1", "--length", "1.2").code == 0
    steps, held = pictures("plain.mp4"), pictures("film.mp4")
    assert len(steps) == 3 and len(held) == 12
    nearest = [int(np.argmin([np.abs(frame - step).mean() for step in steps])) for frame in held]
    assert nearest == [0] * 4 + [1] * 4 + [2] * 4


def test_a_run_that_ends_early_by_itself_fills_the_length(cli: CommandLine) -> None:
    flags = ("--set", "best.every=1", "--patience", "1", "--steps", "40", "--lr", "0", "--length", "4")
    ran = cli.draw("a red cat", "-o", "cat.png", "--video", "film.mp4", *flags)
    assert ran.code == 0 and seconds("film.mp4") == pytest.approx(4, abs=0.05)


def test_a_run_that_was_stopped_holds_its_steps_as_one_that_was_not(cli: CommandLine) -> None:
    def film(name: str, until: int | None) -> None:
        output = {"file": f"{name}.png", "video": f"{name}.mp4", "length": 4.0}
        config, seen = small(steps=12, output=output, optimizer={"lr": 1.0}), []
        carry_out(config, seen.append, stop=lambda: len(seen) - 1 == until)

    film("straight", None)
    film("cat", 8)
    assert cli("resume", "cat.run").code == 0
    found, straight = pictures("cat.mp4"), pictures("straight.mp4")
    assert len(found) == len(straight) == 40
    assert all(np.abs(a - b).mean() < 2 for a, b in zip(found, straight, strict=True))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--fps", "nan"), "output.fps is nan"),
        (("--fps", "61"), "output.fps is 61"),
        (("--length", "inf"), "output.length is inf"),
        (("--length", "0"), "output.length is 0: give a number from 0.01 to 3600"),
        (("--length", "1e9"), "output.length is 1e+09"),
        (("--fps", "55", "--video", "a.gif"), "--fps 55 is out of range: give 1 to 50"),
    ],
)
def test_what_no_video_can_have_is_refused_with_and_without_one(
    cli: CommandLine, flags: tuple[str, ...], words: str
) -> None:
    ran = cli.draw("a red cat", *flags)
    assert ran.code == 2 and words in ran.complaints[0] and len(ran.complaints) == 1
    assert not list(Path().rglob("*.*"))


def test_a_length_without_a_video_is_told(cli: CommandLine) -> None:
    told = "--fps and --length are those of a video"
    assert cli.draw("a red cat", "--length", "3", "--steps", "0", "-o", "a.png").err.count(told) == 1
    assert told not in cli.draw("a red cat", "--steps", "0", "-o", "b.png").err


@pytest.mark.parametrize(("name", "size"), [("film.mp4", (98, 66)), ("film.gif", (97, 65))])
def test_an_odd_size_is_padded_in_an_mp4_and_told_once(cli: CommandLine, name: str, size: tuple[int, int]) -> None:
    ran = cli.draw("a red cat", "--size", "97x65", "--count", "2", "-o", "cat.png", "--video", name)
    assert ran.code == 0
    told = [line for line in ran.complaints if "MP4 takes even sides only" in line]
    assert told == ([] if name.endswith("gif") else ["vqclip: film.mp4 has 98x66 pixels, as MP4 takes even sides only: "
                                                     "its edge is shown twice"])  # fmt: skip
    assert next(imageio_ffmpeg.read_frames(name))["size"] == size
    assert Image.open("cat.png").size == (97, 65)
