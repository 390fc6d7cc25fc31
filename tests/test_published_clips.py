"""CLIPs of open_clip's and transformers' own making, read from folders: the same embeddings, or one clear line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import pytest
import safetensors.torch
import torch
from support.command_line import CommandLine
from support.published_clips import MODEL, PREPROCESS, TEXT, VISION, open_clip_folder, tokenizer_folder
from torch import Tensor, nn

from vqclip.errors import UsageError, WeightsError
from vqclip.models import openclip, text_towers
from vqclip.models.clip import CLIP
from vqclip.models.tokenizing import JSONTokenizer, options_of
from vqclip.weights import clip_names, clips, load, transformers_clip

pytestmark = pytest.mark.usefixtures("home")

SIGLIP = {
    "embed_dim": 24, "custom_text": True, "init_logit_bias": -10,
    "vision_cfg": VISION,
    "text_cfg": {"context_length": 16, "vocab_size": 60, "width": 32, "heads": 2, "layers": 2, "no_causal_mask": True,
                 "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6},
                 "hf_tokenizer_name": "somebody/words", "tokenizer_kwargs": {"clean": "canonicalize"}},
}  # fmt: skip
CLIPA = {
    "embed_dim": 24,
    "vision_cfg": VISION | {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
    "text_cfg": {"context_length": 16, "vocab_size": 60, "width": 32, "heads": 2, "layers": 2, "no_causal_mask": True,
                 "pool_type": "last", "hf_tokenizer_name": "bert-base-uncased",
                 "tokenizer_kwargs": {"strip_sep_token": True}},
}  # fmt: skip
WORLDWIDE = {
    "embed_dim": 24, "quick_gelu": True, "vision_cfg": VISION,
    "text_cfg": TEXT | {"context_length": 16, "vocab_size": 60, "pool_type": "eos", "eos_id": 3,
                        "hf_tokenizer_name": "somebody/words"},
}  # fmt: skip


def pictures(side: int = 64) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def near(ours: Tensor, theirs: Any, tolerance: float = 1e-5) -> None:
    theirs = theirs if isinstance(theirs, Tensor) else theirs.pooler_output
    theirs = nn.functional.normalize(theirs, dim=-1)
    assert ours.shape == theirs.shape and float((ours - theirs).abs().max()) < tolerance


def normalized(views: Tensor, numbers: Mapping[str, Any] = PREPROCESS) -> Tensor:
    mean, std = (torch.tensor(numbers[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return (views - mean) / std


# open_clip's folders and files


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
@pytest.mark.parametrize("way", ["folder", "file", "prefix"])
def test_a_folder_of_open_clips_embeds_as_open_clip_does(name: str, way: str, tmp_path: Path) -> None:
    model = MODEL | {"quick_gelu": way == "file"}
    network: Any = open_clip_folder(tmp_path / "mine", model, name)
    given = {"folder": str(tmp_path / "mine"), "file": str(tmp_path / "mine" / name)}
    clip, digest = load.load_clip(given.get(way, f"local-dir:{tmp_path / 'mine'}"))
    near(clip.encode_image(pictures()), network.encode_image(normalized(pictures())))
    near(clip.encode_text(["a red cat"]), network.encode_text(open_clip.tokenize(["a red cat"])))
    assert len(digest) == 64 and clip.image_size == 64


@pytest.mark.parametrize(("model", "kind"), [(SIGLIP, "pieces"), (CLIPA, "words"), (WORLDWIDE, "words")])
def test_other_heads_and_tokenizers_embed_as_open_clips(model: dict, kind: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    tokenizer_folder(tmp_path, kind)
    network: Any = open_clip_folder(tmp_path, model)
    clip, _ = load.load_clip(str(tmp_path))
    tokenizer_folder(tmp_path / "reader", kind, tokenizer_class="PreTrainedTokenizerFast")
    options = model["text_cfg"].get("tokenizer_kwargs", {})
    reader = open_clip.tokenizer.HFTokenizer(str(tmp_path / "reader"), context_length=16, **options)
    texts = ["a red Cat!", "eine rote katze", "红 猫"]
    rows = reader(texts)
    assert torch.equal(clip.tokenizer(texts), rows)
    near(clip.encode_text(texts), network.encode_text(rows))
    near(clip.encode_image(pictures()), network.encode_image(normalized(pictures())))
    logits = network.get_logits(normalized(pictures()), rows)[0]
    ours = clip.logits(clip.encode_image(pictures()), clip.encode_text(texts))
    assert torch.allclose(ours, logits, atol=1e-4)
    bias = network.state_dict().get("logit_bias")
    assert (bias is not None) == ("init_logit_bias" in model)
    with pytest.raises(ValueError, match="context holds 16"):
        clip.encode_text(["cat " * 30])


def test_the_side_on_which_a_text_is_filled_up_is_the_tokenizers(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    tokenizer_folder(tmp_path, "pieces", padding_side="left", tokenizer_class="PreTrainedTokenizerFast")
    content = (tmp_path / "tokenizer.json").read_bytes()
    options = options_of(content, json.loads((tmp_path / "tokenizer_config.json").read_text()), {})
    reader = open_clip.tokenizer.HFTokenizer(str(tmp_path), context_length=9)
    assert torch.equal(JSONTokenizer(content, options, 9)(["a cat"]), reader(["a cat"]))


def test_nllb_names_the_language_first(tmp_path: Path) -> None:
    tokenizer_folder(tmp_path, "nllb")
    content = (tmp_path / "tokenizer.json").read_bytes()
    options = options_of(content, json.loads((tmp_path / "tokenizer_config.json").read_text()), {})
    rows = JSONTokenizer(content, options, 6)(["eine katze", "红 猫"])
    assert rows.tolist() == [[15, 10, 9, 2, 1, 1], [16, 14, 13, 2, 1, 1]]


def test_a_coca_guides_without_the_part_that_writes(tmp_path: Path) -> None:
    from open_clip.coca_model import CoCa

    vision = VISION | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    text = TEXT | {"context_length": 76, "embed_cls": True, "output_tokens": True}
    writer = TEXT | {"attn_pooler_heads": 2}
    torch.manual_seed(4)
    network = CoCa(24, writer, text, vision).eval().requires_grad_(False)
    model = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text, "multimodal_cfg": writer, "custom_text": True}
    held = {name: value.contiguous() for name, value in network.state_dict().items()}
    safetensors.torch.save_file(held, tmp_path / "open_clip_model.safetensors")
    config = {"model_cfg": model, "preprocess_cfg": PREPROCESS}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    clip, _ = load.load_clip(str(tmp_path))
    near(clip.encode_image(pictures()), network.encode_image(normalized(pictures())))
    near(clip.encode_text(["a cat"]), network.encode_text(open_clip.tokenize(["a cat"], 76)))


def test_a_text_tower_in_its_old_place_is_moved_and_scalars_get_their_shape(tmp_path: Path) -> None:
    network: Any = open_clip_folder(tmp_path, MODEL | {"custom_text": True})
    held = {name.removeprefix("text."): value for name, value in network.state_dict().items()}
    held["logit_scale"] = held["logit_scale"].reshape(1)
    safetensors.torch.save_file(held, tmp_path / "open_clip_model.safetensors")
    clip, _ = load.load_clip(str(tmp_path))
    near(clip.encode_text(["a cat"]), network.encode_text(open_clip.tokenize(["a cat"])))


@pytest.mark.parametrize("kind", ["roberta", "m2m_100"])
def test_text_towers_of_language_models_equal_transformers(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from open_clip.hf_model import HFTextEncoder

    if kind == "roberta":
        config = transformers.RobertaConfig(
            vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
            max_position_embeddings=40, type_vocab_size=1, layer_norm_eps=1e-5,
        )  # fmt: skip
    else:
        config = transformers.M2M100Config(
            vocab_size=60, d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=8, max_position_embeddings=40,
        )  # fmt: skip
    pooler, proj = ("mean_pooler", "mlp") if kind == "roberta" else ("cls_pooler", "linear")
    torch.manual_seed(0)
    text = HFTextEncoder("unused", 24, config=config, pooler_type=pooler, proj_type=proj).eval().requires_grad_(False)
    if kind == "m2m_100":
        text.transformer = text.transformer.encoder
    network: Any = open_clip_folder(tmp_path, MODEL | {"custom_text": True})
    images = {name: value for name, value in network.state_dict().items() if not name.startswith("text.")}
    held = images | {f"text.{name}": value.contiguous() for name, value in text.state_dict().items()}
    safetensors.torch.save_file(held, tmp_path / "open_clip_model.safetensors")
    cfg = {"hf_model_name": "somebody/model", "hf_tokenizer_name": "somebody/model", "context_length": 16}
    cfg |= {"hf_pooler_type": pooler, "hf_proj_type": proj}
    model = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": cfg}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": PREPROCESS}))
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    tokenizer_folder(tmp_path, "nllb" if kind == "m2m_100" else "words", pad_token="<pad>")
    clip, _ = load.load_clip(str(tmp_path))
    rows = clip.tokenizer(["eine rote katze", "cat"])
    near(clip.encode_text(["eine rote katze", "cat"]), text(rows))


def test_the_known_language_models_have_the_sizes_that_their_publishers_gave() -> None:
    for name, sizes in text_towers.KNOWN.items():
        with torch.device("meta"):
            tower = text_towers.TextTower(dataclasses.replace(sizes, proj="none"), sizes.width)
        # encoders alone, by the published numbers of parameters
        millions = sum(value.numel() for value in tower.parameters()) / 1e6
        expected = {"roberta-base": 124, "xlm-roberta-base": 277.5, "xlm-roberta-large": 559}
        expected |= {"facebook/nllb-200-distilled-600M": 413.5, "facebook/nllb-200-distilled-1.3B": 766}
        assert millions == pytest.approx(expected[name], rel=0.01)


# transformers' folders


def test_a_clip_of_transformers_embeds_as_there(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from support.published_clips import transformers_folder

    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4}
    vision = sizes | {"hidden_size": 64, "intermediate_size": 100, "image_size": 64, "patch_size": 16}
    text = sizes | {"hidden_size": 32, "intermediate_size": 96, "hidden_act": "gelu"}
    network = transformers_folder(tmp_path, "clip", text, vision | {"hidden_act": "gelu"}, projection_dim=24)
    preprocessor = {"image_mean": PREPROCESS["mean"], "image_std": PREPROCESS["std"]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    clip, _ = load.load_clip(str(tmp_path))
    near(clip.encode_image(pictures()), network.get_image_features(normalized(pictures())))
    near(clip.encode_text(["a red cat"]), network.get_text_features(open_clip.tokenize(["a red cat"])))


def _siglip(tmp_path: Path, vision: dict[str, Any], width: int) -> None:
    from support.published_clips import transformers_folder

    tokens = tokenizer_folder(tmp_path, "pieces")
    text = {"vocab_size": tokens, "hidden_size": width, "intermediate_size": 96, "num_hidden_layers": 1}
    network = transformers_folder(tmp_path, "siglip", text | {"num_attention_heads": 2}, vision)
    clip, _ = load.load_clip(str(tmp_path))
    views = pictures(vision["image_size"])[:1]
    near(clip.encode_image(views), network.get_image_features(views * 2 - 1))
    rows = clip.tokenizer(["A red cat, a house!"])
    near(clip.encode_text(["A red cat, a house!"]), network.get_text_features(rows))
    theirs = network(pixel_values=views * 2 - 1, input_ids=rows).logits_per_image
    ours = clip.logits(clip.encode_image(views), clip.encode_text(["A red cat, a house!"]))
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_a_siglip_of_transformers_embeds_as_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    from support.timm_tower import register_narrow_siglip

    register_narrow_siglip()
    monkeypatch.setitem(transformers_clip._TIMM, (64, 2, 4, 128), ("narrow", {16: (64,)}))
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    _siglip(tmp_path, sizes | {"image_size": 64, "patch_size": 16}, 64)


@pytest.mark.nightly
def test_a_siglip_of_full_size_embeds_as_in_transformers(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    _siglip(tmp_path, {"image_size": 256, "patch_size": 32}, 768)


# all that open_clip lists


def _built(names: list[str]) -> None:
    for arch in names:
        tag = openclip.pretrained(arch, openclip.pretrained_tags(arch)[0])
        with torch.device("meta"):
            clip = CLIP(tag.architecture)
        ends = ("visual.conv1.weight", "patch_embed", "stem", "conv_stem", "trunk")
        assert any(any(end in name for end in ends) for name in clip.network.state_dict())
        assert clip.image_size >= 224 and 16 <= clip.context_length <= 77
        named = open_clip.get_model_config(arch)["text_cfg"].get("hf_tokenizer_name", "")
        assert tag.tokenizer == named and clip.multilingual == (
            any(part in named.lower() for part in ("i18n", "siglip2", "xlm", "nllb"))
        )


def test_each_kind_of_text_tower_and_head_that_open_clip_lists_is_built() -> None:
    _built(["ViT-B-16-SigLIP", "ViT-B-32-SigLIP2-256", "ViT-L-14-CLIPA", "ViT-H-14-worldwide", "coca_ViT-B-32",
            "nllb-clip-base", "roberta-ViT-B-32"])  # fmt: skip


@pytest.mark.nightly
def test_all_that_open_clip_lists_is_built() -> None:
    """No tag is refused today: what is, must get its reason into docs/checkpoints.md and into this test."""
    listed = [f"{arch}/{tag}" for arch, tag in open_clip.list_pretrained()]
    assert openclip.pretrained_names() == listed
    _built(list(dict.fromkeys(arch for arch, _ in open_clip.list_pretrained())))


# what is wrong


def test_known_wrong_configurations_are_set_right(tmp_path: Path) -> None:
    open_clip_folder(tmp_path / "fare2-clip")
    open_clip_folder(tmp_path / "other")
    right, wrong = (clips.read_clip(tmp_path / name).architecture.model["quick_gelu"] if name == "fare2-clip"
                    else clips.read_clip(tmp_path / name).architecture.model.get("quick_gelu") for name in
                    ("fare2-clip", "other"))  # fmt: skip
    assert right is True and not wrong
    # what open_clip lists with QuickGELU has it, whatever the repository's file says
    assert clips._corrections("apple/DFN5B-CLIP-ViT-H-14") == {"quick_gelu": True}
    assert clips._corrections("laion/CLIP-ViT-B-32-laion2B-s34B-b79K") == {"quick_gelu": False}
    assert clips._corrections("somebody/else") == {}


def _edit(file: Path, **changes: Any) -> None:
    content = json.loads(file.read_text())
    content["model_cfg"] = content["model_cfg"] | changes
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda f: (f / "open_clip_config.json").unlink(), "no open_clip_config.json beside it"),
        (lambda f: (f / "open_clip_config.json").write_text("{"), "cannot read"),
        (lambda f: (f / "open_clip_config.json").write_text("[]"), "holds no mapping"),
        (lambda f: (f / "open_clip_config.json").write_text("{}"), "has no model_cfg"),
        (lambda f: _edit(f / "open_clip_config.json", vision_cfg=VISION | {"width": 96}), "another network"),
        (lambda f: _edit(f / "open_clip_config.json", vision_cfg=VISION | {"layers": 3}), "tensors missing"),
        (lambda f: _edit(f / "open_clip_config.json", vision_cfg=VISION | {"layers": 1}), "too many"),
        (lambda f: _edit(f / "open_clip_config.json", vision_cfg=VISION | {"heads": 3}), "no network that can be"),
        (lambda f: _edit(f / "open_clip_config.json", vision_cfg={"timm_model_name": "../x"}), "outside the file"),
        (lambda f: _edit(f / "open_clip_config.json", vision_cfg=3), "describes no CLIP"),
        (lambda f: _edit(f / "open_clip_config.json", text_cfg=SIGLIP["text_cfg"]), "has no tokenizer.json"),
        (lambda f: _edit(f / "open_clip_config.json", text_cfg={"hf_model_name": "a/b"}), "its text tower is 'a/b'"),
        (lambda f: (f / "open_clip_model.safetensors").unlink(), "has no weights"),
        (lambda f: (f / "open_clip_model.safetensors").write_bytes(b"<!doctype html>"), "web page"),
    ],
)
def test_a_folder_with_something_wrong_is_refused(spoil: Any, reason: str, tmp_path: Path, cli: CommandLine) -> None:
    open_clip_folder(tmp_path / "mine")
    spoil(tmp_path / "mine")
    told = cli.draw("a cat", "--clip", tmp_path / "mine")
    assert told.code == 3 and len(told.complaints) == 1 and reason in told.complaints[0], told.err


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "bert"}, "describes a 'bert', no CLIP"),
        ({"model_type": "siglip2"}, "describes a 'siglip2', no CLIP"),
        ({"model_type": "siglip", "vision_config": {"hidden_size": 640}}, "no published image tower"),
        ({"model_type": "siglip", "text_config": {"hidden_size": 640}}, "texts are embedded in 640"),
        ({"model_type": "clip", "text_config": {"hidden_act": "relu"}}, "both quick_gelu or gelu"),
        ({"model_type": "clip", "vision_config": {"num_attention_heads": 0}}, "describes no CLIP"),
    ],
)
def test_a_folder_of_transformers_that_is_not_built_is_refused(
    config: dict, reason: str, tmp_path: Path, cli: CommandLine
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(safetensors.torch.save({"logit_scale": torch.zeros(())}))
    told = cli.draw("a cat", "--clip", tmp_path)
    assert told.code == 3 and len(told.complaints) == 1 and reason in told.complaints[0], told.err


def test_a_tokenizer_that_needs_an_absent_package_or_is_none_is_said(
    tmp_path: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer_folder(tmp_path, "pieces")
    open_clip_folder(tmp_path, SIGLIP)
    from vqclip.models import tokenizing

    with monkeypatch.context() as patch:
        patch.setattr(tokenizing, "find_spec", lambda name: None)
        told = cli.draw("a cat", "--clip", tmp_path)
        assert told.code == 3 and len(told.complaints) == 1 and "pip install 'vqclip[clips]'" in told.complaints[0]
    for content, reason in ((b"{}", "cannot be read"), (b"\xff", "cannot be read")):
        (tmp_path / "tokenizer.json").write_bytes(content)
        told = cli.draw("a cat", "--clip", tmp_path)
        assert told.code == 3 and len(told.complaints) == 1 and reason in told.complaints[0], told.err


def test_a_tokenizer_of_more_tokens_than_the_tower_knows_is_refused(tmp_path: Path) -> None:
    tokenizer_folder(tmp_path, "pieces")
    open_clip_folder(tmp_path, SIGLIP | {"text_cfg": SIGLIP["text_cfg"] | {"vocab_size": 20}})
    with pytest.raises(WeightsError, match="tokens and its text tower knows 20"):
        load.load_clip(str(tmp_path))


@pytest.mark.parametrize(
    "name", ["hf-hub:", "hf-hub:owner", "hf-hub:../x", "hf-hub:a/b@", "hf-hub:a/b/c", "local-dir:"]
)
def test_a_name_that_says_no_place_is_a_mistake_of_typing(name: str, cli: CommandLine) -> None:
    with pytest.raises(UsageError):
        load.locate("clip", name)
    told = cli.draw("a cat", "--clip", name)
    assert told.code == 2 and len(told.complaints) == 1 and "give " in told.complaints[0], told.err


def test_a_name_of_the_hub_is_read_with_its_revision() -> None:
    assert clip_names.hub_name("hf-hub:a/b") == clip_names.HubName("a/b")
    assert str(clip_names.hub_name("hf-hub:a/b.c@refs/pr/1")) == "hf-hub:a/b.c@refs/pr/1"
    assert clip_names.hub_name("ViT-B-32") is None
    with pytest.raises(WeightsError, match="run 'vqclip models get hf-hub:a/b@main'"):
        load.locate("clip", "hf-hub:a/b@main")


def test_a_picture_is_drawn_by_a_folder_and_again_from_its_metadata(tmp_path: Path, cli: CommandLine) -> None:
    open_clip_folder(tmp_path / "mine")
    told = cli.draw("a cat", "--clip", f"local-dir:{tmp_path / 'mine'}", "-o", tmp_path / "a.png")
    assert told.code == 0, told.err
    again = cli("generate", "--from", tmp_path / "a.png", "-o", tmp_path / "b.png")
    assert again.code == 2 and "--clip FILE" in again.complaints[0] and str(tmp_path) not in again.complaints[0]
    again = cli("generate", "--from", tmp_path / "a.png", "--clip", tmp_path / "mine", "-o", tmp_path / "b.png")
    assert again.code == 0 and "other" not in again.err, again.err


# prompts of other languages


@pytest.mark.parametrize("prompt", ["红 猫", "Eine rote Katze", "красный кот", "红 cat"])
def test_other_scripts_are_read_by_clips_of_many_languages_only(prompt: str, tmp_path: Path, cli: CommandLine) -> None:
    open_clip_folder(tmp_path / "english")
    tokenizer_folder(tmp_path / "many", "nllb")
    # as many tokens as one of many languages has, and narrow
    many = TEXT | {"vocab_size": 200_000, "width": 8, "context_length": 16, "hf_tokenizer_name": "somebody/words"}
    open_clip_folder(tmp_path / "many", MODEL | {"text_cfg": many})
    latin = any(letter in "abcdefghijklmnopqrstuvwxyz" for letter in prompt.lower())
    told = cli.draw(prompt, "--clip", tmp_path / "english", "-o", tmp_path / "a.png")
    assert told.code == (0 if latin else 2), told.err
    if not latin:
        assert len(told.complaints) == 1 and "script that the CLIP does not read" in told.complaints[0]
        assert cli.draw(prompt, "--clip", tmp_path / "english", "--anyway", "-o", tmp_path / "b.png").code == 0
    for clips_given in ((tmp_path / "many",), (tmp_path / "english", tmp_path / "many")):
        flags = [flag for clip in clips_given for flag in ("--clip", clip)]
        told = cli.draw(prompt, *flags, "-o", tmp_path / "c.png")
        assert told.code == 0, told.err
