"""`vqclip train vqgan`: the bundled VQGAN, a small taming architecture trained on rendered scenes.

Reconstruction is an L1 distance on several scales and a distance of the robust CLIP's features (a perceptual loss,
Zhang et al. 2018; robust features make good ones, Santurkar et al. 2019), with a patch discriminator towards the end
(Isola et al. 2017, as in Esser et al. 2021). The codes are low-dimensional and of unit norm (Yu et al. 2021,
"Vector-quantized image modeling with improved VQGAN"), learned by moving averages (van den Oord et al. 2017,
appendix), with dead codes restarted from the batch (Dhariwal et al. 2020).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize, relu

from vqclip import images
from vqclip.errors import UsageError
from vqclip.models.vqgan import TamingNetwork
from vqclip.training.compositions import HELD_OUT, TRAINED, CompositionSet
from vqclip.training.precision import autocast
from vqclip.training.reconstruction import PatchDiscriminator, Perceptual, isotropy, multiscale_l1, texture_distance
from vqclip.training.runner import TrainOptions, maybe_compile, start_from
from vqclip.training.scenes import SceneSet
from vqclip.types import VQGANArchitecture
from vqclip.weights import files
from vqclip.weights.load import load_clip
from vqclip.world import load_world

ARCHITECTURE = VQGANArchitecture(
    ch=32,
    ch_mult=(1, 1, 2, 4),
    num_res_blocks=1,
    attn_levels=(),
    resolution=128,
    z_channels=64,
    embed_dim=8,
    n_embed=2048,
    norm_groups=8,
)
SIDE = 128
_DECAY = 0.99  # of the moving averages of the codes
_RESTART_EVERY, _RESTART_BELOW = 50, 0.05
_COMMIT = 0.25
_SPREAD = 1.0
# share of the training over which more and more pictures pass through the codes
_RAMP = 0.25
_PERCEPTUAL = 0.15
_TEXTURE = 1.0
# from this share of the training on the discriminator counts, by this share of the other losses' gradient; it learns at
# this share of their rate, else it tells all too soon, and its gradient holds nothing
_ADVERSARIAL_FROM, _ADVERSARIAL, _SLOWER = 0.2, 0.4, 0.3
# of a decoder that learns by itself, the most of a picture's codes that are replaced, each by one of as many neighbours
_MOST_REPLACED, _NEIGHBOURS = 0.2, 8
# pictures (B, 3, H, W) in [-1, 1] and the number of each one's style (B,), 0 for none
Batch: TypeAlias = tuple[Tensor, Tensor]
Pictures: TypeAlias = SceneSet | CompositionSet


def pictures(options: TrainOptions, seed: int, count: int, side: int, held_out: bool = False) -> Pictures:
    """Return rendered pictures of the world that is asked for, with their scenes."""
    if options.world == 2:
        held = HELD_OUT if held_out else TRAINED
        return CompositionSet(options.folder, seed, count, side, held).render(options.workers)
    return SceneSet(options.folder, seed, count, side).render(options.font, options.workers)


class Codebook(nn.Module):
    """Moving averages from which the codes (K, C) of unit norm follow."""

    count: Tensor
    total: Tensor

    def __init__(self, codes: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(codes))
        self.register_buffer("total", normalize(torch.randn(codes, channels), dim=1))

    @property
    def codes(self) -> Tensor:
        """The codes, (K, C), each of unit norm."""
        return normalize(self.total, dim=1)

    @torch.no_grad()
    def update(self, z: Tensor, indices: Tensor) -> None:
        """Move the averages towards the latents z (n, C) that chose each code."""
        count = torch.bincount(indices, minlength=len(self.count)).to(z.dtype)
        total = torch.zeros_like(self.total).index_add_(0, indices, z)
        self.count.lerp_(count, 1 - _DECAY)
        used = count > 0
        self.total[used] = self.total[used].lerp(total[used] / count[used, None], 1 - _DECAY)

    @torch.no_grad()
    def restart(self, z: Tensor, generator: torch.Generator) -> None:
        """Put codes that hardly anyone chooses onto random latents of the batch, z (n, C)."""
        dead = (self.count < _RESTART_BELOW).nonzero().flatten()
        chosen = torch.randint(len(z), (len(dead),), generator=generator)
        self.total[dead] = z[chosen]
        self.count[dead] = 1.0


class VQGANTask:
    """Training of the bundled VQGAN."""

    name = "vqgan"
    file_kind = "vqgan"
    lr = 1e-3

    def __init__(self, options: TrainOptions) -> None:
        if options.keep_codes and not options.start:
            raise UsageError("--keep-codes keeps those of a VQGAN: give it with --start")
        self.options = options
        self.device = options.torch_device()
        torch.manual_seed(options.seed)
        self.batch = options.batch or (64 if self.device.type == "cuda" else 8)
        network = TamingNetwork(ARCHITECTURE).to(self.device)
        network.to(memory_format=torch.channels_last)
        codebook = Codebook(ARCHITECTURE.n_embed, ARCHITECTURE.embed_dim).to(self.device)
        if options.start:
            start_from(options, self.name, ARCHITECTURE, network)
            codebook.total.copy_(network.quantize.embedding.weight.detach())
            codebook.count.fill_(1.0)
        self.styles = [None, *load_world().styles]
        discriminator = PatchDiscriminator(len(self.styles)).to(self.device)
        discriminator.to(memory_format=torch.channels_last)
        self.modules = nn.ModuleDict({"network": network, "codebook": codebook, "discriminator": discriminator})
        self.network, self.codebook, self.discriminator = network, codebook, discriminator
        self.perceptual = None
        if options.clip is not None:
            clip, _ = load_clip(options.clip)
            clip.network.visual.to(memory_format=torch.channels_last)
            self.perceptual = Perceptual(clip.to(self.device))
        kept = ("quantize.", "encoder.", "quant_conv.") if options.keep_codes else ("quantize.",)
        weights = [p for name, p in network.named_parameters() if not name.startswith(kept)]
        self.weights = weights
        groups: list[dict[str, Any]] = [
            {"params": weights},
            {"params": discriminator.parameters(), "betas": (0.5, 0.98), "share": _SLOWER},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=(0.9, 0.98), weight_decay=1e-4)
        self._encode = maybe_compile(self._encode_eager, options.compile)
        self._decode = maybe_compile(self._decode_eager, options.compile)
        self.scenes = pictures(options, options.seed, options.scenes, SIDE)
        self.large = pictures(options, options.seed + 1, max(options.scenes // 8, 1), 2 * SIDE)
        self.held_out = pictures(options, options.seed + 1000, min(options.scenes, 64), SIDE, held_out=True)

    @property
    def epoch(self) -> int:
        """Steps that show as many pictures as were rendered."""
        return -(-(self.scenes.count + self.large.count) // self.batch)

    def batch_of(self, index: int) -> Batch:
        """Return pictures and styles of step `index`, on the CPU: half whole scenes, half crops of larger ones.

        Crops of scenes of twice the side let the codes know both scales. All is drawn from (seed, index) alone.
        """
        rng = np.random.default_rng([self.options.seed, index])
        half = self.batch // 2
        pictures, styles = [], []
        for i in rng.integers(self.scenes.count, size=self.batch - half):
            pictures.append(self.scenes.images[i])
            styles.append(self.scenes.scenes[i].style)
        for i in rng.integers(self.large.count, size=half):
            top, left = rng.integers(SIDE + 1, size=2)
            pictures.append(self.large.images[i, top : top + SIDE, left : left + SIDE])
            styles.append(self.large.scenes[i].style)
        pictures = [
            p[:, ::-1] if mirror else p for p, mirror in zip(pictures, rng.random(self.batch) < 0.5, strict=True)
        ]
        x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        return x, torch.tensor([self.styles.index(style) for style in styles])

    def step(self, index: int, progress: float, batch: Batch) -> dict[str, float]:
        """One batch: encode, quantize, decode, compare; then the codebook, unless it is kept, follows its latents."""
        x, style = batch[0].to(self.device, memory_format=torch.channels_last), batch[1].to(self.device)
        with torch.set_grad_enabled(not self.options.keep_codes):
            passed, flat, indices = self._through_codes(x, index, progress)
        y = self._decode(passed).float()
        self.optimizer.zero_grad(set_to_none=True)
        gradient, shown = self._compare(y, x, style if progress >= _ADVERSARIAL_FROM else None, index)
        if self.options.keep_codes:
            y.backward(gradient)
        else:
            shown["commit"] = (flat - embedding(indices, self.codebook.codes)).square().sum(1).mean()
            shown["spread"] = isotropy(flat)
            penalty = _COMMIT * shown["commit"] + _SPREAD * shown["spread"]
            torch.autograd.backward([y, penalty], [gradient, None])
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        nn.utils.clip_grad_norm_(self.discriminator.parameters(), 1.0)
        self.optimizer.step()
        if not self.options.keep_codes:
            self.codebook.update(flat.detach(), indices)
            if index % _RESTART_EVERY == _RESTART_EVERY - 1:
                self.codebook.restart(flat.detach(), torch.Generator().manual_seed(index))
        return {name: float(value.detach()) for name, value in shown.items()}

    def _through_codes(self, x: Tensor, index: int, progress: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the decoder gets (B, C, h, w), the unit latents (n, C), and the codes that these choose (n,)."""
        z = self._encode(x)
        flat = normalize(z.float(), dim=1).permute(0, 2, 3, 1).reshape(-1, ARCHITECTURE.embed_dim)
        if index == 0 and not self.options.start:
            self.codebook.restart(flat.detach(), torch.Generator().manual_seed(self.options.seed))
        codes = self.codebook.codes
        indices = (flat.detach() @ codes.t()).argmax(1)
        if self.options.keep_codes:
            indices = self._near(indices, len(z), index)
        quantized = flat + (embedding(indices, codes) - flat).detach()
        # early on some pictures skip the codes: the networks learn colors first, which codes at random hide from them
        ramp = progress / _RAMP if not self.options.start else 1.0
        share = torch.rand(len(z), generator=torch.Generator().manual_seed(index)) < ramp
        passed = torch.where(share.to(x.device).repeat_interleave(len(flat) // len(z))[:, None], quantized, flat)
        shape = (z.shape[0], z.shape[2], z.shape[3], -1)
        return passed.view(shape).permute(0, 3, 1, 2), flat, indices

    def _compare(self, y: Tensor, x: Tensor, style: Tensor | None, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the gradient of all losses of reconstructions y, and the losses; the discriminator learns too.

        Without styles (B,) the discriminator is left out.
        """
        seen = y.detach().requires_grad_()
        shown = {"rec": multiscale_l1(seen, x), "texture": texture_distance(seen, x)}
        total = shown["rec"] + _TEXTURE * shown["texture"]
        if self.perceptual is not None:
            corner = np.random.default_rng([self.options.seed, index, 1]).integers(SIDE // 2 + 1, size=2).tolist()
            shown["clip"] = self.perceptual(seen, x, corner)
            total = total + _PERCEPTUAL * shown["clip"]
        (gradient,) = torch.autograd.grad(total, seen)
        if style is not None:
            with autocast(self.device):
                logits = self.discriminator(seen, style)
            (adversarial,) = torch.autograd.grad(-logits.mean(), seen)
            gradient = gradient + _ADVERSARIAL * gradient.norm() / adversarial.norm().clamp(min=1e-12) * adversarial
            with autocast(self.device):
                real, fake = self.discriminator(x, style), self.discriminator(seen.detach(), style)
            shown["gan"] = (relu(1 - real) + relu(1 + fake)).mean()
            shown["gan"].backward()
        return gradient, shown

    @torch.no_grad()
    def validate(self, folder: Path, index: int) -> dict[str, float]:
        """Reconstruct held-out scenes: PSNR in dB, share of codes in use; writes `validation.png`."""
        del index
        x = torch.from_numpy(np.array(self.held_out.images)).permute(0, 3, 1, 2).float().to(self.device) / 127.5 - 1
        flat = normalize(self._encode_eager(x).float(), dim=1)
        codes = self.codebook.codes
        indices = torch.einsum("bchw,kc->bhwk", flat, codes).argmax(-1)
        y = self._decode_eager(embedding(indices, codes).permute(0, 3, 1, 2)).float().clamp(-1, 1)
        psnr = float((10 * torch.log10(4 / (x - y).square().mean((1, 2, 3)))).mean())
        pairs = torch.stack([x, y], 1).flatten(0, 1)[:64]
        pictures = [images.to_pil(picture) for picture in (pairs.cpu() + 1) / 2]
        folder.mkdir(parents=True, exist_ok=True)
        images.contact_sheet(pictures, [""] * len(pictures), columns=8, cell=SIDE).save(folder / "validation.png")
        used = float((self.codebook.count > _RESTART_BELOW).float().mean())
        return {"psnr_db": round(psnr, 2), "codes_in_use": round(used, 3)}

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the weight file."""
        tensors = dict(self.network.state_dict())
        if not self.options.keep_codes:
            tensors["quantize.embedding.weight"] = self.codebook.codes
        files.save(path, "vqgan", ARCHITECTURE.to_json(), tensors, info)

    def _near(self, indices: Tensor, pictures: int, index: int) -> Tensor:
        """Return codes (n,) with a share of each picture's replaced by near ones, as priors and optimizers draw them.

        A decoder that meets only an encoder's codes shows every other choice as grain (Qiu et al. 2025, "RobusTok").
        """
        generator = torch.Generator().manual_seed(index)
        share = _MOST_REPLACED * torch.rand(pictures, generator=generator).repeat_interleave(len(indices) // pictures)
        chosen = (torch.rand(len(indices), generator=generator) < share).nonzero().flatten()
        codes = self.codebook.codes
        near = (codes[indices[chosen]] @ codes.t()).topk(_NEIGHBOURS).indices
        drawn = torch.randint(_NEIGHBOURS, (len(chosen), 1), generator=generator).to(near.device)
        return indices.index_put((chosen.to(indices.device),), near.gather(1, drawn).flatten())

    def _encode_eager(self, x: Tensor) -> Tensor:
        with autocast(self.device):
            out: Tensor = self.network.quant_conv(self.network.encoder(x))
            return out

    def _decode_eager(self, z_q: Tensor) -> Tensor:
        with autocast(self.device):
            out: Tensor = self.network.decoder(self.network.post_quant_conv(z_q))
            return out
