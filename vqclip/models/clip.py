"""CLIP (Radford et al. 2021) through open_clip's own model classes, built directly from a model configuration."""

from __future__ import annotations

import copy
import gzip
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip import CLIP as OpenCLIP
from open_clip import CustomTextCLIP
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from open_clip.transformer import QuickGELU
from timm.models import build_model_with_cfg, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn

from vqclip.models import casting, folding
from vqclip.models.attention import attend
from vqclip.models.convolution import PatchConv2d, linear, patchwise
from vqclip.types import CLIPArchitecture


@register_model
def vqclip_resnet_s(pretrained: bool = False, **options: Any) -> ResNet:
    """ResNet-D (He et al. 2019, "Bag of tricks") of 5 M parameters for views of 64 pixels, smooth activations.

    Dense 3x3 convolutions, because depthwise ones (ConvNeXt) reach less than half their speed on a CPU; SiLU, because
    smooth activations serve adversarial training (Xie et al. 2020).
    """
    if pretrained:
        raise ValueError("this tower is trained by vqclip itself and has no pretrained timm weights")
    options["pretrained_cfg"] = {
        "input_size": (3, 64, 64),
        "pool_size": (2, 2),
        "num_classes": 0,
        "first_conv": "conv1.0",
        "classifier": "fc",
    }
    sizes = {"block": BasicBlock, "layers": (1, 2, 2, 2), "channels": (48, 96, 192, 320)}
    stem = {"stem_type": "deep", "stem_width": 16, "replace_stem_pool": True, "avg_down": True}
    return build_model_with_cfg(ResNet, "vqclip_resnet_s", False, act_layer=nn.SiLU, **sizes, **stem, **options)


