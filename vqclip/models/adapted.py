"""Networks that a caller brings from Python, fitted to what a run asks of its own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vqclip.errors import UsageError
from vqclip.types import CLIPArchitecture, VQGANArchitecture

_VQGAN = ("factor", "codebook", "encode", "quantize", "decode")
_CLIP = ("image_size", "context_length", "encode_image", "encode_text", "count_tokens")


def adapt_vqgan(given: Any) -> Any:
    """Return an object that a run can use as its VQGAN: itself, or one that adds what `types.ImageTokenizer` lacks.

    Raises UsageError that names what is missing.
    """
    return (
        given if hasattr(given, "architecture") else AdaptedVQGAN(_complete("VQGAN", given, _VQGAN, "ImageTokenizer"))
    )


def adapt_clip(given: Any) -> Any:
    """Return an object that a run can use as a CLIP: itself, or one that adds what `types.Perceptor` lacks.

    Raises UsageError that names what is missing.
    """
    if hasattr(given, "architecture"):
        return given
    return AdaptedCLIP(_complete("CLIP", given, _CLIP, "Perceptor"))


def name_of(given: Any) -> str:
    """Return the name by which an object from Python stands in a picture's config."""
    kind = type(getattr(given, "inner", given))
    return f"python:{kind.__module__}.{kind.__qualname__}"


def fingerprint(given: Any) -> str:
    """Return a sha256 of the parameters and buffers of a network; of anything else, of its name."""
    network = getattr(given, "inner", given)
    digest = hashlib.sha256()
    if not isinstance(network, nn.Module):
        return hashlib.sha256(name_of(given).encode()).hexdigest()
    for name, value in network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(
            value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
        )
    return digest.hexdigest()


def _complete(what: str, given: Any, wanted: Sequence[str], protocol: str) -> Any:
    missing = [name for name in wanted if not hasattr(given, name)]
    if missing:
        raise UsageError(
            f"the {what} {type(given).__name__} lacks {', '.join(missing)}: give what vqclip.types.{protocol} describes"
        )
    return given


class AdaptedVQGAN(nn.Module):
    """A VQGAN from Python behind the interface of `vqclip.models.vqgan.VQGAN`."""

    held = None
    refusal = ""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.factor = int(inner.factor)
        levels = max(math.ceil(math.log2(self.factor)), 0) + 1
        codes, width = self.codebook.shape
        # of what is not known the estimate of memory takes a small decoder
        self.architecture = VQGANArchitecture(
            ch=32,
            ch_mult=(1,) * levels,
            num_res_blocks=1,
            attn_levels=(),
            z_channels=width,
            embed_dim=width,
            n_embed=codes,
        )

    @property
    def codebook(self) -> Tensor:
        """Codes, (K, C)."""
        codebook: Tensor = self.inner.codebook
        return codebook

    @property
    def live_codebook(self) -> Tensor:
        """The codes that are chosen from, (K, C)."""
        return self.codebook

    def encode(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in [0, 1] to latents (B, C, h, w)."""
        z: Tensor = self.inner.encode(image)
        return z

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Latents to the nearest codes (B, C, h, w) and their indices (B, h, w)."""
        codes, indices = self.inner.quantize(z)
        return codes, indices

    def codes(self, indices: Tensor) -> Tensor:
        """Indices (B, h, w) to codes (B, C, h, w)."""
        return nn.functional.embedding(indices, self.codebook).permute(0, 3, 1, 2)

    def decode(self, z_q: Tensor) -> Tensor:
        """Codes to an image (B, 3, H, W) in [0, 1]."""
        image: Tensor = self.inner.decode(z_q)
        return image


class AdaptedCLIP(nn.Module):
    """A CLIP from Python behind the interface of `vqclip.models.clip.CLIP`."""

    held = None

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.image_size, self.context_length = int(inner.image_size), int(inner.context_length)
        self.words = frozenset(getattr(inner, "words", ()))
        parameter = next(inner.parameters(), None) if isinstance(inner, nn.Module) else None
        self.register_buffer("mean", torch.zeros(1, device=None if parameter is None else parameter.device))
        vision = {"image_size": self.image_size, "layers": 12, "width": 768, "patch_size": 32}
        self.architecture = CLIPArchitecture({"embed_dim": 512, "vision_cfg": vision, "text_cfg": {}})

    def encode_image(self, views: Tensor) -> Tensor:
        """Views (N, 3, S, S) in [0, 1] to unit vectors (N, D)."""
        return nn.functional.normalize(self.inner.encode_image(views).float(), dim=-1)

    def encode_text(self, texts: list[str]) -> Tensor:
        """Texts to unit vectors (P, D)."""
        return nn.functional.normalize(self.inner.encode_text(texts).float(), dim=-1)

    def count_tokens(self, text: str) -> int:
        """Number of tokens of a text, start and end included."""
        return int(self.inner.count_tokens(text))
