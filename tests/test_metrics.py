"""The table of losses, rates and scores: a row a picture and step, once each, whatever happens to the run."""

from __future__ import annotations

import csv
import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_line import CommandLine
from support.resuming import failing
from support.runs import models, small, threads
from support.sessions import carry_out

from vqclip.config import Config
from vqclip.errors import OutputError, UsageError
from vqclip.session import events
from vqclip.session.job import Job, Resume
from vqclip.session.session import Session, run_job
from vqclip.session.sinks.metrics import COLUMNS, Table
from vqclip.types import Snapshot

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with threads(1):
        yield tmp_path


def wanted(name: str = "cat.png", table: str = "steps.csv", **values: Any) -> Config:
    output = {"file": name, "metrics": table} | values.pop("output", {})
    return small(**({"steps": 12, "losses": {"tv": 0.1}, "best": {"every": 5}, "output": output} | values))


def rows(name: str = "steps.csv") -> list[dict[str, str]]:
    with open(name, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def timeless(name: str = "steps.csv") -> list[dict[str, str]]:
    """The rows without the seconds, which are others every time."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows(name)]


def test_there_is_a_row_a_picture_and_step_with_what_the_snapshots_say() -> None:
    seen: list[Snapshot] = []
    outcome = carry_out(wanted(count=3, batch_size=2, steps=6), seen.append)
    found = rows()
    assert outcome.others == (Path("steps.csv"),)
    assert list(found[0]) == [*COLUMNS, "loss.prompt", "loss.tv"]
    pairs = [(int(row["step"]), int(row["seed"]), int(row["picture"])) for row in found]
    assert pairs == [(s, 7 + k, k) for s in range(1, 7) for k in (0, 1)] + [(s, 9, 0) for s in range(1, 7)]
    expected = [(s, k) for s in seen if s.step for k in range(len(s.seeds))]
    for row, (snapshot, k) in zip(found, expected, strict=True):
        assert float(row["lr"]) == pytest.approx(snapshot.lr, rel=1e-5)
        for name, values in snapshot.losses.items():
            assert float(row[f"loss.{name}"]) == pytest.approx(float(values[k]), rel=1e-5)
        total = float(row["loss.prompt"]) + float(row["loss.tv"])
        assert float(row["loss"]) == pytest.approx(total, rel=1e-4) and 0 < float(row["seconds"]) < 60
        best = snapshot.best_score
        assert row["score"] == "" if best is None else float(row["score"]) == pytest.approx(float(best[k]), rel=1e-5)
    assert found[-1]["score"] and not found[0]["score"]


def test_the_command_line_writes_it_and_never_over_another_file(cli: CommandLine) -> None:
    Path("steps.csv").write_text("mine")
    assert cli.draw("a red cat", "-o", "cat.png", "--metrics", "steps.csv").files == [Path("cat.png")]
    assert Path("steps.csv").read_text() == "mine" and len(rows("steps-1.csv")) == 3
    assert cli.draw("a red cat", "-o", "dog.png", "--metrics", "steps.csv", "--yes").code == 0
    assert len(rows()) == 3
    ran = cli.draw("a red cat", "--metrics", "steps.txt")
    assert (ran.code, len(ran.complaints)) == (2, 1) and "ends in .csv" in ran.err


@pytest.mark.parametrize(("at", "cut"), [(3, 0), (5, 0), (8, 0), (3, 9), (8, 9)])
def test_a_run_that_goes_on_repeats_no_row(at: int, cut: int) -> None:
    """Also where the process was killed while it wrote a row."""
    carry_out(wanted("straight.png", "straight.csv"))
    seen: list[int] = []
    halted = carry_out(wanted(), lambda s: seen.append(s.step), stop=lambda: seen[-1] == at)
    assert halted.stopped and len(rows()) == at
    text = Path("steps.csv").read_text()
    Path("steps.csv").write_text(text[: len(text) - cut])
    outcome = run_job(Job(resume=Resume("cat.run")), models=models())
    assert outcome.others[0].name == "steps.csv" and timeless() == timeless("straight.csv")


def test_a_second_batch_that_goes_on_keeps_the_rows_of_the_first() -> None:
    carry_out(wanted("straight.png", "straight.csv", count=2))
    seen: list[int] = []
    carry_out(wanted(count=2), lambda s: seen.append(s.step), stop=lambda: seen.count(0) == 2 and seen[-1] == 7)
    run_job(Job(resume=Resume("cat-1.run")), models=models())
    assert timeless() == timeless("straight.csv")


def test_steps_that_are_done_again_after_trouble_have_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, 8, 1, lambda loss: loss * math.nan)
    told: list[int] = []
    carry_out(wanted(), lambda snapshot: told.append(snapshot.step))
    assert [int(row["step"]) for row in rows()] == list(range(1, 13)) and told.count(6) == 2


def test_a_table_that_is_gone_begins_anew_and_another_file_stays() -> None:
    seen: list[int] = []
    carry_out(wanted(), lambda s: seen.append(s.step), stop=lambda: seen[-1] == 7)
    Path("steps.csv").unlink()
    session = Session.start(Job(resume=Resume("cat.run")), models())
    for event in session:
        if isinstance(event, events.Stepped) and event.snapshot.step == 8:
            session.stop()
    assert [int(row["step"]) for row in rows()] == [6, 7, 8]
    Path("steps.csv").write_text("seed,height\n1,2\n")
    with pytest.raises(OutputError, match="no table of this run"):
        run_job(Job(resume=Resume("cat.run")), models=models())
    assert Path("steps.csv").read_text() == "seed,height\n1,2\n"


def test_a_table_takes_new_columns_and_loses_nothing() -> None:
    table = Table(Path("t.csv"))
    table.start()
    table.add([{"seed": "1", "step": "1"}])
    table.add([{"seed": "1", "step": "2", "loss.tv": "0.5"}])
    assert [(row["step"], row["loss.tv"]) for row in rows("t.csv")] == [("1", ""), ("2", "0.5")]


def test_a_table_that_cannot_be_written_costs_no_picture() -> None:
    notices: list[str] = []

    def obstruct(snapshot: Snapshot) -> None:
        if snapshot.step == 3:
            Path("steps.csv").unlink()
            Path("steps.csv").mkdir()

    carry_out(wanted(), obstruct, on_notice=lambda notice: notices.append(notice.text))
    assert Path("cat.png").exists() and sum("table of metrics is not saved" in text for text in notices) == 1


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_without_tensorboard_it_is_refused_at_once(cli: CommandLine) -> None:
    ran = cli.draw("a red cat", "--set", "output.tensorboard=board")
    assert (ran.code, len(ran.complaints)) == (2, 1) and "install vqclip[tensorboard]" in ran.err
    with pytest.raises(UsageError, match="needs the package tensorboard"):
        Session.start(Job(small(output={"tensorboard": "board"})))


def test_tensorboard_shows_the_same_numbers() -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen: list[int] = []
    config = wanted(output={"tensorboard": "board"})
    carry_out(config, lambda s: seen.append(s.step), stop=lambda: seen[-1] == 7)
    run_job(Job(resume=Resume("cat.run")), models=models())
    found = EventAccumulator("board/cat")
    found.Reload()
    for name in ("loss", "loss.prompt", "loss.tv", "lr"):
        scalars = found.Scalars(name.replace(".", "/"))
        assert [s.step for s in scalars] == list(range(1, 13))
        assert [s.value for s in scalars] == pytest.approx([float(row[name]) for row in rows()], rel=1e-5)
