"""Lists of prompts to evaluate: one a line, `#` begins a comment."""

from __future__ import annotations

from pathlib import Path

from vqclip import prompts, resources
from vqclip.config.text import read_text
from vqclip.errors import UsageError

DEFAULT = "configs/evaluate/prompts.txt"


def read_list(file: Path | None = None) -> list[str]:
    """Return the prompts of a list (default: the bundled 200).

    Raises UsageError with the line's number for an empty line or a prompt that cannot be parsed, and for a list
    without any.
    """
    file = file or resources.path(DEFAULT)
    listed = []
    for number, line in enumerate(read_text(file, "prompt list").splitlines(), 1):
        text = line.strip()
        if text.startswith("#"):
            continue
        if not text:
            raise UsageError(f"{file} line {number} is empty: write one prompt a line; # begins a comment")
        try:
            prompts.parse(text)
        except UsageError as error:
            raise UsageError(f"{file} line {number}: {error}") from None
        listed.append(text)
    if not listed:
        raise UsageError(f"{file} holds no prompt: write one a line")
    return listed


def subset(listed: list[str], count: int) -> list[int]:
    """Return the places of `count` prompts spread evenly over a list; of a sorted list that is a stratified sample."""
    if not 1 <= count <= len(listed):
        raise UsageError(f"a subset of {count}: the list holds {len(listed)} prompts, give 1 to {len(listed)}")
    return [(2 * k + 1) * len(listed) // (2 * count) for k in range(count)]
