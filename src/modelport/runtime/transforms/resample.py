"""Changes the rate of sound: band-limited, by a polyphase filter.

The filter is a windowed sinc that ends at half of the lower rate (Crochiere and Rabiner, Multirate
Digital Signal Processing, 1983), with Kaiser's window (Kaiser, 1974) over ten zero crossings on either side.
These are the numbers of `scipy.signal.resample_poly`, which it equals.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd

import numpy as np

from modelport.types import Array

_CROSSINGS = 10
_BETA = 5.0


def resampled(samples: Array, before: int, after: int) -> Array:
    """The same sound at another rate, as long: ceil(len * after / before) samples.

    Args:
        samples: samples x channels, float32.
        before, after: samples in a second.
    """
    if before == after:
        return samples
    common = gcd(before, after)
    up, down = after // common, before // common
    taps = _taps(up, down)
    length = -(-len(samples) * up // down)
    reach = taps.shape[1]
    found = np.empty((length, samples.shape[1]), np.float32)
    for channel in range(samples.shape[1]):
        padded = np.pad(samples[:, channel], (reach, reach + down))
        windows = np.lib.stride_tricks.sliding_window_view(padded, reach)
        for first in range(min(up, length)):
            phase, start = _place(first, up, down)
            count = -(-(length - first) // up)
            rows = windows[start : start + (count - 1) * down + 1 : down]
            found[first::up, channel] = rows @ taps[phase]
    return found


def _place(index: int, up: int, down: int) -> tuple[int, int]:
    """Which phase of the filter gives that sample, and where its window begins in the padded sound."""
    half = _CROSSINGS * max(up, down)
    shifted = index * down + half
    newest = shifted // up
    return shifted % up, newest + 1


@lru_cache(maxsize=16)
def _taps(up: int, down: int) -> Array:
    """The filter by phase, float32: row p is applied, oldest sample first, to a window.

    Between the samples stand up - 1 zeros; the filter runs over these at the product of both rates.
    """
    most = max(up, down)
    half = _CROSSINGS * most
    places = np.arange(-half, half + 1)
    taps = np.sinc(places / most) * np.kaiser(2 * half + 1, _BETA)
    taps *= up / taps.sum()
    reach = -(-len(taps) // up)
    phases = np.zeros((reach * up,))
    phases[: len(taps)] = taps
    return np.ascontiguousarray(phases.reshape(reach, up).T[:, ::-1]).astype(np.float32)
