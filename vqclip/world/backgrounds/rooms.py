"""Indoors: in a room, in a kitchen."""

from __future__ import annotations

from itertools import pairwise

from vqclip.world.backgrounds.canvas import Canvas, Color, toned

_WALLS = ((240, 214, 176), (204, 220, 196), (236, 196, 178), (214, 200, 222), (244, 228, 196), (186, 206, 208))
_CLOTHS = ((190, 70, 70), (70, 110, 160), (90, 140, 100), (200, 130, 60), (140, 90, 150))


def room(canvas: Canvas) -> None:
    """A living room: wall, wooden floor with a rug, a window with curtains, a lamp and a shelf at the sides."""
    rng = canvas.rng
    floor = rng.uniform(0.66, 0.72)
    side = 1.0 if rng.random() < 0.5 else -1.0
    wall = canvas.tint(_WALLS[int(rng.integers(6))], 6.0)
    canvas.gradient([(0, toned(wall, 0.93)), (1, wall)], 0.0, floor)
    if rng.random() < 0.5:
        for k in range(9):
            canvas.box(k / 8 - 0.03, 0.0, k / 8 + 0.03, floor, toned(wall, 0.955))
    cloth = canvas.tint(_CLOTHS[int(rng.integers(5))])
    _window(canvas, 0.5 + side * rng.uniform(0.2, 0.26), 0.3, 0.15, 0.17)
    _curtains(canvas, 0.5 + side * 0.23, cloth)
    _floorboards(canvas, floor, canvas.tint((178, 122, 76), 8.0))
    canvas.box(0.0, floor - 0.03, 1.0, floor, (248, 244, 236))
    rug = canvas.tint(_CLOTHS[int(rng.integers(5))], 16.0)
    canvas.oval(0.5, 0.87, 0.4, 0.085, rug)
    canvas.oval(0.5, 0.87, 0.35, 0.07, toned(rug, 1.0, 46))
    canvas.oval(0.5, 0.87, 0.31, 0.06, rug)
    if rng.random() < 0.5:
        _bookcase(canvas, 0.5 - side * 0.4, floor + 0.02)
    else:
        _picture(canvas, 0.5 - side * 0.18, 0.24)
        _floor_lamp(canvas, 0.5 - side * 0.38, floor + 0.05, cloth)


def _window(canvas: Canvas, x: float, y: float, half: float, tall: float) -> None:
    """A window with a cross of bars; what it shows is sky."""
    canvas.box(x - half - 0.02, y - tall - 0.02, x + half + 0.02, y + tall + 0.02, (250, 248, 244))
    x0, y0, x1, y1 = x - half, y - tall, x + half, y + tall
    canvas.box(x0, y0, x1, y1, canvas.tint((158, 210, 244)))
    canvas.oval(x - 0.2 * half, y - 0.3 * tall, 0.5 * half, 0.16 * tall, (244, 250, 254))
    canvas.oval(x + 0.3 * half, y + 0.1 * tall, 0.5 * half, 0.14 * tall, (244, 250, 254))
    canvas.mark_sky(x0, y0, x1, y1)
    canvas.box(x - 0.009, y0, x + 0.009, y1, (250, 248, 244))
    canvas.box(x0, y - 0.009, x1, y + 0.009, (250, 248, 244))


def _curtains(canvas: Canvas, x: float, color: Color) -> None:
    """Cloth drawn to both sides of a window, on a rod."""
    dark = toned(color, 0.8)
    for side in (-1.0, 1.0):
        outer, inner = x + side * 0.24, x + side * 0.13
        canvas.polygon([(outer, 0.09), (inner, 0.09), (inner + side * 0.05, 0.54), (outer, 0.54)], color)
        for fold in (0.03, 0.07):
            canvas.line([(outer - side * fold, 0.09), (outer - side * 0.8 * fold, 0.54)], 0.01, dark)
    canvas.line([(x - 0.27, 0.085), (x + 0.27, 0.085)], 0.016, (110, 78, 52))


