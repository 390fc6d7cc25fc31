"""DALL-E mini and mega (Dayma et al. 2021): a BART from the words of a prompt to the codes of a VQGAN of its own.

Parameters have the names of the public min-dalle files, so that these load unchanged. Guidance (there "super
conditioning") compares with a prompt without words. Its detokenizer speaks of pictures in [0, 1], as it was trained.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from vqclip.models.vqgan import Detokenizer

_PAD = 1  # the token after the last word
# what stands for the space before a word, among the tokens
_SPACE = "\u0120"


@dataclass(frozen=True)
class DalleArchitecture:
    """Sizes of a DALL-E mini: words and their places, codes and the tokens that stand for them, the networks."""

    words: int
    places: int
    tokens: int
    codes: int
    side: int
    width: int
    heads: int
    layers: int
    encoder_layers: int
    inner: int
    encoder_inner: int

    def __post_init__(self) -> None:
        if self.width % self.heads or self.codes > self.tokens:
            raise ValueError(
                f"{self.heads} heads of a width of {self.width}, {self.codes} codes of {self.tokens} tokens"
            )


class WordPieces:
    """The byte-pair encoding of DALL-E mini (Sennrich et al. 2016): lower case, ASCII, word by word."""

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], length: int) -> None:
        self.vocabulary, self.length = vocabulary, length
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}

    def __call__(self, text: str) -> list[int]:
        """Return `length` tokens: start, the text cut to what fits, end, padding."""
        plain = text.lower().encode("ascii", "ignore").decode()
        pieces = [piece for word in plain.split(" ") if word for piece in self._pieces(word)]
        start, end, unknown = (self.vocabulary[name] for name in ("<s>", "</s>", "<unk>"))
        tokens = [start, *(self.vocabulary.get(piece, unknown) for piece in pieces), end][: self.length]
        return tokens + [_PAD] * (self.length - len(tokens))

    def _pieces(self, word: str) -> list[str]:
        pieces = [_SPACE, *word]
        worst = len(self.ranks)
        while len(pieces) > 1:
            ranks = [self.ranks.get(pair, worst) for pair in itertools.pairwise(pieces)]
            place = ranks.index(min(ranks))
            if ranks[place] == worst:
                break
            pieces[place : place + 2] = ["".join(pieces[place : place + 2])]
        return pieces


class DalleMini(nn.Module):
    """Words (B, n) to codes, one after the other; `pieces` makes words of texts, `detokenizer` pictures of codes."""

    kind = "causal"
    # as min-dalle draws from it
    usual: ClassVar[Mapping[str, float]] = {"guidance": 16.0, "top_k": 256, "top_p": 1.0}

    def __init__(self, architecture: DalleArchitecture, pieces: WordPieces, detokenizer: Detokenizer) -> None:
        super().__init__()
        self.architecture, self.pieces, self.detokenizer = architecture, pieces, detokenizer
        self.encoder, self.decoder = _Encoder(architecture), _Decoder(architecture)

    @property
    def side(self) -> int:
        """Codes along a side of its grids."""
        return self.architecture.side

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers of the decoder, each of which remembers what it computed."""
        return self.decoder.layers

    @property
    def unconditional(self) -> Tensor:
        """The words (n,) of an empty prompt."""
        return self.conditions([""])[0]

    def conditions(self, texts: Sequence[str]) -> Tensor:
        """Return the conditions (P, n) of texts: the tokens of their words."""
        return torch.tensor([self.pieces(text) for text in texts], device=self.decoder.lm_head.weight.device)

    def conditions_in(self, condition: Tensor, grid_width: int, top: int, left: int, height: int, width: int) -> Tensor:
        """Return the part of a condition that belongs to a window of the grid: all of it."""
        del grid_width, top, left, height, width
        return condition

    def forward(self, indices: Tensor, condition: Tensor) -> Tensor:
        """Return logits (B, h, w, codes) of codes (B, h, w), each given those before it and words (B, n)."""
        x = self.decoder(indices.flatten(1)[:, :-1], self.encoder, condition, [[] for _ in self.blocks])
        out: Tensor = x[..., : self.architecture.codes].view(*indices.shape, -1)
        return out

    def following(self, codes: Tensor, condition: Tensor, width: int, caches: list[list[Tensor]]) -> Tensor:
        """Return logits (B, codes) of the code after `codes` (B, n); `caches`, empty at the start, remember those."""
        del width
        out: Tensor = self.decoder(codes, self.encoder, condition, caches)[:, -1, : self.architecture.codes]
        return out


