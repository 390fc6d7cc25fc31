"""CLIPs as others publish them, with random weights: folders of open_clip's and transformers' own making."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import safetensors.torch
import torch
from torch import nn

from support.networks import randomize

VISION = {"image_size": 64, "layers": 2, "width": 64, "head_width": 16, "patch_size": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
MODEL = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}
PREPROCESS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.25]}
# words that the small tokenizers know, one token each
WORDS = ("a", "cat", "dog", "red", "house", "katze", "eine", "haus", "rote", "猫", "红")


def open_clip_network(model: dict[str, Any], custom: bool = False) -> nn.Module:
    """Return open_clip's own network of a configuration, every weight moved off its first value."""
    torch.manual_seed(2)
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    network = kind(**{name: value for name, value in model.items() if name != "custom_text"}).eval()
    randomize(network.requires_grad_(False))
    return network


def open_clip_folder(
    folder: Path, model: dict[str, Any] = MODEL, name: str = "open_clip_model.safetensors", **more: Any
) -> nn.Module:
    """Write a folder as open_clip pushes it to the Hub, and return its network; `more` changes the config."""
    network = open_clip_network(model, model.get("custom_text", False))
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": model, "preprocess_cfg": PREPROCESS} | more
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    held = {name: value.contiguous() for name, value in network.state_dict().items()}
    if name.endswith(".safetensors"):
        safetensors.torch.save_file(held, folder / name)
    else:
        torch.save({"state_dict": {f"module.{n}": v for n, v in held.items()}}, folder / name)
    return network


def tokenizer_folder(folder: Path, kind: str = "words", **config: Any) -> int:
    """Write the two files of a small tokenizer of a kind; return its number of tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    if kind == "pieces":
        vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
        vocabulary += [(f"▁{word}", -1.0) for word in WORDS] + [(c, -5.0) for c in "abcdefghijklmnopqrstuvwxyz"]
        tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
        marks = {"pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>"}
    elif kind == "nllb":
        marks = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "NllbTokenizer"}
        names = ["<s>", "<pad>", "</s>", "<unk>", *WORDS, "eng_Latn", "zho_Hans"]
        tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    else:
        names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
        tokenizer = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(handle_chinese_chars=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        special = [("[CLS]", 2), ("[SEP]", 3)]
        tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=special)
        marks = {"pad_token": "[PAD]", "sep_token": "[SEP]", "cls_token": "[CLS]", "unk_token": "[UNK]"}
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(marks | config))
    return tokenizer.get_vocab_size()


def transformers_folder(folder: Path, kind: str = "clip", text: Any = None, vision: Any = None, **more: Any) -> Any:
    """Write a folder as transformers saves its CLIP or SigLIP, and return that network."""
    import transformers

    torch.manual_seed(3)
    config_class, network_class = {
        "clip": (transformers.CLIPConfig, transformers.CLIPModel),
        "siglip": (transformers.SiglipConfig, transformers.SiglipModel),
    }[kind]
    network = network_class(config_class(text_config=text or {}, vision_config=vision or {}, **more)).eval()
    randomize(network.requires_grad_(False))
    network.save_pretrained(folder)
    return network
