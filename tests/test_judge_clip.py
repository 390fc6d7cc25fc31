"""A CLIP that only scores: it chooses the best step, changes none of them, and is never one that guides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import CommandLine
from support.pictures import sha
from support.published_clips import open_clip_folder
from support.runs import small
from torch import Tensor

import vqclip
from vqclip.generation.models import Models
from vqclip.writers import metadata

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def judge(tmp_path: Path) -> str:
    open_clip_folder(tmp_path / "judge")
    return f"local-dir:{tmp_path / 'judge'}"


def _run(**changes: Any) -> tuple[list[Tensor], list[float], Models]:
    config = small("a cat", steps=4, best={"every": 1, "views": 2}, **changes)
    models = Models.load(config)
    images, scores = [], []
    for snapshot in vqclip.generate_stream(config, models):
        images.append(snapshot.image)
        if snapshot.best_score is not None:
            scores.append(float(snapshot.best_score[0]))
    return images, scores, models


def test_a_judge_changes_no_step_and_chooses_the_best(judge: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, plain_scores, _ = _run()
    seen: list[tuple[int, bool]] = []
    load = Models.load

    def watched(config: Any) -> Models:
        models = load(config)
        if models.judge_clip is not None:
            encode = models.judge_clip.encode_image
            note = lambda v: seen.append((len(v), torch.is_grad_enabled() and v.requires_grad)) or encode(v)  # noqa: E731
            monkeypatch.setattr(models.judge_clip, "encode_image", note)
        return models

    monkeypatch.setattr(Models, "load", watched)
    judged, scores, models = _run(models={"judge_clip": judge})
    assert all(torch.equal(a, b) for a, b in zip(plain, judged, strict=True))
    assert scores != plain_scores and len(scores) == len(plain_scores)
    # two held-out views after each step, and never a gradient
    assert seen == [(2, False)] * 4
    assert models.judge_clip is not None and not any(p.requires_grad for p in models.judge_clip.parameters())


def test_a_judge_is_recorded_and_asked_for_again(judge: str, tmp_path: Path, cli: CommandLine) -> None:
    told = cli.draw("a cat", "--judge-clip", judge, "-o", tmp_path / "a.png")
    assert told.code == 0, told.err
    record = metadata.read(tmp_path / "a.png")["record"]
    assert record["config"]["models"]["judge_clip"] == "judge/" and "clip:judge/" in record["weights"]
    told = cli("generate", "--from", tmp_path / "a.png", "-o", tmp_path / "b.png")
    assert told.code == 2 and "--judge-clip FILE" in told.complaints[0]
    told = cli("generate", "--from", tmp_path / "a.png", "--judge-clip", judge, "-o", tmp_path / "b.png")
    assert told.code == 0 and sha(tmp_path / "a.png") == sha(tmp_path / "b.png"), told.err


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("tiny", 2, "guides this run too"),
        ("ViT-B-32/openai", 3, "run 'vqclip models get ViT-B-32/openai'"),
        ("tinny", 2, "did you mean 'tiny'"),
    ],
)
def test_a_judge_that_guides_or_is_not_here_is_said(name: str, code: int, words: str, cli: CommandLine) -> None:
    told = cli.draw("a cat", "--judge-clip", name)
    assert told.code == code and len(told.complaints) == 1 and words in told.complaints[0], told.err


def test_models_that_are_used_again_judge_only_where_the_config_says_so(judge: str) -> None:
    config = small("a cat", best={"every": 1, "views": 2}, models={"judge_clip": judge})
    models = Models.load(config)
    judged = vqclip.generate(config, models).pictures[0]
    plain = vqclip.generate(small("a cat", best={"every": 1, "views": 2}), models).pictures[0]
    alone = vqclip.generate(small("a cat", best={"every": 1, "views": 2})).pictures[0]
    assert plain.score == alone.score != judged.score
