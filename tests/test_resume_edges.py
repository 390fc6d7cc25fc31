"""Runs that end in odd places, or go on in odd ways: no picture, state or file of the user's is lost."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from PIL import Image
from support.command_line import CommandLine
from support.pictures import photo, sha
from support.resuming import draw, failing, frames, ready, rewritten, wanted
from support.sessions import carry_out

from vqclip.errors import NumericError, OutputError, ResumeError
from vqclip.generation import recover
from vqclip.registry import OPTIMIZERS
from vqclip.session import savepoint
from vqclip.session.job import Job
from vqclip.session.sinks import preview, video
from vqclip.types import Snapshot
from vqclip.writers import metadata
from vqclip.writers.video import VideoWriter

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("folder")]


def full(*arguments: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_at_the_end_costs_no_state(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(wanted("straight.png"))

    def fill(snapshot: Snapshot) -> None:
        if snapshot.step == 7:
            monkeypatch.setattr(os, "fsync", full)

    monkeypatch.setattr(savepoint, "_SECONDS", 0.0)
    with pytest.raises(OutputError, match="disk is full"):
        carry_out(wanted(), fill)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    assert savepoint.read(Path("cat.run")).step == 5 and not Path("cat.png").exists()
    assert cli("resume", "cat.run").code == 0 and sha("cat.png") == sha("straight.png")


def test_a_preview_that_cannot_be_written_is_told_of_once(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise OutputError("no room")

    monkeypatch.setattr(preview, "save_image", fail)
    told = cli.draw("cat", "-o", "cat.png", "--save-every", "1", "--steps", "4")
    assert told.code == 0 and told.complaints == ["vqclip: the preview is not saved: no room"]


def test_a_read_only_run_folder_is_told_of_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = os.replace, []

    def replace(source: Any, target: Any) -> None:
        if "state" in str(target):
            raise PermissionError(errno.EACCES, "no")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    carry_out(wanted(), on_notice=seen.append)
    assert [notice.text for notice in seen if "state is not saved" in notice.text] and Path("cat.png").exists()


def test_replacing_never_takes_the_name_of_an_earlier_picture_of_the_run(cli: CommandLine) -> None:
    draw(wanted("straight.png", count=3))
    Image.new("RGB", (4, 4)).save("cat.png")
    seen: list[int] = []
    stop = lambda: seen.count(0) == 2 and seen[-1] >= 7  # noqa: E731
    carry_out(Job(wanted(count=3), replace=True), lambda snapshot: seen.append(snapshot.step), stop=stop)
    assert cli("resume", "cat-1.run", "--yes").code == 0
    for number in ("", "-1", "-2"):
        assert sha(f"cat{number}.png") == sha(f"straight{number}.png")


def test_a_kept_picture_of_several_is_drawn_on_alone(cli: CommandLine) -> None:
    draw(wanted(count=2, output={"keep_run": True}))
    before = Path("cat-1.png").stat().st_mtime_ns
    assert cli("resume", "cat.run", "--steps", "15").out == "cat.png\n"
    assert Path("cat-1.png").stat().st_mtime_ns == before and not Path("cat-2.png").exists()


def test_an_encoder_that_fails_at_the_last_step_keeps_what_it_has(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = VideoWriter.write, []

    def write(self: VideoWriter, frame: Any) -> None:
        if len(written) == 11:
            self.cut()
            raise OutputError("the encoder failed")
        real(self, frame)
        written.append(frame)

    monkeypatch.setattr(VideoWriter, "write", write)
    with pytest.raises(OutputError, match="encoder failed"):
        draw(wanted(output={"video": "film.mp4"}))
    assert Path("cat.png").exists() and len(frames("film.mp4")) == 11 and Path("cat.run/segments/0000.mp4").exists()
    monkeypatch.setattr(VideoWriter, "write", real)
    assert cli("resume", "cat.run").code == 0 and len(frames("film.mp4")) == 12


@pytest.mark.parametrize("at", [0, 6])
def test_a_video_that_skips_steps_has_states_too_and_may_have_no_frame_yet(
    cli: CommandLine, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "FAR", 5)
    film = {"video": "film.mp4", "length": 0.2, "fps": 10.0}
    draw(wanted("straight.png", output=film | {"video": "straight.mp4"}))
    halted = draw(wanted(output=film), max(at, 1))
    assert halted.stopped and halted.videos == ((Path("film.mp4"),) if at else ())
    assert savepoint.read(Path("cat.run")).step == at // 5 * 5
    assert cli("resume", "cat.run").code == 0
    assert [a.tobytes() for a in frames("film.mp4")] == [b.tobytes() for b in frames("straight.mp4")]


def test_a_run_that_was_killed_in_its_first_grid_begins_again(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(wanted("straight.png", count=2))

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("vqclip.generation.initial.first_pictures", killed)
        with pytest.raises(KeyboardInterrupt):
            draw(wanted(count=2))
    assert savepoint.read(Path("cat.run")).packed is None
    assert cli("resume", "cat.run").code == 0
    assert sha("cat.png") == sha("straight.png") and sha("cat-1.png") == sha("straight-1.png")


def test_settings_that_do_not_fit_leave_the_run_as_it_was(cli: CommandLine) -> None:
    draw(wanted("straight.png"))
    draw(wanted(), 11)
    assert cli("resume", "cat.run", "--set", "size=[96,96]", "--force").code == 5
    assert cli("resume", "cat.run").code == 0 and sha("cat.png") == sha("straight.png")


# --- what a state may name -------------------------------------------------------------------------------------------


def test_files_elsewhere_are_written_only_by_force(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    draw(wanted(output={"video": "../b/film.mp4"}), 7)
    told = cli("resume", "cat.run")
    assert told.code == 5 and "film.mp4" in told.complaints[0] and len(told.complaints) == 1
    assert cli("resume", "cat.run", "--force").code == 0 and len(frames("../b/film.mp4")) == 12


def test_a_renamed_folder_is_named_back(cli: CommandLine) -> None:
    draw(wanted("other.png"), 7)
    draw(wanted(), 7)
    before = Path("other.run/state.safetensors").read_bytes()
    rewritten(lambda told: told.update(pictures=["other.png"]))
    told = cli("resume", "cat.run")
    assert told.code == 5 and "name it other.run again" in told.complaints[0]
    assert Path("other.run/state.safetensors").read_bytes() == before


@pytest.mark.parametrize("name", ["segments", "preview.png"])
def test_links_in_a_run_folder_are_refused(cli: CommandLine, name: str, tmp_path: Path) -> None:
    draw(wanted(), 7)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/0007.mp4").write_bytes(b"mine")
    shutil.rmtree(f"cat.run/{name}", ignore_errors=True)
    os.symlink(tmp_path / "mine", f"cat.run/{name}")
    told = cli("resume", "cat.run")
    assert told.code == 5 and "link" in told.complaints[0] and (tmp_path / "mine/0007.mp4").exists()


@pytest.mark.parametrize(
    "numbers", [{"step": math.inf}, {"stage": -1}, {"stage": math.nan}, [], {"step": 5, "stage": 0}]
)
def test_numbers_that_are_none_are_refused(cli: CommandLine, numbers: Any) -> None:
    draw(wanted(), 7)
    change = isinstance(numbers, dict) and len(numbers) == 1
    rewritten(lambda told: told.update(numbers=told["numbers"] | numbers if change else numbers))
    told = cli("resume", "cat.run")
    assert told.code == 5 and len(told.complaints) == 1, told.err


@pytest.mark.parametrize("pictures", [[], ["cat.png", "dog.png"], ["cat.png\0"]])
def test_pictures_that_do_not_fit_are_refused(cli: CommandLine, pictures: list[str]) -> None:
    draw(wanted(), 7)
    rewritten(lambda told: told.update(pictures=pictures))
    told = cli("resume", "cat.run")
    assert told.code == 5 and len(told.complaints) == 1, told.err


def test_moments_of_other_shapes_are_refused() -> None:
    run = ready(wanted()).run((7,))
    for _ in range(5):
        recover.step(run)
    for name in ("optimizer.exp_avg", "average", "best.z", "best.score"):
        tensors = dict(run.packed.tensors) | {name: torch.zeros(1, 8, 2, 3)}
        packed = type(run.packed)(run.packed.step, tensors, run.packed.numbers)
        with pytest.raises(ResumeError):
            ready(wanted()).resumed((7,), packed)


# --- ways to go on ---------------------------------------------------------------------------------------------------


def test_after_trouble_every_frame_is_there_once(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        failing(patched, 3, 99, lambda loss: loss * math.nan)
        with pytest.raises(NumericError):
            draw(wanted(output={"video": "film.mp4"}))
    assert cli("resume", "cat.run", "--set", "optimizer.lr=0.01", "--force").code == 0
    assert len(frames("film.mp4")) == 12
    record = metadata.read("cat.png")["record"]
    assert record["forced"] == [{"from_step": 0, "changed": ["optimizer.lr"]}]
    told = cli("generate", "--from", "cat.png", "-o", "again.png")
    assert told.code == 0 and "changed on the way (optimizer.lr)" in told.err


def test_image_prompts_are_found_whatever_their_names(cli: CommandLine) -> None:
    for name in ("a:b.png", "c|d.png", "e7"):
        photo(Path("p.png")).rename(name)
        run = {"image_prompts": [name if name[-1].isdigit() else f"{name}:0.5"]}
        draw(wanted("straight.png", **run))
        draw(wanted(**run), 7)
        told = cli("resume", "cat.run")
        assert told.code == 0 and sha("cat.png") == sha("straight.png"), told.err
        Path("straight.png").unlink()
        Path("cat.png").unlink()


def test_another_run_by_the_same_name_does_not_touch_one_that_is_drawn(cli: CommandLine) -> None:
    draw(wanted(), 7)
    held, text = savepoint.lock(Path("cat.run")), Path("cat.run/config.yaml").read_text()
    told = cli.draw("a dog", "-o", "cat.png", "--yes")
    assert told.code == 5 and Path("cat.run/config.yaml").read_text() == text
    held.release()
    assert cli.draw("a dog", "-o", "cat.png", "--yes").code == 0 and not Path("cat.run").exists()


def test_a_folder_of_the_users_is_never_taken_for_a_run(cli: CommandLine) -> None:
    Path("cat.run").mkdir()
    Path("cat.run/thesis.txt").write_text("mine")
    assert cli.draw("cat", "-o", "cat.png", "--yes").out == "cat-1.png\n"
    assert Path("cat.run/thesis.txt").read_text() == "mine"


def test_another_optimizer_and_a_new_average_can_be_forced(cli: CommandLine) -> None:
    draw(wanted(latent={"ema": 0.0}), 11)
    told = cli("resume", "cat.run", "--set", "optimizer.name=rmsprop", "--set", "latent.ema=0.9", "--force")
    assert told.code == 0, told.err


@pytest.mark.parametrize("steps", [(14, 17), (13, 20)])
def test_drawn_on_twice_is_as_drawn_on_at_once_wherever_the_first_ended(cli: CommandLine, steps: tuple) -> None:
    first, last = steps
    best = {"every": 5, "views": 2}
    draw(wanted("straight.png", best=best, extra_steps=last - 12))
    draw(wanted(best=best, output={"keep_run": True}))
    for number in (first, last):
        assert cli("resume", "cat.run", "--steps", str(number)).code == 0
    assert sha("cat.png") == sha("straight.png")
    assert f"Steps: {last}," in metadata.read("cat.png")["parameters"]
    assert cli("generate", "--from", "cat.png", "-o", "again.png").code == 0 and sha("again.png") == sha("cat.png")


def test_a_picture_that_the_run_begins_with_stays_until_the_end(cli: CommandLine) -> None:
    photo(Path("cat.png"))
    was = sha("cat.png")
    init = {"kind": "image", "image": "cat.png"}
    carry_out(Job(wanted(init=init), replace=True), stop=lambda: True)
    assert sha("cat.png") == was and Path("cat-1.png").exists()
    assert cli("resume", "cat.run", "--yes").code == 0 and sha("cat.png") != was


def test_the_folder_itself_is_a_name(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(wanted("straight.png"))
    draw(wanted(), 7)
    monkeypatch.chdir("cat.run")
    assert cli("resume", ".").code == 0 and sha("../cat.png") == sha("../straight.png")


def test_views_that_do_not_fit_are_scored_in_parts() -> None:
    run = ready(wanted(views={"count": 4, "chunk": 1}, best={"views": 4, "every": 3})).run((7,))
    image = run.render(run.state.output)
    alone = run.guidance.score(image, (7,), 4)
    run.guidance.chunk = 4
    assert torch.allclose(alone, run.guidance.score(image, (7,), 4), rtol=1e-5)


# --- the optimizer's name --------------------------------------------------------------------------------------------


def by_place(place: float) -> None:
    """Make the state of cat.run one of version 0.1: the optimizer by its place, and parameters without a name."""

    def unnamed(name: str) -> str:
        return {"average.z": "average"}.get(name, name.replace("optimizer.z.", "optimizer."))

    def change(told: dict[str, Any]) -> None:
        told.pop("optimizer")
        told["numbers"] = {unnamed(name): value for name, value in told["numbers"].items()}
        told["numbers"]["kind"] = place

    rewritten(change, unnamed)
    with safetensors.safe_open("cat.run/state.safetensors", "pt") as file:
        assert not any(".z." in name or name == "average.z" for name in file.keys())  # noqa: SIM118


@contextlib.contextmanager
def registered(records: Mapping[str, Any]) -> Iterator[None]:
    """Know these optimizers only, in this order, for a while."""

    def know(these: Mapping[str, Any]) -> None:
        for name in list(OPTIMIZERS):
            OPTIMIZERS.remove(name)
        for name, record in these.items():
            OPTIMIZERS.register(name, record)

    before = dict(OPTIMIZERS)
    know(records)
    try:
        yield
    finally:
        know(before)


@pytest.mark.parametrize(("name", "place"), [("adam", 0), ("nadam", 2), ("sgd", 7)])
@pytest.mark.parametrize("old", [False, True])
def test_moments_are_found_again_by_name_whatever_else_is_registered(
    cli: CommandLine, name: str, place: int, old: bool
) -> None:
    optimizer = {"name": name, "lr": 0.05}
    draw(wanted("straight.png", optimizer=optimizer))
    draw(wanted(optimizer=optimizer), 11)
    assert savepoint.read(Path("cat.run")).packed.optimizer == name
    if old:
        by_place(place)
    with registered({"first": "torch.optim:ASGD", **OPTIMIZERS}):
        assert cli("resume", "cat.run").code == 0
    assert sha("cat.png") == sha("straight.png")


@pytest.mark.parametrize("place", [8, -1, math.inf, math.nan])
def test_a_place_that_no_optimizer_had_is_refused(cli: CommandLine, place: float) -> None:
    draw(wanted(), 11)
    by_place(place)
    told = cli("resume", "cat.run")
    assert (told.code, len(told.complaints)) == (5, 1) and "does not fit its config" in told.err
