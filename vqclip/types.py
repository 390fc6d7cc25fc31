"""Plain records that travel between the layers; importing them does not import torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from vqclip.architecture import VQGANArchitecture as VQGANArchitecture
from vqclip.architecture import json_object
from vqclip.errors import WeightsError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor


@dataclass(frozen=True)
class CLIPArchitecture:
    """An open_clip model configuration with its preprocessing numbers.

    `model` holds open_clip's own keys (`embed_dim`, `vision_cfg`, `text_cfg`); `merges` shortens the BPE vocabulary of
    the tokenizer to its first entries (None: all); `words` lists the words the model was trained on (empty: any).
    `tokenizer` says how a tokenizer other than CLIP's, which the file brings, is used (`models.tokenizing`).
    """

    model: Mapping[str, Any]
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    merges: int | None = None
    words: tuple[str, ...] = ()
    tokenizer: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        vision, text = self.model["vision_cfg"], self.model["text_cfg"]
        # names with these characters, and these keys, make timm and open_clip open folders or the Hub
        tower = vision.get("timm_model_name") or ""
        if not re.fullmatch(r"[a-z0-9_.]*", tower) or vision.get("timm_model_pretrained") or text.get("hf_model_name"):
            raise ValueError("it names a model outside the file")
        if not all(isinstance(word, str) for word in self.words):
            raise ValueError("its words are no texts")
        if not (len(self.mean) == len(self.std) == 3 and all(s > 0 for s in self.std)):
            raise ValueError("mean and std must be three numbers each, std above 0")
        if self.merges is not None and not 0 <= self.merges <= text.get("vocab_size", 49408) - 514:
            raise ValueError("its vocabulary is smaller than its tokenizer's")
        if self.tokenizer is not None and not isinstance(self.tokenizer, Mapping):
            raise ValueError("its tokenizer is no mapping")

    @property
    def image_size(self) -> int:
        """Side of a view in pixels."""
        side = self.model["vision_cfg"].get("image_size", 224)
        return side if isinstance(side, int) else side[0]

    def to_json(self) -> str:
        """Return the record as JSON, the form it has in a weight file's metadata."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CLIPArchitecture:
        """Read the record back; raise WeightsError if it is damaged."""
        values = json_object(text, "CLIP architecture")
        try:
            values |= {name: tuple(values[name]) for name in ("mean", "std", "words")}
            return cls(**values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"damaged CLIP architecture in the weight file: {error}; fetch the file again") from None


