"""The known weights, as torch-free records: the bundled ones, public checkpoints, and those of the user's catalog."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from vqclip import resources
from vqclip.errors import UsageError, VqclipError, WeightsError, one_line, unknown_name
from vqclip.weights import cache, clip_names

OWN = "catalog.yaml"
# names that no one can take for a path
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
# of a part, maybe in a folder
_FILE = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*/)?[A-Za-z0-9_][A-Za-z0-9_.-]*")
# of files, and of none of open_clip's names
_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
# as OpenAI's own package names its models, and older tools do; in any case of letters
_OPENAI = re.compile(r"ViT-(B|L|H|g|bigG)/(\d{2})(?:@(\d{3})px)?(?:/([\w-]+))?", re.IGNORECASE)
_SIZES = {"b": "B", "l": "L", "h": "H", "g": "g", "bigg": "bigG"}
_KINDS = ("vqgan", "clip", "prior", "upsampler", "embedding", "judge", "memory", "depth")
# public CLIPs that guide well, named where all of open_clip's would be too many: bytes that are kept, and what for
RECOMMENDED_CLIPS = {
    "ViT-B-32/laion2b_s34b_b79k": (605_109_252, "any picture that the web captions; the usual choice"),
    "ViT-B-32/openai": (605_109_252, "any picture that the web captions"),
    "ViT-B-16/openai": (598_482_948, "the same in finer detail: four times the patches"),
    "RN50/openai": (408_241_760, "the same by convolutions; goes well with another one"),
}


@dataclass(frozen=True)
class Source:
    """Where a file can be fetched: `file` of the repository `hub` on the Hugging Face Hub at `revision`, or a `url`.

    An `unconfirmed` one is named by others, and was not seen to hold the file.
    """

    hub: str = ""
    file: str = ""
    revision: str = ""
    url: str = ""
    unconfirmed: bool = False

    @property
    def address(self) -> str:
        """The URL of the file, for people who get it by other means."""
        root = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        return self.url or f"{root}/{self.hub}/resolve/{self.revision or 'main'}/{self.file}"

    def __str__(self) -> str:
        return self.url or f"the Hub's {self.hub}/{self.file}" + (f"@{self.revision[:12]}" if self.revision else "")


@dataclass(frozen=True)
class Weights:
    """One known weight file. `draws` says what it knows; `licence` its terms.

    A bundled one is the file `file` in `checkpoints/`. Others come from `sources`; `size` in bytes and `sha256` are
    those of the original, where they are known, the sum by `sha256_by` if others published it than who made the file,
    and `architecture` is what its file must hold. What consists of several
    files, `parts` by name, is kept as a folder of them, unchanged. `shown_on` is the canvas, of a VQGAN, of runs that
    begin with a picture or a sketch and name none.
    """

    kind: str
    name: str
    draws: str
    licence: str
    file: str = ""
    citation: str = ""
    architecture: Mapping[str, Any] | None = None
    size: int | None = None
    sha256: str | None = None
    sources: tuple[Source, ...] = ()
    shown_on: str = "vqgan"
    parts: Mapping[str, Source] | None = None
    sha256_by: str = ""

    @property
    def doubt(self) -> str:
        """What could not be confirmed of where its files are; empty if all of it was."""
        sources = (*self.sources, *(self.parts or {}).values())
        unconfirmed = [source for source in sources if source.unconfirmed]
        if not unconfirmed:
            return ""
        return "no address is confirmed" if len(unconfirmed) == len(sources) else "a mirror is not confirmed"


_TINY = "the 186 subjects, 12 shapes, 10 settings and 13 styles of world.yaml"
_TERMS = "MIT; glyphs of the training pictures: OFL 1.1"
_NETWORKS = ("clip", "prior", "upsampler", "judge")
_BUNDLED = (
    # its decoder has 5.9 MB, and blurs what a sketch or a photo shows
    Weights("vqgan", "tiny", _TINY, _TERMS, "tiny-vqgan.safetensors", shown_on="pixels"),
    *(Weights(kind, "tiny", _TINY, _TERMS, f"tiny-{kind}.safetensors") for kind in _NETWORKS),
    Weights(
        "memory",
        "tiny",
        "949 subjects as 5,852 drawings in codes of the bundled VQGAN",
        "of each drawing as LICENSE.txt beside it says: public domain, Apache-2.0, MIT or CC-BY-4.0",
        "tiny-memory.safetensors",
    ),
)


def records() -> tuple[Weights, ...]:
    """Return all known weights but open_clip's: the bundled ones, the public ones, the user's own.

    A record of the user's own takes the place of one of the same name. Raises UsageError for a damaged own catalog.
    """
    known = {(record.kind, record.name): record for record in (*_BUNDLED, *_public())}
    users = own_catalog()
    if users is not None:
        known |= {(record.kind, record.name): record for record in _read(users)}
    return tuple(known.values())


def own_catalog() -> Path | None:
    """Return the user's own catalog, also while weights are kept elsewhere; None if there is none."""
    try:
        paths = [cache.home() / OWN]
        if cache.elsewhere():
            paths.append(cache.users_home() / OWN)
    except WeightsError:
        return None  # without a home nothing was ever kept, and the bundled models draw
    return next((path for path in paths if cache.exists(path)), None)


