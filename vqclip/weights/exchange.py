"""Fetched weights on their way to another machine: in a folder that serves as `VQCLIP_HOME`, or in one archive.

Both hold a manifest with the length and sha256 of each file. What comes from others is checked against it before any
of it is kept: an archive holds plain files with the names of weights, and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from filelock import FileLock

from vqclip import atomic
from vqclip.errors import OutputError, UsageError, WeightsError, one_line
from vqclip.weights import cache, catalog
from vqclip.weights.fetch import digest_of
from vqclip.weights.manifest import MANIFEST, MAX_BYTES, NAME, Manifest

ARCHIVE = ".tar"
_BLOCK = 1 << 20


def export(target: Path, places: Sequence[Path], replace: bool = False) -> list[str]:
    """Write kept weights, files or folders below the home, to an archive if `target` ends in `.tar`, or to a folder.

    Return the names of the files. Raises WeightsError for weights that are damaged or find no room, UsageError for an
    archive that exists unless it is to be replaced, and OutputError if it cannot be written.
    """
    home = cache.home()
    files = {_name(path, home): path for place in places for path in _files_of(place)}
    if not files:
        raise WeightsError(f"there are no fetched weights in {home / 'weights'}: 'vqclip models get NAME' gets some")
    archive = target.suffix == ARCHIVE
    if archive and target.exists() and not replace:
        raise UsageError(f"{target} exists: give another name, or --yes to replace it")
    _check_room(sum(path.stat().st_size for path in files.values()), target)
    manifest = _manifest_of(files)
    try:
        if archive:
            atomic.write(target, lambda stream: _write_archive(stream, manifest, files))
        else:
            _write_folder(target, manifest, files)
    except OutputError as error:
        raise OutputError(str(error).replace(" with --output", "")) from None
    return list(files)


def copy_kept(target: Path) -> None:
    """Copy weights that the user's own home holds to another home, within `cache.kept_in`; nothing if it lacks them."""
    kept = cache.users_home() / "weights" / target.name
    if not kept.exists() or kept.parent.resolve() == target.parent.resolve():
        return
    files = {path.relative_to(kept.parent).as_posix(): path for path in _files_of(kept)}
    _check_room(sum(path.stat().st_size for path in files.values()), target)
    with cache.kept_in(cache.users_home()):
        manifest = _manifest_of({f"weights/{name}": path for name, path in files.items()})
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".copied-") as stage:
        for name, path in files.items():
            (Path(stage) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, Path(stage) / name)
        os.replace(Path(stage) / target.name, target)
    cache.remember_all(manifest.digests, manifest.origins)


def bring_catalog() -> None:
    """Copy the user's own catalog into another home, within `cache.kept_in`, unless that has one."""
    place, own = cache.home() / catalog.OWN, catalog.own_catalog()
    if own is not None and own != place:
        atomic.write(place, lambda stream: stream.write(own.read_bytes()))


def take(source: Path, replace: bool = False) -> list[Path]:
    """Import weights from an exported folder or archive, and return where they lie.

    All of it is copied and compared with the manifest before any of it gets its name. Raises WeightsError for what is
    damaged, holds anything but weights, or finds no room, and UsageError for other weights of the same name that are
    here, unless they are to be replaced.
    """
    home = cache.home()
    try:
        (home / "weights").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home / "weights", prefix=".import-") as folder:
            stage = Path(folder)
            manifest = _from_folder(source, stage) if source.is_dir() else _from_archive(source, stage)
            return _keep(manifest, stage, home, replace)
    except OSError as error:
        raise WeightsError(f"cannot import {source}: {error.strerror or one_line(error)}") from None


def _files_of(place: Path) -> list[Path]:
    """Return the files of kept weights: a file, or all of a folder."""
    inside = place.rglob("*") if place.is_dir() else [place]
    return sorted(path for path in inside if path.is_file() and not path.name.startswith("."))


