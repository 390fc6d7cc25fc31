"""Names that pictures and videos of a run get: the ones that were asked for, whatever stands beside them."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from PIL import Image
from support.command_line import CommandLine
from support.pictures import sha
from support.resuming import draw, wanted
from support.sessions import carry_out

from vqclip.session.job import Job
from vqclip.session.outputs import Outputs
from vqclip.types import Snapshot
from vqclip.writers import names

pytestmark = pytest.mark.usefixtures("folder")
OLD = b"old"


def expected(picture: str, video: str, count: int, taken: set[str], replace: bool) -> tuple[list[str], list[str]]:
    """Return the names of pictures and videos by the rule: the first free ones, each once, pictures before videos."""
    used: set[str] = set()

    def following(name: str) -> str:
        path = Path(name)
        several = itertools.chain([name], (f"{path.stem}-{n}{path.suffix}" for n in itertools.count(1)))
        free = next(each for each in several if each not in used and (replace or each not in taken))
        used.add(free)
        return free

    both = [(following(picture), following(video)) for _ in range(count)]
    return [a for a, _ in both], [b for _, b in both]


@pytest.mark.parametrize("replace", [False, True], ids=["", "yes"])
@pytest.mark.parametrize("taken", [set(), {"a.mp4", "a.png", "a.webp"}], ids=["empty", "taken"])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("picture", "video"), [("a.png", "a.mp4"), ("a.png", "b.mp4"), ("a.webp", "a.webp"),
                                                ("A.PNG", "a.mp4"), ("a.b.png", "a.mp4")])  # fmt: skip
def test_pictures_and_videos_get_the_names_that_were_asked_for(
    picture: str, video: str, count: int, taken: set[str], replace: bool
) -> None:
    """As a batch asks for them: a picture, its run folder, which is locked, and then the video."""
    for name in taken:
        Path(name).write_bytes(OLD)
    own, found = Outputs(wanted(), replace), []
    for _ in range(count):
        path = own.next(picture, drawn=True)
        run = names.check_writable(names.run_folder(path))
        (run / "lock").touch()
        own.folders.add(run)
        found.append((str(path), str(own.next(video, drawn=False))))
    assert ([a for a, _ in found], [b for _, b in found]) == expected(picture, video, count, taken, replace)


@pytest.mark.parametrize("more", [[], ["--yes"]])
def test_a_video_beside_its_picture_keeps_its_name(cli: CommandLine, more: list[str]) -> None:
    if more:
        Path("a.mp4").write_bytes(OLD)
    ran = cli.draw("a rocket", "--steps", "1", "-o", "a.png", "--video", "a.mp4", *more)
    assert (ran.code, ran.files) == (0, [Path("a.png"), Path("a.mp4")]), ran.err
    assert {path.name for path in Path().iterdir()} == {"a.png", "a.mp4"} and Path("a.mp4").read_bytes() != OLD


@pytest.mark.parametrize("replace", [False, True], ids=["", "yes"])
def test_a_run_that_goes_on_keeps_its_names(cli: CommandLine, replace: bool) -> None:
    for name in ("a.png", "a.mp4"):
        Path(name).write_bytes(OLD)
    config = wanted("a.png", count=2, output={"video": "a.mp4"})
    seen: list[int] = []
    assert carry_out(Job(config, replace), lambda s: seen.append(s.step), stop=lambda: seen[-1] == 7).stopped
    first = "a" if replace else "a-1"
    assert cli("resume", f"{first}.run", *(["--yes"] if replace else [])).code == 0
    stems = {"a", "a-1"} if replace else {"a", "a-1", "a-2"}
    assert {path.name for path in Path().iterdir()} == {f"{n}.{e}" for n in stems for e in ("png", "mp4")}
    assert (Path("a.png").read_bytes() == OLD) is not replace


def test_names_that_are_taken_on_the_way_cost_no_picture() -> None:
    """Pictures of a batch, whose first name somebody takes meanwhile: the second one's is never used for both."""
    straight = draw(wanted("straight.png", count=2, batch_size=2))

    def take(snapshot: Snapshot) -> None:
        if snapshot.step == 6:
            Image.new("RGB", (4, 4)).save("cat.png")

    drawn = carry_out(wanted(count=2, batch_size=2), take)
    assert drawn.pictures == (Path("cat-2.png"), Path("cat-1.png"))
    assert [sha(path) for path in drawn.pictures] == [sha(path) for path in straight.pictures]
    assert Image.open("cat.png").size == (4, 4)


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_folder_or_link_that_comes_in_the_way_costs_no_picture(kind: str) -> None:
    def obstruct(snapshot: Snapshot) -> None:
        if snapshot.step == 6:
            Path("cat.png").mkdir() if kind == "folder" else os.symlink("nowhere.png", "cat.png")

    drawn = carry_out(Job(wanted(), replace=True), obstruct)
    assert drawn.pictures == (Path("cat-1.png"),) and Image.open("cat-1.png").size == (64, 64)
    assert not os.path.exists("nowhere.png")


def test_one_file_has_one_name_through_links_of_folders() -> None:
    Path("real").mkdir()
    os.symlink("real", "alias")
    own = Outputs(wanted(), replace=True)
    assert own.next("real/a.webp", drawn=True) == Path("real/a.webp")
    assert own.next("alias/a.webp", drawn=False) == Path("alias/a-1.webp")


def test_a_picture_that_was_moved_is_written_there_again() -> None:
    """What SIGUSR1 keeps beside a foreign file is replaced at the end, not left behind."""
    Path("cat.png").write_bytes(OLD)
    own = Outputs(wanted(), replace=False)
    first = own.in_place(Path("cat.png"), finished=False)
    first.write_bytes(b"early")
    own.note(first)
    assert own.in_place(Path("cat.png"), finished=True) == first == Path("cat-1.png")
    assert own.next("cat.png", drawn=True) == Path("cat-2.png")
