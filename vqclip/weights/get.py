"""From a known name to a file on this machine: fetch the original, verify it, convert it, keep what drawing needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from vqclip.errors import OutputError, UsageError, VqclipError, WeightsError, one_line
from vqclip.weights import cache, catalog, clip_names, exchange, fetch, hub, hub_clips
from vqclip.weights.catalog import Source, Weights

if TYPE_CHECKING:
    from vqclip.models.openclip import PretrainedTag

_HUB_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_TERMS = "the terms of its publisher: see its page"


@dataclass(frozen=True)
class How:
    """How weights are kept: `decoder_only`, `dtype` fp32 or fp16, and whether the original file stays too."""

    decoder_only: bool = False
    dtype: str = "fp32"
    keep_original: bool = False


@dataclass(frozen=True)
class _Original:
    """A file as its publisher made it; `ours` says whether it was fetched to be thrown away."""

    path: Path
    sha256: str
    ours: bool = False
    origin: str = ""


def get(kind: str, name: str, how: How | None = None, progress: fetch.Progress | None = None) -> Path:
    """Return the converted weights of a name, fetching them unless they are here.

    That is one of the catalog, open_clip's `ARCH/TAG`, or a repository of the Hub with a CLIP (`clip_names`).

    Raises UsageError for an unknown name, and WeightsError if no source gives the file, it is not the one that is
    known, or it cannot be converted. Of several processes one works and the others wait.
    """
    how = how or How()
    record, tag = _known(kind, name)
    if record.file:
        raise UsageError(f"{kind} {name} ships with vqclip: nothing is to be fetched")
    if kind != "vqgan" and (how.decoder_only or how.dtype != "fp32"):
        raise UsageError(f"{kind} {name}: --decoder-only and --dtype are for VQGANs alone")
    target = catalog.place(record)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if cache.elsewhere() and not target.exists():
                exchange.copy_kept(target)
            if record.parts:
                if not target.exists():
                    _make_folder(record.parts, target, progress)
            elif not target.exists() or (kind == "vqgan" and not _reshaped(target, how)):
                _make(record, tag, target, how, progress)
    except OutputError as error:
        raise WeightsError(f"{name} cannot be kept: {error}") from None
    except OSError as error:
        raise WeightsError(f"cannot write {target.parent}: {error.strerror or one_line(error)}") from None
    return target


def record_of(kind: str, name: str) -> Weights:
    """Return the record of a catalog name, or one made of what open_clip knows; UsageError for an unknown name."""
    return _known(kind, name)[0]


def place_of_original(record: Weights) -> Path:
    """Return where an original that was got by other means is looked for."""
    return cache.home() / "downloads" / f"{record.kind}-{record.name.replace('/', '--')}{_suffix(record)}"


def arrived(record: Weights) -> int:
    """Return how many bytes of an original are here of a try that was interrupted."""
    place = _fetched(record)
    return place.stat().st_size if place.exists() else fetch.arrived(place)


def _fetched(record: Weights) -> Path:
    place = place_of_original(record)
    return place.with_suffix(f".fetched{place.suffix}")


def _known(kind: str, name: str) -> tuple[Weights, PretrainedTag | None]:
    """Return the record of a name, and of one of open_clip's models what open_clip knows of it."""
    repository = clip_names.hub_name(name) if kind == "clip" else None
    if repository is not None:
        places = hub_clips.sources(repository)
        return Weights(kind, str(repository), "what its pictures showed", _TERMS, sources=places), None
    public = catalog.public_clip(name) if kind == "clip" else ""
    if not public:
        record = catalog.find(kind, name)
        like = str((record.architecture or {}).get("like", "")) if kind == "clip" else ""
        return record, _pretrained(like, name) if like else None
    public_model = _pretrained(public, name)
    files = [public_model.file] if public_model.file else _HUB_NAMES
    hub = [Source(hub=public_model.hub, file=file) for file in files if public_model.hub]
    urls = [Source(url=public_model.url)] if public_model.url else []
    return Weights(kind, public, "what its pictures showed", _TERMS, sources=(*hub, *urls)), public_model


