"""Tracks: a value for each frame of a film, from keyframes whose values are expressions.

A track is written as a number (`1.02`), an expression (`1+0.05*bass`) or keyframes with frames, as Deforum writes them,
or seconds before the colon: `0:(1.0), 60:(1+0.02*sin(2*3.14*t/20))`, `0s:1, 2.5s:(1.1)`. A first word, `linear`
(the default), `cubic` or `step`, says what happens between keyframes.
"""

from __future__ import annotations

import bisect
import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from vqclip.errors import UsageError, unknown_name
from vqclip.tracks.expression import SOUND_VARIABLES, EvaluationError, Expression
from vqclip.tracks.pointer import point

WAYS = ("linear", "cubic", "step")
MAX_KEYFRAMES = 10_000
MAX_LENGTH = 1_000_000
# what the place of a keyframe may depend on
_LENGTHS = ("fps", "frames", "max_f")
_WAY = re.compile(r"\s*(linear|cubic|step)\b\s*")
# a word before a number can only be meant as a way; a function has a bracket
_WORD = re.compile(r"\s*([^\W\d]\w*)\s+(?=[\d.])")
_SECONDS = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*s(?:ec)?\s*")


@dataclass(frozen=True)
class Time:
    """A moment of a film: the frame, from 0, of `frames` at `fps` a second, and what sounds then."""

    frame: float
    fps: float
    frames: int
    sound: Mapping[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Seconds since the film began."""
        return self.frame / self.fps

    def values(self) -> dict[str, float]:
        """Return the variables of expressions; `max_f` is the last frame, as in Deforum."""
        return {
            **self.sound,
            "t": float(self.frame),
            "s": self.seconds,
            "fps": float(self.fps),
            "frames": float(self.frames),
            "max_f": float(self.frames - 1),
        }


@dataclass(frozen=True)
class Keyframe:
    """A value at a place, which is in frames or in seconds; `start` is where it stands in the text."""

    place: Expression
    in_seconds: bool
    value: Expression
    start: int

    def frame(self, values: Mapping[str, float]) -> float:
        """Return the frame, which may lie between two, for a film of the given `fps` and `frames`."""
        return self.place.evaluate(values) * (values["fps"] if self.in_seconds else 1.0)


@dataclass(frozen=True)
class Track:
    """A value over time; `text` is as it was written."""

    text: str
    way: str
    keyframes: tuple[Keyframe, ...]

    @classmethod
    def parse(cls, text: str, option: str) -> Track:
        """Read a track; `option` names the setting in errors.

        Raises UsageError, which points at the place, for what is no track, for keyframes out of order, twice the same
        or negative as far as that can be known before fps and frames are, and for texts that are too long.
        """
        if len(text) > MAX_LENGTH:
            raise UsageError(f"{option}: a track of {len(text)} characters: give at most {MAX_LENGTH}")
        way, start = _way(text, option)
        keyframes = tuple(_keyframes(text, start, option))
        if not keyframes:
            raise UsageError(f"{option}: no value: give a number, or keyframes such as 0:(1), 60:(1.5)")
        track = cls(text, way, keyframes)
        for unit in (True, False):
            known = [k for k in keyframes if k.in_seconds is unit and not k.place.names]
            track._check_order(known, {"fps": 1.0}, option)
        return track

    def __str__(self) -> str:
        """The track as it was written."""
        return self.text

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """The variables that the values use."""
        return frozenset(name for keyframe in self.keyframes for name in keyframe.value.names)

    @property
    def is_constant(self) -> bool:
        """Whether the value is the same at any time of any film."""
        if self.names:
            return False
        try:
            return len({keyframe.value.evaluate({}) for keyframe in self.keyframes}) == 1
        except EvaluationError:
            return False

    def at(self, time: Time) -> float:
        """Return the value, finite, at a time.

        Between two keyframes both expressions are computed for that time and the values interpolated. Before the
        first and after the last keyframe they hold. Raises UsageError where there is no finite value, and for a
        variable of the sound that `time` does not have.
        """
        values = time.values()
        missing = sorted(self.names - values.keys())
        if missing:
            raise UsageError(f"a track uses {missing[0]!r}, and the film has no sound: give --audio FILE")
        if len(self.keyframes) == 1:
            return self.keyframes[0].value.evaluate(values)
        places = self._places(time)
        after = bisect.bisect_right(places, time.frame)
        if after in (0, len(places)) or self.way == "step" or places[after - 1] == time.frame:
            return self.keyframes[max(after - 1, 0)].value.evaluate(values)
        # a cubic takes its slopes from one more keyframe on each side
        near = slice(max(after - 2, 0), after + 2) if self.way == "cubic" else slice(after - 1, after + 1)
        heights = [keyframe.value.evaluate(values) for keyframe in self.keyframes[near]]
        left = min(after - 1, 1) if self.way == "cubic" else 0
        value = _interpolate(places[near], heights, left, time.frame, self.way == "cubic")
        if not math.isfinite(value):
            place = self.keyframes[after].start
            raise EvaluationError("a way between keyframes that is too steep", pointer=point(self.text, place))
        return value

    def _places(self, time: Time) -> list[float]:
        """Return the frames of the keyframes, computed once for each film: there may be one for each of its frames."""
        key = (time.fps, time.frames)
        if key not in self._known_places:
            values = time.values()
            self._known_places[key] = [keyframe.frame(values) for keyframe in self.keyframes]
        return self._known_places[key]

    @functools.cached_property
    def _known_places(self) -> dict[tuple[float, int], list[float]]:
        return {}

    def check_places(self, fps: float, frames: int, option: str) -> None:
        """Raise UsageError for keyframes out of order, twice the same, negative or beyond the end of the film."""
        values = {"fps": float(fps), "frames": float(frames), "max_f": float(frames - 1)}
        places = self._check_order(self.keyframes, values, option)
        if places[-1] > frames:
            keyframe = next(k for k, place in zip(self.keyframes, places, strict=True) if place > frames)
            raise self._misplaced(
                keyframe,
                f"{option}: a keyframe beyond the end: the film has {frames} frames, {frames / fps:.4g} seconds",
            )

    def _check_order(self, keyframes: Sequence[Keyframe], values: Mapping[str, float], option: str) -> list[float]:
        """Return the places of keyframes in frames; raise UsageError for a negative one, and unless they rise."""
        places = []
        for keyframe in keyframes:
            try:
                places.append(keyframe.frame(values))
            except EvaluationError as error:
                raise UsageError(f"{option}: the place of a keyframe has {error}", pointer=error.pointer) from None
            if places[-1] < 0:
                raise self._misplaced(keyframe, f"{option}: a keyframe before frame 0: begin at 0")
        for (before, place), keyframe in zip(pairwise(places), keyframes[1:], strict=True):
            if place == before:
                raise self._misplaced(keyframe, f"{option}: two keyframes at the same time: keep one of them")
            if place < before:
                raise self._misplaced(keyframe, f"{option}: keyframes out of order: write the earlier ones first")
        return places

    def _misplaced(self, keyframe: Keyframe, message: str) -> UsageError:
        return UsageError(message, pointer=point(self.text, keyframe.start))


def check_track(track: Track, times: Iterable[Time], low: float, high: float, option: str) -> None:
    """Raise UsageError for the first of `times` where a track has no finite value or leaves `low` to `high`.

    Keyframes that are misplaced in this film, and variables of a sound that it does not have, are errors too. To be
    called before anything is drawn.
    """
    for index, time in enumerate(times):
        if index == 0:
            track.check_places(time.fps, time.frames, option)
            missing = sorted(name for name in track.names & {*SOUND_VARIABLES} if name not in time.sound)
            if missing:
                raise UsageError(f"{option}: {', '.join(missing)} in {_short(track)} needs a sound: give --audio FILE")
        when = f"at frame {time.frame:g} ({time.seconds:.4g} s)"
        try:
            value = track.at(time)
        except EvaluationError as error:
            raise UsageError(f"{option}: {error} {when} in {_short(track)}", pointer=error.pointer) from None
        if not low <= value <= high:
            raise UsageError(f"{option}: {value:g} {when} in {_short(track)}: keep it from {low:g} to {high:g}")


def _short(track: Track) -> str:
    text = " ".join(track.text.split())
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _way(text: str, option: str) -> tuple[str, int]:
    """Return what happens between keyframes, and where they begin in the text."""
    if known := _WAY.match(text):
        return known[1], known.end()
    if word := _WORD.match(text):
        error = unknown_name("way between keyframes", word[1][:40], WAYS)
        raise UsageError(f"{option}: {error}", pointer=point(text, word.start(1)))
    return "linear", 0


def _keyframes(text: str, start: int, option: str) -> Iterator[Keyframe]:
    colons, commas = _separators(text, start)
    if not colons:
        if text[start:].strip():
            zero = Expression.parse("0", option)
            yield Keyframe(zero, False, Expression.parse(text, option, start), start)
        return
    if len(commas) > MAX_KEYFRAMES:
        raise UsageError(f"{option}: {len(commas)} keyframes: give at most {MAX_KEYFRAMES}")
    begin = start
    for end in (*commas, len(text)):
        part = colons[bisect.bisect_left(colons, begin) : bisect.bisect_left(colons, end)]
        if text[begin:end].strip():
            yield _keyframe(text, begin, end, part, option)
        elif end < len(text):
            raise UsageError(f"{option}: no keyframe before this comma", pointer=point(text, end))
        begin = end + 1


def _separators(text: str, start: int) -> tuple[list[int], list[int]]:
    """Return the places of the colons and commas that stand in no bracket."""
    places: dict[str, list[int]] = {":": [], ",": []}
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth <= 0 and text[place] in places:
            places[text[place]].append(place)
    return places[":"], places[","]


def _keyframe(text: str, begin: int, end: int, colons: Sequence[int], option: str) -> Keyframe:
    first = begin + len(text[begin:end]) - len(text[begin:end].lstrip())
    if len(colons) != 1:
        problem = "no colon" if not colons else "two colons"
        raise UsageError(
            f"{option}: a keyframe with {problem}: write 60:(1.5), and a comma before the next",
            pointer=point(text, colons[1] if colons else first),
        )
    value = Expression.parse(text, option, colons[0] + 1, end)
    if seconds := _SECONDS.fullmatch(text, begin, colons[0]):
        return Keyframe(Expression.parse(text, option, *seconds.span(1)), True, value, first)
    place = Expression.parse(text, option, begin, colons[0])
    if others := sorted(place.names - {*_LENGTHS}):
        message = f"{option}: a keyframe at {others[0]!r}: before the colon stands a frame, or seconds such as 2s"
        raise UsageError(message, pointer=point(text, first))
    return Keyframe(place, False, value, first)


def _interpolate(places: Sequence[float], heights: Sequence[float], left: int, place: float, cubic: bool) -> float:
    """Return the height at `place`, between the points `left` and `left + 1`: on a line, or on a monotone cubic."""
    width = places[left + 1] - places[left]
    share = (place - places[left]) / width
    if not cubic:
        return heights[left] + (heights[left + 1] - heights[left]) * share
    slopes = _slopes(places, heights)
    rest = 1 - share
    return (
        heights[left] * (1 + 2 * share) * rest**2
        + heights[left + 1] * (3 - 2 * share) * share**2
        + width * share * rest * (slopes[left] * rest - slopes[left + 1] * share)
    )


def _slopes(places: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Return slopes in the region of Fritsch and Carlson (1980), where a cubic is monotone wherever its points are.

    Within, they are weighted harmonic means (Fritsch and Butland 1984); at the ends, those of a parabola through
    three points, limited.
    """
    widths = [b - a for a, b in pairwise(places)]
    secants = [(b - a) / width for (a, b), width in zip(pairwise(heights), widths, strict=True)]
    if len(secants) == 1:
        return [secants[0], secants[0]]
    within = [_mean(*pair) for pair in zip(pairwise(widths), pairwise(secants), strict=True)]
    first = _end((widths[0], widths[1]), (secants[0], secants[1]))
    last = _end((widths[-1], widths[-2]), (secants[-1], secants[-2]))
    return [first, *within, last]


def _mean(widths: tuple[float, float], secants: tuple[float, float]) -> float:
    if secants[0] * secants[1] <= 0:
        return 0.0
    first, second = 2 * widths[1] + widths[0], widths[1] + 2 * widths[0]
    return (first + second) / (first / secants[0] + second / secants[1])


def _end(widths: tuple[float, float], secants: tuple[float, float]) -> float:
    slope = ((2 * widths[0] + widths[1]) * secants[0] - widths[0] * secants[1]) / sum(widths)
    if slope * secants[0] <= 0:
        return 0.0
    if secants[0] * secants[1] <= 0 and abs(slope) > abs(3 * secants[0]):
        return 3 * secants[0]
    return slope
