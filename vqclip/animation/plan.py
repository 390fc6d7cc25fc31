"""What is settled of a film before a network is loaded: length, rate, size, scenes, tracks, and its files."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqclip.animation.story import Scene, scenes_of
from vqclip.config import Config, checked
from vqclip.config.film import Film, checked_film
from vqclip.errors import UsageError

if TYPE_CHECKING:
    from vqclip.animation.source import Source
    from vqclip.animation.timeline import Timeline

# a draft shows every fourth frame at half the size
_DRAFT_EVERY, _DRAFT_SCALE = 4, 2
_SMALLEST_DRAFT = 32
_DEFAULT_FPS, _DEFAULT_SECONDS = 12.0, 8.0
_LEAST_FPS, _MOST_FPS = 1.0, 60.0


@dataclass(frozen=True)
class Plan:
    """A film whose frames can be counted. `numbers` are those of the frames that are drawn, the first being 0.

    `fps` and `count` are those of the film's time. `shown` are the frames of the file, by their numbers, `shown_fps` is
    their rate; a draft has fewer.
    """

    film: Film
    picture: Config
    scenes: tuple[Scene, ...]
    timeline: Timeline
    numbers: tuple[int, ...]
    shown: tuple[int, ...]
    shown_fps: float
    source: Source | None = None

    @property
    def count(self) -> int:
        """Frames of the film's time."""
        return self.timeline.count

    @property
    def fps(self) -> float:
        """Frames a second of the film's time."""
        return self.timeline.fps

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its frames in pixels."""
        return self.picture.size[0], self.picture.size[1]


def plan_film(film: Film, picture: Config) -> Plan:
    """Settle what a film asks for and check all of it; UsageError, which names frame and option, for what is wrong."""
    film, picture = checked_film(film), checked(picture)
    _check_together(film, picture)
    from vqclip.animation.source import Source
    from vqclip.animation.timeline import Timeline
    from vqclip.writers.clips import VideoSource

    shrunk = 1.0
    if film.draft:
        sides = [max(side // _DRAFT_SCALE, min(side, _SMALLEST_DRAFT)) for side in picture.size]
        shrunk, picture.size = picture.size[0] / sides[0], sides
    size = (picture.size[0], picture.size[1])
    video = None if film.video is None else VideoSource.open(film.video)
    fps = _rate(film, video)
    count = _count(film, video, fps)
    source = None if video is None else Source(video, fps, size, _flow(film))
    audible = film.audio or (film.video if video is not None and video.has_sound else None)
    sound = {} if audible is None else _features(audible, fps, count)
    scenes = scenes_of(film, picture, count, fps)
    timeline = Timeline(film, count, fps, size, shrunk, sound)
    for scene in scenes:
        timeline.check_weights(scene.weights, " | ".join(scene.prompts))
    every = film.every * (_DRAFT_EVERY if film.draft else 1)
    numbers = list(range(0, count, every))
    if not film.draft and numbers[-1] != count - 1:
        numbers.append(count - 1)
    shown, shown_fps = (numbers, max(fps / every, _LEAST_FPS)) if film.draft else (range(count), fps)
    return Plan(film, picture, scenes, timeline, tuple(numbers), tuple(shown), shown_fps, source)


def absolute(film: Film) -> Film:
    """Return a film whose files are found from any folder."""
    found = copy.deepcopy(film)
    for name in ("video", "audio", "storyboard"):
        value = getattr(film, name)
        setattr(found, name, value and os.path.abspath(value))
    for group, name in ((found, "flow"), (found.camera, "depth")):
        if os.path.exists(getattr(group, name)):
            setattr(group, name, os.path.abspath(getattr(group, name)))
    for scene in found.story:
        if isinstance(scene.get("image"), str):
            scene["image"] = os.path.abspath(scene["image"])
    return found


def files_of(film: Film) -> dict[str, str]:
    """Return the files from outside that a film reads, by where its settings name them."""
    named = {"video": film.video, "audio": film.audio, "flow": film.flow, "camera.depth": film.camera.depth}
    files = {key: name for key, name in named.items() if name and os.path.exists(name)}
    for place, scene in enumerate(film.story):
        if isinstance(scene.get("image"), str):
            files[f"story.{place}.image"] = scene["image"]
    return files


def without_paths(film: Film) -> dict[str, Any]:
    """Return a film as plain data in which files have their base names only."""
    values = film.to_dict()
    for name in ("video", "audio", "flow"):
        values[name] = values[name] and Path(values[name]).name
    values["camera"]["depth"] = values["camera"]["depth"] and Path(values["camera"]["depth"]).name
    values["storyboard"] = None
    values["story"] = [
        scene | ({"image": Path(scene["image"]).name} if isinstance(scene.get("image"), str) else {})
        for scene in values["story"]
    ]
    return values


def _check_together(film: Film, picture: Config) -> None:
    """Raise UsageError for settings of which one rules another out."""
    if picture.init.mask is not None:
        raise UsageError("a film takes no mask: it moves, and the mask does not; leave --mask out")
    if picture.count > 1 or picture.only is not None:
        raise UsageError(f"count is {picture.count}: a film is drawn from one seed; leave --count out")
    if film.video is not None:
        if picture.init.image is not None:
            raise UsageError("--init-video and --init-image exclude each other: a video begins with its own frame")
        if film.loop:
            raise UsageError("--loop and --init-video exclude each other: a video ends where it ends")
        if film.to or (film.story and any(scene.get("image") for scene in film.story)):
            raise UsageError("--init-video draws its own frames: leave --to and images of the story out")
    if film.frames is not None and film.seconds is not None:
        raise UsageError(f"frames is {film.frames} and seconds {film.seconds:g}: give one of the two")


def _rate(film: Film, video: Any) -> float:
    if film.fps is not None:
        return film.fps
    return _DEFAULT_FPS if video is None else min(max(float(video.fps), _LEAST_FPS), _MOST_FPS)


def _count(film: Film, video: Any, fps: float) -> int:
    """Return how many frames a film has; of a video at most as many as it has itself."""
    if film.frames is not None:
        asked: int | None = film.frames
    else:
        asked = None if film.seconds is None else max(round(film.seconds * fps), 1)
    if video is None:
        return asked or max(round(_DEFAULT_SECONDS * fps), 1)
    there: int = video.count(fps)
    return there if asked is None else min(asked, there)


def _features(path: str, fps: float, count: int) -> Mapping[str, Any]:
    """Return the features of a sound at each frame, by their names."""
    from vqclip.animation.sound import Sound

    return Sound.read(path).features(fps, count)


def _flow(film: Film) -> Any:
    """Return the flow network that a film names, if it does."""
    if not film.flow:
        return None
    from vqclip.animation.flow import RaftSmall

    return RaftSmall.load(film.flow)
