"""Where things stand in a setting, and which settings have a ground, weather or walls."""

from __future__ import annotations

# the farthest and the nearest line of feet, as fractions of the side from the top
_STANDING: dict[str, tuple[float, float]] = {
    "in a meadow": (0.66, 0.93),
    "in the desert": (0.7, 0.93),
    "in the snow": (0.68, 0.93),
    "by the sea": (0.89, 0.96),
    "under water": (0.6, 0.9),
    "in the night sky": (0.55, 0.88),
    "in a forest": (0.82, 0.95),
    "in the mountains": (0.89, 0.96),
    "in the city": (0.88, 0.96),
    "at sunset": (0.82, 0.95),
    "on the beach": (0.72, 0.93),
    "in the rain": (0.74, 0.94),
    "at night": (0.76, 0.94),
    "in a room": (0.8, 0.95),
    "in a kitchen": (0.83, 0.96),
    "in the street": (0.76, 0.95),
    "in space": (0.55, 0.88),
    "in a garden": (0.74, 0.94),
    "on a farm": (0.74, 0.94),
    "by a lake": (0.86, 0.96),
}
_PLAIN = (0.7, 0.92)
_FLOATING = frozenset({"under water", "in the night sky", "in space"})
_INDOORS = frozenset({"in a room", "in a kitchen"})
_WITHOUT_WEATHER = frozenset({"under water", "in space"}) | _INDOORS


def standing(setting: str | None) -> tuple[float, float]:
    """The farthest and nearest y of feet in `setting`, as fractions of the side from the top; None: a plain ground.

    Where things float it is the range of their lower edges. Raises KeyError for an unknown setting.
    """
    return _PLAIN if setting is None else _STANDING[setting]


def floats(setting: str | None) -> bool:
    """Whether things float in `setting` (under water, in the night sky, in space) and need no ground."""
    return setting in _FLOATING


def indoors(setting: str | None) -> bool:
    """Whether `setting` has walls around it."""
    return setting in _INDOORS


def open_air(setting: str | None) -> bool:
    """Whether there is weather in `setting`: not indoors, not under water, not in space."""
    return setting not in _WITHOUT_WEATHER
