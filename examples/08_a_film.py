"""Draw a film: look at its frames as they come, then let it become a file, and read back how it was drawn.

python examples/08_a_film.py
"""

import os
from pathlib import Path

import vqclip
from vqclip import images
from vqclip.animation.job import FrameDrawn

STEPS = int(os.environ.get("VQCLIP_EXAMPLE_STEPS", "30"))
SHORT = "VQCLIP_EXAMPLE_STEPS" in os.environ


def main() -> None:
    """Draw twelve frames of a castle that comes nearer and becomes a ship."""
    size, frames = (64, 4) if SHORT else (192, 12)
    config = vqclip.make_config("a castle in the mountains, watercolor", steps=STEPS, size=size, seed=1)
    film = vqclip.make_film(
        frames=frames, fps=6, steps=min(STEPS, 8), to=["a ship at sunset, watercolor"],
        camera={"zoom": "1.02", "rotate": "0:(0), 6:(1)" if frames > 6 else "1"},
    )  # fmt: skip
    models = vqclip.Models.load(config)  # loaded once, for both films

    pictures = []
    for drawn in vqclip.animate(config, film, models):
        print(f"frame {drawn.number}, held-out score {drawn.score:.3f}, camera {drawn.record['frame']['camera']}")
        pictures.append(drawn.image)
    images.contact_sheet(pictures, [str(n) for n in range(len(pictures))], columns=4, cell=128).save("frames.png")

    # as a job the same film is kept frame by frame: if it is stopped, vqclip.FilmJob(resume=FOLDER) goes on
    def listen(event: object) -> None:
        if isinstance(event, FrameDrawn):
            print(f"{event.done} of {event.count} frames are kept")

    outcome = vqclip.run_film(vqclip.FilmJob(config, film, "film.mp4"), listen, models)
    print("wrote", outcome.film, "and", *(Path(path).name for path in outcome.others))


if __name__ == "__main__":
    main()
