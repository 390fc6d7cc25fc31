"""Randomness as an argument: every draw of step i comes from its own CPU generator.

Counter-based seeding makes a draw depend on (seed, stream, step) alone: not on what was drawn before, on the device,
the batch, the view chunk, or on whether the run was resumed.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SEED_BITS = 63


def derive(seed: int, stream: str, step: int = 0) -> int:
    """Return a 63-bit seed for one purpose (`stream`, such as `"views"`) at one step of the run `seed`."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - SEED_BITS)


def generator(seed: int, stream: str, step: int = 0) -> torch.Generator:
    """Return a CPU generator for one purpose at one step of the run `seed`."""
    import torch

    return torch.Generator("cpu").manual_seed(derive(seed, stream, step))


def fresh() -> int:
    """Return a new random seed, short enough to be typed again (32 bits)."""
    return secrets.randbits(32)


def from_text(text: str) -> int:
    """Return the seed that a user typed: an integer as it is, any other word by its hash; -1 and "" draw a new one."""
    text = text.strip()
    try:
        number = int(text)
    except ValueError:
        if not text:
            return fresh()
        return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big")
    return fresh() if number == -1 else number
