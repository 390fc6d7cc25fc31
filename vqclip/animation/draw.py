"""Drawing the frames of a film: each begins as the camera sees the one before, and is led to what it is to show."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vqclip import images, seeding
from vqclip.animation.camera import depth_field, warp, warp_field
from vqclip.animation.color import LabColors, match
from vqclip.animation.layers import Canvas, Layer, nearness, plan_layers
from vqclip.animation.outpaint import outpainted
from vqclip.animation.plan import Plan
from vqclip.animation.scenes import Stage, mixed
from vqclip.drawables.init_image import Beginning, padded
from vqclip.generation.control import Control
from vqclip.generation.loop import stream
from vqclip.generation.models import Models
from vqclip.generation.prepare import Prepared
from vqclip.guidance.targets import Targets
from vqclip.precision import autocast
from vqclip.session.api import of_snapshot, record
from vqclip.types import Notice, Snapshot
from vqclip.weights.load import recorded_name


@dataclass(frozen=True)
class Drawn:
    """A frame of a film that was drawn: its number, picture, metadata, last losses by name, and held-out score."""

    number: int
    image: Image.Image
    record: dict[str, Any]
    losses: Mapping[str, float] = dataclasses.field(default_factory=dict)
    score: float | None = None


class FilmDrawer:
    """Draws any frame of a film from drawn frames before it and nothing else, so that it is the same every time."""

    def __init__(self, plan: Plan, models: Models, control: Control | None = None) -> None:
        self.plan, self.models, self.control = plan, models, control or Control()
        self.film, self.timeline, self.source = plan.film, plan.timeline, plan.source
        self.stages = [Stage(scene, plan.film, plan.picture, models) for scene in plan.scenes]
        self.size = (plan.size[1], plan.size[0])
        sketched = any(stage.still.sketcher is not None for stage in self.stages)
        self.layers = plan_layers(plan.scenes, plan.timeline, plan.asked.seed, sketched and plan.source is None)
        self.depth, depth_weights = _depth_of(plan.film.camera.depth)
        self.weights = models.recorded_hashes() | depth_weights
        self._canvases: dict[Layer, Canvas | None] = {}

    @property
    def needed(self) -> set[int]:
        """The numbers of frames that later ones look back at, beside the one before."""
        return {0, *(number for number in map(self._first_of, self.layers) if number is not None)}

    @property
    def notices(self) -> list[Notice]:
        """What there is to say of the film before it is drawn, each once."""
        return list(dict.fromkeys(notice for stage in self.stages for notice in stage.notices))

    def first(self) -> Drawn:
        """Return the first frame."""
        return self._frame_of_source(0, None) if self.source is not None else self._still(0, self.layers[0])

    def next(self, number: int, before: int, frames: Mapping[int, Image.Image]) -> Drawn:
        """Return the frame `number`, drawn from the frame `before`; `frames` holds all that were drawn earlier."""
        last = images.to_tensor(frames[before])
        if self.source is not None:
            return self._frame_of_source(number, last, before)
        seen = [layer for layer in self.layers if layer.begin <= number and layer.share(number, self.film.ease) > 0]
        top = seen[-1]
        if top.begin == top.end and before < top.begin:  # a cut
            return self._still(number, top)
        image, known = self._moved(last, before, number)
        image = self._fill(image, known, number)
        painted = self._painted(seen, number, frames)
        image = self._colored(image, number, frames, painted)
        if top.closes:
            close = top.share(number, self.film.ease)
            opening = self._seen(top, number, frames)
            image = image if opening is None else torch.lerp(image, opening, close**3)
        beginning = Beginning(image, known.float(), self.timeline.hold(number), painted)
        return self._draw(number, self.stages[top.scene], beginning, self._targets(seen, number))

    def _moved(self, last: Tensor, before: int, number: int) -> tuple[Tensor, Tensor]:
        """Return an earlier frame as the camera sees it now, and where it shows what was there (1, 1, H, W)."""
        if self.depth is None:
            return warp(last, self.timeline.between(before, number), border=self.timeline.border)
        field = depth_field(self.depth(last), self.timeline.motions(before, number))
        return warp_field(last, field, self.timeline.border)

    def _still(self, number: int, layer: Layer) -> Drawn:
        """Return the first picture of a scene, drawn as any picture is.

        Where the camera moves, what it shows is painted as what the next frames show.
        """
        stage = self.stages[layer.scene]
        prepared, plain = stage.still, stage.plain(layer.seed)
        painted = self._seen(layer, number, {})
        if plain is not None and painted is not None and self.timeline.moves:
            prepared = prepared.begun(Beginning(plain, torch.zeros_like(plain[:, :1]), 0.0, painted))
        return self._carried_out(number, prepared, stage)

    def _draw(self, number: int, stage: Stage, beginning: Beginning, targets: Sequence[Targets]) -> Drawn:
        """Return a frame that goes on from a picture; without steps it is that picture."""
        seed = stage.seed if self.film.same_views else seeding.derive(stage.seed, "frame", number)
        prepared = stage.frames.begun(beginning, targets, seed)
        if not self.film.steps:
            picture = images.to_pil(beginning.image[0])
            return Drawn(number, picture, self._record(prepared, number, stage))
        return self._carried_out(number, prepared, stage)

    def _carried_out(self, number: int, prepared: Prepared, stage: Stage) -> Drawn:
        prepared.control = self.control
        last: Snapshot | None = None
        for snapshot in stream(prepared):
            last = snapshot
        if last is None:
            raise ValueError("a run without a snapshot")
        picture = of_snapshot(prepared, last)[0]
        losses = {name: float(value.mean()) for name, value in last.losses.items()}
        return Drawn(number, picture.image, self._record(prepared, number, stage), losses, picture.score)

    def _record(self, prepared: Prepared, number: int, stage: Stage) -> dict[str, Any]:
        """Return a frame's metadata: what every picture says of itself, and where in the film it stands."""
        known = record(prepared, (stage.seed,), 0)
        motion = self.timeline.motion(number) if number else None
        camera = {} if motion is None else {k: v for k, v in dataclasses.asdict(motion).items() if k != "center"}
        known["weights"] = self.weights
        return known | {"frame": {"number": number, "fps": self.timeline.fps, "camera": camera}}

    def _frame_of_source(self, number: int, last: Tensor | None, before: int = 0) -> Drawn:
        """Return the frame of a video, drawn anew: what moved is carried along, what was hidden is painted from it."""
        if self.source is None:
            raise ValueError("there is no video")
        given = self.source.frame(number)
        stage = next(each for each in reversed(self.stages) if each.scene.at <= number)
        painted = stage.painted(given, stage.seed)
        strength = self.timeline.strength(number)
        # what was hidden begins as the first frame does: in the video's own colors it would show as a tear
        image, known = torch.lerp(given, painted, strength), torch.zeros_like(given[:, :1])
        if last is not None:
            carried, seen = self.source.carried(last, before, number)
            known = seen.float()
            image = torch.lerp(image, carried, known)
        held = self.timeline.hold(number) if last is not None else 0.0
        beginning = Beginning(image, known, held, torch.lerp(given, painted, min(2 * strength, 1.0)))
        return self._draw(number, stage, beginning, stage.targets(self.timeline.time(number)))

    def _fill(self, image: Tensor, known: Tensor, number: int) -> Tensor:
        """Return a picture of which a prior, where the camera asks for one, drew what came in at its edges."""
        if self.film.camera.border != "prior" or bool(known.all()):
            return image
        layer = [each for each in self.layers if each.begin <= number][-1]
        return outpainted(image, known, self.stages[layer.scene].still, self.models, number)

    def _colored(self, image: Tensor, number: int, frames: Mapping[int, Image.Image], painted: Tensor | None) -> Tensor:
        """Return a picture in the colors of the first frame of its scene, where nothing else keeps them."""
        share = self.film.colors
        layer = [each for each in self.layers if each.begin <= number and not each.closes][-1]
        model = self._first_of(layer)
        if not share or painted is not None or model is None or number <= model:
            return image
        return match(image, LabColors.of(images.to_tensor(frames[model])), share)

    def _first_of(self, layer: Layer) -> int | None:
        """Return the first drawn frame that shows a layer only; None if there is none."""
        return next((number for number in self.plan.numbers if number >= layer.end), None)

    def _painted(self, seen: Sequence[Layer], number: int, frames: Mapping[int, Image.Image]) -> Tensor | None:
        """Return what a frame is led to: its layers, one over the other; None where no layer has a picture."""
        result: Tensor | None = None
        for layer in _uncovered(seen, number, self.film.ease):
            picture = self._seen(layer, number, frames)
            if picture is None or result is None:
                result = picture if result is None else result
                continue
            cover = layer.cover(number, self.film.ease, self.size).to(picture)
            result = self._morphed(result, picture, cover)
        return result

    def _morphed(self, one: Tensor, other: Tensor, cover: Tensor) -> Tensor:
        """Return a picture on the way to another one, through pixels or the latents of the VQGAN."""
        if self.film.morph == "pixels" or cover.numel() > 1 or not 0 < float(cover) < 1:
            return torch.lerp(one, other, cover)
        vqgan, precision = self.models.vqgan, self.stages[0].frames.config.run.precision
        with torch.no_grad(), autocast(self.models.device.type, precision):
            pictures = (padded(picture, vqgan.factor).to(self.models.device) for picture in (one, other))
            first, second = (vqgan.encode(picture) for picture in pictures)
            decoded = vqgan.decode(vqgan.quantize(torch.lerp(first, second, float(cover)))[0])
        return images.crop_center(decoded.float().to(one), self.size[1], self.size[0])

    def _seen(self, layer: Layer, number: int, frames: Mapping[int, Image.Image]) -> Tensor | None:
        """Return a layer as the camera sees it at a frame."""
        if layer not in self._canvases:
            self._canvases = {kept: canvas for kept, canvas in self._canvases.items() if kept.end >= layer.begin - 1}
            self._canvases[layer] = self._canvas(layer, frames)
        canvas = self._canvases[layer]
        # over a depth the camera sees no plane
        if canvas is None or (self.depth is not None and number > layer.base and not layer.closes):
            return None
        border = "mirror" if self.film.camera.border == "prior" else self.timeline.border
        return canvas.seen(self.timeline.between(layer.base, number), self.size, border)

    def _canvas(self, layer: Layer, frames: Mapping[int, Image.Image]) -> Canvas | None:
        if layer.closes:
            return Canvas(images.to_tensor(frames[0]))
        stage = self.stages[layer.scene]
        following = [each.end for each in self.layers if each.begin > layer.begin]
        last = min([*following, self.timeline.count - 1])
        before = self.timeline.between(layer.base, layer.begin)
        near = max(nearness(move @ before) for _, move in self.timeline.ways(layer.begin, last))
        return stage.canvas(layer.seed, stage.scale(near), self.timeline.moves)

    def _targets(self, seen: Sequence[Layer], number: int) -> list[Targets]:
        """Return what a frame's views are compared with: between two scenes something between both."""
        time, below, top = self.timeline.time(number), seen[-2:][0], seen[-1]
        targets = self.stages[top.scene].targets(time)
        if below.scene == top.scene:
            return targets
        return mixed(
            self.stages[below.scene].targets(time), targets, top.share(number, self.film.ease), self.film.blend
        )


def _depth_of(name: str) -> tuple[Callable[[Tensor], Tensor] | None, dict[str, str]]:
    """Return what estimates depth, if a film names a network that does, and the sha256 of its weights by its name."""
    if not name:
        return None, {}
    from vqclip.weights.load import load_depth

    network, digest = load_depth(name)
    return torch.no_grad()(network.estimate), {f"depth:{recorded_name('depth', name)}": digest}


def _uncovered(layers: Sequence[Layer], number: int, ease: str) -> Sequence[Layer]:
    """Return the layers of which something is seen: from the last one on that covers all the others."""
    whole = [place for place, layer in enumerate(layers) if layer.share(number, ease) >= 1.0]
    return layers[max(whole, default=0) :]
