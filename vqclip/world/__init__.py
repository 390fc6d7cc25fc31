"""The procedural picture world: what the bundled models can draw, and the renderer of their training pictures."""

from __future__ import annotations

from vqclip.world.captions import caption, captions, detail_of
from vqclip.world.font import find_font
from vqclip.world.model import Style, Subject, World, caption_words, load_world
from vqclip.world.reading import mentioned
from vqclip.world.renderer import Renderer
from vqclip.world.rivals import rivals
from vqclip.world.scene import Scene, SceneShares, replace, sample_scene
from vqclip.world.styles import STYLES

__all__ = [
    "STYLES",
    "Renderer",
    "Scene",
    "SceneShares",
    "Style",
    "Subject",
    "World",
    "caption",
    "caption_words",
    "captions",
    "detail_of",
    "find_font",
    "load_world",
    "mentioned",
    "replace",
    "rivals",
    "sample_scene",
]