def _pretrained(public: str, name: str) -> PretrainedTag:
    """Return what open_clip knows of `ARCH/TAG`; UsageError if that cannot be built, or is unknown."""
    from vqclip.models.openclip import pretrained, pretrained_tags

    arch, _, tag = public.partition("/")
    if tag not in pretrained_tags(arch):
        raise UsageError(f"{name} is like {public!r}, which is none of open_clip's: give ARCH/TAG of its list")
    try:
        return pretrained(arch, tag)
    except ValueError as error:
        raise UsageError(f"{name} cannot be used: {error}") from None


def _make(
    record: Weights,
    tag: PretrainedTag | None,
    target: Path,
    how: How,
    progress: fetch.Progress | None,
) -> None:
    """Convert the original and keep what came out if it can be loaded."""
    from vqclip.weights import convert, depth, load

    unchecked = target.with_suffix(".unchecked")
    repository = clip_names.hub_name(record.name) if record.kind == "clip" else None
    if repository is not None:
        hub_clips.make(repository, unchecked, how.keep_original, progress)
        _take(unchecked, target)
        return
    reading = hub_clips.tokenizer_of(tag, progress) if tag is not None else None
    original = _original(record, progress)
    info: dict[str, Any] = {"name": record.name, "licence": record.licence, "citation": record.citation}
    info |= {"origin": original.origin} if original.origin else {}
    try:
        if reading is not None:
            convert.convert_clip(original.path, unchecked, *reading, info | {"source_sha256": original.sha256})
            load.load_clip(str(unchecked))
        elif record.kind == "depth":
            depth.convert_depth(original.path, unchecked, info | {"source_sha256": original.sha256})
            load.load_depth(str(unchecked))
        else:
            options: dict[str, Any] = {
                "decoder_only": how.decoder_only,
                "dtype": how.dtype,
                "expected": record.architecture,
            }
            convert.convert_vqgan(original.path, unchecked, **options, info=info | {"source_sha256": original.sha256})
            load.load_vqgan(str(unchecked))
    except VqclipError as error:
        unchecked.unlink(missing_ok=True)
        # a file that nobody vouched for is the likeliest reason, unless the disk was full
        if original.ours and not isinstance(error, OutputError) and not _known_digest(record):
            original.path.unlink(missing_ok=True)
        raise
    cache.remember_all({_key(record): original.sha256}, {_key(record): original.origin} if original.origin else {})
    _take(unchecked, target)
    if original.ours and not how.keep_original:
        original.path.unlink(missing_ok=True)
        Path(f"{original.path}.lock").unlink(missing_ok=True)


def _reshaped(target: Path, how: How) -> bool:
    """Bring a VQGAN that is here into the form that is asked for; False if it lacks something, and must be fetched."""
    from vqclip.types import VQGANArchitecture
    from vqclip.weights import convert, files

    try:
        kept = files.read(target, "vqgan")
        encoder = VQGANArchitecture.from_json(kept.architecture).encoder
    except WeightsError:
        return False
    dtype = kept.info.get("dtype", "fp32")
    if (encoder, dtype) == (not how.decoder_only, how.dtype):
        return True
    if (not encoder and not how.decoder_only) or (dtype != "fp32" and how.dtype == "fp32"):
        return False
    unchecked = target.with_suffix(".unchecked")
    convert.convert_vqgan(target, unchecked, decoder_only=how.decoder_only, dtype=how.dtype, info=kept.info)
    _take(unchecked, target)
    return True


def _take(unchecked: Path, target: Path) -> None:
    """Give a converted file its name, and record what it is."""
    cache.remember_digest(target.name, fetch.digest_of(unchecked))
    os.replace(unchecked, target)


def _key(record: Weights) -> str:
    """Return under what the sha256 of the original of a record is remembered, whichever source gave it."""
    return f"{record.kind} {record.name}"


def _known_digest(record: Weights) -> str | None:
    return record.sha256 or cache.known_digest(_key(record))


