"""`vqclip models list --clips` and `vqclip models check`: what CLIPs cost and know, and whether one is read rightly."""

from __future__ import annotations

from collections.abc import Iterator

from vqclip.cli import streams
from vqclip.errors import WeightsError
from vqclip.weights import cache, catalog
from vqclip.weights.clip_facts import Facts, facts_of

_HEAD = "name", "accuracy", "GFLOP", "MB", "state", "licence", "guides"
_NOTE = (
    "accuracy: zero-shot, in percent, on ImageNet, or with * the mean over their authors' sets; GFLOP: a view's way "
    "through the image tower; ?: not known here. Any other: --clip hf-hub:OWNER/NAME"
)


def list_clips() -> None:
    """Print all CLIPs that are known, the catalog's first."""
    streams.say(_row(*_HEAD))
    for row in _rows():
        streams.say(_row(*row))
    streams.tell(_NOTE)


def _rows() -> Iterator[tuple[str, ...]]:
    from vqclip.models.openclip import pretrained_names

    for record in catalog.records():
        if record.kind == "clip":
            like = str((record.architecture or {}).get("like", ""))
            state = "bundled" if record.file else "here" if catalog.place(record).exists() else "to get"
            yield _cells(record.name, facts_of(record.name, like), state, record.licence.partition(";")[0])
    names = pretrained_names()
    # the usual ones before all others
    for name in dict.fromkeys([*catalog.RECOMMENDED_CLIPS, *names]):
        facts = facts_of(name)
        state = "here" if cache.weights_file("clip", name).exists() else "to get"
        yield _cells(name, facts, state, facts.licence or "its publisher's")


def _cells(name: str, facts: Facts, state: str, licence: str) -> tuple[str, ...]:
    accuracy = "?" if facts.accuracy is None else f"{facts.accuracy:.1f}{'*' if facts.mean else ''}"
    gflop = "?" if facts.gflop is None else f"{facts.gflop:.1f}"
    size = "?" if facts.megabytes is None else f"{facts.megabytes:.0f}"
    return name, accuracy, gflop, size, state, licence, facts.guides or "?"


def _row(name: str, accuracy: str, gflop: str, size: str, state: str, licence: str, guides: str) -> str:
    return f"{name:46} {accuracy:>8} {gflop:>7} {size:>6}  {state:7}  {licence:15}  {guides}".rstrip()


def check(name: str) -> None:
    """Print how many drawings a CLIP names; WeightsError if its configuration has the wrong activation."""
    from vqclip.evaluation.clip_check import check_clip

    found = check_clip(name)
    kinds = "QuickGELU", "GELU"
    now, then = kinds if found.quick_gelu else kinds[::-1]
    counted = f"{found.named} of {found.count} drawings of {found.subjects} subjects named"
    if found.other is None:
        streams.say(f"{name}: {counted}; it has no choice of activations")
        return
    counted += f" with {now}, as it is read, and {found.other} with {then}"
    if found.better:
        raise WeightsError(
            f'{name}: {counted}: its configuration is wrong; let "quick_gelu" be {str(not found.quick_gelu).lower()} '
            "in model_cfg of its open_clip_config.json, and read it from that folder"
        )
    verdict = "nothing speaks against it" if found.told else "it knows too few of them to tell which is right"
    streams.say(f"{name}: {counted}: {verdict}")