def _name(path: Path, home: Path) -> str:
    name = path.relative_to(home).as_posix()
    if not NAME.fullmatch(name):
        raise WeightsError(f"{path} is no weight file by its name: move it elsewhere")
    return name


def _manifest_of(files: dict[str, Path]) -> Manifest:
    """Return the manifest of kept files; WeightsError for one that is not what was kept."""
    known, listed = cache.digests(), dict[str, tuple[int, str]]()
    for name, path in files.items():
        digest, kept = digest_of(path), known.get(path.name)
        if kept not in (None, digest):
            raise WeightsError(f"{path} is damaged: its sha256 is {digest[:12]}, not {kept[:12]}; 'rm' and 'get' it")
        listed[name] = (path.stat().st_size, digest)
    of_files = {name.removeprefix("weights/").removesuffix(".safetensors") for name in files}
    of_files |= {path.name for path in files.values()}
    digests, origins = (
        {key: value for key, value in records.items() if _told_of(key) in of_files}
        for records in (known, cache.origins())
    )
    return Manifest(listed, digests, origins)


def _told_of(key: str) -> str:
    """Return the file that a record of sums or origins is about, as its name begins below the folder of weights.

    A record is of `KIND NAME`, of a part of a prior, `prior prior-NAME/PART`, or of a kept file.
    """
    kind, blank, name = key.partition(" ")
    if not blank or name.startswith(f"{kind}-"):
        return name or kind
    return f"{kind}-{name.replace('/', '--').replace(':', '--')}"


def _write_archive(stream: IO[bytes], manifest: Manifest, files: dict[str, Path]) -> None:
    content = manifest.to_json().encode()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        first = tarfile.TarInfo(MANIFEST)
        first.size = len(content)
        archive.addfile(first, io.BytesIO(content))
        for name, path in files.items():
            info = tarfile.TarInfo(name)
            info.size = manifest.files[name][0]
            with path.open("rb") as held:
                archive.addfile(info, held)


def _write_folder(target: Path, manifest: Manifest, files: dict[str, Path]) -> None:
    for name, path in files.items():
        with path.open("rb") as held:
            atomic.write(target / name, lambda stream, held=held: shutil.copyfileobj(held, stream, _BLOCK))  # type: ignore[misc]
    with cache.kept_in(target):
        cache.remember_all(manifest.digests, manifest.origins)
    own = catalog.own_catalog()
    if own is not None and own.parent.resolve() != target.resolve():
        atomic.write(target / catalog.OWN, lambda stream: stream.write(own.read_bytes()))
    # what was exported there before stays
    with contextlib.suppress(OSError, WeightsError):
        before = Manifest.read((target / MANIFEST).read_bytes(), str(target))
        there = {name: entry for name, entry in before.files.items() if (target / name).is_file()}
        manifest = Manifest(
            there | manifest.files, before.digests | manifest.digests, before.origins | manifest.origins
        )
    atomic.write_text(target / MANIFEST, manifest.to_json())


def _from_folder(source: Path, stage: Path) -> Manifest:
    """Copy the files of an exported folder, as its manifest lists them, to `stage`; return the manifest."""
    where = source / MANIFEST
    try:
        if where.stat().st_size > MAX_BYTES:
            raise WeightsError(f"{where} is over {MAX_BYTES >> 20} MB: that is no manifest")
        text = where.read_bytes()
    except OSError:
        raise WeightsError(f"{source} holds no {MANIFEST}: give what 'vqclip models export' wrote") from None
    manifest = Manifest.read(text, str(source))
    _check_room(manifest.size, stage)
    for name in manifest.files:
        path = source / name
        if any(each.is_symlink() for each in (path, *list(path.parents)[: name.count("/")])):
            raise WeightsError(f"{source} holds {name!r} as a link: nothing was imported")
        if not path.is_file():
            raise WeightsError(f"{source} lacks {name}: copy it again")
        with path.open("rb") as held:
            _receive(held, name, manifest, stage, str(source))
    return manifest


