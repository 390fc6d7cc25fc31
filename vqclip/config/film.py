"""Everything that decides a film beside its pictures: length, camera, story, and what holds frames together.

Torch-free. A text in a field of the camera is a track: see `vqclip.tracks`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vqclip.config.checks import check_fields
from vqclip.config.fields import Trait, put, setting
from vqclip.config.text import check_keys
from vqclip.config.values import typed_layer, typed_tree
from vqclip.errors import UsageError

BORDERS = ("mirror", "wrap", "black", "smear", "prior")
EASES = ("linear", "smooth", "in", "out")
BLENDS = ("sphere", "weights")
MORPHS = ("pixels", "latents")
# as long as the longest video
LONGEST, MOST_FRAMES = 3600.0, 200_000


@dataclass
class CameraConfig:
    """What the camera does from each frame to the next, every field a track.

    Zoom is a factor, `x` and `y` are pixels, `rotate` and the angles degrees, `dolly` a share of the distance.
    """

    zoom: str = setting("1", 'Factor a frame, such as 1.02 or "0:(1.02), 60:(1)".', flags="--zoom", traits=Trait.WHOLE)
    x: str = setting(
        "0",
        "Pixels a frame by which the picture moves to the right.",
        flags="--pan-x --translation-x",
        traits=Trait.WHOLE,
    )
    y: str = setting("0", "Pixels a frame by which it moves down.", flags="--pan-y --translation-y", traits=Trait.WHOLE)
    rotate: str = setting("0", "Degrees a frame, anticlockwise.", flags="--rotate --angle", traits=Trait.WHOLE)
    yaw: str = setting("0", "Degrees a frame that the camera turns to the right.", flags="--yaw", traits=Trait.WHOLE)
    pitch: str = setting("0", "Degrees a frame that it looks up.", flags="--pitch", traits=Trait.WHOLE)
    roll: str = setting("0", "Degrees a frame that it leans over.", flags="--roll", traits=Trait.WHOLE)
    dolly: str = setting(
        "0", "Share of the distance a frame that it comes nearer.", flags="--dolly", traits=Trait.WHOLE
    )
    border: str = setting(
        "mirror", "What comes in at the edge: {choices}.", None, "--border", choices=BORDERS
    )  # fmt: skip
    depth: str = setting("", "Depth model, by name or FILE, over which the camera moves.", flags="--depth",
                         traits=Trait.MODEL | Trait.EMPTY)  # fmt: skip


@dataclass
class Film:
    """What makes pictures a film. `frames` are counted at `fps` a second; every `every`-th of them is drawn.

    `story` is a list of mappings: `at` (a frame, or seconds such as "2s"), `prompt`, and perhaps `seed`, `image`,
    `fade` (seconds) and `cut`. `hold`, `strength` and the camera are tracks.
    """

    seconds: float | None = setting(
        None, "Length in seconds; without it 8, or that of a video.", (0.01, LONGEST), "--seconds --length"
    )
    frames: int | None = setting(
        None, "Length in frames, instead of seconds.", (1, MOST_FRAMES), "--frames --max-frames"
    )
    fps: float | None = setting(None, "Frames a second; without it 12, or those of a video.", (1.0, 60.0), "--fps")
    every: int = setting(
        1, "Draw every N-th frame, and make those between of their neighbours.", (1, 60), "--every --diffusion-cadence"
    )
    steps: int = setting(8, "Optimization steps a frame, after the first.", (0, 10_000), "--frame-steps")
    to: list[str] = setting(
        [], "A further prompt, towards which the film changes; several are spread evenly.", None, "--to",
        traits=Trait.WHOLE | Trait.REPEATED,
    )  # fmt: skip
    story: list[Any] = field(default_factory=list)
    fade: float | None = setting(
        None,
        "Seconds in which one prompt becomes the next; without it 2, of --to all the time.",
        (0.0, LONGEST),
        "--fade",
    )
    ease: str = setting("smooth", "How a prompt becomes the next: {choices}.", flags="--ease", choices=EASES)
    blend: str = setting(
        "sphere",
        "Between prompts: embeddings on a great circle, or weights: {choices}.",
        flags="--blend",
        choices=BLENDS,
    )
    morph: str = setting("pixels", "Between pictures: {choices}.", flags="--morph", choices=MORPHS)
    camera: CameraConfig = field(default_factory=CameraConfig)
    hold: str = setting(
        "4", "How strongly a frame holds to the one before as the camera sees it, a track.", flags="--hold",
        traits=Trait.WHOLE,
    )  # fmt: skip
    colors: float = setting(
        0.5, "Share by which each frame takes the colors of the first one of its scene.", (0.0, 1.0), "--match-colors"
    )
    same_views: bool = setting(True, "Cut the same views in every frame.", flags="--fresh-views")
    renew: float = setting(
        3.0, "Zoom at which the next seed's sketch comes out of the middle; 0: never.", (0.0, 1000.0), "--renew"
    )
    loop: bool = setting(False, "End where the film began.", flags="--loop")
    video: str | None = setting(
        None, "Draw the frames of a video anew.", None, "--init-video --video-init-path", traits=Trait.PATH
    )
    strength: str = setting(
        "0.5", "How far a video's frames are redrawn, 0 to 1, a track.", flags="--strength", traits=Trait.WHOLE
    )
    flow: str = setting("", "Flow model, a FILE of RAFT-small, instead of the built-in flow.", flags="--flow",
                        traits=Trait.MODEL | Trait.EMPTY)  # fmt: skip
    audio: str | None = setting(
        None, "Sound of the film; tracks may use bass, mid, treble, beat, loudness.", None, "--audio", traits=Trait.PATH
    )
    draft: bool = setting(False, "Every fourth frame at half the size, to see the motion.", flags="--draft")
    storyboard: str | None = setting(None, "A sheet of frames over time, a PNG or JPEG.", None, "--storyboard",
                                     traits=Trait.PATH)  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the tree as plain data, ready for JSON and YAML."""
        return asdict(self)


def make_film(**values: Any) -> Film:
    """Return a film for Python callers, such as `make_film(seconds=4, camera={"zoom": "1.02"})`.

    Keywords are the fields of `Film`, `camera` a mapping of those of `CameraConfig`; a number does for a track. Raises
    UsageError for what does not fit.
    """
    return film_from(values)


def film_from(*layers: Mapping[str, Any]) -> Film:
    """Return the film of nested plain data, later layers over earlier ones.

    Raises UsageError for unknown keys, values of another type, and values out of range.
    """
    film = Film()
    for layer in layers:
        check_keys(layer, Film)
        values = dict(layer)
        story = values.pop("story", None)
        if story is not None:
            film.story = _story(story)
        for leaf_key, value in _flat(typed_layer(values, Film)):
            put(film, leaf_key, value)
    return checked_film(film)


def checked_film(film: Film) -> Film:
    """Return a copy of a film, whose fields may have been set to anything, with plain values that are in range."""
    if not isinstance(film, Film):
        raise UsageError(f"the film is of the type {type(film).__name__}: give vqclip.Film(seconds=8)")
    story = _story(film.story)
    bare = copy.copy(film)
    bare.story = []
    plain = typed_tree(bare, Film)
    plain.story = story
    check_fields(plain, Film)
    return plain


def _flat(values: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in values.items():
        key = f"{above}{name}"
        flat += _flat(value, f"{key}.") if key == "camera" else [(key, value)]
    return flat


def _story(value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, Mapping) for each in value):
        raise UsageError("film.story is no list of scenes: write each as a mapping, such as {at: 2s, prompt: a forest}")
    return [dict(each) for each in value]
