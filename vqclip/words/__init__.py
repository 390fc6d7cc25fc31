"""A prompt read into what the models know.

>>> from vqclip.words import read
>>> read("two kittens on a red chair, watercolour").caption()
'two cats on a red chair, watercolor'
"""

from __future__ import annotations

from collections.abc import Sequence

from vqclip.words import lexicon as lexicons
from vqclip.words.grammar import Grammar
from vqclip.words.lexicon import like_entries
from vqclip.words.reading import (
    FRAMINGS,
    RELATIONS,
    SEASONS,
    SETTINGS,
    STYLES,
    TIMES,
    WEATHERS,
    Noun,
    Reading,
    Relation,
)
from vqclip.words.suggest import suggestions
from vqclip.words.tokens import plain, tokenize
from vqclip.words.units import segment

__all__ = [
    "FRAMINGS",
    "RELATIONS",
    "SEASONS",
    "SETTINGS",
    "STYLES",
    "TIMES",
    "WEATHERS",
    "Noun",
    "Reading",
    "Relation",
    "read",
    "suggestions",
]


def read(text: str, like: Sequence[str] = ()) -> Reading:
    """Return what a text says in words that the models know; any text can be read.

    `like` are names of things of which the user gives drawings (`--like`), such as "my dog": they go before all other
    words, and their nouns have the kind "own". Pure, without torch, and quick: the tables are read once.
    """
    lexicon = lexicons.load()
    text = plain(text)
    tokens = tokenize(text, lexicon.emoji)
    return Grammar(text, lexicon).run(segment(text, tokens, lexicon, like_entries(like)))
