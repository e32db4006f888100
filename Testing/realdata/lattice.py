"""A lattice in what a network changed: the peak of its in-plane spectrum at a period of 4 pixels, over its surround."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SIDE = 32  # pixels of a window: period 4 is frequency 8
PERIOD = 4
SLOW = 3.0  # pixels: what is smoother is taken off first, lest its edges spread over the spectrum
FILLED = 0.6  # of a window that lies in the region
NOTHING = 1e-6  # power, so that a change of nothing has a ratio of 1


def lattice_ratio(change: NDArray, region: NDArray[np.bool_]) -> float:
    """1 without a lattice; NaN where no window of SIDE pixels lies in the region.

    The power spectrum is the mean over half-overlapping Hann windows, outside the region 0. The ratio is that of
    amplitudes, the largest of the peaks of period 4 along x, y and both, each over the geometric mean of the
    frequencies 2 and 3 steps away: a spectrum that falls without a peak gives 1.

    change: (Z, Y, X), HU. region: where, (Z, Y, X).
    """
    hann = np.hanning(SIDE + 1)[:SIDE]
    taper = np.outer(hann, hann)
    spectra = [np.abs(np.fft.fft2(window * taper)) ** 2 for window in _windows(change, region)]
    if not spectra:
        return float("nan")
    power = np.mean(spectra, axis=0) + NOTHING
    at = SIDE // PERIOD
    ratios = []
    for y, x in ((0, at), (at, 0), (at, at), (at, -at)):
        steps = [(dy, dx) for dy in (-3, -2, 0, 2, 3) for dx in (-3, -2, 0, 2, 3) if (dy, dx) != (0, 0)]
        if 0 in (y, x):  # along an axis spectra fall off from the other one: compare along it only
            steps = [(dy, dx) for dy, dx in steps if (dy if y == 0 else dx) == 0]
        around = [power[(y + dy) % SIDE, (x + dx) % SIDE] for dy, dx in steps]
        ratios.append(power[y, x] / np.exp(np.mean(np.log(around))))
    return float(np.sqrt(max(ratios)))


def _windows(change: NDArray, region: NDArray[np.bool_]) -> Iterator[NDArray[np.float32]]:
    """What is fast in the change, window by window."""
    half = SIDE // 2
    for plane, where in zip(change.astype(np.float32), region, strict=True):
        if not where.any():
            continue
        weight = ndimage.gaussian_filter(where.astype(np.float32), SLOW)
        slow = ndimage.gaussian_filter(plane * where, SLOW) / np.maximum(weight, 1e-3)
        fast = (plane - slow) * where
        for y in range(0, plane.shape[0] - SIDE + 1, half):
            for x in range(0, plane.shape[1] - SIDE + 1, half):
                window = np.s_[y : y + SIDE, x : x + SIDE]
                if where[window].mean() >= FILLED:
                    yield fast[window]
