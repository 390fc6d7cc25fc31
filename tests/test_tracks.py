"""Tracks of a film: expressions computed as Python computes them, keyframes, and errors that point at the place."""

from __future__ import annotations

import math
import pickle
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from vqclip.cli.main import run
from vqclip.errors import UsageError
from vqclip.tracks import Expression, Time, Track, check_track
from vqclip.tracks.expression import FUNCTIONS, MAX_DEPTH, MAX_LENGTH
from vqclip.tracks.track import MAX_KEYFRAMES

VARIABLES = {"t": 7.0, "s": 1.4, "fps": 5.0, "frames": 40.0, "max_f": 39.0, "bass": 0.25}
TIME = Time(7, 5, 40, {"bass": 0.25})


def clamp(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def where(condition: float, a: float, b: float) -> float:
    return a if condition else b


PYTHON = {
    **{name: getattr(math, name) for name in ("sin", "cos", "tan", "exp", "log", "sqrt")},
    **{"floor": lambda x: float(math.floor(x)), "ceil": lambda x: float(math.ceil(x))},
    **{"round": lambda x: float(round(x)), "abs": abs, "min": min, "max": max, "clamp": clamp, "where": where},
    **{"pi": math.pi, "e": math.e},
}

LEAVES = st.one_of(
    st.floats(0, 100, allow_nan=False).map(repr),
    st.integers(0, 9).map("{}.".format),  # whole numbers of Python could take all memory
    st.sampled_from([*VARIABLES, "pi", "e", ".5", "3.", "1e-3"]),
)


def _called(name: str, parts: list[str]) -> str:
    counts = {"min": len(parts), "max": len(parts), "clamp": 3, "where": 3}
    return f"{name}({', '.join((parts * 3)[: counts.get(name, 1)])})"


def _joined(parts: list[str], signs: list[str]) -> str:
    return parts[0] + "".join(sign + part for sign, part in zip(signs, parts[1:], strict=False))


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    parts = st.lists(inner, min_size=2, max_size=4)
    signs = st.lists(st.sampled_from([" + ", "-", "*", " / ", "%", "**", "**-"]), min_size=4, max_size=4)
    return st.one_of(
        st.builds(_joined, parts, signs.map(lambda s: s[:3])),
        st.builds(_called, st.sampled_from(sorted(FUNCTIONS)), parts),
        inner.map("({})".format),
        inner.map("-{}".format),
        st.builds("({} {} {})".format, inner, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), inner),
    )


EXPRESSIONS = st.recursive(LEAVES, _grown, max_leaves=12)


def python_value(text: str) -> float | None:
    """Return what Python makes of an expression, None where that is not a finite real number."""
    try:
        value = eval(text, {"__builtins__": {}}, {**PYTHON, **VARIABLES})
        return float(value) if math.isfinite(value) else None
    except (ArithmeticError, ValueError, TypeError):
        return None


@given(EXPRESSIONS)
def test_values_are_those_of_python(text: str) -> None:
    expected = python_value(text)
    try:
        value = Expression.parse(text, "zoom").evaluate(VARIABLES)
    except UsageError:
        # vqclip also refuses infinities in between, and computes with floats alone
        assert expected is None or any(name in text for name in ("where", "**", "/", "exp", "round"))
        return
    if expected is None:  # Python computes both branches
        assert "where" in text
        return
    assert value == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize(
    ("text", "value"),
    [("-2**2", -4.0), ("2**-1", 0.5), ("2**3**2", 512.0), ("-1 % 3", 2.0), ("1 - 2 - 3", -4.0), ("8/4/2", 1.0),
     ("3 > 2", 1.0), ("(3 < 2) + 1", 1.0), ("where(t > 5, 2, 1/0)", 2.0), ("min(3, 1, 2)", 1.0), ("+-+1", -1.0),
     ("1+0.05*bass", 1.0125), ("clamp(5, 0, 1)", 1.0), ("max_f - t", 32.0), ("\n 1\t+ 1 ", 2.0)],
)  # fmt: skip
def test_expressions_as_people_write_them(text: str, value: float) -> None:
    assert Track.parse(text, "zoom").at(TIME) == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["+".join(["1"] * 900), "(" * MAX_DEPTH + "1" + ")" * MAX_DEPTH, "-" * MAX_DEPTH + "1"]
)
def test_long_and_deep_expressions_within_the_limits(text: str) -> None:
    assert math.isfinite(Expression.parse(text, "zoom").evaluate({}))


