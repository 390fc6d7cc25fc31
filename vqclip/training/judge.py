"""`vqclip train judge`: the judge of drawn pictures, trained on the hand-made features of rendered scenes.

It sees renders only, never a picture that was optimized: what it says of those is a test, not a memory.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from vqclip import atomic, images
from vqclip.models.judge import FEATURES, REFERENCE, TEXTURE_SIDE, Judge, JudgeArchitecture, features
from vqclip.terminal import bar_room
from vqclip.training.batches import Captioner
from vqclip.training.degradations import degrade
from vqclip.training.runner import TrainOptions, start_from
from vqclip.training.scenes import SceneSet
from vqclip.weights import files
from vqclip.world import load_world
from vqclip.world.scene import Scene
from vqclip.writers.picture import save_image

NONE = "none"
_CHUNK = 128  # pictures that a process renders at a time
_SMOOTHING = 0.05  # of the labels


class JudgeTask:
    """Training of the judge."""

    name = "judge"
    file_kind = "judge"
    lr = 1e-3

    def __init__(self, options: TrainOptions) -> None:
        self.options = options
        self.device = options.torch_device()
        torch.manual_seed(options.seed)
        self.batch = options.batch or 512
        self.scenes = SceneSet(options.folder, options.seed, options.scenes, TEXTURE_SIDE)
        self.scenes.render(options.font, options.workers)
        self.held_out = SceneSet(options.folder, options.seed + 1002, min(options.scenes, 2000), TEXTURE_SIDE)
        self.held_out.render(options.font, options.workers)
        self.x = [scene_features(self.scenes, options.workers, degraded) for degraded in (False, True)]
        captioner = Captioner(self.scenes.scenes)
        self.y = torch.from_numpy(captioner.attributes + 1)
        world = load_world()
        colors = (NONE, *world.colors)
        names = {
            "subject": (NONE, *world.subjects), "shape": (NONE, *world.shapes), "color": colors,
            "setting": (NONE, *world.settings), "background": colors, "style": (NONE, *world.styles),
        }  # fmt: skip
        self.judge = Judge(JudgeArchitecture(names))
        sample = np.concatenate([x[:: max(len(x) // 5000, 1)] for x in self.x]).astype(np.float32)
        self.judge.mean.copy_(torch.from_numpy(sample.mean(0)))
        self.judge.std.copy_(torch.from_numpy(sample.std(0)).clamp(min=1e-3))
        if options.start:
            start_from(options, self.name, self.judge.architecture, self.judge)
        self.judge.to(self.device)
        self.modules = nn.ModuleDict({"judge": self.judge})
        self.optimizer = torch.optim.AdamW(self.judge.parameters(), lr=self.lr, weight_decay=0.05)

    @property
    def epoch(self) -> int:
        """Steps that show as many scenes as were rendered."""
        return -(-self.scenes.count // self.batch)

    def batch_of(self, index: int) -> tuple[Tensor, Tensor]:
        """Return features and names of step `index`, on the CPU, drawn from (seed, index) alone: half are degraded."""
        rng = np.random.default_rng([self.options.seed, index])
        chosen = np.sort(rng.integers(self.scenes.count, size=self.batch))
        degraded = rng.random(self.batch) < 0.5
        x = np.where(degraded[:, None], self.x[1][chosen], self.x[0][chosen]).astype(np.float32)
        return torch.from_numpy(x), self.y[torch.from_numpy(chosen)]

    def step(self, index: int, progress: float, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        """One batch of renders; every head learns its names."""
        del progress
        self.judge.train()
        torch.manual_seed(index)  # dropout
        x, y = (part.to(self.device) for part in batch)
        heads = self.judge(x)
        losses = [
            (1 - _SMOOTHING) * nn.functional.nll_loss(head_scores, y[:, column]) - _SMOOTHING * head_scores.mean()
            for column, head_scores in enumerate(heads.values())
        ]
        loss = torch.stack(losses).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {"loss": float(loss.detach())}

    @torch.no_grad()
    def validate(self, folder: Path, index: int) -> dict[str, float]:
        """Accuracy on held-out renders; writes `validation.png`, a sheet of those whose subject it got wrong."""
        del index
        self.judge.eval()
        x = torch.from_numpy(np.array(scene_features(self.held_out, self.options.workers), np.float32)).to(self.device)
        embedded = self.judge.embed(x)
        # with fewer renders than that, some count more than once
        self.judge.reference.copy_(embedded[torch.arange(REFERENCE) % len(embedded)])
        scores, wrong = accuracies(self.judge, x, self.held_out.scenes)
        degraded = scene_features(self.held_out, self.options.workers, degraded=True)
        x = torch.from_numpy(np.array(degraded, np.float32)).to(self.device)
        forgiven, _ = accuracies(self.judge, x, self.held_out.scenes)
        scores |= {f"{key}, degraded": value for key, value in forgiven.items()}
        shown = wrong[:32] or [0]
        pictures = [images.to_pil(torch.from_numpy(self.held_out.images[i] / 255).permute(2, 0, 1)) for i in shown]
        sheet = images.contact_sheet(pictures, [self.held_out.scenes[i].subject or "" for i in shown], 8, 128)
        save_image(sheet, folder / "validation.png", None)
        return scores

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the weight file."""
        files.save(path, "judge", self.judge.architecture.to_json(), self.judge.state_dict(), info)


