"""What weights on their way to another machine say of themselves: the length and sha256 of each file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from vqclip.errors import WeightsError, one_line

MANIFEST = "manifest.json"
_FORM = "vqclip weights 1"
MAX_BYTES = 1 << 20  # bytes
_MOST_FILES = 10_000
# no name that leads elsewhere, is hidden, or could be one of what is still being written
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*(?<!\.)(?<!\.lock)(?<!\.unchecked)"
# of a file below the home
NAME = re.compile(rf"weights/[a-z]+-{_PART}(/{_PART}){{0,2}}")
_KEY = re.compile(r"[^\x00-\x1f]{1,300}")


@dataclass(frozen=True)
class Manifest:
    """Length and sha256 of each file by its name below the home, and what is recorded of sums and origins."""

    files: dict[str, tuple[int, str]]
    digests: dict[str, str]
    origins: dict[str, str]

    def to_json(self) -> str:
        """Return the manifest in the form that it has beside the files."""
        listed = {name: {"size": size, "sha256": digest} for name, (size, digest) in self.files.items()}
        content = {"form": _FORM, "files": listed, "digests": self.digests, "origins": self.origins}
        return json.dumps(content, indent=1)

    @classmethod
    def read(cls, text: bytes, where: str) -> Manifest:
        """Read a manifest; WeightsError for one that is damaged, or names anything but weights."""
        try:
            content = json.loads(text)
            if content["form"] != _FORM:
                raise ValueError(f"its form is {str(content['form'])[:40]!r}, not {_FORM!r}")
            files = {name: (each["size"], each["sha256"]) for name, each in content["files"].items()}
            digests, origins = (dict(content[name]) for name in ("digests", "origins"))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise WeightsError(f"{where} has no manifest that can be read: {one_line(error)[:100]}") from None
        for name, (size, digest) in files.items():
            if not NAME.fullmatch(name):
                raise WeightsError(f"{where} names {name[:80]!r}, which is no weight file: nothing was imported")
            if type(size) is not int or size < 0 or not re.fullmatch("[0-9a-f]{64}", str(digest)):
                raise WeightsError(f"{where} has a damaged manifest: {name} has no length and sha256")
        _check_apart(files, where)
        texts = [*digests.items(), *origins.items()]
        if not all(isinstance(value, str) and _KEY.fullmatch(key) and _KEY.fullmatch(value) for key, value in texts):
            raise WeightsError(f"{where} has a damaged manifest: its sums and origins are no texts")
        return cls(files, digests, origins)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for size, _ in self.files.values())


def _check_apart(names: dict[str, Any], where: str) -> None:
    """Raise WeightsError for names of which one is another's folder, or the same on some file systems."""
    plain = [name.casefold() for name in names]
    folders = {parent for name in plain for parent in _parents(name)}
    if len(set(plain)) < len(plain) or folders & set(plain) or len(plain) > _MOST_FILES:
        raise WeightsError(f"{where} has a damaged manifest: its files get in each other's way")


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(2, len(parts))]
