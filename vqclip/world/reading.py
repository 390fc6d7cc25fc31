"""From a text back to what it says of a picture, in the world's words: the reverse of `captions.py`."""

from __future__ import annotations

import re

from vqclip.world.model import World, caption_words

# words of the style phrases that other captions hold too, so that they tell nothing of the style
_COMMON = {
    *("a", "an", "the", "of", "in", "by", "as"),
    *("painting", "painted", "paint", "picture", "drawing", "drawn", "style", "art"),
    *("window", "sign", "print", "lights", "tile"),
}


def mentioned(text: str, world: World) -> dict[str, str]:
    """Return what a text names: any of `subject`, `shape`, `color`, `setting`, `background`, `style`.

    Synonyms count as their subject; the longest name wins ("cat face" before "cat"). A shape is only read with its
    color before it, as captions put it. What is not named is not a key.
    """
    words = " ".join(caption_words(text))
    labels: dict[str, str] = {}
    for cue, style in _cues(world):
        if _holds(words, cue):
            labels["style"], words = style, _without(words, cue)
            break
    for setting in sorted(world.settings, key=len, reverse=True):
        if _holds(words, setting):
            labels["setting"], words = setting, _without(words, setting)
            break
    for color in world.colors:
        match = re.search(rf"\bon (?:an? )?{color} background\b", words)
        if match:
            labels["background"], words = color, words.replace(match.group(), " | ")
            break
    return labels | _content(words, world)


def _content(words: str, world: World) -> dict[str, str]:
    for shape in sorted(world.shapes, key=len, reverse=True):
        for color in world.colors:
            if _holds(words, f"{color} {shape}"):
                return {"color": color, "shape": shape}
    subjects = world.subjects.values()
    named = [(" ".join(caption_words(name)), subject.name) for subject in subjects for name in subject.names]
    matching = [(len(name), subject) for name, subject in named if _holds(words, name)]
    return {"subject": max(matching)[1]} if matching else {}


def _cues(world: World) -> tuple[tuple[str, str], ...]:
    """Words that give a style away, longest first: its name, and what is its own in its phrases."""
    cues = {}
    for style in world.styles.values():
        cues[" ".join(caption_words(style.name))] = style.name
        for phrase in style.phrases:
            distinctive = [w for w in caption_words(re.sub(r"\{\w+\}", " ", phrase)) if w not in _COMMON]
            if distinctive:
                cues.setdefault(" ".join(distinctive), style.name)
    return tuple(sorted(cues.items(), key=lambda item: -len(item[0])))


def _holds(words: str, phrase: str) -> bool:
    return f" {phrase} " in f" {words} "


def _without(words: str, phrase: str) -> str:
    return f" {words} ".replace(f" {phrase} ", " | ").strip()