@torch.no_grad()
def accuracies(judge: Judge, x: Tensor, scenes: list[Scene]) -> tuple[dict[str, float], list[int]]:
    """Return how often the judge names what scenes with features x (n, FEATURES) show, and whose subject it missed."""
    attributes = torch.from_numpy(Captioner(scenes).attributes)
    named = {key: scores_of[:, 1:].argmax(1).cpu() for key, scores_of in judge(x).items()}
    scores = {}
    right = named["subject"] == attributes[:, 0]
    for column, key in enumerate(named):
        having = attributes[:, column] >= 0
        if having.any():
            scores[key] = round(float((named[key] == attributes[:, column])[having].float().mean()), 4)
    has_subject = attributes[:, 0] >= 0
    for style, value in ((None, -1), *((name, i) for i, name in enumerate(load_world().styles))):
        rows = has_subject & (attributes[:, 5] == value)
        if rows.any():
            scores[f"subject, {style or 'unstyled'}"] = round(float(right[rows].float().mean()), 4)
    return scores, (has_subject & ~right).nonzero().flatten().tolist()


def scene_features(scenes: SceneSet, workers: int, degraded: bool = False) -> np.ndarray:
    """Return the features of all scenes, float16 (count, FEATURES), computed once and kept beside the renders."""
    kind = "-degraded" if degraded else ""
    path = scenes.folder / f"features-{scenes.seed}-{scenes.count}-{FEATURES}{kind}.raw"
    shape = (scenes.count, FEATURES)
    if path.exists() and path.stat().st_size == 2 * scenes.count * FEATURES:
        return np.memmap(path, np.float16, "r", shape=shape)
    features_of = np.empty(shape, np.float16)
    jobs = [(scenes, start, degraded) for start in range(0, scenes.count, _CHUNK)]
    with multiprocessing.get_context("spawn").Pool(max(workers, 1)) as pool:
        done = tqdm(
            pool.imap(_features_of, jobs),
            total=len(jobs),
            desc="features",
            unit_scale=_CHUNK,
            unit="scene",
            **bar_room(),
        )
        for start, rows in done:
            features_of[start : start + len(rows)] = rows
    atomic.write(path, lambda stream: stream.write(features_of.tobytes()))
    return features_of


def _features_of(job: tuple[SceneSet, int, bool]) -> tuple[int, np.ndarray]:
    scenes, start, degraded = job
    rows = list(scenes.images[start : start + _CHUNK])
    if degraded:
        rows = [degrade(row, np.random.default_rng([scenes.seed, start + i])) for i, row in enumerate(rows)]
    return start, np.stack([features(row) for row in rows]).astype(np.float16)