class _Encoder(nn.Module):
    def __init__(self, a: DalleArchitecture) -> None:
        super().__init__()
        self.embed_tokens, self.embed_positions = nn.Embedding(a.words, a.width), nn.Embedding(a.places, a.width)
        self.layers = nn.ModuleList(_EncoderLayer(a.width, a.heads, a.encoder_inner) for _ in range(a.encoder_layers))
        self.layernorm_embedding, self.final_ln = nn.LayerNorm(a.width), nn.LayerNorm(a.width)

    def forward(self, words: Tensor) -> Tensor:
        x = self.layernorm_embedding(self.embed_tokens(words) + self.embed_positions.weight[: words.shape[1]])
        visible = (words != _PAD)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, visible)
        out: Tensor = self.final_ln(x)
        return out


class _Decoder(nn.Module):
    def __init__(self, a: DalleArchitecture) -> None:
        super().__init__()
        self.start = a.codes - 1
        self.embed_tokens = nn.Embedding(a.tokens, a.width)
        self.embed_positions = nn.Embedding(a.side**2, a.width)
        self.layers = nn.ModuleList(_DecoderLayer(a.width, a.heads, a.inner) for _ in range(a.layers))
        self.layernorm_embedding, self.final_ln = nn.LayerNorm(a.width), nn.LayerNorm(a.width)
        self.lm_head = nn.Linear(a.width, a.tokens, bias=False)

    def forward(self, codes: Tensor, encoder: _Encoder, words: Tensor, caches: list[list[Tensor]]) -> Tensor:
        """Return logits (B, m, tokens) of the m codes that follow those of which nothing is remembered yet."""
        tokens = torch.cat([codes.new_full((len(codes), 1), self.start), codes], 1)
        known, total = caches[0][0].shape[2] if caches[0] else 0, tokens.shape[1]
        encoded = None if caches[0] else encoder(words)
        x = self.embed_tokens(tokens[:, known:]) + self.embed_positions.weight[known:total]
        x = self.layernorm_embedding(x)
        for layer, cache in zip(self.layers, caches, strict=True):
            x = layer(x, encoded, (words != _PAD)[:, None, None, :], cache)
        out: Tensor = self.lm_head(self.final_ln(x))
        return out


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width, bias=False) for _ in range(4))

    def keys_and_values(self, x: Tensor) -> list[Tensor]:
        """Return keys and values (B, heads, n, d) of tokens."""
        return [self._split(projection(x)) for projection in (self.k_proj, self.v_proj)]

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
        mixed = scaled_dot_product_attention(self._split(self.q_proj(x)), keys, values, attn_mask=visible)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        out: Tensor = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return out


class _Gated(nn.Module):
    """A gated perceptron (Shazeer 2020) between norms."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.ln0, self.ln1 = nn.LayerNorm(width), nn.LayerNorm(inner)
        self.fc0, self.fc1 = (nn.Linear(width, inner, bias=False) for _ in range(2))
        self.fc2 = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.ln0(x)
        out: Tensor = self.fc2(self.ln1(gelu(self.fc0(x)) * self.fc1(x)))
        return out


class _EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.pre_self_attn_layer_norm, self.self_attn_layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attn, self.glu = _Attention(width, heads), _Gated(width, inner)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        normal = self.pre_self_attn_layer_norm(x)
        x = x + self.self_attn_layer_norm(self.self_attn(normal, *self.self_attn.keys_and_values(normal), visible))
        out: Tensor = x + self.glu(x)
        return out


class _DecoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.pre_self_attn_layer_norm, self.self_attn_layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.pre_encoder_attn_layer_norm, self.encoder_attn_layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attn, self.encoder_attn = _Attention(width, heads), _Attention(width, heads)
        self.glu = _Gated(width, inner)

    def forward(self, x: Tensor, encoded: Tensor | None, is_word: Tensor, cache: list[Tensor]) -> Tensor:
        """Return (B, m, width); `encoded` are the encoded words, needed once: the cache keeps their keys and values."""
        normal = self.pre_self_attn_layer_norm(x)
        keys, values = self.self_attn.keys_and_values(normal)
        known = 0
        if cache:
            known = cache[0].shape[2]
            keys, values = torch.cat([cache[0], keys], 2), torch.cat([cache[1], values], 2)
        word_keys, word_values = cache[2:] if cache else self.encoder_attn.keys_and_values(cast("Tensor", encoded))
        cache[:] = [keys, values, word_keys, word_values]
        place = torch.arange(keys.shape[2], device=x.device)
        x = x + self.self_attn_layer_norm(self.self_attn(normal, keys, values, place <= place[known:, None]))
        normal = self.pre_encoder_attn_layer_norm(x)
        x = x + self.encoder_attn_layer_norm(self.encoder_attn(normal, word_keys, word_values, is_word))
        out: Tensor = x + self.glu(x)
        return out
