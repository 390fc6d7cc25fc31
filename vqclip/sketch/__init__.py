"""From a reading to a sketch: drawings are chosen and laid out, then painted over a setting.

Torch-free but for `memory`, which decodes the drawings that ship as codes.
"""

from __future__ import annotations
