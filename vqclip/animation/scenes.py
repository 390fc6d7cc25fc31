"""The scenes of a film as runs: each still resolved and prepared once, and what its frames go on with."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from vqclip import images
from vqclip.animation.layers import Canvas
from vqclip.animation.story import Scene
from vqclip.config import Config
from vqclip.config.film import Film
from vqclip.drawables.init_image import InitImage
from vqclip.generation.models import Models
from vqclip.generation.prepare import Prepared, prepare
from vqclip.generation.sketching import MOST_PAINTED, paint_init_image, styled
from vqclip.guidance.targets import PromptTargets, Targets
from vqclip.tracks import Time
from vqclip.types import Notice

# of the rate of a picture that goes on from another one: at all of it films flicker twice as much
_CALM = 0.5
# what is painted beyond each edge, as a share of the longer side
_BLEED = 0.15
# a sketch at which the camera comes near is painted so much larger, at most
_LARGEST_SCALE = 4


class Stage:
    """One scene: the run of its first picture, and that of the frames that follow."""

    def __init__(self, scene: Scene, film: Film, picture: Config, models: Models) -> None:
        self.scene, self.film = scene, film
        config = copy.deepcopy(picture)
        config.prompts, config.negative = scene.prompts, scene.negative
        if scene.seed is not None:
            config.seed = scene.seed
        if scene.image is not None:
            config.init.image, config.init.kind = scene.image, "image"
        self.still: Prepared = prepare(models.resolve(config), models)
        resolved = models.resolve(self._of_frames(picture))
        if picture.optimizer.lr is None:
            calm = dataclasses.replace(resolved.optimizer, lr=_CALM * resolved.optimizer.lr)
            resolved = dataclasses.replace(resolved, optimizer=calm)
        self.frames: Prepared = prepare(resolved, models)

    @property
    def notices(self) -> list[Notice]:
        """What there is to say of the scene before it is drawn."""
        return self.still.notices

    @property
    def seed(self) -> int:
        """The seed of its first picture."""
        return self.still.config.seed

    def plain(self, seed: int, scale: int = 1) -> Tensor | None:
        """Return a sketch, or the init image, as no style paints it, (1, 3, H, W), `scale` times as large as a frame.

        None where only the prompts say what to draw.
        """
        if self.still.sketcher is not None:
            return self.still.sketcher.picture(seed, plain=True, scale=scale)
        if not self.still.init_image:
            return None
        width, height = self.still.config.size
        return self.still.init_image.at(scale * height, scale * width)

    def canvas(self, seed: int, scale: int, moves: bool) -> Canvas | None:
        """Return what the camera looks at, `scale` times as large as a frame, painted in the scene's style.

        None where only the prompts say what to draw, and where the config wants no painting. Of a camera that `moves`
        it is painted over the edges.
        """
        if not self.still.config.init.paint:
            return None
        sketcher = self.still.sketcher
        if sketcher is not None:
            drawn = sketcher.bleeding(seed, scale, _BLEED) if moves else sketcher.picture(seed, scale=scale)
            return Canvas(drawn, scale)
        plain = self.plain(seed, scale)
        return None if plain is None else Canvas(self.painted(plain, seed, bleeding=moves), scale)

    def painted(self, image: Tensor, seed: int, bleeding: bool = False) -> Tensor:
        """Return a picture (1, 3, H, W) as the world's painter paints it in the scene's style, if it has one.

        What bleeds is painted over its edges, which a camera may come to see: no margin of paper is left.
        """
        style = styled(self.still.config) if self.still.config.init.paint else None
        if style is None:
            return image
        height, width = image.shape[-2:]
        margin = round(max(height, width) * _BLEED) if bleeding else 0
        larger = pad(image, (margin,) * 4, mode="reflect")
        painted = paint_init_image(InitImage(image=larger), style, seed, MOST_PAINTED + 2 * margin)
        return images.crop_center(painted, width, height)

    def scale(self, nearest: float) -> int:
        """Return how much larger than a frame a sketch is to be, of which the camera enlarges parts so much."""
        side = max(self.still.config.size)
        scale = 1 if nearest < 1.15 else 2 if nearest < 2.3 else _LARGEST_SCALE
        while scale > 1 and scale * side > MOST_PAINTED:
            scale //= 2
        return scale

    def targets(self, time: Time) -> list[Targets]:
        """Return what the CLIPs compare a frame's views with, by the weights of its time."""
        tracks, targets = self.scene.weights, list(self.frames.guidance.targets)
        for place, target in enumerate(targets):
            if tracks and isinstance(target, PromptTargets):
                weights = target.weights.clone()
                for index, track in tracks.items():
                    weights[index] = track.at(time)
                targets[place] = dataclasses.replace(target, weights=weights)
        return targets

    def _of_frames(self, picture: Config) -> Config:
        """Return the config of the frames after the first: few steps, from the picture before, on the full grid."""
        first = self.still.config
        config = first.config()
        config.steps, config.extra_steps, config.stages = self.film.steps, 0, ["full:1"]
        config.optimizer.lr, config.canvas.name = picture.optimizer.lr, picture.canvas.name
        config.optimizer.warmup = 0
        config.init.image = config.init.mask = None
        config.init.kind = "sketch" if first.init.kind == "sketch" else "image"
        config.init.strength, config.init.weight = 0.0, 0.0
        config.latent.noise = picture.latent.noise
        config.latent.ema = 0.0  # an average over few steps would be half the way
        config.best.every, config.best.patience = max(self.film.steps, 1), 0
        config.count, config.batch_size, config.only = 1, 1, None
        return config


def mixed(one: Sequence[Targets], other: Sequence[Targets], share: float, blend: str) -> list[Targets]:
    """Return targets on the way from one scene's to another's, for each CLIP.

    On the sphere as many prompts go each along the great circle between two embeddings (Shoemake 1985); otherwise, and
    where the scenes have different numbers of prompts, all of them count, by their share.
    """
    return [_mixed(first, second, share, blend) for first, second in zip(one, other, strict=True)]


def _mixed(one: Targets, other: Targets, share: float, blend: str) -> Targets:
    if share in (0.0, 1.0) or not (isinstance(one, PromptTargets) and isinstance(other, PromptTargets)):
        return other if share >= 0.5 else one
    if blend == "sphere" and len(one.weights) == len(other.weights):
        details = None
        if one.details is not None and other.details is not None:
            details = on_sphere(one.details, other.details, share)
        weights = torch.lerp(one.weights, other.weights, share)
        stops = (one if share < 0.5 else other).stops  # no number can be between none and some
        return PromptTargets(on_sphere(one.embeddings, other.embeddings, share), weights, stops, details, one.below)
    parts = ((one, 1 - share), (other, share))
    details = None
    if one.details is not None and other.details is not None:
        details = torch.cat([one.details, other.details])
    return PromptTargets(
        torch.cat([each.embeddings for each, _ in parts]),
        torch.cat([each.weights * much for each, much in parts]),
        torch.cat([each.stops for each, _ in parts]),
        details,
        one.below,
    )


def on_sphere(one: Tensor, other: Tensor, share: float) -> Tensor:
    """Return unit vectors (P, D) at a share of the great circles from some to others; ValueError for other shapes."""
    if one.shape != other.shape:
        raise ValueError(f"vectors {tuple(one.shape)} and {tuple(other.shape)}")
    angle = (one * other).sum(1, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    straight = torch.lerp(one, other, share)
    curved = ((1 - share) * angle).sin() * one + (share * angle).sin() * other
    return normalize(torch.where(sine < 1e-4, straight, curved / sine.clamp(min=1e-4)), dim=1)
