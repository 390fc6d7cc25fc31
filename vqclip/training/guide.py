"""`vqclip train clip --world 2`: the guide of the second world, a CLIP for its drawings and its grammar.

It learns as the first world's CLIP does (`clip.py`), from captioned compositions, and begins with that one's weights
where their shapes fit. Its adversary is half as strong: one that is stronger makes a guide that takes pictures apart.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vqclip import images
from vqclip.models.clip import CLIP
from vqclip.training.batches import grouped_batch
from vqclip.training.captioned import CaptionedSet
from vqclip.training.clip import SCENE_SIDE, SIDE, Batch, CLIPTask
from vqclip.training.clip import architecture as first_architecture
from vqclip.training.compositions import HELD_OUT
from vqclip.training.contrast import HEAD_SCALE, UNSAID, weight_of
from vqclip.training.runner import say, start_from
from vqclip.training.sayings import Sayer
from vqclip.training.zero_shot import accuracy, pgd
from vqclip.types import CLIPArchitecture
from vqclip.weights import files
from vqclip.weights.catalog import locate
from vqclip.words import lexicon as lexicons
from vqclip.words.reading import SETTINGS, STYLES, Noun, Reading
from vqclip.world import caption_words, load_world
from vqclip.writers.picture import save_image

_MERGES, _CONTEXT = 8192, 64  # of the tokenizer's vocabulary; tokens of a text
# after how many steps a line says how well held-out drawings are named, and of how many pictures
_VALIDATE_EVERY, _VALIDATED = 250, 256
_ATTACKED, _LONG = 512, 100  # pictures that are attacked; characters up to which a text is not cut
_PROMPT = "a picture of {}"


def architecture() -> CLIPArchitecture:
    """The first world's towers, with a longer vocabulary and context, and all words that `vqclip.words` knows."""
    first = first_architecture()
    text = dict(first.model["text_cfg"]) | {"context_length": _CONTEXT, "vocab_size": _MERGES + 514}
    return CLIPArchitecture(dict(first.model) | {"text_cfg": text}, merges=_MERGES, words=known_words())


def known_words() -> tuple[str, ...]:
    """Return all words of prompts that `vqclip.words` understands, those that it leaves out silently too, sorted."""
    lexicon = lexicons.load()
    phrases = [*lexicon.entries, *lexicon.plurals, *lexicon.subjects, *load_world().words]
    phrases += [f"{name} {' '.join(others)}" for name, others in lexicon.subjects.items()]
    left_out = {words for words, entry in lexicon.entries.items() if entry.kind == "unknown"}
    return tuple(sorted({word for phrase in phrases if phrase not in left_out for word in caption_words(phrase)}))


