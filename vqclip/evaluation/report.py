"""The report of an evaluation: `report.json`, `report.md`, `sheet.jpg` and, with matplotlib, `plots.png`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqclip import atomic, images
from vqclip.evaluation.judging import Share
from vqclip.evaluation.pictures import Picture
from vqclip.writers.picture import save_image

_CELL = 128  # pixels a side of a picture on the sheet


@dataclass
class Report:
    """What was measured on a set of pictures."""

    pictures: Sequence[Picture]
    verdicts: Sequence[str]
    shares: Mapping[str, Share]
    numbers: Mapping[str, float]
    weights: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "pictures": len(self.pictures),
            "prompts": len({picture.prompt for picture in self.pictures}),
            "judged": {name: share.to_dict() for name, share in self.shares.items()},
            "numbers": dict(self.numbers),
            "weights": dict(self.weights),
            "each": [
                {"file": p.path.name, "prompt": p.prompt, "seed": p.seed, "seconds": p.seconds, "judged": verdict}
                for p, verdict in zip(self.pictures, self.verdicts, strict=True)
            ],
        }

    def to_markdown(self) -> str:
        """Return the report as Markdown tables."""
        seeds = Counter(picture.seed for picture in self.pictures)
        lines = [
            f"{len(self.pictures)} pictures of {len({p.prompt for p in self.pictures})} prompts, {len(seeds)} seeds.",
            "",
            "| judged | share | 95 % interval | pictures |",
            "| --- | --- | --- | --- |",
        ]
        for name, share in self.shares.items():
            low, high = share.interval
            lines.append(f"| {name} | {share.value:.1%} | {low:.0%} to {high:.0%} | {share.right} of {share.count} |")
        lines += ["", "| measure | value |", "| --- | --- |"]
        lines += [f"| {name} | {value:g} |" for name, value in self.numbers.items()]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> list[Path]:
        """Write all files of the report into a folder and return their paths."""
        names = [f"{p.prompt}: {verdict}" for p, verdict in zip(self.pictures, self.verdicts, strict=True)]
        sheet = images.contact_sheet([p.image for p in self.pictures], names, 10, _CELL)
        written = [
            atomic.write_text(folder / "report.json", json.dumps(self.to_dict(), indent=1)),
            atomic.write_text(folder / "report.md", self.to_markdown()),
            save_image(sheet, folder / "sheet.jpg", None, quality=88),
        ]
        plots = self._plots(folder / "plots.png")
        return [*written, plots] if plots else written

    def _plots(self, path: Path) -> Path | None:
        """Bars with intervals of every share; None without matplotlib."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return None
        names, values = list(self.shares), list(self.shares.values())
        figure = Figure(figsize=(8, 0.3 * len(names) + 1.2), layout="constrained")
        axes = figure.subplots()
        below = [share.value - share.interval[0] for share in values]
        above = [share.interval[1] - share.value for share in values]
        axes.barh(names, [share.value for share in values], xerr=[below, above], color="#4878a8", ecolor="#333333")
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("share judged right, with 95 % interval")
        return atomic.write(path, lambda stream: figure.savefig(stream, format="png", dpi=110))
