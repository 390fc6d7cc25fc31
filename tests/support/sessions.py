"""Jobs that are carried out, watched and stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.runs import models
from vqclip.config import Config
from vqclip.generation.control import Control
from vqclip.generation.models import Models
from vqclip.session import events
from vqclip.session.job import Job, Outcome
from vqclip.session.session import run_job
from vqclip.types import Notice, Snapshot


def carry_out(
    job: Job | Config,
    on_snapshot: Callable[[Snapshot], Any] = lambda snapshot: None,
    *,
    on_notice: Callable[[Notice], Any] = lambda notice: None,
    stop: Callable[[], bool] = lambda: False,
    networks: Models | None = None,
) -> Outcome:
    """Carry out a job with the bundled models; `stop` is asked at every step whether the job is to end after it."""
    control = Control()

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Stepped):
            on_snapshot(event.snapshot)
            if stop():
                control.stop()
        elif isinstance(event, events.NoticeGiven):
            on_notice(event.notice)

    return run_job(job if isinstance(job, Job) else Job(job), listen, networks or models(), control)
