"""What people type who know older tools: two numbers as a size, and options that have no match.

Their other names of options stand with the fields that these set, in `vqclip.config`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

# options of other tools that have no match, and what comes nearest
_INSTEAD = {
    **dict.fromkeys(("--cut-method", "-cutm"), "views are always random crops, warped in one pass"),
    **dict.fromkeys(("--cut-power", "--cut-pow", "-cutp"), "give --set views.smallest=X and views.largest=X"),
    **dict.fromkeys(("--augments", "-aug"), "give --set views.augmentations.NAME=X"),
    **dict.fromkeys(("--init-noise", "-in"), "give --init random, or a picture with --init-image"),
    **dict.fromkeys(("--noise-prompt-seeds", "--noise-prompt-weights"), "there are no prompts of noise"),
    **dict.fromkeys(("--aspect", "--quality"), "give --size and --steps"),
    **dict.fromkeys(("--drawer",), "pictures are drawn by a VQGAN: give --vqgan"),
    **dict.fromkeys(("--zoom-video", "--video-style-dir", "--change-prompts-every"), "one run draws one picture"),
}


def normalized(name: str) -> str:
    """Return an option's name as it stands in --help: other tools join its words by underscores."""
    return name.replace("_", "-")


class OlderCommand(click.Command):
    """A command that takes `--size W H` for `--size WxH`, and says what stands for an option that it lacks."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what was typed; an unknown option is an error that names the nearest thing."""
        try:
            return super().parse_args(ctx, _one_size(args))
        except click.NoSuchOption:
            # of -aug click names -a alone
            typed = [normalized(word.partition("=")[0]) for word in args]
            known = next((name for name in typed if name in _INSTEAD), None)
            if known is None:
                raise
            raise click.UsageError(f"{known} is an option of other tools: here {_INSTEAD[known]}", ctx) from None


def _one_size(args: Sequence[str]) -> list[str]:
    """Join the two numbers of `--size W H`, which would be a size and a prompt."""
    found = list(args)
    end = found.index("--") if "--" in found else len(found)
    for place, word in enumerate(found[:end]):
        numbers = found[place + 1 : place + 3]
        if word == "--size" and len(numbers) == 2 and all(re.fullmatch(r"\d{1,6}", number) for number in numbers):
            found[place + 1 : place + 3] = ["x".join(numbers)]
            break
    return found
