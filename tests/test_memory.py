"""Memory before a run: what is estimated, how many views it leaves at a time, and what a refusal advises."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from support.command_line import CommandLine
from support.runs import models, prepared, small

from vqclip import config as configs
from vqclip.generation import resolve
from vqclip.models import openclip
from vqclip.types import VQGANArchitecture
from vqclip.weights import memory
from vqclip.writers import metadata

F16 = VQGANArchitecture(n_embed=16384)
GIB = 2**30


def kinds() -> list:
    return [clip.architecture for clip in models().clips]


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
@pytest.mark.parametrize(("addresses", "data", "pages", "left"), [
    (-1, -1, "900000 100000", []),
    # libraries have 3.05 GiB of addresses that they do not fill, 3.25 in quarters
    (4 * GIB, -1, "900000 100000", [4 * GIB - 13 * 2**28]),
    (GIB, -1, "900000 100000", [0]),
    (-1, 3 * GIB, "900000 100000", [3 * GIB]),
    (4 * GIB, 2 * GIB, "", [4 * GIB, 2 * GIB]),
])  # fmt: skip
def test_the_limits_of_a_shell_count(
    addresses: int, data: int, pages: str, left: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    limits = {resource.RLIMIT_AS: addresses, resource.RLIMIT_DATA: data}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits[kind], -1))
    monkeypatch.setattr(resource, "getpagesize", lambda: 4096)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/statm").write_text(pages)
    assert memory._shell_limits(tmp_path) == left


def test_the_estimate_is_that_of_measured_runs() -> None:
    """Peaks in MiB that `benchmarks/memory.py` measured, and the weights that were in them."""
    base = openclip.pretrained("ViT-B-32", "laion2b_s34b_b79k").architecture
    measured = (256, "fp32", 864, 3424), (512, "fp32", 864, 4865), (256, "bf16", 616, 2323), (512, "bf16", 616, 3561)
    for side, precision, held, peak in measured:
        found = memory.run_bytes(F16, (side, side), 1, 32, [base], held << 20, precision) / 2**20
        assert 1 <= found / peak <= 1.25


def test_more_of_anything_needs_more() -> None:
    def of(side: int = 256, batch: int = 1, chunk: int = 16, precision: str = "fp32") -> int:
        return memory.run_bytes(F16, (side, side), batch, chunk, kinds(), 0, precision)

    assert of() < of(side=272) and of() < of(batch=2) and of() < of(chunk=17) and of(precision="bf16") < of()


def test_views_go_in_parts_where_memory_is_short_and_the_picture_says_so(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "machine_bytes", lambda: 64 * GIB)
    assert models().resolve(small(views={"count": 32})).views.chunk == 32
    need = memory.run_bytes(models().vqgan.architecture, (64, 64), 1, 5, kinds(), weights())
    monkeypatch.setattr(memory, "machine_bytes", lambda: need)
    chunk = models().resolve(small(views={"count": 32})).views.chunk
    assert 1 <= chunk <= 5
    assert cli.draw("cat", "--views", "32", "-o", tmp_path / "a.png", "--steps", "1").code == 0
    assert metadata.read(tmp_path / "a.png")["record"]["config"]["views"]["chunk"] == chunk


def weights() -> int:
    networks = [models().vqgan, *models().clips]
    return sum(p.numel() * p.element_size() for network in networks for p in network.parameters())


@pytest.mark.parametrize(
    ("flags", "memory_of"),
    [
        (("--size", "1024", "--set", "views.chunk=64", "--views", "64"), (1024, 1)),
        (("--size", "1024", "--count", "8", "--batch-size", "8"), (1024, 1)),
        (("--size", "2048", "--count", "8", "--batch-size", "8"), (1024, 1)),
        (("--size", "2048"), (1200, 1)),
    ],
)
def test_the_flags_that_a_refusal_advises_fit(
    flags: tuple[str, ...], memory_of: tuple[int, int], cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    side, batch = memory_of
    total = memory.run_bytes(models().vqgan.architecture, (side, side), batch, 1, kinds(), weights()) + (1 << 20)
    monkeypatch.setattr(memory, "machine_bytes", lambda: total)
    told = cli.draw("cat", "--steps", "0", *flags)
    assert told.code == 6 and len(told.complaints) == 1
    advised = re.search(r": ((?:--\S+ \S+ )+)would fit", told.complaints[0])[1].split()
    again = configs.build(None, (), [a for a, b in zip(advised[1:], advised, strict=False) if b == "--set"])
    for name, value in zip(advised[::2], advised[1::2], strict=True):
        if name == "--size":
            again.size = [int(side) for side in value.split("x")]
        if name == "--batch-size":
            again.batch_size = int(value)
    if "--size" not in advised:
        again.size = [int(flags[1])] * 2
    again.models, again.run.precision, again.run.device = small().models, "fp32", "cpu"
    assert models().resolve(again).views.chunk == 1
    if "--size" not in advised and "--batch-size" not in advised:
        assert "--batch-size" not in flags


def test_nothing_that_fits_is_said(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_bytes", lambda: 1 << 20)
    told = cli.draw("cat")
    assert told.code == 6 and "--preset tiny" in told.complaints[0]


@pytest.mark.parametrize(
    ("lines", "limits", "least"),
    [
        ("0::/", {"sys/fs/cgroup/memory.max": "2000"}, 2000),
        ("0::/a/b", {"sys/fs/cgroup/a/memory.max": "3000", "sys/fs/cgroup/a/b/memory.max": "max"}, 3000),
        ("0::/a/b", {"sys/fs/cgroup/a/b/memory.max": "1000", "sys/fs/cgroup/memory.max": "5000"}, 1000),
        ("0::/not/visible", {"sys/fs/cgroup/memory.max": "4000"}, 4000),
        ("4:memory:/x\n1:cpu:/y", {"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "6000"}, 6000),
        ("", {}, None),
    ],
)
def test_the_limits_of_all_groups_around_a_process_count(
    lines: str, limits: dict[str, str], least: int | None, tmp_path: Path
) -> None:
    for name, text in {"proc/self/cgroup": lines, **limits}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory.machine_bytes(tmp_path) == (least or memory._physical_bytes())


def test_the_decoder_goes_backward_once_however_many_parts_the_views_have() -> None:
    calls = []
    run = prepared(small(views={"count": 6, "chunk": 1})).run((7,))
    handle = models().vqgan.network.decoder.register_full_backward_hook(lambda *args: calls.append(1))
    run.step()
    handle.remove()
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("device", "flags", "bf16", "found"),
    [("cpu", "avx512_bf16", True, "bf16"), ("cpu", "avx2", True, "fp32"), ("cuda", "", True, "bf16"),
     ("cuda", "", False, "fp32"), ("mps", "", True, "fp32")],
)  # fmt: skip
def test_the_precision_of_each_device(
    device: str, flags: str, bf16: bool, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "_cpu_flags", lambda: flags)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: bf16)
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: True)
    assert resolve.precision("auto", device) == found
