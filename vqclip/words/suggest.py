"""Names that are close to what was typed."""

from __future__ import annotations

import difflib
from functools import lru_cache

from vqclip.words import lexicon as lexicons
from vqclip.words.lexicon import Entry, Lexicon
from vqclip.words.tokens import plain, tokenize

_SHORTEST = 5  # letters of a word that is taken for a mistyped one
_CLOSE = 0.8  # the least similarity, 0..1, of a word that is meant
_CORRECTED = ("noun", "place", "style", "color", "when")


def correct(word: str, lexicon: Lexicon) -> Entry | None:
    """Return what a mistyped word was meant to be ("elefant"); None for a real word or where nothing is close."""
    if len(word) < _SHORTEST or word in lexicon.words or not word.isalpha():
        return None
    nearest = _nearest(word, lexicon)
    if nearest is None:
        return None
    return Entry(nearest.kind, nearest.value, notable=True, plural=nearest.plural)


@lru_cache(maxsize=4096)
def _nearest(word: str, lexicon: Lexicon) -> Entry | None:
    """Return the entry whose name begins with the same letter and is closest, if it is close."""
    best, score = None, _CLOSE
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(word)
    for name in _by_initial(lexicon).get(word[0], ()):
        if abs(len(name) - len(word)) > 2:
            continue
        matcher.set_seq1(name)
        if min(matcher.real_quick_ratio(), matcher.quick_ratio()) >= score and matcher.ratio() >= score:
            best, score = name, matcher.ratio()
    return lexicon.find(best) if best else None


@lru_cache(maxsize=2)
def _by_initial(lexicon: Lexicon) -> dict[str, list[str]]:
    """Return the single words that a mistyped one may be corrected to, by their first letters."""
    by_initial: dict[str, list[str]] = {}
    for name, entry in lexicon.entries.items():
        if entry.kind in _CORRECTED and " " not in name and len(name) >= _SHORTEST and not entry.notable:
            by_initial.setdefault(name[0], []).append(name)
    return by_initial


def suggestions(text: str) -> list[str]:
    """Return up to five names of subjects that are close to a text in which nothing is known."""
    lexicon = lexicons.load()
    names = list(lexicon.subjects)
    suggested: list[str] = []
    for token in tokenize(plain(text)):
        suggested += difflib.get_close_matches(token.word, names, n=3, cutoff=0.5)
    return list(dict.fromkeys(suggested))[:5]
