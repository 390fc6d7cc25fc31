"""Quantities that change over a film: keyframes, what happens between them, and a safe language of expressions."""

from __future__ import annotations

from vqclip.tracks.expression import Expression
from vqclip.tracks.track import Time, Track, check_track

__all__ = ["Expression", "Time", "Track", "check_track"]
