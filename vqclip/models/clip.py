"""CLIP (Radford et al. 2021) behind `encode_text` and `encode_image`, built from an open_clip model configuration."""

from __future__ import annotations

import functools
import gzip
import itertools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from vqclip.errors import WeightsError
from vqclip.models import casting, folding, patches
from vqclip.models.small_clip import SmallCLIP, small
from vqclip.models.tokenizing import JSONTokenizer, open_clip_tokenizers
from vqclip.types import CLIPArchitecture

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer


# tokens from which on a vocabulary is one of many languages: those of English have at most 50,265, the others 250,000
_MANY_LANGUAGES = 200_000


class CLIP(nn.Module):
    """A CLIP behind `encode_text` and `encode_image`; the only place that knows its mean and standard deviation."""

    # the precision of the image tower's weights if it is not float32: see `casting`
    held: torch.dtype | None = None
    # of a CLIP that reads texts by a tokenizer of its own, once it was given
    pieces: JSONTokenizer | None = None
    mean: Tensor
    std: Tensor

    def __init__(self, architecture: CLIPArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        # open_clip's has no types; the small one is spelled like it
        self.network: Any = builder(architecture.model)(**architecture.model)
        self.image_size = architecture.image_size
        self.context_length: int = self.network.context_length
        self.words = frozenset(architecture.words)
        self.register_buffer("mean", torch.tensor(architecture.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(architecture.std).view(1, 3, 1, 1), persistent=False)

    @property
    def tokenizer(self) -> SimpleTokenizer | JSONTokenizer:
        """CLIP's byte-pair tokenizer, as long as the network's vocabulary, or the one that this CLIP brought."""
        if self.architecture.tokenizer is not None and self.pieces is None:
            raise ValueError("this CLIP reads texts by a tokenizer of its own: give it with take_tokenizer")
        return self.pieces or build_tokenizer(self.architecture.merges, self.context_length)

    @property
    def multilingual(self) -> bool:
        """Whether it reads scripts other than the Latin one, told by the size of its vocabulary."""
        size: int = self.architecture.model["text_cfg"].get("vocab_size", 49408)
        return size >= _MANY_LANGUAGES

    def take_tokenizer(self, content: bytes) -> None:
        """Read texts by a `tokenizer.json`; WeightsError if it is none, or of more tokens than the network knows."""
        pieces = JSONTokenizer(content, self.architecture.tokenizer or {}, self.context_length)
        known = self.architecture.model["text_cfg"].get("vocab_size", 49408)
        if pieces.size > known:
            raise WeightsError(f"its tokenizer has {pieces.size} tokens and its text tower knows {known}: give its own")
        self.pieces = pieces

    def fold(self) -> None:
        """Fold constants of the image tower, frozen, into its weights."""
        folding.fold(self.network.visual)

    @property
    def patches(self) -> int:
        """Patch tokens of a view; 0 of an image tower without them."""
        return patches.count(self.network.visual)

    def encode_patches(self, views: Tensor, kept: Tensor) -> Tensor:
        """Embed views as `encode_image` does, by some of their patches only, whose places are `kept` (N, K).

        Raises ValueError for an image tower without patch tokens.
        """
        keeper = patches.keeper(self.network.visual)
        keeper.kept = kept.to(views.device)
        try:
            return self.encode_image(views)
        finally:
            keeper.kept = None

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
        net: Any = self.network
        if getattr(net, "attn_mask", None) is None or net.text_pool_type != "argmax":
            out: Tensor = net.encode_text(tokens)
            return out
        longest = int(tokens.argmax(-1).max()) + 1
        tokens = tokens[:, :longest]
        x = net.token_embedding(tokens).to(net.transformer.get_cast_dtype())
        x = x + net.positional_embedding[:longest].to(x)
        x = net.ln_final(net.transformer(x, attn_mask=net.attn_mask[:longest, :longest]))
        x = x[torch.arange(len(x), device=x.device), tokens.argmax(-1)]
        if net.text_projection is None:
            return cast("Tensor", x)
        out = net.text_projection(x) if isinstance(net.text_projection, nn.Linear) else x @ net.text_projection
        return out

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, start and end marks included."""
        tokenizer = self.tokenizer
        return len(tokenizer.ids(text)) if isinstance(tokenizer, JSONTokenizer) else len(tokenizer.encode(text)) + 2

    def logits(self, images: Tensor, texts: Tensor) -> Tensor:
        """Return how well embeddings of images (N, D) and texts (P, D) go together, (N, P), as it was trained to say.

        With a bias, as SigLIP's, they are sigmoid's; without one they are for a softmax over the texts.
        """
        bias = getattr(self.network, "logit_bias", None)
        scaled: Tensor = self.network.logit_scale.exp() * images @ texts.T
        return scaled if bias is None else scaled + bias


def builder(model: Mapping[str, Any]) -> Callable[..., Any]:
    """Return what builds the network of an open_clip model configuration, with all packages that it needs imported."""
    if small(model):
        return SmallCLIP
    from vqclip.models.openclip import build

    return build


@functools.cache
def build_tokenizer(merges: int | None, context_length: int) -> SimpleTokenizer:
    """Return CLIP's byte-pair tokenizer, its vocabulary cut to the first `merges` entries (None: all of them).

    N merges give a vocabulary of N + 514 tokens.
    """
    tokenizers = open_clip_tokenizers()
    if merges is None:
        return tokenizers.SimpleTokenizer(context_length=context_length)
    with gzip.open(tokenizers.default_bpe()) as stream:
        lines = list(itertools.islice(stream, merges + 1))
    with tempfile.TemporaryDirectory() as folder:
        shortened = Path(folder) / "bpe.txt.gz"
        shortened.write_bytes(gzip.compress(b"".join(lines).rstrip(b"\n")))
        return tokenizers.SimpleTokenizer(bpe_path=str(shortened), context_length=context_length)
