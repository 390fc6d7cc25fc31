"""CLIPs of any repository of the Hub, in open_clip's or transformers' form, and tokenizers that CLIPs name. Torch-free.

A repository's configuration is read before its weights are fetched; all of its files come from one commit.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqclip.errors import OutputError, VqclipError, WeightsError, one_line
from vqclip.weights import cache, fetch, hub
from vqclip.weights.catalog import Source
from vqclip.weights.clip_names import HubName

if TYPE_CHECKING:
    from vqclip.models.openclip import PretrainedTag
    from vqclip.types import CLIPArchitecture

_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors")
_SMALL = ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json")


def sources(name: HubName) -> tuple[Source, ...]:
    """Return where the weights of a repository may be, as far as that is known before it is asked."""
    return tuple(Source(name.repository, file, name.revision) for file in _WEIGHTS)


def make(name: HubName, target: Path, keep_original: bool, progress: fetch.Progress | None = None) -> None:
    """Write the CLIP of a repository to `target` as vqclip keeps it; nothing is left of one that cannot be used.

    Raises WeightsError, in one line that says what to do, for what the Hub does not give, or is no CLIP that is built.
    """
    from vqclip.weights import clips, convert, load

    _check_online(str(name))
    files = _Files(_at_known_commit(name), _folder(str(name)), progress)
    try:
        held, described = _described(files, name)
        weights = files.first(described.weights)
        held |= {weights.name: weights} | files.parts(weights)
    except WeightsError as error:  # what arrived is gone on with
        raise WeightsError(f"cannot get {name}: {files.said(error)}") from None
    try:
        digest = fetch.digest_of(weights)
        _check_same(str(name), digest)
        read = clips.read_held(held, files.folder, name.repository, files.of_another)
        origin = f"{name.repository}/{weights.name}@{files.name.revision}"
        info = {"name": str(name), "source": weights.name, "origin": origin, "source_sha256": digest}
        convert.write_clip(read, target, info | {"conversion": convert.VERSION})
        load.load_clip(str(target))
    except VqclipError as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OutputError):
            raise
        shutil.rmtree(files.folder, ignore_errors=True)
        raise WeightsError(f"cannot get {name}: {files.said(error)}") from None
    cache.remember_all({f"clip {name}": digest}, {f"clip {name}": origin})
    if not keep_original:
        shutil.rmtree(files.folder, ignore_errors=True)


def tokenizer_of(tag: PretrainedTag, progress: fetch.Progress | None = None) -> tuple[CLIPArchitecture, bytes | None]:
    """Return the network of one of open_clip's models, and its `tokenizer.json`, fetched, if that is not CLIP's."""
    from vqclip.models import tokenizing
    from vqclip.weights.clips import TOKENIZER, TOKENIZER_CONFIG, read_json

    if not tag.tokenizer:
        return tag.architecture, None
    tokenizing.check_package()
    _check_online(f"the tokenizer {tag.tokenizer}")
    files = _Files(HubName(tag.tokenizer), _folder(f"tokenizer-{tag.tokenizer}"), progress)
    try:
        content = files.get(TOKENIZER).read_bytes()
        config = files.optional(TOKENIZER_CONFIG)
        options = tokenizing.options_of(content, read_json(config) if config else {}, tag.reading)
    except WeightsError as error:
        raise WeightsError(f"cannot get the tokenizer {tag.tokenizer}: {one_line(error)}") from None
    shutil.rmtree(files.folder, ignore_errors=True)
    return replace(tag.architecture, tokenizer=options), content


def _described(files: _Files, name: HubName) -> tuple[dict[str, Path], Any]:
    """Return the small files of a repository, and what they say, before any large one is fetched."""
    from vqclip.weights import clips

    config = files.optional(clips.OPEN_CLIP_CONFIG) or files.optional(clips.CONFIG)
    if config is None:
        raise WeightsError(f"it holds neither {clips.OPEN_CLIP_CONFIG} nor {clips.CONFIG}: give a repository of a CLIP")
    held = {config.name: config}
    if config.name == clips.CONFIG:
        held |= {file: path for file in _SMALL if (path := files.optional(file)) is not None}
    return held, clips.describe(held, files.folder, name.repository, files.of_another)


@dataclass
class _Files:
    """Files of a repository, all from the commit that the first of them came from, kept in a folder of ours."""

    name: HubName
    folder: Path
    progress: fetch.Progress | None

    def get(self, file: str) -> Path:
        """Return a file, fetched unless it is here; WeightsError if the Hub does not give it."""
        source = Source(self.name.repository, file, self.name.revision)
        held = hub.cached(source)
        if held is not None:
            self.name = replace(self.name, revision=held[1] or self.name.revision)
            return held[0]
        found = hub.look_up(source)
        self.name = replace(self.name, revision=found.revision)
        place = self.folder / found.revision[:12] / file
        wanted = fetch.Wanted([found.pinned.address], found.size, found.sha256, hub.token())
        fetch.fetch(wanted, place, self.progress)
        return place

    def said(self, error: VqclipError) -> str:
        """Return the words of an error, in which the repository stands for the folder."""
        ours = rf"{re.escape(str(self.folder))}(/[0-9a-f]+)?(/?)"
        return re.sub(ours, lambda match: "its " if match[2] else "it", one_line(error))

    def optional(self, file: str) -> Path | None:
        """Return a file; None if the repository does not hold it."""
        try:
            return self.get(file)
        except hub.Absent:
            return None

    def first(self, names: tuple[str, ...]) -> Path:
        """Return the first of some files that the repository holds."""
        for file in names:
            found = self.optional(file)
            if found is not None:
                return found
        raise WeightsError(f"it holds no weights: none of {', '.join(names)}")

    def parts(self, weights: Path) -> dict[str, Path]:
        """Return the files that an index names; nothing for weights in one file."""
        from vqclip.weights.clips import read_json

        if not weights.name.endswith(".index.json"):
            return {}
        listed = read_json(weights).get("weight_map")
        names = sorted({str(part) for part in listed.values()}) if isinstance(listed, Mapping) else []
        if any(os.path.basename(part) != part for part in names):
            raise WeightsError(f"its {weights.name} names files elsewhere: give another repository")
        return {part: self.get(part) for part in names}

    def of_another(self, repository: str, wanted: tuple[str, ...]) -> Mapping[str, Path]:
        """Return files of a repository that a configuration names, or of this one where that has them not."""
        others = _Files(HubName(repository), self.folder / repository.replace("/", "--"), self.progress)
        for files in (others, self):
            try:
                there = {file: files.optional(file) for file in wanted}
            except WeightsError:
                continue
            if there[wanted[0]] is not None:
                return {file: path for file, path in there.items() if path is not None}
        return {}


def _folder(name: str) -> Path:
    return cache.home() / "downloads" / f"clip-{name.replace('/', '--').replace(':', '--')}"


def _at_known_commit(name: HubName) -> HubName:
    """Return a repository at the commit that it was fetched from before, if no revision is asked for."""
    commit = (cache.known_origin(f"clip {name}") or "").rpartition("@")[2]
    return name if name.revision else HubName(name.repository, commit)


def _check_same(name: str, digest: str) -> None:
    known = cache.known_digest(f"clip {name}")
    if known not in (None, digest):
        record = cache.home() / cache.RECORD
        raise WeightsError(f"its weights are others than before (sha256 {digest[:12]}, {record} says {known[:12]})")


def _check_online(name: str) -> None:
    if cache.offline():
        raise WeightsError(f"{name} is not here and the network is forbidden (offline): get it while online")
