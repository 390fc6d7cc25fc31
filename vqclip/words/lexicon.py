"""Every word that is understood, and what it means: `Lexicon.find` looks up one to several words at once."""

from __future__ import annotations

import configparser
import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from vqclip import resources
from vqclip.words.inflection import is_plural, pluralize, singulars, verb_forms
from vqclip.words.tokens import key

# what a subject of the table is where it is the scene of a picture, not a thing in it
PLACES = ("beach", "city", "desert", "sunset", "sunrise", "rain")
# what may follow the head of a name: "glasses of wine", "men with a beard"
_JOINT = re.compile(r" (?:of|in|with|on|behind|getting|covering|full|without) ")


@dataclass(frozen=True)
class Entry:
    """What some words mean.

    `kind` is "noun", "place", "when", "style", "weak style", "framing", "relation", "count", "color", "size", "verb",
    "silent", "without" or "photo". `notable`: whether a notice tells the user of it. `alternative`: another
    meaning that the words around may ask for.
    """

    kind: str
    value: Any = None
    notable: bool = False
    plural: bool = False
    alternative: Entry | None = None


@dataclass(frozen=True, eq=False)
class Lexicon:
    """The tables: entries by their words, emoji by character, names of subjects with what else they are called."""

    entries: Mapping[str, Entry]
    emoji: Mapping[str, str]
    subjects: Mapping[str, tuple[str, ...]]
    shapes: tuple[str, ...]
    sets: Mapping[str, frozenset[str]]  # subjects and words that the grammar treats alike: "clothes", "containers" ...
    collective: Mapping[str, int] = field(default_factory=dict)  # words that mean several, and how many
    sky: str = "blue"
    plurals: Mapping[str, str] = field(default_factory=dict)
    words: frozenset[str] = frozenset()
    longest: int = 7

    def find(self, words: str) -> Entry | None:
        """Return what a key of words means, as it stands or as a plural; None if nothing."""
        entry = self.entries.get(words)
        return entry if entry is not None else self._plural(words)

    def _plural(self, words: str) -> Entry | None:
        if words in self.plurals:
            one = self.entries.get(self.plurals[words])
            return _many(one) if one else None
        joint = _JOINT.search(words)
        head, tail = (words[: joint.start()], words[joint.start() :]) if joint else (words, "")
        before, _, last = head.rpartition(" ")
        for singular in singulars(last):
            entry = self.entries.get(" ".join(part for part in (before, singular) if part) + tail)
            if entry is not None and entry.kind in ("noun", "place", "style", "framing", "count"):
                return _many(entry)
        return None


def _many(entry: Entry) -> Entry:
    return Entry(entry.kind, entry.value, entry.notable, True, entry.alternative)


@lru_cache(maxsize=1)
def load() -> Lexicon:
    """Read the tables that ship with vqclip, once."""
    return build()


def build(by_hand: bool = False) -> Lexicon:
    """Read the tables that ship with vqclip; `by_hand` leaves out what was made from dictionaries."""
    vocabulary = _vocabulary()
    drawings, emoji = _drawings()
    subjects: dict[str, list[str]] = {name: [] for name in drawings}
    shapes = vocabulary["nouns"].pop("shapes")
    entries: dict[str, Entry] = {}
    _add_phrases(entries, vocabulary)
    _add_subjects(entries, subjects, shapes)
    plurals, known = _add_synonyms(entries, subjects, ("nouns", "synonyms")[: 1 if by_hand else 2])
    _add_homographs(entries, vocabulary)
    sets = {name: frozenset(words) for name, words in vocabulary["nouns"].items()}
    sets["swimmers"] = frozenset(vocabulary["water"]["swimmers"])
    collective = {word: int(number) for number, words in vocabulary["collective"].items() for word in words}
    names = {name: tuple(dict.fromkeys(others)) for name, others in subjects.items()}
    sky = vocabulary["sky"]["color"][0]
    return Lexicon(entries, emoji, names, tuple(shapes), sets, collective, sky, plurals, known)


