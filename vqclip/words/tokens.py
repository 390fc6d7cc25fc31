"""A prompt cut into words, each with what stood before it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

_ARTICLES = {"a", "an", "the"}
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "`": "'", "´": "'", "ʼ": "'", "‐": "-", "‑": "-", "–": "-", "—": ","})
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*'?|&|[,;.:!?()\[\]{}\"/|\n+=<>*…]")
_PLAIN = re.compile("[a-z]+(?: [a-z]+)*")
_INVISIBLE = re.compile("[\ufe0e\ufe0f\u200b\u200c\u200e\u200f\u20e3\U0001f3fb-\U0001f3ff]")
_SHORTENED = ("mr", "mrs", "ms", "dr", "st", "vs")  # a dot after these ends nothing
_LONGEST = 2000  # characters that are read: a prompt is a sentence or two


@dataclass(frozen=True)
class Token:
    """A word in lower case, where it stands in the text, and whether an article or a break comes before it."""

    word: str
    start: int
    end: int
    article: str = ""
    breaks: bool = False
    possessive: bool = False


def plain(text: str) -> str:
    """Return a text with plain apostrophes and hyphens and without what cannot be seen, in composed characters."""
    return unicodedata.normalize("NFKC", _INVISIBLE.sub("", text[:_LONGEST])).translate(_APOSTROPHES)


def tokenize(text: str, emoji: Mapping[str, str] | None = None) -> list[Token]:
    """Cut a text, as `plain` returns it, into tokens; `emoji` names pictures that stand in it.

    Articles are no tokens: the word after one says so. Hyphens part words, commas and the like break them.
    """
    tokens: list[Token] = []
    lead, breaks = "", False
    for word, start, end in _pieces(text, emoji or {}):
        if not word:
            breaks, lead = True, ""
        elif word in _ARTICLES:
            lead = word
        else:
            possessive = word.endswith("'s") or (word.endswith("'") and len(word) > 1)
            bare = word.removesuffix("'").removesuffix("'s").replace("'", "")
            if bare:
                tokens.append(Token(bare, start, end, lead, breaks, possessive))
            lead, breaks = "", False
    return tokens


def _pieces(text: str, emoji: Mapping[str, str]) -> list[tuple[str, int, int]]:
    """Return the words in order with their places; a break is an empty word."""
    pieces: list[tuple[str, int, int]] = []
    for match in _WORD.finditer(text):
        word = _unaccented(match.group().lower())
        if word == "." and pieces and pieces[-1][0] in _SHORTENED:
            continue
        if word[0].isalnum() or word == "&":
            pieces.append(("and" if word == "&" else word, match.start(), match.end()))
        else:
            pieces.append(("", match.start(), match.end()))
    place = 0
    while place < len(text):
        length = next((n for n in range(min(7, len(text) - place), 0, -1) if text[place : place + n] in emoji), 0)
        if length:
            end = place + length
            pieces += [(word, place, end) for word in tokens_of(emoji[text[place:end]])]
        place += length or 1
    return sorted(pieces, key=lambda piece: (piece[1], piece[2]))


def _unaccented(word: str) -> str:
    if word.isascii():
        return word
    return "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c)) or word


def tokens_of(name: str) -> list[str]:
    """Return the words of a name, as `key` joins them."""
    return [token.word for token in tokenize(plain(name))]


def key(name: str) -> str:
    """Return a name as it is looked up: lower case, without articles, hyphens, apostrophes and dots."""
    if _PLAIN.fullmatch(name) and not _ARTICLES & set(name.split(" ")):
        return name  # as nearly all are
    return " ".join(tokens_of(name))
