"""What the user sees while a film is drawn: a bar on a terminal, plain lines in a log, JSON lines for programs."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from vqclip.cli.progress import Progress
from vqclip.terminal import bar_room
from vqclip.types import Notice

if TYPE_CHECKING:
    from tqdm import tqdm

    from vqclip.animation.job import FilmStarted, FrameDrawn
    from vqclip.session.events import Event

_LINES = 20


class FilmProgress(Progress):
    """Shows the frames of a film and notices on stderr."""

    def __init__(self, style: str, several: bool = False) -> None:
        super().__init__(style, several)
        self._frames: tqdm[Any] | None = None
        self._first = 0

    def event(self, event: Event) -> None:
        """Show what happens."""
        from vqclip.animation import job
        from vqclip.session import events

        if isinstance(event, events.NoticeGiven):
            self.notice(event.notice)
        elif isinstance(event, job.FilmStarted):
            self._try(self._begin, event)
        elif isinstance(event, job.FrameDrawn):
            self._try(self._frame, event)

    def close(self) -> None:
        """End the bar."""
        if self._frames is not None:
            self._try(self._frames.close)
            self._frames = None

    def _begin(self, started: FilmStarted) -> None:
        self._began, self._first = time.monotonic(), started.done
        width, height = started.size
        if self.style == "json":
            self._json({"event": "film", "folder": str(started.folder), "frames": started.count, "done": started.done})
            return
        again = f"going on after {started.done} of" if started.done else "drawing"
        what = " | ".join(started.prompts)[:200]
        about = f"seed {started.seed}, {width}x{height}, {started.fps:g} a second"
        frames = f"{started.count} frame{'s' * (started.count != 1)}"
        self.notice(Notice(f"{again} {frames} of {what!r}: {about}; see {started.folder}/preview.png"))

    def _frame(self, event: FrameDrawn) -> None:
        done = event.done - self._first
        rate = done / max(time.monotonic() - self._began, 1e-9)
        left = (event.count - event.done) / rate if rate else 0.0
        if self.style == "json":
            values = {
                "frame": event.drawn.number,
                "done": event.done,
                "frames": event.count,
                "score": event.drawn.score,
            }
            self._json(
                {"event": "frame", **values, "frames_per_second": round(rate, 3), "seconds_left": round(left, 1)}
            )
        elif self.style == "bar":
            self._tick_frame(event, left)
        elif self.style == "lines":
            every = max(math.ceil(event.count / _LINES), 1)
            if event.done % every == 0 or event.done == event.count:
                score = "" if event.drawn.score is None else f"  score {event.drawn.score:.4f}"
                click.echo(
                    f"frame {event.done}/{event.count}{score}  {1 / rate:.2f} s a frame  {left:.0f} s left", err=True
                )

    def _tick_frame(self, event: FrameDrawn, left: float) -> None:
        from tqdm import tqdm

        if self._frames is None:
            form = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{rate_inv_fmt}{postfix}]"
            style: dict[str, Any] = {"unit": "frame", "bar_format": form, "file": sys.stderr} | bar_room()
            self._frames = tqdm(total=event.count, initial=self._first, **style)
        self._frames.set_postfix_str(f"{tqdm.format_interval(left)} left", refresh=False)
        self._frames.update(event.done - self._frames.n)
        if event.done == event.count:
            self.close()
