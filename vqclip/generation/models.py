"""The networks of a run, loaded once and used for as many runs as one likes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqclip.config import Config, Resolved, checked
from vqclip.drawables.scaler import lacks_much
from vqclip.errors import UsageError, WeightsError
from vqclip.generation import determinism, resolve
from vqclip.generation.picturing import PICTURING, natural_grid
from vqclip.models import casting
from vqclip.models.adapted import adapt_clip, adapt_vqgan, fingerprint, name_of
from vqclip.models.clip import CLIP
from vqclip.models.gpt import GPTPrior
from vqclip.models.vqgan import NO_ENCODER, VQGAN
from vqclip.sketch.asked import check_words, is_sketched
from vqclip.weights import catalog
from vqclip.weights.load import (
    load_clip,
    load_embedding,
    load_judge_clip,
    load_memory,
    load_prior,
    load_upsampler,
    load_vqgan,
    recorded_name,
)

if TYPE_CHECKING:
    from vqclip.models.embedding import EmbeddingPrior
    from vqclip.models.memory import Memory
    from vqclip.models.upsampler import Upsampler
    from vqclip.weights.load import Prior


@dataclass
class Models:
    """A VQGAN, the CLIPs that guide it, maybe a prior and an upsampler, on one device.

    `hashes` holds the sha256 of each one's weights by (kind, name), `clip_hashes` those of the CLIPs in their order,
    `declined` why prior or upsampler, by kind, were left out, if they were. `source` is what they were loaded by: they
    serve configs that name the same networks, and decoder and towers keep their weights in its precision (see
    `casting`). A prior that only a later config needs is loaded then.

    `Models(vqgan=..., clips=[...])` takes networks from Python: a `types.ImageTokenizer` and some `types.Perceptor`.
    They serve any config; pictures name their classes and the sha256 of their parameters.
    """

    vqgan: VQGAN
    clips: list[CLIP]
    hashes: dict[tuple[str, str], str] = field(default_factory=dict)
    clip_hashes: list[str] = field(default_factory=list)
    prior: Prior | None = None
    declined: dict[str, str] = field(default_factory=dict)
    embedding: EmbeddingPrior | None = None
    upsampler: Upsampler | None = None
    memory: Memory | None = None
    source: Config | None = None
    judge_clip: CLIP | None = None

    def __post_init__(self) -> None:
        """Fit networks from Python to what a run asks; UsageError for those of another interface."""
        if self.source is None:
            if not isinstance(self.clips, (list, tuple)) or not self.clips:
                raise UsageError("there is no CLIP: give Models(vqgan=..., clips=[...]) at least one")
            self.vqgan, self.clips = adapt_vqgan(self.vqgan), [adapt_clip(clip) for clip in self.clips]
            self.clip_hashes = self.clip_hashes or [fingerprint(clip) for clip in self.clips]

    @property
    def device(self) -> torch.device:
        """Where the networks lie."""
        return self.vqgan.device

    @classmethod
    def load(cls, config: Config) -> Models:
        """Load the networks that a config names; raises UsageError and WeightsError."""
        config = checked(config)
        device = torch.device(resolve.device(config.run.device))
        if config.run.deterministic and device.type == "cuda":
            determinism.order_sums()
        models = cls._load_stepped(config, device, resolve.precision(config.run.precision, str(device)))
        models._take_wanted(config)
        if config.models.upsampler:
            models._take_upsampler(config, device)
        return models

    @classmethod
    def given(cls, config: Config, models: Models | None) -> Models:
        """Return the models that a caller brought, or without any those that the config names."""
        if models is not None and not isinstance(models, Models):
            raise UsageError(f"the models are of the type {type(models).__name__}: give those of vqclip.Models.load")
        return cls.load(config) if models is None else models

    def _take_wanted(self, config: Config) -> None:
        """Load what only some runs need, and this one does, unless it is there or was left out."""
        device, kind = self.device, config.init.kind
        # one that was left out is an error where it must begin the run
        if self.memory is None and is_sketched(config) and (kind == "sketch" or "memory" not in self.declined):
            self._take_memory(config)
        if self.prior is None and self.proposes(config) and (kind == "prior" or "prior" not in self.declined):
            self._take_prior(config, device)
        if config.models.judge_clip and self.judge_clip is None:
            self.judge_clip = _judge(self, config.models.judge_clip)
        if config.target.kind == "prior" and self.embedding is None:
            self._take_embedding(config, device)

    @classmethod
    def _load_stepped(cls, config: Config, device: torch.device, precision: str) -> Models:
        """Load the networks that every step goes through, their weights for steps in some precision."""
        vqgan, digest = load_vqgan(config.models.vqgan, config.models.vqgan_config)
        hashes = {("vqgan", config.models.vqgan): digest}
        clips = []
        for name in config.models.clip:
            clip, digest = load_clip(name)
            hashes["clip", name] = digest
            clips.append(clip.to(device))
        casting.hold(vqgan, clips, precision)
        vqgan.network.to(memory_format=torch.channels_last).to(device)
        if config.run.compile == "on":
            resolve.check_compiler()
            for network in (vqgan.network.decoder, *(clip.network.visual for clip in clips)):
                network.compile()
        digests = [hashes["clip", name] for name in config.models.clip]
        return cls(vqgan.to(device), clips, hashes, digests, source=config)

    def _take_embedding(self, config: Config, device: torch.device) -> None:
        name = config.models.embedding
        if not name:
            raise WeightsError("--target prior needs an embedding prior: give --set models.embedding=NAME or FILE")
        embedding, digest = load_embedding(name)
        if self._find_clip(embedding) is None:
            raise WeightsError(f"the embedding prior {name!r} understands another CLIP: give --target text")
        self.embedding = embedding.to(device)
        self.hashes["embedding", name] = digest

    def _take_prior(self, config: Config, device: torch.device) -> None:
        """Load the prior; one that is not there or does not fit is an error with `--init prior`, else left out."""
        name = config.models.prior
        try:
            prior, digest = load_prior(name)
            reason = _misfit(self, prior)
            if reason:
                raise WeightsError(f"the prior {name!r} {reason}: give --init random, or the one it fits")
        except WeightsError as error:
            if config.init.kind == "prior":
                raise
            self.declined["prior"] = f"going on without the prior {name!r}: {error}"
            return
        self.prior = prior.to(device)
        self.hashes["prior", name] = digest

    def sketches(self, config: Config) -> bool:
        """Whether a sketch begins a run, where a memory that fits is there."""
        return self.memory is not None and is_sketched(config)

    def proposes(self, config: Config) -> bool:
        """Whether a prior, if it fits, proposes the first grid of a run."""
        repaints = config.init.image is not None and config.init.mask is None
        kind = config.init.kind
        open_to_it = kind == "auto" and not repaints and not self.sketches(config)
        return bool(config.models.prior) and (kind == "prior" or open_to_it)

    def _take_memory(self, config: Config) -> None:
        """Load the memory; one that is not there or does not fit is an error with `--init sketch`, else left out."""
        name = config.models.memory
        try:
            memory, digest = load_memory(name)
            if not self._knows_codes(memory.codebook):
                raise WeightsError(f"the memory {name!r} holds codes of another VQGAN: give --init prior or random")
            if not self.vqgan.architecture.encoder:
                raise WeightsError(f"a sketch is encoded, and the VQGAN's file {NO_ENCODER}")
        except WeightsError as error:
            if config.init.kind == "sketch":
                raise
            self.declined["memory"] = f"going on without the memory {name!r}: {error}"
            return
        self.memory = memory
        self.hashes["memory", name] = digest

    def _take_upsampler(self, config: Config, device: torch.device) -> None:
        """Load the upsampler; one that does not fit is left out: pictures are scaled then."""
        name = config.models.upsampler
        network, digest = load_upsampler(name)
        reason = "" if self._knows_codes(network.codebook) else "was trained on the codes of another VQGAN"
        if self._find_clip(network) is None:
            reason = reason or "understands another CLIP"
        if reason:
            self.declined["upsampler"] = f"going on without the upsampler {name!r}: it {reason}"
            return
        self.upsampler = network.to(device)
        self.hashes["upsampler", name] = digest

    def _knows_codes(self, codebook: Tensor) -> bool:
        """Whether a codebook on the CPU is the VQGAN's."""
        wanted = self.vqgan.codebook.detach().float().cpu()
        return codebook.shape == wanted.shape and torch.allclose(codebook, wanted, atol=2e-3)

    def _find_clip(self, prior: Prior | EmbeddingPrior | Upsampler) -> int | None:
        wanted = getattr(prior.architecture, "clip", None)
        return self.clip_hashes.index(wanted) if wanted in self.clip_hashes else None

    def clip_index(self, prior: Prior | EmbeddingPrior | Upsampler) -> int:
        """Return the place, among the CLIPs, of the one whose embeddings a loaded prior understands."""
        place = self._find_clip(prior)
        if place is None:
            raise ValueError("none of the CLIPs is the one that this prior understands")
        return place

    def out_of_reach(self, config: Config) -> str:
        """Say why no grid that the prior draws comes to a run's size; nothing if one does, or if there is no prior."""
        if self.prior is None or self.vqgan.architecture.encoder:
            return ""
        width, height = (-(-side // self.vqgan.factor) for side in config.size)
        rows, columns = natural_grid(self.prior, height, width)
        while self.upsampler is not None and config.models.upsampler and lacks_much((rows, columns), (height, width)):
            rows, columns = 2 * rows, 2 * columns
        if (rows, columns) == (height, width) and not isinstance(self.prior, PICTURING):
            return ""
        return "what it draws has another size, and the VQGAN's file holds no encoder that would scale it"

    def recorded_hashes(self) -> dict[str, str]:
        """Return the sha256 of each network's weights by `kind:name`, of a file only its base name, for metadata."""
        return {f"{kind}:{recorded_name(kind, name)}": digest for (kind, name), digest in self.hashes.items()}

    def resolve(self, config: Config) -> Resolved:
        """Return the config with every `auto` settled for these networks.

        Raises UsageError for a config that is wrong, names other networks than these, or has no word that they know.
        """
        config = checked(config)
        check_words(config)
        if self.source is not None:
            _check_named(self, config, self.source)
        else:
            config = self._named_from_python(config)
        self._take_wanted(config)
        precision = resolve.precision(config.run.precision, resolve.device(config.run.device))
        if self.vqgan.held not in (None, casting.DTYPES.get(precision)):
            self._reload_whole()
        prior = self.prior if config.models.prior else None
        reached = config.init.kind != "auto" or not self.out_of_reach(config)
        usual = prior.usual if prior is not None and reached else None
        networks = [self.vqgan, *self.clips, self.prior, self.upsampler, self.embedding, self.judge_clip]
        weights = sum(p.numel() * p.element_size() for network in networks if network for p in network.parameters())
        canvas = "vqgan" if self.source is None else catalog.shown_on(self.source.models.vqgan)
        clips = [clip.architecture for clip in self.clips]
        return resolve.resolve(config, self.vqgan.architecture, clips, usual, weights, self.sketches(config), canvas)

    def _named_from_python(self, config: Config) -> Config:
        """Return a config that names networks from Python as what they are, and remember their hashes."""
        config.models.vqgan, config.models.vqgan_config = name_of(self.vqgan), ""
        config.models.clip = [name_of(clip) for clip in self.clips]
        config.run.device = str(self.device)
        if ("vqgan", config.models.vqgan) not in self.hashes:
            self.hashes["vqgan", config.models.vqgan] = fingerprint(self.vqgan)
        self.hashes |= {
            ("clip", name_of(clip)): digest for clip, digest in zip(self.clips, self.clip_hashes, strict=True)
        }
        return config

    def _reload_whole(self) -> None:
        """Take decoder and towers with all of their weights, which serve any precision; WeightsError if they changed.

        Runs that are under way keep those that they began with.
        """
        if self.source is None:
            return  # networks from Python hold what they hold
        full = self._load_stepped(self.source, self.device, "fp32")
        changed = [name for place, name in full.hashes if full.hashes[place, name] != self.hashes.get((place, name))]
        if changed:
            raise WeightsError(f"the weights of {changed[0]!r} are no longer those that were loaded: load them again")
        self.vqgan, self.clips = full.vqgan, full.clips


def _judge(models: Models, name: str) -> CLIP:
    clip, models.hashes["clip", name] = load_judge_clip(name, models.clip_hashes)
    return clip.to(models.device)


def _misfit(models: Models, prior: Prior) -> str:
    """Say why a prior does not go with the VQGAN and the CLIPs; nothing if it does."""
    if isinstance(prior, PICTURING):
        return ""
    if not len(models.vqgan.codebook):
        return "draws codes, and this VQGAN has none"
    if prior.codebook is None:
        # a bundle without its first stage: the number of codes is all that can be compared
        same = prior.architecture.codes == len(models.vqgan.codebook)
        return "" if same else "was trained on another number of codes"
    if not models._knows_codes(prior.codebook):
        return "was trained on the codes of another VQGAN"
    if not isinstance(prior, GPTPrior) and models._find_clip(prior) is None:
        return "understands another CLIP"
    return ""


def _check_named(models: Models, config: Config, source: Config) -> None:
    """Raise UsageError for a network that a run is to have, and its pictures would name, and that is not here."""
    wanted, held = config.models, source.models
    # an optional one that a config does not ask for waits here unused
    used = {
        "prior": models.proposes(config),
        "memory": models.sketches(config),
        "upsampler": True,
        "judge_clip": True,
        "embedding": config.target.kind == "prior",
    }
    names = ["vqgan", "vqgan_config", *(name for name in used if used[name] and getattr(wanted, name))]
    pairs: list[tuple[str, str, str]] = [(name, getattr(wanted, name), getattr(held, name)) for name in names]
    if len(wanted.clip) == len(held.clip):
        pairs += [("clip", *pair) for pair in zip(wanted.clip, held.clip, strict=True)]
    else:
        pairs.append(("clip", ", ".join(wanted.clip), ", ".join(held.clip)))
    compiled = ["on" if each.run.compile == "on" else "off" for each in (config, source)]
    pairs.append(("compile", compiled[0], compiled[1]))
    pairs.append(("device", _place(torch.device(resolve.device(config.run.device))), _place(models.device)))
    for name, asked, here in pairs:
        if not _same(asked, here):
            raise UsageError(
                f"the config asks for {name} {asked or 'none'!r} and the models given have {here or 'none'!r}: "
                "load them with vqclip.Models.load(config)"
            )


def _place(device: torch.device) -> str:
    """Return the name of a device with its number."""
    return f"{device.type}:{device.index or 0}"


def _same(name: str, other: str) -> bool:
    """Whether two names are those of one network: equal, or of one file."""
    return name == other or (os.path.exists(name) and os.path.exists(other) and os.path.samefile(name, other))
