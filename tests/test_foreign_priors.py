"""Priors of others: taming's GPT in its bundles, DALL-E mini in its public files, of random weights and small sizes."""

from __future__ import annotations

import importlib
import json
import os
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from support.command_line import CommandLine
from support.pictures import sha
from support.runs import small

import vqclip
from vqclip.errors import UsageError, WeightsError
from vqclip.generation.models import Models
from vqclip.models.gpt import GPTArchitecture, GPTPrior
from vqclip.models.vqgan import Detokenizer
from vqclip.priors import Sampling, sample
from vqclip.types import MASKED, VQGANArchitecture
from vqclip.weights.load import load_prior, load_vqgan
from vqclip.weights.pickled import read_tensors

SIZES = {"vocabulary": 40, "codes": 40, "block": 64, "layers": 2, "heads": 2, "width": 32, "side": 8}


def gpt(**changes: Any) -> GPTPrior:
    torch.manual_seed(0)
    made = GPTPrior(GPTArchitecture(**(SIZES | {"condition": "class", "classes": 10} | changes))).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.requires_grad_(False)


def codes_of(count: int = 2, side: int = 8, seed: int = 2) -> torch.Tensor:
    return torch.randint(40, (count, side, side), generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def mingpt(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """taming's own module; what it imports from transformers is gone from there, and not used here."""
    stub = types.ModuleType("transformers")
    stub.top_k_top_p_filtering = None
    monkeypatch.setitem(sys.modules, "transformers", stub)
    yield importlib.import_module("taming.modules.transformer.mingpt")
    sys.modules.pop("taming.modules.transformer.mingpt", None)


@pytest.mark.parametrize("unmasked", [0, 1, 20])
def test_logits_are_those_of_tamings_own_gpt(mingpt: types.ModuleType, unmasked: int) -> None:
    ours = gpt(unmasked=unmasked)
    theirs = mingpt.GPT(40, 64, n_layer=2, n_head=2, n_embd=32, n_unmasked=unmasked).eval()
    missing, surplus = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert not surplus and all(name.endswith("attn.mask") for name in missing)
    codes, condition = codes_of(), torch.tensor([[3], [7]])
    with torch.no_grad():
        expected = theirs(torch.cat([condition, codes.flatten(1)], 1)[:, :-1])[0]
    assert torch.allclose(ours(codes, condition).flatten(1, 2), expected, atol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"unmasked": 1}, {"unmasked": 20}, {"condition": "coordinates", "side": 5}])
def test_a_gpt_writes_the_same_with_and_without_its_cache(changes: dict) -> None:
    prior = gpt(**changes)
    side = prior.side
    codes = codes_of(side=side)
    condition = prior.conditions(side, side, 3 if prior.architecture.condition == "class" else -1).expand(2, -1)
    caches: list[list[torch.Tensor]] = [[] for _ in prior.blocks]
    for place in range(side * side):
        before = codes.flatten(1)[:, :place]
        alone = prior.following(before, condition, side, [[] for _ in prior.blocks])
        assert torch.allclose(prior.following(before, condition, side, caches), alone, atol=1e-4), place
        if not prior.architecture.unmasked > 1:
            assert torch.allclose(alone, prior(codes, condition).flatten(1, 2)[:, place], atol=1e-4)


def test_a_larger_grid_goes_through_a_window_around_each_place() -> None:
    prior, seeds = gpt(side=4), (3, 4)
    condition = prior.conditions(7, 9, 5)
    likeliest = Sampling(guidance=1.0, top_k=1)
    found = sample(prior, condition, torch.ones(1), torch.full((7, 9), MASKED), seeds, likeliest)
    # Esser et al.'s loop: the whole window at every place, of which one output counts
    expected = torch.zeros(2, 7, 9, dtype=torch.long)
    for i in range(7):
        for j in range(9):
            near_i = i if i <= 2 else 4 - (7 - i) if 7 - i < 2 else 2
            near_j = j if j <= 2 else 4 - (9 - j) if 9 - j < 2 else 2
            window = expected[:, i - near_i : i - near_i + 4, j - near_j : j - near_j + 4]
            logits = prior(window, condition.expand(2, -1))[:, near_i, near_j]
            expected[:, i, j] = logits.argmax(-1)
    assert torch.equal(found, expected)


def test_coordinates_are_tamings_and_follow_the_window() -> None:
    coord = importlib.import_module("taming.modules.misc.coord")
    prior = gpt(condition="coordinates", side=5)
    pixels = (torch.arange(80 * 80).view(1, 1, 80, 80) / 80**2).double()
    expected = coord.CoordStage(40, 16).encode(pixels)[2][2]
    condition = prior.conditions(5, 5, -1)
    assert torch.equal(condition, expected.view(1, -1).clamp(max=39))
    assert torch.equal(prior.conditions_in(condition, 5, 1, 2, 3, 2), condition.view(1, 5, 5)[:, 1:4, 2:4].flatten(1))