def _make_folder(parts: Mapping[str, Source], target: Path, progress: fetch.Progress | None) -> None:
    """Put all parts into a folder, which gets its name when the last one is there; what arrived is gone on with."""
    _check_online(target.name)
    folder = target.with_name(f".{target.name}.unfinished")
    folder.mkdir(exist_ok=True)
    for name, source in parts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        record = Weights("prior", f"{target.name}/{name}", "", "", sources=(source,))
        if not (folder / name).exists():
            try:
                digest = _from(source, folder / f"{name}.fetched", record, progress)
            except WeightsError as error:
                reason, url = _reason(error), source.address
                raise WeightsError(f"cannot fetch {url} ({reason}): get it, and put all parts into {target}") from None
            cache.remember_all({_key(record): digest.sha256}, {_key(record): digest.origin})
            if digest.ours:
                os.replace(digest.path, folder / name)
            else:
                shutil.copyfile(digest.path, folder / f"{name}.copied")
                os.replace(folder / f"{name}.copied", folder / name)
    for extra in [each for each in folder.rglob("*") if each.is_file()]:
        if extra.relative_to(folder).as_posix() not in parts:
            extra.unlink()
    folder.rename(target)


def _original(record: Weights, progress: fetch.Progress | None) -> _Original:
    """Return the original: one that was put there by hand, else from the first source that gives it."""
    place = place_of_original(record)
    if place.exists():
        digest = fetch.digest_of(place)
        _check_digest(_known_digest(record), digest, str(place), record.sha256_by)
        return _Original(place, digest)
    _check_online(record.name)
    reasons = []
    for source in record.sources:
        try:
            return _from(source, _fetched(record), record, progress)
        except WeightsError as error:
            doubt = ", an address that is not confirmed" if source.unconfirmed else ""
            reason = _reason(error)
            by = f" ({record.sha256_by})" if record.sha256_by and "another file" in reason else ""
            reasons.append(f"{source}{doubt}: {reason}{by}")
    by_hand = next((source.address for source in record.sources), "its file")
    raise WeightsError(f"cannot fetch {record.name} ({'; '.join(reasons)}): get {by_hand} and put it at {place}")


def _from(source: Source, place: Path, record: Weights, progress: fetch.Progress | None = None) -> _Original:
    """Fetch from one source to `place`; WeightsError if it gives nothing, or not the known file.

    A file of the Hub without a pinned revision is asked for at the one that it was first fetched at.
    """
    known = _known_digest(record)
    if source.url:
        digest = fetch.fetch(fetch.Wanted([source.url], record.size, known), place, progress)
        _check_digest(known, digest, str(place), record.sha256_by)  # one that was there already was not looked at
        return _Original(place, digest, True, source.url)
    source = _pinned(source, record)
    held = hub.cached(source)
    if held is not None:
        path, revision = held
        size, digest = path.stat().st_size, fetch.digest_of(path)
        if record.size and size != record.size:
            raise WeightsError(f"a file of {size} bytes, not {record.size}")
        _check_digest(known, digest, str(source), record.sha256_by)
        return _Original(path, digest, origin=_origin(source, revision))
    found = hub.look_up(source)
    if record.size and found.size and found.size != record.size:
        raise WeightsError(f"a file of {found.size} bytes, not {record.size}")
    wanted = fetch.Wanted([found.pinned.address], record.size or found.size, known or found.sha256, hub.token())
    digest = fetch.fetch(wanted, place, progress)
    _check_digest(known, digest, str(place), record.sha256_by)
    return _Original(place, digest, True, _origin(source, found.revision))


def _origin(source: Source, revision: str) -> str:
    return f"{source.hub}/{source.file}" + (f"@{revision}" if revision else "")


def _pinned(source: Source, record: Weights) -> Source:
    """Return a source of the Hub at the revision that it was fetched at before, unless it has one."""
    name, _, revision = (cache.known_origin(_key(record)) or "").rpartition("@")
    if source.revision or name != _origin(source, ""):
        return source
    return Source(source.hub, source.file, revision)


def _check_digest(known: str | None, digest: str, where: str, by: str = "") -> None:
    if known and digest != known:
        record = f"{cache.home() / cache.RECORD}" + (f", and {by}," if by else "")
        raise WeightsError(
            f"{where} is another file (sha256 {digest[:12]}, not {known[:12]}, as catalog or {record} say): remove it"
        )


def _check_online(name: str) -> None:
    if cache.offline():
        raise WeightsError(f"{name} is not here and the network is forbidden (offline): get it while online")


def _reason(error: WeightsError) -> str:
    return error.reasons if isinstance(error, fetch.Unavailable) else one_line(error)


def _suffix(record: Weights) -> str:
    first: Iterator[str] = (source.file or source.url for source in record.sources)
    return Path(next(first, "").partition("?")[0]).suffix or ".ckpt"