class ImageTokenizer(Protocol):
    """What the loop needs of a VQGAN; `B` pictures, `C` latent channels, `h x w` cells of `factor` pixels."""

    factor: int

    @property
    def codebook(self) -> Tensor:
        """Codes, (K, C); (0, 0) of continuous latents."""

    @property
    def live_codebook(self) -> Tensor:
        """The codes that are chosen from, (K', C)."""

    @property
    def refusal(self) -> str:
        """Why no picture can be encoded; empty if pictures can."""

    @property
    def space(self) -> str:
        """The space that latents are kept in, by its name in `vqclip.drawables.spaces`."""

    @property
    def channels(self) -> int:
        """Channels C of the latents."""

    @property
    def device(self) -> torch.device:
        """Where the network lies."""

    def codes(self, indices: Tensor) -> Tensor:
        """Indices (B, h, w) to codes (B, C, h, w)."""

    def encode(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in [0, 1] to latents (B, C, h, w)."""

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Latents to the nearest codes (B, C, h, w) and their indices (B, h, w)."""

    def decode(self, z_q: Tensor) -> Tensor:
        """Codes to an image (B, 3, H, W) in [0, 1]."""


MASKED = -1
"""What stands in a grid of codes where a prior is to choose one."""


class SampledPrior(Protocol):
    """What all priors say of themselves; they were trained on grids of `side` codes a side."""

    @property
    def kind(self) -> str:
        """How it draws: masked or annealed, filling what is MASKED; causal, code after code; flow, all at once."""

    @property
    def side(self) -> int:
        """Codes along a side of the grids it was trained on."""


class CodePrior(SampledPrior, Protocol):
    """What sampling needs of a prior that tells how likely codes are."""

    @property
    def unconditional(self) -> Tensor:
        """The condition (D,) of no prompt at all, for guidance."""

    def __call__(self, indices: Tensor, condition: Tensor) -> Tensor:
        """Codes (B, h, w), MASKED where unknown, and conditions (B, D) to logits (B, h, w, K)."""


class CausalCodePrior(CodePrior, Protocol):
    """What sampling needs of a causal prior, which samples one code after the other."""

    blocks: Sequence[Any]

    def conditions_in(self, condition: Tensor, grid_width: int, top: int, left: int, height: int, width: int) -> Tensor:
        """The part of conditions (B, D) that belongs to a window of the grid."""

    def following(self, codes: Tensor, condition: Tensor, width: int, caches: list[list[Tensor]]) -> Tensor:
        """Codes (B, n) of a grid `width` wide to logits (B, K) of the next one; `caches`, one a block, are its own."""


class FlowCodePrior(Protocol):
    """What sampling needs of a flow prior, which clears noise from latents; see `vqclip.models.prior.FlowPrior`."""

    @property
    def side(self) -> int:
        """Codes along a side of the grids it was trained on."""

    @property
    def unconditional(self) -> Tensor:
        """The condition (D,) of no prompt at all, for guidance."""

    def latents(self, indices: Tensor) -> Tensor:
        """Codes (B, h, w) to latents (B, h, w, C) of zero mean and unit variance."""

    def nearest(self, latents: Tensor) -> Tensor:
        """Latents (B, h, w, C) to the nearest codes (B, h, w)."""

    def __call__(self, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """Noisy latents, times (B,) from 0, noise, to 1, conditions (B, D) to velocities (B, h, w, C)."""


class CodeUpsampler(Protocol):
    """What enlarging a grid of codes needs of an upsampler."""

    @property
    def unconditional(self) -> Tensor:
        """The condition (D,) of no prompt at all, for guidance."""

    def __call__(self, indices: Tensor, coarse: Tensor, condition: Tensor) -> Tensor:
        """Fine codes (B, 2h, 2w), MASKED where unknown, coarse ones, conditions (B, D) to logits (B, 2h, 2w, K)."""


class EmbeddingNetwork(Protocol):
    """What drawing picture embeddings needs of an embedding prior."""

    @property
    def unconditional(self) -> Tensor:
        """The text embedding (D,) of no prompt at all, for guidance."""

    def __call__(self, noisy: Tensor, time: Tensor, text: Tensor) -> Tensor:
        """Noisy embeddings (B, D), times (B,) in [0, 1], text embeddings (B, D) to embeddings (B, D) without noise."""


class Perceptor(Protocol):
    """What the guidance needs of a CLIP; embeddings are unit vectors (N, D)."""

    image_size: int
    context_length: int
    words: frozenset[str]

    def encode_image(self, views: Tensor) -> Tensor:
        """Views (N, 3, S, S) in [0, 1] to embeddings."""

    def encode_text(self, texts: list[str]) -> Tensor:
        """Texts to embeddings; each must fit the context."""

    def count_tokens(self, text: str) -> int:
        """Number of tokens of a text, start and end included."""


@dataclass(frozen=True)
class Notice:
    """Something the user should know that is no error; shown once on stderr and kept in the log."""

    text: str


@dataclass(frozen=True)
class Candidates:
    """What a prior proposed for one picture, best first: codes (n, h, w), scores (n,), lower is better, pictures.

    A single one is scored only to be shown; so are pictures (n, 3, H, W) in [0, 1] kept.
    """

    codes: Tensor
    scores: Tensor | None = None
    pictures: Tensor | None = None


@dataclass(frozen=True)
class PackedState:
    """All that later steps of a batch depend on, after `step`: named tensors, plain numbers, the optimizer's name.

    States of version 0.1 have no name, but `kind` among the numbers: the optimizer's place in that version's list. What
    is random in a step depends on seed and step alone, so that a run goes on from here as if nothing had happened.
    """

    step: int
    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, float]
    optimizer: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The state of a run after one step, for B pictures drawn together.

    `image` (B, 3, H, W) in [0, 1] is the current picture at the side of the current stage. `best` (B, 3, H, W) and
    `best_score` (B,) are the best iterate of this stage by the held-out views (lower is better), None before they
    judged. `losses` maps each loss to its values (B,). `work` in [0, 1] is the share of the batch's work that is done:
    a step on a finer grid is more work than one on a coarse grid. `candidates` are, at step 0 and if they are to be
    shown, what a prior proposed, by seed. `packed` is the latest state that the run can go on from, of this step or of
    a few steps before; `resumed` marks the first snapshot of a batch that goes on: it was shown before. `chunks` tells
    how many views at a time went through CLIP from which step on, where memory ran out, `rates` the learning rate from
    which step on, where numbers stopped being finite.
    """

    step: int
    steps: int
    seeds: tuple[int, ...]
    size: tuple[int, int]
    image: Tensor
    losses: Mapping[str, Tensor] = field(default_factory=dict)
    lr: float = 0.0
    best: Tensor | None = None
    best_step: int = 0
    best_score: Tensor | None = None
    work: float = 0.0
    notices: tuple[Notice, ...] = ()
    candidates: Mapping[int, Candidates] = field(default_factory=dict)
    packed: PackedState | None = None
    resumed: bool = False
    chunks: Mapping[int, int] = field(default_factory=dict)
    rates: Mapping[int, float] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """Sum of all losses, averaged over the pictures; NaN before the first step."""
        total = sum(float(value.mean()) for value in self.losses.values())
        return total if self.losses else float("nan")

    @property
    def last(self) -> bool:
        """Whether this is the run's last step."""
        return self.step == self.steps

    def pictures(self) -> list[Image]:
        """Return the current pictures at the run's size."""
        from vqclip import images

        return images.frames(self.image, *self.size)
