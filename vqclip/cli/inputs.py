"""What can be refused before torch is loaded, which takes seconds: names of weights, and pictures to begin with."""

from __future__ import annotations

from pathlib import Path

from vqclip import images, prompts
from vqclip.config import Config
from vqclip.errors import WeightsError
from vqclip.sketch.asked import check_words
from vqclip.sketch.own import parse_like
from vqclip.weights import catalog


def check_inputs(config: Config) -> None:
    """Raise UsageError or WeightsError, as drawing would, for weights and pictures that are absent or unreadable."""
    check_words(config)
    models = config.models
    wanted = [("vqgan", models.vqgan), *(("clip", name) for name in models.clip)]
    wanted += [("clip", models.judge_clip)] if models.judge_clip else []
    # a prior that is absent is only told of, unless it was asked for
    wanted += [("prior", models.prior)] if models.prior and config.init.kind == "prior" else []
    wanted += [("upsampler", models.upsampler)] if models.upsampler else []
    wanted += [("embedding", models.embedding)] if models.embedding and config.target.kind == "prior" else []
    wanted += [("memory", models.memory)] if config.init.kind == "sketch" else []
    for kind, name in wanted:
        catalog.check_here(kind, name)
    if models.vqgan_config and not Path(models.vqgan_config).exists():
        raise WeightsError(f"cannot read the model's YAML {models.vqgan_config}: there is no such file")
    pictures = [prompts.parse_image_prompt(text).text for text in config.image_prompts]
    for picture in (config.init.image, config.init.mask, *pictures):
        if picture is not None:
            images.read_image(picture)
    for names in parse_like(config.init.like).values():
        for name in names:
            images.read_cut_out(name)
