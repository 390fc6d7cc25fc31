"""Plurals, singulars and articles of English nouns, and the forms of verbs."""

from __future__ import annotations

import re

IRREGULAR = {
    "man": "men", "woman": "women", "child": "children", "person": "people", "mouse": "mice", "goose": "geese",
    "foot": "feet", "tooth": "teeth", "wolf": "wolves", "leaf": "leaves", "knife": "knives", "elf": "elves",
    "loaf": "loaves", "shelf": "shelves", "half": "halves", "calf": "calves", "thief": "thieves", "life": "lives",
    "wife": "wives", "scarf": "scarves", "hoof": "hooves", "dwarf": "dwarves", "ox": "oxen", "cactus": "cacti",
    "die": "dice", "sheep": "sheep", "deer": "deer", "fish": "fish", "bison": "bison", "moose": "moose",
    "shrimp": "shrimp", "squid": "squid", "salmon": "salmon", "swine": "swine", "aircraft": "aircraft",
    "potato": "potatoes", "tomato": "tomatoes", "hero": "heroes", "superhero": "superheroes", "mango": "mangoes",
    "torpedo": "torpedoes", "mosquito": "mosquitoes", "volcano": "volcanoes", "tornado": "tornadoes",
    "buffalo": "buffaloes",
    "octopus": "octopuses", "bus": "buses", "suv": "suvs", "ninja": "ninja", "dango": "dango",
}  # fmt: skip
_SINGULAR = {
    **{many: one for one, many in IRREGULAR.items()},
    **{"persons": "person", "fishes": "fish", "cactuses": "cactus", "octopi": "octopus", "scarfs": "scarf"},
    **{"mangos": "mango", "volcanos": "volcano", "mosquitos": "mosquito", "leafs": "leaf", "ninjas": "ninja"},
    **{"hippopotami": "hippopotamus", "dwarfs": "dwarf", "hoofs": "hoof", "shrimps": "shrimp", "squids": "squid"},
    **{"buffalos": "buffalo", "tornados": "tornado", "mothers": "mother"},
}
# names of things that come without "a": stuffs, and what is one of its kind; the others in -s are plurals
_STUFF = frozenset(
    {"bread", "corn", "broccoli", "cheese", "fire", "lightning", "santa claus", "coffee", "bacon", "bamboo", "butter"}
    | {"candy", "chocolate", "coral", "confetti", "custard", "dna", "fondue", "garlic", "honey", "lettuce", "milk"}
    | {"paella", "pasta", "popcorn", "rain", "salt", "sushi", "toilet paper", "wheat", "wind", "wood", "yarn", "karate"}
    | {"jupiter", "mars", "neptune", "pluto", "saturn", "uranus", "venus", "earth", "mrs. claus", "ice hockey"}
    | {"lacrosse", "liquid soap", "mate tea", "stew", "steak", "salad", "polka dots", "stripes", "oden", "soda"}
    | {"people hugging", "bubble tea", "weight lifter", "clapping hands", "crossed swords", "fingerprint"}
) - {"weight lifter", "fingerprint", "steak", "salad", "stew", "soda"}
_SINGULAR_IN_S = frozenset(
    {"bus", "cactus", "octopus", "compass", "dress", "grass", "hippopotamus", "hibiscus", "lotus", "walrus", "glass"}
    | {"moss", "iris", "crocus", "cross", "platypus", "school bus", "trolleybus", "bass", "rhinoceros", "abacus"}
    | {"magnifying glass", "praying mantis", "mantis", "santa claus", "circus", "princess", "address", "gas", "atlas"}
)
_THE = frozenset({"sun", "moon", "eiffel tower", "statue of liberty", "milky way"})


def article(phrase: str, subject: str) -> str:
    """Return "a", "an", "the" or "" for a phrase about a subject, such as "red moon"."""
    if subject in _STUFF or is_plural(subject):
        return ""
    if subject in _THE and phrase == subject:
        return "the"
    return "an" if phrase[0] in "aeio" or phrase.startswith(("umb", "urn", "hour")) else "a"


def is_plural(name: str) -> bool:
    """Whether a name is a plural already: "glasses", "stack of books" is not."""
    head = re.split(r" (?:of|in|with|without|behind|and|on) ", name)[0]
    last = head.split()[-1] if head else name
    if head in _SINGULAR_IN_S or last in _SINGULAR_IN_S:
        return False
    if last == "skis" or (last in _SINGULAR and last not in IRREGULAR):
        return True
    return last.endswith("s") and not last.endswith(("ss", "us", "is", "'s"))


def pluralize(name: str) -> str:
    """Return the plural of a name; its head is the last word, or the last before "of", "in" or "with"."""
    match = re.match(r"(.+?)( (?:of|in|with|without|covering|getting|behind|on) .+)$", name)
    head, tail = (match.group(1), match.group(2)) if match else (name, "")
    if is_plural(name):
        return name
    *first, last = head.split(" ")
    return " ".join([*first, _plural_word(last)]) + tail


def _plural_word(word: str) -> str:
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("man") and word not in ("human", "german", "caiman", "talisman"):
        return word[:-2] + "en"
    return _regular(word)


def _regular(word: str) -> str:
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "z", "ch", "sh")) else "s")


def singulars(word: str) -> list[str]:
    """Return what a word may be the plural of, the likeliest first; nothing if it cannot be a plural."""
    if word in _SINGULAR:
        return [_SINGULAR[word]]
    if word.endswith("men") and len(word) > 4:
        return [word[:-2] + "an"]
    if len(word) < 3 or not word.endswith("s") or word.endswith("ss"):
        return []
    candidates = [word[:-1]]
    if word.endswith("ies") and len(word) > 4:
        candidates.insert(0, word[:-3] + "y")
    elif word.endswith("ves"):
        candidates += [word[:-3] + "f", word[:-3] + "fe"]
    elif word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
        candidates.append(word[:-2])
    if word.endswith("zzes"):
        candidates.append(word[:-3])
    return candidates


def verb_forms(verb: str) -> tuple[str, str, str]:
    """Return the forms of a regular verb: "sit", "sits", "sitting"."""
    third = _regular(verb)
    if verb.endswith("ie"):
        return verb, third, verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return verb, third, verb[:-1] + "ing"
    doubled = re.search(r"^[^aeiou]*[aeiou][^aeiouwxy]$", verb)
    return verb, third, (verb + verb[-1] if doubled else verb) + "ing"