def _floorboards(canvas: Canvas, top: float, color: Color) -> None:
    """Wooden boards that run away from the eye."""
    canvas.gradient([(0, toned(color, 0.86)), (1, color)], top, 1.0)
    seam = toned(color, 0.76)
    for k in range(-7, 8):
        canvas.line([(0.5 + 0.085 * k, top), (0.5 + 0.16 * k, 1.0)], 0.006, seam)
    for place, row in canvas.rng.random((14, 2)):
        y, k = top + 0.02 + (0.98 - top) * row, int(12 * place) - 6
        pitch = 0.085 + 0.075 * (y - top) / (1.0 - top)
        canvas.line([(0.5 + pitch * k, y), (0.5 + pitch * (k + 1), y)], 0.006, seam)


def _bookcase(canvas: Canvas, x: float, foot: float) -> None:
    """Shelves of coloured book backs."""
    half, top = 0.1, 0.12
    canvas.box(x - half, top, x + half, foot, (120, 82, 54))
    pitch = (foot - top) / 4
    colors = ((180, 70, 60), (60, 100, 150), (220, 180, 90), (80, 130, 90), (230, 224, 210), (120, 80, 130))
    for row in range(4):
        base = top + pitch * (row + 1) - 0.015
        canvas.box(x - half + 0.012, base - pitch + 0.03, x + half - 0.012, base, (84, 56, 38))
        for k, (tall, tone) in enumerate(canvas.rng.random((7, 2))):
            left = x - half + 0.016 + 0.0245 * k
            canvas.box(left, base - pitch * (0.5 + 0.25 * tall), left + 0.021, base, colors[int(6 * tone)])


def _picture(canvas: Canvas, x: float, y: float) -> None:
    """A framed landscape on the wall, too simple to be looked at."""
    canvas.box(x - 0.075, y - 0.06, x + 0.075, y + 0.06, (120, 86, 50))
    canvas.box(x - 0.06, y - 0.045, x + 0.06, y + 0.01, canvas.tint((190, 214, 226)))
    canvas.box(x - 0.06, y + 0.01, x + 0.06, y + 0.045, canvas.tint((140, 170, 110)))


def _floor_lamp(canvas: Canvas, x: float, foot: float, color: Color) -> None:
    """A standing lamp with a shade."""
    canvas.glow(x, 0.34, 0.2, (255, 240, 190), 0.55)
    canvas.oval(x, foot, 0.05, 0.014, (84, 66, 54))
    canvas.line([(x, foot), (x, 0.36)], 0.013, (84, 66, 54))
    shade = toned(color, 0.4, 150)
    canvas.polygon([(x - 0.045, 0.26), (x + 0.045, 0.26), (x + 0.08, 0.38), (x - 0.08, 0.38)], shade)


def kitchen(canvas: Canvas) -> None:
    """Tiles, cupboards above and below a worktop, a stove at one side, a window, a checked floor."""
    rng = canvas.rng
    floor, top = rng.uniform(0.74, 0.78), rng.uniform(0.5, 0.53)
    side = 1.0 if rng.random() < 0.5 else -1.0
    wall = canvas.tint(((232, 240, 240), (246, 236, 210), (214, 232, 226), (240, 222, 214))[int(rng.integers(4))], 4.0)
    wood = canvas.tint(((96, 150, 160), (214, 186, 140), (232, 232, 226), (140, 168, 120), (190, 96, 80))[
        int(rng.integers(5))
    ], 8.0)  # fmt: skip
    canvas.box(0.0, 0.0, 1.0, floor, wall)
    _tiles(canvas, wall, 0.0, top)
    _window(canvas, 0.5 - side * rng.uniform(0.0, 0.06), 0.22, 0.14, 0.13)
    for left in (-0.02, 0.75):
        _doors(canvas, left, 0.02, left + 0.27, 0.27, wood, 2)
    _doors(canvas, -0.02, top + 0.03, 1.02, floor, wood, 6)
    canvas.box(0.0, top, 1.0, top + 0.035, canvas.tint((120, 92, 70), 8.0))
    canvas.box(0.0, floor - 0.02, 1.0, floor, toned(wood, 0.5))
    _stove(canvas, 0.5 + side * 0.34, top, floor)
    _shelf_things(canvas, 0.5 - side * 0.36, top)
    _checks(canvas, floor)