class Undecided:
    """A prior whose codes are as likely everywhere, whatever its condition."""

    kind, side, unconditional = "masked", 14, torch.zeros(1)

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits

    def __call__(self, indices: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(*indices.shape, -1)


def test_only_the_likeliest_codes_are_drawn() -> None:
    prior = Undecided(torch.tensor([0.5, 0.3, 0.15, 0.05]).log())

    def drawn(**how: float) -> set[int]:
        settings = Sampling(steps=1, guidance=1.0, **how)
        codes = sample(prior, torch.zeros(1, 1), torch.ones(1), torch.full((14, 14), MASKED), (1,), settings)
        return set(codes.flatten().tolist())

    assert drawn() == {0, 1, 2, 3}
    assert drawn(top_k=2) == {0, 1}
    assert drawn(top_p=0.9) == {0, 1, 2}
    assert drawn(temperature=0.0) == {0}


class Callback:
    """Stands for what a training framework leaves in a checkpoint."""


def bundle(path: Path, said: dict | None = None, shift: float = 0.0, extra: dict | None = None) -> Path:
    """Write a small Net2NetTransformer on the bundled VQGAN the way Lightning saves it."""
    vqgan, _ = load_vqgan("tiny")
    made = gpt(vocabulary=len(vqgan.codebook), codes=len(vqgan.codebook), width=64, heads=1)
    held = {f"transformer.{name}": value for name, value in made.state_dict().items()}
    held |= {f"transformer.blocks.{i}.attn.mask": torch.ones(64, 64).tril().view(1, 1, 64, 64) for i in range(2)}
    held |= {f"first_stage_model.{name}": value for name, value in vqgan.network.state_dict().items()}
    held["first_stage_model.quantize.embedding.weight"] = vqgan.codebook + shift
    left = type("ModelCheckpoint", (Callback,), {"__module__": "pytorch_lightning.callbacks.model_checkpoint"})
    module = types.ModuleType(left.__module__)
    module.ModelCheckpoint = left
    sys.modules[left.__module__] = module
    torch.save({"state_dict": OrderedDict(held | (extra or {})), "callbacks": {left: {"best": 1.0}}, "epoch": 3}, path)
    del sys.modules[left.__module__]
    if said is not None:
        path.with_suffix(".yaml").write_text(yaml.safe_dump({"model": {"params": said}}))
    return path


def stage(target: str, **params: Any) -> dict[str, Any]:
    gpt_params = {"n_head": 1, "n_layer": 2, "block_size": 64}
    return {
        "transformer_config": {"target": "taming.modules.transformer.mingpt.GPT", "params": gpt_params},
        "cond_stage_config": {"target": target, "params": params} if params else target,
    }


CLASSES = stage("taming.modules.util.Labelator", n_classes=10)


@pytest.mark.parametrize("said", [CLASSES, None])
def test_a_bundle_draws_classes(said: dict | None, tmp_path: Path, cli: CommandLine) -> None:
    file = bundle(tmp_path / "cin.ckpt", said)
    flags = ("a red cat", "--prior", file, "--init", "prior", "--steps", "0")
    first, again, other = (
        cli.draw(*flags, "--prior-class", str(index), "-o", tmp_path / f"{n}.png") for n, index in enumerate((3, 3, 4))
    )
    assert first.code == 0 and not first.complaints, first.err
    assert sha(first.files[0]) == sha(again.files[0]) != sha(other.files[0])
    record = vqclip.writers.metadata.read(first.files[0])["record"]
    assert record["config"]["models"]["prior"] == "cin.ckpt" and record["config"]["prior"]["top_p"] == 0.92


def test_a_class_that_is_not_there_is_an_error_of_one_line(tmp_path: Path, cli: CommandLine) -> None:
    file = bundle(tmp_path / "cin.ckpt", CLASSES)
    flags = ("a red cat", "--prior", file, "--init", "prior", "--steps", "0")
    for given, reason in ((("--prior-class", "10"), "0 to 9"), ((), "no class was given")):
        told = cli.draw(*flags, *given)
        assert told.code == 2 and reason in told.complaints[0] and len(told.complaints) == 1
    nothing = bundle(tmp_path / "plain.ckpt", stage("__is_unconditional__"))
    assert cli.draw(*flags[:1], "--prior", nothing, *flags[3:], "-o", tmp_path / "n.png").code == 0
    told = cli.draw(*flags[:1], "--prior", nothing, *flags[3:], "--prior-class", "1")
    assert told.code == 2 and "no classes" in told.complaints[0]
    told = cli.draw(*flags, "--prior-class", "1", "--set", "prior.guidance=2")
    assert told.code == 2 and "cannot be guided" in told.complaints[0]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"said": CLASSES, "shift": 0.5}, "codes of another VQGAN"),
        ({"said": stage("taming.models.vqgan.VQModel", n_embed=1024)}, "by pictures"),
        ({"said": None, "extra": {"cond_stage_model.encoder.conv_in.weight": torch.ones(1)}}, "by pictures"),
        (
            {"said": CLASSES | {"permuter_config": {"target": "taming.modules.transformer.permuter.Subsample"}}},
            "permuter",
        ),
        ({"said": CLASSES, "extra": {"transformer.head.weight": torch.ones(3, 3)}}, "another shape"),
        ({"said": {"transformer_config": 3}}, "no transformer that can be built"),
    ],
)
def test_a_bundle_that_does_not_fit_is_named(values: dict, reason: str, tmp_path: Path, cli: CommandLine) -> None:
    file = bundle(tmp_path / "other.ckpt", **values)
    told = cli.draw("a cat", "--prior", file, "--init", "prior", "--prior-class", "1")
    assert told.code == 3 and reason in told.complaints[0] and len(told.complaints) == 1, told.err


