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
_TRACK = Trait.WHOLE | Trait.TRACK


@dataclass
class CameraConfig:
    """What the camera does from each frame to the next, every field a track.

    Zoom is a factor, `x` and `y` are pixels, `rotate` and the angles degrees, `dolly` a share of the distance.
    """

    zoom: str = setting(
        "1", 'How many times as large each frame shows the one before: 1.02, or "0:(1.02), 60:(1)".', flags="--zoom",
        traits=_TRACK,
    )  # fmt: skip
    x: str = setting(
        "0", "Pixels a frame by which the picture moves to the right.", flags="--pan-x --translation-x", traits=_TRACK
    )
    y: str = setting(
        "0", "Pixels a frame by which the picture moves down.", flags="--pan-y --translation-y", traits=_TRACK
    )
    rotate: str = setting(
        "0", "Degrees a frame by which the picture turns anticlockwise.", flags="--rotate --angle", traits=_TRACK
    )
    yaw: str = setting("0", "Degrees a frame by which the camera looks to the right.", flags="--yaw", traits=_TRACK)
    pitch: str = setting("0", "Degrees a frame by which the camera looks up.", flags="--pitch", traits=_TRACK)
    roll: str = setting("0", "Degrees a frame by which the camera leans over.", flags="--roll", traits=_TRACK)
    dolly: str = setting(
        "0", "Share of its distance by which the camera comes nearer each frame: 0.02.", flags="--dolly", traits=_TRACK
    )
    border: str = setting(
        "mirror", "What comes in at the edges of the picture: {choices}.", None, "--border", choices=BORDERS
    )  # fmt: skip
    depth: str = setting(
        "", "Depth model, a name or a FILE: near things move more than far ones.", flags="--depth",
        traits=Trait.MODEL | Trait.EMPTY,
    )  # fmt: skip


@dataclass
class Film:
    """What makes pictures a film. `frames` are counted at `fps` a second; every `every`-th of them is drawn.

    `story` is a list of mappings: `at` (a frame, or seconds such as "2s"), `prompt`, and perhaps `seed`, `image`,
    `fade` (seconds) and `cut`. `hold`, `strength` and all of the camera but `border` and `depth` are tracks.
    """

    seconds: float | None = setting(
        None, "Length in seconds; 8 if not given, or as long as the video.", (0.01, LONGEST), "--seconds --length"
    )
    frames: int | None = setting(
        None, "Length in frames, instead of seconds.", (1, MOST_FRAMES), "--frames --max-frames"
    )
    fps: float | None = setting(
        None, "Frames a second; 12 if not given, or as many as the video has.", (1.0, 60.0), "--fps"
    )
    every: int = setting(
        1,
        "Draw only each N-th frame, and blend those between from their neighbours: N times as fast.",
        (1, 60),
        "--every --diffusion-cadence",
    )
    steps: int = setting(
        8, "Optimization steps of each frame after the first; 0 only moves the camera.", (0, 10_000), "--frame-steps"
    )
    to: list[str] = setting(
        [], "A prompt that the film changes into; give it again for more, evenly spread over time.", None, "--to",
        traits=Trait.WHOLE | Trait.REPEATED,
    )  # fmt: skip
    story: list[Any] = field(default_factory=list)
    fade: float | None = setting(
        None,
        "Seconds in which one prompt becomes the next; 2 if not given, with --to all the time between.",
        (0.0, LONGEST),
        "--fade",
    )
    ease: str = setting(
        "smooth",
        "How the change from one prompt to the next speeds up and slows down: {choices}.",
        flags="--ease",
        choices=EASES,
    )
    blend: str = setting(
        "sphere",
        "What CLIP aims at between prompts: a point between both, or both by weight: {choices}.",
        flags="--blend",
        choices=BLENDS,
    )
    morph: str = setting("pixels", "Where one picture becomes the next: {choices}.", flags="--morph", choices=MORPHS)
    camera: CameraConfig = field(default_factory=CameraConfig)
    hold: str = setting(
        "12", "How strongly a frame holds to the one before, 0: not at all; more flickers less.", flags="--hold",
        traits=_TRACK,
    )  # fmt: skip
    colors: float = setting(
        0.5,
        "How far frames without a sketch take the colors of their scene's first one, 0 to 1.",
        (0.0, 1.0),
        "--match-colors",
    )
    same_views: bool = setting(
        True, "Let CLIP look at other random cuts in each frame: livelier, and flickers more.", flags="--fresh-views"
    )
    renew: float = setting(
        3.0, "Total zoom after which a new sketch comes out of the middle; 0: never.", (0.0, 1000.0), "--renew"
    )
    loop: bool = setting(
        False, "End with what the film began with, so that it can be played round and round.", flags="--loop"
    )
    video: str | None = setting(
        None,
        "Draw a video anew, frame by frame, after the prompt.",
        None,
        "--init-video --video-init-path",
        traits=Trait.PATH,
    )
    strength: str = setting(
        "0.5", "How far the frames of --init-video are changed, 0 to 1.", flags="--strength", traits=_TRACK
    )
    flow: str = setting(
        "", "Flow model, a FILE of RAFT-small: what moves in --init-video, and in frames between with --every.", None,
        "--flow", traits=Trait.MODEL | Trait.EMPTY,
    )  # fmt: skip
    audio: str | None = setting(
        None,
        "Sound of the film; tracks can follow its bass, mid, treble, beat and loudness.",
        None,
        "--audio",
        traits=Trait.PATH,
    )
    draft: bool = setting(
        False, "Draw only each fourth frame at half the size, to see the motion soon.", flags="--draft"
    )
    storyboard: str | None = setting(
        None, "A sheet with frames of the film and their times, to be written too: FILE.png or FILE.jpg.", None,
        "--storyboard", traits=Trait.PATH,
    )  # fmt: skip

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
