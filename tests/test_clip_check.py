"""What is said of CLIPs before they are fetched, and whether a configuration fits the weights beside it."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import safetensors.torch
import torch
from support.command_line import CommandLine
from support.published_clips import MODEL, open_clip_folder
from torch import Tensor

from vqclip.cli.main import run
from vqclip.evaluation import clip_check
from vqclip.models.clip import CLIP
from vqclip.models.small_clip import small
from vqclip.weights import catalog, load
from vqclip.weights.clip_facts import _rows, facts_of

COLORS = ("red", "blue", "green", "black", "white", "pink", "gold", "grey", "brown", "tiny", "huge", "old")
THINGS = ("cat", "car", "box", "owl", "bee", "cup", "hat", "key", "dog", "bus", "pen", "egg", "fox", "jar", "map")

pytestmark = pytest.mark.usefixtures("home")


def test_the_list_of_clips_says_what_each_costs_and_knows(cli: CommandLine) -> None:
    lines = {line.split()[0]: line.split() for line in cli("models", "list", "--clips").out.splitlines()[1:]}
    listed = {f"{arch}/{tag}" for arch, tag in open_clip.list_pretrained()}
    robust = {record.name for record in catalog.records() if record.kind == "clip" and not record.file}
    assert set(lines) == listed | robust | {"tiny"} and len(robust) == 10
    assert lines["ViT-B-32/laion2b_s34b_b79k"][1:6] == ["66.6", "8.8", "605", "to", "get"]
    assert lines["fare4_vit_b_32"][1:4] == ["53.8*", "8.8", "605"] and "well" in " ".join(lines["fare4_vit_b_32"])
    assert lines["nllb-clip-base/v1"][6] == "CC-BY-NC-4.0" and lines["ViT-B-32/openai"][-1] == "?"


def test_the_table_of_facts_is_of_this_open_clips_models() -> None:
    assert list(_rows()) == [f"{arch}/{tag}" for arch, tag in open_clip.list_pretrained()]
    assert facts_of("somebody/else").accuracy is None
    # of a ViT: 2 multiplications and additions for each weight and token, and what its tokens say to each other
    width, tokens, layers, patches = 768, 50, 12, 49
    expected = 2 * (patches * 3 * 32 * 32 * width + layers * (12 * width**2 * tokens + 2 * tokens**2 * width))
    assert facts_of("ViT-B-32/openai").gflop == pytest.approx(expected / 1e9, abs=0.05)


@torch.no_grad()
def _drawn(right: CLIP, wrong: CLIP) -> tuple[list[str], list[Tensor], Tensor]:
    """Return pictures, texts, and which text is whose: one that only the wrong CLIP takes for another.

    Of random weights all pictures look alike, and their names are right by definition.
    """
    things = [f"a {color} {thing}" for color in COLORS for thing in THINGS]
    generator = torch.Generator().manual_seed(1)
    first = torch.rand(1, 3, 64, 64, generator=generator)
    pictures = [first + 1e-3 * torch.rand(1, 3, 64, 64, generator=generator) for _ in range(24)]
    tables = []
    for clip in (right, wrong):
        images = torch.cat([clip.encode_image(picture) for picture in pictures])
        tables.append(clip.logits(images, clip.encode_text(things)))
    # by how far the one is for a text and against the next, and the other not
    gain = (tables[0] - tables[1]).mean(0)
    for name, mistaken in ((int(a), int(b)) for a in gain.argsort(descending=True) for b in gain.argsort()):
        if (tables[0][:, name] > tables[0][:, mistaken]).all() and (tables[1][:, name] < tables[1][:, mistaken]).all():
            rest = [k for k in tables[0].mean(0).argsort().tolist() if k not in (name, mistaken)][:8]
            return [things[k] for k in (name, mistaken, *rest)], pictures, torch.zeros(24, dtype=torch.long)
    raise AssertionError("both activations rank the texts alike")


@pytest.mark.parametrize("needs", [True, False])
def test_an_activation_that_does_not_fit_is_found(
    needs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Random weights, whose names for random pictures are right by definition with one of the two activations."""
    open_clip_folder(tmp_path / "right", MODEL | {"quick_gelu": needs})
    open_clip_folder(tmp_path / "wrong", MODEL | {"quick_gelu": not needs})
    for name in ("right", "wrong"):
        _sharpen(tmp_path / name / "open_clip_model.safetensors")
    drawn = _drawn(*(load.load_clip(str(tmp_path / name))[0] for name in ("right", "wrong")))
    monkeypatch.setattr(clip_check, "_drawings", lambda clip: drawn)
    assert run(["models", "check", str(tmp_path / "right")]) == 0
    assert "24 of 24 drawings of 10 subjects named with" in capsys.readouterr().out
    assert run(["models", "check", str(tmp_path / "wrong")]) == 3
    assert f'let "quick_gelu" be {json.dumps(needs)}' in capsys.readouterr().err


def _sharpen(file: Path) -> None:
    """Let units work where the two activations differ most, and small changes of what comes out show."""
    held = safetensors.torch.load_file(file)
    held = {name: 8 * value if "c_fc" in name else value for name, value in held.items()}
    held["logit_scale"] = torch.tensor(9.0)
    safetensors.torch.save_file(held, file)


@pytest.mark.nightly
def test_the_bundled_clip_names_drawings_and_has_no_choice() -> None:
    found = clip_check.check_clip("tiny")
    assert found.other is None and found.told and found.named > found.count / 3 and found.count == found.subjects == 60


def test_a_check_of_what_knows_none_of_the_drawings_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_clip_folder(tmp_path / "random")
    texts, pictures = [f"a {thing}" for thing in THINGS[:8]], [torch.rand(1, 3, 64, 64)]
    monkeypatch.setattr(clip_check, "_drawings", lambda clip: (texts, pictures * 24, torch.arange(24) % 8))
    found = clip_check.check_clip(str(tmp_path / "random"))
    assert not found.told and not found.better
    assert run(["models", "check", "nobody"]) == 2 and run(["models", "check", "RN50/openai"]) == 3
    assert not small(MODEL)
