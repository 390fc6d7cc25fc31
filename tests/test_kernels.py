"""Faster spellings of the networks' operations give what torch's and taming's own give, forward and back."""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest
import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vqclip.cli import allocator
from vqclip.models import attention, convolution, faster, normalization, vqgan

LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


def frozen_norm(channels: int, groups: int) -> nn.GroupNorm:
    norm = nn.GroupNorm(groups, channels, eps=1e-6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm.requires_grad_(False)


def there_and_back(function, x: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = function(leaf, *others)
    weights = torch.linspace(-1, 1, y.numel()).view(y.shape)
    (y.float() * weights).sum().backward()
    return y.detach().float(), leaf.grad.float()


def near(a: Tensor, b: Tensor, relative: float) -> bool:
    return float((a - b).norm() / b.norm()) < relative


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("shape", "groups"), [((1, 32, 16, 16), 8), ((2, 12, 5, 7), 4), ((3, 6, 4, 3), 6)])
@pytest.mark.parametrize("silu", [True, False])
def test_group_norm_equals_torchs(shape: tuple[int, ...], groups: int, layout: str, silu: bool) -> None:
    torch.manual_seed(0)
    norm, x = frozen_norm(shape[1], groups), torch.randn(shape) * 3 + 5
    x = x.to(memory_format=LAYOUTS[layout])
    own = vqgan._FASTER[nn.GroupNorm](groups, shape[1], eps=1e-6).requires_grad_(False)
    own.load_state_dict(norm.state_dict())

    ours = there_and_back(lambda t: normalization.norm_silu(own, t) if silu else own(t), x)
    theirs = there_and_back(lambda t: nn.functional.silu(norm(t)) if silu else norm(t), x)

    assert torch.allclose(ours[0], theirs[0], atol=1e-5)
    assert torch.allclose(ours[1], theirs[1], atol=1e-5 * float(theirs[1].abs().max()) + 1e-6)


def test_group_norm_in_bf16_is_as_near_as_bf16_is() -> None:
    torch.manual_seed(0)
    norm, x = frozen_norm(32, 8), (torch.randn(2, 32, 24, 24) + 1).to(torch.bfloat16)

    ours = there_and_back(lambda t: normalization.norm_silu(norm, t), x)
    exact = there_and_back(lambda t: nn.functional.silu(norm(t)), x.float())

    assert near(ours[0], exact[0], 0.01)
    assert near(ours[1], exact[1], 0.01)


def test_a_norm_that_learns_is_torchs_own() -> None:
    """Training needs the gradient of scale and shift, which the lean way back leaves out."""
    norm = normalization.GroupNorm(4, 8)
    x = torch.randn(1, 8, 4, 4, requires_grad=True)

    normalization.norm_silu(norm, x).square().sum().backward()

    assert norm.weight.grad is not None and norm.bias.grad is not None
    assert not normalization.leaner(norm, x)
    assert normalization.leaner(norm.requires_grad_(False), x)


def wide_convolution(inside: int = 128, outside: int = 160, bias: bool = True, **others: int) -> nn.Conv2d:
    options = {"kernel_size": 3, "padding": 1} | others
    torch.manual_seed(0)
    return convolution.Conv2d(inside, outside, bias=bias, **options).requires_grad_(False)


needs_nnpack = pytest.mark.skipif(
    not convolution.filterable(wide_convolution(), torch.zeros(1, 128, 64, 64)), reason="no minimal filtering here"
)


@needs_nnpack
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_minimal_filtering_equals_the_convolution(count: int, bias: bool, layout: str) -> None:
    """Of pictures whose sides no tile divides."""
    conv = wide_convolution(bias=bias)
    x = torch.randn(count, 128, 65, 71).to(memory_format=LAYOUTS[layout])
    assert convolution.filterable(conv, x)

    ours = there_and_back(conv, x)
    exact = there_and_back(conv.double(), x.double())

    for a, b in zip(ours, exact, strict=True):
        assert near(a, b, 1e-5)


@needs_nnpack
def test_minimal_filtering_gives_the_same_bits_again_and_alone() -> None:
    conv, x = wide_convolution(), torch.randn(3, 128, 64, 64)

    together = conv(x)

    assert torch.equal(together, conv(x))
    assert torch.equal(together[1:2], conv(x[1:2]))


@needs_nnpack
@pytest.mark.parametrize("changed", ["few channels", "few pixels", "stride", "kernel", "learns", "bf16", "autocast"])
def test_other_convolutions_are_torchs_own(changed: str) -> None:
    """Where it is slower, unknown to it, or in need of more gradients."""
    options = {"few channels": {"inside": 64}, "stride": {"stride": 2}, "kernel": {"kernel_size": 1, "padding": 0}}
    conv = wide_convolution(**options.get(changed, {}))
    x = torch.randn(1, conv.in_channels, 64, 63 if changed == "few pixels" else 64)
    if changed == "learns":
        conv.requires_grad_(True)
    if changed == "bf16":
        conv, x = conv.to(torch.bfloat16), x.to(torch.bfloat16)

    with torch.autocast("cpu", torch.bfloat16, enabled=changed == "autocast"):
        assert not convolution.filterable(conv, x)
        assert torch.equal(conv(x), nn.functional.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding))


