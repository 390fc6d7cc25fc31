"""`vqclip train prior`: the bundled prior, a masked transformer over the bundled VQGAN's codes of scenes.

Trained as in Chang et al. 2022, "MaskGIT": a share of the codes is masked, cos(u pi / 2) of them for u even in [0, 1],
and the masked ones are learned by cross entropy. What the bundled CLIP embeds conditions it, half of the time a scene's
caption and half its picture (Wang et al. 2022, "CLIP-GEN"): a picture says more than its caption, and lies near it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from PIL.Image import Image, Resampling
from torch import Tensor, nn

from vqclip import images
from vqclip.errors import UsageError
from vqclip.models.judge import features
from vqclip.models.prior import AutoregressivePrior, FlowPrior, MaskedPrior, PriorArchitecture, build
from vqclip.priors import Sampling, sample
from vqclip.training.averaging import averaged
from vqclip.training.encodings import SIDE, Encodings
from vqclip.training.judge import accuracies
from vqclip.training.muon import MuonAdamW
from vqclip.training.precision import autocast
from vqclip.training.runner import TrainOptions, start_from
from vqclip.types import MASKED, CodePrior
from vqclip.weights import files
from vqclip.weights.load import load_judge
from vqclip.world import Scene, captions, load_world
from vqclip.writers.picture import save_image

_SMOOTHING = 0.1  # of the labels
_VALIDATION_SCENES = 96  # held-out scenes
# codes (B, h, w), what chance decides of them (the kind's own), conditions (B, D), which are withheld (B,)
Batch: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]


class PriorTask:
    """Training of the bundled prior."""

    name = "prior"
    file_kind = "prior"
    lr = 6e-4
    kind = "masked"

    def __init__(self, options: TrainOptions) -> None:
        self.options = options
        self.device = options.torch_device()
        torch.manual_seed(options.seed)
        self.batch = options.batch or (512 if self.device.type == "cuda" else 64)
        self.data = Encodings.of(options)
        codebook = self.data.vqgan.codebook
        codes, channels = codebook.shape
        side = SIDE // self.data.vqgan.factor
        self.prior = build(PriorArchitecture(codes, channels, self.data.width, self.data.digest, side, kind=self.kind))
        if options.start:
            start_from(options, "prior", self.prior.architecture, self.prior)
            if not torch.allclose(self.prior.codebook, codebook, atol=2e-3):
                raise UsageError(f"--start {options.start[0]}: it knows the codes of another VQGAN; leave --start out")
        self.prior.codebook.copy_(codebook)
        self.prepare()
        self.average = averaged(self.prior)
        self.modules = nn.ModuleDict({"prior": self.prior, "average": self.average}).to(self.device)
        self.optimizer = MuonAdamW.of(self.prior, self.lr)

    @property
    def epoch(self) -> int:
        """Steps that show as many scenes as were rendered."""
        return -(-self.data.scenes.count // self.batch)

    def batch_of(self, index: int) -> Batch:
        """Return codes, chance, conditions and which of these are withheld, on the CPU, from (seed, index) alone."""
        rng = np.random.default_rng([self.options.seed, index])
        chosen = rng.integers(self.data.scenes.count, size=self.batch)
        codes = torch.from_numpy(self.data.codes[chosen].astype(np.int64))
        chance = self.chance(codes, rng)
        return codes, chance, *self.data.conditions(chosen, rng)

    def chance(self, codes: Tensor, rng: np.random.Generator) -> Tensor:
        """Return which codes (B, h, w) are masked."""
        return masked(codes, rng)

    def step(self, index: int, progress: float, batch: Batch) -> dict[str, float]:
        """One batch: the masked codes are named from those that are left and from the condition."""
        del index, progress
        codes, chance, condition, withheld = (part.to(self.device) for part in batch)
        condition = torch.where(withheld[:, None], self.prior.unconditional, condition)
        with autocast(self.device):
            loss = self.loss(codes, chance, condition)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.prior.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.prior)
        return {"loss": float(loss.detach())}

    def prepare(self) -> None:
        """Get ready what the network must know of the data."""

    def loss(self, codes: Tensor, chance: Tensor, condition: Tensor) -> Tensor:
        """Cross entropy of the codes that `chance` masks given the others."""
        prior = cast("MaskedPrior", self.prior)
        features = prior.features(torch.where(chance, MASKED, codes), condition)
        return cross_entropy(prior.head(features[chance]), codes[chance])

    @torch.no_grad()
    def validate(self, folder: Path, index: int) -> dict[str, float]:
        """Draw held-out captions and let the judge name what came out; writes `validation.png`."""
        del index
        prior, scenes = cast("CodePrior", self.average.module.eval()), self.data.held_out.scenes[:_VALIDATION_SCENES]
        pictures = []
        for number, scene in enumerate(scenes):
            conditioning = self.data.clip.encode_text([captions(scene, load_world())]).to(self.device)
            empty = torch.full((prior.side, prior.side), MASKED, device=self.device)
            codes = sample(prior, conditioning, torch.ones(1, device=self.device), empty, (number,), Sampling())
            picture = images.to_pil(self.data.vqgan.decode(self.data.vqgan.codes(codes.cpu()))[0])
            pictures.append(picture)
        return judged(pictures, scenes, folder)

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the weight file: the average of the weights."""
        network = cast("MaskedPrior | AutoregressivePrior | FlowPrior", self.average.module)
        files.save(path, "prior", network.architecture.to_json(), network.state_dict(), info)


