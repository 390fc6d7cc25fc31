"""What a sound does over time, for tracks that follow it: bass, middle, treble, loudness and beats.

Spectra are taken a hundred times a second while the file is decoded, and only sums over bands are kept: 7 MB for an
hour. The samples themselves are never all in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqclip.errors import UsageError
from vqclip.writers.sounds import LONGEST, decode_sound

RATE = 32_000  # samples a second
HOP = 320  # samples from one spectrum to the next
_WINDOW = 1024
BANDS = {"bass": (20.0, 250.0), "mid": (250.0, 4000.0), "treble": (4000.0, 16_000.0)}
FEATURES = (*BANDS, "loudness", "beat")
# seconds in which a beat fades
DECAY = 0.3
_PERCENTILE = 95
# what is never brought up to 1: a band 40 dB below the sound, a sound 66 dB below full scale
_FAINT_BAND, _FAINT = 0.01, 0.0005
# bands in which onsets are looked for, from the first of these frequencies on, and how magnitudes are compressed
_ONSET_BANDS, _LOWEST, _COMPRESSION = 24, 30.0, 100.0
# an onset is the highest within 0.05 s, stands out of the half second around it, and is no nearer than 0.1 s to another
_NEAR, _AROUND, _APART = 5, 50, 10
_ABOVE, _LEAST = 2.5, 0.18
# spectra at either end whose window reaches beyond the sound
_EDGE = 2


@dataclass(frozen=True)
class Sound:
    """A sound that was listened to: `seconds` long, `levels` of its bands and as a whole, `onsets` in seconds.

    `levels` (n, 4) are root mean squares, a hundred a second, of bass, middle, treble and everything.
    """

    path: Path
    seconds: float
    levels: np.ndarray
    onsets: np.ndarray

    @classmethod
    def read(cls, path: str | Path) -> Sound:
        """Listen to the sound of a file, a video's too, an hour of it at most.

        Raises UsageError for a file that is missing, has no sound or none that can be decoded.
        """
        count = 0

        def counted() -> Iterator[np.ndarray]:
            nonlocal count
            for block in decode_sound(path, RATE, LONGEST):
                count += len(block)
                yield block

        levels, rises = _without_edges(*_listen(counted()))
        if not count:
            raise UsageError(f"{path} holds no sound that can be decoded: it is empty or damaged")
        return cls(Path(path), count / RATE, levels, _onsets(rises))

    def features(self, fps: float, frames: int) -> dict[str, np.ndarray]:
        """Return `bass`, `mid`, `treble`, `loudness` and `beat` at each frame, (frames,) in [0, 1].

        Frame i stands for the time i / fps and half a frame to either side. Levels are divided by their 95th percentile
        over the whole sound, so that most of a song lies below 1 and its loudest moments at it; a band that is 40 dB
        fainter than the whole stays faint, and silence is 0. `beat` is 1 at the frame nearest to an onset and falls
        to 0 within 0.3 seconds. After the sound's end all are 0.
        """
        if not 0 < fps < math.inf or frames < 0:
            raise ValueError(f"features are of 0 or more frames at a rate over 0, not of {frames} at {fps}")
        whole = max(frames, math.ceil(self.seconds * fps))
        levels = self._at_frames(fps, whole)
        heard = levels[: max(1, math.ceil(self.seconds * fps))]
        most = np.percentile(heard, _PERCENTILE, axis=0)
        # a sound that is silent for nearly all of its time
        most = np.where(most < _FAINT, heard.max(axis=0), most)
        loudest = max(float(most[-1]), _FAINT)
        most = np.maximum(most, np.array([*[_FAINT_BAND * loudest] * len(BANDS), _FAINT]))
        most = np.maximum(most, _FAINT * 0.1)
        scaled = np.where(levels[:frames, -1:] < _FAINT * 0.1, 0.0, np.clip(levels[:frames] / most, 0, 1))
        return {**dict(zip((*BANDS, "loudness"), scaled.T.copy(), strict=True)), "beat": self._beat(fps, frames)}

    def _at_frames(self, fps: float, frames: int) -> np.ndarray:
        """Return the mean square levels of the time around each frame, as levels (frames, 4)."""
        sums = np.vstack([np.zeros((1, self.levels.shape[1])), np.cumsum(self.levels.astype(np.float64) ** 2, axis=0)])
        middle = np.arange(frames) / fps * (RATE / HOP)
        half = max(0.5, RATE / HOP / fps / 2)
        first = np.clip(np.round(middle - half), 0, len(self.levels)).astype(int)
        last = np.clip(np.round(middle + half), 0, len(self.levels)).astype(int)
        means = (sums[last] - sums[first]) / np.maximum(last - first, 1)[:, None]
        levels: np.ndarray = np.sqrt(np.maximum(means, 0))
        return levels

    def _beat(self, fps: float, frames: int) -> np.ndarray:
        values = np.zeros(frames)
        for onset in self.onsets:
            first = math.floor(onset * fps + 0.5)
            fading = np.arange(math.ceil(DECAY * fps) + 1) / fps / DECAY
            span = values[first : first + len(fading)]
            np.maximum(span, np.clip(1 - fading, 0, 1)[: len(span)] ** 2, out=span)
        return values


def _listen(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return levels (n, 4) and how much the spectrum rises (n,) at each hop of samples in [-1, 1]."""
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    frequencies = np.fft.rfftfreq(_WINDOW, 1 / RATE)
    # by Parseval's theorem: sums of squared magnitudes become mean squares of the signal
    scale = 2 / (_WINDOW * float(np.sum(window**2)))
    ranges = [(frequencies >= low) & (frequencies < high) for low, high in BANDS.values()]
    edges = np.geomspace(_LOWEST, frequencies[-1], _ONSET_BANDS + 1)
    groups = np.unique(np.searchsorted(frequencies, edges[:-1]))
    before: np.ndarray | None = None
    levels, rises = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
    for samples in _chunks(blocks):
        frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::HOP]
        magnitudes = np.abs(np.fft.rfft(frames * window, axis=1))
        power = magnitudes**2 * scale
        bands = [power[:, chosen].sum(1) for chosen in ranges]
        levels.append(np.sqrt(np.stack([*bands, power[:, 1:].sum(1)], 1)).astype(np.float32))
        sums = np.sqrt(np.add.reduceat(power, groups, axis=1))
        loud = np.log1p(_COMPRESSION * sums)
        earlier = np.vstack([loud[:1] * 0 if before is None else before, loud[:-1]])
        rises.append(np.maximum(loud - earlier, 0).mean(1).astype(np.float32))
        before = loud[-1:]
    return np.concatenate(levels), np.concatenate(rises)