@pytest.mark.parametrize(
    ("text", "words", "place"),
    [
        ("1 + * 2", "'*' where a number", 4),
        ("1 +", "ends where a number", 3),
        ("(1 + 2", "never closed", 0),
        ("1 2", "'2' where an operator", 2),
        ("1)", "')' where an operator", 1),
        ("sin", "write sin(x)", 0),
        ("1 + sin(1, 2)", "sin with 2 arguments", 4),
        ("clamp(1)", "clamp(x, low, high)", 0),
        ("2 * bas", "did you mean 'bass'?", 4),
        ("sine(t)", "did you mean 'sin'?", 0),
        ("t (2)", "write t * (...)", 2),
        ("2^3", "**", 1),
        ("1 < 2 < 3", "two comparisons", 6),
        ("1e999", "too large", 0),
        ("x = 3", "unknown variable 'x'", 0),
        ("__import__('os')", "unknown function '__import__'", 0),
        ("(" * (MAX_DEPTH + 1) + "1", "nested more than 64", MAX_DEPTH),
        ("0:(1), 60:(1+)", "where a number", 13),
        ("0:(1), 60:(2), 30:(3)", "out of order", 15),
        ("0:(1), 0:(2)", "at the same time", 7),
        ("-5:(1)", "before frame 0", 0),
        ("0:(1),, 60:(2)", "no keyframe before this comma", 6),
        ("0:(1), 1.5", "no colon", 7),
        ("0:(1) 60:(2)", "two colons", 8),
        ("t:(1)", "a keyframe at 't'", 0),
        ("1/0:(1)", "a division by zero", 1),
        ("cubik 0:(1)", "did you mean 'cubic'?", 0),
        (":(1)", "ends where a number", 0),
        ("5:", "ends where a number", 2),
    ],
)
def test_what_is_no_track_is_pointed_at(text: str, words: str, place: int) -> None:
    with pytest.raises(UsageError) as caught:
        Track.parse(text, "--zoom")
    message = str(caught.value)
    assert message.startswith("--zoom: ") and words in message and "\n" not in message
    shown, caret = caught.value.pointer.split("\n")
    shift = shown.index(text[max(place - 50, 0) : place + 20]) - max(place - 50, 0)
    assert caret.index("^") == place + shift and caret.strip() == "^"


@pytest.mark.parametrize("text", ["", "   ", "linear", "cubic ", "1" * (MAX_LENGTH + 1), "," * 3])
def test_what_holds_no_value_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--zoom"):
        Track.parse(text, "--zoom")


def test_the_caret_stands_under_wide_letters() -> None:
    with pytest.raises(UsageError) as caught:
        Track.parse("1 + \u4e2d\u6587 $", "--zoom")
    assert caught.value.pointer == "  1 + \u4e2d\u6587 $\n      ^"
    with pytest.raises(UsageError) as caught:
        Track.parse("min(\u3000\u3000 1", "--zoom")
    assert caught.value.pointer.split("\n")[1] == "     ^"


GARBAGE = st.text(
    st.one_of(
        st.sampled_from("0123456789.,:()+-*/%<>=! \n\tstepbasinewhr_#^[]\u0663\u00b2\U0001f600"), st.characters()
    ),
    max_size=60,
)


@given(
    st.one_of(GARBAGE, st.builds(str.__add__, EXPRESSIONS, GARBAGE), st.builds("0:({}),{}".format, GARBAGE, GARBAGE))
)
def test_any_text_is_a_track_or_a_usage_error(text: str) -> None:
    try:
        track = Track.parse(text, "zoom")
        check_track(track, [Time(f, 5, 9) for f in range(9)], -10, 10, "zoom")
    except UsageError as error:
        assert "\n" not in str(error) and len(error.pointer.split("\n")) <= 2
    else:
        assert all(-10 <= track.at(Time(f, 5, 9)) <= 10 for f in range(9))


def test_keyframes_of_deforum_interpolate_both_expressions() -> None:
    track = Track.parse("0:(1.0), 60:(1+0.02*sin(2*3.14*t/20))", "zoom")
    wave = 1 + 0.02 * math.sin(2 * 3.14 * 45 / 20)
    assert track.at(Time(45, 5, 61)) == pytest.approx(0.25 * 1.0 + 0.75 * wave)
    assert track.names == {"t"} and not track.is_constant


@pytest.mark.parametrize(
    "text", ["0:1,10:2,20:4", "0: (1.0) ,10: (2.0) ,20:(4),", "\n0:\n1.0,\n10 : 2e0,20:(2+2)\n",
             "0s:1, 2s:(2), 4 s:(4)", "linear 0:(1), max_f/4:(2), max_f/2:(4)"],
)  # fmt: skip
def test_forms_of_keyframes(text: str) -> None:
    track = Track.parse(text, "zoom")
    found = [track.at(Time(f, 5, 41)) for f in (0, 5, 10, 15, 20, 40)]
    assert found == pytest.approx([1, 1.5, 2, 3, 4, 4])


def test_a_keyframe_for_each_frame_of_a_long_film() -> None:
    """As programs write them that listen to a song: what is computed for a film is computed once."""
    track = Track.parse(", ".join(f"{frame}:({frame % 7})" for frame in range(5000)), "zoom")
    check_track(track, [Time(frame, 25, 5000) for frame in range(5000)], 0, 6, "zoom")
    assert track.at(Time(4003.5, 25, 5000)) == pytest.approx((4003 % 7 + 4004 % 7) / 2)
    assert track.at(Time(3, 25, 6000)) == 3
    with pytest.raises(UsageError, match="keyframes: give at most"):
        Track.parse(",".join(f"{frame}:1" for frame in range(MAX_KEYFRAMES + 2)), "zoom")


