"""Where a thing is that is on, in, under, behind, in front of or above another one, or that the other one has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vqclip.sketch.figures import Figure
from vqclip.sketch.spot import Spot
from vqclip.sketch.things import load_things

# how deep what sits on a seat sits in it, and how deep a thing stands in what holds it, in heights of the host
_SEAT, _TOP, _INSIDE = 0.45, 0.08, 0.42
# sizes of what is worn, in sides of the host
_ON_HEAD, _ON_EYES, _ON_NECK = 0.5, 0.42, 0.3
_LEAST = 0.16


@dataclass(frozen=True)
class _Guest:
    """A figure that is placed by a host: its size beside the host's, and its place among those that share it.

    `shift` is from -0.5 to 0.5, `side` -1 or 1 or between, `crowd` what sharing leaves of its size.
    """

    figure: Figure
    size: float
    shift: float
    side: float
    crowd: float

    def scale(self, host: Spot, share: float, least: float, most: float) -> float:
        """Return its longest side, `share` of the host's times its size within bounds."""
        return share * host.scale * min(max(self.size, least), most) * self.crowd


def attach(
    kind: str, hosts: Sequence[Spot], figures: Sequence[Figure], size: float, rng: np.random.Generator
) -> list[Spot]:
    """Return the spots of figures that stand to `hosts` in a relation; `size` is theirs beside the host's.

    Several figures share the room that one would have. With "with", every host has one.
    """
    if kind == "with":
        figures = [figures[k % len(figures)] for k in range(max(len(hosts), len(figures)))]
    spots = []
    for number, figure in enumerate(figures):
        host = hosts[number % len(hosts)]
        count = len(range(number % len(hosts), len(figures), len(hosts)))
        place = number // len(hosts)
        alone = count == 1
        shift = float(rng.uniform(-0.08, 0.08)) if alone else (place + 0.5) / count - 0.5
        side = float(rng.choice((-1.0, 1.0))) if alone else 2.0 * shift
        spots.append(_PLACES[kind](host, _Guest(figure, size, shift, side, 1.0 if alone else count**-0.6)))
    return spots


def _on(host: Spot, guest: _Guest) -> Spot:
    depth = _SEAT if load_things().has("seats", host.figure.subject) else _TOP
    foot = host.top + depth * host.height
    scale = max(min(guest.scale(host, 0.8, 0.4, 1.1), foot / max(guest.figure.height, 0.2)), _LEAST)
    return _standing(guest, host.x + guest.shift * host.width, foot, scale, host.depth + 0.1)


def _in(host: Spot, guest: _Guest) -> Spot:
    foot = host.top + _INSIDE * host.height
    return _standing(guest, host.x + 0.7 * guest.shift * host.width, foot, guest.scale(host, 0.7, 0.4, 1.0),
                     host.depth - 0.1)  # fmt: skip


def _under(host: Spot, guest: _Guest) -> Spot:
    return _standing(guest, host.x + guest.shift * host.width, host.foot + 0.02, guest.scale(host, 0.45, 0.8, 1.4),
                     host.depth + 0.1)  # fmt: skip


def _behind(host: Spot, guest: _Guest) -> Spot:
    scale = guest.scale(host, 1.0, 0.7, 1.5)
    x = float(np.clip(host.x + 0.42 * guest.side * (host.width + 0.3 * scale * guest.figure.width), 0.2, 0.8))
    return _standing(guest, x, host.foot - 0.08, scale, host.depth - 0.1)


def _in_front(host: Spot, guest: _Guest) -> Spot:
    x = host.x + (0.25 * guest.side if abs(guest.side) == 1 else guest.shift) * host.width
    return _standing(guest, x, min(host.foot + 0.05, 0.98), guest.scale(host, 0.55, 0.8, 1.3), host.depth + 0.1)


def _above(host: Spot, guest: _Guest) -> Spot:
    scale = guest.scale(host, 0.6, 0.4, 1.2)
    half = scale * guest.figure.height / 2
    y = max(host.top - half - 0.02, half)
    return Spot(guest.figure, host.x + guest.shift * host.width, y, scale, host.depth - 0.1)


def _with(host: Spot, guest: _Guest) -> Spot:
    things, figure = load_things(), guest.figure
    narrow = min(host.width, host.height)
    if things.has("worn", figure.subject):
        scale = _ON_HEAD * narrow / figure.width
        return Spot(figure, host.x, host.top + 0.1 * scale * figure.height, scale, host.depth + 0.1)
    if things.has("on_eyes", figure.subject):
        return Spot(figure, host.x, host.top + 0.35 * host.height, _ON_EYES * narrow / figure.width, host.depth + 0.1)
    if things.has("on_neck", figure.subject):
        scale = _ON_NECK * host.height / figure.height
        return Spot(figure, host.x, host.top + 0.62 * host.height, scale, host.depth + 0.1)
    scale = guest.scale(host, 0.55, 0.6, 1.2)
    x = float(np.clip(host.x + 0.5 * guest.side * (host.width + 0.4 * scale * figure.width), 0.12, 0.88))
    return _standing(guest, x, host.foot, scale, host.depth + 0.1)


def _standing(guest: _Guest, x: float, foot: float, scale: float, depth: float) -> Spot:
    return Spot(guest.figure, x, foot - scale * guest.figure.height / 2, scale, depth)


_PLACES: dict[str, Callable[[Spot, _Guest], Spot]] = {
    "on": _on,
    "in": _in,
    "under": _under,
    "behind": _behind,
    "in front of": _in_front,
    "above": _above,
    "with": _with,
}
