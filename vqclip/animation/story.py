"""What a film shows at which time: scenes, from the command line, a text, YAML, or Deforum's JSON. Torch-free."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vqclip import prompts
from vqclip.config import Config
from vqclip.config.film import MOST_FRAMES, Film
from vqclip.config.text import read_text
from vqclip.config.values import read_seed, shown
from vqclip.errors import UsageError, nearest, one_line
from vqclip.tracks import Track

_FADE = 2.0  # seconds from one prompt to the next
_KEYS = ("at", "prompt", "prompts", "negative", "seed", "image", "fade", "cut")
_MOST = 1000
# a weight that is a track: "a castle:(1-s/8)"
_WEIGHT = re.compile(r"(?<!\\):\s*\((.*)\)\s*$", re.DOTALL)
# a line of a text: "12: a castle", "2s: a castle", "2s cut: a castle"
_LINE = re.compile(r"^\s*(\d+(?:\.\d+)?\s*s?)\s*(cut)?\s*:\s*(.+)$", re.IGNORECASE)
_NEGATIVE = re.compile(r"\s--neg(?:ative)?\s", re.IGNORECASE)


@dataclass(frozen=True)
class Scene:
    """What is shown from the frame `at` on; the scene before it fades out in so many frames, unless it is cut.

    `weights` are those of prompts, by their place, that are tracks. Without `seed` it is the film's.
    """

    at: int
    prompts: tuple[str, ...]
    negative: tuple[str, ...] = ()
    weights: Mapping[int, Track] = field(default_factory=dict)
    seed: int | None = None
    image: str | None = None
    fade: int = 0

    @property
    def stop(self) -> int:
        """The first frame that shows nothing but this scene."""
        return self.at + self.fade


def read_story(path: Path) -> list[dict[str, Any]]:
    """Return the scenes of a file as a film's `story`; UsageError for one that holds none.

    A text has a prompt a line, with a time (`2s: a castle`, `24 cut: a forest`) or spread evenly. YAML and JSON hold
    a list of scenes, or a mapping of times to prompts as Deforum has it.
    """
    text = read_text(path, "story")
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        try:
            data = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
        except (ValueError, yaml.YAMLError, RecursionError) as error:
            raise UsageError(f"the story {path} cannot be read: {one_line(error)[:200]}") from None
        scenes = _of_data(data, path)
    else:
        scenes = _of_lines(text)
    if not scenes:
        raise UsageError(f"the story {path} holds no prompt: write one a line, such as '2s: a forest'")
    return scenes


def _of_lines(text: str) -> list[dict[str, Any]]:
    scenes = list[dict[str, Any]]()
    for line in (line.strip() for line in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        scenes.append(
            {"prompt": line}
            if match is None
            else {"at": match[1].strip(), "cut": bool(match[2]), "prompt": match[3].strip()}
        )
    return scenes


def _of_data(data: Any, path: Path) -> list[dict[str, Any]]:
    if isinstance(data, Mapping):
        if not all(isinstance(value, str) for value in data.values()):
            raise UsageError(f"the story {path}: a mapping has times and prompts, such as '2s': a forest")
        return [{"at": str(at), **_deforum(text)} for at, text in data.items()]
    if isinstance(data, list) and all(isinstance(each, (Mapping, str)) for each in data):
        return [{"prompt": each} if isinstance(each, str) else dict(each) for each in data]
    raise UsageError(f"the story {path} is no list of scenes: write each as {{at: 2s, prompt: a forest}}")


def _deforum(text: str) -> dict[str, Any]:
    """Split off what Deforum's prompts do not want."""
    wanted, *unwanted = _NEGATIVE.split(text, maxsplit=1)
    return {"prompt": wanted, "negative": unwanted[0]} if unwanted else {"prompt": wanted}


def scenes_of(film: Film, picture: Config, count: int, fps: float) -> tuple[Scene, ...]:
    """Return the scenes of a film of `count` frames in their order; the first begins at frame 0.

    Raises UsageError for scenes out of order or beyond the end, and for what none of them can be.
    """
    given = _given(film, picture)
    # scenes without times share the film evenly; the last one is whole at the end, or half-way back to the first
    shares, length = (len(given), count) if film.loop else (max(len(given) - 1, 1), count - 1)
    evenly = [round(place * length / shares) for place in range(len(given))]
    if len(given) > count:
        raise UsageError(f"{len(given)} prompts in {count} frames: make the film longer, or give fewer")
    whole = [_frame_of(each, evenly[place], fps) for place, each in enumerate(given)]
    _check_order(whole, count)
    scenes = []
    for place, each in enumerate(given):
        fade = _fade(each, place, whole, film, fps)
        begin = whole[place] if each.get("at") is not None else whole[place] - fade
        scenes.append(_scene(each, begin, fade, picture))
    return tuple(scenes)


