"""Where one figure of a layout is."""

from __future__ import annotations

from dataclasses import dataclass

from vqclip.sketch.figures import Figure


@dataclass(frozen=True)
class Spot:
    """A figure's centre (0..1, right and down) and longest side; what has more `depth` is painted later."""

    figure: Figure
    x: float
    y: float
    scale: float
    depth: float

    @property
    def width(self) -> float:
        """Its width in sides of the picture."""
        return self.scale * self.figure.width

    @property
    def height(self) -> float:
        """Its height in sides of the picture."""
        return self.scale * self.figure.height

    @property
    def top(self) -> float:
        """Its upper edge."""
        return self.y - self.height / 2

    @property
    def foot(self) -> float:
        """Its lower edge."""
        return self.y + self.height / 2
