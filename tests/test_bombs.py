"""Small files that would unfold to gigabytes: each is refused in one line, before it is read."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqclip import images
from vqclip.errors import ResumeError, UsageError, VqclipError
from vqclip.session import savepoint
from vqclip.weights import containers, load
from vqclip.weights.foreign import read_vqgan
from vqclip.writers import metadata

ZEROS = 1 << 28


def refused(path: Path, read: Callable[[Path], object] = read_vqgan) -> str:
    """Return the refusal of a file, in one line, within seconds of processor time."""
    begin = time.process_time()
    with pytest.raises(VqclipError) as caught:
        read(path)
    assert time.process_time() - begin < 10
    assert "\n" not in str(caught.value) and str(path.name) in str(caught.value)
    return str(caught.value)


def checkpoint(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def repacked(path: Path, data: bytes, method: int = zipfile.ZIP_STORED, **records: bytes) -> Path:
    """Write a checkpoint again as another zip, with some records replaced by name or added."""
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(path, "w", method) as target:
        for name in source.namelist():
            plain = name.rpartition("/")[2].replace(".", "_")
            target.writestr(name, records.pop(plain, None) or source.read(name))
        for name, value in records.items():
            target.writestr(name, value)
    return path


GOOD = {"state_dict": {"quantize.embedding.weight": torch.zeros(4, 2)}}


def test_a_deflated_pickle_of_a_checkpoint(tmp_path: Path) -> None:
    """4 MB that took 8.7 GB and two minutes: a pickle of empty lists, packed to a thousandth."""
    bomb = b"\x80\x02" + b"]" * (1 << 28) + b"."
    path = repacked(tmp_path / "a.ckpt", checkpoint(GOOD), zipfile.ZIP_DEFLATED, data_pkl=bomb)
    assert path.stat().st_size < 1 << 20
    assert "compressed records" in refused(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_records_are_refused_even_where_they_are_harmless(method: int, tmp_path: Path) -> None:
    assert "compressed records" in refused(repacked(tmp_path / "a.ckpt", checkpoint(GOOD), method))
    assert "compressed records" in refused(tmp_path / "a.ckpt", lambda path: load.load_prior(str(path)))


def test_a_long_pickle_in_either_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = b"\x80\x02" + b"]" * (containers.MAX_PICKLE + 9) + b"."
    told = refused(repacked(tmp_path / "a.ckpt", checkpoint(GOOD), data_pkl=lists))
    assert "4.2 MB beside its tensors, 4 MB are allowed" in told
    # in the legacy format the pickle is read up to the limit, which takes seconds: here to a lower one
    monkeypatch.setattr(containers, "MAX_PICKLE", 1 << 16)
    begin = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    (tmp_path / "b.ckpt").write_bytes(begin + lists)
    assert "holds a pickle beyond what a checkpoint has" in refused(tmp_path / "b.ckpt")


def test_records_that_share_their_bytes(tmp_path: Path) -> None:
    path = repacked(tmp_path / "a.ckpt", checkpoint(GOOD))
    data = bytearray(path.read_bytes())
    # the directory says that one record is larger than the file
    place = data.index(b"PK\1\2", data.index(b"PK\1\2") + 1)
    struct.pack_into("<II", data, place + 20, 1 << 30, 1 << 30)
    path.write_bytes(data)
    assert "promises more" in refused(path)


def test_a_directory_that_torch_would_find_elsewhere(tmp_path: Path) -> None:
    """Python reads the one before its end, torch the one whose offset is told: a harmless and a compressed one."""
    bomb = repacked(tmp_path / "bomb.zip", checkpoint(GOOD), zipfile.ZIP_DEFLATED).read_bytes()
    good = repacked(tmp_path / "good.zip", checkpoint(GOOD)).read_bytes()
    begin, end = good.index(b"PK\1\2"), good.rindex(b"PK\5\6")
    whole = bytearray(bomb + good)
    struct.pack_into("<I", whole, len(bomb) + end + 16, bomb.index(b"PK\1\2"))
    (tmp_path / "a.ckpt").write_bytes(whole)
    with zipfile.ZipFile(tmp_path / "a.ckpt") as archive:
        assert archive.start_dir == len(bomb) + begin
    assert "in two places" in refused(tmp_path / "a.ckpt")


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_that_are_larger_than_what_is_stored(legacy: bool, tmp_path: Path) -> None:
    """A number seen as a million times a million, and one tensor under very many names."""
    path = tmp_path / "a.ckpt"
    wide = torch.zeros(1).expand(1_000_000, 1_000_000)
    torch.save({"decoder.conv_in.weight": wide}, path, _use_new_zipfile_serialization=not legacy)
    assert "larger than what is stored" in refused(path)
    one = torch.zeros(1 << 20)
    torch.save({f"x{n}": one for n in range(1000)}, path, _use_new_zipfile_serialization=not legacy)
    assert "promises tensors of" in refused(path)
    torch.save({"x": torch.zeros(10**6, 10**6, layout=torch.sparse_coo)}, path,
               _use_new_zipfile_serialization=not legacy)  # fmt: skip
    assert "sparse" in refused(path)


def test_mappings_in_one_another_without_end(tmp_path: Path) -> None:
    inner: dict = {"a": torch.zeros(2)}
    for _ in range(60):
        inner = {"a": inner, "b": inner}
    torch.save(inner, tmp_path / "a.ckpt")
    refused(tmp_path / "a.ckpt")
    around: dict = {}
    around["a"] = around
    torch.save(around, tmp_path / "a.ckpt")
    assert "no weights by name" in refused(tmp_path / "a.ckpt")


def test_what_is_a_zip_and_no_checkpoint(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(1 << 24))
    assert "no checkpoint of torch's" in refused(tmp_path / "a.npz")
    path = repacked(tmp_path / "a.pt", checkpoint(GOOD), **{"archive/constants.pkl": b"x"})
    assert "a program (TorchScript)" in refused(path)


def header(length: int) -> bytes:
    """Return a safetensors file without tensors whose header has about so many bytes."""
    text = b'{"__metadata__":{"x":"' + b"x" * length + b'"}}'
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "read",
    [read_vqgan, *(lambda p, load=load: load(str(p)) for load in (load.load_vqgan, load.load_clip, load.load_prior))],
)
def test_a_long_header_of_safetensors(read: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(header(90_000_000))
    assert "header of 90.0 MB, 8 MB are allowed" in refused(tmp_path / "a.safetensors", read)


def test_a_long_header_of_a_state(tmp_path: Path) -> None:
    folder = tmp_path / "cat.run"
    folder.mkdir()
    (folder / "state.safetensors").write_bytes(header(90_000_000))
    with pytest.raises(ResumeError, match=r"state\.safetensors has a header of 90\.0 MB, 8 MB are allowed"):
        savepoint.read(folder)


def test_gzip_that_unfolds_without_end(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt.gz").write_bytes(gzip.compress(bytes(ZEROS), 9))
    assert "unfolds to over 8 times its size" in refused(tmp_path / "a.ckpt.gz")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.mark.parametrize(
    "bomb",
    [
        chunk(b"zTXt", b"parameters\0\0" + zlib.compress(bytes(ZEROS), 9)),
        chunk(b"iTXt", b"vqclip\0\1\0\0\0" + zlib.compress(bytes(ZEROS), 9)),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(ZEROS), 9)),
        b"".join(chunk(b"zTXt", b"a%d\0\0" % n + zlib.compress(bytes(1 << 20), 9)) for n in range(300)),
    ],
    ids=["zTXt", "iTXt", "iCCP", "many"],
)  # fmt: skip
def test_text_and_profiles_of_a_png(bomb: bytes, tmp_path: Path) -> None:
    """Read without them or refused, in either case with little memory."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    data = buffer.getvalue()
    (tmp_path / "a.png").write_bytes(data[:33] + bomb + data[33:])
    for read in (metadata.read, metadata.read_texts, images.read_image):
        tracemalloc.start()
        try:
            read(tmp_path / "a.png")
        except UsageError as error:
            assert "\n" not in str(error)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 96 << 20, f"{peak >> 20} MB"
