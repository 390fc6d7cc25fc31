"""The text tower of a CLIP as transformers has it, for networks that read its states: its parameters and results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from vqclip.models.clip import build_tokenizer

_START, _END = 49406, 49407  # tokens of CLIP
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "gelu": gelu,
}


@dataclass(frozen=True)
class TextArchitecture:
    """Sizes of the text tower; `pad` is the token behind the end."""

    words: int = 49408
    places: int = 77
    width: int = 768
    layers: int = 12
    heads: int = 12
    inner: int = 3072
    projected: int = 768
    activation: str = "quick_gelu"
    pad: int = _END

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"{self.heads} heads of a width of {self.width}")
        if self.activation not in _ACTIVATIONS:
            raise ValueError(f"the activation {self.activation!r}: known are {', '.join(_ACTIVATIONS)}")

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text, cut to what fits: start, words, end, padding."""
        words = build_tokenizer(None, self.places).encode(text)[: self.places - 2]
        return [_START, *words, _END] + [self.pad] * (self.places - 2 - len(words))


class TextEncoder(nn.Module):
    """transformers' `CLIPTextModelWithProjection`, its parameters and results."""

    def __init__(self, a: TextArchitecture) -> None:
        super().__init__()
        self.text_model, self.text_projection = _TextModel(a), nn.Linear(a.width, a.projected, bias=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings (P, projected) of tokens (P, L), and the states (P, L, width) before the last layer.

        An embedding is taken at the end mark, the highest token.
        """
        last, before = self.text_model(tokens)
        end = tokens.argmax(-1)
        return self.text_projection(last[torch.arange(len(tokens), device=tokens.device), end]), before


class _TextModel(nn.Module):
    def __init__(self, a: TextArchitecture) -> None:
        super().__init__()
        self.embeddings, self.encoder = nn.Module(), nn.Module()
        self.embeddings.token_embedding = nn.Embedding(a.words, a.width)
        self.embeddings.position_embedding = nn.Embedding(a.places, a.width)
        self.encoder.layers = nn.ModuleList(_TextLayer(a) for _ in range(a.layers))
        self.final_layer_norm = nn.LayerNorm(a.width)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states behind the last layer, normalized, and those before it."""
        embeddings = cast("Any", self.embeddings)
        x = embeddings.token_embedding(tokens) + embeddings.position_embedding.weight[: tokens.shape[1]]
        before = x
        for layer in cast("Any", self.encoder).layers:
            before, x = x, layer(x)
        return self.final_layer_norm(x), before


class _TextLayer(nn.Module):
    def __init__(self, a: TextArchitecture) -> None:
        super().__init__()
        self.heads, self.activation = a.heads, _ACTIVATIONS[a.activation]
        self.self_attn, self.mlp = nn.Module(), nn.Module()
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            self.self_attn.add_module(name, nn.Linear(a.width, a.width))
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(a.width), nn.LayerNorm(a.width)
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(a.width, a.inner), nn.Linear(a.inner, a.width)

    def forward(self, x: Tensor) -> Tensor:
        attention, mlp, y = cast("Any", self.self_attn), cast("Any", self.mlp), self.layer_norm1(x)
        parts = (attention.q_proj(y), attention.k_proj(y), attention.v_proj(y))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + attention.out_proj(mixed)
        out: Tensor = x + mlp.fc2(self.activation(mlp.fc1(self.layer_norm2(x))))
        return out
