"""Trainings compute in a precision that the machine is fast in, and their Muon is torch's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from vqclip.training import precision, runner
from vqclip.training.muon import Muon, orthogonal


@pytest.fixture(params=["avx2", "avx2 avx512_bf16"])
def flags(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A CPU with and one without the instructions for bf16."""
    monkeypatch.setattr("vqclip.generation.resolve._cpu_flags", lambda: request.param)
    precision._fast.cache_clear()
    yield request.param
    precision._fast.cache_clear()


def test_a_cpu_that_would_emulate_bf16_trains_in_fp32(flags: str) -> None:
    fast = torch.bfloat16 if "bf16" in flags else torch.float32
    with precision.autocast("cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == fast
    assert precision.fast_dtype(torch.device("cpu")) == fast


@pytest.mark.parametrize("shape", [(48, 96), (96, 48)])
def test_muon_moves_as_torchs_does(shape: tuple[int, int], flags: str) -> None:
    draw = torch.Generator().manual_seed(0)
    begun = torch.randn(shape, generator=draw)
    ours, theirs = (nn.Parameter(begun.clone()) for _ in range(2))
    muon = Muon([{"params": [ours]}], 0.01, 0.045)
    reference = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.045, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        ours.grad = torch.randn(shape, generator=draw)
        theirs.grad = ours.grad.clone()
        muon.step()
        reference.step()
    moved, wanted = ours.detach() - begun, theirs.detach() - begun
    assert (moved - wanted).norm() < 0.02 * wanted.norm()


def test_an_orthogonal_matrix_has_singular_values_near_one(flags: str) -> None:
    found = orthogonal(torch.randn(32, 80, generator=torch.Generator().manual_seed(1)))
    values = torch.linalg.svdvals(found)
    assert found.shape == (32, 80) and float(values.min()) > 0.5 and float(values.max()) < 1.4


class SlowTask:
    """A task whose steps take long by a clock that it moves itself."""

    def __init__(self, clock: list[float]) -> None:
        self.modules = nn.ModuleDict({"weight": nn.Linear(1, 1)})
        self.optimizer = torch.optim.SGD(self.modules.parameters(), lr=0.1)
        self.lr, self.clock, self.done = 0.1, clock, 0

    def batch_of(self, index: int) -> None:
        """No batch."""

    def step(self, index: int, progress: float, batch: None) -> None:
        """Take 4 seconds."""
        self.clock[0] += 4.0
        self.done += 1


@pytest.mark.parametrize(("budget", "probed", "steps"), [(600.0, 10, 140), (60_000.0, 60, 14_940)])
def test_slow_steps_are_timed_less_often(
    budget: float, probed: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(runner.time, "monotonic", lambda: clock[0])
    task = SlowTask(clock)
    assert runner._steps_in(task, budget) == steps
    assert task.done == probed
