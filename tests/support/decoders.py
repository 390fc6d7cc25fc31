"""State dicts of public decoders in their own layouts, narrow and of random weights: names and shapes by rule."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor

Layout: TypeAlias = dict[str, tuple[int, ...]]
CH, MULT, BLOCKS, Z = 32, (1, 2, 2), 2, 8
WIDTHS = [CH * mult for mult in MULT]
CODES = 40


def weights(layout: Layout) -> dict[str, Tensor]:
    """Return random weights that keep activations of about unit size, each drawn by its name alone."""
    made = {}
    for name, shape in layout.items():
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
        if "norm" in name:
            made[name] = noise * 0.1 + name.endswith("weight")
        elif name.startswith("quantize"):
            made[name] = noise
        elif len(shape) > 1:
            made[name] = noise / torch.Size(shape[1:]).numel() ** 0.5
        else:
            made[name] = noise * 0.1
    return made


def llamagen() -> Layout:
    """LlamaGen: levels are `conv_blocks`, the decoder's from the coarsest; `res`, `attn` and a numbered middle."""
    layout: Layout = {}
    top = len(MULT) - 1
    for side, levels in (("encoder", list(range(top + 1))), ("decoder", list(range(top, -1, -1)))):
        down = side == "encoder"
        width = CH if down else WIDTHS[-1]
        layout |= _conv(f"{side}.conv_in", 3 if down else 16, width)
        for number, level in enumerate(levels):
            at = f"{side}.conv_blocks.{number}"
            for block in range(BLOCKS + (not down)):
                layout |= _taming_block(f"{at}.res.{block}", width, WIDTHS[level])
                width = WIDTHS[level]
                if level == top:
                    layout |= _attention(f"{at}.attn.{block}", width)
            if level != levels[-1]:
                layout |= _conv(f"{at}.{'down' if down else 'up'}sample.conv", width, width)
        layout |= _taming_block(f"{side}.mid.0", WIDTHS[-1], WIDTHS[-1]) | _attention(f"{side}.mid.1", WIDTHS[-1])
        layout |= _taming_block(f"{side}.mid.2", WIDTHS[-1], WIDTHS[-1])
        layout |= _norm(f"{side}.norm_out", width) | _conv(f"{side}.conv_out", width, 16 if down else 3)
    layout |= {"quantize.embedding.weight": (CODES, Z), "quantize.codebook_used": (65536,)}
    return layout | _conv("quant_conv", 16, Z, 1) | _conv("post_quant_conv", Z, 16, 1)


def maskgit() -> Layout:
    """MaskGIT's VQGAN as open-muse and TiTok have it: what goes past a block that widens comes from its end."""
    layout = _conv("encoder.conv_in", 3, CH, bias=False) | _conv("decoder.conv_in", Z, WIDTHS[-1])
    for name, before, after in _convolutional_blocks("mid"):
        layout |= _plain_block(name, before, after, after)
    for level in range(1, len(MULT)):
        layout |= _conv(f"decoder.up.{level}.upsample_conv", WIDTHS[level], WIDTHS[level])
    layout |= _norm("encoder.norm_out", WIDTHS[-1]) | _conv("encoder.conv_out", WIDTHS[-1], Z, 1)
    layout |= _norm("decoder.norm_out", CH) | _conv("decoder.conv_out", CH, 3)
    return layout | {"quantize.embedding.weight": (CODES, Z)}


def magvit2() -> Layout:
    """Open-MAGVIT2: strided convolutions down, four times the channels up, and scales and shifts by the codes."""
    layout = _conv("encoder.conv_in", 3, CH, bias=False) | _conv("decoder.conv_in", Z, WIDTHS[-1])
    for name, before, after in _convolutional_blocks("mid_block"):
        layout |= _plain_block(name, before, after, before)
    for level, width in enumerate(WIDTHS):
        if level:
            layout |= _conv(f"decoder.up.{level}.upsample.conv1", width, 4 * width)
        if level < len(MULT) - 1:
            layout |= _conv(f"encoder.down.{level}.downsample", width, width)
        above = WIDTHS[min(level + 1, len(MULT) - 1)]
        for part in ("gamma", "beta"):
            layout |= {f"decoder.adaptive.{level}.{part}.weight": (above, Z)}
            layout |= {f"decoder.adaptive.{level}.{part}.bias": (above,)}
    layout |= _norm("encoder.norm_out", WIDTHS[-1]) | _conv("encoder.conv_out", WIDTHS[-1], Z, 1)
    return layout | _norm("decoder.norm_out", CH) | _conv("decoder.conv_out", CH, 3)


