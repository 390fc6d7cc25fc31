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
from vqclip.weights import cache, catalog, fetch
from vqclip.weights.catalog import Source, Weights

if TYPE_CHECKING:
    from vqclip.types import CLIPArchitecture

_HUB_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


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


def get(kind: str, name: str, how: How | None = None, progress: fetch.Progress | None = None) -> Path:
    """Return the converted weights of a catalog name, or of open_clip's `ARCH/TAG`, fetching them unless they are here.

    Raises UsageError for an unknown name, and WeightsError if no source gives the file, it is not the one that is
    known, or it cannot be converted. Of several processes one works and the others wait.
    """
    how = how or How()
    record, architecture = _known(kind, name)
    if record.file:
        raise UsageError(f"{kind} {name} ships with vqclip: nothing is to be fetched")
    if kind != "vqgan" and (how.decoder_only or how.dtype != "fp32"):
        raise UsageError(f"{kind} {name}: --decoder-only and --dtype are for VQGANs alone")
    target = catalog.place(record)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if record.parts:
                if not target.exists():
                    _make_folder(record.parts, target, progress)
            elif not target.exists() or (kind == "vqgan" and not _reshaped(target, how)):
                _make(record, architecture, target, how, progress)
    except OutputError as error:
        raise WeightsError(f"{name} cannot be kept: {error}") from None
    except OSError as error:
        raise WeightsError(f"cannot write {target.parent}: {error.strerror or one_line(error)}") from None
    return target


def _known(kind: str, name: str) -> tuple[Weights, CLIPArchitecture | None]:
    """Return the record of a name, and of one of open_clip's models its architecture."""
    public = catalog.public_clip(name) if kind == "clip" else ""
    if not public:
        return catalog.find(kind, name), None
    from vqclip.models.openclip import pretrained

    try:
        public_model = pretrained(*public.split("/", 1))
    except ValueError as error:
        raise UsageError(f"{name} cannot be used: {error}") from None
    files = [public_model.file] if public_model.file else _HUB_NAMES
    hub = [Source(hub=public_model.hub, file=file) for file in files if public_model.hub]
    urls = [Source(url=public_model.url)] if public_model.url else []
    terms = "the terms of its publisher: see open_clip's list of models"
    return Weights(kind, public, "what its pictures showed", terms, sources=(*hub, *urls)), public_model.architecture


def _make(
    record: Weights,
    architecture: CLIPArchitecture | None,
    target: Path,
    how: How,
    progress: fetch.Progress | None,
) -> None:
    """Convert the original and keep what came out if it can be loaded."""
    from vqclip.weights import convert, depth, load

    original = _original(record, progress)
    unchecked = target.with_suffix(".unchecked")
    info: dict[str, Any] = {"name": record.name, "licence": record.licence, "citation": record.citation}
    try:
        if architecture is not None:
            convert.convert_clip(original.path, unchecked, architecture, info | {"source_sha256": original.sha256})
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
    cache.remember_digest(_key(record), original.sha256)
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
        record = Weights("prior", f"{target.name}/{name}", "", "", sources=(source,))
        if not (folder / name).exists():
            try:
                digest = _from(source, folder / f"{name}.fetched", record, progress)
            except WeightsError as error:
                reason, url = _reason(error), source.address
                raise WeightsError(f"cannot fetch {url} ({reason}): get it, and put all parts into {target}") from None
            cache.remember_digest(_key(record), digest.sha256)
            if digest.ours:
                os.replace(digest.path, folder / name)
            else:
                shutil.copyfile(digest.path, folder / f"{name}.copied")
                os.replace(folder / f"{name}.copied", folder / name)
    for extra in folder.iterdir():
        if extra.name not in parts:
            extra.unlink()
    folder.rename(target)


def _original(record: Weights, progress: fetch.Progress | None) -> _Original:
    """Return the original: one that was put there by hand, else from the first source that gives it."""
    place = cache.home() / "downloads" / f"{record.kind}-{record.name.replace('/', '--')}{_suffix(record)}"
    if place.exists():
        digest = fetch.digest_of(place)
        _check_digest(_known_digest(record), digest, str(place))
        return _Original(place, digest)
    _check_online(record.name)
    reasons = []
    for source in record.sources:
        try:
            return _from(source, place.with_suffix(f".fetched{place.suffix}"), record, progress)
        except WeightsError as error:
            reasons.append(f"{source}: {_reason(error)}")
    by_hand = next((source.address for source in record.sources), "its file")
    raise WeightsError(f"cannot fetch {record.name} ({'; '.join(reasons)}): get {by_hand} and put it at {place}")


def _from(source: Source, place: Path, record: Weights, progress: fetch.Progress | None = None) -> _Original:
    """Fetch from one source, to `place` if it is a URL; WeightsError if it gives nothing, or not the known file."""
    known = _known_digest(record)
    if source.url:
        digest = fetch.fetch(fetch.Wanted([source.url], record.size, known), place, progress)
        _check_digest(known, digest, str(place))  # one that was there already was not looked at
        return _Original(place, digest, True)
    import huggingface_hub

    _check_room(record.size)
    try:
        path = Path(huggingface_hub.hf_hub_download(source.hub, source.file, revision=source.revision or None))
    except Exception as error:  # noqa: BLE001 - its own, its transport's, the disk's
        raise WeightsError(one_line(error)[:100]) from None
    size = path.stat().st_size
    if record.size and size != record.size:
        raise WeightsError(f"a file of {size} bytes, not {record.size}")
    digest = fetch.digest_of(path)
    _check_digest(known, digest, str(source))
    return _Original(path, digest)


def _check_room(size: int | None) -> None:
    """Raise WeightsError if the Hub's cache has no room for a file."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    there = next((place for place in (folder, *folder.parents) if cache.exists(place)), Path())
    free = shutil.disk_usage(there).free
    if size and free < size:
        raise WeightsError(f"it needs {size / 1e9:.2f} GB in {folder}, {free / 1e9:.2f} GB are free (HF_HOME moves it)")


def _check_digest(known: str | None, digest: str, where: str) -> None:
    if known and digest != known:
        record = cache.home() / cache.RECORD
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
