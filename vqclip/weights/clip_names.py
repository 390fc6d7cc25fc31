"""Names of CLIPs that say where they are: `hf-hub:OWNER/NAME[@REVISION]`, `local-dir:PATH`. Torch-free.

Prefixes and meaning are open_clip's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vqclip.errors import UsageError

HUB, LOCAL = "hf-hub:", "local-dir:"
# as the Hub names accounts, repositories and revisions
_HUB_NAME = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[A-Za-z0-9][\w./-]*))?")


@dataclass(frozen=True)
class HubName:
    """A repository of the Hugging Face Hub at a revision: a branch, a tag or a commit; "" is its main branch."""

    repository: str
    revision: str = ""

    def __str__(self) -> str:
        return HUB + self.repository + (f"@{self.revision}" if self.revision else "")


def hub_name(name: str) -> HubName | None:
    """Return the repository that a name says, None if it begins otherwise; UsageError for one that cannot be."""
    if not name.startswith(HUB):
        return None
    match = _HUB_NAME.fullmatch(name.removeprefix(HUB))
    if match is None or "--" in name or ".." in name:
        raise UsageError(f"{name[:120]!r} names no repository: give {HUB}OWNER/NAME or {HUB}OWNER/NAME@REVISION")
    return HubName(match["repository"], match["revision"] or "")


def local_folder(name: str) -> Path | None:
    """Return the folder that a name says, None if it begins otherwise; UsageError for an empty one."""
    if not name.startswith(LOCAL):
        return None
    if not name.removeprefix(LOCAL):
        raise UsageError(f"{name!r} names no folder: give {LOCAL}PATH")
    return Path(name.removeprefix(LOCAL)).expanduser()


def has_place(name: str) -> bool:
    """Whether a name says where its CLIP is."""
    return name.startswith((HUB, LOCAL))


def of_file(stem: str) -> str:
    """Return the name of a CLIP whose weights are kept under a name without slashes and colons."""
    repository = stem.removeprefix("hf-hub--")
    return repository.replace("--", "/") if repository == stem else HUB + repository.replace("--", "/")