def taesd(channels: int = 4) -> Layout:
    """TAESD as diffusers has it: `layers` are counted with those that have no weights."""
    encoder: list[str] = ["in", "block"] + ["down", "block", "block", "block"] * 3 + ["out"]
    decoder: list[str] = ["in", "relu"] + ["block", "block", "block", "nearest", "up"] * 3 + ["block", "out"]
    layout: Layout = {}
    for side, kinds, ends in (("encoder", encoder, (3, channels)), ("decoder", decoder, (channels, 3))):
        for number, kind in enumerate(kinds):
            name = f"{side}.layers.{number}"
            if kind == "block":
                for part in (0, 2, 4):
                    layout |= _conv(f"{name}.conv.{part}", 64, 64)
            elif kind in ("in", "out"):
                layout |= _conv(name, *((ends[0], 64) if kind == "in" else (64, ends[1])))
            elif kind in ("down", "up"):
                layout |= _conv(name, 64, 64, bias=False)
    return layout


def numbered(held: dict[str, Tensor], side: str) -> dict[str, Tensor]:
    """Return a half of a TAESD as its author's files have it: bare numbers, the decoder's from one."""
    first, prefix = (1 if side == "decoder" else 0), f"{side}.layers."
    parts = [name.removeprefix(prefix).partition(".") for name in held if name.startswith(prefix)]
    return {f"{int(n) + first}.{rest}": held[f"{prefix}{n}.{rest}"] for n, _, rest in parts}


def with_averages(held: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights that training left, beside the moving average `held` of them, as Lightning files have both."""
    raw = {name: value + 0.3 for name, value in held.items()}
    return raw | {f"model_ema.{name.replace('.', '')}": value for name, value in held.items()}


def _convolutional_blocks(middle: str) -> Iterator[tuple[str, int, int]]:
    """Yield name and widths of the blocks of a network without attention, as many a level on both sides."""
    for block in range(BLOCKS):
        for side in ("encoder", "decoder"):
            yield f"{side}.{middle}.{block}", WIDTHS[-1], WIDTHS[-1]
    for side, befores in (("encoder.down", [CH, *WIDTHS]), ("decoder.up", [*WIDTHS[1:], WIDTHS[-1]])):
        for level, (before, after) in enumerate(zip(befores, WIDTHS, strict=False)):
            for block, pair in enumerate(itertools.pairwise([before] + [after] * BLOCKS)):
                yield f"{side}.{level}.block.{block}", *pair


def _plain_block(name: str, before: int, after: int, past: int) -> Layout:
    layout = _norm(f"{name}.norm1", before) | _conv(f"{name}.conv1", before, after, bias=False)
    layout |= _norm(f"{name}.norm2", after) | _conv(f"{name}.conv2", after, after, bias=False)
    return layout | (_conv(f"{name}.nin_shortcut", past, after, 1, bias=False) if before != after else {})


def _taming_block(name: str, before: int, after: int) -> Layout:
    layout = _norm(f"{name}.norm1", before) | _conv(f"{name}.conv1", before, after)
    layout |= _norm(f"{name}.norm2", after) | _conv(f"{name}.conv2", after, after)
    return layout | (_conv(f"{name}.nin_shortcut", before, after, 1) if before != after else {})


def _attention(name: str, width: int) -> Layout:
    layout = _norm(f"{name}.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        layout |= _conv(f"{name}.{part}", width, width, 1)
    return layout


def _norm(name: str, width: int) -> Layout:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _conv(name: str, before: int, after: int, side: int = 3, bias: bool = True) -> Layout:
    return {f"{name}.weight": (after, before, side, side)} | ({f"{name}.bias": (after,)} if bias else {})
