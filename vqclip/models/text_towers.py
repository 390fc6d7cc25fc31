"""Text towers that CLIPs took from language models: RoBERTa and XLM-RoBERTa (many languages), NLLB's encoder.

open_clip builds these with the package transformers, which it asks for its configurations on the Hub. Here they are
spelled out, under transformers' names of parameters and with its results, so that a CLIP's file is all that is needed
(`tests/test_text_towers.py`). Liu et al. 2019, Conneau et al. 2020, NLLB Team 2022.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vqclip.models.faster import Linear


@dataclass(frozen=True)
class TowerSizes:
    """Sizes of a text tower; `family` is the name of its kind in transformers, `positions` those it can tell apart.

    Of its tokens' features the `pooler` takes the mean, or those of the first (cls); `proj` is how these become an
    embedding: linear, mlp or none.
    """

    family: str
    vocab_size: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    positions: int
    eps: float = 1e-5
    pad_id: int = 1
    pooler: str = "mean"
    proj: str = "mlp"
    context_length: int = 77

    def __post_init__(self) -> None:
        """Raise ValueError for what makes no tower."""
        if self.family not in FAMILIES:
            raise ValueError(f"text towers of the kind {self.family!r} are not built: known are {', '.join(FAMILIES)}")
        if self.pooler not in ("mean", "cls") or self.proj not in ("linear", "mlp", "none"):
            raise ValueError(f"its text tower is pooled by {self.pooler!r} and projected by {self.proj!r}")
        sizes = (self.vocab_size, self.width, self.layers, self.heads, self.mlp_width, self.positions)
        if not all(type(size) is int and 0 < size <= 1 << 24 for size in sizes) or self.width % self.heads:
            raise ValueError("sizes of its text tower must be whole numbers, its width a multiple of its heads")


class TextTower(nn.Module):
    """A language model's encoder and what makes its features (n, T, width) an embedding (n, D)."""

    def __init__(self, sizes: TowerSizes, embed_dim: int) -> None:
        super().__init__()
        self.sizes, self.context_length = sizes, sizes.context_length
        self.transformer = FAMILIES[sizes.family](sizes)
        self.proj = _projection(sizes, embed_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return embeddings (n, D), of any length, of tokens (n, T)."""
        seen = tokens != self.sizes.pad_id
        features: Tensor = self.transformer(tokens, seen)
        if self.sizes.pooler == "cls":
            pooled = features[:, 0]
        else:
            pooled = (features * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
        out: Tensor = self.proj(pooled)
        return out


def _projection(sizes: TowerSizes, embed_dim: int) -> nn.Module:
    if sizes.proj == "none":
        return nn.Identity()
    if sizes.proj == "linear":
        return Linear(sizes.width, embed_dim, bias=False)
    between = (sizes.width + embed_dim) // 2
    return nn.Sequential(Linear(sizes.width, between, bias=False), nn.GELU(), Linear(between, embed_dim, bias=False))


def _places(seen: Tensor, pad: int) -> Tensor:
    """Return the position (n, T) of each token that is seen, from `pad` + 1; the others have `pad`."""
    return seen.cumsum(1) * seen + pad


def _attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, heads: int) -> Tensor:
    """Return what each token (n, T, width) takes from those that are seen (n, T)."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None, :])
    return mixed.transpose(1, 2).flatten(2)


class Roberta(nn.Module):
    """RoBERTa's encoder: positions are learned, norms follow what they normalize."""

    def __init__(self, sizes: TowerSizes) -> None:
        super().__init__()
        self.pad = sizes.pad_id
        self.embeddings = nn.ModuleDict({
            "word_embeddings": nn.Embedding(sizes.vocab_size, sizes.width),
            "position_embeddings": nn.Embedding(sizes.positions, sizes.width),
            "token_type_embeddings": nn.Embedding(1, sizes.width),
            "LayerNorm": nn.LayerNorm(sizes.width, eps=sizes.eps),
        })  # fmt: skip
        blocks = nn.ModuleList(_RobertaBlock(sizes) for _ in range(sizes.layers))
        self.encoder = nn.ModuleDict({"layer": blocks})

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        """Return the features (n, T, width) of tokens (n, T), of which some are seen."""
        parts = self.embeddings
        x: Tensor = parts["word_embeddings"](tokens) + parts["token_type_embeddings"](torch.zeros_like(tokens))
        x = parts["LayerNorm"](x + parts["position_embeddings"](_places(seen, self.pad)))
        for block in self.encoder["layer"].children():
            x = block(x, seen)
        return x


class _RobertaBlock(nn.Module):
    def __init__(self, sizes: TowerSizes) -> None:
        super().__init__()
        self.heads, width = sizes.heads, sizes.width
        attention = nn.ModuleDict({name: Linear(width, width) for name in ("query", "key", "value")})
        self.attention = nn.ModuleDict({"self": attention, "output": _normed(width, width, sizes.eps)})
        self.intermediate = nn.ModuleDict({"dense": Linear(width, sizes.mlp_width)})
        self.output = _normed(sizes.mlp_width, width, sizes.eps)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        q, k, v = (layer(x) for layer in self.attention["self"].children())
        after = self.attention["output"]
        x = after.get_submodule("LayerNorm")(x + after.get_submodule("dense")(_attend(q, k, v, seen, self.heads)))
        wide = nn.functional.gelu(self.intermediate["dense"](x))
        out: Tensor = self.output["LayerNorm"](x + self.output["dense"](wide))
        return out


def _normed(before: int, width: int, eps: float) -> nn.ModuleDict:
    return nn.ModuleDict({"dense": Linear(before, width), "LayerNorm": nn.LayerNorm(width, eps=eps)})


class M2M100(nn.Module):
    """The encoder of M2M-100 and NLLB: positions are sines, norms precede what they normalize."""

    def __init__(self, sizes: TowerSizes) -> None:
        super().__init__()
        self.pad, self.width = sizes.pad_id, sizes.width
        self.embed_tokens = nn.Embedding(sizes.vocab_size, sizes.width)
        self.layers = nn.ModuleList(_M2M100Block(sizes) for _ in range(sizes.layers))
        self.layer_norm = nn.LayerNorm(sizes.width)

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        """Return the features (n, T, width) of tokens (n, T), of which some are seen."""
        x = self.embed_tokens(tokens) * math.sqrt(self.width) + self._sines(_places(seen, self.pad))
        for block in self.layers:
            x = block(x, seen)
        out: Tensor = self.layer_norm(x)
        return out

    def _sines(self, places: Tensor) -> Tensor:
        """Return the features (n, T, width) of positions: sines and cosines of falling frequency, zeros of no place."""
        half = self.width // 2
        rates = torch.exp(torch.arange(half, device=places.device).float() * -(math.log(10000) / (half - 1)))
        angles = places[..., None].float() * rates
        return torch.cat([angles.sin(), angles.cos()], -1) * (places != self.pad)[..., None]


class _M2M100Block(nn.Module):
    def __init__(self, sizes: TowerSizes) -> None:
        super().__init__()
        self.heads, width = sizes.heads, sizes.width
        names = ("k_proj", "v_proj", "q_proj", "out_proj")
        self.self_attn = nn.ModuleDict({name: Linear(width, width) for name in names})
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = Linear(width, sizes.mlp_width), Linear(sizes.mlp_width, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        y = self.self_attn_layer_norm(x)
        q, k, v = (self.self_attn[name](y) for name in ("q_proj", "k_proj", "v_proj"))
        x = x + self.self_attn["out_proj"](_attend(q, k, v, seen, self.heads))
        out: Tensor = x + self.fc2(nn.functional.relu(self.fc1(self.final_layer_norm(x))))
        return out


FAMILIES: dict[str, type[Roberta] | type[M2M100]] = {"roberta": Roberta, "xlm-roberta": Roberta, "m2m_100": M2M100}

_XLM = TowerSizes("xlm-roberta", 250_002, 768, 12, 12, 3072, 514)
_NLLB = TowerSizes("m2m_100", 256_206, 1024, 12, 16, 4096, 1024)
# the language models that open_clip's pretrained CLIPs name
KNOWN = {
    "roberta-base": TowerSizes("roberta", 50_265, 768, 12, 12, 3072, 514),
    "xlm-roberta-base": _XLM,
    "xlm-roberta-large": dataclasses.replace(_XLM, width=1024, layers=24, heads=16, mlp_width=4096),
    "facebook/nllb-200-distilled-600M": _NLLB,
    "facebook/nllb-200-distilled-1.3B": dataclasses.replace(_NLLB, layers=24, mlp_width=8192),
}


def sizes_of(text_cfg: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> TowerSizes:
    """Return the sizes of the language model that open_clip's `text_cfg` names.

    `config` is the `config.json` of one that is not among the `KNOWN`. Raises ValueError for one that cannot be built.
    """
    name = str(text_cfg["hf_model_name"])
    sizes = KNOWN.get(name.removeprefix("FacebookAI/")) if config is None else _sizes_in(config)
    if sizes is None:
        raise ValueError(f"its text tower is {name[:80]!r}: known are {', '.join(KNOWN)}")
    pooler = str(text_cfg.get("hf_pooler_type") or ("cls" if sizes.family == "m2m_100" else "mean"))
    proj = text_cfg.get("hf_proj_type", "mlp") or "none"
    return dataclasses.replace(
        sizes, pooler=pooler.removesuffix("_pooler"), proj=proj, context_length=text_cfg.get("context_length", 77)
    )


def _sizes_in(config: Mapping[str, Any]) -> TowerSizes:
    family = str(config.get("model_type"))
    keys = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    if family == "m2m_100":
        keys = ("vocab_size", "d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim")
    names = ("vocab_size", "width", "layers", "heads", "mlp_width", "positions")
    values: dict[str, Any] = {
        name: config.get(key) for name, key in zip(names, (*keys, "max_position_embeddings"), strict=True)
    }
    values |= {"eps": config.get("layer_norm_eps", 1e-5), "pad_id": config.get("pad_token_id", 1)}
    sizes = TowerSizes(family, **values)
    usual = {"hidden_act": "gelu", "activation_function": "relu", "scale_embedding": True, "type_vocab_size": 1}
    for key, value in usual.items():
        if config.get(key, value) != value:
            raise ValueError(f"its text tower has {key} {config[key]!r}, and only {value!r} is built")
    return sizes
