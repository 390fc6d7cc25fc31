"""The step of the published VQGAN+CLIP loop, a yardstick for `step.py` and `quality_per_second.py`.

Written from the constants of the loops that the field copied, with nothing of vqclip in it but what it is handed:
weights, embeddings of prompts. "pooling" is nerdyrodent's VQGAN-CLIP (whole pictures, pooled, heavily warped; Adam
0.1; 32 views), "crops" Crowson's notebook (square crops of many sizes, mild warps; Adam 0.05; 64 views).
"""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import kornia.augmentation as K
import open_clip
import torch
from taming.modules.diffusionmodules.model import Decoder
from torch import Tensor, nn

from vqclip.models.small_clip import SmallCLIP, small

if TYPE_CHECKING:
    from vqclip.generation.models import Models

_RATES = {"pooling": 0.1, "crops": 0.05}


class ClampWithGradient(torch.autograd.Function):
    """Clamp to [0, 1]; the gradient passes where descending it leads back inside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * (grad * (x - x.clamp(0, 1)) >= 0)


class ReplaceGradient(torch.autograd.Function):
    """The value of one tensor, the gradient to another."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, receiver: Tensor) -> Tensor:
        ctx.shape = receiver.shape
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, grad.sum_to_size(ctx.shape)


class Reference(nn.Module):
    """One picture that the published loop draws; `step` does one step in fp32."""

    def __init__(
        self, models: Models, size: int, views: int, device: str = "cpu", school: str = "pooling", seed: int = 0,
        prompt: str = "a cat",
    ) -> None:  # fmt: skip
        super().__init__()
        vqgan, clip = models.vqgan, models.clips[0]
        a = vqgan.architecture
        with contextlib.redirect_stdout(io.StringIO()):  # taming's Decoder prints its latent shape
            self.decoder = Decoder(
                ch=a.ch, out_ch=3, ch_mult=a.ch_mult, num_res_blocks=a.num_res_blocks, in_channels=3,
                attn_resolutions=[a.factor // 2**level for level in a.attn_levels], resolution=a.factor,
                z_channels=a.z_channels, double_z=False,
            )  # fmt: skip
        for module in self.decoder.modules():
            if isinstance(module, nn.GroupNorm):
                module.num_groups = a.norm_groups
        self.decoder.load_state_dict(vqgan.network.decoder.state_dict())
        self.post_quant_conv = nn.Conv2d(a.embed_dim, a.z_channels, 1)
        self.post_quant_conv.load_state_dict(vqgan.network.post_quant_conv.state_dict())
        self.codebook = vqgan.codebook.detach().float().clone()
        model = dict(clip.architecture.model)
        kind = open_clip.CustomTextCLIP if model.pop("custom_text", False) else open_clip.CLIP
        self.clip = (SmallCLIP if small(model) else kind)(**model)  # the bundled tower is none of open_clip's
        self.clip.load_state_dict(clip.network.state_dict())
        self.mean, self.std, self.side = clip.mean.clone(), clip.std.clone(), clip.image_size
        with torch.no_grad():
            self.prompt = clip.encode_text([prompt]).float()
        self.views, self.school, self.size = views, school, size
        self.augment = augmentations(school)
        for name in ("codebook", "mean", "std", "prompt"):
            setattr(self, name, getattr(self, name).to(device))
        self.to(device).eval().requires_grad_(False)
        torch.manual_seed(seed)
        grid = torch.randint(len(self.codebook), (1, *[size // vqgan.factor] * 2), device=device)
        self.z = self.codebook[grid].permute(0, 3, 1, 2).contiguous().requires_grad_()
        self.low, self.high = (getattr(self.codebook, end)(dim=0).values[None, :, None, None] for end in ("min", "max"))
        self.optimizer = torch.optim.Adam([self.z], lr=_RATES[school])

    def step(self) -> Tensor:
        """Do one step; returns the picture (1, 3, H, W) it began with."""
        self.optimizer.zero_grad(set_to_none=True)
        image = self.picture()
        self.loss_of(self.cut(image), self.prompt).backward()
        self.optimizer.step()
        with torch.no_grad():
            self.z.copy_(self.z.maximum(self.low).minimum(self.high))
        return image.detach()

    def picture(self) -> Tensor:
        """Return the picture of the nearest codes, each found and fetched through a product with the whole codebook."""
        x = self.z.movedim(1, 3)
        distances = x.square().sum(-1, keepdim=True) + self.codebook.square().sum(1) - 2 * x @ self.codebook.t()
        one_hot = nn.functional.one_hot(distances.argmin(-1), len(self.codebook)).to(x.dtype)
        z_q = ReplaceGradient.apply(one_hot @ self.codebook, x).movedim(3, 1)
        return ClampWithGradient.apply((self.decoder(self.post_quant_conv(z_q)) + 1) / 2)

    def cut(self, image: Tensor) -> Tensor:
        """Return the views (N, 3, S, S) of a picture."""
        return pooled(image, self) if self.school == "pooling" else cropped(image, self)

    def loss_of(self, cuts: Tensor, prompts: Tensor) -> Tensor:
        """Return the mean squared great-circle distance of views to prompts (P, D), by open_clip's own forward pass."""
        features = self.clip.encode_image((cuts - self.mean) / self.std)
        seen = nn.functional.normalize(features, dim=-1)[:, None]
        return (seen - prompts[None]).norm(dim=2).div(2).arcsin().square().mul(2).mean()


def augmentations(school: str) -> nn.Module:
    """Return kornia's augmentations of a school."""
    if school == "pooling":
        return nn.Sequential(
            K.RandomAffine(degrees=15, translate=(0.1, 0.1), shear=5, p=0.7, padding_mode="zeros"),
            K.RandomPerspective(0.7, p=0.7),
            K.ColorJitter(0.1, 0.1, 0.1, 0.1, p=0.7),
            K.RandomErasing((0.1, 0.4), (0.3, 1 / 0.3), same_on_batch=True, p=0.7),
        )
    return nn.Sequential(
        K.RandomHorizontalFlip(p=0.5),
        K.RandomAffine(degrees=30, translate=(0.1, 0.1), p=0.8, padding_mode="border"),
        K.RandomPerspective(0.2, p=0.4),
        K.ColorJitter(hue=0.01, saturation=0.01, p=0.7),
    )


def pooled(image: Tensor, loop: Reference) -> Tensor:
    """The whole picture, pooled anew for every view, warped, with noise."""
    sides = (loop.side, loop.side)
    cuts = [
        (nn.functional.adaptive_avg_pool2d(image, sides) + nn.functional.adaptive_max_pool2d(image, sides)) / 2
        for _ in range(loop.views)
    ]
    return with_noise(loop.augment(torch.cat(cuts)))


def cropped(image: Tensor, loop: Reference) -> Tensor:
    """Square crops from the smallest that CLIP sees whole to the picture's side, scaled, warped, with noise."""
    side = min(image.shape[-2:])
    cuts = []
    for _ in range(loop.views):
        size = int(torch.rand(()) * (side - min(side, loop.side)) + min(side, loop.side))
        top, left = (int(torch.randint(length - size + 1, ())) for length in image.shape[-2:])
        crop = image[:, :, top : top + size, left : left + size]
        cuts.append(nn.functional.interpolate(crop, (loop.side, loop.side), mode="bicubic", antialias=True))
    return with_noise(loop.augment(torch.cat(cuts))).clamp(0, 1)


def with_noise(cuts: Tensor) -> Tensor:
    """Add to each view normal noise of a strength of up to 0.1."""
    strength = torch.empty(len(cuts), 1, 1, 1, device=cuts.device).uniform_(0, 0.1)
    return cuts + strength * torch.randn_like(cuts)
