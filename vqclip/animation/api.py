"""Films from Python: a generator of frames, and one call that writes a file."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

from vqclip.animation.draw import Drawn, FilmDrawer
from vqclip.animation.plan import plan_film
from vqclip.config import Config
from vqclip.config.film import Film
from vqclip.generation.control import Control
from vqclip.generation.models import Models


def animate(
    config: Config, film: Film | None = None, models: Models | None = None, control: Control | None = None
) -> Iterator[Drawn]:
    """Yield the drawn frames of a film, each as soon as it is there, with its camera, losses and score.

    `config` is that of its pictures (`vqclip.make_config("a castle")`), `film` says what moves
    (`vqclip.Film(seconds=4, camera={"zoom": "1.02"})`). Memory does not grow with the number of frames. Raises
    UsageError for what cannot be drawn, before anything is loaded, and what `generate` raises.
    """
    plan = plan_film(film or Film(), config)
    drawer = FilmDrawer(plan, Models.given(plan.picture, models), control)
    wanted = drawer.needed
    kept = dict[int, Image.Image]()
    before: int | None = None
    for number in plan.numbers:
        drawn = drawer.first() if before is None else drawer.next(number, before, kept)
        kept = {key: image for key, image in kept.items() if key in wanted} | {number: drawn.image}
        before = number
        yield drawn
