"""Sessions: what they tell, how they are stopped, paused, saved and closed, and jobs that go to other processes."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.children import Child
from support.command_line import CommandLine
from support.pictures import sha
from support.resuming import failing
from support.runs import SMALL_FLAGS, models, small, threads
from support.sessions import carry_out

import vqclip
from vqclip.config import Config
from vqclip.errors import NumericError, OutputError, UsageError, WeightsError
from vqclip.generation.control import Control, Stopped
from vqclip.generation.models import Models
from vqclip.registry import SINKS
from vqclip.session import events, savepoint
from vqclip.session.job import Job, Outcome, Resume
from vqclip.session.session import Session, run_job
from vqclip.session.sinks import Sink, video
from vqclip.types import Snapshot
from vqclip.weights import cache, get

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with threads(1):
        yield tmp_path


def wanted(name: str = "cat.png", **values: Any) -> Config:
    output = {"file": name, "save_every": 4} | values.pop("output", {})
    return small(**({"steps": 12, "output": output} | values))


def proposed(name: str = "cat.png", candidates: int = 20) -> Config:
    """A run that begins with the best of many candidates of the bundled prior."""
    init = {"kind": "prior", "candidates": candidates}
    return wanted(name, steps=3, init=init, models={"prior": "tiny"}, prior={"steps": 2})


@pytest.fixture(scope="module")
def with_prior() -> Models:
    return Models.load(proposed())


def straight(config: Config, networks: Models | None = None) -> str:
    """The hash of the picture of a config that nothing disturbs, drawn elsewhere."""
    apart = dataclasses.replace(config, output=dataclasses.replace(config.output, file="elsewhere/straight.png"))
    return sha(carry_out(apart, networks=networks).pictures[0])


def kinds(told: list[events.Event]) -> list[str]:
    return [type(event).__name__ for event in told]


# --- what is told ----------------------------------------------------------------------------------------------------


def test_a_session_tells_what_happens_in_its_order() -> None:
    config = wanted(count=2, steps=5, output={"video": "film.mp4"})
    session = vqclip.Session.start(vqclip.Job(config), models())
    told = list(session)
    assert kinds(told)[:3] == ["Started", "BatchStarted", "Stepped"] and kinds(told)[-2:] == ["BatchEnded", "Finished"]
    one_batch = ["BatchStarted", *["Stepped"] * 5, "PreviewWritten", "Stepped", "BatchEnded"]
    assert kinds(told) == ["Started", *one_batch, *one_batch, "Finished"]
    first, last = told[0], told[-1]
    assert (
        isinstance(first, events.Started)
        and first.config.run.device == "cpu"
        and (first.step, first.picture) == (0, "")
    )
    begun = [event for event in told if isinstance(event, events.BatchStarted)]
    assert [(b.number, b.seeds, b.pictures) for b in begun] == [
        (0, (7,), (Path("cat.png"),)), (1, (8,), (Path("cat-1.png"),))
    ]  # fmt: skip
    ended = [event for event in told if isinstance(event, events.BatchEnded)]
    assert [(e.pictures, e.videos, e.whole) for e in ended] == [
        ((Path("cat.png"),), (Path("film.mp4"),), True), ((Path("cat-1.png"),), (Path("film-1.mp4"),), True)
    ]  # fmt: skip
    steps = [event.snapshot.step for event in told if isinstance(event, events.Stepped)]
    assert steps == [*range(6), *range(6)]
    assert isinstance(last, events.Finished) and last.outcome == session.outcome
    assert last.outcome.pictures == (Path("cat.png"), Path("cat-1.png")) and last.outcome.exit_code == 0
    assert (last.outcome.stopped, last.outcome.folder, last.outcome.step) == (False, None, 5)


def test_every_event_is_frozen_and_says_what_its_fields_are() -> None:
    found = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)]
    assert len(found) > 8
    for kind in found:
        assert kind.__doc__ and kind.__dataclass_params__.frozen, kind
    with pytest.raises(dataclasses.FrozenInstanceError):
        events.Paused(3).step = 4  # type: ignore[misc]


def test_what_is_noticed_is_told_before_the_step() -> None:
    told = list(Session.start(Job(small("a red zeppelin", steps=0)), models()))
    place = next(k for k, event in enumerate(told) if isinstance(event, events.NoticeGiven))
    assert "zeppelin" in told[place].text and kinds(told)[place + 1] == "Stepped"


def test_candidates_are_told_where_they_are_to_be_shown(with_prior: Models) -> None:
    config = proposed(candidates=3)
    config.output.save_candidates = True
    told = list(Session.start(Job(config), with_prior))
    shown = [event for event in told if isinstance(event, events.CandidatesDrawn)]
    assert len(shown) == 1 and len(shown[0].candidates[7].codes) == 3
    assert Path("cat.candidates.png").exists()


def test_callbacks_are_called_in_every_step_of_a_session_and_of_one_that_goes_on() -> None:
    steps: list[int] = []
    seen: list[int] = []
    session = Session.start(Job(wanted()), models(), callbacks=[lambda report: steps.append(report.step)])
    for event in session:
        if isinstance(event, events.Stepped):
            seen.append(event.snapshot.step)
            if seen[-1] == 6:
                session.stop()
    assert len(steps) == 6
    run_job(Job(resume=Resume("cat.run")), models=models(), callbacks=[lambda report: steps.append(report.step)])
    assert len(steps) == 6 + 7  # step 6 is done once more, from the state of step 5


# --- stopped, paused, saved ------------------------------------------------------------------------------------------


def test_a_session_stopped_from_another_thread_goes_on_to_the_same_picture() -> None:
    session = Session.start(Job(wanted(steps=60)), models())
    reached = threading.Event()

    def stop() -> None:
        assert reached.wait(60)
        session.stop()

    other = threading.Thread(target=stop)
    other.start()
    for event in session:
        if isinstance(event, events.Stepped) and event.snapshot.step == 8:
            reached.set()
            other.join()
    assert session.outcome.stopped and session.outcome.exit_code == 130 and session.outcome.step == 8
    assert session.outcome.folder == Path("cat.run") and Image.open("cat.png").size == (64, 64)
    assert run_job(Job(resume=Resume("cat.png")), models=models()).step == 60
    assert sha("cat.png") == straight(wanted(steps=60))


class StopsAt(Control):
    """Stops the work, from another thread, when it comes to its nth checkpoint."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number

    def checkpoint(self) -> None:
        self.left -= 1
        if not self.left:
            other = threading.Thread(target=self.stop)
            other.start()
            other.join()
        super().checkpoint()


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_session_stopped_while_candidates_are_drawn_has_written_nothing_and_goes_on(
    with_prior: Models, at: int
) -> None:
    """Before the batch, before the first group of candidates, and between two groups."""
    outcome = run_job(Job(proposed()), models=with_prior, control=StopsAt(at))
    assert outcome == Outcome(stopped=True, folder=Path("cat.run"), step=None)
    assert {path.name for path in Path().iterdir()} == {"cat.run"}
    assert savepoint.read(Path("cat.run")).packed is None
    assert not list(Path("cat.run").glob("*.tmp"))
    again = run_job(Job(resume=Resume("cat.run")), models=with_prior)
    assert again.pictures == (Path("cat.png").resolve(),) or again.pictures == (Path("cat.png"),)
    assert sha("cat.png") == straight(proposed(), with_prior) and not Path("cat.run").exists()


