"""open_clip's networks, their layers made faster, and its list of pretrained models."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import open_clip
from open_clip import CLIP as OpenCLIP
from open_clip import CustomTextCLIP
from open_clip.transformer import QuickGELU
from torch import nn

from vqclip.models import faster, text_towers
from vqclip.models.convolution import PatchConv2d, patchwise
from vqclip.types import CLIPArchitecture

_FASTER: dict[type, type] = {
    nn.MultiheadAttention: faster.Attention,
    nn.Linear: faster.Linear,
    QuickGELU: faster.QuickGELU,
}
# what of a model configuration the network is built from
_KEPT = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_bias", "nonscalar_logit_scale")
_READING = ("hf_tokenizer_name", "tokenizer_kwargs", "tokenizer_mode")
# a text tower that another takes the place of
_NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}


def build(custom_text: bool = False, **model: Any) -> nn.Module:
    """Return open_clip's network of a model configuration, which it computes by faster layers."""
    family = model["text_cfg"].get("family")
    kind = _LanguageModelCLIP if family else CustomTextCLIP if custom_text else OpenCLIP
    network: Any = kind(**model)
    gelu = model["vision_cfg"].get("act_kwargs")
    if gelu and model["vision_cfg"].get("timm_model_name"):
        # timm's towers have no such option, and ones of one size were trained with either
        for module in network.visual.modules():
            if type(module).__name__ in ("GELU", "GELUTanh"):
                module.__class__, module.approximate = nn.GELU, gelu["approximate"]
    for module in network.modules():
        if type(module) in _FASTER:
            module.__class__ = _FASTER[type(module)]
        elif patchwise(module):
            module.__class__ = PatchConv2d
    out: nn.Module = network
    return out


class _LanguageModelCLIP(CustomTextCLIP):  # type: ignore[misc] # open_clip has no types
    """A CLIP whose text tower is a language model's."""

    def __init__(self, embed_dim: int, text_cfg: dict[str, Any], **rest: Any) -> None:
        super().__init__(embed_dim, text_cfg=_NO_TEXT, **rest)
        self.text = text_towers.TextTower(text_towers.TowerSizes(**text_cfg), embed_dim)
        self.context_length, self.vocab_size = self.text.context_length, self.text.sizes.vocab_size


@dataclass(frozen=True)
class PretrainedTag:
    """Where open_clip says that a pretrained model lies: a repository of the Hub, or a URL, and what network it is.

    `reading` holds what its configuration says of a tokenizer other than CLIP's, its repository among it.
    """

    architecture: CLIPArchitecture
    hub: str = ""
    file: str = ""
    url: str = ""
    reading: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tokenizer(self) -> str:
        """The repository of its tokenizer; "" if that is CLIP's."""
        return str(self.reading.get("hf_tokenizer_name", ""))


def pretrained_names() -> list[str]:
    """Return all of open_clip's pretrained models as `ARCH/TAG`, of the architectures that vqclip can build."""
    return [f"{arch}/{tag}" for arch, tag in open_clip.list_pretrained() if not obstacle(arch)]


def pretrained_tags(arch: str) -> list[str]:
    """Return the tags of an architecture of open_clip's, none if it knows no such architecture."""
    tags: list[str] = open_clip.list_pretrained_tags_by_model(arch)
    return tags


def pretrained(arch: str, tag: str) -> PretrainedTag:
    """Return what open_clip knows of a pretrained model; ValueError with the reason if it cannot be built here.

    A model that was trained with QuickGELU gets it, whatever its architecture's name says: without it the model still
    runs, and guides worse.
    """
    reason = obstacle(arch)
    if reason:
        raise ValueError(reason)
    known = open_clip.pretrained.get_pretrained_cfg(arch, tag)
    config = copy.deepcopy(open_clip.get_model_config(arch))
    config["quick_gelu"] = bool(known.get("quick_gelu", config.get("quick_gelu", False)))
    architecture = architecture_of(config, known["mean"], known["std"])
    owner, name, file = [*known.get("hf_hub", "").split("/", 2), "", ""][:3]
    url = known.get("url", "")
    reading = {key: config["text_cfg"][key] for key in _READING if config["text_cfg"].get(key)}
    # OpenAI's own archives are programs (TorchScript), which are not run here; the Hub has their weights alone
    url = "" if "openaipublic" in url else url
    return PretrainedTag(architecture, f"{owner}/{name}" if name else "", file, url, reading)


def architecture_of(
    config: Mapping[str, Any],
    mean: Sequence[float],
    std: Sequence[float],
    tower: Mapping[str, Any] | None = None,
) -> CLIPArchitecture:
    """Return what network an open_clip model configuration describes, how its texts are read left open.

    `tower` is the `config.json` of the language model that it names, if that is none of the known. Raises ValueError or
    KeyError for a configuration that describes none.
    """
    model: dict[str, Any] = {name: copy.deepcopy(config[name]) for name in _KEPT if config.get(name) is not None}
    vision, text = dict(model["vision_cfg"]), dict(model["text_cfg"])
    if text.get("hf_model_name"):
        text = asdict(text_towers.sizes_of(text, tower))
        model["custom_text"] = True
    if "multimodal_cfg" in config:
        model["custom_text"] = True  # a CoCa is two such towers, and one that writes captions
    for cfg in (vision, text):
        cfg.pop("output_tokens", None)
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    model |= {"vision_cfg": vision, "text_cfg": text}
    if not model.get("custom_text"):
        model.pop("custom_text", None)
    return CLIPArchitecture(model, mean=_three(mean), std=_three(std))


def published(hub: str) -> tuple[str, str] | None:
    """Return the ARCH and TAG under which open_clip lists a repository of the Hub; None if it does not."""
    for arch, tag in open_clip.list_pretrained():
        place = open_clip.pretrained.get_pretrained_cfg(arch, tag).get("hf_hub", "")
        if place.strip("/").lower() == hub.lower():
            return arch, tag
    return None


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third


@functools.cache
def obstacle(arch: str) -> str:
    """Return why an architecture of open_clip's cannot be built; nothing if it can."""
    config: Mapping[str, Any] | None = open_clip.get_model_config(arch)
    if config is None:
        return f"open_clip knows no architecture {arch!r}"
    try:
        architecture_of(config, (0, 0, 0), (1, 1, 1))
    except ValueError as error:
        return str(error)
    return ""
