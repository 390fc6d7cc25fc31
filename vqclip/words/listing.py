"""What is known, for `vqclip words`."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping

from vqclip.words import lexicon as lexicons
from vqclip.words.lexicon import PLACES
from vqclip.words.reading import FRAMINGS, RELATIONS, SEASONS, SETTINGS, STYLES, TIMES, WEATHERS

# headings, the kind of their entries, and the names in order
_KINDS = {
    "settings": ("place", SETTINGS),
    "styles": ("style", STYLES),
    "colors": ("color", None),
    "relations": ("relation", RELATIONS),
    "framings": ("framing", FRAMINGS),
    "seasons": ("season", SEASONS),
    "weather": ("weather", WEATHERS),
    "times": ("time", TIMES),
}


def vocabulary() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return all that is known: by kind, names and the other words that mean the same."""
    lexicon = lexicons.load()
    by_heading: dict[str, dict[str, tuple[str, ...]]] = {
        "subjects": {name: others for name, others in sorted(lexicon.subjects.items()) if name not in PLACES},
        "shapes": dict.fromkeys(lexicon.shapes, ()),
    }
    words: dict[tuple[str, str], list[str]] = {}
    for name, entry in lexicon.entries.items():
        meaning = entry.alternative if entry.kind == "noun" and entry.alternative else entry
        kind, value = meaning.value if meaning.kind == "when" else (meaning.kind, meaning.value)
        if not meaning.notable and isinstance(value, str):
            words.setdefault((kind, value), []).append(name)
    for heading, (kind, names) in _KINDS.items():
        names = names or tuple(value for known, value in words if known == kind)
        others = {name: (other for other in words.get((kind, name), ()) if other != name.lower()) for name in names}
        by_heading[heading] = {name: tuple(dict.fromkeys(other)) for name, other in others.items()}
    return by_heading


def matching(pattern: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return what is known whose name, or other word, holds a pattern or fits it as a glob, by kind."""
    sought = pattern.lower()
    if not any(character in sought for character in "*?["):
        sought = f"*{sought}*"
    matches: Mapping[str, dict[str, tuple[str, ...]]] = {
        kind: {name: others for name, others in names.items() if fnmatch.filter([name.lower(), *others], sought)}
        for kind, names in vocabulary().items()
    }
    return {kind: names for kind, names in matches.items() if names}
