"""Expressions of numbers, the variables of a film and a few functions: parsed and computed here, never by `eval`.

The grammar, loosest first; all values are finite floats, and a comparison is 1.0 or 0.0:

    comparison = sum [("<" | "<=" | ">" | ">=" | "==" | "!=") sum]
    sum        = product {("+" | "-") product}
    product    = signed {("*" | "/" | "%") signed}
    signed     = ("-" | "+") signed | power
    power      = atom ["**" signed]
    atom       = number | variable | function "(" comparison {"," comparison} ")" | "(" comparison ")"

Signs, powers and remainders are Python's: `-2**2` is -4, `2**-1` is 0.5, `-1 % 3` is 2.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from vqclip.errors import UsageError, unknown_name
from vqclip.tracks.pointer import point

MAX_LENGTH = 2000
MAX_DEPTH = 64

TIME_VARIABLES = ("t", "s", "fps", "frames", "max_f")
SOUND_VARIABLES = ("bass", "mid", "treble", "beat", "loudness")
CONSTANTS = {"pi": math.pi, "e": math.e}

Values = Mapping[str, float]


class EvaluationError(UsageError):
    """An expression without a finite value for the given variables (exit code 2)."""


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _power(base: float, exponent: float) -> float:
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError("a root of a negative number")
    return float(result)


class _Function(NamedTuple):
    compute: Callable[..., float]
    fewest: int
    most: int | None
    arguments: str


FUNCTIONS = {
    **{
        name: _Function(getattr(math, name), 1, 1, "x")
        for name in ("sin", "cos", "tan", "exp", "log", "sqrt", "floor", "ceil")
    },
    "abs": _Function(abs, 1, 1, "x"),
    "round": _Function(round, 1, 1, "x"),
    "min": _Function(min, 2, None, "a, b, ..."),
    "max": _Function(max, 2, None, "a, b, ..."),
    "clamp": _Function(_clamp, 3, 3, "x, low, high"),
    # the evaluator computes only the branch that is taken
    "where": _Function(lambda condition, a, b: a if condition else b, 3, 3, "condition, a, b"),
}
_OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": operator.mod, "**": _power,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[^\W\d]\w*)|(?P<sign>\*\*|[<>=!]=|[-+*/%<>(),])|(?P<other>\S)"
)
_OTHERS = {
    "^": "write ** for a power",
    "=": "write == to compare",
    "&": "multiply comparisons that must both hold",
    "|": "take the max of comparisons of which one must hold",
    "[": "use round brackets",
    "{": "use round brackets",
    "×": "write * to multiply",
    "−": "write - to subtract",
    "–": "write - to subtract",
}


class _Token(NamedTuple):
    kind: str
    text: str
    place: int


@dataclass(frozen=True)
class _Number:
    value: float


@dataclass(frozen=True)
class _Variable:
    name: str
    place: int


@dataclass(frozen=True)
class _Negative:
    of: _Node


@dataclass(frozen=True)
class _Chain:
    """Operators of one precedence from left to right; a chain and no tree, so that long sums are not deep."""

    first: _Node
    rest: tuple[tuple[str, _Node, int], ...]


@dataclass(frozen=True)
class _Call:
    name: str
    arguments: tuple[_Node, ...]
    place: int


_Node = _Number | _Variable | _Negative | _Chain | _Call


@dataclass(frozen=True)
class Expression:
    """A parsed expression; `text` is as it was written, `names` are the variables that it uses."""

    text: str
    names: frozenset[str]
    _root: _Node

    @classmethod
    def parse(cls, text: str, option: str, start: int = 0, end: int | None = None) -> Expression:
        """Parse `text`, or its part from `start` to `end`; `option` names the setting in errors.

        Raises UsageError, which points at the place, for anything that is no expression of this grammar, longer than
        2000 characters or nested deeper than 64.
        """
        end = len(text) if end is None else end
        if end - start > MAX_LENGTH:
            raise UsageError(f"{option}: an expression of {end - start} characters: give at most {MAX_LENGTH}")
        parser = _Parser(text, option, start, end)
        root = parser.whole()
        return cls(text, frozenset(parser.names), root)

    def evaluate(self, values: Values) -> float:
        """Return the value, finite, for the given variables, which include all of `names`.

        Raises EvaluationError, a UsageError, where something is divided by zero, is not finite or has no real value.
        """
        return _evaluate(self._root, values, self.text)


class _Parser:
    """A recursive-descent parser; `names` collects the variables."""

    def __init__(self, text: str, option: str, start: int, end: int) -> None:
        self._text, self._option, self._end = text, option, end
        self._tokens = _tokens(text, start, end)
        self._token = next(self._tokens)
        self._depth = 0
        self.names: set[str] = set()

    def whole(self) -> _Node:
        root = self._comparison()
        if self._token.kind != "end":
            raise self._surprise("an operator such as + or *")
        return root

    def _comparison(self) -> _Node:
        left = self._sum()
        if self._token.text not in _COMPARISONS:
            return left
        sign = self._next()
        chain = _Chain(left, ((sign.text, self._sum(), sign.place),))
        if self._token.text in _COMPARISONS:
            raise self._error(self._token, "two comparisons in a row: write (a < b) * (b < c)")
        return chain

    def _sum(self) -> _Node:
        return self._chain(self._product, ("+", "-"))

    def _product(self) -> _Node:
        return self._chain(self._signed, ("*", "/", "%"))

    def _chain(self, operand: Callable[[], _Node], signs: tuple[str, ...]) -> _Node:
        first, rest = operand(), []
        while self._token.text in signs:
            sign = self._next()
            rest.append((sign.text, operand(), sign.place))
        return _Chain(first, tuple(rest)) if rest else first

    def _signed(self) -> _Node:
        if self._token.text not in ("+", "-"):
            return self._power()
        sign = self._next()
        node = self._deeper(self._signed, sign)
        return _Negative(node) if sign.text == "-" else node

    def _power(self) -> _Node:
        base = self._atom()
        if self._token.text != "**":
            return base
        sign = self._next()
        return _Chain(base, ((sign.text, self._deeper(self._signed, sign), sign.place),))

    def _atom(self) -> _Node:
        token = self._token
        if token.kind == "number":
            return self._number()
        if token.kind == "name":
            self._next()
            return self._call(token) if self._token.text == "(" else self._variable(token)
        if token.text == "(":
            self._next()
            node = self._deeper(self._comparison, token)
            self._close(token)
            return node
        raise self._surprise("a number, a variable or a bracket")

    def _number(self) -> _Node:
        token = self._next()
        if not math.isfinite(value := float(token.text)):
            raise self._error(token, f"the number {token.text:.20} is too large")
        return _Number(value)

    def _variable(self, token: _Token) -> _Node:
        if token.text in CONSTANTS:
            return _Number(CONSTANTS[token.text])
        if token.text in FUNCTIONS:
            raise self._error(token, f"{token.text} is a function: write {_form(token.text)}")
        known = (*TIME_VARIABLES, *SOUND_VARIABLES)
        if token.text not in known:
            raise self._error(token, str(unknown_name("variable", token.text[:40], (*known, *CONSTANTS))))
        self.names.add(token.text)
        return _Variable(token.text, token.place)

    def _call(self, token: _Token) -> _Node:
        function = FUNCTIONS.get(token.text)
        if function is None:
            if token.text in (*TIME_VARIABLES, *SOUND_VARIABLES, *CONSTANTS):
                raise self._error(self._token, f"{token.text} is no function: write {token.text} * (...) to multiply")
            raise self._error(token, str(unknown_name("function", token.text[:40], FUNCTIONS)))
        opening = self._next()
        arguments = [self._deeper(self._comparison, opening)]
        while self._token.text == ",":
            self._next()
            arguments.append(self._deeper(self._comparison, opening))
        self._close(opening)
        if not function.fewest <= len(arguments) <= (function.most or len(arguments)):
            number = f"{len(arguments)} argument{'s' * (len(arguments) != 1)}"
            raise self._error(token, f"{token.text} with {number}: write {_form(token.text)}")
        return _Call(token.text, tuple(arguments), token.place)

    def _close(self, opening: _Token) -> None:
        if self._token.kind == "end":
            raise self._error(opening, "this bracket is never closed: write ) where it ends")
        if self._token.text != ")":
            raise self._surprise("an operator or )")
        self._next()

    def _deeper(self, parse: Callable[[], _Node], token: _Token) -> _Node:
        if self._depth >= MAX_DEPTH:
            raise self._error(token, f"nested more than {MAX_DEPTH} deep: write it with fewer brackets and signs")
        self._depth += 1
        node = parse()
        self._depth -= 1
        return node

    def _next(self) -> _Token:
        token, self._token = self._token, next(self._tokens)
        return token

    def _surprise(self, expected: str) -> UsageError:
        token = self._token
        if token.kind == "end":
            return self._error(token, f"it ends where {expected} is expected")
        if token.kind == "other" and token.text in _OTHERS:
            return self._error(token, f"{token.text!r} is not understood: {_OTHERS[token.text]}")
        return self._error(token, f"{token.text[:40]!r} where {expected} is expected")

    def _error(self, token: _Token, message: str) -> UsageError:
        return UsageError(f"{self._option}: {message}", pointer=point(self._text, token.place))


def _tokens(text: str, start: int, end: int) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text, start, end):
        yield _Token(str(match.lastgroup), match[0], match.start())
    last = start + len(text[start:end].rstrip())
    while True:  # the end is seen as often as it is asked for
        yield _Token("end", "", last)


def _form(name: str) -> str:
    return f"{name}({FUNCTIONS[name].arguments})"


def _evaluate(node: _Node, values: Values, text: str) -> float:
    if isinstance(node, _Number):
        return node.value
    if isinstance(node, _Variable):
        return _computed(lambda: values[node.name], node.name, node.place, text)
    if isinstance(node, _Negative):
        return -_evaluate(node.of, values, text)
    if isinstance(node, _Call):
        if node.name == "where":
            condition, *branches = node.arguments
            return _evaluate(branches[0 if _evaluate(condition, values, text) else 1], values, text)
        arguments = [_evaluate(argument, values, text) for argument in node.arguments]
        return _computed(lambda: FUNCTIONS[node.name].compute(*arguments), node.name, node.place, text)
    result = _evaluate(node.first, values, text)
    for sign, operand, place in node.rest:
        left, right = result, _evaluate(operand, values, text)
        result = _computed(lambda: _OPERATORS[sign](left, right), sign, place, text)  # noqa: B023 (called at once)
    return result


def _computed(compute: Callable[[], float], name: str, place: int, text: str) -> float:
    """Return a result as a finite float; say what went wrong, and where, if there is none."""
    try:
        if math.isfinite(result := float(compute())):
            return result
        problem = f"{name} is not finite"
    except ZeroDivisionError:
        problem = "0 to a negative power" if name == "**" else "a division by zero"
    except OverflowError:
        problem = f"{name} is too large"
    except ValueError:
        kind = {"sqrt": "sqrt of a negative number", "log": "log of a number that is not above 0"}
        problem = kind.get(name, "a root of a negative number" if name == "**" else f"{name} has no value")
    raise EvaluationError(problem, pointer=point(text, place))