def _given(film: Film, picture: Config) -> list[dict[str, Any]]:
    """Return the scenes as they were given: the prompt, `--to`, the story."""
    if not (film.story or picture.prompts or picture.image_prompts):
        raise UsageError("there is no prompt: say what to draw, such as vqclip animate 'a castle'")
    given: list[dict[str, Any]] = [{"prompt": text} for text in film.to]
    if picture.prompts or picture.image_prompts:
        given.insert(0, {"prompts": list(picture.prompts)})
    given += film.story
    if len(given) > _MOST:
        raise UsageError(f"a film of {len(given)} scenes: give at most {_MOST}")
    return given


def _fade(each: Mapping[str, Any], place: int, whole: Sequence[int], film: Film, fps: float) -> int:
    """Return in how many frames a scene comes in."""
    if not isinstance(each.get("cut", False), bool):
        raise UsageError(f"film.story: cut is {shown(each['cut'])}: give true or false")
    if not place or each.get("cut") is True:
        return 0
    given = each.get("fade", film.fade)
    if each.get("at") is None:
        # between prompts without times the film changes all the time
        gap = whole[place] - whole[place - 1]
        return gap if given is None else min(round(_number(given, "fade") * fps), gap)
    return round((_FADE if given is None else _number(given, "fade")) * fps)


def _check_order(ats: Sequence[int], count: int) -> None:
    for before, at in itertools.pairwise(ats):
        if at <= before:
            raise UsageError(f"film.story: a scene at frame {at} follows one at frame {before}: put them in order")
    if ats[0]:
        raise UsageError(f"film.story: the first scene is at frame {ats[0]}: let it begin at 0, or give a prompt")
    if ats[-1] >= max(count, 1):
        raise UsageError(f"film.story: a scene at frame {ats[-1]}, and the film ends with {count - 1}: make it longer")


def _scene(each: Mapping[str, Any], at: int, fade: int, picture: Config) -> Scene:
    for key in each:
        if key not in _KEYS:
            guess = nearest(str(key), _KEYS)
            hint = f"did you mean {guess!r}? " if guess else ""
            raise UsageError(f"film.story: unknown key {key!r}: {hint}known are {', '.join(_KEYS)}")
    texts = _texts(each.get("prompts", each.get("prompt", ())), "prompts")
    negative = _texts(each.get("negative", ()), "negative")
    weights, plain, place = dict[int, Track](), list[str](), 0
    for text in texts:
        parts = re.split(r"(?<!\\)\|", text)
        for k, part in enumerate(parts):
            match = _WEIGHT.search(part)
            if match is not None:
                weights[place + k] = Track.parse(match[1], f"the weight of {part[: match.start()].strip()!r}")
                parts[k] = part[: match.start()]
        place += len(parts)
        plain.append("|".join(parts))
    prompts.parse_all(plain, negative)  # mistakes come before seconds of loading
    seed = None if each.get("seed") is None else read_seed(each["seed"])
    if seed is not None and not isinstance(seed, int):
        raise UsageError(f"film.story: the seed {shown(seed)} is no whole number and no word")
    image = each.get("image")
    if image is not None and not (isinstance(image, str) and image):
        raise UsageError(f"film.story: the image {shown(image)} is no name of a file")
    return Scene(at, tuple(plain), (*picture.negative, *negative), weights, seed, image, fade)


def _texts(value: Any, key: str) -> tuple[str, ...]:
    """Return the text, or the texts, of a scene."""
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f"film.story: {key} is {shown(value)}: give a text in quotes, or a list of them")
    return tuple(texts)


def _frame_of(each: Mapping[str, Any], otherwise: int, fps: float) -> int:
    """Return the frame that a scene names: a number of a frame, or seconds such as "2s"."""
    at = each.get("at")
    if at is None:
        return otherwise
    text = str(at).strip().lower()
    in_seconds = text.endswith("s")
    number = _number(text[:-1] if in_seconds else text, "at")
    if not in_seconds and number != int(number):
        raise UsageError(f"film.story: at {at}: give a whole frame, or seconds such as {at}s")
    return round(number * fps) if in_seconds else int(number)


def _number(value: Any, key: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not 0 <= number <= MOST_FRAMES:
        raise UsageError(f"film.story: {key} is {shown(value)}: give a number from 0 to {MOST_FRAMES}") from None
    return number
