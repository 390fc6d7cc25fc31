"""What seasons do to the land: colours of leaves, snow, blossoms, a branch at the picture's edge, leaves in the air."""

from __future__ import annotations

import numpy as np

from vqclip.world.backgrounds.canvas import Canvas, Color, Overlay
from vqclip.world.fields import grid, luma, saturate, shifted_noise, smoothstep

_LEAVES: tuple[Color, ...] = ((206, 62, 36), (236, 128, 32), (244, 190, 56), (168, 84, 40))
_GREEN_LEAVES: tuple[Color, ...] = ((58, 150, 52), (92, 180, 60), (38, 120, 46), (120, 196, 72))
_BLOSSOMS: tuple[Color, ...] = ((250, 178, 204), (255, 222, 234), (240, 140, 180))
_SNOW = np.array([0.95, 0.97, 1.0], dtype=np.float32)


def _greens(picture: np.ndarray) -> np.ndarray:
    """How much of each pixel is green leaves, (size, size) in 0..1."""
    excess = picture[..., 1] - np.maximum(picture[..., 0], picture[..., 2])
    return smoothstep(0.03, 0.16, excess / (luma(picture) + 0.2))


def dress(
    land: np.ndarray, sky: np.ndarray, rng: np.random.Generator, season: str, strength: float = 1.0
) -> np.ndarray:
    """The land of a setting in a season; `strength` scales the snow of winter."""
    if season == "winter":
        return _snowed(land, sky, rng, strength)
    green = _greens(land)[..., None]
    if season == "summer":
        return saturate(land, 1.25) * np.array([1.06, 1.03, 0.94], dtype=np.float32)
    size = land.shape[0]
    bright = luma(land)[..., None]
    if season == "autumn":
        patches = np.clip(0.5 + 0.34 * shifted_noise(size, 14, rng), 0.0, 1.0)[..., None]
        red, gold = (np.array(color, dtype=np.float32) / 255 for color in (_LEAVES[0], _LEAVES[2]))
        leaves = red + (gold - red) * patches
        # grass turns straw and brown; red and gold are the trees'
        straw = np.array([0.72, 0.55, 0.26], dtype=np.float32) * (0.94 + 0.12 * patches)
        y, _ = grid(size)
        low = smoothstep(0.52, 0.66, y)[..., None]
        leaves = (leaves + (straw - leaves) * low) * (0.3 + 1.35 * bright)
        out: np.ndarray = land + (leaves - land) * (0.92 * green)
        return out
    fresh = np.array([0.66, 0.9, 0.36], dtype=np.float32) * (0.35 + 1.25 * bright)
    out = land + (fresh - land) * (0.6 * green)
    return out


