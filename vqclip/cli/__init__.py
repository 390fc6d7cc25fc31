"""The command line. `vqclip "a cat"` means `vqclip generate "a cat"`."""

from __future__ import annotations

from vqclip.cli.main import main

__all__ = ["main"]
