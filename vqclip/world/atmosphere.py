"""Season, weather and time of day: what they do to the background, and what lies over everything.

`behind` works before things are laid on the background, `before` when they lie there. Both take the setting, since
rain does not fall in a room, and `behind` where the sky is; without it, the sky is guessed from the colours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vqclip.errors import UsageError
from vqclip.world.backgrounds import floats, indoors, open_air, paint
from vqclip.world.backgrounds.canvas import Overlay
from vqclip.world.fields import grid, luma, saturate, shifted_noise, smoothstep
from vqclip.world.heavens import guess_sky, sky_above
from vqclip.world.seasons import adorn, dress, drift

SEASONS = ("spring", "summer", "autumn", "winter")
WEATHERS = ("rainy", "snowy", "foggy", "cloudy", "stormy")
TIMES = ("dawn", "sunset", "night")

_Tint = tuple[float, tuple[float, float, float], float]
# what the light makes of colours: saturation, gain of red, green and blue, offset
_WEATHER_LIGHT: dict[str, _Tint] = {
    "rainy": (0.55, (0.68, 0.74, 0.82), 0.0),
    "snowy": (0.7, (0.9, 0.93, 0.98), 0.02),
    "foggy": (0.7, (0.95, 0.96, 0.97), 0.0),
    "cloudy": (0.75, (0.84, 0.86, 0.89), 0.0),
    "stormy": (0.55, (0.5, 0.55, 0.64), 0.0),
}
_TIME_LIGHT: dict[str, _Tint] = {
    "dawn": (0.75, (0.88, 0.76, 0.82), 0.07),
    "sunset": (0.95, (0.92, 0.62, 0.5), 0.02),
    "night": (0.55, (0.31, 0.37, 0.56), 0.0),
}
# the same for things in front, which have to stay readable
_THING_LIGHT: dict[str, _Tint] = {
    "rainy": (0.8, (0.86, 0.9, 0.95), 0.0),
    "snowy": (0.9, (0.96, 0.98, 1.0), 0.02),
    "foggy": (0.75, (0.8, 0.81, 0.82), 0.16),
    "cloudy": (0.9, (0.93, 0.94, 0.96), 0.0),
    "stormy": (0.8, (0.8, 0.83, 0.9), 0.0),
    "dawn": (0.9, (0.92, 0.83, 0.87), 0.05),
    "sunset": (1.05, (0.96, 0.74, 0.58), 0.03),
    "night": (0.75, (0.6, 0.66, 0.86), 0.03),
}
_LAMPLIGHT: dict[str, _Tint] = {
    "dawn": (0.95, (0.97, 0.9, 0.9), 0.02),
    "sunset": (1.0, (1.0, 0.84, 0.68), 0.0),
    "night": (0.85, (0.66, 0.56, 0.5), 0.0),
}
_FOG = np.array([0.85, 0.87, 0.89], dtype=np.float32)
# settings whose sky has its own light, which a season does not change and a weather keeps
_OWN_TIME = {"at night": "night", "in the night sky": "night", "at sunset": "sunset", "in the rain": None}
# the colours of window panes by day and at dusk
_WINDOWS: dict[str | None, tuple[tuple[int, int, int], ...]] = {
    "in the city": ((206, 226, 240), (255, 222, 120)),
    "in the street": ((66, 100, 150),),
}
_FOG_BY_TIME = {"dawn": (1.02, 0.93, 0.94), "sunset": (1.02, 0.8, 0.68), "night": (0.3, 0.34, 0.46)}


def behind(
    picture: np.ndarray,
    rng: np.random.Generator,
    season: str | None = None,
    weather: str | None = None,
    time: str | None = None,
    *,
    setting: str | None = None,
    sky: np.ndarray | None = None,
) -> np.ndarray:
    """Change a background for a season, a weather, a time of day; gives a new float32 picture in 0..1.

    `picture` (S, S, 3) in 0..1. `sky` (S, S) in 0..1 tells how much of each pixel is sky (`backgrounds.paint` knows);
    None: it is guessed. What cannot be in `setting` is left out: rain in a room shows in the window only.
    Raises UsageError for an unknown season, weather or time.
    """
    _check(season, weather, time)
    inside = indoors(setting)
    if setting == "in space" or (season, weather, time) == (None, None, None):
        return picture
    if setting == "in the rain" and weather is None and time is not None:
        weather = "rainy"
    if sky is None:
        sky = guess_sky(picture) if open_air(setting) else np.zeros(picture.shape[:2], dtype=np.float32)
    weather = weather if open_air(setting) or inside else None
    if inside and season == "winter" and weather is None:
        # the window shows falling snow
        weather = "snowy"
    season = season if open_air(setting) or inside else None
    land = picture
    if season is not None and not inside:
        if not floats(setting):
            land = dress(land, sky, rng, season)
        land, sky = adorn(land, sky, rng, season, not floats(setting))
    hour = time or _OWN_TIME.get(setting or "")
    above = picture
    if weather is not None or time is not None or setting not in _OWN_TIME:
        above = sky_above(picture, sky, rng, season, weather, hour if weather else time)
    if weather == "snowy" and not inside:
        land = dress(land, sky, rng, "winter", 0.5)
    if inside:
        land = _lit(land, _LAMPLIGHT.get(time or ""))
    else:
        land = _lit(land, _WEATHER_LIGHT.get(weather or ""))
        land = _darker(land, time) if time == "night" else _lit(land, _TIME_LIGHT.get(time or ""))
        if hour == "night" and setting in _WINDOWS:
            land = _windows_lit(land, picture, rng, _WINDOWS[setting])
        if weather == "foggy":
            land, above = _fogged(land, above, rng, hour)
    out: np.ndarray = np.clip(land + (above - land) * sky[..., None], 0.0, 1.0)
    return out


def before(
    picture: np.ndarray,
    coverage: np.ndarray,
    rng: np.random.Generator,
    season: str | None = None,
    weather: str | None = None,
    time: str | None = None,
    *,
    setting: str | None = None,
) -> np.ndarray:
    """Lay over a picture what is in the air, and light the things as their surroundings are lit.

    `picture` (S, S, 3) in 0..1, `coverage` (S, S) in 0..1: how much of each pixel is a thing. Gives a new float32
    picture in 0..1. Raises UsageError for an unknown season, weather or time.
    """
    _check(season, weather, time)
    if setting == "in the rain":
        weather = weather or "rainy"
    if setting == "in space" or (season, weather, time) == (None, None, None):
        return picture
    lit = picture
    if indoors(setting):
        lit = _lit(lit, _LAMPLIGHT.get(time or ""))
    else:
        outdoors = open_air(setting)
        lit = _lit(lit, _THING_LIGHT.get(weather or "") if outdoors else None)
        lit = _lit(lit, _THING_LIGHT.get(time or ""))
    shown = picture + (lit - picture) * coverage[..., None]
    if open_air(setting):
        shown = _in_the_air(shown, coverage, rng, season, weather, time)
    out: np.ndarray = np.clip(shown, 0.0, 1.0)
    return out


def scenery(
    setting: str,
    size: int,
    rng: np.random.Generator,
    season: str | None = None,
    weather: str | None = None,
    time: str | None = None,
) -> np.ndarray:
    """Paint a setting in a season, weather and time of day: (size, size, 3) float32 in 0..1.

    The land is that of `landscape` with the same generator.
    """
    place = paint(setting, size, rng)
    return behind(place.picture, rng, season, weather, time, setting=setting, sky=place.sky)


def _check(season: str | None, weather: str | None, time: str | None) -> None:
    known: Sequence[tuple[str, str | None, Sequence[str]]] = (
        ("season", season, SEASONS),
        ("weather", weather, WEATHERS),
        ("time of day", time, TIMES),
    )
    for kind, name, names in known:
        if name is not None and name not in names:
            raise UsageError(f"unknown {kind} {name!r}: known are {', '.join(names)}")


def _lit(picture: np.ndarray, tint: _Tint | None) -> np.ndarray:
    if tint is None:
        return picture
    saturation, gain, offset = tint
    out: np.ndarray = saturate(picture, saturation) * np.array(gain, dtype=np.float32) + np.float32(offset)
    return out


def _darker(land: np.ndarray, time: str) -> np.ndarray:
    """The land at night; one that is dark already stays as it is."""
    saturation, gain, offset = _TIME_LIGHT[time]
    share = float(np.clip((luma(land).mean() - 0.12) / 0.2, 0.0, 1.0))
    dark = _lit(land, (saturation, gain, offset))
    out: np.ndarray = land + (dark - land) * np.float32(share)
    return out


def _windows_lit(
    land: np.ndarray, day: np.ndarray, rng: np.random.Generator, panes: Sequence[tuple[int, int, int]]
) -> np.ndarray:
    """Light behind about half of the windows; `day` is the land without snow by day, whose colours tell the panes."""
    away = [np.abs(day - np.array(pane, dtype=np.float32) / 255).max(axis=-1) for pane in panes]
    pane = 1.0 - smoothstep(0.04, 0.12, np.minimum.reduce(away))
    lit = pane * smoothstep(-0.25, 0.05, shifted_noise(land.shape[0], 16, rng))
    glow = np.array([1.0, 0.84, 0.44], dtype=np.float32)
    out: np.ndarray = land + (glow - land) * (0.9 * lit)[..., None]
    return out


def _fogged(
    land: np.ndarray, above: np.ndarray, rng: np.random.Generator, time: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Land that fades into fog the farther (higher) it lies, and a sky that is fog."""
    size = land.shape[0]
    y, _ = grid(size)
    fog = _FOG * np.array(_FOG_BY_TIME.get(time or "", (1.0, 1.0, 1.0)), dtype=np.float32)
    amount = 0.74 - 0.5 * smoothstep(0.35, 1.02, y) + np.float32(0.05) * shifted_noise(size, 5, rng)
    amount = np.clip(amount, 0.2, 0.95)[..., None]
    return land + (fog - land) * amount, above + (fog - above) * np.float32(0.85)


