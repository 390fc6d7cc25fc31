"""The nouns of a prompt in order, and how each stands to those before it."""

from __future__ import annotations

from collections.abc import Mapping

from vqclip.words.reading import Noun, Relation

_SUPPORTS = ("on", "in", "under")


class Clauses:
    """Nouns and relations, as they are found one after the other.

    `heads` are the nouns that the next relation is about: all of "a cat and a dog" in "a cat and a dog on a chair".
    `sets` are the subjects that are treated alike: clothes, containers.
    """

    def __init__(self, sets: Mapping[str, frozenset[str]]) -> None:
        self.sets = sets
        self.nouns: list[Noun] = []
        self.relations: list[Relation] = []
        self.heads: list[int] = []
        self.closed = False  # the heads have a relation: a noun without one begins anew
        self.link: Relation | None = None  # the last relation, that "and" goes on with
        self.between: list[str] = []  # the relations of the nouns after "between"
        self.ahead: str | None = None  # "under a tree, a fox": the relation that waits for its first noun

    def add(self, noun: Noun, kind: str | None, joined: bool) -> None:
        """Add a noun that stands in the relation `kind` to those before it, or in none; `joined`: after "and"."""
        kind = self.between.pop(0) if self.between else kind
        if kind == "in" and noun.subject in self.sets["clothes"] and self.nouns:
            kind = "with"
        if kind is None and joined and self.link is not None and self.link.kind == "with":
            self._relate("with", [self.link.first], noun)
        elif kind is None:
            self._begin(noun)
        elif self.nouns:
            chained = self.link is not None and not joined and _chains(self.link.kind, kind)
            self._relate(kind, [len(self.nouns) - 1] if chained else list(self.heads), noun)
        else:
            self.nouns.append(noun)
            self.heads, self.ahead = [0], None if kind == "with" else kind  # "a landscape with a tree" has the tree

    def add_part(self, noun: Noun) -> None:
        """Add the second of "a bowl of apples", in the first; of "a statue of a horse", with it."""
        last = len(self.nouns) - 1
        held = self.nouns[last].subject in self.sets["containers"]
        if held and self.heads == [last] and not self.closed:
            self.nouns.insert(last, noun)
            self.relations.append(Relation("in", last, last + 1))
            self.closed, self.link = True, self.relations[-1]
        else:
            self._relate("with", [last], noun)

    def _begin(self, noun: Noun) -> None:
        if self.ahead:
            self.nouns.insert(0, noun)
            self.relations, self.heads, self.closed = [Relation(self.ahead, 0, 1)], [0], True
            self.ahead = None
        else:
            self.nouns.append(noun)
            index = len(self.nouns) - 1
            self.heads = [index] if self.closed else [*self.heads, index]
            self.closed = False
        self.link = None

    def _relate(self, kind: str, firsts: list[int], noun: Noun) -> None:
        self.nouns.append(noun)
        self.relations += [Relation(kind, first, len(self.nouns) - 1) for first in firsts]
        self.closed, self.link = True, self.relations[-1]


def _chains(last: str, kind: str) -> bool:
    """Whether a second relation is about the noun of the first: "an apple on a plate on a table"."""
    return (last in _SUPPORTS and kind in _SUPPORTS) or (last == kind == "with")
