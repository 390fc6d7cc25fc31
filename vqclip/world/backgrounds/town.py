"""The town: in the city, in the street."""

from __future__ import annotations

import numpy as np

from vqclip.world.backgrounds.canvas import Canvas, Color, clouds, toned


def city(canvas: Canvas) -> None:
    """Tall houses behind a road, by day or at dusk."""
    rng = canvas.rng
    dusk = rng.random() < 0.4
    sky = ((38, 46, 92), (206, 130, 120)) if dusk else ((140, 186, 226), (224, 232, 236))
    canvas.gradient([(0, canvas.tint(sky[0])), (1, canvas.tint(sky[1]))], 0.0, 0.85)
    canvas.mark_sky(y1=0.85)
    for layer in range(2):
        x = -rng.uniform(0.0, 0.1)
        while x < 1.0:
            wide, top = rng.uniform(0.12, 0.2), rng.uniform(0.06, 0.34) + 0.2 * layer
            _building(canvas, x, top, wide, 0.86, layer, dusk)
            x += wide + rng.uniform(0.0, 0.03)
    canvas.box(0.0, 0.86, 1.0, 1.0, canvas.tint((74, 76, 82), 5.0))
    canvas.box(0.0, 0.855, 1.0, 0.875, (168, 168, 166))
    for slot in range(5):
        canvas.box(slot / 5 + 0.04, 0.93, slot / 5 + 0.13, 0.948, (236, 226, 160))


def _building(canvas: Canvas, x: float, top: float, wide: float, foot: float, layer: int, dusk: bool) -> None:
    tones = ((116, 122, 138), (138, 118, 112), (104, 112, 120), (146, 138, 126))
    tone = tones[int(canvas.rng.integers(4))]
    dim = (0.42 if dusk else 1.0) * (0.8 if layer else 1.0)
    canvas.box(x, top, x + wide, foot, tuple(int(value * dim) for value in tone))
    lit = (255, 222, 120) if dusk else (206, 226, 240)
    dark = tuple(int(value * dim * 0.62) for value in tone)
    across = 3
    on = canvas.rng.random((10, across))
    step = wide / (across + 0.35)
    for row in range(10):
        y = top + 0.04 + 0.075 * row
        if y > foot - 0.05:
            break
        for column in range(across):
            left = x + step * (column + 0.35)
            canvas.box(left, y, left + 0.62 * step, y + 0.036, lit if on[row, column] < 0.6 else dark)


def street(canvas: Canvas) -> None:
    """A road between two rows of coloured houses that run to a vanishing point."""
    rng = canvas.rng
    eye = (rng.uniform(0.44, 0.56), rng.uniform(0.46, 0.52))
    canvas.gradient([(0, canvas.tint((108, 180, 236))), (1, canvas.tint((220, 236, 246)))], 0.0, eye[1] + 0.02)
    clouds(canvas, int(rng.integers(0, 3)), 0.2, (250, 252, 254))
    canvas.mark_sky(y1=eye[1] + 0.02)
    canvas.box(0.0, eye[1], 1.0, 1.0, canvas.tint((186, 178, 168), 5.0))
    view = _View(canvas, eye)
    view.quad(((-0.36, 0.52), (0.36, 0.52)), 0.6, 9.0, canvas.tint((92, 94, 102), 5.0))
    for near in (0.95, 1.3, 1.9, 3.0):
        view.quad(((-0.012, 0.52), (0.012, 0.52)), near, near * 1.16, (246, 240, 214))
    for side in (-1.0, 1.0):
        depths = 0.62 + np.cumsum(np.r_[0.0, rng.uniform(0.45, 0.62, 3), rng.uniform(0.8, 1.1, 3)])
        for near, far in zip(depths[-2::-1], depths[:0:-1], strict=True):
            _townhouse(view, side, float(near), float(far))
    for side in (-1.0, 1.0):
        _street_lamp(view, side * 0.44, rng.uniform(0.98, 1.2))


class _View:
    """A street seen from its middle: x to the right, y down from the eye, z away from it."""

    def __init__(self, canvas: Canvas, eye: tuple[float, float]) -> None:
        self.canvas = canvas
        self.eye = eye

    def point(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Where a point of the street lies in the picture."""
        return self.eye[0] + x / z, self.eye[1] + y / z

    def quad(
        self, ends: tuple[tuple[float, float], tuple[float, float]], near: float, far: float, color: Color
    ) -> None:
        """Fill the strip between two lines that run away from the eye, from `near` to `far`."""
        (xa, ya), (xb, yb) = ends
        corners = [(xa, ya, near), (xb, yb, near), (xb, yb, far), (xa, ya, far)]
        self.canvas.polygon([self.point(*corner) for corner in corners], color)


_FRONTS = ((226, 120, 96), (240, 200, 120), (134, 178, 200), (226, 214, 196), (170, 196, 150), (208, 140, 150))


def _townhouse(view: _View, side: float, near: float, far: float) -> None:
    """One house front along the street, with windows, a door and a roof."""
    canvas, rng = view.canvas, view.canvas.rng
    wall, top = side * 0.56, -rng.uniform(0.36, 0.56)
    front = canvas.tint(_FRONTS[int(rng.integers(6))])
    dark = toned(front, 0.62)
    # the near end of a house that is taller than the one before it
    view.canvas.polygon(
        [view.point(wall, top, near), view.point(side * 1.5, top, near), view.point(side * 1.5, 0.5, near),
         view.point(wall, 0.5, near)], toned(front, 0.8)
    )  # fmt: skip
    view.quad(((wall, top), (wall, 0.5)), near, far, front)
    view.quad(((wall, top - 0.05), (wall, top + 0.01)), near, far, dark)
    span = far - near
    across = 2 if span < 0.8 else 3
    for row in range(3):
        y = top + 0.1 + 0.28 * row
        if y + 0.16 > 0.4:
            break
        for column in range(across):
            z = near + span * (column + 0.28) / across
            view.quad(((wall, y), (wall, y + 0.15)), z, z + 0.48 * span / across, (66, 100, 150))
            view.quad(((wall, y + 0.15), (wall, y + 0.175)), z, z + 0.48 * span / across, (246, 242, 234))
    z = near + span * rng.uniform(0.2, 0.6)
    view.quad(((wall, 0.24), (wall, 0.5)), z, z + 0.22 * span, dark)


def _street_lamp(view: _View, x: float, z: float) -> None:
    """A lamp post on the pavement."""
    foot, top = view.point(x, 0.5, z), view.point(x, -0.2, z)
    view.canvas.line([foot, top], 0.013 / z, (50, 56, 60))
    view.canvas.oval(top[0], top[1], 0.03 / z, 0.035 / z, (250, 240, 200))
    view.canvas.box(top[0] - 0.026 / z, top[1] - 0.045 / z, top[0] + 0.026 / z, top[1] - 0.028 / z, (50, 56, 60))
