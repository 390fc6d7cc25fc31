"""A caret under a place of a text, for errors."""

from __future__ import annotations

import unicodedata

_BEFORE, _AFTER = 50, 20


def point(text: str, place: int) -> str:
    """Return two lines: the text near `place`, an index into it or its length, and a caret under that place."""
    start = max(place - _BEFORE, 0)
    end = place + _AFTER
    head = ("..." if start else "") + _shown(text[start:place])
    tail = _shown(text[place:end]) + ("..." if end < len(text) else "")
    return f"  {head}{tail}".rstrip() + f"\n  {' ' * sum(map(_width, head))}^"


def _shown(text: str) -> str:
    """Return the text on one line, a character for each of its characters."""
    return "".join(" " if c.isspace() else c if c.isprintable() else "?" for c in text)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
