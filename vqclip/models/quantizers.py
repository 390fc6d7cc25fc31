"""How latents become codes: which code is taken for a latent, and in what space latents lie between the codes.

Each kind is a record under the name that `VQGANArchitecture.quantizer` gives it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


@dataclass(frozen=True)
class Quantizer:
    """How a kind of VQGAN chooses codes.

    `space` names what latents are kept in after a step (`vqclip.drawables.spaces`). `codebook` returns the codes (K, C)
    of a network, `choose` the places (n,) in a codebook (K, C) of the codes of latents (n, C).
    """

    space: str
    codebook: Callable[[nn.Module], Tensor]
    choose: Callable[[Tensor, Tensor], Tensor]


def _embedding(network: nn.Module) -> Tensor:
    out: Tensor = network.get_submodule("quantize.embedding").weight  # type: ignore[assignment]
    return out


def _gumbel_embedding(network: nn.Module) -> Tensor:
    out: Tensor = network.get_submodule("quantize.embed").weight  # type: ignore[assignment]
    return out


def _unit_embedding(network: nn.Module) -> Tensor:
    return normalize(_embedding(network), dim=1)


def _nearest(codebook: Tensor, flat: Tensor) -> Tensor:
    # argmin |z - e|^2 = argmax (z.e - |e|^2 / 2): the norm of z does not matter
    return torch.addmm(-0.5 * codebook.square().sum(1), flat, codebook.t()).argmax(1)


def _of_largest_product(codebook: Tensor, flat: Tensor) -> Tensor:
    return (flat @ codebook.t()).argmax(1)


def _of_same_signs(codebook: Tensor, flat: Tensor) -> Tensor:
    return ((flat > 0) * powers(codebook.shape[1], flat.device)).sum(1)


def powers(bits: int, device: torch.device) -> Tensor:
    """Return what each channel counts in the place of a lookup-free code (C,): the first one least."""
    return 2 ** torch.arange(bits, device=device)


def all_signs(bits: int) -> Tensor:
    """Return all codes (2**bits, bits) of -1 and 1, in the order of their places."""
    places = torch.arange(2**bits)[:, None]
    return ((places & powers(bits, places.device)) != 0).float() * 2 - 1


def _no_codes(network: nn.Module) -> Tensor:
    del network
    return torch.zeros(0, 0)


def _no_choice(codebook: Tensor, flat: Tensor) -> Tensor:
    raise ValueError("continuous latents have no codes: give a VQGAN with a codebook")


QUANTIZERS = {
    "vq": Quantizer("box", _embedding, _nearest),
    "gumbel": Quantizer("box", _gumbel_embedding, _nearest),
    "dot": Quantizer("box", _embedding, _of_largest_product),
    # between unit vectors the nearest is that of the least angle
    "cosine": Quantizer("sphere", _unit_embedding, _nearest),
    "bits": Quantizer("box", lambda network: network.get_buffer("signs"), _of_same_signs),
    "none": Quantizer("normal", _no_codes, _no_choice),
}
