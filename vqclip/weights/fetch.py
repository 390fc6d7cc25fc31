"""Files from plain URLs: resumed where they broke off, verified before they get their name, fetched by one process.

No library does all of that: the Hub's no longer resumes after a kill, torch.hub accepts truncated bodies, pooch neither
resumes nor locks.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from vqclip.errors import WeightsError, one_line
from vqclip.version import __version__

_BLOCK = 1 << 20  # bytes that are read at a time
_TRIES = 4  # failures in a row without a new byte after which a mirror is given up
# a server that sends nothing for so many seconds has stalled
_PATIENCE = 30.0
_AGENT = {"User-Agent": f"vqclip/{__version__}", "Accept-Encoding": "identity"}

_SCHEMES = ("http://", "https://")

Progress = Callable[[int, "int | None"], None]


class Unavailable(WeightsError):
    """No mirror gave a file: `reasons`, and the `place` where one that was got by other means is looked for."""

    def __init__(self, reasons: str, place: str) -> None:
        super().__init__(f"cannot fetch {Path(place).name} ({reasons}): get it by other means and put it at {place}")
        self.reasons = reasons


class _Refused(Exception):
    """A mirror that must not be asked again, and why."""


@dataclass(frozen=True)
class Wanted:
    """A file to be fetched from the first of `urls` that gives it, checked by `size` and `sha256` where known.

    A `token` is sent to the hosts of the urls, and to no host that these lead to.
    """

    urls: Sequence[str]
    size: int | None = None
    sha256: str | None = None
    token: str = field(default="", repr=False)


def fetch(
    wanted: Wanted, target: Path, progress: Progress | None = None, pause: Callable[[float], None] = time.sleep
) -> str:
    """Fetch a file to `target`, unless it is there, and return its sha256.

    What arrived of an interrupted try, beside it as `.part`, is gone on with if the server still has the same file. Of
    several processes one fetches, the others wait. `progress` is told the bytes that are there and those that there
    will be. Raises Unavailable, in one line that tells where a file got by hand is looked for, if no mirror gives it,
    and WeightsError for a disk without room.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if target.exists():
                return digest_of(target)
            return _from_mirrors(wanted, target, progress or (lambda done, total: None), pause)
    except OSError as error:
        raise _disk_error(target, error) from None


def head(url: str, token: str = "", within_host: bool = False) -> Any:
    """Ask for the headers of what a URL gives, and return the open answer, whose `headers` tell.

    A redirect to another host than the first is an HTTPError if it is to be asked `within_host` only. Raises what
    urllib raises, and ValueError for an address that is none of http or https.
    """
    if not url.startswith(_SCHEMES):
        raise ValueError("only http and https addresses are fetched")
    request = urllib.request.Request(url, headers=_AGENT, method="HEAD")  # noqa: S310 - the schemes are checked
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return urllib.request.build_opener(_WithinHost if within_host else _Redirects).open(request, timeout=_PATIENCE)


def size_of(url: str) -> int | None:
    """Return the length in bytes of what a URL gives, as its server says; None if it says nothing."""
    try:
        with head(url) as answer:
            length = answer.headers.get("Content-Length") or ""
            page = (answer.headers.get_content_type() or "").lower() == "text/html"
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return int(length) if length.isdecimal() and not page else None


def arrived(target: Path) -> int:
    """Return how many bytes of a file, that is to be fetched to `target`, an interrupted try has left there."""
    return max((part.stat().st_size for part in target.parent.glob(f"{glob.escape(target.name)}.*.part")), default=0)


def digest_of(path: Path) -> str:
    """Return the sha256 of a file."""
    return _digest(path).hexdigest()


def _from_mirrors(wanted: Wanted, target: Path, progress: Progress, pause: Callable[[float], None]) -> str:
    reasons = []
    for url in wanted.urls:
        download = _Download(url, target, wanted, progress)
        failures = 0
        while failures < _TRIES:
            before = download.arrived()
            try:
                return download.run()
            except _Refused as refusal:
                reasons.append(f"{_host(url)}: {refusal}")
                break
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
                # a line that breaks off now and then may take as many tries as the file is long
                failures = 1 if download.arrived() > before else failures + 1
                if failures == _TRIES:
                    reasons.append(f"{_host(url)}: {one_line(getattr(error, 'reason', None) or error)[:80]}")
                else:
                    pause(2.0 ** (failures - 1))
    raise Unavailable("; ".join(reasons), str(target))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects as urllib does; a token goes along within one host only."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the request of the next address; None where urllib follows no redirect."""
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is None:
            return None
        request.method = req.get_method()  # Python before 3.13 makes a GET of a HEAD
        token = req.unredirected_hdrs.get("Authorization")
        if token and (request.type, request.host) == (req.type, req.host):
            request.add_unredirected_header("Authorization", token)
        return request


class _WithinHost(_Redirects):
    """Follows redirects within one host; that to another one is an error, whose headers can be read."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the request of the next address; None for another host."""
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        return request if request is not None and request.host == req.host else None


