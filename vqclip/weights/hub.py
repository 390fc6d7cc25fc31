"""Files of the Hugging Face Hub: what it says of one before it is fetched, and the token that opens gated ones.

Its own library keeps nothing of a transfer that broke off, so files come through `fetch`, which goes on with it; what
that library has in its cache already is used.
"""

from __future__ import annotations

import http.client
import re
import urllib.error
from dataclasses import dataclass
from pathlib import Path

from vqclip.errors import WeightsError, one_line
from vqclip.weights import fetch
from vqclip.weights.catalog import Source

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Absent(WeightsError):
    """A repository that is there does not hold the file."""


@dataclass(frozen=True)
class HubFile:
    """A file as the Hub has it: bytes and sha256, where it says them, at `revision`, the commit it was asked at."""

    source: Source
    revision: str
    size: int | None
    sha256: str | None

    @property
    def pinned(self) -> Source:
        """The same file at its commit, which does not change."""
        return Source(self.source.hub, self.source.file, self.revision)


def look_up(source: Source) -> HubFile:
    """Ask the Hub for a file; raise WeightsError, in one line that says what to do, if it does not give it."""
    try:
        with fetch.head(source.address, token(), within_host=True) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:
        error.close()
        # what lies on content servers is described on the way there
        if not 300 <= error.code < 400:
            raise _refusal(source, error) from None
        headers = error.headers
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise WeightsError(_hidden(one_line(getattr(error, "reason", None) or error)[:100])) from None
    commit = headers.get("X-Repo-Commit", "")
    etag = headers.get("X-Linked-Etag", "").removeprefix("W/").strip('"')
    size = headers.get("X-Linked-Size") or headers.get("Content-Length") or ""
    revision = commit if _COMMIT.fullmatch(commit) else source.revision
    return HubFile(source, revision, int(size) if size.isdecimal() else None, etag if _SHA256.fullmatch(etag) else None)


def cached(source: Source) -> tuple[Path, str] | None:
    """Return a file that the Hub's own library has fetched before, and its revision; None if there is none."""
    import huggingface_hub

    try:
        path = huggingface_hub.try_to_load_from_cache(source.hub, source.file, revision=source.revision or None)
    except Exception:  # noqa: BLE001 - names that are none of the Hub's: `look_up` says so
        return None
    if not isinstance(path, str):
        return None
    commit = Path(path).parents[source.file.count("/")].name
    return Path(path), commit if _COMMIT.fullmatch(commit) else source.revision


def token() -> str:
    """Return the user's token of the Hub, from `HF_TOKEN` or as its own library keeps it; "" if there is none."""
    import huggingface_hub

    return huggingface_hub.get_token() or ""


def _refusal(source: Source, error: urllib.error.HTTPError) -> WeightsError:
    """Return the error that says why the Hub does not give a file."""
    kind = error.headers.get("X-Error-Code", "")
    # other hubs say no more than the number
    absent = kind == "EntryNotFound" or (error.code == 404 and not kind)
    return (Absent if absent else WeightsError)(_reason(source, error))


def _reason(source: Source, error: urllib.error.HTTPError) -> str:
    """Return in one line why the Hub does not give a file, and what to do."""
    kind, page = error.headers.get("X-Error-Code", ""), source.address.partition("/resolve/")[0]
    if kind == "GatedRepo":
        then = "; the token in HF_TOKEN has no access yet" if token() else ", then set HF_TOKEN to a token of yours"
        return f"it is gated: accept its terms at {page}{then}"
    if kind == "RevisionNotFound":
        return f"its revision {source.revision[:12] or 'main'} is gone"
    if kind == "EntryNotFound":
        return f"it holds no {source.file}" + (f" at {source.revision[:12]}" if source.revision else "")
    if kind == "RepoNotFound" or (error.code == 401 and not token()):
        return f"there is no {page}, or it is private and opens to a token in HF_TOKEN only"
    if error.code == 401:
        return "answer 401: the token in HF_TOKEN is not accepted, correct it or leave it out"
    return f"answer {error.code}"


def _hidden(text: str) -> str:
    """Return a text without the token."""
    held = token()
    return text.replace(held, "***") if held else text
