"""The known weights, as torch-free records."""

from __future__ import annotations

from dataclasses import dataclass

from vqclip.errors import unknown_name


@dataclass(frozen=True)
class Weights:
    """One known weight file. `file` is its name in `checkpoints/`; `draws` says what it knows; `licence` its terms."""

    kind: str
    name: str
    file: str
    draws: str
    licence: str


_TINY = "the 186 subjects, 12 shapes, 10 settings and 13 styles of world.yaml"

CATALOG: tuple[Weights, ...] = (
    Weights("vqgan", "tiny", "tiny-vqgan.safetensors", _TINY, "MIT; glyphs of the training pictures: OFL 1.1"),
    Weights("clip", "tiny", "tiny-clip.safetensors", _TINY, "MIT; glyphs of the training pictures: OFL 1.1"),
    Weights("prior", "tiny", "tiny-prior.safetensors", _TINY, "MIT; glyphs of the training pictures: OFL 1.1"),
    Weights("judge", "tiny", "tiny-judge.safetensors", _TINY, "MIT; glyphs of the training pictures: OFL 1.1"),
)


def names(kind: str) -> list[str]:
    """Return the names of all known weights of one kind."""
    return [record.name for record in CATALOG if record.kind == kind]


def find(kind: str, name: str) -> Weights:
    """Return the record of a name; raise UsageError with the nearest name if there is none."""
    for record in CATALOG:
        if (record.kind, record.name) == (kind, name):
            return record
    raise unknown_name(kind, name, names(kind))


def pair(name: str) -> tuple[str, str]:
    """Return the names of a VQGAN and of the CLIP that goes with it; UsageError if no pair has that name."""
    return find("vqgan", name).name, find("clip", name).name