def test_a_session_stopped_between_two_batches_goes_on_with_the_second() -> None:
    config = wanted(count=2, steps=3)
    seen: list[int] = []
    outcome = carry_out(config, lambda s: seen.append(s.step), stop=lambda: seen == [0, 1, 2, 3])
    assert outcome.pictures == (Path("cat.png"),) and outcome.stopped and outcome.folder == Path("cat-1.run")
    assert run_job(Job(resume=Resume("cat-1.run")), models=models()).pictures
    assert sha("cat-1.png") == sha(carry_out(wanted("s.png", steps=3, seed=8)).pictures[0])


def test_a_signal_while_candidates_are_drawn_ends_the_program_at_once(cli: CommandLine, folder: Path) -> None:
    flags = ("a red cat", *SMALL_FLAGS, "--set", "models.prior=tiny", "--init", "prior", "-o", "cat.png")
    child = Child((*flags, "--candidates", "1000"), folder)
    while not child.log.exists():
        assert child.process.is_alive()
    child.wait_for_words("drawing 'a red cat'")
    child.signal(signal.SIGTERM)
    assert child.end() == 143 and "stopped before the first step; go on with: vqclip resume cat.run" in (
        child.log.read_text("utf-8")
    )
    assert not Path("cat.png").exists() and savepoint.is_saved(Path("cat.run"))


