"""Whether a run begins with a sketch, and what its prompts say: all that can be told before a network is loaded."""

from __future__ import annotations

from functools import lru_cache

from vqclip import prompts
from vqclip.config import Config
from vqclip.errors import UsageError
from vqclip.sketch.own import check_named, parse_like
from vqclip.words import Reading, read, suggestions

_NEAR = 5  # suggestions in one message


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
def read_once(text: str, like: tuple[str, ...]) -> Reading:
    """Return the reading of a text; see `vqclip.words.read`."""
    return read(text, like)


def check_words(config: Config) -> None:
    """Raise UsageError where no word of the prompts is known, and for `--like` that does not fit them.

    Only runs that may begin with a sketch are looked at; `init.anyway` draws unknown words with the prior.
    """
    init = config.init
    if init.like:
        _check_like(config)
    if init.kind == "sketch":
        _check_drawable(config)
    elif config.models.memory and init.kind == "auto" and not (init.image or init.mask):
        # pictures, and a CLIP of another family, may tell of anything; what is only unwanted need not be known
        sees_pictures = config.image_prompts or config.models.memory not in config.models.clip
        reading = reading_of(config)
        if reading.text and not (sees_pictures or reading.known or init.anyway):
            raise _unknown(reading, "--anyway lets the prior guess")


def _check_drawable(config: Config) -> None:
    """Raise UsageError where a sketch is asked for and there is nothing to draw it of."""
    if not config.models.memory:
        raise UsageError("--init sketch needs a memory of drawings: give --set models.memory=tiny")
    reading = reading_of(config)
    if not reading.text:
        raise UsageError("--init sketch draws words: give a prompt of positive weight, or leave --init out")
    if not reading.known:
        raise _unknown(reading)


def _unknown(reading: Reading, otherwise: str = "") -> UsageError:
    near = ", ".join(suggestions(reading.text)[:_NEAR])
    hint, link = (f"did you mean {near}?", " If not, ") if near else ("'vqclip words' lists what can be drawn", ", or ")
    return UsageError(f"no word of {reading.text[:80]!r} is known: {hint}{link + otherwise if otherwise else ''}")


def _check_like(config: Config) -> None:
    """Raise UsageError for own things that the prompts do not name, or that no sketch will show."""
    init, reading = config.init, reading_of(config)
    names = list(parse_like(init.like))
    check_named(names, reading.text)
    read_as = {noun.subject for noun in reading.nouns if noun.kind == "own"}
    for name in names:
        if name not in read_as:
            raise UsageError(
                f"--like {name}: the prompt is not read so: give a plain name of its own, such as 'my dog'"
            )
    if not config.models.memory:
        raise UsageError("--like needs a memory of drawings: give --set models.memory=tiny, or leave --like out")
    if not is_sketched(config):
        raise UsageError("--like gives drawings for a sketch: leave out --init, --init-image and --mask, or --like")