@pytest.mark.parametrize("most", [attention._WRITTEN_OUT, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_equals_torchs(dtype: torch.dtype, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_WRITTEN_OUT", most)
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, length, 16) for length in (7, 9, 9))
    mask = torch.randn(7, 9)

    def ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention.attend(q.to(dtype), k.to(dtype), v.to(dtype), mask.to(dtype))

    def theirs(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, v, mask)

    found, wanted = there_and_back(ours, q, k, v), there_and_back(theirs, q, k, v)

    for a, b in zip(found, wanted, strict=True):
        assert near(a, b, 1e-5 if dtype == torch.float32 else 0.02)


@pytest.mark.parametrize("masked", [True, False])
def test_multi_head_attention_equals_torchs(masked: bool) -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(24, 3, batch_first=True).requires_grad_(False)
    nn.init.normal_(theirs.in_proj_bias)
    ours = nn.MultiheadAttention(24, 3, batch_first=True).requires_grad_(False)
    ours.load_state_dict(theirs.state_dict())
    ours.__class__ = faster.Attention
    mask = torch.full((6, 6), -torch.inf).triu(1) if masked else None

    rows = torch.randn(2, 6, 24)
    found, wanted = (
        there_and_back(lambda x, net=net: net(x, x, x, need_weights=False, attn_mask=mask)[0], rows)
        for net in (ours, theirs)
    )

    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_attention_to_something_else_is_torchs_own() -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    query, other = torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    wanted = theirs(query, other, other)[0]

    theirs.__class__ = faster.Attention

    assert torch.equal(theirs(query, other, other)[0], wanted)


def test_quick_gelu_equals_open_clips() -> None:
    theirs, ours = QuickGELU(), faster.QuickGELU()
    x = torch.linspace(-8, 8, 101)

    for a, b in zip(there_and_back(ours, x), there_and_back(theirs, x), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(300, 24), (2, 150, 24), (3, 24)])
def test_products_by_a_convolution_equal_torchs(shape: tuple[int, ...], bias: bool) -> None:
    weight, shift = torch.randn(40, 24), torch.randn(40) if bias else None
    x = torch.randn(*shape)
    pairs = there_and_back(convolution.linear, x, weight, shift), there_and_back(nn.functional.linear, x, weight, shift)
    for a, b in zip(*pairs, strict=True):
        assert a.shape == b.shape and near(a, b, 1e-6)


def test_few_rows_learned_weights_and_other_precisions_go_through_torchs_product() -> None:
    weight = torch.randn(40, 24)

    def called(function) -> bool:
        with FlopCounterMode(display=False) as counter:
            function()
        return torch.ops.aten.convolution in counter.get_flop_counts()["Global"]

    x = torch.randn(300, 24)
    assert called(lambda: convolution.linear(x, weight, None)) == convolution._MEASURED
    assert not called(lambda: convolution.linear(x[:200], weight, None))
    assert not called(lambda: convolution.linear(x, weight.clone().requires_grad_(), None))
    assert not called(lambda: convolution.linear(x.bfloat16(), weight.bfloat16(), None))
    with torch.autocast("cpu", torch.bfloat16):
        assert not called(lambda: convolution.linear(x, weight, None))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_patches_by_a_product_equal_the_convolution(dtype: torch.dtype, bias: bool) -> None:
    theirs = torch.nn.Conv2d(3, 12, 4, 4, bias=bias).requires_grad_(False).to(dtype)
    ours = copy.deepcopy(theirs)
    assert convolution.patchwise(ours)
    ours.__class__ = convolution.PatchConv2d
    x = torch.rand(2, 3, 18, 13).to(dtype)  # what fills no patch is left out by both
    for a, b in zip(there_and_back(ours, x), there_and_back(theirs, x), strict=True):
        assert a.shape == b.shape and torch.allclose(
            a.float(), b.float(), atol=1e-5 if dtype == torch.float32 else 2e-2
        )


def test_other_convolutions_are_no_patches() -> None:
    for options in (
        {"stride": 1},
        {"stride": 2, "padding": 1},
        {"stride": 2, "dilation": 2},
        {"stride": 2, "groups": 2},
    ):
        assert not convolution.patchwise(torch.nn.Conv2d(4, 4, 2, **options))
    assert not convolution.patchwise(torch.nn.Conv2d(4, 4, 1))


def test_the_program_keeps_what_it_freed() -> None:
    """In a process of its own, since it holds for all of it."""
    code = "from vqclip.cli import allocator; print(allocator.keep_freed_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    glibc = sys.platform.startswith("linux") and "CS_GNU_LIBC_VERSION" in os.confstr_names
    assert done.stdout.strip() == str(glibc)


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert not allocator.keep_freed_memory()
    monkeypatch.setattr(allocator.sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert not allocator.keep_freed_memory()
