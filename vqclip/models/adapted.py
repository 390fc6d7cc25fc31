"""Networks that a caller brings from Python, fitted to what a run asks of its own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vqclip.errors import PluginError, UsageError
from vqclip.models.clip import CLIP
from vqclip.models.vqgan import VQGAN
from vqclip.registry.outside import place_of, run_outside
from vqclip.types import CLIPArchitecture, VQGANArchitecture

_VQGAN = ("factor", "codebook", "encode", "quantize", "decode")
_CLIP = ("image_size", "context_length", "encode_image", "encode_text", "count_tokens")


def adapt_vqgan(given: Any) -> Any:
    """Return an object that a run can use as its VQGAN: itself, or one that adds what `types.ImageTokenizer` lacks.

    Raises UsageError that names what is missing.
    """
    if isinstance(given, (VQGAN, AdaptedVQGAN)):
        return given
    return AdaptedVQGAN(_complete("VQGAN", given, _VQGAN, "ImageTokenizer"))


def adapt_clip(given: Any) -> Any:
    """Return an object that a run can use as a CLIP: itself, or one that adds what `types.Perceptor` lacks.

    Raises UsageError that names what is missing.
    """
    if isinstance(given, (CLIP, AdaptedCLIP)):
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


def _whole(what: str, given: Any, name: str) -> int:
    """Return an attribute that is a whole number from 1; UsageError for another one."""
    value = getattr(given, name)
    if not isinstance(value, int) or value < 1:
        raise UsageError(f"the {what} {type(given).__name__} has {name} {value!r:.40}: give a whole number from 1")
    return value


def _called(what: str, method: Any, shape: Sequence[int | None], *arguments: Any) -> Tensor:
    """Return what a network from Python returns, a tensor of a shape (None: any side).

    Raises PluginError if it fails, returns something else, or lets no gradient through.
    """
    result: Any = run_outside(what, method, *arguments)
    wrong = ""
    if not isinstance(result, Tensor) or not _has_shape(result, shape):
        given = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        wanted = ", ".join("any" if side is None else str(side) for side in shape)
        wrong = f"returned {given}: return a tensor ({wanted})"
    elif torch.is_grad_enabled() and _wants_gradient(arguments[0]):
        wrong = "" if result.requires_grad else "returned a tensor without a gradient"
    if wrong:
        raise PluginError(f"{what} ({place_of(method)}) {wrong}")
    tensor: Tensor = result
    return tensor


def _has_shape(tensor: Tensor, shape: Sequence[int | None]) -> bool:
    sides = zip(tensor.shape, shape, strict=False)
    return tensor.dim() == len(shape) and all(wanted in (None, side) for side, wanted in sides)


def _wants_gradient(argument: Any) -> bool:
    return isinstance(argument, Tensor) and argument.requires_grad


class AdaptedVQGAN(nn.Module):
    """A VQGAN from Python behind the interface of `vqclip.models.vqgan.VQGAN`."""

    held = None
    refusal = ""
    space = "box"

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.factor = _whole("VQGAN", inner, "factor")
        self.what = f"the VQGAN {type(inner).__name__}"
        if not isinstance(inner.codebook, Tensor) or inner.codebook.dim() != 2:
            raise UsageError(f"{self.what} has no codebook (K, C): give the codes as a tensor")
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
    def channels(self) -> int:
        """Channels C of the latents."""
        return self.codebook.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the codes lie."""
        return self.codebook.device

    @property
    def live_codebook(self) -> Tensor:
        """The codes that are chosen from, (K, C)."""
        return self.codebook

    def encode(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in [0, 1] to latents (B, C, h, w)."""
        width = self.codebook.shape[1]
        return _called(f"{self.what}.encode", self.inner.encode, (len(image), width, None, None), image)

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Latents to the nearest codes (B, C, h, w) and their indices (B, h, w)."""
        found: Any = run_outside(f"{self.what}.quantize", self.inner.quantize, z)
        shapes = [tuple(each.shape) for each in found if isinstance(each, Tensor)] if isinstance(found, tuple) else []
        if shapes != [tuple(z.shape), (len(z), *z.shape[2:])]:
            given = ", ".join(map(str, shapes)) or type(found).__name__
            raise PluginError(
                f"{self.what}.quantize ({place_of(self.inner.quantize)}) returned {given}: return the codes "
                f"{tuple(z.shape)} and their indices {(len(z), *z.shape[2:])}"
            )
        codes, indices = found
        return codes, indices

    def codes(self, indices: Tensor) -> Tensor:
        """Indices (B, h, w) to codes (B, C, h, w)."""
        return nn.functional.embedding(indices, self.codebook).permute(0, 3, 1, 2)

    def decode(self, z_q: Tensor) -> Tensor:
        """Codes to an image (B, 3, H, W) in [0, 1]."""
        height, width = (self.factor * side for side in z_q.shape[2:])
        return _called(f"{self.what}.decode", self.inner.decode, (len(z_q), 3, height, width), z_q)


class AdaptedCLIP(nn.Module):
    """A CLIP from Python behind the interface of `vqclip.models.clip.CLIP`."""

    held = None
    # whoever brings it knows what it reads
    multilingual = True

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.image_size, self.context_length = (
            _whole("CLIP", inner, name) for name in ("image_size", "context_length")
        )
        self.what = f"the CLIP {type(inner).__name__}"
        # numbers of an embedding, once a text was encoded
        self.width: int | None = None
        self.words = frozenset(getattr(inner, "words", ()))
        parameter = next(inner.parameters(), None) if isinstance(inner, nn.Module) else None
        self.register_buffer("mean", torch.zeros(1, device=None if parameter is None else parameter.device))
        vision = {"image_size": self.image_size, "layers": 12, "width": 768, "patch_size": 32}
        self.architecture = CLIPArchitecture({"embed_dim": 512, "vision_cfg": vision, "text_cfg": {}})

    def encode_image(self, views: Tensor) -> Tensor:
        """Views (N, 3, S, S) in [0, 1] to unit vectors (N, D)."""
        what, shape = f"{self.what}.encode_image", (len(views), self.width)
        return nn.functional.normalize(_called(what, self.inner.encode_image, shape, views).float(), dim=-1)

    def encode_text(self, texts: list[str]) -> Tensor:
        """Texts to unit vectors (P, D)."""
        encoded = _called(f"{self.what}.encode_text", self.inner.encode_text, (len(texts), None), texts)
        self.width = encoded.shape[1]
        return nn.functional.normalize(encoded.float(), dim=-1)

    def count_tokens(self, text: str) -> int:
        """Number of tokens of a text, start and end included."""
        return int(run_outside(f"{self.what}.count_tokens", self.inner.count_tokens, text))
