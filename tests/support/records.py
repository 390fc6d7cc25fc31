"""Records of runs as metadata hold them."""

from PIL import Image

PICTURE = Image.new("RGB", (16, 12), (200, 30, 60))


def record_of(prompts, **config):
    config = {
        "prompts": prompts,
        "steps": 500,
        "seed": 1,
        "size": [256, 256],
        "optimizer": {"name": "adam", "lr": 0.1},
        "models": {"vqgan": "tiny", "clip": ["tiny"]},
        **config,
    }
    versions = {"torch": "2.15.0"}
    return {
        "schema": 1,
        "vqclip": "0.1.0",
        "config": config,
        "weights": {"vqgan:tiny": "ab" * 32},
        "versions": versions,
    }
