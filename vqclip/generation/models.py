"""The networks of a run, loaded once and used for as many runs as one likes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from vqclip.config import Config
from vqclip.generation import resolve
from vqclip.models.clip import CLIP
from vqclip.models.vqgan import VQGAN
from vqclip.weights.load import load_clip, load_vqgan


@dataclass
class Models:
    """A VQGAN and the CLIPs that guide it, on one device, with the sha256 of each one's weights by (kind, name)."""

    vqgan: VQGAN
    clips: list[CLIP]
    hashes: dict[tuple[str, str], str]

    @classmethod
    def load(cls, config: Config) -> Models:
        """Load the networks that a config names; raises UsageError and WeightsError."""
        device = torch.device(resolve.device(config.run.device))
        vqgan, digest = load_vqgan(config.models.vqgan)
        hashes = {("vqgan", config.models.vqgan): digest}
        clips = []
        for name in config.models.clip:
            clip, digest = load_clip(name)
            hashes["clip", name] = digest
            clips.append(clip.to(device))
        vqgan.network.to(device, memory_format=torch.channels_last)
        if config.run.compile == "on":
            for network in (vqgan.network.decoder, *(clip.network.visual for clip in clips)):
                network.compile()
        return cls(vqgan.to(device), clips, hashes)

    def recorded_hashes(self) -> dict[str, str]:
        """Return the sha256 of each network's weights by `kind:name`, of a file only its base name, for metadata."""
        return {f"{kind}:{Path(name).name}": digest for (kind, name), digest in self.hashes.items()}

    def resolve(self, config: Config) -> Config:
        """Return the config with every `auto` settled for these networks."""
        return resolve.resolve(config, self.vqgan.architecture, [clip.image_size for clip in self.clips])
