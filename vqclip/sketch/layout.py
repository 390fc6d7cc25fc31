"""From a reading to a composition: how large each thing is, where it stands, what hides what.

Things stand in a row, each in a slot as wide as it is large; what is in the air hangs above. A thing that is on, in,
under or behind another is placed by that one's box.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from vqclip.sketch.figures import Figure, Figures
from vqclip.sketch.pairs import attach
from vqclip.sketch.spot import Spot
from vqclip.sketch.stage import choose_stage
from vqclip.sketch.things import load_things
from vqclip.words.reading import Noun, Reading, Relation
from vqclip.world import load_world
from vqclip.world.backgrounds import floats, standing
from vqclip.world.composition import Composition, Thing

# the largest share of the side that one thing takes beside none, one, two ... others
_LARGEST = (0.8, 0.58, 0.46, 0.4, 0.36)
_ROW = 0.96  # the width of a row
_MOST_IN_ROW = 3  # things; more stand in two rows
# things with attached ones leave room for them
_HOSTING = {"on": 0.62, "in": 0.7, "with": 0.85, "under": 1.0, "behind": 0.85, "in front of": 0.9, "above": 0.75}
# how much of the picture things fill together, and by how much they are enlarged at most to do so
_WIDE, _MARGIN, _MOST_ENLARGED = 0.92, 0.08, 1.5
_OWN_SCALE = ("portrait", "close-up", "landscape", "logo")
_BESIDE = ("next to", "left of", "right of")
_OWN_SIZE = {"big": 1.3, "small": 0.62, None: 1.0}


@dataclass
class _Group:
    """One noun of a reading: its figures, what is attached to it, and where it was placed."""

    noun: Noun
    figures: list[Figure]
    attached: list[tuple[str, _Group]] = field(default_factory=list)
    spots: list[Spot] = field(default_factory=list)

    @property
    def size(self) -> float:
        """How large each of its figures is beside one of middle size."""
        usual = load_things().size(self.noun.subject) if self.noun.kind == "subject" else 1.0
        return usual * _OWN_SIZE[self.noun.size]

    @property
    def aloft(self) -> bool:
        """Whether it belongs into the air."""
        return self.noun.kind == "subject" and load_things().has("aloft", self.noun.subject)

    def everything(self) -> Iterable[_Group]:
        """Itself and all that is attached to it."""
        yield self
        for _, other in self.attached:
            yield from other.everything()


def lay_out(reading: Reading, figures: Figures, rng: np.random.Generator, seed: int) -> Composition:
    """Return a composition of what a reading says; another one for every `rng`.

    `seed` is that of landscape and strokes. Raises KeyError for a subject without a drawing.
    """
    stage = choose_stage(reading, rng)
    groups = [_Group(noun, _figures(noun, reading, figures)) for noun in reading.nouns]
    if reading.framing in ("field", "pattern") and groups:
        spots = _many(groups[0], reading.framing, stage.setting, rng)
    else:
        roots = _attach(groups, reading.relations)
        _place(roots, reading.framing, stage.setting, rng)
        spots = [(group, spot) for root in roots for group in root.everything() for spot in group.spots]
    spots.sort(key=lambda pair: pair[1].depth)
    things = [_thing(group.noun, spot, rng) for group, spot in spots]
    if reading.framing == "logo":
        things.insert(0, _disc(stage.background, rng))
    return Composition(
        things=tuple(things),
        setting=stage.setting,
        background=stage.background,
        season=stage.season,
        weather=stage.weather,
        time=stage.time,
        brightness=float(rng.uniform(0.97, 1.06)),
        contrast=float(rng.uniform(0.98, 1.08)),
        warmth=float(rng.uniform(-0.25, 0.35)),
        saturation=float(rng.uniform(0.98, 1.12)),
        seed=seed,
    )


def within(composition: Composition, width: int, height: int) -> Composition:
    """Return a composition whose things lie in the middle part of its square that a picture of another shape shows.

    Things shrink together about the middle, so that they stand to each other as before; the ground stays.
    """
    share = min(width, height) / max(width, height)
    things = (
        replace(thing, x=0.5 + share * (thing.x - 0.5), y=0.5 + share * (thing.y - 0.5), scale=share * thing.scale)
        for thing in composition.things
    )
    return composition if share == 1 else replace(composition, things=tuple(things))


def _figures(noun: Noun, reading: Reading, figures: Figures) -> list[Figure]:
    face = load_things().faces.get(noun.subject, f"{noun.subject} face")
    if reading.framing == "portrait" and noun.kind == "subject" and figures.knows(face):
        return figures.choose(face, noun.kind, noun.count)
    return figures.choose(noun.subject, noun.kind, noun.count)


def _attach(groups: list[_Group], relations: Iterable[Relation]) -> list[_Group]:
    """Hang groups onto those that they stand to in a relation; return the others, from left to right."""
    taken: dict[int, int] = {}
    order = list(range(len(groups)))
    for relation in relations:
        kind, guest, host = relation.kind, relation.first, relation.second
        if kind in _BESIDE:
            order = _reordered(order, guest, host, kind)
            continue
        if kind == "with":
            guest, host = host, guest
        if (kind == "under" and groups[host].aloft) or (kind == "above" and groups[guest].aloft):
            continue  # the one is in the air, and the other stands, as they do without a word
        if guest in taken or guest == host or _leads_to(taken, host, guest):
            continue
        taken[guest] = host
        groups[host].attached.append((kind, groups[guest]))
    return [groups[k] for k in order if k not in taken]


def _leads_to(taken: dict[int, int], start: int, end: int) -> bool:
    while start in taken:
        start = taken[start]
        if start == end:
            return True
    return False


def _reordered(order: list[int], first: int, second: int, kind: str) -> list[int]:
    others = [k for k in order if k != first]
    place = others.index(second) if second in others else 0
    others.insert(place + (kind == "right of"), first)
    return others


def _place(roots: list[_Group], framing: str | None, setting: str | None, rng: np.random.Generator) -> None:
    """Give every group its spots: those in the air above, the others in rows, the attached ones by their hosts."""
    if not roots:
        return
    adrift = floats(setting)
    flying = [] if adrift else [group for group in roots if group.aloft]
    standing_groups = [group for group in roots if group not in flying]
    if not standing_groups:
        # alone in the air: in the middle of the picture, or of the sky
        _row(flying, None if setting is None else (0.62, 0.62), framing, rng, aloft=True)
    else:
        _row(standing_groups, None if adrift else standing(setting), framing, rng)
        _sky(flying, rng)
    for root in roots:
        for group in root.everything():
            for kind, guest in group.attached:
                guest.spots = attach(kind, group.spots, guest.figures, guest.size / group.size, rng)
    if framing not in _OWN_SCALE:
        _fit([group for root in standing_groups for group in root.everything()])


def _fit(groups: list[_Group]) -> None:
    """Enlarge or shrink things about their common foot, so that together they fill the picture and lie inside it."""
    spots = [spot for group in groups for spot in group.spots]
    if not spots:
        return
    left, right = min(spot.x - spot.width / 2 for spot in spots), max(spot.x + spot.width / 2 for spot in spots)
    top, foot = min(spot.top for spot in spots), max(spot.foot for spot in spots)
    factor = min(_WIDE / (right - left), (min(foot, 0.97) - _MARGIN) / (foot - top), _MOST_ENLARGED)
    if 1 <= factor < 1.05:
        return
    # a single thing is as large as its row made it; only what overlaps the edges, or is small together, changes
    factor = min(factor, 1.0) if len(spots) == 1 else factor
    middle, shift = (left + right) / 2, 0.5 - (left + right) / 2
    shift = shift if factor != 1.0 and len(spots) > 1 else 0.0
    for group in groups:
        group.spots = [
            replace(
                spot,
                x=middle + shift + factor * (spot.x - middle),
                y=min(foot, 0.97) + factor * (spot.y - foot),
                scale=factor * spot.scale,
            )
            for spot in group.spots
        ]


def _row(
    groups: list[_Group],
    feet: tuple[float, float] | None,
    framing: str | None,
    rng: np.random.Generator,
    aloft: bool = False,
) -> None:
    """Place groups side by side; `feet` are the farthest and nearest line to stand on, None to float in the middle."""
    members = [(group, figure) for group in groups for figure in group.figures]
    rows = _split(members) if len(members) > _MOST_IN_ROW else [members]
    for number, row in enumerate(rows):
        # rows behind one another: the last one is nearest
        near = (number + 1) / len(rows)
        room = _LARGEST[min(len(members), len(_LARGEST)) - 1] * (1.0 if len(rows) == 1 else 0.85 + 0.15 * near)
        sizes = [group.size for group, _ in row]
        largest = max(sizes)
        scales = [room * (size / largest) ** 0.8 * _hosting(group) for size, (group, _) in zip(sizes, row, strict=True)]
        if framing == "portrait":
            scales = [scale * 1.15 for scale in scales]
        if framing == "close-up":
            scales = [scale * 1.7 for scale in scales]
        if framing == "landscape":
            scales = [scale * 0.6 for scale in scales]
        widths = [scale * figure.width for scale, (_, figure) in zip(scales, row, strict=True)]
        crowded = min(1.0, _ROW / sum(widths)) if len(row) > 1 else 1.0
        gap = max(_ROW - crowded * sum(widths), 0.0) / len(row)
        left = (1 - _ROW) / 2
        for scale, width, (group, figure) in zip(scales, widths, row, strict=True):
            slot = crowded * width + gap
            scale *= crowded * float(rng.uniform(0.94, 1.0))
            x = left + slot / 2 + float(rng.uniform(-0.25, 0.25)) * gap * (0.5 if len(row) > 1 else 0.35)
            left += slot
            group.spots.append(_spot(figure, x, scale, feet, near, framing, aloft, rng))


def _spot(
    figure: Figure,
    x: float,
    scale: float,
    feet: tuple[float, float] | None,
    near: float,
    framing: str | None,
    aloft: bool,
    rng: np.random.Generator,
) -> Spot:
    height = scale * figure.height
    if framing == "portrait":
        return Spot(figure, x, 1.02 - height / 2, scale, near)
    if feet is None or framing in ("close-up", "logo"):
        return Spot(figure, x, 0.5 + float(rng.uniform(-0.04, 0.04)), scale * (0.8 if framing == "logo" else 1.0), near)
    if aloft:
        return Spot(figure, x, float(np.clip(0.4 + rng.uniform(-0.06, 0.06), height / 2, 1.0)), scale, near)
    far, nearest = feet
    foot = far + (nearest - far) * (0.35 + 0.65 * near) + float(rng.uniform(-0.01, 0.02))
    # a high thing may reach over the upper edge by little
    return Spot(figure, x, max(foot, height - 0.02) - height / 2, scale, near)


def _sky(groups: list[_Group], rng: np.random.Generator) -> None:
    members = [(group, figure) for group in groups for figure in group.figures]
    side = float(rng.choice((0.24, 0.76)))
    for place, (group, figure) in enumerate(members):
        scale = (0.3 if len(members) == 1 else 0.24) * (group.size**0.5)
        x = side if len(members) == 1 else (place + 0.5) / len(members) + float(rng.uniform(-0.05, 0.05))
        y = scale * figure.height / 2 + 0.03 + float(rng.uniform(0.0, 0.08))
        group.spots.append(Spot(figure, x, y, scale, -1.0))


def _hosting(group: _Group) -> float:
    return min((_HOSTING.get(kind, 1.0) for kind, _ in group.attached), default=1.0)


def _split(members: list[tuple[_Group, Figure]]) -> list[list[tuple[_Group, Figure]]]:
    half = math.ceil(len(members) / 2)
    return [members[: len(members) - half], members[len(members) - half :]]


def _many(group: _Group, framing: str, setting: str | None, rng: np.random.Generator) -> list[tuple[_Group, Spot]]:
    """Return the spots of a field, row behind row, or of a pattern, in a grid."""
    spots = []
    rows = 4
    for row in range(rows):
        near = row / (rows - 1)
        count = 4 if framing == "pattern" else 6 - row
        far = standing(setting)[0] if framing == "field" else 0.0
        for column in range(count):
            figure = group.figures[int(rng.integers(len(group.figures)))]
            x = (column + 0.5 + (0.25 if row % 2 else -0.25) * (framing == "field")) / count
            if framing == "pattern":
                spots.append(Spot(figure, x, (row + 0.5) / rows, 0.19, near))
                continue
            scale = 0.15 + 0.17 * near
            foot = far - 0.06 + (1.06 - far) * near**1.2
            x += float(rng.uniform(-0.03, 0.03))
            spots.append(Spot(figure, x, foot - scale * figure.height / 2, scale * float(rng.uniform(0.9, 1.1)), near))
    return [(group, spot) for spot in spots]


def _thing(noun: Noun, spot: Spot, rng: np.random.Generator) -> Thing:
    mirrored = noun.kind != "own" and rng.random() < 0.5
    mirrored = mirrored and not load_things().has("never_mirrored", noun.subject)
    color = noun.color
    if noun.kind == "shape" and color is None:
        color = str(rng.choice(list(load_world().colors)[:9]))
    return Thing(
        spot.figure.drawing,
        x=spot.x,
        y=spot.y,
        scale=spot.scale,
        angle=float(rng.normal(0.0, 2.0)),
        flip=mirrored,
        color=color,
    )


def _disc(background: str | None, rng: np.random.Generator) -> Thing:
    colors = [name for name in load_world().colors if name not in (background, "black", "brown", "gray")]
    return replace(Thing("circle", scale=0.9), color=str(rng.choice(colors)))
