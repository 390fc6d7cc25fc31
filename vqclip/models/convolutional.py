"""Decoders of convolutions alone: MaskGIT's VQGAN (Chang et al. 2022) and Open-MAGVIT2 (Luo et al. 2024).

Both are taming's graph without attention, with as many blocks a level on the way up as on the way down, and a middle of
as many. The parameters have the names of the public checkpoints; those of MaskGIT's are of its port to torch, which
open-muse and TiTok publish.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pixel_shuffle

from vqclip.architecture import VQGANArchitecture
from vqclip.models.convolution import Conv2d
from vqclip.models.normalization import GroupNorm, norm_silu
from vqclip.models.quantizers import all_signs

_EPSILON = 1e-6  # of all norms


class MaskGITNetwork(nn.Module):
    """MaskGIT's VQGAN: averages on the way down, nearest pixels and a convolution on the way up."""

    def __init__(self, architecture: VQGANArchitecture) -> None:
        super().__init__()
        a = architecture
        self.decoder = MaskGITDecoder(a)
        self.post_quant_conv = nn.Identity()
        if a.encoder:
            self.encoder = MaskGITEncoder(a)
            self.quant_conv = nn.Identity()
        self.quantize = nn.Module()
        self.quantize.embedding = nn.Embedding(a.n_embed, a.embed_dim)


class MAGVIT2Network(nn.Module):
    """Open-MAGVIT2: strided convolutions on the way down, pixels from channels on the way up, codes of signs.

    Each level of the decoder is scaled and shifted by the spread and mean of the codes.
    """

    def __init__(self, architecture: VQGANArchitecture) -> None:
        super().__init__()
        a = architecture
        self.decoder = MAGVIT2Decoder(a)
        self.post_quant_conv = nn.Identity()
        if a.encoder:
            self.encoder = MAGVIT2Encoder(a)
            self.quant_conv = nn.Identity()
        # the codes follow from their places, and stand in no file
        self.register_buffer("signs", all_signs(a.embed_dim), persistent=False)


class _Block(nn.Module):
    """Two normed and activated convolutions; what goes past them is as wide as they leave it.

    MaskGIT's port takes what goes past from their end, not from their beginning, wherever the width changes: a slip
    that its published weights were converted for.
    """

    def __init__(self, a: VQGANArchitecture, before: int, after: int) -> None:
        super().__init__()
        self.from_end = a.family == "maskgit"
        self.norm1, self.norm2 = _norm(a, before), _norm(a, after)
        self.conv1 = _conv(before, after, bias=False)
        self.conv2 = _conv(after, after, bias=False)
        if before != after:
            self.nin_shortcut = _conv(after if self.from_end else before, after, 1, bias=False)
        self.widens = before != after

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, h, w) at its new width, plus its two activated convolutions."""
        h = self.conv2(norm_silu(self.norm2, self.conv1(norm_silu(self.norm1, x))))
        if self.widens:
            x = self.nin_shortcut(h if self.from_end else x)
        out: Tensor = x + h
        return out


class _Level(nn.Module):
    """The blocks of a level; what leads to the next one is added to it."""

    def __init__(self, a: VQGANArchitecture, before: int, after: int) -> None:
        super().__init__()
        self.block = _blocks(a, before, after)

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, h, w) after the blocks."""
        return _through(self.block, x)


