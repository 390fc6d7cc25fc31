"""What holds for every test: no network, few threads, torch's global settings as they were, no GPU without CUDA."""

from __future__ import annotations

import vqclip  # noqa: F401 - before torch: threads of tests wait as they do for users

# isort: split

import contextlib
import ctypes
import gc
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from support.checkpoints import lightning, record, theirs
from support.command_line import CommandLine
from support.runs import threads
from support.serving import Server, serving

from vqclip.cli.allocator import keep_freed_memory

# the same examples every time; --hypothesis-profile nightly looks at many more, others each time
hypothesis.settings.register_profile("usual", max_examples=100, deadline=None, derandomize=True)
hypothesis.settings.register_profile("nightly", max_examples=5000, deadline=None, derandomize=False, print_blob=True)
hypothesis.settings.load_profile("usual")

_LOCAL = ("localhost", "127.0.0.1", "::1", "", None)
_REAL = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex")}
_RESOLVE = socket.getaddrinfo


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add how often `tests/test_faults.py` kills a run."""
    parser.addoption("--kills", type=int, default=4, help="runs that are killed at random moments and resumed")


@pytest.fixture(scope="session")
def kills(request: pytest.FixtureRequest) -> int:
    """Return how many runs are to be killed."""
    return request.config.getoption("--kills")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need a GPU where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs CUDA"))


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    """Compute with two threads, or with one where several workers share the cores; keep memory as `vqclip` does."""
    keep_freed_memory()
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


@pytest.fixture(scope="module", autouse=True)
def _memory_given_back() -> Iterator[None]:
    """Give the memory that a file's tests have freed back to the system, as several workers share it."""
    yield
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell what tests have recorded to be told, such as how closely the golden pictures were compared."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if report.when == "call" and name == "told":
                terminalreporter.write_line(value)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every connection that leaves this machine fail the test, past any retry (it is no `Exception`)."""

    def refuse(address: Any) -> None:
        pytest.fail(f"a test tried to reach the network: {address}", pytrace=False)

    def guarded(name: str) -> Any:
        def connect(self: socket.socket, address: Any) -> Any:
            local = self.family == getattr(socket, "AF_UNIX", None) or address[0] in _LOCAL
            return _REAL[name](self, address) if local else refuse(address)

        return connect

    def resolve(host: Any, *rest: Any, **options: Any) -> Any:
        return _RESOLVE(host, *rest, **options) if host in _LOCAL else refuse(host)

    for name in _REAL:
        monkeypatch.setattr(socket.socket, name, guarded(name))
    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.fixture(autouse=True)
def _torch_settings() -> Iterator[None]:
    """Put back what a test, or the code under test, changed in torch as a whole."""
    before = _settings()
    yield
    if _settings() == before:  # the setters are slow: the first one imports the compiler
        return
    deterministic, warn_only, threads, dtype, grad, precision, cudnn = before
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    torch.set_grad_enabled(grad)
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn


def _settings() -> tuple[Any, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_float32_matmul_precision(),
        (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
    )


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small networks on one thread: faster beside other jobs."""
    with threads(1):
        yield


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line, run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return CommandLine(monkeypatch, capsys)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder that the test works in, on one thread."""
    monkeypatch.chdir(tmp_path)
    with threads(1):
        yield tmp_path


@pytest.fixture
def server() -> Iterator[Server]:
    """An HTTP server of our own."""
    with serving() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no environment that forbids to fill it."""
    monkeypatch.setenv("VQCLIP_HOME", str(tmp_path / "home"))
    for name in ("VQCLIP_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def served(server: Server, tmp_path: Path, home: Path) -> Server:
    """A server of a checkpoint that the user's own catalog knows as `mine`."""
    server.body = lightning(tmp_path / "served.ckpt", theirs("f16")).read_bytes()
    record(home, server)
    return server
