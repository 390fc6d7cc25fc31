"""A run that was stopped goes on and ends as if it had not been; what does not fit it is refused."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.command_line import CommandLine
from support.pictures import photo, relative, sha
from support.resuming import draw, failing, frames, ready, rewritten, wanted
from support.sessions import carry_out

from vqclip import schedules
from vqclip.errors import ResumeError, VqclipError
from vqclip.generation import recover
from vqclip.generation.run import Run
from vqclip.generation.state import State
from vqclip.registry import OPTIMIZERS
from vqclip.session import savepoint
from vqclip.session.job import Job, Resume
from vqclip.session.sinks import video
from vqclip.types import Snapshot
from vqclip.writers import metadata

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("folder")]


@pytest.mark.parametrize("at", [1, 5, 7, 11])
def test_a_run_that_was_stopped_ends_in_the_same_picture(cli: CommandLine, at: int) -> None:
    straight = draw(wanted("straight.png"))
    halted = draw(wanted(), at)
    assert halted.stopped and halted.folder == Path("cat.run")
    assert metadata.read("cat.png")["record"]["stopped_at_step"] == at
    told = cli("resume", "cat.png")
    assert (told.code == 0 and told.out == f"{Path('cat.png').resolve()}\n") or told.out == "cat.png\n", told.err
    assert f"from step {at // 5 * 5} of 12" in told.err
    assert sha("cat.png") == sha(straight.pictures[0])
    assert metadata.read("cat.png")["record"] == metadata.read("straight.png")["record"]
    assert sorted(p.name for p in Path().iterdir()) == ["cat.png", "straight.png"]


def test_a_video_goes_on_with_every_frame_once(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "SEGMENT", 4)
    flags = {"steps": 17, "stages": ["full:1"]}
    draw(wanted("straight.png", **flags, output={"video": "straight.mp4"}))
    draw(wanted(**flags, output={"video": "film.mp4"}), 13)
    assert len(frames("film.mp4")) == 13
    assert cli("resume", "cat.run").code == 0
    one, other = frames("straight.mp4"), frames("film.mp4")
    assert len(one) == len(other) == 17
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert sha("cat.png") == sha("straight.png")


def test_a_run_that_is_stopped_twice_ends_in_the_same_picture(cli: CommandLine) -> None:
    draw(wanted("straight.png"))
    draw(wanted(), 6)
    folder = savepoint.find(Path("cat.png"))
    # stopped before it came to the next state
    carry_out(Job(resume=Resume(folder)), stop=lambda: True)
    assert savepoint.read(folder).packed.step == 5
    assert cli("resume", folder).code == 0 and sha("cat.png") == sha("straight.png")


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_packed_state_goes_on_as_the_run_does(name: str) -> None:
    config = wanted(optimizer={"name": name, "lr": 0.05}, stages=["full:1"])
    runs = [ready(config).run((7,)) for _ in range(2)]
    for _ in range(5):
        recover.step(runs[0])
    runs[1].state = State.unpack(runs[0].packed, config, runs[1].blank, torch.device("cpu"))
    for _ in range(4):
        assert torch.equal(*(recover.step(run) for run in runs))
    a, b = (run.state.pack() for run in runs)
    assert a.tensors.keys() == b.tensors.keys() and a.numbers == b.numbers
    assert all(torch.equal(a.tensors[key], b.tensors[key]) for key in a.tensors)


def test_several_pictures_go_on_one_after_the_other(cli: CommandLine) -> None:
    draw(wanted("straight.png", count=3))
    draw(wanted(count=3), 7, batch=1)
    assert sorted(p.name for p in Path().glob("cat*")) == ["cat-1.png", "cat-1.run", "cat.png"]
    first = Path("cat.png").stat().st_mtime_ns
    assert cli("resume", "cat-1.run").code == 0
    assert Path("cat.png").stat().st_mtime_ns == first
    for number in ("", "-1", "-2"):
        assert sha(f"cat{number}.png") == sha(f"straight{number}.png")
    assert not list(Path().glob("*.run"))


def test_pictures_that_are_drawn_together_go_on_from_the_name_of_any(cli: CommandLine) -> None:
    draw(wanted("straight.png", count=2, batch_size=2))
    draw(wanted(count=2, batch_size=2), 7)
    assert cli("resume", "cat-1.png").code == 0
    assert sha("cat.png") == sha("straight.png") and sha("cat-1.png") == sha("straight-1.png")
    assert not list(Path().glob("*.run"))


def test_an_init_image_is_found_from_another_folder_and_must_be_the_same(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    photo(Path("p.png"))
    init = {"kind": "image", "image": "p.png"}
    draw(wanted("straight.png", init=init))
    draw(wanted(init=init), 7)
    draw(wanted("other.png", init=init), 7)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert cli("resume", tmp_path / "cat.run").code == 0
    assert sha(tmp_path / "cat.png") == sha(tmp_path / "straight.png")
    photo(tmp_path / "p.png", (72, 64))
    told = cli("resume", tmp_path / "other.run")
    assert told.code == 5 and "the file of init.image" in told.complaints[0] and len(told.complaints) == 1


# --- drawn on --------------------------------------------------------------------------------------------------------


def test_a_kept_run_is_drawn_on_and_its_plan_stays(cli: CommandLine) -> None:
    draw(wanted("straight.png", extra_steps=8))
    first = draw(wanted(output={"keep_run": True}))
    assert first.folder == Path("cat.run")
    told = cli("resume", "cat.run")
    assert told.code == 2 and "all its 12 steps" in told.complaints[0]
    assert cli("resume", "cat.run", "--steps", "16").code == 0
    assert cli("resume", "cat.run", "--steps", "20").code == 0
    assert sha("cat.png") == sha("straight.png")
    record = metadata.read("cat.png")["record"]["config"]
    assert (record["steps"], record["extra_steps"]) == (12, 8)
    assert cli("resume", "cat.run", "--steps", "11").code == 2


def test_extra_steps_have_the_last_rate() -> None:
    run = ready(wanted(extra_steps=3)).run((7,))
    rates = []
    while run.state.step < 15:
        recover.step(run)
        rates.append(run.state.optimizer.param_groups[0]["lr"])
    assert rates[11] == rates[12] == rates[14] < rates[10]


# --- refused ---------------------------------------------------------------------------------------------------------


def test_a_changed_setting_is_refused_by_its_name(cli: CommandLine) -> None:
    draw(wanted(), 7)
    told = cli("resume", "cat.run", "--set", "optimizer.lr=0.2", "--set", "views.count=5")
    assert told.code == 5 and len(told.complaints) == 1
    assert "optimizer.lr" in told.err and "views.count" in told.err and "--force" in told.err
    text = Path("cat.run/config.yaml").read_text()
    Path("cat.run/config.yaml").write_text(text.replace("every: 3", "every: 4"))
    told = cli("resume", "cat.run")
    assert told.code == 5 and "best.every" in told.err
    assert cli("resume", "cat.run", "--force").code == 0
    assert metadata.read("cat.png")["record"]["config"]["best"]["every"] == 4


def test_other_weights_are_refused(cli: CommandLine) -> None:
    draw(wanted(), 7)
    point = savepoint.read(Path("cat.run"))
    savepoint.write(Path("cat.run"), dataclasses.replace(point, weights={**point.weights, "vqgan:tiny": "0"}))
    told = cli("resume", "cat.run")
    assert told.code == 5 and "weights of vqgan:tiny" in told.complaints[0]
    assert cli("resume", "cat.run", "--force").code == 0


def test_a_state_of_another_size_is_refused(cli: CommandLine) -> None:
    draw(wanted(), 11)
    told = cli("resume", "cat.run", "--set", "size=[96,96]", "--force")
    assert told.code == 5 and "does not fit its config" in told.complaints[-1]
    assert Path("cat.run/state.safetensors").exists()


def test_a_run_that_is_being_drawn_is_left_alone(cli: CommandLine) -> None:
    draw(wanted(), 7)
    held = savepoint.lock(Path("cat.run"))
    told = cli("resume", "cat.run")
    assert told.code == 5 and "another process" in told.complaints[0]
    held.release()
    assert cli("resume", "cat.run").code == 0


@pytest.mark.parametrize("name", ["nothing", "nothing.png", "."])
def test_what_is_no_run_is_a_usage_error(cli: CommandLine, name: str) -> None:
    told = cli("resume", name)
    assert told.code == 2 and len(told.complaints) == 1 and "NAME.run" in told.err


def test_a_picture_that_was_put_in_the_place_stays(cli: CommandLine) -> None:
    draw(wanted(), 7)
    Image.new("RGB", (4, 4)).save("cat.png")
    assert cli("resume", "cat.run").out == "cat-1.png\n" and Image.open("cat.png").size == (4, 4)


# --- damaged, and from strangers -------------------------------------------------------------------------------------


def test_the_state_before_serves_where_the_last_is_damaged(cli: CommandLine) -> None:
    draw(wanted("straight.png"))
    draw(wanted(), 11)
    state = Path("cat.run/state.safetensors")
    assert Path("cat.run/state-before.safetensors").exists()
    state.write_bytes(state.read_bytes()[:-100])
    told = cli("resume", "cat.run")
    assert (told.code, told.out) == (0, "cat.png\n") and sha("cat.png") == sha("straight.png")


@pytest.mark.parametrize("change", [
    lambda told: told.update(pictures=["../outside.png"]),
    lambda told: told.update(pictures=["/tmp/outside.png"]),
    lambda told: told.update(pictures=["cat.py"]),
    lambda told: told.update(pictures=3),
    lambda told: told.update(numbers={}),
    lambda told: told.update(numbers={**told["numbers"], "step": 10**9}),
    lambda told: told.update(numbers={**told["numbers"], "step": -3}),
    lambda told: told.update(numbers={**told["numbers"], "stage": 99}),
    lambda told: told.update(batch=77),
    lambda told: told.pop("config"),
    lambda told: told["config"].update(prompts=["${oc.env:HOME}"], size=["a", "b"]),
])  # fmt: skip
def test_a_state_from_a_stranger_is_refused(cli: CommandLine, change: Callable[[dict[str, Any]], None]) -> None:
    draw(wanted(), 7)
    before = sorted(Path().rglob("*"))
    rewritten(change)
    told = cli("resume", "cat.run")
    assert told.code in (2, 5) and len(told.complaints) == 1, told.err
    assert set(Path().rglob("*")) <= set(before) and not Path("../outside.png").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(99), b"\x80\x04cos\nsystem\n", bytes(8), b"\xff" * 99])
def test_bytes_that_are_no_state_are_refused(cli: CommandLine, content: bytes) -> None:
    draw(wanted(), 7)
    for name in ("state", "state-before"):
        Path(f"cat.run/{name}.safetensors").write_bytes(content)
    told = cli("resume", "cat.run")
    assert told.code == 5 and len(told.complaints) == 1 and "can be read" in told.err


def test_a_lead_that_points_elsewhere_is_looked_for_beside_the_run(cli: CommandLine) -> None:
    draw(wanted(), 7)
    Path("other.run").mkdir()
    Path("other.run/lead.txt").write_text("../../cat.run")
    assert savepoint.find(Path("other.run")) == Path("cat.run")


# --- trouble ---------------------------------------------------------------------------------------------------------


def last_rate() -> float:
    """Return the learning rate of the last step of a run without trouble."""
    config = wanted()
    return config.optimizer.lr * schedules.factor(config.optimizer.schedule, 11, 12)


@pytest.mark.parametrize("at", [0, 6, 11])
def test_a_number_that_is_none_costs_steps_and_half_the_rate(
    cli: CommandLine, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Snapshot] = []
    failing(monkeypatch, at, 1, lambda loss: loss * math.nan)
    carry_out(wanted(output={"video": "film.mp4"}), seen.append)
    back = at // 5 * 5
    assert [s.step for s in seen] == [*range(at + 1), *range(back, 13)]
    assert seen[-1].lr == pytest.approx(0.5 * last_rate())
    notices = [notice.text for s in seen for notice in s.notices]
    assert len(notices) == 1 and f"from step {back}" in notices[0]
    assert len(frames("film.mp4")) == 12


def test_latents_that_are_no_numbers_are_never_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = torch.optim.Adam.step, [1]

    def broken(self: torch.optim.Adam, closure: Any = None) -> None:
        real(self, closure)
        if left[0] and run.state.step == 4:
            left[0] = 0
            with torch.no_grad():
                self.param_groups[0]["params"][0].fill_(math.inf)

    monkeypatch.setattr(torch.optim.Adam, "step", broken)
    run = ready(wanted(stages=["full:1"])).run((7,))
    for _ in range(7):
        recover.step(run)
    assert all(value.isfinite().all() for value in run.packed.tensors.values()) and run.state.slowed == 0.5


def test_a_loss_that_is_never_finite_ends_with_exit_4(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, 6, 99, lambda loss: loss * math.nan)
    with pytest.raises(VqclipError) as told:
        draw(wanted())
    assert told.value.exit_code == 4 and metadata.read("cat.png")["record"]["stopped_at_step"] == 6
    monkeypatch.undo()
    monkeypatch.chdir(Path("cat.png").resolve().parent)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"),
                                   RuntimeError("DefaultCPUAllocator: can't allocate memory")])  # fmt: skip
def test_memory_that_runs_out_costs_views_at_a_time(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(wanted("straight.png"))

    def fail(loss: torch.Tensor) -> torch.Tensor:
        raise error

    failing(monkeypatch, 6, 1, fail)
    draw(wanted())
    record = metadata.read("cat.png")["record"]
    assert record["events"] == [{"step": 7, "views.chunk": 2}] and record["config"]["views"]["chunk"] == 4
    a, b = (torch.from_numpy(np.asarray(Image.open(f"{n}.png"), np.float32)) for n in ("cat", "straight"))
    assert relative(a, b) < 0.1


def test_another_error_of_torch_is_no_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(loss: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    failing(monkeypatch, 6, 1, fail)
    with pytest.raises(RuntimeError, match="shapes"):
        draw(wanted())
    assert Path("cat.png").exists() and Path("cat.run/state.safetensors").exists()


def test_a_folder_that_vanishes_on_the_way_comes_back_with_the_picture(folder: Path) -> None:
    def vanish(snapshot: Snapshot) -> None:
        if snapshot.step == 6:
            shutil.rmtree(folder / "deep")

    carry_out(wanted("deep/cat.png"), vanish)
    assert Image.open("deep/cat.png").size == (64, 64)


def test_resuming_loads_no_prior_to_draw_with(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first grid is in the state: nothing is proposed again."""
    draw(wanted(), 7)
    monkeypatch.setattr("vqclip.generation.initial.first_pictures", lambda *args: pytest.fail("drew a first grid"))
    assert cli("resume", "cat.run").code == 0


def test_a_run_and_its_models_fit(cli: CommandLine) -> None:
    run = ready(wanted()).run((7,))
    packed = run.state.pack()
    with pytest.raises(ResumeError):
        ready(wanted()).resumed((7, 8), packed)
    assert isinstance(ready(wanted()).resumed((7,), packed), Run)