def _vocabulary() -> dict[str, dict[str, list[str]]]:
    """Return the lists of vocabulary.ini by section and name."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=(":",))
    parser.read_string(resources.path("words/vocabulary.ini").read_text("utf-8"))
    return {section: {name: _split(words) for name, words in parser[section].items()} for section in parser.sections()}


def _split(words: str) -> list[str]:
    return [" ".join(word.split()) for word in words.split(",")]


def _drawings() -> tuple[list[str], dict[str, str]]:
    """Return the subjects that are not held out for ever, and the emoji, without selectors, that show them."""
    with resources.path("world/drawings.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["held"] != "subject"]
    emoji: dict[str, str] = {}
    for row in rows:
        source, _, codes = row["id"].partition(":")
        if source == "fluent-3d":
            character = "".join(chr(int(code, 16)) for code in codes.split("-") if code != "fe0f")
            emoji.setdefault(character, row["subject"])
    return list(dict.fromkeys(row["subject"] for row in rows)), emoji


def _add(entries: dict[str, Entry], names: Iterable[str], entry: Entry, over: bool = False) -> None:
    for name in names:
        words = key(name)
        if words and (over or words not in entries):
            entries[words] = entry
            if " of " in words:
                entries.setdefault(words.replace(" of the ", " of "), entry)


def _add_phrases(entries: dict[str, Entry], vocabulary: Mapping[str, Mapping[str, list[str]]]) -> None:
    """Add everything but nouns; what comes first keeps its place."""
    for section, lists in vocabulary.items():
        kind, _, value = section.partition(" ")
        if section.startswith("weak style"):
            kind, value = "weak style", section.removeprefix("weak style ")
        if kind in ("place", "style", "weak style"):
            _add(entries, [value] if kind != "weak style" else [], Entry(kind, value))
            _add(entries, lists.get("same", []), Entry(kind, value))
            _add(entries, lists.get("nearer", []), Entry(kind, value, notable=True))
    _add(entries, vocabulary["water"]["names"], Entry("place", "in water"))
    _add(entries, vocabulary["sky"]["names"], Entry("place", "sky"))
    for name in ("season", "weather", "time"):
        for value, names in vocabulary[name].items():
            _add(entries, names, Entry("when", (name, value)))
    for kind in ("framing", "relation", "color", "size"):
        for value, names in vocabulary[kind].items():
            _add(entries, names, Entry(kind, value))
    for number, names in vocabulary["count"].items():
        _add(entries, names, Entry("count", int(number)))
    _add(entries, ["and", "plus", "as well as", "along with", "and also"], Entry("and"))
    _add(entries, ["between", "in between"], Entry("between"))
    _add(entries, vocabulary["left out"]["without"], Entry("without"))
    _add(entries, vocabulary["left out"]["photographs"], Entry("photo"))
    _add(entries, vocabulary["silent"]["words"], Entry("silent"))
    _add(entries, vocabulary["silent"]["adjectives"], Entry("silent"))
    for verb in vocabulary["silent"]["verbs"]:
        base, third, gerund = verb_forms(verb)
        _add(entries, [base, third], Entry("verb", "finite"))
        _add(entries, [gerund], Entry("verb"))
    _add(entries, vocabulary["silent"]["verb forms"], Entry("verb"))


def _add_subjects(entries: dict[str, Entry], subjects: Iterable[str], shapes: Iterable[str]) -> None:
    """Add the names of what is drawn, which win over everything else."""
    for name in subjects:
        if name not in PLACES:
            entry = Entry("noun", ("subject", name))
            _add(entries, [name], entry, over=True)
            one_word = key(name).replace(" ", "") if name.count(" ") == 1 else name
            _add(entries, [one_word, name.replace("'s", "s")], entry)
    for name in shapes:
        _add(entries, [name], Entry("noun", ("shape", name)), over=name not in subjects)
    _add(entries, ["star shaped"], Entry("noun", ("shape", "star shape")), over=True)


def _add_synonyms(
    entries: dict[str, Entry], subjects: dict[str, list[str]], tables: Iterable[str]
) -> tuple[dict[str, str], frozenset[str]]:
    """Add the table that was made by hand and the one from dictionaries; return plurals and words that mean nothing."""
    plurals: dict[str, str] = {}
    mere: set[str] = set()
    for table in tables:
        for line in resources.path(f"words/{table}.tsv").read_text("utf-8").splitlines():
            if line.startswith("#"):
                continue
            words, value, kind = line.split("\t")
            if kind == "plural":
                plurals[words] = value
            elif kind == "word":
                mere.add(words)
                if table == "nouns":
                    entries.setdefault(key(words), Entry("unknown"))
            elif value in subjects:
                _add_synonym(
                    entries, words, Entry("noun", ("subject", value), notable=kind == "nearer"), table == "nouns"
                )
                if kind == "same":
                    subjects[value].append(words)
    return plurals, frozenset(mere)


def _add_synonym(entries: dict[str, Entry], words: str, entry: Entry, by_hand: bool) -> None:
    """Add a word for a subject: by hand it wins over places and adjectives, but not over a subject's own name."""
    name = key(words) if by_hand else words
    here = entries.get(name)
    if here is None or (by_hand and here.kind not in ("noun", "relation", "and", "count")):
        entries[name] = entry


def _add_homographs(entries: dict[str, Entry], vocabulary: Mapping[str, Mapping[str, list[str]]]) -> None:
    """Give words of two meanings both: colors that are things, nouns that are verbs, mountains."""
    for value, names in vocabulary["color"].items():
        for words in map(key, names):
            here = entries[words]
            if here.kind == "noun":
                entries[words] = replace(here, alternative=Entry("color", value))
    for verb in vocabulary["silent"]["verbs"]:
        base, third, _ = verb_forms(verb)
        nouns = [entry for name in (base, *singulars(third)) if (entry := entries.get(name)) and entry.kind == "noun"]
        if nouns:
            entries[third] = replace(nouns[0], plural=True, alternative=Entry("verb"))
            if entries[base].kind == "noun":
                entries[base] = replace(entries[base], alternative=Entry("verb"))
    if "building" in entries:
        entries["building"] = replace(entries["building"], alternative=Entry("verb"))
    # "a black and white cow" is no black cow, and no sketch
    entries["black and white"] = replace(entries["black and white"], alternative=Entry("unknown"))
    for places, one in (("mountains", "mountain"), ("woods", "wood")):
        entries[places] = replace(entries[places], alternative=replace(entries[one], plural=True))


def like_entries(names: Iterable[str]) -> dict[str, Entry]:
    """Return the entries of the user's own things: names as they were given, singular and plural."""
    entries: dict[str, Entry] = {}
    for name in names:
        words = key(name)
        if words:
            entries.setdefault(words, Entry("noun", ("own", name)))
    for name in names:
        words = key(name)
        if words and not is_plural(words):
            entries.setdefault(pluralize(words), Entry("noun", ("own", name), plural=True))
    return entries
