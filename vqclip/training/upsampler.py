"""Training of the upsampler on the codes of the picture world's larger scenes, and of the same at half their side.

It sees parts of the pictures: a texture is the same everywhere. Some of the coarse codes are wrong, as those that a
prior draws or an optimizer finds may be (conditioning augmentation: Ho et al. 2022, "Cascaded diffusion models").
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from vqclip import images
from vqclip.errors import UsageError
from vqclip.models.upsampler import SCALE, Upsampler, UpsamplerArchitecture
from vqclip.priors import Sampling, upsample
from vqclip.training.averaging import averaged
from vqclip.training.encodings import SIDE, Encodings
from vqclip.training.muon import MuonAdamW
from vqclip.training.precision import autocast
from vqclip.training.prior import cross_entropy, judged, masked
from vqclip.training.runner import TrainOptions, start_from
from vqclip.weights import files
from vqclip.world import captions, load_world

# coarse codes to a side of the parts that are seen
_PART = 8
_MOST_WRONG = 0.2  # share of the coarse codes that are replaced by others, at most
_VALIDATION_SCENES = 96  # held-out scenes

Batch: TypeAlias = "tuple[Tensor, Tensor, Tensor, Tensor, Tensor]"


class UpsamplerTask:
    """Training of the bundled upsampler."""

    name = "upsampler"
    file_kind = "upsampler"
    lr = 1e-3

    def __init__(self, options: TrainOptions) -> None:
        self.options = options
        self.device = options.torch_device()
        torch.manual_seed(options.seed)
        self.batch = options.batch or (512 if self.device.type == "cuda" else 64)
        self.data = Encodings.of(options, large=True)
        codebook = self.data.vqgan.codebook
        codes, channels = codebook.shape
        self.network = Upsampler(UpsamplerArchitecture(codes, channels, self.data.width, self.data.digest))
        if options.start:
            start_from(options, "upsampler", self.network.architecture, self.network)
            if not torch.allclose(self.network.codebook, codebook, atol=2e-3):
                raise UsageError(f"--start {options.start[0]}: it knows the codes of another VQGAN; leave --start out")
        self.network.codebook.copy_(codebook)
        self.average = averaged(self.network)
        self.modules = nn.ModuleDict({"upsampler": self.network, "average": self.average}).to(self.device)
        self.optimizer = MuonAdamW.of(self.network, self.lr)

    @property
    def epoch(self) -> int:
        """Steps that show a part of as many scenes as were rendered."""
        return -(-self.data.scenes.count // self.batch)

    def batch_of(self, index: int) -> Batch:
        """Return fine codes, which are masked, coarse codes, conditions and which of these are withheld, on the CPU."""
        rng = np.random.default_rng([self.options.seed, index])
        chosen = rng.integers(self.data.scenes.count, size=self.batch)
        coarse = cast("np.ndarray", self.data.coarse)  # as `large` encodings have it
        side = coarse.shape[-1]
        part = min(_PART, side)
        corners = rng.integers(side - part + 1, size=(self.batch, 2))
        places = list(zip(chosen, corners, strict=True))
        above = _parts(coarse, places, 1, part)
        codes = _parts(self.data.codes, places, SCALE, part)
        share = _MOST_WRONG * rng.random((self.batch, 1, 1))
        wrong = torch.from_numpy(rng.random(above.shape) < share)
        others = torch.from_numpy(rng.integers(len(self.network.codebook), size=above.shape))
        return codes, masked(codes, rng), torch.where(wrong, others, above), *self.data.conditions(chosen, rng)

    def step(self, index: int, progress: float, batch: Batch) -> dict[str, float]:
        """One batch: the masked codes are named from those that are left, the coarse ones and the condition."""
        del index, progress
        codes, hidden, above, condition, withheld = (part.to(self.device) for part in batch)
        condition = torch.where(withheld[:, None], self.network.unconditional, condition)
        with autocast(self.device):
            features = self.network.features(torch.where(hidden, -1, codes), above, condition)
            loss = cross_entropy(self.network.head(features[hidden]), codes[hidden])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        return {"loss": float(loss.detach())}

    @torch.no_grad()
    def validate(self, folder: Path, index: int) -> dict[str, float]:
        """Enlarge held-out pictures of half the side and let the judge name what came out; writes `validation.png`."""
        del index
        network, data = cast("Upsampler", self.average.module.eval()), self.data
        scenes, pictures = data.held_out.scenes[:_VALIDATION_SCENES], []
        for number, scene in enumerate(scenes):
            x = torch.from_numpy(np.array(data.held_out.images[number])).permute(2, 0, 1)[None].float() / 255
            small = nn.functional.interpolate(x, (SIDE, SIDE), mode="area")
            above = data.vqgan.quantize(data.vqgan.encode(small))[1].to(self.device)
            conditioning = data.clip.encode_text([captions(scene, load_world())]).to(self.device)
            codes = upsample(
                network, above, conditioning, torch.ones(1, device=self.device), None, (number,), Sampling()
            )
            pictures.append(images.to_pil(data.vqgan.decode(data.vqgan.codes(codes.cpu()))[0]))
        return judged(pictures, scenes, folder)

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the weight file: the average of the weights."""
        network = cast("Upsampler", self.average.module)
        files.save(path, "upsampler", network.architecture.to_json(), network.state_dict(), info)


def _parts(grids: np.ndarray, places: list[tuple[int, np.ndarray]], scale: int, side: int) -> Tensor:
    """Return parts (B, scale * side, scale * side) of grids of codes, from their numbers and corners."""
    parts = []
    for number, (top, left) in places:
        rows, columns = (slice(scale * at, scale * (at + side)) for at in (top, left))
        parts.append(grids[number, rows, columns])
    return torch.from_numpy(np.stack(parts).astype(np.int64))
