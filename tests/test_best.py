"""The best iterate is kept, and a run ends when none better came for as long as there is patience."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.command_line import CommandLine
from support.pictures import sha
from support.runs import draw, run_of, small, snapshots

from vqclip import images
from vqclip.guidance import Guidance
from vqclip.writers import metadata

pytestmark = pytest.mark.usefixtures("one_thread")


def test_an_iterate_in_the_middle_can_be_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(steps=5, best={"every": 1}, latent={"ema": 0.0})
    run, pictures = run_of(config), []
    for _ in range(config.steps):
        run.step()
        pictures.append(images.to_pil(run.render(run.state.output)))
    scores = iter([3.0, 1.0, 2.0, 1.0, 4.0])
    monkeypatch.setattr(Guidance, "score", lambda guidance, image, seeds, views: torch.tensor([next(scores)]))
    result = draw(config)
    assert result.pictures[0].score == 1.0
    assert sha(result.image) == sha(pictures[1])


def test_each_picture_of_a_batch_keeps_its_own_best() -> None:
    config = small(steps=5, optimizer={"lr": 1.0}, best={"every": 1}, count=2, batch_size=2)
    run = run_of(config, (7, 8))
    scores = []
    for _ in range(config.steps):
        run.step()
        scores.append(run.guidance.score(run.render(run.state.output), (7, 8), 2))
    assert torch.allclose(run.state.best.score, torch.stack(scores).min(0).values)


def test_the_best_is_never_worse_than_the_last() -> None:
    for snapshot in snapshots(small(steps=7, best={"every": 3}))[3:]:
        assert snapshot.best_step in (3, 6, 7)
    run = run_of(small(steps=7, best={"every": 3}))
    for _ in range(7):
        run.step()
    assert float(run.state.best.score) <= float(run.guidance.score(run.render(run.state.output), (7,), 2))


def test_patience_ends_a_run_that_gets_no_better(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([3.0, 1.0, 2.0, 1.0, 0.5])
    monkeypatch.setattr(Guidance, "score", lambda guidance, image, seeds, views: torch.tensor([next(scores)]))
    found = snapshots(small(steps=50, best={"every": 1, "patience": 2}))
    assert [s.step for s in found if s.last] == [4] and found[-1].step == found[-1].steps == 4
    assert found[-1].best_step == 2 and found[-1].packed.step == 4


def test_patience_begins_with_the_last_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guidance, "score", lambda guidance, image, seeds, views: torch.ones(1))
    found = snapshots(small(steps=12, stages=["32:0.5", "full:0.5"], best={"every": 1, "patience": 2}))
    assert found[-1].step == 9  # of the steps after 6, the first has the first score


def test_patience_ends_picture_and_video_early(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guidance, "score", lambda guidance, image, seeds, views: torch.ones(len(image)))
    args = ("--steps", "60", "--patience", "3", "--set", "best.every=2", "--video", "film.mp4", "--length", "2")
    ran = cli.draw("a red cat", "-o", "cat.png", *args)
    assert (ran.code, ran.out.split()) == (0, ["cat.png", "film.mp4"])
    assert metadata.read("cat.png")["record"]["stopped_at_step"] == 8  # the first score is that of step 2
    assert not Path("cat.run").exists()
    assert cli.draw("a red cat", "--patience", "-1").code == 2


def test_a_run_that_ended_early_goes_on_with_new_patience(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guidance, "score", lambda guidance, image, seeds, views: torch.ones(len(image)))
    args = ("--steps", "60", "--patience", "3", "--set", "best.every=2", "--keep-run")
    assert cli.draw("a red cat", "-o", "cat.png", *args).code == 0
    assert metadata.read("cat.png")["record"]["stopped_at_step"] == 8
    assert cli("resume", "cat.run").code == 0
    assert metadata.read("cat.png")["record"]["stopped_at_step"] == 14
    assert cli("resume", "cat.run", "--steps", "16").code == 2  # the run was planned for 60
    assert cli("resume", "cat.run", "--steps", "70").code == 0
    assert metadata.read("cat.png")["record"]["stopped_at_step"] == 20
