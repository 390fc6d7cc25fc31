"""How people word a picture: synonyms, articles, capitals, commas, the style before or after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from vqclip.words import lexicon as lexicons
from vqclip.words import read
from vqclip.words.inflection import article, is_plural, pluralize
from vqclip.words.reading import MOST, SETTINGS, Noun, Reading
from vqclip.words.tokens import key
from vqclip.world.second import load_second

_PLAIN = 0.55  # how often a thing has its first name
_NUMBERS = ("", "one", "two", "three", "four", "five")
_SIZES = {"big": ("big", "large", "huge", "enormous"), "small": ("small", "little", "tiny")}
_ADJECTIVES = ("cute", "beautiful", "lovely", "funny")
_VERBS = ("sitting", "standing", "resting", "sleeping", "waiting", "smiling")
_LINKS = {
    "on": ("on", "on top of", "sitting on"),
    "under": ("under", "underneath", "below", "beneath"),
    "above": ("above", "over", "floating above"),
    "next to": ("next to", "beside", "near", "close to"),
    "behind": ("behind", "hiding behind"),
    "in front of": ("in front of",),
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "in": ("in", "inside"),
    "with": ("with", "wearing"),
}
_FRAMES = {
    "portrait": ("portrait of {}", "a portrait of {}", "headshot of {}"),
    "close-up": ("close-up of {}", "a close up of {}", "macro shot of {}"),
    "field": ("a field of {}", "a field full of {}"),
    "pattern": ("a pattern of {}", "pattern of {}", "seamless pattern of {}"),
    "landscape": ("a landscape with {}", "landscape with {}", "panorama of {}"),
    "logo": ("logo of {}", "a logo with {}", "an icon of {}"),
}
_PLACES = {
    "in a meadow": ("in a green field", "in the grass", "on the lawn", "on a meadow", "in a grassy field"),
    "in the desert": ("in a desert", "in the sandy desert", "in the Sahara"),
    "in the snow": ("in snow", "in a snowy field", "in a snowy landscape"),
    "by the sea": ("at the sea", "by the ocean", "at the seaside", "on the coast"),
    "under water": ("underwater", "under the sea", "in the deep sea", "at the bottom of the sea"),
    "in the night sky": ("in a starry sky", "under the stars", "in the starry night sky"),
    "in a forest": ("in the forest", "in the woods", "in the woodland"),
    "in the mountains": ("in the mountain range", "in an alpine landscape"),
    "in the city": ("in a city", "in the town", "in a big city", "downtown"),
    "at sunset": ("at dusk", "at sundown", "in the evening"),
}
_BACKGROUNDS = ("on a {} background", "with a {} background", "in front of a {} background", "{} background")
_STYLED = ("{x}, {s}", "{x} in {s} style", "{x}, {s} style", "{x} in the style of {s}", "{s}, {x}", "{s} of {x}")
_ENDINGS = (", highly detailed", ", 4k", ", masterpiece", " please")


class Speaker:
    """Words one reading; see `sampling.say`."""

    def __init__(self, reading: Reading, rng: np.random.Generator, nearer: float) -> None:
        self.reading, self.rng, self.nearer = reading, rng, nearer

    def text(self) -> str:
        """Return the wording."""
        reading = self.reading
        where = self._where()
        content = self._framed(self._content(verb=bool(where)))
        if where and self._now(0.06) and not reading.framing:
            content = f"{where}, {content}"
        elif where:
            content += (", " if self._now(0.12) else " ") + where
        if reading.style:
            content = self._pick(_style_phrases(reading.style)).format(x=content)
        if self._now(0.06):
            content += self._pick(_ENDINGS)
        return self._cased(content)

    def _now(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def _pick(self, names: Sequence[str]) -> str:
        return names[int(self.rng.integers(len(names)))]

    def _content(self, verb: bool) -> str:
        """Return the nouns and what stands between them; a `verb` may follow where a place does."""
        nouns = self.reading.nouns
        phrases = [self._noun(noun) for noun in nouns]
        if len(nouns) == 1:
            lively = verb and not self.reading.framing and self._now(0.15)
            return f"{phrases[0]} {self._pick(_VERBS)}" if lively else phrases[0]
        if self.reading.relations:
            kind = self.reading.relations[0].kind
            link = kind if self._now(0.5) else self._pick(_LINKS[kind])
            return f"{phrases[0]} {link} {phrases[1]}"
        last = " and " if self._now(0.85) else " & "
        return ", ".join(phrases[:-1]) + last + phrases[-1]

    def _noun(self, noun: Noun) -> str:
        many = self.reading.framing in ("field", "pattern") and noun.count == MOST
        plural = noun.count > 1
        name = self._name(noun)
        words = [self._pick(_ADJECTIVES)] if self._now(0.06) else []
        words += [self._pick(_SIZES[noun.size])] if noun.size else []
        words += [self._color(noun.color)] if noun.color else []
        words.append(pluralize(name) if plural else name)
        phrase = " ".join(words)
        if many or (not plural and self._now(0.15)):
            return phrase
        if plural:
            return f"{noun.count if self._now(0.2) else _NUMBERS[noun.count]} {phrase}"
        lead = article(phrase, noun.subject)
        return " ".join(word for word in ("the" if lead and self._now(0.1) else lead, phrase) if word)

    def _name(self, noun: Noun) -> str:
        if noun.kind != "subject" or self._now(_PLAIN):
            return noun.subject
        near = self._now(self.nearer) and _names(noun.subject, nearer=True)
        others = near or _names(noun.subject, nearer=False)
        return self._pick(others) if others else noun.subject

    def _color(self, color: str) -> str:
        return color if self._now(0.8) else self._pick(_shades()[color])

    def _framed(self, content: str) -> str:
        framing = self.reading.framing
        return content if framing is None else self._pick(_FRAMES[framing]).format(content)

    def _where(self) -> str:
        """Return place, season, weather and time, as far as they are said."""
        reading, second = self.reading, load_second()
        words = []
        if reading.setting:
            words.append(self._pick(_places()[reading.setting]) if self._now(0.5) else reading.setting)
        if reading.background:
            words.append(self._pick(_BACKGROUNDS).format(reading.background))
        if reading.season:
            words.append(self._pick(second.seasons[reading.season].phrases))
        if reading.weather:
            words.append(self._pick(_weathers()[reading.weather]))
        if reading.time:
            words.append(self._pick(second.times[reading.time].phrases))
        return " ".join(words)

    def _cased(self, text: str) -> str:
        chance = self.rng.random()
        if chance < 0.55:
            text = text.lower()
        elif chance < 0.8:
            text = text[0].upper() + text[1:]
        elif chance < 0.83:
            text = text.title()
        elif chance < 0.85:
            text = text.upper()
        return text + "." if self._now(0.06) else text


@lru_cache(maxsize=4096)
def _names(subject: str, nearer: bool) -> tuple[str, ...]:
    """Return other words for a subject that `read` takes for it, one and several; `nearer`: those it tells of."""
    return tuple(word for word in _words(nearer).get(subject, ()) if _holds(word, subject))


def _holds(word: str, subject: str) -> bool:
    """Whether a word and its plural mean a subject; looked up, since reading unknown words takes long."""
    if is_plural(word) != is_plural(subject):
        return False
    lexicon = lexicons.load()
    entries = [lexicon.find(key(form)) for form in (word, pluralize(word))]
    return all(entry is not None and entry.value == ("subject", subject) for entry in entries)


@lru_cache(maxsize=2)
def _words(nearer: bool) -> Mapping[str, tuple[str, ...]]:
    """Return the words of the lexicon for every subject."""
    lexicon = lexicons.load()
    if not nearer:
        return lexicon.subjects
    by_subject: dict[str, list[str]] = {}
    for words, entry in lexicon.entries.items():
        if entry.kind == "noun" and entry.notable and not entry.plural and entry.alternative is None:
            by_subject.setdefault(entry.value[1], []).append(words)
    return {subject: tuple(words) for subject, words in by_subject.items()}


@lru_cache(maxsize=1)
def _shades() -> Mapping[str, tuple[str, ...]]:
    """Return the words for every color that mean nothing else."""
    shades: dict[str, list[str]] = {}
    for words, entry in lexicons.load().entries.items():
        if entry.kind == "color" and entry.alternative is None:
            shades.setdefault(entry.value, []).append(words)
    return {color: tuple(words) for color, words in shades.items()}


@lru_cache(maxsize=1)
def _places() -> Mapping[str, tuple[str, ...]]:
    """Return the phrases for every setting, the first one its name."""
    second = load_second().settings
    named = {name: (*_PLACES.get(name, ()), *(second[name].synonyms if name in second else ())) for name in SETTINGS}
    return {
        name: (name, *(phrase for phrase in phrases if read(f"a cat {phrase}").setting == name))
        for name, phrases in named.items()
    }


@lru_cache(maxsize=1)
def _weathers() -> Mapping[str, tuple[str, ...]]:
    return {
        name: tuple(p for p in condition.phrases if read(f"a cat in the city {p}").weather == name)
        for name, condition in load_second().weathers.items()
    }


@lru_cache(maxsize=16)
def _style_phrases(style: str) -> tuple[str, ...]:
    """Return templates with {x} that say a style and change nothing else."""
    phrases = load_second().all_styles[style].phrases
    templates = [t.format(x="{x}", bare="{x}", s=style) for t in (*phrases, *_STYLED)]
    trial = read("two cats on the beach")
    fitting = (t for t in dict.fromkeys(templates) if _changes_nothing(t, trial, style))
    return (f"{{x}}, {style}", *fitting)


def _changes_nothing(template: str, trial: Reading, style: str) -> bool:
    reading = read(template.format(x=trial.text))
    nouns = [(noun.subject, noun.count) for noun in reading.nouns]
    return (nouns, reading.setting, reading.style) == ([("cat", 2)], trial.setting, style)
