"""What a loss is given, what it returns, and what it may say of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

from torch import Tensor

from vqclip.config import Resolved
from vqclip.drawables.init_image import Beginning, InitImage
from vqclip.drawables.protocol import Drawable, Moment
from vqclip.guidance.targets import Target
from vqclip.guidance.views import Views
from vqclip.types import Perceptor

_F = TypeVar("_F", bound=Callable[..., Any])

PICTURE, VIEWS, LATENTS, CODES, INIT_IMAGE = "picture", "views", "latents", "codes", "init_image"
"""What losses may need: the picture (all have it), views and their embeddings, latents, their codes, an init image."""


@dataclass(frozen=True)
class LossInputs:
    """What a loss of pictures may look at, of b pictures of a batch, those that `part` picks.

    `image` (b, 3, H, W) in [0, 1]; `parameters`, what the optimizer moves, each (b, ...), by name; `codes`
    (b, C, h, w), those nearest to the latents `parameters["z"]`, None of canvases without codes.
    """

    image: Tensor
    moment: Moment
    part: slice = field(default_factory=lambda: slice(None))
    parameters: Mapping[str, Tensor] = field(default_factory=dict)
    codes: Tensor | None = None

    @property
    def latent_codes(self) -> Tensor:
        """The codes (b, C, h, w), which are there for a loss that needs codes."""
        if self.codes is None:
            raise ValueError("this canvas has no codes: say that the loss needs codes")
        return self.codes


@dataclass(frozen=True)
class ViewInputs:
    """What a loss of views may look at: n views of each of b pictures, as one CLIP sees them.

    `embeddings` (b * n, D) are unit vectors, picture by picture; `views[k]` are the places of picture k; `targets`
    hold one entry for all pictures, or one for each. `perceptor` is the place of the CLIP among those of the run.
    """

    embeddings: Tensor
    views: Sequence[Views]
    targets: Sequence[Sequence[Target]]
    moment: Moment
    perceptor: int = 0


@dataclass(frozen=True)
class Rivals:
    """What a prompt must beat: its embedding (D,), those of its rivals (R, D), and the prompt's weight."""

    prompt: Tensor
    others: Tensor
    weight: float


@dataclass(frozen=True)
class LossContext:
    """What losses are built from, beside their own section: the resolved config and what a run holds.

    `init_image` is empty if there is none; `painted` (B, 3, H, W) is what the pictures of `seeds` are held to, if they
    are; `beginning` is the picture that they go on from, if there is one. `blank` makes drawables of the run's kind;
    `rivals[k]` are those of the prompts as CLIP k understands them.
    """

    config: Resolved
    perceptors: Sequence[Perceptor] = ()
    rivals: Sequence[Sequence[Rivals]] = ()
    seeds: tuple[int, ...] = ()
    blank: Drawable | None = None
    init_image: InitImage = field(default_factory=InitImage)
    painted: Tensor | None = None
    beginning: Beginning | None = None


class PictureLoss(Protocol):
    """A loss of whole pictures."""

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return one value a picture, (b,), lower being better."""


class ViewLoss(Protocol):
    """A loss of what CLIP sees; it says `needs = frozenset({"views"})`."""

    needs: ClassVar[frozenset[str]]

    def __call__(self, inputs: ViewInputs) -> Tensor:
        """Return one value a view, (b * n,), lower being better."""


def needs(*names: str) -> Callable[[_F], _F]:
    """Mark what a loss, function or class, needs beside the picture: "views", "latents", "codes" or "init_image"."""

    def mark(loss: _F) -> _F:
        loss.needs = frozenset(names)  # type: ignore[attr-defined]
        return loss

    return mark


def total(values: Sequence[Tensor]) -> Tensor:
    """Return the sum of tensors of one shape, added in their order."""
    added = values[0]
    for value in values[1:]:
        added = added + value
    return added
