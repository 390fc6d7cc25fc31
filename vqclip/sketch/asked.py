"""Whether a run begins with a sketch, and what its prompts say: all that can be told before a network is loaded."""

from __future__ import annotations

from functools import lru_cache

from vqclip import prompts
from vqclip.config import Config
from vqclip.errors import UsageError
from vqclip.sketch.own import check_named, parse_like
from vqclip.words import Reading, read, suggestions

_NEAR = 5


def is_sketched(config: Config) -> bool:
    """Whether a sketch begins a run: asked for, or where nothing is said of the start and there are words to draw."""
    init = config.init
    if not config.models.memory or init.kind not in ("auto", "sketch"):
        return False
    return init.kind == "sketch" or (init.image is None and init.mask is None and reading_of(config).known)


def reading_of(config: Config) -> Reading:
    """Return what the prompts of positive weight say together."""
    texts = [prompt.text for prompt in prompts.parse_all(config.prompts) if prompt.weight > 0]
    return read_once(", ".join(texts), tuple(parse_like(config.init.like)))


@lru_cache(maxsize=16)
def read_once(text: str, own: tuple[str, ...]) -> Reading:
    """Return the reading of a text; see `vqclip.words.read`."""
    return read(text, own)


def check_words(config: Config) -> None:
    """Raise UsageError where no word of the prompts is known, and for `--like` that does not fit them.

    Only runs that may begin with a sketch are looked at; `init.anyway` draws unknown words with the prior.
    """
    init = config.init
    like = parse_like(init.like)
    if like and not is_sketched(config):
        raise UsageError("--like gives drawings for a sketch: leave out --init, --init-image and --mask, or --like")
    if not config.models.memory or init.kind not in ("auto", "sketch") or init.image or init.mask:
        return
    if not config.prompts or config.image_prompts or config.models.memory not in config.models.clip:
        return  # a CLIP of another family may know any word
    reading = reading_of(config)
    check_named(list(like), reading.text)
    if reading.known or (init.anyway and init.kind == "auto"):
        return
    near = ", ".join(suggestions(reading.text)[:_NEAR])
    hint = f"did you mean {near}?" if near else "'vqclip words' lists what can be drawn"
    raise UsageError(f"no word of {reading.text[:80]!r} is known: {hint} --anyway lets the prior guess")