def names(kind: str) -> list[str]:
    """Return the names of all known weights of one kind."""
    return [record.name for record in records() if record.kind == kind]


def find(kind: str, name: str) -> Weights:
    """Return the record of a name; raise UsageError with the nearest name if there is none."""
    for record in records():
        if (record.kind, record.name) == (kind, name):
            return record
    raise unknown_name(kind, name, names(kind))


def shown_on(name: str) -> str:
    """Return `Weights.shown_on` of a VQGAN, by its name; of a file, and where nothing is said, "vqgan"."""
    known = {record.name: record.shown_on for record in records() if record.kind == "vqgan"}
    return known.get(name, "vqgan")


def place(record: Weights) -> Path:
    """Return where the weights of a record lie, or would: a file, or of what has several parts a folder."""
    if record.file:
        return resources.path(f"checkpoints/{record.file}")
    file = cache.weights_file(record.kind, record.name)
    return file.with_suffix("") if record.parts else file


def pair(name: str) -> tuple[str, str]:
    """Return the names of a VQGAN and of the CLIP that goes with it: `tiny` goes with `tiny`, others with ViT-B-32."""
    vqgan = find("vqgan", name)
    return vqgan.name, vqgan.name if vqgan.file else next(iter(RECOMMENDED_CLIPS))


def public_clip(name: str) -> str:
    """Return `ARCH/TAG` of what names one of open_clip's models, with a tag or without; "" for anything else.

    OpenAI's own names, such as `ViT-B/32` or `ViT-L/14@336px`, are understood too. Raises UsageError for an unknown tag
    of a known architecture, and for a model that cannot be built here.
    """
    if clip_names.has_place(name) or cache.exists(Path(name)) or Path(name).suffix in _SUFFIXES:
        return ""
    name = _openai_name(name)
    arch, slash, tag = name.partition("/")
    if (slash and not tag) or arch in names("clip"):
        return ""
    from vqclip.models.openclip import obstacle, pretrained_tags

    tags = pretrained_tags(arch)
    if not tags:
        return ""
    reason = obstacle(arch)
    if reason:
        raise UsageError(f"{name} cannot be used: {reason}")
    if not tag:
        return next((known for known in RECOMMENDED_CLIPS if known.startswith(f"{arch}/")), f"{arch}/{tags[0]}")
    if tag not in tags:
        raise unknown_name(f"tag of {arch}", tag, tags)
    return name


def _openai_name(name: str) -> str:
    """Return a name in open_clip's form: `ViT-B/32` is `ViT-B-32/openai`, `ViT-B/32/TAG` is `ViT-B-32/TAG`.

    Sizes that OpenAI has not published get no tag.
    """
    match = _OPENAI.fullmatch(name)
    if match is None:
        return name
    size, patch, pixels, tag = match.groups()
    size = _SIZES[size.lower()]
    arch = f"ViT-{size}-{patch}" + (f"-{pixels}" if pixels else "")
    publisher = "openai" if size in ("B", "L") else ""
    return f"{arch}/{tag or publisher}" if tag or publisher else arch


def locate(kind: str, name: str) -> Path:
    """Return the weight file of a catalog name, or the path itself if `name` is one (it has a suffix or a slash).

    A CLIP's name may say where it is: see `clip_names`. Raises UsageError for an unknown name, and WeightsError for one
    whose weights are not here.
    """
    hub = clip_names.hub_name(name) if kind == "clip" else None
    folder = clip_names.local_folder(name) if kind == "clip" else None
    public = str(hub) if hub else public_clip(name) if kind == "clip" else ""
    if public:
        return _here(cache.weights_file(kind, public), kind, name)
    if folder is not None:
        return folder
    if Path(name).suffix or "/" in name or "\\" in name:
        return Path(name)
    record = find(kind, name)
    try:
        path = place(record)
    except VqclipError as error:
        raise WeightsError(str(error)) from None
    return path if record.file else _here(path, kind, name)