def _from_archive(source: Path, stage: Path) -> Manifest:
    """Copy the files of an exported archive to `stage`; return its manifest."""
    if not source.is_file():  # a pipe would be waited for
        raise WeightsError(f"there is no archive or folder {source}: give what 'vqclip models export' wrote")
    try:
        with tarfile.open(source, "r:") as archive:
            members = _plain(archive, source)
            first, stream = next(members, (None, io.BytesIO()))
            if first is None or first.name != MANIFEST or first.size > MAX_BYTES:
                raise WeightsError(f"{source} does not begin with {MANIFEST}: give what 'vqclip models export' wrote")
            manifest = Manifest.read(stream.read(), str(source))
            _check_room(manifest.size, stage)
            seen = set()
            for member, stream in members:
                if member.name not in manifest.files or member.name in seen:
                    raise WeightsError(f"{source} holds {member.name[:80]!r}, which its manifest does not list")
                seen.add(member.name)
                _receive(stream, member.name, manifest, stage, str(source))
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise WeightsError(f"{source} is damaged, or no archive that vqclip wrote: {one_line(error)[:80]}") from None
    absent = [name for name in manifest.files if name not in seen]
    if absent:
        raise WeightsError(f"{source} lacks {absent[0]}: copy it again")
    return manifest


def _plain(archive: tarfile.TarFile, source: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """Yield the members of an archive and their bytes; WeightsError for a link, a device or another odd thing."""
    for member in archive:
        stream = archive.extractfile(member) if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else None
        if stream is None or member.issparse():
            raise WeightsError(f"{source} holds {member.name[:80]!r}, which is no plain file: nothing was imported")
        yield member, stream


def _receive(stream: IO[bytes], name: str, manifest: Manifest, stage: Path, where: str) -> None:
    """Copy a file to `stage`, and compare it with the manifest on the way."""
    size, wanted = manifest.files[name]
    place = stage / name.removeprefix("weights/")
    place.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), size
    with place.open("wb") as copy:
        while block := stream.read(min(_BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                break
            digest.update(block)
            copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())
    if left or digest.hexdigest() != wanted:
        raise WeightsError(f"{where} is damaged: {name} is not what its manifest says; copy it again")


def _keep(manifest: Manifest, stage: Path, home: Path, replace: bool) -> list[Path]:
    """Give what was received its names, all of it or, where something else stands in the way, nothing."""
    tops = sorted({name.split("/")[1] for name in manifest.files})
    known = cache.digests()
    other = [top for top in tops if _differs(manifest, top, home)]
    other += [key for key, digest in manifest.digests.items() if " " in key and known.get(key, digest) != digest]
    if other and not replace:
        raise UsageError(f"{home} has another {other[0]}: give --yes to replace it, or 'vqclip models rm' it")
    places = []
    for top in tops:
        place = home / "weights" / top
        with FileLock(f"{place}.lock"):
            if place.exists() and _differs(manifest, top, home):
                os.replace(place, stage / f"{top}.before")
            if not place.exists():
                os.replace(stage / top, place)
        places.append(place)
    cache.remember_all(manifest.digests, manifest.origins)
    return places


def _differs(manifest: Manifest, top: str, home: Path) -> bool:
    """Whether weights of a name are here, and are not those of the manifest."""
    place = home / "weights" / top
    if not place.exists():
        return False
    wanted = {name: digest for name, (_, digest) in manifest.files.items() if name.split("/")[1] == top}
    here = {path.relative_to(home).as_posix(): path for path in _files_of(place)}
    return here.keys() != wanted.keys() or any(digest_of(path) != wanted[name] for name, path in here.items())


def _check_room(size: int, target: Path) -> None:
    place = target.absolute()
    there = next(each for each in (place, *place.parents) if each.is_dir())
    free = shutil.disk_usage(there).free
    if free < size:
        raise WeightsError(f"it needs {size / 1e9:.2f} GB in {there}, {free / 1e9:.2f} GB are free: make room")
