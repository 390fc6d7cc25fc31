"""Trouble on the way is told by the pictures that it concerns, and by no others."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import CommandLine
from support.pictures import sha
from support.runs import draw, models, run_of, small
from support.sessions import carry_out

from vqclip.drawables import Moment
from vqclip.errors import ResumeError
from vqclip.generation import recover
from vqclip.generation.prepare import prepare
from vqclip.guidance import Guidance
from vqclip.guidance.guide import Guided
from vqclip.types import PackedState
from vqclip.writers import metadata

pytestmark = pytest.mark.usefixtures("one_thread")
HALVED = [{"step": 3, "views.chunk": 2}]


def short_of_memory(monkeypatch: pytest.MonkeyPatch, seed: int, at: int = 2) -> None:
    """Let memory run out at one step of one picture until only two views go through CLIP at a time."""
    sound = Guidance.backward

    def backward(self: Guidance, image: Any, moment: Moment) -> Guided:
        if seed in moment.seeds and moment.step == at and self.chunk > 2:
            raise MemoryError
        return sound(self, image, moment)

    monkeypatch.setattr(Guidance, "backward", backward)


def short_of_numbers(monkeypatch: pytest.MonkeyPatch, *at: int) -> None:
    """Let the loss be no number, once, at each of some steps."""
    sound, left = Guidance.backward, list(at)

    def backward(self: Guidance, image: Any, moment: Moment) -> Guided:
        guided = sound(self, image, moment)
        if moment.step not in left:
            return guided
        left.remove(moment.step)
        return dataclasses.replace(guided, losses={name: loss * torch.nan for name, loss in guided.losses.items()})

    monkeypatch.setattr(Guidance, "backward", backward)


@pytest.mark.parametrize("batch", [1, 2])
def test_only_the_pictures_drawn_when_memory_ran_out_tell_of_it(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    config = small(steps=4, count=4, batch_size=batch, run={"deterministic": True})
    sound = draw(config)
    short_of_memory(monkeypatch, seed=8)
    found = draw(config)
    concerned = {8} if batch == 1 else {7, 8}
    for picture, before in zip(found.pictures, sound.pictures, strict=True):
        assert picture.record.get("events", []) == (HALVED if picture.seed in concerned else [])
        assert picture.record["config"]["views"]["chunk"] == 4
        assert picture.seed in concerned or sha(picture.image) == sha(before.image)


def test_a_run_that_goes_on_goes_on_with_as_few_views_at_a_time(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(name: str, until: int | None) -> None:
        config = small(steps=12, output={"file": name})
        seen: list[Any] = []
        carry_out(config, seen.append, stop=lambda: len(seen) - 1 == until)

    short_of_memory(monkeypatch, seed=7)
    drawn("straight.png", None)
    drawn("cat.png", 8)
    assert cli("resume", "cat.run").code == 0
    assert sha("cat.png") == sha("straight.png")
    for name in ("cat.png", "straight.png"):
        assert metadata.read(name)["record"]["events"] == HALVED


def test_going_back_after_a_number_that_is_none_keeps_what_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    short_of_memory(monkeypatch, seed=7)
    run = run_of(small(steps=6))
    for _ in range(4):
        recover.step(run)
    with torch.no_grad():
        run.state.drawable.z.fill_(torch.nan)
    recover.step(run)
    assert run.state.step == 0 and run.state.chunks == {3: 2} and run.guidance.chunk == 2


@pytest.mark.parametrize(("name", "value"), [("chunk.3", 0), ("chunk.3", -1), ("chunk.3", 1e9), ("chunk.x", 2),
                                             ("chunk.3", float("nan")), ("chunk.3", float("inf")),
                                             ("slowed.3", 0), ("slowed.3", -0.5), ("slowed.3", 2), ("slowed.x", 0.5),
                                             ("slowed.3", float("nan"))])  # fmt: skip
def test_a_state_with_events_that_no_run_has_is_refused(name: str, value: float) -> None:
    run = run_of(small())
    packed = run.state.pack()
    ready = prepare(models().resolve(small()), models())
    with pytest.raises(ResumeError):
        ready.resumed((7,), PackedState(0, packed.tensors, {**packed.numbers, name: value}))


def test_drawing_such_a_picture_again_tells_that_it_may_differ(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        short_of_memory(patch, seed=7)
        assert cli.draw("a red cat", "-o", "cat.png", "--steps", "4").code == 0
    again = cli("--from", "cat.png", "-o", "again.png")
    assert again.code == 0 and "memory ran out at step 3 of it" in again.err
    assert "memory" not in cli("--from", "again.png", "-o", "third.png").err
    assert sha("third.png") == sha("again.png") and Path("again.png").exists()


# --- the learning rate -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "events"),
    [
        ((), None),
        ((7,), [{"step": 6, "optimizer.lr": 0.05}]),
        ((7, 8), [{"step": 6, "optimizer.lr": 0.025}]),
        ((2, 7), [{"step": 1, "optimizer.lr": 0.05}, {"step": 6, "optimizer.lr": 0.025}]),
    ],
)
def test_a_rate_that_was_halved_is_an_event_and_the_config_says_what_was_asked(
    monkeypatch: pytest.MonkeyPatch, at: tuple[int, ...], events: Any
) -> None:
    short_of_numbers(monkeypatch, *at)
    record = draw(small(steps=9)).pictures[0].record
    assert record.get("events") == events and record["config"]["optimizer"]["lr"] == 0.1


def test_a_run_that_goes_on_still_tells_of_a_rate_that_was_halved(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        short_of_numbers(patch, 7)
        config = small(steps=14, output={"file": "cat.png"})
        seen: list[Any] = []
        carry_out(config, seen.append, stop=lambda: seen[-1].step == 11)
    assert cli("resume", "cat.run").code == 0
    assert metadata.read("cat.png")["record"]["events"] == [{"step": 6, "optimizer.lr": 0.05}]
    assert "memory" not in cli("--from", "cat.png", "-o", "again.png").err