class MaskGITEncoder(nn.Module):
    """Pictures (B, 3, f h, f w) in [0, 1] to latents (B, C, h, w)."""

    def __init__(self, a: VQGANArchitecture) -> None:
        super().__init__()
        widths = _widths(a)
        self.conv_in = _conv(3, a.ch, bias=False)
        self.down = nn.ModuleList(
            _Level(a, before, after) for before, after in itertools.pairwise([a.ch, *widths])
        )  # fmt: skip
        self.mid = _blocks(a, widths[-1], widths[-1])
        self.norm_out = _norm(a, widths[-1])
        self.conv_out = _conv(widths[-1], a.z_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the latents of pictures."""
        h = self.conv_in(x)
        for number, level in enumerate(self.down):
            h = level(h)
            if number < len(self.down) - 1:
                h = avg_pool2d(h, 2)
        out: Tensor = self.conv_out(norm_silu(self.norm_out, _through(self.mid, h)))
        return out


class MaskGITDecoder(nn.Module):
    """Codes (B, C, h, w) to pictures (B, 3, f h, f w) in about [0, 1]."""

    def __init__(self, a: VQGANArchitecture) -> None:
        super().__init__()
        widths = _widths(a)
        self.conv_in = _conv(a.z_channels, widths[-1])
        self.mid = _blocks(a, widths[-1], widths[-1])
        self.up = _ascent(a)
        for number, level in enumerate(self.up):
            if number:
                level.upsample_conv = _conv(widths[number], widths[number])
        self.norm_out = _norm(a, widths[0])
        self.conv_out = _conv(widths[0], 3)

    def forward(self, z: Tensor) -> Tensor:
        """Return the pictures of codes."""
        h = _through(self.mid, self.conv_in(z))
        for number, level in reversed(list(enumerate(self.up))):
            h = level(h)
            if number:
                h = level.get_submodule("upsample_conv")(interpolate(h, scale_factor=2.0, mode="nearest"))
        out: Tensor = self.conv_out(norm_silu(self.norm_out, h))
        return out


class MAGVIT2Encoder(nn.Module):
    """Pictures (B, 3, f h, f w) in [-1, 1] to latents (B, C, h, w), whose signs are the codes."""

    def __init__(self, a: VQGANArchitecture) -> None:
        super().__init__()
        widths = _widths(a)
        self.conv_in = _conv(3, a.ch, bias=False)
        self.down = nn.ModuleList(_Level(a, before, after) for before, after in itertools.pairwise([a.ch, *widths]))
        for level, width in zip(self.down[:-1], widths, strict=False):
            level.downsample = Conv2d(width, width, 3, stride=2, padding=1)
        self.mid_block = _blocks(a, widths[-1], widths[-1])
        self.norm_out = _norm(a, widths[-1])
        self.conv_out = _conv(widths[-1], a.z_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the latents of pictures."""
        h = self.conv_in(x)
        for number, level in enumerate(self.down):
            h = level(h)
            if number < len(self.down) - 1:
                h = level.get_submodule("downsample")(h)
        out: Tensor = self.conv_out(norm_silu(self.norm_out, _through(self.mid_block, h)))
        return out


class MAGVIT2Decoder(nn.Module):
    """Codes (B, C, h, w) of -1 and 1 to pictures (B, 3, f h, f w) in about [-1, 1]."""

    def __init__(self, a: VQGANArchitecture) -> None:
        super().__init__()
        widths = _widths(a)
        self.conv_in = _conv(a.z_channels, widths[-1])
        self.mid_block = _blocks(a, widths[-1], widths[-1])
        self.up = _ascent(a)
        for number, level in enumerate(self.up):
            if number:
                level.upsample = _Shuffle(widths[number])
        self.adaptive = nn.ModuleList(_Adaptive(a, width) for width in [*widths[1:], widths[-1]])
        self.norm_out = _norm(a, widths[0])
        self.conv_out = _conv(widths[0], 3)

    def forward(self, z: Tensor) -> Tensor:
        """Return the pictures of codes."""
        h = _through(self.mid_block, self.conv_in(z))
        for number, level in reversed(list(enumerate(self.up))):
            h = level(self.adaptive[number](h, z))
            if number:
                h = level.get_submodule("upsample")(h)
        out: Tensor = self.conv_out(norm_silu(self.norm_out, h))
        return out


class _Shuffle(nn.Module):
    """A convolution to four times the channels, which become the four pixels of each one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _conv(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, h, w) with sides twice as long."""
        h = self.conv1(x)
        # its channels are ordered by pixel first, torch's shuffle wants them by channel first
        count, wide, height, width = h.shape
        ordered = h.view(count, 4, wide // 4, height, width).transpose(1, 2).reshape(count, wide, height, width)
        return pixel_shuffle(ordered, 2)


class _Adaptive(nn.Module):
    """A norm whose scale and shift follow from the deviation and the mean of the codes over the picture."""

    def __init__(self, a: VQGANArchitecture, width: int) -> None:
        super().__init__()
        self.gn = nn.GroupNorm(a.norm_groups, width, _EPSILON, affine=False)
        self.gamma, self.beta = nn.Linear(a.z_channels, width), nn.Linear(a.z_channels, width)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        """Return x (B, C, h, w) normed by groups, scaled and shifted."""
        cells = codes.flatten(2).float()
        deviation = (cells.var(-1, correction=min(1, cells.shape[-1] - 1)) + _EPSILON).sqrt()
        scale, shift = self.gamma(deviation), self.beta(cells.mean(-1))
        out: Tensor = scale[..., None, None] * self.gn(x) + shift[..., None, None]
        return out


def _widths(a: VQGANArchitecture) -> list[int]:
    return [a.ch * mult for mult in a.ch_mult]


def _ascent(a: VQGANArchitecture) -> nn.ModuleList:
    """Return the levels of a decoder, the finest first."""
    widths = _widths(a)
    return nn.ModuleList(_Level(a, before, after) for after, before in itertools.pairwise([*widths, widths[-1]]))


def _blocks(a: VQGANArchitecture, before: int, after: int) -> nn.ModuleList:
    widths = [before] + [after] * a.num_res_blocks
    return nn.ModuleList(_Block(a, *pair) for pair in itertools.pairwise(widths))


def _through(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x


def _norm(a: VQGANArchitecture, width: int) -> GroupNorm:
    if width % a.norm_groups:
        raise ValueError(f"{width} channels do not fall into {a.norm_groups} groups")
    return GroupNorm(a.norm_groups, width, _EPSILON)


def _conv(before: int, after: int, side: int = 3, bias: bool = True) -> Conv2d:
    return Conv2d(before, after, side, padding=side // 2, bias=bias)
