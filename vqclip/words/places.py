"""Which setting a picture has, when its prompt names several places, or only weather and time."""

from __future__ import annotations

from collections.abc import Sequence

from vqclip.words.units import Unit

_SETTING_OF = {"rainy": "in the rain", "snowy": "in the snow", "night": "at night", "sunset": "at sunset"}
# places that are a condition of any other place, and which
_SOFT = {"in the snow": ("weather", "snowy"), "in the night sky": ("time", "night")}


def choose(
    places: Sequence[tuple[str, Unit]], traits: dict[str, str], sky: str
) -> tuple[str | None, list[tuple[str, str]]]:
    """Return the setting, and (as written, as drawn) of the places that are drawn otherwise.

    `traits` holds weather, time and background: the other places and conditions are put there, and what became the
    setting is taken out. `sky` is the color that a sky is drawn as.
    """
    firm = [name for name, _ in places if name not in _SOFT and name != "sky"]
    soft = [name for name, _ in places if name in _SOFT]
    if not firm and not soft:
        return _condition([unit for _, unit in places], traits, sky)
    chosen = (firm or soft)[0]
    replaced = []
    for name, unit in places:
        if name in _SOFT and name != chosen:
            traits.setdefault(*_SOFT[name])
        elif name != "sky" and (unit.entry.notable or name != chosen):
            replaced.append((unit.text, chosen))
    return chosen, replaced


def _condition(skies: Sequence[Unit], traits: dict[str, str], sky: str) -> tuple[str | None, list[tuple[str, str]]]:
    """Return the setting that weather or time make where there is no place; a sky is a plain background."""
    if skies and "background" not in traits and "time" not in traits:
        traits["background"] = sky
        return None, [(skies[0].text, f"a {sky} background")]
    for name, value in traits.items():
        if name in ("weather", "time") and value in _SETTING_OF:
            del traits[name]
            return _SETTING_OF[value], []
    return None, []
