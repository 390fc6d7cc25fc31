"""What comes in at the edges of a frame, drawn by the prior from what is there."""

from __future__ import annotations

from torch import Tensor

from vqclip import images, seeding
from vqclip.drawables.init_image import InitImage, padded
from vqclip.generation.loop import stream
from vqclip.generation.models import Models
from vqclip.generation.prepare import Prepared, prepare


def outpainted(image: Tensor, known: Tensor, still: Prepared, models: Models, number: int) -> Tensor:
    """Return a picture (1, 3, H, W) in which the prior drew what is not `known` (1, 1, H, W).

    Raises WeightsError where there is no prior, or none that draws a picture of that size.
    """
    config = still.config.config()
    config.steps, config.extra_steps, config.stages = 0, 0, ["full:1"]
    config.init.kind, config.init.candidates, config.init.paint, config.canvas.name = "prior", 1, None, None
    config.optimizer.lr = None
    config.seed = seeding.derive(still.config.seed, "outpaint", number)
    unknown, factor = (~known.bool()).float(), still.models.vqgan.factor
    area = images.to_pil(unknown[0].expand(3, -1, -1)).convert("L")
    given = InitImage(images.to_pil(image[0]), padded(image, factor), area, padded(unknown, factor))
    prepared = prepare(models.resolve(config), models, init_image=given)
    drawn = next(stream(prepared)).image.to(image)
    return given.composite(images.crop_center(drawn, image.shape[-1], image.shape[-2]))
