"""The sky above a setting by season, weather and time of day, and where in a picture the sky is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from vqclip.world.backgrounds.canvas import Canvas, Color, toned
from vqclip.world.fields import grid, luma, resize_field, resize_picture, smoothstep

_Stops = tuple[tuple[float, Color], ...]
_BY_TIME: dict[str, _Stops] = {
    "dawn": ((0.0, (112, 136, 204)), (0.5, (206, 176, 212)), (0.8, (252, 200, 190)), (1.0, (255, 236, 196))),
    "sunset": ((0.0, (72, 40, 112)), (0.4, (196, 66, 104)), (0.75, (250, 128, 50)), (1.0, (255, 206, 90))),
    "night": ((0.0, (8, 11, 36)), (1.0, (48, 60, 118))),
}
_BY_WEATHER: dict[str, _Stops] = {
    "rainy": ((0.0, (92, 102, 120)), (1.0, (166, 176, 188))),
    "snowy": ((0.0, (142, 156, 178)), (1.0, (206, 214, 226))),
    "foggy": ((0.0, (200, 205, 210)), (1.0, (222, 225, 228))),
    "cloudy": ((0.0, (146, 160, 178)), (1.0, (206, 214, 222))),
    "stormy": ((0.0, (34, 38, 54)), (1.0, (98, 104, 122))),
}
_BY_SEASON: dict[str, _Stops] = {
    "spring": ((0.0, (126, 190, 240)), (1.0, (226, 242, 250))),
    "summer": ((0.0, (24, 132, 236)), (1.0, (166, 222, 250))),
    "autumn": ((0.0, (150, 178, 200)), (1.0, (244, 226, 196))),
    "winter": ((0.0, (168, 190, 216)), (1.0, (232, 238, 246))),
}
# the two tones of a cloud, its body and its underside, and how many lie in the sky
_CLOUDS: dict[str, tuple[Color, Color, int]] = {
    "rainy": ((98, 108, 126), (74, 84, 102), 8),
    "snowy": ((184, 194, 210), (160, 172, 192), 5),
    "cloudy": ((238, 241, 244), (178, 188, 202), 9),
    "stormy": ((62, 66, 84), (36, 38, 54), 10),
}
_TIME_TINT = {"dawn": (1.02, 0.9, 0.94), "sunset": (1.1, 0.72, 0.62), "night": (0.26, 0.29, 0.4)}
# a sky that is darker than this has its own time of day, which a season does not change
_DAYLIGHT = 0.5


def sky_above(
    picture: np.ndarray,
    sky: np.ndarray,
    rng: np.random.Generator,
    season: str | None,
    weather: str | None,
    time: str | None,
) -> np.ndarray:
    """The new sky, (size, size, 3) in 0..1, painted all over; `picture` itself where nothing changes it.

    `sky` (size, size) tells where it will be seen, so that sun, moon and horizon lie there.
    """
    size = picture.shape[0]
    rows = np.nonzero(sky.max(axis=1) > 0.5)[0]
    if len(rows) == 0:
        return picture
    top, bottom = rows[0] / size, (rows[-1] + 1) / size
    if weather is None and time is None and float((luma(picture) * sky).sum() / sky.sum()) < _DAYLIGHT:
        return picture
    if season is None and weather is None and time is None:
        return picture
    canvas = Canvas(size, rng)
    if weather is not None:
        tint = _TIME_TINT.get(time or "", (1.0, 1.0, 1.0))
        stops = [(at, _times(color, tint)) for at, color in _BY_WEATHER[weather]]
        _spread(canvas, stops, top, bottom)
        _overcast(canvas, weather, tint, top, bottom)
    elif time is not None:
        _spread(canvas, [(at, canvas.tint(color, 5.0)) for at, color in _BY_TIME[time]], top, bottom)
        _lights(canvas, sky, time, top, bottom)
    elif season is not None:
        _spread(canvas, [(at, canvas.tint(color, 5.0)) for at, color in _BY_SEASON[season]], top, bottom)
        _fair(canvas, sky, season, top, bottom)
    return canvas.finish()


def _spread(canvas: Canvas, stops: Sequence[tuple[float, Color]], top: float, bottom: float) -> None:
    """A gradient from `top` to `bottom`; what little of the sky shows below takes its last colour."""
    canvas.box(0.0, bottom - 0.01, 1.0, 1.0, toned(stops[-1][1], 1.0))
    canvas.gradient(stops, top, bottom)


def _times(color: Color, tint: tuple[float, float, float]) -> Color:
    return tuple(int(min(255, value * factor)) for value, factor in zip(color, tint, strict=True))


def _place(canvas: Canvas, sky: np.ndarray, share: float) -> tuple[float, float]:
    """A place for a light, off the middle, as far down in the sky as `share` tells (0 top, 1 horizon)."""
    columns = np.nonzero(sky.max(axis=0) > 0.5)[0]
    left, right = columns[0] / len(sky), (columns[-1] + 1) / len(sky)
    best, place = -1.0, (0.2, 0.1)
    reach = max(1, len(sky) // 16)
    for offset, mirrored in canvas.rng.random((4, 2)):
        side = 0.14 + 0.16 * offset
        x = left + (right - left) * (side if mirrored < 0.5 else 1.0 - side)
        middle = min(len(sky) - 1, int(x * len(sky)))
        column = np.nonzero(sky[:, middle] > 0.5)[0]
        if len(column) == 0:
            continue
        y = (column[0] + (column[-1] + 1 - column[0]) * share) / len(sky)
        row = int(y * len(sky))
        seen = float(sky[max(0, row - reach) : row + reach, max(0, middle - reach) : middle + reach].mean())
        # the first place that can be seen well is good enough: a light is not always at the emptiest side
        if seen > best + 0.1:
            best, place = seen, (x, y)
    return place


def _lights(canvas: Canvas, sky: np.ndarray, time: str, top: float, bottom: float) -> None:
    """Sun or moon and stars of a time of day."""
    rng = canvas.rng
    span = bottom - top
    if time == "night":
        for x, y, size in rng.random((90, 3)):
            canvas.disc(x, top + span * y, 0.0035 + 0.006 * size**2, (226, 230, 250))
        x, y = _place(canvas, sky, rng.uniform(0.25, 0.4))
        canvas.glow(x, y, 0.22, (190, 200, 240), 0.6)
        canvas.disc(x, y, min(0.065, 0.2 * span), (248, 244, 218))
        return
    streaks = (250, 214, 206) if time == "dawn" else (240, 112, 92)
    for x, y, wide in rng.random((7, 3)):
        canvas.oval(x, top + span * (0.1 + 0.7 * y), 0.1 + 0.14 * wide, 0.008 + 0.01 * wide, canvas.tint(streaks))
    x, y = _place(canvas, sky, 0.99 if time == "dawn" else 0.88)
    light = (255, 244, 206) if time == "dawn" else (255, 226, 120)
    canvas.glow(x, y, 0.42, light, 0.8)
    canvas.disc(x, y, min(0.09, 0.3 * span), (255, 250, 224) if time == "dawn" else (255, 240, 160))


def _fair(canvas: Canvas, sky: np.ndarray, season: str, top: float, bottom: float) -> None:
    """A day's sky of a season: a blazing sun in summer, light clouds in spring, veils in autumn."""
    rng = canvas.rng
    if season == "summer":
        x, y = _place(canvas, sky, rng.uniform(0.25, 0.35))
        canvas.glow(x, y, 0.3, (255, 250, 200), 0.7)
        turn, radius = rng.uniform(0.0, 1.0), min(0.075, 0.22 * (bottom - top))
        for angle in turn + np.arange(12) * np.pi / 6:
            out, wide = 2.0 * radius, 0.16
            tip = (x + out * np.cos(angle), y + out * np.sin(angle))
            base = [(x + radius * np.cos(angle + k), y + radius * np.sin(angle + k)) for k in (-wide, wide)]
            canvas.polygon([tip, *base], (255, 226, 92))
        canvas.disc(x, y, radius, (255, 234, 110))
    elif season == "spring":
        _cumulus(canvas, 3, (252, 253, 254), (226, 236, 244), (top, bottom))
    else:
        for x, y, wide in rng.random((5, 3)):
            at = top + (bottom - top) * (0.15 + 0.5 * y)
            canvas.oval(x, at, 0.14 + 0.12 * wide, 0.012 + 0.012 * wide, canvas.tint((244, 242, 238), 4.0))


