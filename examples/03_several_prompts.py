"""Mix prompts with weights, push away from a negative one, and compare seeds on a contact sheet.

python examples/03_several_prompts.py
"""

import os

import vqclip
from vqclip import images

STEPS = int(os.environ.get("VQCLIP_EXAMPLE_STEPS", "100"))
MIXES = {
    "only the fox": ("a fox",),
    "fox and a little snow": ("a fox:1 | a fox in the snow:0.5",),
    "mostly snow": ("a fox:0.3 | a fox in the snow:1",),
}
SEEDS = (1, 2)


def main() -> None:
    """Draw every mix with every seed, with networks that are loaded only once."""
    models, pictures, captions = None, [], []
    for name, prompts in MIXES.items():
        for seed in SEEDS:
            # six pictures: fewer candidates for each than usual
            fewer = {"init": {"candidates": 2}}
            config = vqclip.make_config(*prompts, negative=["a red circle"], steps=STEPS, seed=seed, size=128, **fewer)
            models = models or vqclip.Models.load(config)
            pictures.append(vqclip.generate(config, models).image)
            captions.append(f"{name}, {seed}")
            print("drew", captions[-1])
    images.contact_sheet(pictures, captions, columns=len(SEEDS), cell=160).save("prompts.png")
    print("wrote prompts.png")


if __name__ == "__main__":
    main()
