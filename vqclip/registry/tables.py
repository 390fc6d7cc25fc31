"""All variants that vqclip knows by name, as torch-free records; a new one is a line here and a function there."""

from __future__ import annotations

from vqclip.registry.lazy import Registry

AUGMENTATIONS = Registry(
    "augmentation",
    {
        name: f"vqclip.guidance.augmentations:{name.upper()}"
        for name in (
            "rotate", "shear", "perspective", "flip",
            "brightness", "contrast", "saturation", "hue", "grayscale",
            "noise", "erase",
        )
    },
)  # fmt: skip

OPTIMIZERS = Registry(
    "optimizer",
    {
        name.lower(): f"torch.optim:{name}"
        for name in ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "RMSprop", "SGD")
    }
    | {"normalized": "vqclip.optim:Normalized"},
)

SCHEDULES = Registry(
    "schedule",
    {name: f"vqclip.schedules:{name}" for name in ("constant", "cosine", "linear", "quarter", "step")},
)

# a loss is a function of inputs, or a class that is made of its options and a context: `guidance.losses.protocol`
LOSSES = Registry(
    "loss",
    {
        "prompt": "vqclip.guidance.losses.prompt:PromptLoss",
        "contrast": "vqclip.guidance.losses.prompt:ContrastLoss",
        "init_image": "vqclip.guidance.losses.regularizers:InitImageLoss",
        "beginning": "vqclip.guidance.losses.regularizers:BeginningLoss",
        "painted": "vqclip.guidance.losses.regularizers:PaintedLoss",
        "tv": "vqclip.guidance.losses.regularizers:total_variation",
        "latent": "vqclip.guidance.losses.regularizers:latent_norm",
        "commitment": "vqclip.guidance.losses.regularizers:commitment",
        "range": "vqclip.guidance.losses.regularizers:saturation",
    },
)

# what becomes of the steps of a session: classes of `vqclip.session.sinks.Sink`
SINKS = Registry(
    "sink",
    {
        "candidates": "vqclip.session.sinks.candidates:CandidatesSink",
        "video": "vqclip.session.sinks.video:VideoSink",
        "preview": "vqclip.session.sinks.preview:PreviewSink",
        "metrics": "vqclip.session.sinks.metrics:MetricsSink",
        "tensorboard": "vqclip.session.sinks.tensorboard:TensorBoardSink",
        "savepoint": "vqclip.session.sinks.savepoint:SavepointSink",
        "picture": "vqclip.session.sinks.picture:PictureSink",
    },
)

# what is optimized: see `drawables.protocol`
CANVASES = Registry(
    "canvas",
    {
        "vqgan": "vqclip.drawables.latent_grid:LatentGrid",
        "latents": "vqclip.drawables.continuous:ContinuousGrid",
        "pixels": "vqclip.drawables.pixels:Pixels",
    },
)

# an intervention is a class made of its options and a run; its objects are called with the run before every step
INTERVENTIONS = Registry(
    "intervention",
    {
        "coarse_to_fine": "vqclip.generation.interventions.coarse_to_fine:CoarseToFine",
        "remask": "vqclip.generation.interventions.remask:Remask",
    },
)
