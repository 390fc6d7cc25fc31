"""ICC profiles (ICC.1:2001-04) put together by hand, with what colors they mean, for tests of pictures."""

from __future__ import annotations

import struct

import numpy as np

# colorants adapted to D50, columns of a matrix from linear RGB to XYZ, and the exponent; None is sRGB's own curve
SPACES = {
    "sRGB": ([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]], None),
    "Adobe RGB": ([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]], 2.19921875),
    "ProPhoto": ([[0.79767, 0.13519, 0.03134], [0.28804, 0.71188, 0.00009], [0.0, 0.0, 0.82491]], 1.8),
    "Display P3": ([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]], None),
}
WHITE = (0.9642, 1.0, 0.8249)


def linear(levels: np.ndarray, gamma: float | None) -> np.ndarray:
    """Return the light of levels in [0, 1]."""
    if gamma is not None:
        return levels**gamma
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def stored_as(rgb: tuple[int, int, int], space: str) -> tuple[int, int, int]:
    """Return the bytes that stand for a color of sRGB in another space."""
    light = np.array(SPACES["sRGB"][0]) @ linear(np.array(rgb) / 255, None)
    matrix, gamma = SPACES[space]
    other = np.clip(np.linalg.solve(np.array(matrix), light), 0, 1)
    if gamma is None:
        levels = np.where(other <= 0.0031308, other * 12.92, 1.055 * other ** (1 / 2.4) - 0.055)
    else:
        levels = other ** (1 / gamma)
    red, green, blue = (int(value) for value in np.round(levels * 255))
    return red, green, blue


def profile_of(space: str) -> bytes:
    """Return a profile of three primaries and a curve; its name says nothing of what it is."""
    matrix, gamma = SPACES[space]
    columns = np.array(matrix).T
    tags = {b"wtpt": _xyz(WHITE)} | {
        name: _xyz(c) for name, c in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)
    }
    return _file(b"mntr", b"RGB ", b"XYZ ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(gamma)))


def gray_profile(gamma: float) -> bytes:
    """Return a profile of gray levels."""
    return _file(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _xyz(WHITE), b"kTRC": _curve(gamma)})


def cmyk_profile(lab: tuple[int, int, int]) -> bytes:
    """Return a profile of a press whose magenta ink, on its own, is a color of Lab; the other inks are gray."""
    corners = []
    for number in range(16):
        inks = [number >> shift & 1 for shift in (3, 2, 1, 0)]
        light = 100 if not any(inks) else lab[0] if inks == [0, 1, 0, 0] else 10
        a, b = lab[1:] if inks == [0, 1, 0, 0] else (0, 0)
        corners += [round(light * 2.55), a + 128, b + 128]
    identity = [round(v * 65536) for v in (1, 0, 0, 0, 1, 0, 0, 0, 1)]
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *identity)
    table += bytes(range(256)) * 4 + bytes(corners) + bytes(range(256)) * 3
    return _file(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _xyz(WHITE), b"A2B0": table})


def _xyz(values: object) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(v) * 65536) for v in values))


def _curve(gamma: float | None) -> bytes:
    if gamma is not None:
        return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    values = np.round(linear(np.linspace(0, 1, 1024), None) * 65535).astype(int)
    return b"curv" + bytes(4) + struct.pack(">I1024H", 1024, *values)


def _file(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    name = b"a test\0"
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78), **tags}
    tags[b"cprt"] = b"text" + bytes(4) + b"none\0"
    table, body, place = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for tag, data in tags.items():
        table += tag + struct.pack(">II", place + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", place + len(body), bytes(4), 0x02100000, kind, space, connection)
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _xyz(WHITE)[8:]
    return head.ljust(128, b"\0") + table + body