def _cumulus(canvas: Canvas, count: int, body: Color, shade: Color, between: tuple[float, float]) -> None:
    """Heaped clouds with a darker underside, larger and nearer the top of the sky first."""
    rng = canvas.rng
    top, bottom = between
    for x, y, size in sorted(rng.random((count, 3)).tolist(), key=lambda one: -one[1]):
        wide, at = (0.1 + 0.09 * size), top + (bottom - top) * 0.62 * y
        lobes = [(dx * wide, -0.25 * wide * (1.0 - abs(dx)) * tall, 0.5 * wide * (1.0 - 0.4 * abs(dx)))
                 for dx, tall in zip((-1.1, -0.4, 0.3, 1.0), rng.uniform(0.5, 1.5, 4), strict=True)]  # fmt: skip
        for dx, dy, radius in lobes:
            canvas.oval(x + dx, at + dy + 0.2 * radius, radius * 1.15, radius * 0.8, shade)
        for dx, dy, radius in lobes:
            canvas.oval(x + dx, at + dy, radius, radius * 0.72, body)


def _overcast(canvas: Canvas, weather: str, tint: tuple[float, float, float], top: float, bottom: float) -> None:
    """Clouds of a weather, lightning in a storm, and, for a window, rain or snow far off."""
    rng = canvas.rng
    if weather in _CLOUDS:
        body, shade, count = _CLOUDS[weather]
        _cumulus(canvas, count, _times(body, tint), _times(shade, tint), (top, bottom))
    if weather == "stormy":
        _lightning(canvas, top, bottom)
    if weather in ("rainy", "stormy"):
        for x, y in rng.random((60, 2)):
            at = top + (bottom - top) * y
            canvas.line([(x, at), (x - 0.012, at + 0.05)], 0.005, _times((200, 212, 226), tint))
    elif weather == "snowy":
        for x, y, size in rng.random((70, 3)):
            canvas.disc(x, top + (bottom - top) * y, 0.005 + 0.007 * size, (248, 250, 253))


