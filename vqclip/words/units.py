"""A prompt's tokens grouped into units: one to seven words with one meaning each, the longest that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vqclip.words.lexicon import Entry, Lexicon
from vqclip.words.reading import MOST
from vqclip.words.suggest import correct
from vqclip.words.tokens import Token

# an article may stand within a phrase only after one of these: "at the bottom of the sea", not "fire a truck"
_JOINTS = frozenset(
    {"of", "in", "on", "at", "by", "to", "from", "under", "with", "for", "as", "out", "into", "below", "beneath"}
    | {"inside", "made", "like", "full", "behind", "not", "no", "without", "what", "over", "than", "until", "during"}
    | {
        "all",
        "both",
        "half",
        "such",
        "quite",
        "lit",
        "covered",
        "among",
        "is",
        "between",
        "taking",
        "having",
        "getting",
        "on",
    }
)


@dataclass(frozen=True)
class Unit:
    """Tokens `first` to `last` (exclusive) of a prompt, as one meaning; `text` as they were written."""

    kind: str
    entry: Entry
    first: int
    last: int
    text: str
    start: int
    end: int
    article: str = ""
    breaks: bool = False
    possessive: bool = False
    modifies: bool = False  # stands before the noun that it belongs to: "pirate" in "a pirate ship"


def segment(text: str, tokens: list[Token], lexicon: Lexicon, like_entries: Mapping[str, Entry]) -> list[Unit]:
    """Return the units of a prompt in order; what is not known is a unit of kind "unknown"."""
    units: list[Unit] = []
    place = 0
    while place < len(tokens):
        entry, last = _longest(tokens, place, lexicon, like_entries)
        first, end = tokens[place], tokens[last - 1]
        written = text[first.start : end.end]
        lead = first.article, first.breaks, end.possessive
        units.append(Unit(entry.kind, entry, place, last, written, first.start, end.end, *lead))
        place = last
    return _settle(units)


def _longest(tokens: list[Token], place: int, lexicon: Lexicon, like_entries: Mapping[str, Entry]) -> tuple[Entry, int]:
    reach = _reach(tokens, place, lexicon.longest)
    for table in (like_entries, lexicon):
        for last in range(reach, place, -1):
            words = " ".join(token.word for token in tokens[place:last])
            entry = table.find(words) if isinstance(table, Lexicon) else table.get(words)
            if entry is None and isinstance(table, Lexicon) and last == place + 2:
                entry = _joined(tokens[place], tokens[place + 1], lexicon)
            if entry is not None:
                return entry, last
    word = tokens[place].word
    if word.isdecimal():
        return Entry("count", min(int(word[:3]), MOST + 1)) if int(word[:3]) else Entry("silent"), place + 1
    return correct(word, lexicon) or Entry("unknown"), place + 1


def _joined(first: Token, second: Token, lexicon: Lexicon) -> Entry | None:
    """Return the noun that two words make when written as one: "snow man"."""
    if len(first.word) < 3 or len(second.word) < 3:
        return None
    if lexicon.entries.get(first.word, Entry("unknown")).kind in ("relation", "and", "silent"):
        return None
    entry = lexicon.find(first.word + second.word)
    return entry if entry is not None and entry.kind == "noun" and not entry.notable else None


def _reach(tokens: list[Token], place: int, longest: int) -> int:
    """Return where a phrase that begins at `place` must end at the latest."""
    last = place + 1
    while last < min(len(tokens), place + longest):
        token, before = tokens[last], tokens[last - 1]
        if token.breaks or (token.article and before.word not in _JOINTS):
            break
        last += 1
    return last


def _settle(units: list[Unit]) -> list[Unit]:
    """Choose between the meanings of words that have two, and mark nouns that only modify the next."""
    for index in range(len(units) - 1, -1, -1):
        unit = units[index]
        other = unit.entry.alternative
        if other is not None and _asks_for(other, units, index):
            units[index] = replace(unit, kind=other.kind, entry=other)
        elif unit.kind == "noun" and _adjoins(units, index, ("noun",)):
            animate = unit.entry.plural or unit.entry.value[0] == "own"
            units[index] = replace(unit, modifies=not animate)
    return units


def _asks_for(other: Entry, units: list[Unit], index: int) -> bool:
    """Whether the units around the one at `index` ask for its other meaning."""
    if other.kind in ("color", "unknown"):
        return _colors_what_follows(units, index)
    before = units[index - 1] if index else None
    unit = units[index]
    if other.kind == "noun":
        return before is not None and before.kind in ("count", "color", "size")
    if before is None or unit.article or unit.breaks or before.kind != "noun":
        return False
    if unit.text.lower().endswith("ing"):
        return index + 1 < len(units) and bool(units[index + 1].article)  # "a boy building a castle"
    return before.entry.plural != unit.entry.plural


def _colors_what_follows(units: list[Unit], index: int) -> bool:
    for unit in units[index + 1 :]:
        if unit.breaks or unit.article:
            return False
        if unit.kind in ("noun", "place") or unit.text.lower() == "background":
            return True
        if unit.kind not in ("color", "and", "size") and not (unit.kind == "silent" and unit.text.isalpha()):
            return False
        if unit.kind == "silent" and unit.text.lower() in ("of", "with", "is", "on", "by", "for"):
            return False
    return False


def _adjoins(units: list[Unit], index: int, kinds: tuple[str, ...]) -> bool:
    """Whether the next unit is of one of the kinds, and nothing parts the two."""
    if index + 1 >= len(units):
        return False
    following = units[index + 1]
    return following.kind in kinds and not following.breaks and not following.article