def _snowed(land: np.ndarray, sky: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Snow on the ground, on plants and on everything that has the sky above it; water and dark walls stay."""
    size = land.shape[0]
    bright = luma(land)
    y, _ = grid(size)
    mean = float((bright * (1.0 - sky)).sum() / max(1.0, float((1.0 - sky).sum())))
    # in a land that is dark by itself snow is dim, and lies on what is dark too
    dark = float(np.clip((0.26 - mean) / 0.14, 0.0, 1.0))
    blue = smoothstep(0.1, 0.3, land[..., 2] - land[..., 0])
    lies = smoothstep(0.08, 0.3, bright + 0.3 * dark) * (1.0 - 0.8 * blue)
    plants = _greens(land)
    warm = smoothstep(0.02, 0.2, land[..., 0] - land[..., 2])
    low = smoothstep(0.5, 0.85, y)
    amount = lies * np.maximum(np.maximum(0.85 * plants, 0.93 * low), np.maximum(0.55 * warm, 0.3))
    # what stands against the sky carries a cap
    caps = np.zeros_like(sky)
    for depth in (0.008, 0.018, 0.03):
        step = max(1, round(depth * size))
        caps[step:] = np.maximum(caps[step:], sky[:-step])
    amount = np.maximum(amount, caps * (1.0 - sky) * 0.95)
    drifts = 0.91 + 0.26 * (bright - 0.5)[..., None] + np.float32(0.012) * shifted_noise(size, 12, rng)[..., None]
    snow = np.clip(_SNOW * np.clip(drifts, 0.7, 1.0) + np.float32(0.05), 0.0, 1.0)
    snow = snow * (1.0 - dark * np.array([0.56, 0.5, 0.3], dtype=np.float32))
    out: np.ndarray = land + (snow - land) * (np.float32(strength) * np.clip(amount, 0.0, 0.96))[..., None]
    return out


def _leaf(canvas: Canvas, at: tuple[float, float], reach: float, turn: float, color: Color) -> None:
    """A small pointed leaf or petal lying at any angle (`turn` in 0..1)."""
    cos, sin = float(np.cos(2.0 * np.pi * turn)), float(np.sin(2.0 * np.pi * turn))
    corners = ((-1.4, 0.0), (-0.3, -0.75), (0.6, -0.6), (1.4, 0.0), (0.6, 0.6), (-0.3, 0.75))
    canvas.polygon(
        [(at[0] + reach * (cos * u - sin * v), at[1] + reach * (sin * u + cos * v)) for u, v in corners], color
    )


def drift(overlay: Overlay, season: str, coverage: np.ndarray) -> None:
    """Leaves of autumn or petals of spring in the air, beside the things and not over them."""
    colors = _LEAVES if season == "autumn" else _BLOSSOMS
    reach = 0.016 if season == "autumn" else 0.011
    size = len(coverage)
    for x, y, turn, tone in overlay.rng.random((26, 4)):
        if coverage[min(size - 1, int(0.9 * y * size)), min(size - 1, int(x * size))] < 0.1:
            _leaf(overlay, (x, 0.9 * y), reach * (0.7 + 0.6 * tone), turn, colors[int(tone * len(colors))])


def adorn(
    land: np.ndarray, sky: np.ndarray, rng: np.random.Generator, season: str, grounded: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Let a branch of the season reach in from an upper corner, and strew leaves or petals on the ground, if any.

    Gives the picture and what is left of the sky.
    """
    overlay = Overlay(land.shape[0], rng)
    _branch(overlay, season, _clear_side(land, rng))
    if grounded and season in ("spring", "autumn"):
        rows = np.nonzero(sky.mean(axis=1) > 0.2)[0]
        _strew(overlay, season, max(0.4, rows[-1] / len(sky) if len(rows) else 0.0))
    color, alpha = overlay.layer()
    return land + (color - land) * alpha, sky * (1.0 - alpha[..., 0])


def _strew(overlay: Overlay, season: str, horizon: float) -> None:
    """Leaves or petals on the ground, smaller the farther they lie."""
    colors = _LEAVES if season == "autumn" else _BLOSSOMS
    for x, depth, turn, tone in overlay.rng.random((46, 4)):
        y = horizon + 0.06 + (0.94 - horizon) * depth
        _leaf(overlay, (x, y), 0.006 + 0.014 * depth, turn, colors[int(tone * len(colors))])


def _clear_side(land: np.ndarray, rng: np.random.Generator) -> bool:
    """Whether a branch comes from the right: either side, but in a dark sky not before the moon."""
    right = bool(rng.random() < 0.5)
    bright = luma(land[: max(1, len(land) // 3)])
    if float(bright.mean()) > 0.3:
        return right
    middle = bright.shape[1] // 2
    lights = float(bright[:, :middle].sum()) - float(bright[:, middle:].sum())
    return lights > 0


def _branch(overlay: Overlay, season: str, right: bool) -> None:
    """Two thin twigs with blossoms, leaves or snow, from an upper corner to about a third of the way across."""
    rng = overlay.rng
    for level, long in ((rng.uniform(0.02, 0.06), 0.36), (rng.uniform(0.14, 0.2), 0.22)):
        t = np.linspace(0.0, 1.0, 7)
        xs, ys = long * t - 0.02, level + 0.05 * np.sin(2.6 * t + 2.0 * level) * t + 0.03 * t
        points = [(1.0 - x if right else x, y) for x, y in zip(xs.tolist(), ys.tolist(), strict=True)]
        for k in range(6):
            overlay.line(points[k : k + 2], 0.022 - 0.0024 * k, (86, 58, 44))
            if season == "winter":
                above = [(x, y - 0.015) for x, y in points[k : k + 2]]
                overlay.line(above, 0.026 - 0.0026 * k, (250, 252, 255))
        if season != "winter":
            _foliage(overlay, points, season)


def _foliage(overlay: Overlay, points: list[tuple[float, float]], season: str) -> None:
    """Blossoms or coloured leaves along a branch."""
    for k, dx, dy, tone in overlay.rng.random((26, 4)):
        x, y = points[1 + int(6 * k)]
        at = (x + 0.09 * (dx - 0.5), y + 0.09 * (dy - 0.4))
        if season == "spring":
            color = _BLOSSOMS[int(3 * tone)]
            for turn in (0.0, 0.2, 0.4, 0.6, 0.8):
                angle = 2.0 * np.pi * (turn + tone)
                overlay.disc(at[0] + 0.011 * np.cos(angle), at[1] + 0.011 * np.sin(angle), 0.01, color)
            overlay.disc(*at, 0.006, (214, 84, 128))
        else:
            colors = _LEAVES if season == "autumn" else _GREEN_LEAVES
            _leaf(overlay, at, 0.024, tone * 3.7, colors[int(4 * tone)])
