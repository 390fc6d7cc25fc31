"""Runs that are killed, signalled or short of disk: nothing is lost, and what goes on ends in the same picture."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

import imageio_ffmpeg
import pytest
from PIL import Image
from support.children import Child
from support.command_line import CommandLine
from support.paths import ROOT
from support.pictures import sha
from support.runs import SMALL_FLAGS

from vqclip.cli import ends
from vqclip.session import savepoint

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("folder")]
_STEPS = 60
_FLAGS = ("a red cat", *SMALL_FLAGS, "--steps", str(_STEPS), "--set", "stages=['32:0.5','full:0.5']",
          "--set", "latent.ema=0.8")  # fmt: skip


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the hash of the picture of a run that nothing disturbs, drawn in a process like the killed ones."""
    folder = tmp_path_factory.mktemp("straight")
    child = Child((*_FLAGS, "-o", "cat.png"), folder)
    assert child.end(120) == 0, child.log.read_text()
    return sha(folder / "cat.png")


@pytest.mark.nightly
def test_a_run_killed_at_any_moment_ends_in_the_same_picture(
    cli: CommandLine, folder: Path, straight: str, kills: int
) -> None:
    chance = random.Random(5)
    for number in range(kills):
        name = f"cat{number}"
        child = Child((*_FLAGS, "-o", f"{name}.png"), folder)
        child.wait_for(chance.randrange(2, _STEPS - 8))
        at = child.step
        child.signal(signal.SIGKILL)
        assert child.end() == -signal.SIGKILL and at > 1
        assert not (folder / f"{name}.png").exists()
        from_step = savepoint.read(folder / f"{name}.run").packed.step
        assert at - 10 <= from_step <= _STEPS
        assert cli("resume", f"{name}.run").code == 0
        assert sha(f"{name}.png") == straight
    assert not list(folder.glob("*.run")) and not list(folder.rglob("*.tmp"))


def test_a_signal_asks_for_what_there_is_and_the_run_goes_on(cli: CommandLine, folder: Path, straight: str) -> None:
    child = Child((*_FLAGS, "-o", "cat.png", "--video", "film.mp4"), folder, seconds=1e9)
    child.wait_for(33)
    child.signal(signal.SIGUSR1)
    child.wait_for_words("saved at step")
    early = sha("cat.png")
    assert Path("film.mp4").exists() and savepoint.read(Path("cat.run")).packed.step >= 25
    child.wait_for(38)
    child.signal(signal.SIGTERM)
    assert child.end() == 143 and "vqclip resume cat.run" in child.log.read_text()
    assert cli("resume", "cat.png").code == 0
    assert sha("cat.png") == straight != early


@pytest.mark.parametrize("numbers", [
    (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM), (signal.SIGTERM, signal.SIGHUP), (signal.SIGQUIT,),
    (signal.SIGXCPU, signal.SIGXCPU), (signal.SIGUSR2,),
])  # fmt: skip
def test_every_signal_that_ends_a_program_keeps_picture_and_video(folder: Path, numbers: tuple[int, ...]) -> None:
    """Also several: a closed terminal hangs up twice, a logout sends SIGTERM too."""
    child = Child((*_FLAGS, "--steps", "100000", "-o", "cat.png", "--video", "film.mp4"), folder)
    child.wait_for(7)
    for number in numbers:
        child.signal(number)
    # those that are there at the same time are handled in the order of their numbers
    assert child.end() in {128 + number for number in numbers}
    assert Image.open("cat.png").size == (64, 64) and imageio_ffmpeg.count_frames_and_secs("film.mp4")[0] >= 7
    # with a video, states are kept where one of its segments ends: here only the first
    assert savepoint.read(Path("cat.run")).packed is not None and "vqclip resume cat.run" in child.log.read_text()


def test_a_terminal_that_is_closed_costs_nothing(folder: Path) -> None:
    """The terminal hangs up and takes nothing more, neither from stdout nor from stderr."""
    command = [sys.executable, "-m", "vqclip", *_FLAGS, "--steps", "100000", "-o", "cat.png", "--video", "film.mp4"]
    pid, terminal = os.forkpty()
    if not pid:
        # tests that nohup started ignore it, and a program that ignores it goes on for ever
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.environ.update(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
        os.execv(command[0], command)
    seen = b""
    while b"loss" not in seen:
        seen += os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 129
    assert Image.open("cat.png").size == (64, 64) and imageio_ffmpeg.count_frames_and_secs("film.mp4")[0] >= 1
    assert savepoint.find(Path("cat.png")) == Path("cat.run")


def test_a_hangup_that_is_ignored_stays_so(folder: Path) -> None:
    """As nohup asks for."""
    seen: list[int] = []
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ends.caught(lambda number, frame: seen.append(number)):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGHUP, former)
    assert seen == [signal.SIGTERM]


def test_a_signal_ends_whatever_is_done_as_ctrl_c_does(request: pytest.FixtureRequest) -> None:
    """As a training, which saves its state then; the next signals do not break into that."""
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that nohup started ignore it
    request.addfinalizer(lambda: signal.signal(signal.SIGHUP, former))
    with ends.raised(), pytest.raises(KeyboardInterrupt) as told:
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(9)
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            raise
    assert isinstance(told.value, ends.Ended) and told.value.exit_code == 129


def test_a_second_ctrl_c_ends_at_once_and_the_picture_is_kept(folder: Path) -> None:
    child = Child((*_FLAGS, "--steps", "100000", "-o", "cat.png"), folder)
    child.wait_for(7)
    for _ in range(2):
        child.signal(signal.SIGINT)
    assert child.end() == 130 and Image.open("cat.png").size == (64, 64)
    assert savepoint.read(Path("cat.run")).packed.step >= 5


def test_what_a_run_that_is_killed_too_early_leaves_is_told(cli: CommandLine, folder: Path) -> None:
    child = Child((*_FLAGS, "-o", "cat.png"), folder)
    until = Path("cat.run/config.yaml")
    while not until.exists():
        assert child.process.is_alive(), child.log.read_text()
    child.signal(signal.SIGKILL)
    child.end()
    told = cli("resume", "cat.run")
    assert told.code in (0, 2), told.err  # the first state may have been written already


def largest_file(cli: CommandLine) -> int:
    """Return the size of the largest file that a small run writes."""
    assert cli.draw("cat", "-o", "whole.png", "--keep-run").code == 0
    return max(file.stat().st_size for file in [Path("whole.png"), *Path("whole.run").iterdir()])


def test_files_beyond_any_limit_are_told_of_and_leave_nothing_half_written(cli: CommandLine) -> None:
    largest = largest_file(cli)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for part in range(1, 11):
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest * part // 11, hard))
        try:
            ran = cli.draw("cat", "-o", f"cat{part}.png", "--keep-run")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert ran.code in (0, 1) and "the disk is full" in ran.err, f"{part} of 11 of {largest} bytes were enough"
        if ran.code == 0:
            assert Image.open(f"cat{part}.png").convert("RGB").size == (64, 64)
            assert "the state is not saved" in ran.err
        else:
            assert not Path(f"cat{part}.png").exists() and len(ran.complaints) <= 2
    assert not list(Path().rglob("*.tmp"))
    assert sha("whole.png") == sha("cat10.png")
