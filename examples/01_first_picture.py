"""Draw one picture and look at what it says of itself.

python examples/01_first_picture.py
"""

import os

import vqclip

STEPS = int(os.environ.get("VQCLIP_EXAMPLE_STEPS", "200"))


def main() -> None:
    """Draw, save, and print what was chosen."""
    config = vqclip.make_config("a cat in Van Gogh style", steps=STEPS, seed=1)
    result = vqclip.generate(config)
    for path in result.save("first_picture.png"):
        print("wrote", path)

    picture = result.pictures[0]
    print("seed", picture.seed, "- size", picture.image.size, "- held-out score", picture.score)
    print("device and precision that were chosen:", result.config.run.device, result.config.run.precision)


if __name__ == "__main__":
    main()