class TwinTask(PriorTask):
    """Training of the autoregressive twin, to compare the prior with: same size, same data."""

    name = "twin"
    kind = "causal"

    def loss(self, codes: Tensor, chance: Tensor, condition: Tensor) -> Tensor:
        """Cross entropy of every code given those before it."""
        del chance
        return cross_entropy(self.prior(codes, condition).flatten(0, 2), codes.flatten())


class FlowTask(PriorTask):
    """Training of the prior that clears noise: same size, same data."""

    name = "flow"
    kind = "flow"

    def prepare(self) -> None:
        """Measure mean and spread of the channels of the codes, as often as they occur."""
        prior = cast("FlowPrior", self.prior)
        counts = np.bincount(self.data.codes[:2000].ravel(), minlength=len(prior.codebook))
        share = torch.from_numpy(counts / counts.sum()).float()[:, None]
        mean = (share * prior.codebook).sum(0)
        prior.mean.copy_(mean)
        prior.spread.copy_((share * (prior.codebook - mean).square()).sum(0).sqrt())

    def chance(self, codes: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the seed of noise and times."""
        del codes
        return torch.from_numpy(rng.integers(2**62, size=1))

    def loss(self, codes: Tensor, chance: Tensor, condition: Tensor) -> Tensor:
        """Squared error of the direction from noise to latents, most often in the middle (Esser et al. 2024)."""
        clean = cast("FlowPrior", self.prior).latents(codes)
        generator = torch.Generator(clean.device).manual_seed(int(chance))
        noise = torch.randn(clean.shape, generator=generator, device=clean.device)
        time = torch.randn(len(clean), generator=generator, device=clean.device).sigmoid()
        noisy = torch.lerp(noise, clean, time[:, None, None, None])
        return nn.functional.mse_loss(self.prior(noisy, time, condition).float(), clean - noise)


def judged(pictures: Sequence[Image], scenes: Sequence[Scene], folder: Path) -> dict[str, float]:
    """Let the judge name what was drawn of scenes; writes a sheet of the first of them, `validation.png`."""
    judge, _ = load_judge("tiny")
    seen = [picture.resize((SIDE, SIDE), Resampling.BOX) for picture in pictures]
    rows = np.stack([features(np.asarray(picture)) for picture in seen])
    scores, _ = accuracies(judge, torch.from_numpy(rows), list(scenes))
    texts = [captions(scene, load_world()) for scene in scenes[:48]]
    save_image(images.contact_sheet(pictures[:48], texts, 8, SIDE), folder / "validation.png", None)
    return {key: scores[key] for key in ("subject", "setting", "background", "style") if key in scores}


def masked(codes: Tensor, rng: np.random.Generator) -> Tensor:
    """Return which codes (B, h, w) are masked: of each picture the share cos(u pi / 2), u even in [0, 1]."""
    size = codes[0].numel()
    share = np.cos(rng.random(len(codes)) * math.pi / 2)
    noise = rng.random(size * len(codes)).reshape(len(codes), -1)
    count = np.maximum(np.ceil(share * size), 1)
    return torch.from_numpy(noise.argsort(1).argsort(1) < count[:, None]).view(codes.shape)


def cross_entropy(logits: Tensor, codes: Tensor) -> Tensor:
    """Return the mean cross entropy of logits (n, K) with the codes (n,), which are believed nine tenths only."""
    return nn.functional.cross_entropy(logits.float(), codes, label_smoothing=_SMOOTHING)