class Evil:
    def __reduce__(self) -> tuple:
        return os.system, ("touch evil",)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_checkpoint_is_run(zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.ones(1)}, "x": Evil()}, "evil.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"wants to run 'posix.system'|wants to run 'nt.system'"):
        read_tensors(Path("evil.ckpt"))
    assert not Path("evil").exists()


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "absent", "folder", "no tensors"])
def test_a_damaged_checkpoint_is_one_line(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"a": torch.ones(1000)}}, file)
    whole = file.read_bytes()
    match damage:
        case "cut":
            file.write_bytes(whole[: len(whole) // 2])
        case "text":
            file.write_text("<html>not found</html>")
        case "empty":
            file.write_bytes(b"")
        case "absent":
            file.unlink()
        case "folder":
            file.unlink()
            file.mkdir()
        case "no tensors":
            torch.save({"state_dict": {"a": 1}}, file)
    with pytest.raises(WeightsError) as error:
        read_tensors(file)
    assert "\n" not in str(error.value) and str(file) in str(error.value)


def dalle(folder: Path, mini: bool = True) -> Path:
    """Write the public files of a DALL-E mini of one layer and 32 codes."""
    folder.mkdir()
    torch.manual_seed(0)
    end = "_mini" if mini else ""
    width, inner, codes, side = 64, 96, 32, 4

    def layer(*attentions: str) -> dict[str, torch.Tensor]:
        held = {f"glu.{n}.weight": torch.randn(s) * 0.2 for n, s in
                {"fc0": (inner, width), "fc1": (inner, width), "fc2": (width, inner)}.items()}  # fmt: skip
        norms = {"glu.ln0": width, "glu.ln1": inner}
        for name in attentions:
            held |= {f"{name}.{p}_proj.weight": torch.randn(width, width) * 0.2 for p in ("k", "v", "q", "out")}
            norms |= {f"pre_{name}_layer_norm": width, f"{name}_layer_norm": width}
        for name, size in norms.items():
            held |= {f"{name}.weight": 1 + torch.randn(size) * 0.1, f"{name}.bias": torch.randn(size) * 0.1}
        return {f"layers.0.{name}": value for name, value in held.items()}

    def network(rows: int, places: int, *attentions: str) -> dict[str, torch.Tensor]:
        held = {"embed_tokens.weight": torch.randn(rows, width), "embed_positions.weight": torch.randn(places, width)}
        for name in ("layernorm_embedding", "final_ln"):
            held |= {f"{name}.weight": 1 + torch.randn(width) * 0.1, f"{name}.bias": torch.randn(width) * 0.1}
        return held | layer(*attentions)

    encoder = network(12, 8, "self_attn") | {"something.else": torch.ones(1)}
    decoder = network(codes + 1, side**2, "self_attn", "encoder_attn") | {
        "lm_head.weight": torch.randn(codes + 1, width)
    }
    for name, held in {"encoder": encoder, "decoder": decoder}.items():
        torch.save({key: value.half() for key, value in held.items()}, folder / f"{name}{end}.pt")
    torch.save(detokenizer_tensors(), folder / "detoker.pt")
    words = ["<s>", "<pad>", "</s>", "<unk>", "\u0120", "c", "a", "t", "\u0120c", "at", "\u0120cat", "\u0120a"]
    (folder / f"vocab{end}.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    (folder / f"merges{end}.txt").write_text("#version\n\u0120 c\na t\n\u0120c at\n\u0120 a\n")
    return folder


SHAPES = VQGANArchitecture(
    ch=32, ch_mult=(1, 2), num_res_blocks=1, attn_levels=(1,), z_channels=8, embed_dim=8, n_embed=32
)


def detokenizer_tensors() -> dict[str, torch.Tensor]:
    held = Detokenizer(SHAPES).network.state_dict()
    held["quantize.embedding.weight"] = torch.randn(32, 8)
    held["embedding.weight"] = held.pop("quantize.embedding.weight")
    return held


@pytest.mark.parametrize("mini", [True, False])
def test_a_dalle_mini_draws_from_its_public_files(mini: bool, tmp_path: Path) -> None:
    folder = dalle(tmp_path / "dalle", mini)
    config = small("a cat", models={"prior": str(folder)}, init={"kind": "prior", "candidates": 2}, steps=0)
    models = Models.load(config)
    assert models.prior.detokenizer.network.decoder.conv_out.weight.shape[1] == 32
    first, again, other = (
        vqclip.generate(small(text, models={"prior": str(folder)}, init={"kind": "prior"}, steps=0), models)
        for text in ("a cat", "a cat", "tat")
    )
    assert sha(first.image) == sha(again.image) != sha(other.image)
    assert first.config.prior.guidance == 16 and first.image.size == (64, 64)
    wide = vqclip.generate(
        small("a cat", models={"prior": str(folder)}, init={"kind": "prior"}, steps=0, size="96x40"), models
    )
    assert wide.image.size == (96, 40)


def test_words_of_a_dalle_mini_are_merged_by_rank_and_cut(tmp_path: Path) -> None:
    prior, _ = load_prior(str(dalle(tmp_path / "dalle")))
    assert prior.pieces("A Cat tat") == [0, 11, 10, 4, 7, 9, 2, 1]
    assert prior.pieces("caf\u00e9 \U0001f408") == [0, 8, 6, 3, 2, 1, 1, 1]
    assert len(prior.pieces("cat " * 50)) == 8
    assert prior.unconditional.tolist() == [0, 2, 1, 1, 1, 1, 1, 1]


def test_a_dalle_mini_writes_the_same_with_and_without_its_cache(tmp_path: Path) -> None:
    prior, _ = load_prior(str(dalle(tmp_path / "dalle")))
    codes = torch.randint(32, (2, 4, 4), generator=torch.Generator().manual_seed(1))
    words = prior.conditions(["a cat", "tat"])
    whole, caches = prior(codes, words).flatten(1, 2), [[]]
    for place in range(16):
        step = prior.following(codes.flatten(1)[:, :place], words, 4, caches)
        assert torch.allclose(step, whole[:, place], atol=1e-4), place
    before = prior(codes, words)
    with torch.no_grad():
        prior.encoder.embed_tokens.weight[1] += 1  # what stands for padding is not looked at
    assert torch.allclose(prior(codes, words), before, atol=1e-5)


def test_a_detokenizer_speaks_of_pictures_from_0_to_1() -> None:
    from vqclip.models.vqgan import VQGAN

    torch.manual_seed(0)
    vqgan, detokenizer = VQGAN(SHAPES).eval(), Detokenizer(SHAPES).eval()
    held = {
        name: value for name, value in vqgan.network.state_dict().items() if name in detokenizer.network.state_dict()
    }
    detokenizer.network.load_state_dict(held)
    z = 10 * torch.randn(1, 8, 4, 4)
    with torch.no_grad():
        assert torch.allclose(detokenizer.decode(z), (2 * vqgan.decode(z) - 1).clamp(0, 1), atol=1e-5)


@pytest.mark.parametrize("name", ["decoder_mini.pt", "vocab_mini.json", "detoker.pt"])
@pytest.mark.parametrize("damage", ["absent", "text", "other"])
def test_a_damaged_dalle_mini_is_one_line(name: str, damage: str, tmp_path: Path) -> None:
    folder = dalle(tmp_path / "dalle")
    match damage:
        case "absent":
            (folder / name).unlink()
        case "text":
            (folder / name).write_text("[1]")
        case "other":
            torch.save({"a": torch.ones(1)}, folder / name)
    with pytest.raises(WeightsError) as error:
        load_prior(str(folder))
    assert "\n" not in str(error.value)


def test_a_dalle_mini_needs_words(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    folder = dalle(tmp_path / "dalle")
    values = {"models": {"prior": str(folder)}, "init": {"kind": "prior"}, "steps": 0}
    config = small("a cat", **values)
    config.prompts, config.image_prompts = (), (str(tmp_path / "red.png"),)
    with pytest.raises(UsageError, match="takes words"):
        vqclip.generate(config)
