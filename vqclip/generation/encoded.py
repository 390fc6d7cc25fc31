"""The prompts of a run as its CLIPs understand them: embeddings, rivals, and what an embedding prior imagines."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vqclip import images, prompts, world
from vqclip.config import Resolved
from vqclip.errors import WeightsError
from vqclip.generation.init_image import read_outside
from vqclip.generation.models import Models
from vqclip.guidance import encoding
from vqclip.guidance.losses.protocol import Rivals
from vqclip.guidance.targets import PromptTargets, SeededTargets, Targets
from vqclip.models.clip import CLIP
from vqclip.priors.embeddings import sample_embeddings
from vqclip.prompts import Prompt
from vqclip.types import Notice, Perceptor

if TYPE_CHECKING:
    from vqclip.generation.sketching import Sketcher


@dataclass
class Encoded:
    """What the prompts are to each CLIP of a run: its targets, and the rivals of the prompts."""

    targets: list[PromptTargets] = field(default_factory=list)
    rivals: list[list[Rivals]] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)


def encode_all(
    config: Resolved,
    clips: Sequence[CLIP],
    texts: Sequence[Prompt],
    pictures: Sequence[Prompt],
    sketcher: Sketcher | None,
    outside: dict[str, dict[str, Any]],
) -> Encoded:
    """Return texts and image prompts encoded by each CLIP; of a sketch, without the words that a CLIP does not know.

    Names and hashes of the pictures are added to `outside`.
    """
    template = prompts.clean(config.views.detail_prompt)
    compared = config.init.kind == "prior" and config.init.candidates > 1 and config.init.rivals
    encoded = Encoded()
    for clip in clips:
        known = texts if sketcher is None else [sketcher.guiding(prompt, clip.words) for prompt in texts]
        embeddings, notices = encoding.encode_prompts(clip, known)
        for index, picture in enumerate(pictures):
            image = images.to_tensor(read_outside(picture.text, f"image_prompts.{index}", outside))
            embeddings.append(encoding.encode_picture(clip, image.to(clip.mean.device), config.run.precision))
        details: list[Tensor] = []
        if template:
            details, of_details = encoding.encode_prompts(clip, known, template)
            details += embeddings[len(known) :]
            notices = notices or of_details
        encoded.notices += notices
        wanted = config.contrast.weight or compared
        encoded.rivals.append(_rivals(clip, known, embeddings) if wanted else [])
        below = config.views.detail_below
        encoded.targets.append(PromptTargets.of(embeddings, [*known, *pictures], details, below))
    return encoded


def imagined(
    config: Resolved, models: Models, targets: Sequence[PromptTargets], texts: Sequence[Prompt]
) -> list[Targets]:
    """Return the targets; with `--target prior` mixed with what pictures of the wanted texts might mean, by seed."""
    network, c = models.embedding, config.target
    if c.kind != "prior":
        return list(targets)
    if network is None:
        raise WeightsError("--target prior needs an embedding prior: give --set models.embedding=FILE before loading")
    place = models.clip_index(network)
    given = targets[place]
    wanted = [index for index, text in enumerate(texts) if text.weight > 0]

    @functools.cache
    def of_seed(seed: int) -> PromptTargets:
        embeddings = given.embeddings.clone()
        if wanted:
            drawn = sample_embeddings(network, embeddings[wanted], [seed], c.guidance)[0]
            embeddings[wanted] = torch.nn.functional.normalize(torch.lerp(embeddings[wanted], drawn, c.mix), dim=1)
        return dataclasses.replace(given, embeddings=embeddings)

    return [SeededTargets(of_seed) if k == place else each for k, each in enumerate(targets)]


def _rivals(clip: Perceptor, texts: Sequence[Prompt], embeddings: Sequence[Tensor]) -> list[Rivals]:
    """Return the rivals of every wanted prompt that is of the picture world, embedded."""
    rivals = []
    for prompt, embedding in zip(texts, embeddings, strict=False):  # image prompts follow the texts and have no rivals
        others = world.rivals(prompt.text, world.load_world()) if prompt.weight > 0 else []
        if others:
            with torch.no_grad():
                rivals.append(Rivals(embedding, clip.encode_text(others), prompt.weight))
    return rivals
