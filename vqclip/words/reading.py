"""What a prompt says, in words that the models know: nouns, how they stand to each other, where, when and how drawn.

A `Reading` is what `vqclip.words.read` returns. Its `caption` says the same in known words only, and reads back to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from vqclip.words.inflection import article, pluralize

RELATIONS = ("on", "under", "above", "next to", "behind", "in front of", "left of", "right of", "in", "with")
SETTINGS = (
    "in a meadow",
    "in the desert",
    "in the snow",
    "by the sea",
    "under water",
    "in the night sky",
    "in a forest",
    "in the mountains",
    "in the city",
    "at sunset",
    "on the beach",
    "in the rain",
    "at night",
    "in a room",
    "in a kitchen",
    "in the street",
    "in space",
    "in a garden",
    "on a farm",
    "by a lake",
)
STYLES = (
    "Van Gogh",
    "oil painting",
    "watercolor",
    "pencil sketch",
    "charcoal",
    "pixel art",
    "stained glass",
    "mosaic",
    "pointillism",
    "pop art",
    "woodcut",
    "neon",
    "cartoon",
    "line art",
    "low poly",
)
SEASONS = ("spring", "summer", "autumn", "winter")
WEATHERS = ("rainy", "snowy", "foggy", "cloudy", "stormy")
TIMES = ("dawn", "sunset", "night")
FRAMINGS = ("portrait", "close-up", "field", "pattern", "landscape", "logo")
SIZES = ("big", "small")
MOST = 5  # of one noun in a picture
PHOTOGRAPHS = frozenset(
    {"photo", "photograph", "photography", "photorealistic", "photorealism", "photoreal", "photographic"}
    | {"photos", "photographs", "hyperrealistic", "hyperrealism", "hyper realistic", "photo realistic"}
)

_NUMBERS = ("", "one", "two", "three", "four", "five")
_MANY = ("field", "pattern")  # framings that repeat their noun, however many
_FRAMED = {
    "portrait": "portrait of {}",
    "close-up": "close-up of {}",
    "field": "a field of {}",
    "pattern": "a pattern of {}",
    "landscape": "a landscape with {}",
    "logo": "logo of {}",
}
_WEATHER = {
    "rainy": "in the rain",
    "snowy": "in the snow",
    "foggy": "in fog",
    "cloudy": "in cloudy weather",
    "stormy": "in a storm",
}
_TIME = {"dawn": "at dawn", "sunset": "at sunset", "night": "at night"}


@dataclass(frozen=True)
class Noun:
    """One thing, or several of it.

    `subject` is a name of `world/drawings.tsv`, a shape of `world.yaml`, or the name of one of the user's own
    things, as `kind` says: "subject", "shape" or "own". `text` is how it was written, `count` 1 to 5, `color` one of
    the world's colors, `size` "big" or "small".
    """

    subject: str
    kind: str
    text: str
    count: int = 1
    color: str | None = None
    size: str | None = None

    def phrase(self, bare: bool = False) -> str:
        """Return the noun in words: "two red cats"; without article or number if `bare`."""
        words = [word for word in (self.size, self.color) if word]
        plural = self.count > 1
        words.append(pluralize(self.subject) if plural else self.subject)
        if not bare:
            alone = "" if self.kind == "own" else article(" ".join(words), self.subject)
            words = [_NUMBERS[self.count] if plural else alone, *words]
        return " ".join(word for word in words if word)


@dataclass(frozen=True)
class Relation:
    """`nouns[first]` KIND `nouns[second]`; `kind` is one of RELATIONS."""

    kind: str
    first: int
    second: int


@dataclass(frozen=True)
class Reading:
    """What a prompt was understood as.

    `replaced` holds (as written, what it is drawn as) where a person would want to know, `unknown` the words that
    were left out. All else is None or empty where the prompt does not say it.
    """

    text: str
    nouns: tuple[Noun, ...] = ()
    relations: tuple[Relation, ...] = ()
    setting: str | None = None
    background: str | None = None
    season: str | None = None
    weather: str | None = None
    time: str | None = None
    style: str | None = None
    framing: str | None = None
    replaced: tuple[tuple[str, str], ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether anything at all was understood."""
        return bool(self.nouns) or any(
            (self.setting, self.background, self.season, self.weather, self.time, self.style, self.framing)
        )

    def notices(self) -> list[str]:
        """Return a line for everything that is drawn otherwise than it was written, or not at all."""
        lines = [f"{written}: drawn as {drawn!r}" for written, drawn in self.replaced]
        for word in self.unknown:
            if word.lower().replace("-", " ") in PHOTOGRAPHS:
                lines.append(f"{word!r}: photographs are beyond the bundled models: left out")
            else:
                lines.append(f"{word!r} is unknown: left out")
        return lines

    def caption(self) -> str:
        """Return the same in known words only, such as "two cats on a chair in the snow, watercolor"."""
        content = self._content()
        if self.framing:
            lead = _FRAMED[self.framing]
            content = lead.format(content) if self.nouns else lead.split(" of ")[0].split(" with ")[0]
        where = [self.setting, f"on a {self.background} background" if self.background else None]
        when = [f"in {self.season}" if self.season else None, _WEATHER.get(self.weather or "")]
        words = [content, *where, *when, _TIME.get(self.time or "")]
        return ", ".join(part for part in (" ".join(word for word in words if word), self.style) if part)

    def _content(self) -> str:
        """Return the nouns and their relations in words, in the order in which they are read back."""
        many = self.framing in _MANY
        words: list[str] = []
        spoken: set[tuple[str, int]] = set()
        for index, noun in enumerate(self.nouns):
            if many and not index and noun.count == MOST:
                words.append(pluralize(noun.phrase(bare=True)) if noun.count == 1 else noun.phrase(bare=True))
                continue
            words.append(self._link(index, spoken) + noun.phrase())
            for relation in self._leading_back(index):
                target = self.nouns[relation.second].phrase()
                words.append(f" and {relation.kind} {target}" if relation.second < relation.first else "")
        return "".join(words)

    def _leading_back(self, index: int) -> list[Relation]:
        return [r for r in self.relations if r.first == index and r.second < index]

    def _link(self, index: int, spoken: set[tuple[str, int]]) -> str:
        """Return what stands between a noun and those before it."""
        if not index:
            return ""
        links = [r for r in self.relations if r.second == index and r.first < index]
        if not links:
            related = any(max(r.first, r.second) == index - 1 for r in self.relations)
            more = index + 1 < len(self.nouns) and not self._leads(index + 1)
            return ", " if related or more else " and "
        kind, first = links[0].kind, links[0].first
        link = " and " if kind == "with" and ("with", first) in spoken and self._follows(index) else f" {kind} "
        spoken.add((kind, first))
        return link

    def _leads(self, index: int) -> bool:
        return any(r.second == index and r.first < index for r in self.relations)

    def _follows(self, index: int) -> bool:
        """Whether the noun before belongs to the same thing by 'with'."""
        now = [r.first for r in self.relations if r.second == index and r.kind == "with"]
        before = [r.first for r in self.relations if r.second == index - 1 and r.kind == "with"]
        return bool(now) and now == before