class _Download:
    """A file at one mirror; its part on the disk is of the version that an ETag or a date names."""

    def __init__(self, url: str, target: Path, wanted: Wanted, progress: Progress) -> None:
        self.url, self.target, self.wanted, self.progress = url, target, wanted, progress
        # mirrors may have different files
        digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        self.part, self.note = Path(f"{target}.{digest}.part"), Path(f"{target}.{digest}.json")

    def arrived(self) -> int:
        """Return how many bytes are there."""
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    def run(self) -> str:
        """Fetch, verify, rename; return the sha256. Raises _Refused, or what a broken line raises."""
        start, mark, total = self._begun()
        if start and start == total:  # stopped between the last byte and the rename
            return self._finish(digest_of(self.part))
        with self._open(start, mark) as answer:
            start, total = self._placed(answer, start, mark)
            self._check_room(start, total)
            if not start:
                self._forget()
                self._note_origin(answer, total)
            digest = self._receive(answer, start, total)
        return self._finish(digest)

    def _finish(self, digest: str) -> str:
        if self.wanted.sha256 and digest != self.wanted.sha256:
            self._forget()
            raise _Refused(f"another file (sha256 {digest[:12]}, not {self.wanted.sha256[:12]})")
        os.replace(self.part, self.target)
        for leftover in self.target.parent.glob(f"{glob.escape(self.target.name)}.????????.*"):
            leftover.unlink(missing_ok=True)
        return digest

    def _begun(self) -> tuple[int, str, int | None]:
        """Return how much of the file is there, what names its version, and how long it will be if that is known."""
        try:
            note = json.loads(self.note.read_text("utf-8"))
            total = note["total"]
            if isinstance(note["mark"], str) and note["mark"] and (total is None or type(total) is int):
                return self.arrived(), note["mark"], total
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return 0, "", None

    def _open(self, start: int, mark: str) -> Any:
        headers = dict(_AGENT)
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": mark}
        try:
            if not self.url.startswith(_SCHEMES):
                raise ValueError("only http and https addresses are fetched")
            request = urllib.request.Request(self.url, headers=headers)  # noqa: S310 - the schemes are checked
            if self.wanted.token:
                request.add_unredirected_header("Authorization", f"Bearer {self.wanted.token}")
            answer = urllib.request.build_opener(_Redirects).open(request, timeout=_PATIENCE)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:
                self._forget()
                raise ConnectionError("the part on the disk is longer than the file") from None
            if error.code in (408, 425, 429) or error.code >= 500:
                raise ConnectionError(f"answer {error.code}") from None
            raise _Refused(f"answer {error.code}") from None
        except (ValueError, http.client.InvalidURL) as error:
            raise _Refused(one_line(error)[:80]) from None
        if not answer.geturl().startswith(_SCHEMES):
            answer.close()
            raise _Refused("it leads to an address that is neither http nor https")
        return answer

    def _placed(self, answer: Any, start: int, mark: str) -> tuple[int, int | None]:
        """Return at which byte the answer begins, and how long the file is if the server says so."""
        kind = (answer.headers.get_content_type() or "").lower()
        if kind == "text/html":
            raise _Refused("a web page, not a file")
        length = answer.headers.get("Content-Length") or ""
        total = int(length) if length.isdecimal() else None
        if answer.status == 206:
            first, whole = _range_of(answer.headers.get("Content-Range", ""))
            if first != start or _mark(answer) not in ("", mark):
                self._forget()
                raise ConnectionError("it sent another part than was asked for")
            total = whole or (None if total is None else start + total)
        else:
            start = 0
        if self.wanted.size and total and total != self.wanted.size:
            raise _Refused(f"a file of {total} bytes, not {self.wanted.size}")
        return start, total or self.wanted.size

    def _note_origin(self, answer: Any, total: int | None) -> None:
        self.note.write_text(json.dumps({"url": self.url, "mark": _mark(answer), "total": total}), "utf-8")

    def _check_room(self, start: int, total: int | None) -> None:
        free = shutil.disk_usage(self.target.parent).free
        if total and free < total - start:
            raise WeightsError(
                f"{self.target.name} needs {(total - start) / 1e9:.2f} GB in {self.target.parent}, {free / 1e9:.2f} GB "
                "are free: make room, or set VQCLIP_HOME to another folder"
            )

    def _receive(self, answer: Any, start: int, total: int | None) -> str:
        digest = _digest(self.part) if start else hashlib.sha256()
        done = start
        with self.part.open("r+b" if start else "wb") as stream:
            stream.seek(start)
            stream.truncate()
            while block := _read(answer):
                stream.write(block)
                digest.update(block)
                done += len(block)
                self.progress(done, total)
            stream.flush()
            os.fsync(stream.fileno())
        if total is not None and done < total:
            raise ConnectionError(f"it broke off after {done} of {total} bytes")
        if self.wanted.size and done != self.wanted.size:
            self._forget()
            raise _Refused(f"{done} bytes, not {self.wanted.size}")
        return digest.hexdigest()

    def _forget(self) -> None:
        for path in (self.part, self.note):
            path.unlink(missing_ok=True)


def _mark(answer: Any) -> str:
    """Return what names the version of a file: its ETag, unless that is weak and says nothing of the bytes, or date."""
    etag = answer.headers.get("ETag") or ""
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified") or ""


def _read(answer: Any) -> bytes:
    """Read a block; whatever breaks on the way is a broken line, no fault of the disk."""
    try:
        block: bytes = answer.read(_BLOCK)
        return block
    except (http.client.HTTPException, TimeoutError, ConnectionError):
        raise
    except OSError as error:
        raise ConnectionError(one_line(error)) from None


def _range_of(text: str) -> tuple[int, int | None]:
    """Return the first byte and the whole length of a Content-Range such as `bytes 5-9/10`; -1 for no such thing."""
    span, _, whole = text.removeprefix("bytes ").partition("/")
    first = span.partition("-")[0]
    return (int(first) if first.isdecimal() else -1), (int(whole) if whole.isdecimal() else None)


def _digest(path: Path) -> hashlib._Hash:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0] or url


def _disk_error(target: Path, error: OSError) -> WeightsError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WeightsError(f"no room left for {target.name} in {target.parent}: make room; what arrived is kept")
    return WeightsError(f"cannot write {target}: {error.strerror or one_line(error)}")
