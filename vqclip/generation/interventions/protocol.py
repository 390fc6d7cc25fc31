"""What may happen between two steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vqclip.generation.run import Run


class Intervention(Protocol):
    """Called before every step with the run, of which it may change what it likes."""

    def __call__(self, run: Run) -> None:
        """Do what is to be done before the step that comes now."""
