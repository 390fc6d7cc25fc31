"""What is settled of a film before a network is loaded: length, rate, size, scenes, tracks, and its files."""

from __future__ import annotations

import copy
import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqclip import seeding
from vqclip.animation.sound import Sound
from vqclip.animation.story import Scene, scenes_of
from vqclip.animation.tracks import FilmTracks
from vqclip.config import Config, checked
from vqclip.config.film import CameraConfig, Film, checked_film
from vqclip.errors import UsageError
from vqclip.writers.clips import VideoSource

if TYPE_CHECKING:
    from vqclip.animation.flow import Flow
    from vqclip.animation.source import Source
    from vqclip.animation.timeline import Timeline

# a draft shows every fourth frame at half the size
_DRAFT_EVERY, _DRAFT_SCALE = 4, 2
_SMALLEST_DRAFT = 32
_DEFAULT_FPS, _DEFAULT_SECONDS = 12.0, 8.0
_LEAST_FPS, _MOST_FPS = 1.0, 60.0


@dataclass(frozen=True)
class Outline:
    """What can be settled of a film without torch, and what is wrong in it be told of at once.

    `asked` is the config of its pictures with their seed, `picture` that of a draft's smaller ones, which are `shrunk`
    times as small. `tracks` hold the film's length and rate. `video` is what it draws anew, if it does.
    """

    asked: Config
    picture: Config
    shrunk: float
    scenes: tuple[Scene, ...]
    tracks: FilmTracks
    video: VideoSource | None = None

    @classmethod
    def of(cls, film: Film, picture: Config) -> Outline:
        """Settle what a film asks for and check all of it; UsageError, which names frame and option, for mistakes."""
        film, asked = checked_film(film), checked(picture)
        _check_together(film, asked)
        if asked.seed == -1:
            asked.seed = seeding.fresh()  # once, for all scenes
        video = None if film.video is None else VideoSource.open(film.video)
        fps = _rate(film, video)
        count = _count(film, video, fps)
        audible = film.audio or (film.video if video is not None and video.has_sound else None)
        features = {} if audible is None else _heard(audible).features(fps, count)
        tracks = FilmTracks(film, count, fps, {name: values.tolist() for name, values in features.items()})
        tracks.check()
        scenes = scenes_of(film, asked, count, fps)
        for scene in scenes:
            tracks.check_weights(scene.weights, " | ".join(scene.prompts))
        smaller, shrunk = copy.deepcopy(asked), 1.0
        if film.draft:
            scale = max(min(_DRAFT_SCALE, min(asked.size) / _SMALLEST_DRAFT), 1.0)
            smaller.size = [round(side / scale) for side in asked.size]
            shrunk = asked.size[0] / smaller.size[0]
        return cls(asked, smaller, shrunk, scenes, tracks, video)


@dataclass(frozen=True)
class Plan:
    """A film whose frames can be counted. `numbers` are those of the frames that are drawn, the first being 0.

    `asked` and `picture` are those of its `Outline`. `fps` and `count` are those of the film's time. `shown` are the
    frames of the file, by their numbers, `shown_fps` is their rate; a draft has fewer. `flow` is the network that
    frames between drawn ones follow, if one was given.
    """

    film: Film
    asked: Config
    picture: Config
    scenes: tuple[Scene, ...]
    timeline: Timeline
    numbers: tuple[int, ...]
    shown: tuple[int, ...]
    shown_fps: float
    source: Source | None = None
    flow: Flow | None = None

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
    """Settle a film and load the flow network that it names; raises what `Outline.of` does, and WeightsError."""
    outline = Outline.of(film, picture)
    from vqclip.animation.source import Source
    from vqclip.animation.timeline import Timeline

    tracks, size = outline.tracks, (outline.picture.size[0], outline.picture.size[1])
    film, count, fps = tracks.film, tracks.count, tracks.fps
    timeline = Timeline(film, count, fps, size, outline.shrunk, tracks.sound)
    flow = _flow(film)
    source = None if outline.video is None else Source(outline.video, fps, size, flow)
    every = film.every * (_DRAFT_EVERY if film.draft else 1)
    numbers = list(range(0, count, every))
    if not film.draft and numbers[-1] != count - 1:
        numbers.append(count - 1)
    shown, shown_fps = (numbers, max(fps / every, _LEAST_FPS)) if film.draft else (range(count), fps)
    return Plan(
        film, outline.asked, outline.picture, outline.scenes, timeline, tuple(numbers), tuple(shown), shown_fps,
        source, flow,
    )  # fmt: skip


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
        if film.camera != CameraConfig():
            raise UsageError("--init-video moves as its own camera did: leave the camera's options out")
    if film.frames is not None and film.seconds is not None:
        raise UsageError(f"frames is {film.frames} and seconds {film.seconds:g}: give one of the two")


def _rate(film: Film, video: VideoSource | None) -> float:
    if film.fps is not None:
        return film.fps
    return _DEFAULT_FPS if video is None else min(max(float(video.fps), _LEAST_FPS), _MOST_FPS)


def _count(film: Film, video: VideoSource | None, fps: float) -> int:
    """Return how many frames a film has; of a video at most as many as it has itself."""
    asked = film.frames
    if asked is None and film.seconds is not None:
        asked = max(round(film.seconds * fps), 1)
    if video is None:
        return asked or max(round(_DEFAULT_SECONDS * fps), 1)
    there = video.count(fps)
    return there if asked is None else min(asked, there)


def _heard(path: str) -> Sound:
    """Return the sound of a file; the same one is listened to once, though a film is settled again when it is drawn."""
    try:
        status = os.stat(path)
    except OSError:
        return Sound.read(path)  # which says what is wrong
    return _listened(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _listened(path: str, size: int, changed: int) -> Sound:
    return Sound.read(path)


def _flow(film: Film) -> Flow | None:
    """Return the flow network that a film names, if it does."""
    if not film.flow:
        return None
    from vqclip.animation.flow import RaftSmall

    return RaftSmall.load(film.flow)