class CLIP(nn.Module):
    """A CLIP behind `encode_text` and `encode_image`; the only place that knows its mean and standard deviation."""

    # the precision of the image tower's weights if it is not float32: see `casting`
    held: torch.dtype | None = None

    def __init__(self, architecture: CLIPArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        model = dict(architecture.model)
        self.network = (CustomTextCLIP if model.pop("custom_text", False) else OpenCLIP)(**model)
        side = architecture.model["vision_cfg"].get("image_size", 224)
        for module in self.network.modules():
            if type(module) in _FASTER:
                module.__class__ = _FASTER[type(module)]
            elif patchwise(module):
                module.__class__ = PatchConv2d
        self.image_size: int = side if isinstance(side, int) else side[0]
        self.context_length: int = self.network.context_length
        self.words = frozenset(architecture.words)
        self.tokenizer = build_tokenizer(architecture.merges, self.context_length)
        self.register_buffer("mean", torch.tensor(architecture.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(architecture.std).view(1, 3, 1, 1), persistent=False)

    def fold(self) -> None:
        """Fold constants of the image tower, frozen, into its weights."""
        folding.fold(self.network.visual)

    def encode_image(self, views: Tensor) -> Tensor:
        """Embed views (N, 3, S, S) in [0, 1] as unit vectors (N, D) in float32."""
        with casting.under(self.held, views):
            features = self.network.encode_image((views - self.mean) / self.std)
        return nn.functional.normalize(features.float(), dim=-1)

    def encode_text(self, texts: list[str]) -> Tensor:
        """Embed texts as unit vectors (P, D) in float32; a text longer than the context raises ValueError."""
        for text in texts:
            if self.count_tokens(text) > self.context_length:
                raise ValueError(f"text of {self.count_tokens(text)} tokens; the context holds {self.context_length}")
        tokens = self.tokenizer(texts).to(self.mean.device)
        return nn.functional.normalize(self._text_features(tokens).float(), dim=-1)

    def _text_features(self, tokens: Tensor) -> Tensor:
        """The network's own `encode_text` on no more columns of the tokens (n, T) than any text fills.

        The text attends to what stands before it only, and its embedding is taken at its end mark, the highest token:
        what follows changes nothing and costs most of the time.
        """
        net = self.network
        if isinstance(net, CustomTextCLIP) or net.attn_mask is None or net.text_pool_type != "argmax":
            return net.encode_text(tokens)
        longest = int(tokens.argmax(-1).max()) + 1
        tokens = tokens[:, :longest]
        x = net.token_embedding(tokens).to(net.transformer.get_cast_dtype())
        x = x + net.positional_embedding[:longest].to(x)
        x = net.ln_final(net.transformer(x, attn_mask=net.attn_mask[:longest, :longest]))
        x = x[torch.arange(len(x), device=x.device), tokens.argmax(-1)]
        if net.text_projection is None:
            return x
        return net.text_projection(x) if isinstance(net.text_projection, nn.Linear) else x @ net.text_projection

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, start and end marks included."""
        return len(self.tokenizer.encode(text)) + 2


class _Attention(nn.MultiheadAttention):
    """torch's self-attention, its parameters and result, by products of plain matrices.

    torch's own turns the batch to the second place, and what is not contiguous there goes through batched products of
    the expanded weights, forward and back: with ViT-B/32 a third of a step in bf16 (docs/performance.md).
    """

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **ignored: Any
    ) -> tuple[Tensor, None]:
        """Attend within rows (N, L, E), each to those that `attn_mask` (L, L) lets it see; no weights are returned."""
        if key is not query or value is not query or not self.batch_first or self.in_proj_weight is None:
            return super().forward(query, key, value, attn_mask=attn_mask, **ignored)
        count, length, width = query.shape
        rows = linear(query.reshape(-1, width), self.in_proj_weight, self.in_proj_bias)
        q, k, v = rows.view(count, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        seen = attend(q, k, v, None if attn_mask is None else attn_mask.to(q.dtype))
        mixed = linear(seen.transpose(1, 2).reshape(-1, width), self.out_proj.weight, self.out_proj.bias)
        return mixed.view(count, length, width), None


class _Linear(nn.Linear):
    """torch's linear layer, its parameters and result, by the faster product."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x (..., features) times the weights, plus the bias."""
        return linear(x, self.weight, self.bias)


class _QuickGELU(QuickGELU):
    """OpenAI's x * sigmoid(1.702 x) by torch's own silu, which keeps one tensor for the way back, not two."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of x."""
        return nn.functional.silu(folding.SHARPNESS * x) / folding.SHARPNESS


_FASTER: dict[type, type] = {nn.MultiheadAttention: _Attention, nn.Linear: _Linear, QuickGELU: _QuickGELU}


def build_tokenizer(merges: int | None, context_length: int) -> SimpleTokenizer:
    """Return CLIP's byte-pair tokenizer, its vocabulary cut to the first `merges` entries (None: all of them).

    N merges give a vocabulary of N + 514 tokens.
    """
    if merges is None:
        return SimpleTokenizer(context_length=context_length)
    with gzip.open(default_bpe()) as stream:
        lines = stream.read().decode("utf-8").split("\n")[: merges + 1]
    with tempfile.TemporaryDirectory() as folder:
        shortened = Path(folder) / "bpe.txt.gz"
        shortened.write_bytes(gzip.compress("\n".join(lines).encode("utf-8")))
        return SimpleTokenizer(bpe_path=str(shortened), context_length=context_length)


@dataclass(frozen=True)
class PretrainedTag:
    """Where open_clip says that a pretrained model lies: a repository of the Hub, or a URL, and what network it is."""

    architecture: CLIPArchitecture
    hub: str = ""
    file: str = ""
    url: str = ""


def pretrained_names() -> list[str]:
    """Return all of open_clip's pretrained models as `ARCH/TAG`, of the architectures that vqclip can build."""
    return [f"{arch}/{tag}" for arch, tag in open_clip.list_pretrained() if not _obstacle(arch)]


def pretrained_tags(arch: str) -> list[str]:
    """Return the tags of an architecture of open_clip's, none if it knows no such architecture."""
    return open_clip.list_pretrained_tags_by_model(arch)


def pretrained(arch: str, tag: str) -> PretrainedTag:
    """Return what open_clip knows of a pretrained model; ValueError with the reason if it cannot be built here.

    A model that was trained with QuickGELU gets it, whatever its architecture's name says: without it the model still
    runs, and guides worse.
    """
    reason = _obstacle(arch)
    if reason:
        raise ValueError(reason)
    known = open_clip.pretrained.get_pretrained_cfg(arch, tag)
    config = copy.deepcopy(open_clip.get_model_config(arch))
    model: dict[str, Any] = {name: config[name] for name in ("embed_dim", "vision_cfg", "text_cfg")}
    model["quick_gelu"] = bool(known.get("quick_gelu", config.get("quick_gelu", False)))
    model |= {name: config[name] for name in ("custom_text",) if config.get(name)}
    if "timm_model_name" in model["vision_cfg"]:
        model["vision_cfg"]["timm_model_pretrained"] = False
    architecture = CLIPArchitecture(model, mean=tuple(known["mean"]), std=tuple(known["std"]))
    owner, name, file = [*known.get("hf_hub", "").split("/", 2), "", ""][:3]
    url = known.get("url", "")
    # OpenAI's own archives are programs (TorchScript), which are not run here; the Hub has their weights alone
    return PretrainedTag(architecture, f"{owner}/{name}" if name else "", file, "" if "openaipublic" in url else url)


def _obstacle(arch: str) -> str:
    """Return why an architecture of open_clip's cannot be built; nothing if it can."""
    config: Mapping[str, Any] | None = open_clip.get_model_config(arch)
    if config is None:
        return f"open_clip knows no architecture {arch!r}"
    text = config.get("text_cfg", {})
    if "multimodal_cfg" in config:
        return f"{arch} is a CoCa, which also writes captions: only models with two towers guide"
    if text.get("hf_model_name") or text.get("hf_tokenizer_name") or text.get("tokenizer_kwargs"):
        return f"{arch} reads texts by a tokenizer or network that open_clip fetches from the Hub by itself"
    return ""