def check_here(kind: str, name: str) -> None:
    """Raise, without loading torch, what `locate` and reading raise for unknown names and absent files.

    What could be one of open_clip's names is left to `locate`: its list comes with torch.
    """
    placed = clip_names.has_place(name)
    if kind == "clip" and not placed and name not in names(kind) and Path(name).suffix not in _SUFFIXES:
        return
    path = locate(kind, name)
    try:
        path.stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise WeightsError(f"cannot read the weight file {path}: {reason}") from None


def _here(path: Path, kind: str, name: str) -> Path:
    if not path.exists():
        several = sum(record.name == name for record in records()) > 1
        said = f"--kind {kind} {name}" if several else name
        raise WeightsError(f"the {kind} {name!r} is not here yet: run 'vqclip models get {said}'")
    return path


@functools.cache
def _public() -> list[Weights]:
    return _read(Path(__file__).with_name(OWN))


def _read(file: Path) -> list[Weights]:
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"the catalog {file} cannot be read: {one_line(error)[:120]}") from None
    if not isinstance(content, list):
        raise UsageError(f"the catalog {file} is no list of records: give each '- kind:', 'name:' and 'sources:'")
    return [_record(values, f"{file}, record {number}") for number, values in enumerate(content, 1)]


def _record(values: Any, where: str) -> Weights:
    known = {field.name for field in fields(Weights)} - {"file"}
    given = set(values) if isinstance(values, Mapping) else set()
    if not {"kind", "name"} <= given <= known or len(given & {"sources", "parts"}) != 1:
        raise UsageError(f"{where}: give kind, name and sources or parts, and of the rest {', '.join(sorted(known))}")
    if values["kind"] not in _KINDS or not _NAME.fullmatch(str(values["name"])):
        raise UsageError(f"{where}: kind is one of {', '.join(_KINDS)}, name letters, digits, '_' and '-'")
    texts = {name: str(values.get(name, "")) for name in ("draws", "licence", "citation", "sha256_by")}
    if ("parts" in given) != (values["kind"] == "prior") or values["kind"] not in ("vqgan", "clip", "prior", "depth"):
        raise UsageError(
            f"{where}: a VQGAN or CLIP has sources, a prior (DALL-E mini) parts; other kinds are given as files"
        )
    size, digest = values.get("size"), values.get("sha256")
    if size is not None and type(size) is not int:
        raise UsageError(f"{where}: size is a number of bytes")
    if digest is not None and (not isinstance(digest, str) or len(digest) != 64):
        raise UsageError(f"{where}: sha256 is 64 hexadecimal digits, in quotes")
    architecture = values.get("architecture")
    if architecture is not None and not isinstance(architecture, Mapping):
        raise UsageError(f"{where}: architecture is a mapping, such as {{n_embed: 1024}}")
    if values["kind"] == "clip" and not isinstance((architecture or {}).get("like"), str):
        raise UsageError(f"{where}: say which of open_clip's CLIPs it is like: architecture: {{like: ViT-B-32/openai}}")
    parts, sources = values.get("parts"), values.get("sources", [])
    if parts is not None and (not isinstance(parts, Mapping) or not all(_FILE.fullmatch(str(name)) for name in parts)):
        raise UsageError(f"{where}: parts map the names of files to their sources")
    return Weights(
        values["kind"], values["name"], **texts, architecture=architecture, size=size,
        sha256=digest and digest.lower(),
        sources=tuple(_source(value, where) for value in (sources if isinstance(sources, list) else [None])),
        parts=None if parts is None else {str(name): _source(value, where) for name, value in parts.items()},
    )  # fmt: skip


def _source(value: Any, where: str) -> Source:
    named = set(value) - {"unconfirmed"} if isinstance(value, Mapping) else set()
    fits = named == {"url"} or {"hub", "file"} <= named <= {"hub", "file", "revision"}
    if not fits or type(value.get("unconfirmed", False)) is not bool:
        raise UsageError(f"{where}: a source is {{url: ...}} or {{hub: OWNER/NAME, file: ..., revision: ...}}")
    return Source(**{name: str(value[name]) for name in named}, unconfirmed=value.get("unconfirmed", False))