def _lightning(canvas: Canvas, top: float, bottom: float) -> None:
    """A forked flash from the clouds down, off the middle."""
    rng = canvas.rng
    x = rng.uniform(0.1, 0.3) if rng.random() < 0.5 else rng.uniform(0.7, 0.9)
    levels = np.linspace(top + 0.12 * (bottom - top), bottom, 6)
    steps = x + np.cumsum(rng.uniform(0.02, 0.06, 6) * np.array([1, -1, 1, -1, 1, -1]))
    flash = list(zip(steps.tolist(), levels.tolist(), strict=True))
    canvas.glow(x, float(levels[2]), 0.25, (214, 214, 255), 0.5)
    canvas.line(flash, 0.024, (250, 236, 150))
    canvas.line(flash, 0.012, (255, 255, 240))
    fork = [flash[2], (flash[2][0] + 0.07, flash[2][1] + 0.09), (flash[2][0] + 0.05, flash[2][1] + 0.16)]
    canvas.line(fork, 0.01, (255, 252, 210))


def guess_sky(picture: np.ndarray) -> np.ndarray:
    """Where the sky probably is, (size, size) in 0..1: what hangs together from the top edge, changing slowly.

    Of a plain ground, which is one colour down to the bottom, the upper two thirds are taken.
    """
    work = min(picture.shape[0], 48)
    small = resize_picture(picture, work, Image.Resampling.BOX)
    connected = np.zeros((work, work), dtype=bool)
    color = np.median(small[0], axis=0)
    # how many more rows an obstacle, such as a cloud, may hide what is below it
    patience = np.full(work, work // 6)
    for row in range(work):
        white = small[row].min(axis=-1) > 0.9
        alike = np.abs(small[row] - color).max(axis=-1) < 0.1
        near = alike | (white & (row < work // 3))
        reached = np.maximum(patience, np.maximum(np.roll(patience, 1), np.roll(patience, -1))) > 0
        connected[row] = near & reached
        if not connected[row].any():
            break
        patience = np.where(connected[row], work // 6, patience - 1)
        if (alike & connected[row]).any():
            color = 0.5 * color + 0.5 * np.median(small[row][alike & connected[row]], axis=0)
    field = resize_field(connected.astype(np.float32), picture.shape[0], Image.Resampling.BILINEAR)
    sky = smoothstep(0.3, 0.7, field)
    if connected[-1].mean() > 0.5:
        y, _ = grid(picture.shape[0])
        sky = sky * (1.0 - smoothstep(0.6, 0.72, y))
    return sky.astype(np.float32)
