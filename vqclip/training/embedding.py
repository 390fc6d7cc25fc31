"""`vqclip train embedding`: the bundled embedding prior, from what captions mean to what their pictures mean."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from vqclip import images
from vqclip.models.embedding import EmbeddingArchitecture, EmbeddingPrior
from vqclip.priors.embeddings import sample_embeddings
from vqclip.training.averaging import averaged
from vqclip.training.encodings import SIDE, Encodings, seen_by
from vqclip.training.precision import autocast
from vqclip.training.runner import TrainOptions, start_from
from vqclip.weights import files
from vqclip.world import captions, load_world
from vqclip.writers.picture import save_image

_UNCONDITIONED = 0.1  # share of a batch whose condition is withheld, for guidance
_VALIDATION_SCENES = 256  # held-out scenes
# picture embeddings (B, D), texts (B, D), times (B,), noise (B, D), which texts are withheld (B,)
Batch: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class EmbeddingTask:
    """Training of the bundled embedding prior."""

    name = "embedding"
    file_kind = "embedding"
    lr = 1e-3

    def __init__(self, options: TrainOptions) -> None:
        self.options = options
        self.device = options.torch_device()
        torch.manual_seed(options.seed)
        self.batch = options.batch or 256
        self.data = Encodings.of(options)
        self.network = EmbeddingPrior(EmbeddingArchitecture(self.data.width, self.data.digest))
        if options.start:
            start_from(options, "embedding", self.network.architecture, self.network)
        self.average = averaged(self.network)
        self.modules = nn.ModuleDict({"embedding": self.network, "average": self.average}).to(self.device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.lr, weight_decay=0.01)

    @property
    def epoch(self) -> int:
        """Steps that show as many scenes as were rendered."""
        return -(-self.data.scenes.count // self.batch)

    def batch_of(self, index: int) -> Batch:
        """Return embeddings, texts, times, noise and which texts are withheld, on the CPU, from (seed, index) alone."""
        rng = np.random.default_rng([self.options.seed, index])
        chosen = rng.integers(self.data.scenes.count, size=self.batch)
        pictures = torch.from_numpy(self.data.seen[chosen].astype(np.float32))
        texts, _ = self.data.captioner.captions(chosen, rng)
        with torch.no_grad(), autocast("cpu"):
            said = self.data.clip.encode_text(texts).float()
        times = torch.from_numpy(rng.random(self.batch, dtype=np.float32))
        noise = torch.from_numpy(rng.standard_normal(pictures.shape, dtype=np.float32))
        return pictures, said, times, noise, torch.from_numpy(rng.random(self.batch) < _UNCONDITIONED)

    def step(self, index: int, progress: float, batch: Batch) -> dict[str, float]:
        """One batch: embeddings that noise has blurred are named from it and from the text."""
        del index, progress
        pictures, said, times, noise, withheld = (part.to(self.device) for part in batch)
        clean = pictures * pictures.shape[1] ** 0.5
        angle = times[:, None] * (math.pi / 2)
        texts = torch.where(withheld[:, None], self.network.unconditional, said)
        denoised = self.network(angle.cos() * clean + angle.sin() * noise, times, texts)
        loss = nn.functional.mse_loss(denoised, clean)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.average.update_parameters(self.network)
        return {"loss": float(loss.detach())}

    @torch.no_grad()
    def validate(self, folder: Path, index: int) -> dict[str, float]:
        """Draw embeddings of held-out captions; tell how near they are to their pictures, and the captions are.

        The sheet shows, above each caption, the held-out picture that is nearest to what was drawn.
        """
        del index
        network, scenes = (
            cast("EmbeddingPrior", self.average.module.eval()),
            self.data.held_out.scenes[:_VALIDATION_SCENES],
        )
        x = torch.from_numpy(np.array(self.data.held_out.images[: len(scenes)])).permute(0, 3, 1, 2).float() / 255
        pictures = seen_by(self.data.clip, x)
        said = [captions(scene, load_world()) for scene in scenes]
        texts = self.data.clip.encode_text(said)
        drawn, other = sample_embeddings(network.to("cpu"), texts, (0, 1)).unbind()
        network.to(self.device)
        nearest = (drawn @ pictures.t()).argmax(1)[:48]
        shown = [images.to_pil(x[place]) for place in nearest]
        save_image(images.contact_sheet(shown, said[:48], 8, SIDE), folder / "validation.png", None)
        scores = {"drawn": drawn, "text": texts, "mixed": normalize(drawn + texts, dim=1)}
        cosines = {f"{name}_to_picture": float((value * pictures).sum(1).mean()) for name, value in scores.items()}
        cosines["seed_to_seed"] = float((drawn * other).sum(1).mean())
        return {name: round(value, 4) for name, value in cosines.items()}

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the weight file: the average of the weights."""
        network = cast("EmbeddingPrior", self.average.module)
        files.save(path, "embedding", network.architecture.to_json(), network.state_dict(), info)