def test_a_pause_changes_nothing_and_what_there_is_can_be_saved_meanwhile() -> None:
    session = Session.start(Job(wanted()), models())
    told: list[events.Event] = []
    waiting = threading.Event()

    def wait_save_and_go_on() -> None:
        assert waiting.wait(60)
        session.save()
        until = threading.Event()
        while not Path("cat.png").exists():
            until.wait(0.01)
        session.go_on()

    other = threading.Thread(target=wait_save_and_go_on)
    other.start()
    for event in session:
        told.append(event)
        if isinstance(event, events.Stepped) and event.snapshot.step == 5:
            session.pause()
        if isinstance(event, events.Paused):
            waiting.set()
    other.join()
    at = kinds(told).index("Paused")
    assert kinds(told)[at : at + 3] == ["Paused", "Saved", "WentOn"]
    assert told[at + 1] == events.Saved(5, (Path("cat.png"),))
    assert sha("cat.png") == straight(wanted())


@pytest.mark.parametrize("candidates", [0, 20])
def test_a_paused_session_can_be_stopped(with_prior: Models, candidates: int) -> None:
    """Also while candidates are drawn, which waits as well."""
    control = Control()
    config = proposed(candidates=candidates) if candidates else wanted()
    if candidates:
        control.pause()
    timer = threading.Timer(0.3, control.stop)
    timer.start()

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Stepped):
            control.pause()

    outcome = run_job(Job(config), listen, with_prior if candidates else models(), control)
    assert outcome.stopped and outcome.step == (None if candidates else outcome.step)
    assert timer.finished.is_set()


def test_saving_keeps_picture_video_and_state_and_goes_on(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "SEGMENT", 3)
    session = Session.start(Job(wanted(output={"video": "film.mp4"})), models())
    for event in session:
        if isinstance(event, events.Stepped) and event.snapshot.step == 7:
            session.save()
        if isinstance(event, events.Saved):
            assert event == events.Saved(7, (Path("cat.png"), Path("film.mp4")))
            early = sha("cat.png")
            shutil.copytree("cat.run", "copy")
    assert not session.outcome.stopped and sha("cat.png") == straight(wanted()) != early
    # as if the process had been killed just after it had saved
    shutil.move("copy", "cat.run")
    assert cli("resume", "cat.run", "--yes").code == 0 and sha("cat.png") == straight(wanted())


def test_work_without_a_session_heeds_its_control_too() -> None:
    control = Control()
    control.checkpoint()
    control.save()
    assert control.take_save() and not control.take_save()
    control.pause()
    assert control.paused
    threading.Timer(0.1, control.go_on).start()
    control.checkpoint()
    control.pause()
    control.stop()
    assert not control.paused and control.stopped
    with pytest.raises(Stopped):
        control.checkpoint()


# --- closed before the end -------------------------------------------------------------------------------------------


def leave(session: Session) -> None:
    """Leave the loop at step 7, the session is closed then."""
    with session:
        for event in session:
            if isinstance(event, events.Stepped) and event.snapshot.step == 7:
                break


def close(session: Session) -> None:
    for event in session:
        if isinstance(event, events.Stepped) and event.snapshot.step == 7:
            session.close()
            break


