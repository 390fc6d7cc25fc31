"""An HTTP server of our own that gives one file, well or in every way in which servers misbehave."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BODY = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(BODY).hexdigest()


@dataclass
class Server:
    """What the server does, and what it was asked."""

    address: str = ""
    body: bytes = BODY
    etag: str = '"one"'
    kind: str = "application/octet-stream"
    ranges: bool = True
    # sends ranges whatever version they are asked of
    heedless: bool = False
    # answers by their number, 0 the first: what to do instead of sending the file
    odd: dict[int, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    # of the Hub: the commit that every revision leads to, and what is asked for without that file's being sent
    commit: str = "c" * 40
    looked_up: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    # the error that the Hub gives, as its library knows it: a code and a name
    refusal: tuple[int, str] | None = None
    # of a Hub with several files: what each OWNER/NAME/FILE holds, at the commit and at the main branch
    tree: dict[str, bytes] = field(default_factory=dict)
    # where GETs of the Hub's files are sent to, as to its content servers
    elsewhere: str = ""

    def turn_to(self, path: str) -> tuple[int, str] | None:
        """Let the body be the file of the tree that a path names; return the Hub's error for one that is not there."""
        repository, resolves, rest = path.strip("/").partition("/resolve/")
        if not self.tree or not resolves:
            return None
        revision, _, file = rest.partition("/")
        if not any(name.startswith(f"{repository}/") for name in self.tree):
            return 404, "RepoNotFound"
        if revision not in ("main", self.commit):
            return 404, "RevisionNotFound"
        if f"{repository}/{file}" not in self.tree:
            return 404, "EntryNotFound"
        self.body = self.tree[f"{repository}/{file}"]
        self.etag = f'"{hashlib.sha256(self.body).hexdigest()[:8]}"'
        return None

    def url(self, name: str = "file.ckpt") -> str:
        return f"{self.address}/{name}"


def send(handler: BaseHTTPRequestHandler, server: Server, cut: int | None = None) -> None:
    """Send the file, or the part that is asked for and still of the same ETag; only `cut` bytes of it."""
    start = 0
    wanted = handler.headers.get("Range")
    if wanted and server.ranges and (server.heedless or handler.headers.get("If-Range") == server.etag):
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
    if start > len(server.body):
        handler.send_error(416)
        return
    handler.send_response(206 if start else 200)
    handler.send_header("Content-Type", server.kind)
    handler.send_header("Content-Length", str(len(server.body) - start))
    handler.send_header("ETag", server.etag)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
    handler.end_headers()
    handler.wfile.write(server.body[start:] if cut is None else server.body[start : start + cut])


def status(code: int) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda handler: handler.send_error(code)


class Listening(ThreadingHTTPServer):
    """Says nothing of a client that has gone: what it prints would stand among what the client says."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Serve on a free port of this machine, until the block ends."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = len(state.asked)
            state.asked.append(dict(self.headers))
            state.paths.append(self.path)
            state.turn_to(self.path)
            if state.elsewhere and "/resolve/" in self.path:
                self.send_response(302)
                self.send_header("Location", state.elsewhere)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            state.odd.get(number, lambda handler: send(handler, state))(self)

        def do_HEAD(self) -> None:
            state.looked_up.append((self.path, dict(self.headers)))
            missing, leads_on = state.turn_to(self.path), state.elsewhere and "/resolve/" in self.path
            code, name = state.refusal or missing or ((302 if leads_on else 200), "")
            self.send_response(code)
            if code == 302:
                self.send_header("Location", state.elsewhere)
            self.send_header("Content-Type", state.kind)
            self.send_header("Content-Length", str(len(state.body)))
            self.send_header("ETag", state.etag)
            if "/resolve/" in self.path:
                self.send_header("X-Repo-Commit", state.commit)
                self.send_header("X-Linked-Etag", f'"{hashlib.sha256(state.body).hexdigest()}"')
                self.send_header("X-Linked-Size", str(len(state.body)))
            if name:
                self.send_header("X-Error-Code", name)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    running = Listening(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{running.server_port}"
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        running.shutdown()
        running.server_close()
