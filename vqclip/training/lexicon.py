"""Builds `words/synonyms.tsv`: what WordNet and emojibase know of the subjects beyond what is written by hand.

    python -m vqclip.training.lexicon --wordnet DIR --emojibase DIR

DIR are the unpacked Debian package `wordnet-base` (its folder with `data.noun`) and npm package `emojibase-data` (its
folder `en`). Rows are word, value, kind: "same" (another word for the subject), "nearer" (a kind of it, told to the
user), "plural" (an irregular plural and its singular) and "word" (a real word that is close to a known one: it is
named as unknown, never corrected as a typing error).
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from vqclip import resources
from vqclip.atomic import write_text
from vqclip.errors import UsageError
from vqclip.words import lexicon as lexicons
from vqclip.words.inflection import pluralize, singulars, verb_forms
from vqclip.words.lexicon import Entry, Lexicon
from vqclip.words.suggest import correct
from vqclip.words.tokens import key

TARGET = "words/synonyms.tsv"
HEADER = (
    "# Made by vqclip/training/lexicon.py from WordNet 3.0 and emojibase: see checkpoints/LICENSE.txt. Do not edit.\n"
)

# lexicographer files of things that can be drawn: animal, artifact, body, food, object, phenomenon, plant; and person
_DRAWN, _PERSON = frozenset({5, 6, 8, 13, 17, 19, 20}), 18
_STEPS = 2  # hypernyms up to the subject
# subjects that stand for a whole kind of beings: their kinds are found further down
_KINDS = {
    "bird": 7, "fish": 7, "dog": 5, "cat": 4, "tree": 4, "flower": 4, "person": 3, "snake": 5, "monkey": 5, "lizard": 5,
    "spider": 4, "butterfly": 4, "beetle": 4, "horse": 5, "mushroom": 4, "duck": 3, "shark": 5, "frog": 4, "whale": 4,
    "dinosaur": 5, "palm tree": 3, "fern": 3, "pine tree": 4, "turtle": 4, "owl": 3, "car": 3, "ship": 3, "boat": 3,
    "hat": 3, "crab": 3, "antelope": 3, "cow": 3, "sheep": 3, "woman": 3, "man": 3,
}  # fmt: skip
# subjects that are people, though their names have another sense that can be drawn
_PEOPLE = frozenset(
    {"artist", "doctor", "farmer", "groom", "judge", "mechanic", "nurse", "pilot", "runner", "sailor", "singer"}
    | {
        "student",
        "teacher",
        "climber",
        "cowboy",
        "detective",
        "diver",
        "jester",
        "clown",
        "dancer",
        "swimmer",
        "person",
    }
)
# which sense a subject's name has in WordNet, where it is not the first that can be drawn; 0: none of them
_SENSES = {
    "abacus": 2, "alien": 3, "barrel": 2, "cake": 3, "carousel": 2, "child": 0, "chocolate": 2, "clown": 2, "coral":
    4, "crown": 4, "dock": 3, "dolphin": 2, "egg": 2, "fire": 0, "ghost": 3, "hammer": 2, "hedgehog": 2, "hut": 2,
    "lime": 6, "magnolia": 2, "olive": 4, "peach": 3, "peacock": 2, "person": 1, "plate": 4, "plum": 2, "queen": 2,
    "ring": 0, "rock": 1, "school": 2, "scooter": 3, "seahorse": 2, "seal": 0, "shield": 2, "shrimp": 3, "star": 0,
    "table": 2, "television": 3, "toilet": 2, "volcano": 2, "wheat": 1, "witch": 1, "wizard": 2, "cloud": 0,
    "sponge": 0, "moon": 0, "bank": 0, "battery": 0, "beach": 0, "bell pepper": 0, "bolt": 0, "bone": 0, "bow": 0,
    "brain": 0, "christmas tree": 0, "city": 0, "coin": 1, "desert": 0, "ear": 0, "eye": 0, "eyes": 0, "foot": 0,
    "gear": 0, "hand": 0, "herb": 0, "iron": 0, "jupiter": 0, "keyboard": 0, "king": 1, "kiwi": 0, "leg": 0, "mars":
    0, "memo": 0, "merman": 0, "microwave": 2, "monitor": 0, "mouse": 1, "neptune": 0, "nose": 0, "notebook": 0,
    "phoenix": 0, "planet": 0, "pluto": 0, "plunger": 0, "pyramid": 0, "rain": 0, "rake": 0, "shooting star": 0,
    "slide": 0, "siren": 0, "sun": 0, "sunrise": 0, "sunset": 0, "tongue": 0, "tooth": 0, "uranus": 0, "urn": 0,
    "venus": 0, "wagon": 1, "well": 0, "wheel": 0, "wood": 0, "chain": 0, "devil": 1, "baby": 0, "boy": 0, "girl":
    0, "yarn": 0, "salt": 0, "oil lamp": 1, "sparkler": 1, "lantern": 1, "lips": 0, "skull": 0, "moustache": 0,
    "sari": 1, "tepee": 1, "egg timer": 0, "crystal ball": 1, "milk": 0, "honey": 0, "pill": 0, "satellite": 1,
    "candy": 1, "reed": 0, "fly": 1, "antenna": 0, "box": 1, "fort": 1, "robot": 1, "bull": 1, "razor": 1, "turtle":
    2, "skunk": 4, "mug": 4, "swallow": 3, "runner": 2, "joystick": 0, "heart": 0, "dragon": 1, "crane": 0,
}  # fmt: skip
# what subjects are called in WordNet, where it is something else
_CALLED = {
    "desk lamp": "lamp", "rescue helmet": "helmet", "potted plant": "houseplant", "axe": "ax", "pancakes": "pancake",
    "grapes": "grape", "beans": "bean", "blueberries": "blueberry", "cherries": "cherry", "bowl of soup": "soup",
    "cup of tea": "tea", "peanuts": "peanut", "t-rex": "tyrannosaur", "donut": "doughnut", "sandals": "sandal",
    "socks": "sock", "gloves": "glove", "trousers": "trouser", "firecracker": "firecracker", "piano keys": "",
}  # fmt: skip
_QUALIFIERS = ("color", "size", "silent", "when", "verb", "relation", "count")
_RUDE = re.compile(
    "slur|offensive|disparaging|derogatory|obscene|vulgar|slang|prostitut|sexual|pervert|drug|excrement|insult|contempt"
    "|stupid|mistress|whore|racist"
)
# abuse that WordNet does not mark: whoever types it gets no picture for it
_ABUSE = re.compile(
    r"\b(?:bitch|cocksucker|coon|cretin|cripple|cunt|eunuch|idiot|imbecile|moron|mulatto|pisser|prickteaser|redneck"
    r"|retard|savage|shitter|whoreson|pseudohermaphrodite|terrorist|cyber terrorist|half breed|asshole)\b"
)

Meanings = dict[str, tuple[str, str]]  # a word, its subject, and "same" or "nearer"


@dataclass
class WordNet:
    """Nouns of WordNet: lemma -> senses in order, synset -> lemmas, hypernyms and lexicographer file."""

    senses: dict[str, list[str]] = field(default_factory=dict)
    lemmas: dict[str, list[str]] = field(default_factory=dict)
    above: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    counts: dict[tuple[str, int], int] = field(default_factory=dict)
    plurals: dict[str, str] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    rude: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, folder: Path) -> WordNet:
        """Read `data.noun`, `index.*`, `noun.exc` and `cntlist.rev` of a folder."""
        net = cls()
        for line in _lines(folder / "data.noun"):
            pointers, _, gloss = line.partition("|")
            net._synset(pointers.split(), gloss)
        for kind in ("noun", "verb", "adj", "adv"):
            for line in _lines(folder / f"index.{kind}"):
                parts = line.split()
                net.words |= _forms(parts[0], kind)
                if kind == "noun":
                    net.senses[parts[0].replace("_", " ")] = parts[-int(parts[2]) :]
        for line in _lines(folder / "cntlist.rev"):
            sense, number, count = line.split()
            lemma, _, rest = sense.partition("%")
            if rest.startswith("1:"):
                net.counts[lemma.replace("_", " "), int(number)] = int(count)
        for line in _lines(folder / "noun.exc"):
            plural, singular = line.split()[:2]
            net.plurals[plural.replace("_", " ")] = singular.replace("_", " ")
        return net

    def _synset(self, parts: list[str], gloss: str) -> None:
        name, count = parts[0], int(parts[3], 16)
        self.files[name] = int(parts[1])
        self.lemmas[name] = [parts[4 + 2 * i].replace("_", " ") for i in range(count)]
        if _RUDE.search(gloss):
            self.rude.add(name)
        pointers = parts[5 + 2 * count :]
        self.above[name] = [pointers[i + 1] for i in range(0, len(pointers) - 3, 4) if pointers[i] == "@"]

    def ancestors(self, synset: str, most: int) -> Iterator[tuple[str, int]]:
        """Yield a synset and what lies above it with the number of steps, the nearest first."""
        level, seen = [synset], {synset}
        for steps in range(most + 1):
            yield from ((name, steps) for name in level)
            level = [name for below in level for name in self.above.get(below, ()) if name not in seen]
            seen.update(level)


def _lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}; give the folder of WordNet 3.0's data.noun") from None
    return (line for line in text.splitlines() if line.strip() and not line.startswith("  "))


def _forms(word: str, kind: str) -> set[str]:
    if not (word.isascii() and word.isalpha()):
        return set()
    if kind == "noun":
        return {word, pluralize(word)}
    if kind == "verb":
        return {*verb_forms(word), word.removesuffix("e") + "ed"}
    return {word}


def subject_synsets(net: WordNet, lexicon: Lexicon) -> dict[str, str]:
    """Return synsets and the subjects that they mean, one for every subject that WordNet has."""
    synsets: dict[str, str] = {}
    for subject in lexicon.subjects:
        name, chosen = _CALLED.get(subject, subject), _SENSES.get(subject)
        senses = net.senses.get(name, [])
        exact = [sense for sense in senses if name in net.lemmas[sense]]
        people = [sense for sense in exact if net.files[sense] in (_PERSON, 3)]
        things = [sense for sense in exact if net.files[sense] in _DRAWN]
        drawn = people if subject in _PEOPLE else things or people
        if chosen is not None:
            drawn = senses[chosen - 1 : chosen] if chosen else []
        if drawn:
            synsets.setdefault(drawn[0], subject)
    return synsets


def nouns(net: WordNet, lexicon: Lexicon) -> Meanings:
    """Return nouns that are not known yet, each with its subject and "same" or "nearer"."""
    synsets = subject_synsets(net, lexicon)
    meanings: Meanings = {}
    for lemma in sorted(net.senses, key=lambda lemma: (lemma.count(" "), lemma)):
        words = key(lemma)
        if not re.fullmatch(r"[a-z]+( [a-z]+){0,2}", words) or len(words) < 3 or lexicon.find(words) is not None:
            continue
        meaning = None if _ABUSE.search(words) else _meaning(net, synsets, lemma)
        if meaning is not None and not _read_word_by_word(words, meaning, lexicon, meanings):
            meanings[words] = meaning
    return meanings


def _meaning(net: WordNet, synsets: dict[str, str], lemma: str) -> tuple[str, str] | None:
    for number, sense in enumerate(net.senses[lemma], 1):
        nearest = _nearest(net, synsets, sense) if _usual(net, lemma, number) and sense not in net.rude else None
        if nearest is None:
            continue
        subject, steps = nearest
        # proper names are of people, and of plants and animals in Latin; breeds have some too
        if lemma not in net.lemmas[sense] and subject not in ("dog", "cat", "horse"):
            return None
        return subject, "nearer" if steps else "same"
    return None


def _read_word_by_word(words: str, meaning: tuple[str, str], lexicon: Lexicon, meanings: Meanings) -> bool:
    """Whether several words say as much one by one ("sugar maple" is a maple), or mostly mean that ("blue cat")."""
    before, several, head = words.rpartition(" ")
    if not several:
        return False
    entry = lexicon.find(head)
    known = entry is not None and entry.kind == "noun"
    qualified = any(word is not None and word.kind in _QUALIFIERS for word in map(lexicon.find, before.split(" ")))
    if qualified and (known or meaning[1] == "nearer"):
        return True
    return meanings.get(head, ("",))[0] == meaning[0] or (entry is not None and entry.value == ("subject", meaning[0]))


def _usual(net: WordNet, lemma: str, number: int) -> bool:
    """Whether a sense is what people mostly mean by a word."""
    first, this = net.counts.get((lemma, 1), 0), net.counts.get((lemma, number), 0)
    if number == 1:
        return True
    return (this * 2 >= first and this > 0) or (first == 0 and number == 2)


def _nearest(net: WordNet, synsets: dict[str, str], sense: str) -> tuple[str, int] | None:
    for name, steps in net.ancestors(sense, max(_KINDS.values())):
        subject = synsets.get(name)
        if subject is not None:
            return (subject, steps) if steps <= _KINDS.get(subject, _STEPS) else None
    return None


def labels(folder: Path, lexicon: Lexicon, taken: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return names of emoji that are not known yet, each with the subject that the emoji shows.

    Their tags stay out: "gang" stands there for a bicycle, "edge" for a ruler.
    """
    try:
        records = json.loads((folder / "data.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read {folder / 'data.json'}: {error}; give the folder 'en' of emojibase-data"
        ) from None
    known, meanings = set(taken), {}
    for record in records:
        word, subject = key(record["label"]), lexicon.emoji.get(record["emoji"].replace("\ufe0f", ""))
        first = lexicon.entries.get(word.split(" ")[0])
        plain = re.fullmatch(r"[a-z]{3,}( [a-z]+){0,2}", word) and not word.endswith("oclock")
        colored = first is not None and (first.kind == "color" or first.alternative is not None)
        doing = re.match(r"(?:wo)?m[ae]n \w+ing\b|person \w+ing\b", word)  # the grammar reads it: who, and what he does
        if subject and plain and not colored and not doing and word not in known and lexicon.find(word) is None:
            meanings[word] = subject, "same"
    return meanings


def irregular(net: WordNet, lexicon: Lexicon, known: Iterable[str]) -> dict[str, str]:
    """Return irregular plurals of known nouns that the rules of spelling do not find."""
    names = set(known)
    return {
        plural: singular
        for plural, singular in net.plurals.items()
        if plural not in names
        and (singular in names or singular in lexicon.entries)
        and singular not in singulars(plural.rpartition(" ")[2])
        and lexicon.find(plural) is None
        and re.fullmatch("[a-z ]+", plural)
        and plural != singular
    }


def real_words(net: WordNet, lexicon: Lexicon, known: Iterable[str]) -> list[str]:
    """Return English words that are unknown, but close enough to a known one to be taken for a typing error."""
    names = set(known)
    return sorted(
        word
        for word in net.words
        if word not in names
        and lexicon.find(word) is None
        and not any(one in names for one in singulars(word))
        and correct(word, lexicon) is not None
    )


def build(wordnet: Path, emojibase: Path) -> str:
    """Return the table as text, without what the shipped one says: only the tables by hand are built upon."""
    net = WordNet.read(wordnet)
    lexicon = lexicons.build(by_hand=True)
    rows = nouns(net, lexicon)
    rows |= labels(emojibase, lexicon, rows)
    lines = [f"{word}\t{subject}\t{kind}" for word, (subject, kind) in sorted(rows.items())]
    plurals = irregular(net, lexicon, rows)
    lines += [f"{plural}\t{singular}\tplural" for plural, singular in sorted(plurals.items())]
    full = replace(lexicon, entries={**lexicon.entries} | {word: _entry(*row) for word, row in rows.items()})
    lines += [f"{word}\t\tword" for word in real_words(net, full, {**rows, **plurals})]
    return HEADER + "\n".join(lines) + "\n"


def _entry(subject: str, kind: str) -> Entry:
    return Entry("noun", ("subject", subject), notable=kind == "nearer")


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--emojibase", type=Path, required=True)
    parser.add_argument("--output", type=Path, help=f"default: the shipped {TARGET}")
    chosen = parser.parse_args()
    try:
        text = build(chosen.wordnet, chosen.emojibase)
    except UsageError as error:
        parser.exit(error.exit_code, f"{error}\n")
    write_text(chosen.output or resources.path(TARGET), text)


if __name__ == "__main__":
    main()