def fail(session: Session) -> None:
    """An error of the caller's own."""
    with pytest.raises(ZeroDivisionError), session:
        for event in session:
            if isinstance(event, events.Stepped) and event.snapshot.step == 7:
                raise ZeroDivisionError


@pytest.mark.parametrize("end", [leave, close, fail])
def test_a_session_that_is_not_ended_keeps_what_a_stopped_one_keeps(end: Callable[[Session], None]) -> None:
    session = Session.start(Job(wanted(output={"video": "film.mp4"})), models())
    end(session)
    assert session.outcome.pictures == (Path("cat.png"),) and session.outcome.videos == (Path("film.mp4"),)
    assert session.outcome.folder == Path("cat.run") and session.outcome.step == 7
    assert list(session) == []
    assert run_job(Job(resume=Resume("cat.run")), models=models()).step == 12
    assert sha("cat.png") == straight(wanted())


def test_what_a_listener_raises_ends_the_job_and_is_raised_after_the_notices() -> None:
    told: list[events.Event] = []

    def listen(event: events.Event) -> None:
        told.append(event)
        if isinstance(event, events.Stepped) and event.snapshot.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(Job(wanted()), listen, models())
    texts = [event.text for event in told if isinstance(event, events.NoticeGiven)]
    assert texts == ["the run ended early; kept so far: cat.png", "it can go on from there: vqclip resume cat.run"]


def test_a_session_that_fails_says_what_it_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, 6, 99, lambda loss: loss * float("nan"))
    session = Session.start(Job(wanted()), models())
    told: list[events.Event] = []
    with pytest.raises(NumericError) as error:
        told.extend(iter(session.__next__, None))
    assert error.value.exit_code == 4 and session.outcome.pictures == (Path("cat.png"),)
    assert session.outcome.folder == Path("cat.run") and not session.outcome.stopped


def test_closing_a_session_that_has_not_begun_does_nothing() -> None:
    Session.start(Job(wanted()), models()).close()
    with Session.start(Job(wanted()), models()):
        pass
    assert list(Path().iterdir()) == []


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_a_job_goes_to_another_process_and_its_outcome_comes_back() -> None:
    job = Job(wanted())
    assert pickle.loads(pickle.dumps(job)) == job
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        outcome = pool.apply(run_job, (job,))
        with pytest.raises(UsageError, match="there is no run"):
            pool.apply(run_job, (Job(resume=Resume("nothing.run")),))
    assert outcome.pictures == (Path("cat.png"),) and sha("cat.png") == straight(wanted())