class GuideTask(CLIPTask):
    """Training of the second world's CLIP."""

    strongest = 0.75
    # it begins with a tower that is robust, and is to stay so: a real adversary from the first step on
    weakest = 0.4
    one_step, full_length, two_steps, chained = 0.0, 0.4, 0.85, 0.15
    # the file whose weights are taken where their shapes fit; None to begin at random
    borrowed: str | None = "tiny"

    def architecture(self) -> CLIPArchitecture:
        """What is trained."""
        return architecture()

    def _begin(self) -> None:
        if self.options.start:
            start_from(self.options, self.name, self.clip.architecture, self.clip.network)
            self.chained = 0.0
        elif self.borrowed is not None:
            borrow(self.clip, self.borrowed)

    def _gather(self) -> dict[str, int]:
        o = self.options
        scenes = CaptionedSet(o.folder, o.seed, o.scenes, SCENE_SIDE).render(o.workers)
        large = CaptionedSet(o.folder, o.seed + 1, max(o.scenes // 8, 1), 2 * SCENE_SIDE).render(o.workers)
        held = CaptionedSet(o.folder, o.seed + 1001, min(o.scenes, 2048), 2 * SIDE, HELD_OUT, styled=0.5)
        self.scenes, self.large, self.held_out = scenes, large, held.render(o.workers)
        self.readings = held.readings
        self.subjects = scenes.subjects
        self.sayer = Sayer([*scenes.readings, *large.readings], self.subjects)
        return self.sayer.sizes

    def batch_of(self, index: int) -> Batch:
        """Return views, captions and labels of step `index`, on the CPU, drawn from (seed, index) alone."""
        rng = np.random.default_rng([self.options.seed, index])
        of_chains = self.chains.scenes(index, self.options.seed, self.scenes.count)
        # the columns that `grouped_batch` looks at are those of the first world's attributes
        groups = np.zeros((self.scenes.count, 6), int)
        groups[:, [0, 5]] = self.sayer.groups[: self.scenes.count]
        chosen = np.concatenate([
            np.array(of_chains, int),
            grouped_batch(groups, self.batch - len(of_chains) - self.detailed, rng),
            self.scenes.count + rng.integers(self.large.count, size=self.detailed),
        ])  # fmt: skip
        detail = [place >= self.batch - self.detailed for place in range(self.batch)]
        texts, wrong, labels = self.sayer.batch(chosen.tolist(), detail, rng)
        return self._views(chosen, index), [self._fitting(text) for text in texts], wrong, labels

    def step(self, index: int, progress: float, batch: Batch) -> dict[str, float]:
        """One batch, see `CLIPTask.step`; tells now and then how well held-out drawings are named."""
        shown = super().step(index, progress, batch)
        if (index + 1) % _VALIDATE_EVERY == 0:
            say(f"step {index + 1}: {self._quick_look()}")
        return shown

    def validate(self, folder: Path, index: int) -> dict[str, float]:
        """Accuracies on held-out drawings, clean and under L2 PGD-10; writes `validation.png`."""
        del index
        self.calibrate()
        x, clip = self._held_out(), self.clip.eval()
        self._sheet(clip, x[:48], folder / "validation.png")
        return measure(clip, x, self.readings, self.subjects, self.epsilon)

    def _fitting(self, text: str) -> str:
        """Return a text, or as many of its words as the context holds."""
        while len(text) > _LONG and self.clip.count_tokens(text) > _CONTEXT:
            text = text.rsplit(" ", 1)[0]
        return text

    def _held_out(self) -> Tensor:
        """Return all held-out pictures (n, 3, S, S)."""
        x = torch.from_numpy(np.array(self.held_out.images)).permute(0, 3, 1, 2).float() / 255
        return nn.functional.avg_pool2d(x, 2).to(self.device)

    @torch.no_grad()
    def _quick_look(self) -> str:
        """Say how often subject, setting and style of some held-out pictures are named, by the running statistics."""
        network = self.clip.network
        network.eval()
        try:
            x, readings = self._held_out()[:_VALIDATED], self.readings[:_VALIDATED]
            scores = measure(self.clip, x, readings, self.subjects, None)
        finally:
            network.train()
        return ", ".join(f"{name} {value:.3f}" for name, value in scores.items())

    def _named(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """Cross entropies of naming each attribute; of several subjects in a picture each counts its part."""
        loss = embedding.new_zeros(())
        for key, head in self.heads.items():
            log = head(HEAD_SCALE * embedding).float().log_softmax(1)
            wanted = labels[:, self.sayer.columns[key]]
            said = wanted != UNSAID
            each = -(log.gather(1, wanted.clamp(min=0)) * said).sum(1) / said.sum(1).clamp(min=1)
            loss = loss + weight_of(key) * each.sum() / said.any(1).sum().clamp(min=1)
        return loss

    @torch.no_grad()
    def _sheet(self, clip: CLIP, x: Tensor, path: Path) -> None:
        """Write held-out pictures (n, 3, S, S) with the caption, of all of theirs, that fits each best."""
        texts = [reading.caption() for reading in self.readings[: len(x)]]
        chosen = (clip.encode_image(x) @ clip.encode_text(texts).t()).argmax(1).tolist()
        sheet = images.contact_sheet([images.to_pil(view.cpu()) for view in x], [texts[i] for i in chosen], 8, 2 * SIDE)
        save_image(sheet, path, None)


@torch.no_grad()
def borrow(clip: CLIP, name: str) -> int:
    """Copy weights of a CLIP's file, by name or path, where a tensor has the same shape or more rows; return how many.

    Of the tokens the first ones are the same, however many merges there are, and the last two are start and end.
    """
    tensors, taken = files.read(locate("clip", name), "clip").tensors, 0
    for key, value in clip.network.state_dict().items():
        other = tensors.get(key)
        if other is None or other.shape[1:] != value.shape[1:] or other.ndim != value.ndim:
            continue
        if other.shape == value.shape:
            value.copy_(other)
        elif key == "token_embedding.weight":
            value[: len(other) - 2], value[-2:] = other[:-2], other[-2:]
        elif key == "positional_embedding":
            value[: len(other)] = other[: len(value)]
        else:
            continue
        taken += 1
    return taken


def measure(
    clip: CLIP, x: Tensor, readings: list[Reading], subjects: tuple[str, ...], epsilon: float | None
) -> dict[str, float]:
    """Accuracy of naming what pictures x (n, 3, S, S) show by the nearest prompt.

    Subjects, of pictures that show a single thing, are told from all `subjects`; "unstyled" ones have no style, and
    "attacked" are those under L2 PGD-10 of radius `epsilon` (None: not attacked). Counts are told within a caption.
    """
    scores: dict[str, float] = {}
    text = clip.encode_text([_PROMPT.format(_single(name)) for name in subjects]).detach()
    lone = [i for i, reading in enumerate(readings) if _lone(reading) and reading.nouns[0].subject in subjects]
    truth = torch.tensor([subjects.index(readings[i].nouns[0].subject) for i in lone], device=x.device)
    plain = torch.tensor([readings[i].style is None for i in lone], device=x.device, dtype=torch.bool)
    with torch.no_grad():
        for name, chosen in (("subject", torch.ones_like(plain)), ("subject_unstyled", plain)):
            if chosen.any():
                pictures = x[torch.tensor(lone, device=x.device)[chosen]]
                scores[name] = accuracy(clip, pictures, text, truth[chosen])
                scores[f"{name}_top5"] = accuracy(clip, pictures, text, truth[chosen], 5)
        for key, names, template in (("style", STYLES, "a picture in {} style"), ("setting", SETTINGS, "a picture {}")):
            having = [i for i, reading in enumerate(readings) if getattr(reading, key)]
            true = torch.tensor([names.index(getattr(readings[i], key)) for i in having], device=x.device)
            if having:
                scores[key] = accuracy(clip, x[having], clip.encode_text([template.format(n) for n in names]), true)
        scores |= _counted(clip, x, readings)
    if epsilon is not None and plain.any():
        pictures = x[torch.tensor(lone, device=x.device)[plain]][:_ATTACKED]
        moved = pgd(clip, pictures, text, truth[plain][:_ATTACKED], epsilon)
        with torch.no_grad():
            scores["subject_unstyled_attacked"] = accuracy(clip, moved, text, truth[plain][:_ATTACKED])
    return scores


def _lone(reading: Reading) -> bool:
    return len(reading.nouns) == 1 and reading.nouns[0].count == 1


def _single(subject: str) -> str:
    return Noun(subject, "subject", subject).phrase()


@torch.no_grad()
def _counted(clip: CLIP, x: Tensor, readings: list[Reading]) -> dict[str, float]:
    """Share of pictures of one subject whose caption fits better than it does with any other count from 1 to 5."""
    right, total = 0, 0
    for i, reading in enumerate(readings):
        if len(reading.nouns) != 1 or reading.framing or total >= _ATTACKED // 4:
            continue
        noun = reading.nouns[0]
        texts = [replace(reading, nouns=(replace(noun, count=n),)).caption() for n in range(1, 6)]
        if len(set(texts)) < 5:
            continue
        embedding = clip.encode_image(x[i : i + 1])[0]
        right += int((clip.encode_text(texts) @ embedding).argmax()) + 1 == noun.count
        total += 1
    return {"count": round(right / total, 4)} if total else {}