def _tiles(canvas: Canvas, wall: Color, top: float, bottom: float) -> None:
    grout = toned(wall, 0.88)
    for k in range(1, 12):
        canvas.line([(k / 12, top), (k / 12, bottom)], 0.005, grout)
    for k in range(1, 7):
        canvas.line([(0.0, bottom - k / 12), (1.0, bottom - k / 12)], 0.005, grout)


def _doors(canvas: Canvas, x0: float, y0: float, x1: float, y1: float, color: Color, count: int) -> None:
    """A row of cupboard doors with handles."""
    canvas.box(x0, y0, x1, y1, toned(color, 0.74))
    pitch = (x1 - x0) / count
    for k in range(count):
        left, right = x0 + pitch * k + 0.008, x0 + pitch * (k + 1) - 0.008
        canvas.box(left, y0 + 0.01, right, y1 - 0.012, color)
        handle = right - 0.02 if k % 2 == 0 else left + 0.012
        canvas.box(handle, y0 + 0.09, handle + 0.009, y0 + 0.14, (74, 70, 66))


def _stove(canvas: Canvas, x: float, top: float, floor: float) -> None:
    """A stove with an oven door, a pot on it and a hood above."""
    steel = (206, 208, 212)
    canvas.polygon([(x - 0.13, 0.3), (x + 0.13, 0.3), (x + 0.06, 0.2), (x - 0.06, 0.2)], steel)
    canvas.box(x - 0.05, 0.0, x + 0.05, 0.2, (186, 188, 194))
    canvas.box(x - 0.13, 0.3, x + 0.13, 0.325, (150, 152, 158))
    canvas.box(x - 0.13, top - 0.005, x + 0.13, floor, steel)
    canvas.box(x - 0.1, top + 0.085, x + 0.1, floor - 0.04, (52, 54, 60))
    for k in range(4):
        canvas.disc(x - 0.09 + 0.06 * k, top + 0.04, 0.014, (60, 62, 68))
    pot = canvas.tint(((200, 70, 60), (70, 110, 150), (230, 160, 60))[int(canvas.rng.integers(3))])
    canvas.box(x - 0.06, top - 0.075, x + 0.05, top - 0.005, pot)
    canvas.box(x - 0.085, top - 0.06, x + 0.075, top - 0.045, toned(pot, 0.6))
    canvas.box(x - 0.065, top - 0.085, x + 0.055, top - 0.073, toned(pot, 0.75))


def _shelf_things(canvas: Canvas, x: float, top: float) -> None:
    """Jars on the worktop."""
    for k, (tall, tone) in enumerate(canvas.rng.random((3, 2))):
        left, high = x - 0.08 + 0.056 * k, 0.06 + 0.04 * tall
        body = ((220, 200, 160), (180, 206, 190), (230, 150, 110))[int(3 * tone)]
        canvas.box(left, top - high, left + 0.044, top, body)
        canvas.box(left - 0.003, top - high - 0.014, left + 0.047, top - high, (128, 96, 66))


def _checks(canvas: Canvas, floor: float) -> None:
    """A floor of light and dark squares that run away from the eye."""
    pairs = (((240, 236, 226), (96, 104, 112)), ((246, 240, 226), (190, 110, 84)), ((236, 240, 240), (110, 150, 160)))
    light, dark = pairs[int(canvas.rng.integers(3))]
    canvas.box(0.0, floor, 1.0, 1.0, light)
    rows = [floor + (1.0 - floor) * share for share in (0.0, 0.13, 0.31, 0.57, 1.0)]
    for row, (y0, y1) in enumerate(pairwise(rows)):
        for k in range(-8, 8):
            if (k + row) % 2:
                continue
            pitches = [0.11 + 0.13 * (y - floor) / (1.0 - floor) for y in (y0, y1)]
            upper, lower = pitches
            canvas.polygon(
                [
                    (0.5 + upper * k, y0),
                    (0.5 + upper * (k + 1), y0),
                    (0.5 + lower * (k + 1), y1),
                    (0.5 + lower * k, y1),
                ],
                dark,
            )
