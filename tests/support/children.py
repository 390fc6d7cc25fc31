"""Runs of the command line in processes of their own, forked from one that has torch imported already."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

_CONTEXT = multiprocessing.get_context("forkserver") if sys.platform != "win32" else None
_PRELOADED = [
    "vqclip.session.session",
    "vqclip.session.api",
    "vqclip.cli.generate",
    "vqclip.models.clip",
    "vqclip.models.vqgan",
]


def work(args: Sequence[str], folder: str, log: str, seconds: float) -> None:
    """Be the child: run `vqclip` in a folder, its stderr in a file, with a savepoint every so many seconds."""
    # a shell that starts tests in the background has them ignore SIGINT and SIGQUIT, which children would take over
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    import torch

    from vqclip.cli.main import run
    from vqclip.session import savepoint

    os.chdir(folder)
    torch.set_num_threads(1)
    savepoint._SECONDS = seconds
    with open(log, "w", buffering=1, encoding="utf-8") as stream:
        os.dup2(stream.fileno(), 2)
        with contextlib.redirect_stderr(stream), contextlib.redirect_stdout(stream):
            code = run(list(args))
    os._exit(code)


class Child:
    """A run of the command line that can be watched and killed."""

    def __init__(self, args: Sequence[str], folder: Path, seconds: float = 0.0, command: str = "generate") -> None:
        if _CONTEXT is None:
            pytest.skip("this platform cannot fork")
        _CONTEXT.set_forkserver_preload(_PRELOADED)
        self.log = folder / f"log-{len(list(folder.glob('log-*')))}.txt"
        args = [command, *args, "--json-progress"]
        self.process = _CONTEXT.Process(target=work, args=(args, str(folder), str(self.log), seconds), daemon=True)
        self.process.start()

    def events(self) -> Iterator[dict]:
        """Yield what it told so far, whole lines alone."""
        text = self.log.read_text("utf-8") if self.log.exists() else ""
        for line in text.splitlines()[: text.count("\n")]:
            with contextlib.suppress(json.JSONDecodeError):
                yield json.loads(line)

    @property
    def step(self) -> int:
        """The last step that it told of, -1 before any."""
        return max((event["step"] for event in self.events() if event.get("event") == "step"), default=-1)

    def wait_for(self, step: int, seconds: float = 60) -> None:
        """Wait until it has come to a step; it must still live then."""
        until = time.monotonic() + seconds
        while self.step < step:
            assert self.process.is_alive(), self.log.read_text("utf-8")
            assert time.monotonic() < until, f"it came to step {self.step} only"
            time.sleep(0.005)

    def wait_for_words(self, words: str, seconds: float = 60) -> None:
        """Wait until it has said something."""
        until = time.monotonic() + seconds
        while words not in self.log.read_text("utf-8"):
            assert self.process.is_alive() and time.monotonic() < until, self.log.read_text("utf-8")
            time.sleep(0.005)

    def signal(self, number: int) -> None:
        """Send it a signal; it must still live."""
        assert self.process.is_alive(), self.log.read_text("utf-8")
        os.kill(self.process.pid, number)

    def end(self, seconds: float = 60) -> int:
        """Wait for its end and return its exit code, minus the number of the signal that killed it."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, "it does not end"
        return self.process.exitcode
