"""What the user sees while a run goes on: a bar on a terminal, plain lines in a log, JSON lines for other programs."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vqclip.terminal import bar_room
from vqclip.types import Notice, Snapshot

if TYPE_CHECKING:
    from tqdm import tqdm

_LINES = 20
_P = TypeVar("_P", bound="Progress")


def _value(snapshot: Snapshot) -> str:
    """Return how good the picture is: by the held-out views, once they have judged; before, by the loss of a step.

    The score is that of the best picture so far of a stage, so it falls. A loss is of other views in every step, and a
    step that was taken back, as it was no number, has none.
    """
    if snapshot.best_score is not None:
        return f"score {float(snapshot.best_score.mean()):.4f}"
    return "" if math.isnan(snapshot.loss) else f"loss {snapshot.loss:.4f}"


class Progress:
    """Shows snapshots and notices on stderr; `style` is bar, lines, json or none.

    With `several` pictures it names the one that is drawn by its seed.
    """

    def __init__(self, style: str, several: bool = False) -> None:
        self.style, self.several = style, several
        self._bar: tqdm[Any] | None = None
        self._began = time.monotonic()
        # step and share of the work at which the clock was started
        self._from = (0, 0.0)

    @classmethod
    def of(cls: type[_P], *, quiet: bool, as_json: bool, several: bool = False) -> _P:
        """Choose the style: a bar only where someone watches."""
        if as_json:
            return cls("json")
        return cls("none" if quiet else "bar" if sys.stderr.isatty() else "lines", several)

    def notice(self, notice: Notice) -> None:
        """Show a notice above the bar."""
        self._try(self._notice, notice)

    def snapshot(self, snapshot: Snapshot) -> None:
        """Show one step."""
        self._try(self._snapshot, snapshot)

    def close(self) -> None:
        """End the bar."""
        self._try(self._close)

    def _try(self, show: Callable[..., None], *what: Any) -> None:
        """Show something, unless stderr takes nothing any more: a run that nobody watches goes on all the same."""
        try:
            show(*what)
        except (OSError, ValueError):
            self.style, self._bar = "none", None

    def _notice(self, notice: Notice) -> None:
        if self.style == "json":
            self._json({"event": "notice", "text": notice.text})
        elif self.style != "none":
            from tqdm import tqdm

            tqdm.write(f"vqclip: {notice.text}", file=sys.stderr)

    def _snapshot(self, snapshot: Snapshot) -> None:
        if snapshot.step == 0 or snapshot.resumed:
            self._close()
            self._began, self._from = time.monotonic(), (snapshot.step, snapshot.work)
        ways = {"bar": self._tick, "lines": self._line, "json": self._record}
        if self.style in ways:
            ways[self.style](snapshot)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _tick(self, snapshot: Snapshot) -> None:
        from tqdm import tqdm

        if self._bar is None:
            form = self._name(snapshot) + "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{rate_fmt}{postfix}]"
            style: dict[str, Any] = {"unit": "step", "bar_format": form, "file": sys.stderr} | bar_room()
            self._bar = tqdm(total=snapshot.steps, initial=snapshot.step, **style)
        if snapshot.step > self._from[0]:
            _, left = self._rate(snapshot)
            shown = "?" if left is None else tqdm.format_interval(left)
            value = _value(snapshot)
            self._bar.set_postfix_str(f"{shown} left{', ' if value else ''}{value}", refresh=False)
            self._bar.update(snapshot.step - self._bar.n)
        if snapshot.last:
            self._close()

    def _line(self, snapshot: Snapshot) -> None:
        every = max(math.ceil(snapshot.steps / _LINES), 1)
        if snapshot.step > self._from[0] and (snapshot.step % every == 0 or snapshot.last):
            rate, left = self._rate(snapshot)
            step = f"{self._name(snapshot)}step {snapshot.step}/{snapshot.steps}"
            value = _value(snapshot)
            click.echo(f"{step}{'  ' if value else ''}{value}  {rate:.2f} steps/s  {left or 0:.0f} s left", err=True)

    def _name(self, snapshot: Snapshot) -> str:
        seeds = list(dict.fromkeys(snapshot.seeds))
        if not self.several:
            return ""
        return f"seed {seeds[0]}: " if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}: "

    def _record(self, snapshot: Snapshot) -> None:
        rate, left = self._rate(snapshot)
        loss = None if math.isnan(snapshot.loss) else snapshot.loss
        values = {"step": snapshot.step, "steps": snapshot.steps, "seeds": snapshot.seeds, "loss": loss}
        best = None if snapshot.best_score is None else snapshot.best_score.tolist()
        self._json({"event": "step", **values, "best": best, "steps_per_second": rate, "seconds_left": left})

    def _rate(self, snapshot: Snapshot) -> tuple[float, float | None]:
        """Steps a second so far, and the seconds left by the share of the work done (None before the first step)."""
        elapsed = time.monotonic() - self._began
        done = snapshot.work - self._from[1]
        left = elapsed * (1 - snapshot.work) / done if done > 0 else None
        return round((snapshot.step - self._from[0]) / max(elapsed, 1e-9), 3), None if left is None else round(left, 1)

    def _json(self, values: dict[str, Any]) -> None:
        click.echo(json.dumps(values), err=True)
