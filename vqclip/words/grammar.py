"""From units to a reading: one walk from left to right that carries what is still to find its noun."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from vqclip.words.clauses import Clauses
from vqclip.words.inflection import IRREGULAR, is_plural, singulars
from vqclip.words.lexicon import Entry, Lexicon
from vqclip.words.places import choose
from vqclip.words.reading import MOST, Noun, Reading
from vqclip.words.units import Unit

_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "both")
_LEADS = ("relation", "verb", "between", "silent", "weak style")  # what a relation may wait behind
_PARTS = ("haired", "eyed", "skinned", "tailed", "winged", "headed", "nosed", "legged")  # "a red-haired woman"
_SEVERAL = 0  # a plural without a number, until it is known how many nouns there are


@dataclass
class _Pending:
    """What was read before its noun."""

    count: Unit | None = None
    color: str | None = None
    size: str | None = None
    relation: str | None = None
    of: bool = False
    joined: bool = False  # after "and"
    start: int | None = None  # where the words of the noun begin in the text
    modified: bool = False
    strange: bool = False  # a word that is unknown may have been the noun
    dropped: int | None = None  # where "without" stands


class Grammar:
    """Reads the units of one prompt: `run` returns what they say."""

    def __init__(self, text: str, lexicon: Lexicon) -> None:
        self.text, self.lexicon = text, lexicon
        self.clauses = Clauses(lexicon.sets)
        self.nouns = self.clauses.nouns
        self.replaced: list[tuple[str, str]] = []
        self.unknown: list[str] = []
        self.attributes: dict[str, str] = {}  # style, framing, season, weather, time, background
        self.places: list[Unit] = []
        self.weak: Unit | None = None
        self.now = _Pending()
        self.units: list[Unit] = []
        self.index = 0

    def run(self, units: list[Unit]) -> Reading:
        """Return the reading of the units."""
        steps: dict[str, Callable[[Unit], None]] = {
            "noun": self._noun, "place": self._place, "when": self._when, "style": self._style,
            "weak style": self._weak_style, "framing": self._framing, "relation": self._relation,
            "between": self._between, "and": self._and, "count": self._count, "color": self._color,
            "size": self._size, "without": self._without, "photo": self._photo, "unknown": self._unknown,
            "silent": self._silent, "verb": self._verb,
        }  # fmt: skip
        self.units = units
        for self.index, unit in enumerate(units):
            before = units[self.index - 1].kind if self.index else ""
            if unit.breaks:
                self._loose()
                self.now, self.clauses.link = _Pending(), None
            elif unit.article and self.now.relation and before not in _LEADS:
                self.now.relation = None
            if unit.kind in steps:
                steps[unit.kind](unit)
        self._loose()
        return self._reading()

    # --- nouns

    def _noun(self, unit: Unit) -> None:
        now = self.now
        if now.start is None:
            now.start = unit.start
        if unit.modifies:
            now.modified = True
            return
        written = self.text[now.start : unit.end]
        kind, subject = unit.entry.value
        if self._left_out(unit, subject, written):
            return
        if kind == "subject" and subject == "ring" and now.color and not unit.entry.notable:
            kind = "shape"
        subject = self._one_of(subject)
        noun = Noun(
            subject, kind, written, _number(unit, subject, now.count, self.lexicon.collective), now.color, now.size
        )
        if now.of and self.nouns:
            self.clauses.add_part(noun)
        else:
            self.clauses.add(noun, now.relation, now.joined)
        if unit.entry.notable or now.modified:
            self.replaced.append((written, noun.subject))
        elif now.count and now.count.entry.value > MOST:
            self.replaced.append((written, replace(noun, count=MOST).phrase()))
        self.now = _Pending()

    def _left_out(self, unit: Unit, subject: str, written: str) -> bool:
        """Whether a noun is not drawn: after "without", or a part of what is drawn already."""
        now, sets = self.now, self.lexicon.sets
        if now.dropped is not None:
            self.unknown.append(self.text[now.dropped : unit.end])
        elif now.relation == "with" and self.nouns and subject in sets["parts"]:
            self.unknown.append(written)
        elif now.of and self.nouns and self.nouns[-1].subject in sets["wholes"]:
            whole = self.nouns[-1]
            self.replaced.append((f"{whole.text} of {written}", whole.subject))
        else:
            return False
        self.now = _Pending()
        return True

    def _one_of(self, subject: str) -> str:
        """Return "house" for "houses" where a number is given and both are drawn."""
        count = self.now.count
        if count is None or count.entry.value < 2:
            return subject
        return next((one for one in singulars(subject) if one in self.lexicon.subjects), subject)

    # --- what belongs to a noun

    def _begin(self, unit: Unit) -> None:
        if self.now.start is None:
            self.now.start = unit.start

    def _count(self, unit: Unit) -> None:
        self._begin(unit)
        self.now.count = unit

    def _color(self, unit: Unit) -> None:
        self._begin(unit)
        if self.now.color is None:
            self.now.color = unit.entry.value
        elif self.now.color != unit.entry.value:
            self.unknown.append(unit.text)

    def _size(self, unit: Unit) -> None:
        self._begin(unit)
        self.now.size = unit.entry.value

    def _without(self, unit: Unit) -> None:
        self._loose()
        self.now = _Pending(dropped=unit.start)

    def _unknown(self, unit: Unit) -> None:
        if self.now.dropped is not None:
            self.unknown.append(self.text[self.now.dropped : unit.end])
            self.now = _Pending()
        elif self.now.color and self.now.start is not None and unit.text.lower().endswith(_PARTS):
            self.unknown.append(self.text[self.now.start : unit.end])  # not the color of the whole
            self.now.color = None
        else:
            self.unknown.append(unit.text)
            self.now.strange = True

    def _loose(self) -> None:
        """Give a color that found no noun to the noun before it, or to the background."""
        color = self.now.color
        self.now.color = None
        if color is None or self.now.strange:
            return
        if self.now.relation in ("on", "in front of") or not self.nouns:
            self.attributes.setdefault("background", color)
        elif self.nouns[-1].color is None:
            self.nouns[-1] = replace(self.nouns[-1], color=color)

    # --- what stands between nouns

    def _relation(self, unit: Unit) -> None:
        self._loose()
        kind = unit.entry.value
        full = kind == "full of"  # "a basket full of apples" is a basket of apples
        self.now = _Pending(relation=None if full else kind, of=full, joined=self.now.joined)

    def _verb(self, unit: Unit) -> None:
        """Take what follows directly for its object: "a boy flying a kite" is a boy with a kite."""
        if unit.entry.value == "finite" and (unit.article or self.now.start is not None):
            self._unknown(unit)  # a noun that is not known: "a red sail"
            return
        after_noun = self.index > 0 and self.units[self.index - 1].kind == "noun" and not unit.breaks
        if after_noun and unit.text.lower().endswith("ing") and not unit.article:
            self.now.relation = "with"

    def _between(self, unit: Unit) -> None:
        self._loose()
        self.clauses.between = ["right of", "left of"] if self.nouns else []
        self.now = _Pending()

    def _and(self, unit: Unit) -> None:
        following = self.units[self.index + 1].kind if self.index + 1 < len(self.units) else ""
        before = self.units[self.index - 1].kind if self.index else ""
        if before == "color" and following in ("color", "size"):
            return  # "a red and blue parrot"
        self._loose()
        self.now = _Pending(joined=True)

    def _silent(self, unit: Unit) -> None:
        word = unit.text.lower()
        if word in ("background", "backdrop") and self.now.color:
            self.attributes.setdefault("background", self.now.color)
            self.now = _Pending()
        elif word == "of":
            before = self.units[self.index - 1] if self.index else None
            self.now.of = before is not None and before.kind == "noun"

    # --- where, when and how

    def _place(self, unit: Unit) -> None:
        if self.now.dropped is None:
            self.places.append(unit)
        else:
            self.unknown.append(self.text[self.now.dropped : unit.end])
        adjoined = self.index + 1 < len(self.units) and self.units[self.index + 1].kind == "noun"
        if adjoined and not self.units[self.index + 1].breaks:
            self.now.relation, self.now.start = self.now.relation, None  # "on a beach house": it is the house
        else:
            self.now = _Pending()

    def _when(self, unit: Unit) -> None:
        name, value = unit.entry.value
        self.attributes.setdefault(name, value)

    def _style(self, unit: Unit) -> None:
        style = self.attributes.setdefault("style", unit.entry.value)
        if unit.entry.notable or style != unit.entry.value:
            self.replaced.append((unit.text, style))
        self.now.relation = None

    def _weak_style(self, unit: Unit) -> None:
        following = self.units[self.index + 1] if self.index + 1 < len(self.units) else None
        if self.nouns and following is not None and following.article and not following.breaks:
            self.now.relation = "with"  # it is what somebody does: "a man drawing a house"
        else:
            self.weak = self.weak or unit
            self.now.relation = None

    def _framing(self, unit: Unit) -> None:
        if unit.entry.value == "field" and self.nouns:  # "a cow in a field of flowers" is a picture of the cow
            self.places.append(replace(unit, entry=Entry("place", "in a meadow")))
            self.now, self.clauses.closed = _Pending(), True
            return
        self.attributes.setdefault("framing", unit.entry.value)
        self.now.relation = None

    def _photo(self, unit: Unit) -> None:
        word = unit.text.removesuffix(" of")
        if word not in self.unknown:
            self.unknown.append(word)

    # --- the end

    def _reading(self) -> Reading:
        if self.weak is not None and "style" not in self.attributes:
            self._style(replace(self.weak, kind="style"))
        swims = not self.nouns or self.nouns[0].subject in self.lexicon.sets["swimmers"]
        places = [(_where(unit.entry.value, swims), unit) for unit in self.places]
        setting, replaced = choose(places, self.attributes, self.lexicon.sky)
        self.replaced += replaced
        unknown = tuple(dict.fromkeys(self.unknown))
        return Reading(
            self.text.strip(),
            _settled(self.nouns, self.attributes.get("framing") in ("field", "pattern")),
            tuple(self.clauses.relations),
            setting,
            replaced=tuple(dict.fromkeys(self.replaced)),
            unknown=unknown,
            **self.attributes,
        )


def _settled(nouns: Sequence[Noun], repeated: bool) -> tuple[Noun, ...]:
    """Give a number to plurals without one, and to the first noun if it is repeated all over the picture."""
    settled = []
    for place, noun in enumerate(nouns):
        fills = repeated and place == 0
        if noun.count == _SEVERAL or (fills and noun.count == 1):
            settled.append(replace(noun, count=MOST if fills else 3 if len(nouns) == 1 else 2))
        else:
            settled.append(noun)
    return tuple(settled)


def _where(place: str, swims: bool) -> str:
    """Return the setting of a place: in water swims what can, all else is by the sea."""
    if place != "in water":
        return place
    return "under water" if swims else "by the sea"


def is_number(text: str) -> bool:
    """Whether a count is a number, not "some" or "a herd of"."""
    return text.isdigit() or text.lower() in _NUMBERS


def _number(unit: Unit, subject: str, count: Unit | None, collective: Mapping[str, int]) -> int:
    """Return how many of a subject are meant, or _SEVERAL."""
    given = count.entry.value if count else None
    words = unit.text.lower()
    together = collective.get(words.split()[-1])
    if together:
        return min(given, MOST) if given and given > 1 else int(together)
    if is_plural(subject) and unit.entry.value[0] != "own":
        pair = count is not None and "pair" in count.text.lower()
        return min(given, MOST) if count and given and is_number(count.text) and not pair else 1
    plural = unit.entry.plural or IRREGULAR.get(words.split()[-1]) == words.split()[-1]
    if count is None or given is None:
        return _SEVERAL if unit.entry.plural else 1
    return min(given, MOST) if plural or is_number(count.text) else 1  # "some bread" is one
