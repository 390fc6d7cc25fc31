"""The grammar of prompts: `text:weight:stop | text | ...`, with nothing ever evaluated or opened.

`:number` is peeled from the right at most twice, unless a digit stands before the colon (`8:30` stays text). `\\:` and
`\\|` are a literal colon and bar. Texts that exceed CLIP's context are split at commas and full stops and averaged.
Brackets that weigh a prompt in other programs, `(a cat:1.3)`, `((a cat))` and `[a cat]`, weigh it here too.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vqclip.errors import UsageError

NO_STOP = -math.inf
MAX_LENGTH = 20_000
# as large as any other weight of vqclip; float32 and the optimizers compute with it
LARGEST_WEIGHT = 1e6
NEGATIVE_WEIGHT = -0.3
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
# emoji and other pictures with what joins and colors them; letters and punctuation are none
_EMOJI = re.compile(
    "[\u2190-\u2bff\u3030\u303d\u3297\u3299\ue000-\uf8ff\U0001f000-\U0001faff\U000e0000-\U0010ffff]"
    "[\ufe0e\ufe0f\u200d\u20e3\u2640\u2642\U0001f000-\U0001faff]*"
)
_NUMBER = r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\s*"
# one or two numbers at the end, unless a digit stands before the first colon
_SUFFIX = re.compile(rf"(?<![0-9])(?::{_NUMBER}){{1,2}}$")
# a number in the place of the weight with something else in the place of the stop
_BROKEN = re.compile(rf"(?<![0-9]):{_NUMBER}:(?P<tail>[^:]*)$")
# Unicode's noncharacters stand for escaped ones while a prompt is taken apart
_ESCAPED = {":": "\ufdd0", "|": "\ufdd1", "(": "\ufdd2", ")": "\ufdd3", "[": "\ufdd4", "]": "\ufdd5"}
_ESCAPE = re.compile(r"\\([:|()\[\]])")
# what a bracket around a text weighs, as in the program that the syntax comes from, and how many are taken off
_ROUND, _SQUARE, _DEEPEST = 1.1, 1 / 1.1, 16
_LONGEST_NUMBER = 60
# a weight at the end of a bracket: a fraction also after a digit, as no time of the day has one
_INNER = rf"(?:(?<![0-9]):{_NUMBER}|(?<=[0-9]):\s*\d*\.\d+\s*)"
_WEIGHED = re.compile(rf"{_INNER}$")
# brackets that weigh a part of a text, and can be no mere brackets: with a weight, or doubled
_PARTLY = re.compile(rf"\((?P<weighed>[^()\[\]:]+){_INNER}\)|\(\((?P<round>[^()]+)\)\)|\[\[(?P<square>[^\[\]]+)\]\]")
# brackets that change a prompt on the way elsewhere, which are text here
_SCHEDULED = re.compile(r"\[[^\[\]]*:[^\[\]]*\]")
# before a colon a digit makes the number text, and a backslash an escape
_NEEDS_BLANK = (*"0123456789", "\\")
_RESTORE = {ord(code): character for character, code in _ESCAPED.items()}


@dataclass(frozen=True)
class Prompt:
    """A text with its weight and stop.

    A negative weight pushes the picture away. A view whose signed distance to the prompt is already below `stop`
    pulls no more.
    """

    text: str
    weight: float = 1.0
    stop: float = NO_STOP

    def __str__(self) -> str:
        """The prompt in its own grammar: `parse(str(p)) == [p]`."""
        text = self.text.replace("|", "\\|").replace(":", "\\:")
        shielded = self.text.replace(":", _ESCAPED[":"])
        if _ESCAPE.search(self.text) or _unbracketed(shielded) != (shielded, 1.0):
            text = re.sub(r"([()\[\]])", r"\\\1", text)
        if self.text.endswith(_NEEDS_BLANK):
            text += " "
        numbers = [] if self.stop == NO_STOP else [self.stop]
        if numbers or self.weight != 1.0:
            numbers.insert(0, self.weight)
        return ":".join([text, *(repr(float(number)) for number in numbers)])


def parse_all(texts: Iterable[str], negative: Iterable[str] = ()) -> list[Prompt]:
    """Parse all prompts of a run; negative ones count with weight -0.3 times their own."""
    prompts = [prompt for text in texts for prompt in parse(text)]
    for text in negative:
        prompts += [Prompt(p.text, NEGATIVE_WEIGHT * p.weight, p.stop) for p in parse(text)]
    return prompts


def parse(text: str) -> list[Prompt]:
    """Parse one command line argument into its prompts.

    Raises UsageError for a blank prompt, one of only weights, and a weight that is no number where one must be.
    """
    if len(text) > MAX_LENGTH:
        raise UsageError(f"a prompt of {len(text)} characters: give at most {MAX_LENGTH}")
    for private in _ESCAPED.values():
        text = text.replace(private, "")
    parts = _ESCAPE.sub(lambda match: _ESCAPED[match[1]], text).split("|")
    prompts = [_parse_one(part) for part in parts if part.strip()]
    if not prompts:
        raise UsageError(f"the prompt {_quoted(text)} is empty: say what to draw, such as 'a cat'")
    return prompts


def written_parts(text: str) -> list[tuple[str, Numbers]]:
    """Return what stands between the bars of a text, as it is written, and the numbers at the end of each part.

    Raises UsageError for a number that is too large.
    """
    for private in _ESCAPED.values():
        text = text.replace(private, "")
    hidden = re.sub(r"\\([:|])", lambda match: _ESCAPED[match[1]], text)
    shown = {ord(code): f"\\{character}" for character, code in _ESCAPED.items()}
    parts = [part.strip() for part in hidden.split("|")]
    return [(part.translate(shown), numbers_of(part)) for part in parts if part]


def parse_image_prompt(text: str) -> Prompt:
    """Read `FILE[:weight[:stop]]`; the file's name stands in the prompt's text."""
    if os.path.exists(text):  # False too for a name that is too long
        return Prompt(text)
    # the grammar of text prompts would clean the name; only its numbers are wanted
    suffix = numbers_of(text)
    return Prompt(text[: len(text) - len(suffix.text)], *suffix.numbers)


@dataclass(frozen=True)
class Numbers:
    """The `:weight:stop` at the end of a text, as written and as numbers."""

    text: str
    numbers: tuple[float, ...]


def numbers_of(text: str) -> Numbers:
    """Return the numbers at the end of a text; none is no error."""
    suffix = _SUFFIX.search(text)
    if suffix is None:
        return Numbers("", ())
    numbers = tuple(float(number) for number in suffix[0][1:].split(":"))
    _check_weights(text, numbers)
    return Numbers(suffix[0], numbers)


def _check_weights(text: str, numbers: Iterable[float]) -> None:
    """Raise UsageError for a weight, or a stop, that is too large to compute with."""
    if not all(abs(number) <= LARGEST_WEIGHT for number in numbers):
        raise UsageError(f"a weight in {_quoted(text)} is too large: give a finite number of at most 1000000")


def remarks(texts: Iterable[str]) -> list[str]:
    """Return what somebody should know of how prompts, which parse, were read: brackets, and what nobody can see."""
    read, invisible, notes = [], [], []
    for text in texts:
        for part in _ESCAPE.sub(lambda match: _ESCAPED[match[1]], text).split("|"):
            plain = clean(part[: len(part) - len(numbers_of(part).text)])
            if _unbracketed(plain) != (plain, 1.0):
                read.append(f"{_quoted(part)} as {_quoted(str(_parse_one(part)))}")
            if _SCHEDULED.search(plain):
                notes.append(
                    f"{_quoted(plain)} changes on the way in other programs; here brackets and number are text"
                )
        invisible += [f"U+{ord(c):04X}" for c in _EMOJI.sub("", text) if unicodedata.category(c) == "Cf"]
    if read:
        listed = ", ".join(read[:4]) + (", ..." if len(read) > 4 else "")
        notes.append(f"brackets weigh whole prompts here, never words in them: read {listed}; \\( is a mere bracket")
    if invisible:
        codes = ", ".join(list(dict.fromkeys(invisible))[:6])
        notes.append(
            f"the prompt holds characters that nobody sees ({codes}) and CLIP reads: type it anew without them"
        )
    return list(dict.fromkeys(notes))


def clean(text: str) -> str:
    """Return a text in Unicode's NFC with control characters and lone surrogates replaced and blanks squeezed."""
    printable = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)
    return " ".join(unicodedata.normalize("NFC", printable).split())


