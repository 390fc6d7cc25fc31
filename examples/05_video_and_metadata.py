"""Draw with a progress video, read what the picture says of itself, and draw it again from that.

python examples/05_video_and_metadata.py
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from vqclip.writers import metadata

STEPS = os.environ.get("VQCLIP_EXAMPLE_STEPS", "120")


def vqclip(*arguments: str) -> list[Path]:
    """Run the command line and return the files that it names on stdout."""
    command = [sys.executable, "-m", "vqclip", "generate", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [Path(line) for line in done.stdout.splitlines()]


def main() -> None:
    """Draw a rocket with a video, then once more from the metadata alone, and compare every pixel."""
    prompt = "a rocket in the night sky"
    picture, video = vqclip(prompt, "--steps", STEPS, "-o", "rocket.png", "--video", "flight.mp4", "--length", "4")
    print("wrote", picture, "and", video, f"of {video.stat().st_size} bytes")

    found = metadata.read(picture)
    print(found["parameters"])
    print("weights:", found["record"]["weights"])

    (again,) = vqclip("--from", str(picture), "-o", "rocket-again.png")
    same = np.array_equal(np.asarray(Image.open(picture)), np.asarray(Image.open(again)))
    print("drawn again as", again, "- every pixel equal:", same)


if __name__ == "__main__":
    main()
