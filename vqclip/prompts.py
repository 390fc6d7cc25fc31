"""The grammar of prompts: `text:weight:stop | text | ...`, with nothing ever evaluated or opened.

`:number` is peeled from the right at most twice, unless a digit stands before the colon (`8:30` stays text). `\\:` and
`\\|` are a literal colon and bar. Texts that exceed CLIP's context are split at commas and full stops and averaged.
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
NEGATIVE_WEIGHT = -0.3
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_NUMBER = r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\s*"
# one or two numbers at the end, unless a digit stands before the first colon
_SUFFIX = re.compile(rf"(?<![0-9])(?::{_NUMBER}){{1,2}}$")
# a number in the place of the weight with something else in the place of the stop
_BROKEN = re.compile(rf"(?<![0-9]):{_NUMBER}:(?P<tail>[^:]*)$")
# Unicode's noncharacters stand for escaped ones while a prompt is taken apart
_ESCAPED = {":": "\ufdd0", "|": "\ufdd1"}
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
    parts = re.sub(r"\\([:|])", lambda match: _ESCAPED[match[1]], text).split("|")
    prompts = [_parse_one(part) for part in parts if part.strip()]
    if not prompts:
        raise UsageError(f"the prompt {_quoted(text)} is empty: say what to draw, such as 'a cat'")
    return prompts


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
    if not all(math.isfinite(number) for number in numbers):
        raise UsageError(f"the weight in {_quoted(text)} is too large: give a finite number")
    return Numbers(suffix[0], numbers)


def clean(text: str) -> str:
    """Return a text in Unicode's NFC with control characters and lone surrogates replaced and blanks squeezed."""
    printable = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)
    return " ".join(unicodedata.normalize("NFC", printable).split())


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, in order."""
    return _WORD.findall(text.lower())


def unknown_words(prompts: Iterable[Prompt], known: frozenset[str]) -> list[str]:
    """Return the words of the prompts that a model does not know, each once; an empty `known` means any word."""
    if not known:
        return []
    words = [word.removesuffix("'s") for prompt in prompts for word in words_of(prompt.text)]
    found = [part for word in words for part in re.split("['-]", word)]
    return list(dict.fromkeys(word for word in found if word and word not in known))


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
    text = clean(part[: len(part) - len(suffix.text)].translate(_RESTORE))
    if not text:
        raise UsageError(f"the prompt {_quoted(part)} has no text: say what to draw before the colon, such as 'a cat'")
    return Prompt(text, *suffix.numbers)


def _quoted(text: str) -> str:
    short = clean(text.translate(_RESTORE))
    return repr(short if len(short) <= 40 else short[:37] + "...")