def is_visible(text: str) -> bool:
    """Whether a reader sees anything of a text: blanks, zero-width characters and mere variations are nothing."""
    return any(
        unicodedata.category(c)[0] != "Z" and unicodedata.category(c) != "Cf" and c not in "\ufe0e\ufe0f" for c in text
    )


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, in order."""
    return _WORD.findall(text.lower())


def _seen_of(text: str) -> list[str]:
    """Return the words of a text in lower case and its pictures, such as emoji, in order."""
    return [match[0] for match in re.finditer(rf"{_WORD.pattern}|{_EMOJI.pattern}", text.lower())]


def unknown_words(prompts: Iterable[Prompt], known: frozenset[str]) -> list[str]:
    """Return the words of the prompts that a model does not know, each once; an empty `known` means any word."""
    if not known:
        return []
    words = [word.removesuffix("'s") for prompt in prompts for word in _seen_of(prompt.text)]
    parts = [part for word in words for part in re.split("['-]", word)]
    return list(dict.fromkeys(word for word in parts if word and word not in known))


def unread_scripts(prompts: Iterable[Prompt]) -> list[str]:
    """Return the texts, of prompts of positive weight, whose letters are all of other scripts than the Latin one.

    Nothing is unread where any prompt has a Latin letter, or none has letters.
    """
    texts = [prompt.text for prompt in prompts if prompt.weight > 0]
    letters = [letter for text in texts for letter in text if letter.isalpha()]
    if not letters or any(unicodedata.name(letter, "LATIN").startswith("LATIN") for letter in letters):
        return []
    return texts


def split_long(text: str, limit: int, count_tokens: Callable[[str], int]) -> list[str]:
    """Split a text into parts of at most `limit` tokens, at commas and full stops if it can, else between words.

    A word of over a hundred letters is cut: byte-pair encoding takes time in the square of a word's length. The parts
    are meant to be averaged.
    """
    text = re.sub(r"(\S{100})(?=\S)", r"\1 ", text)
    if count_tokens(text) <= limit:
        return [text]
    parts: list[str] = []
    for clause in re.split(r"(?<=[,.;!?])\s+", text.strip()):
        for piece in _pieces(clause, limit, count_tokens):
            joined = f"{parts[-1]} {piece}" if parts else piece
            if parts and count_tokens(joined) <= limit:
                parts[-1] = joined
            else:
                parts.append(piece)
    return parts


def _pieces(clause: str, limit: int, count_tokens: Callable[[str], int]) -> list[str]:
    if count_tokens(clause) <= limit:
        return [clause]
    half = len(clause) // 2
    # halve at the blank nearest to the middle; a word without one is cut in the middle
    blanks = [i for i, character in enumerate(clause) if character == " "]
    middle = min(blanks, key=lambda i: abs(i - half)) if blanks else half
    if middle <= 0 or len(clause) < 2:
        return [clause[: max(half, 1)]]
    halves = (clause[:middle].strip(), clause[middle:].strip())
    return [piece for part in halves if part for piece in _pieces(part, limit, count_tokens)]


def _parse_one(part: str) -> Prompt:
    """Parse one part, in which escaped characters are private ones."""
    suffix = numbers_of(part)
    if not suffix.numbers and (field := _BROKEN.search(part)):
        raise UsageError(
            f"{_quoted(field['tail'])} after {_quoted(part[: field.start('tail')])} is no number: a prompt is "
            "text:weight:stop, and a colon that belongs to the text is written \\:"
        )
    text, factor = _unbracketed(clean(part[: len(part) - len(suffix.text)]))
    text = clean(text.translate(_RESTORE))
    if not is_visible(text):
        raise UsageError(f"the prompt {_quoted(part)} has no text: say what to draw before the colon, such as 'a cat'")
    weight, *stop = suffix.numbers or (1.0,)
    _check_weights(part, [weight * factor])
    return Prompt(text, weight * factor, *stop)


def _unbracketed(text: str) -> tuple[str, float]:
    """Return a text without the brackets that weigh it, or a part of it, and the weight of those around the whole.

    Parts of a text cannot be weighed: their brackets and numbers go. Single brackets within a text belong to it.
    """
    factor, closing = 1.0, _closing(text)
    start, end = 0, len(text)
    for _ in range(_DEEPEST):
        left, right = start + 1, end - 1
        if (
            closing.get(start) != right
            or not text[left:right].strip()
            or (text[start] == "[" and ":" in text[left:right])
        ):
            break
        weighed = _WEIGHED.search(text[left:right], max(right - left - _LONGEST_NUMBER, 0))
        factor *= float(weighed[0][1:]) if weighed else _ROUND if text[start] == "(" else _SQUARE
        right = left + weighed.start() if weighed else right
        start, end = left + _blanks(text[left:right]), right - _blanks(text[left:right][::-1])
    return _PARTLY.sub(lambda m: m["weighed"] or m["round"] or m["square"], text[start:end]), float(f"{factor:.6g}")


def _closing(text: str) -> dict[int, int]:
    """Return where each bracket that is opened is closed, round and square ones each among themselves."""
    opened: dict[str, list[int]] = {")": [], "]": []}
    closing = {}
    for place, character in enumerate(text):
        if character in "([":
            opened[")" if character == "(" else "]"].append(place)
        elif opened.get(character):
            closing[opened[character].pop()] = place
    return closing


def _blanks(text: str) -> int:
    return len(text) - len(text.lstrip())


def _quoted(text: str) -> str:
    short = clean(text.translate(_RESTORE))
    return repr(short if len(short) <= 40 else short[:37] + "...")