def test_step_holds_until_the_next_keyframe() -> None:
    track = Track.parse("step 5:(1), 10:(t)", "zoom")
    assert [track.at(Time(f, 5, 20)) for f in (0, 5, 9, 10, 19)] == [1, 1, 1, 10, 19]


POINTS = st.lists(
    st.tuples(st.integers(1, 30), st.floats(-100, 100, allow_nan=False, allow_subnormal=False)), min_size=1, max_size=8
)


def _track_of(points: list[tuple[int, float]], way: str) -> tuple[Track, list[int], list[float]]:
    places = [sum(gap for gap, _ in points[: i + 1]) - 1 for i in range(len(points))]
    heights = [height for _, height in points]
    text = ", ".join(f"{place}:({height!r})" for place, height in zip(places, heights, strict=True))
    return Track.parse(f"{way} {text}", "zoom"), places, heights


@given(POINTS, st.sampled_from(["linear", "cubic", "step"]))
def test_a_track_hits_its_keyframes_and_stays_between_them(points: list[tuple[int, float]], way: str) -> None:
    track, places, heights = _track_of(points, way)
    frames = places[-1] + 2
    assert [track.at(Time(place, 5, frames)) for place in places] == heights
    for (a, low), (b, high) in pairwise(zip(places, heights, strict=True)):
        values = [track.at(Time(a + (b - a) * k / 7, 5, frames)) for k in range(8)]
        rising = values if low <= high else values[::-1]
        assert all(y - x >= -1e-9 for x, y in pairwise(rising))
        assert min(low, high) - 1e-9 <= min(values) and max(values) <= max(low, high) + 1e-9


@given(POINTS.filter(lambda points: len(points) >= 2))
def test_the_cubic_is_that_of_scipy(points: list[tuple[int, float]]) -> None:
    track, places, heights = _track_of(points, "cubic")
    reference = PchipInterpolator(places, heights)
    times = [places[0] + (places[-1] - places[0]) * k / 23 for k in range(24)]
    expected = [float(reference(time)) for time in times]
    assert [track.at(Time(time, 5, 999)) for time in times] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def film(frames: int = 10, **sound: float) -> list[Time]:
    return [Time(f, 5, frames, sound) for f in range(frames)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1/abs(t-3)", "a division by zero at frame 3 (0.6 s) in '1/abs(t-3)'"),
        ("0.5+t", "2.5 at frame 2 (0.4 s) in '0.5+t': keep it from 0 to 2"),
        ("log(4-t)", "log of a number that is not above 0 at frame 4"),
        ("sqrt(-t)", "sqrt of a negative number at frame 1"),
        ("exp(t*1000)", "exp is too large at frame 1"),
        ("(-t)**0.5", "a root of a negative number at frame 1"),
        ("1e308*t", "at frame 1"),
        ("1e200*1e200*t", "* is not finite at frame 0"),
        ("0:(-1e308), 9:(1e308)", "-1e+308 at frame 0"),
        ("1+bass+beat", "bass, beat in '1+bass+beat' needs a sound"),
        ("0:(1), 11:(1)", "beyond the end: the film has 10 frames, 2 seconds"),
        ("0:(1), 2.5s:(1)", "beyond the end"),
        ("0:(1), 5s:(1), 8:(1)", "out of order"),
        ("0:(1), 1s:(1), 5:(1)", "at the same time"),
    ],
)
def test_a_bad_frame_is_named_before_anything_is_drawn(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_track(Track.parse(text, "--zoom"), film(), 0, 2, "--zoom")
    assert str(caught.value).startswith("--zoom: ") and words in str(caught.value)


def test_a_good_track_passes() -> None:
    check_track(Track.parse("0s:(1+0.05*bass), 2s:(1)", "--zoom"), film(bass=1.0), 0, 2, "--zoom")
    assert Track.parse("1+bass", "zoom").at(film(bass=0.5)[0]) == 1.5
    with pytest.raises(UsageError, match="--audio"):
        Track.parse("1+bass", "zoom").at(film()[0])


def test_what_is_constant() -> None:
    constant = ["1.02", "0:(1), 5:(1.0)", "pi/2", "cubic 3:(2)"]
    changing = ["t", "0:(1), 5:(2)", "1/0", "0*bass"]
    assert [Track.parse(text, "zoom").is_constant for text in constant + changing] == [True] * 4 + [False] * 4


def test_tracks_can_be_sent_to_another_process() -> None:
    track = Track.parse("cubic 0:(1), 5s:(2+sin(t))", "zoom")
    assert pickle.loads(pickle.dumps(track)) == track
    error = UsageError("wrong", pointer="a\n^")
    assert pickle.loads(pickle.dumps(error)).pointer == "a\n^"


def test_the_command_line_shows_the_caret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def command(*_: object, **__: object) -> None:
        Track.parse("1 + )", "--zoom")

    module = sys.modules["vqclip.cli.main"]  # the package's attribute of that name is the function
    monkeypatch.setattr(module, "cli", type("Cli", (), {"main": staticmethod(command)}))
    assert run([]) == 2
    error = capsys.readouterr().err
    assert error == "vqclip: --zoom: ')' where a number, a variable or a bracket is expected\n  1 + )\n      ^\n"