def _in_the_air(
    picture: np.ndarray,
    coverage: np.ndarray,
    rng: np.random.Generator,
    season: str | None,
    weather: str | None,
    time: str | None,
) -> np.ndarray:
    """Rain, snow, fog, leaves and petals over everything."""
    size = picture.shape[0]
    overlay = Overlay(size, rng)
    if season in ("spring", "autumn"):
        drift(overlay, season, coverage)
    if weather in ("rainy", "stormy"):
        _rain(overlay, weather == "stormy")
    elif weather == "snowy":
        _flakes(overlay)
    if season in ("spring", "autumn") or weather in ("rainy", "stormy", "snowy"):
        picture = overlay.over(picture)
    if weather == "foggy":
        y, _ = grid(size)
        fog = _FOG * np.array(_FOG_BY_TIME.get(time or "", (1.0, 1.0, 1.0)), dtype=np.float32)
        banks = smoothstep(-1.2, 2.4, shifted_noise(size, 3, rng) + np.float32(0.6) * y)
        picture = picture + (fog - picture) * (0.04 + 0.42 * banks)[..., None]
    return picture


def _rain(overlay: Overlay, storm: bool) -> None:
    """Slanting streaks, and splashes where they hit the ground."""
    rng = overlay.rng
    slant = (rng.uniform(0.5, 0.75) if storm else rng.uniform(0.1, 0.35)) * (1 if rng.random() < 0.5 else -1)
    tone = (196, 208, 224, 190) if storm else (214, 226, 238, 190)
    for x, y, long in rng.random((150 if storm else 110, 3)):
        reach = 0.05 + 0.08 * long
        x0, y0 = 1.6 * x - 0.3, 1.1 * y - 0.1
        overlay.line([(x0, y0), (x0 - slant * reach, y0 + reach)], 0.0055, tone)
    for x, y, size in rng.random((22, 3)):
        at, reach = 0.76 + 0.23 * y, 0.008 + 0.008 * size
        overlay.line([(x - reach, at - reach), (x, at), (x + reach, at - reach)], 0.005, tone)


def _flakes(overlay: Overlay) -> None:
    """Falling flakes of several sizes, each with a bluish rim that shows over white."""
    for x, y, size in overlay.rng.random((100, 3)):
        radius = 0.006 + 0.012 * size**2
        overlay.disc(x, y, radius * 1.25, (176, 194, 220, 150))
        overlay.disc(x, y, radius, (253, 254, 255, 245))