def test_a_config_that_is_changed_afterwards_changes_no_job() -> None:
    config = wanted()
    session = Session.start(Job(config), models())
    for event in session:
        config.steps, config.seed, config.output.file = 1, 99, "other.png"
        if isinstance(event, events.Started):
            assert (event.config.steps, event.config.seed) == (12, 7)
    assert session.outcome.pictures == (Path("cat.png"),) and sha("cat.png") == straight(wanted())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Job(), "a job needs a config"),
        (lambda: Job(wanted(), resume=Resume("cat.run")), "not both"),
        (lambda: Job(wanted(), sinks=("pictur",)), "did you mean 'picture'"),
        (lambda: Job(dataclasses.replace(wanted(), steps=-1)), "steps is -1"),
        (lambda: Job("a cat"), "the config is 'a cat'"),
        (lambda: Session.start(Job(wanted("cat.bmp"))), "'.bmp'"),
        (lambda: Session.start(Job(small("a cat:0"))), "weight 0"),
        (lambda: Session.start(Job(resume=Resume("cat.run"))), "there is no run"),
    ],
)
def test_a_wrong_job_is_refused_before_anything_is_loaded(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        make()
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_job_that_is_offline_reaches_no_network_and_leaves_the_environment_alone(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_OFFLINE", "VQCLIP_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    before, refused = dict(os.environ), []
    sound = Models.resolve

    def fetching(self: Models, config: Config) -> Config:
        with pytest.raises(WeightsError, match="offline"):
            get.get("vqgan", "imagenet_f16_1024")
        refused.append(cache.offline())
        return sound(self, config)

    monkeypatch.setattr(Models, "resolve", fetching)
    monkeypatch.setenv("VQCLIP_HOME", str(Path.cwd()))
    run_job(Job(small(steps=0), offline=True), models=models())
    monkeypatch.delenv("VQCLIP_HOME")
    assert refused == [True] and not cache.offline()
    monkeypatch.undo()
    assert cli.draw("a red cat", "--steps", "0", "--offline").code == 0
    assert dict(os.environ) == {name: value for name, value in before.items() if name in os.environ}
    assert "HF_HUB_OFFLINE" not in os.environ or "HF_HUB_OFFLINE" in before


# --- sinks -----------------------------------------------------------------------------------------------------------


class Diary(Sink):
    """A sink of somebody else: a line a step, in a file beside the picture."""

    def begin(self) -> None:
        self.path = self.batch.paths[0].with_suffix(".txt")
        self.lines = [f"begun: {self.path.stem}"]

    def step(self, snapshot: Snapshot) -> None:
        self.lines.append(f"step {snapshot.step}")

    def finish(self, snapshot: Snapshot, hurry: bool) -> list[Path]:
        self.path.write_text("\n".join(self.lines))
        return [self.path]

    def close(self, whole: bool) -> None:
        self.batch.notice(f"the diary is closed, whole: {whole}")


def test_a_sink_of_ones_own_is_one_class_and_one_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SINKS, "_records", dict(SINKS._records))
    vqclip.register.sink("diary")(Diary)
    notices: list[str] = []
    outcome = carry_out(wanted(steps=2), on_notice=lambda notice: notices.append(notice.text))
    assert Path("cat.txt").read_text() == "begun: cat\nstep 0\nstep 1\nstep 2"
    assert outcome.others == (Path("cat.txt"),) and notices == ["the diary is closed, whole: True"]


def test_a_sink_that_fails_at_the_end_costs_neither_picture_nor_state(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Sink):
        def finish(self, snapshot: Snapshot, hurry: bool) -> list[Path]:
            raise OutputError("the paper is full")

    with monkeypatch.context() as patch:
        patch.setattr(SINKS, "_records", dict(SINKS._records))
        vqclip.register.sink("broken")(Broken)
        with pytest.raises(OutputError, match="the paper is full"):
            carry_out(wanted())
    # that of the first grid, as nothing asked for a later one before its half minute was over, and the last one
    assert savepoint.read(Path("cat.run")).step == 12
    assert sha("cat.png") == straight(wanted())


@pytest.mark.parametrize("name", list(SINKS))
def test_every_sink_by_itself_takes_a_session_from_beginning_to_end(name: str) -> None:
    if name == "tensorboard":
        pytest.importorskip("tensorboard")
    output = {"video": "film.mp4", "metrics": "steps.csv", "tensorboard": "board", "save_candidates": True}
    outcome = carry_out(Job(wanted(output=output), sinks=(name,)))
    files = {"picture": {"cat.png"}, "video": {"film.mp4"}, "metrics": {"steps.csv"}, "tensorboard": {"board"}}
    assert {path.name for path in Path().iterdir()} == files.get(name, set())
    assert {path.name for path in (*outcome.pictures, *outcome.videos, *outcome.others)} == (
        set() if name == "tensorboard" else files.get(name, set())
    )
    if name == "picture":
        assert sha("cat.png") == straight(wanted())


def test_without_states_nothing_is_left_of_a_session_that_was_stopped() -> None:
    seen: list[int] = []
    job = Job(wanted(), sinks=("picture",))
    outcome = carry_out(job, lambda s: seen.append(s.step), stop=lambda: seen[-1] == 5)
    assert outcome.stopped and outcome.folder is None
    assert [path.name for path in Path().iterdir()] == ["cat.png"]