def _without_edges(levels: np.ndarray, rises: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both without what only the sound's beginning and end bring about."""
    if len(levels) > 2 * _EDGE:
        levels[:_EDGE], levels[-_EDGE:], rises[-_EDGE:] = levels[_EDGE], levels[-_EDGE - 1], 0
    return levels, rises


def _chunks(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield samples so that windows, centered on each hop, lie whole in one of them and each is in one only."""
    half, rest, begun = _WINDOW // 2, np.zeros(0, np.float32), False
    for block in blocks:
        rest = np.concatenate([rest, block])
        if not begun and len(rest) > half:
            # mirrored at both ends: silence there would make a click
            rest, begun = np.concatenate([rest[half:0:-1], rest]), True
        count = (len(rest) - _WINDOW) // HOP + 1
        if begun and count > 0:
            yield rest[: (count - 1) * HOP + _WINDOW]
            rest = rest[count * HOP :]
    rest = np.pad(rest, (0 if begun else half, half), mode="reflect" if len(rest) > half else "constant")
    if len(rest) >= _WINDOW:
        yield rest


def _onsets(rises: np.ndarray) -> np.ndarray:
    """Return the seconds at which the spectrum rises more than around it (Dixon 2006, with a mean as threshold)."""
    if not len(rises):
        return np.zeros(0)
    around = _mean_around(rises, _AROUND)
    highest = np.max(np.lib.stride_tricks.sliding_window_view(np.pad(rises, _NEAR), 2 * _NEAR + 1), axis=1)
    onsets: list[int] = []
    for place in np.flatnonzero((rises >= highest) & (rises > _ABOVE * around) & (rises > _LEAST)):
        if not onsets or place - onsets[-1] >= _APART:
            onsets.append(int(place))
    times: np.ndarray = np.maximum(np.array(onsets, float) * HOP / RATE, 0)
    return times


def _mean_around(values: np.ndarray, reach: int) -> np.ndarray:
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    places = np.arange(len(values))
    first, last = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(values))
    means: np.ndarray = (sums[last] - sums[first]) / (last - first)
    return means
