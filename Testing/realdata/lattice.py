"""A lattice in what a network changed: the peak of its in-plane spectrum at a period of 4 pixels, over its surround."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 24  # pixels of a window: period 4 is frequency 6
PERIOD = 4
MOST_WINDOWS = 400


def lattice_ratio(change: NDArray, region: NDArray[np.bool_]) -> float:
    """1 without a lattice; NaN where no window of SIDE pixels lies in the region.

    The power spectrum is the mean over windows that lie in the region to 90 %, what is outside set to the mean. The
    ratio is that of amplitudes: the peaks (period 4 along x, along y, and along both) over the frequencies 2 and 3
    steps away in either direction.

    change: (Z, Y, X), HU. region: where, (Z, Y, X).
    """
    frames = list(_windows(change, region))
    if not frames:
        return float("nan")
    hann = np.hanning(SIDE + 1)[:SIDE]
    taper = np.outer(hann, hann)
    power = np.mean([np.abs(np.fft.fft2(frame * taper)) ** 2 for frame in frames], axis=0)
    at = SIDE // PERIOD
    ratios = []
    for y, x in ((0, at), (at, 0), (at, at), (at, -at)):
        steps = [(dy, dx) for dy in (-3, -2, 0, 2, 3) for dx in (-3, -2, 0, 2, 3) if (dy, dx) != (0, 0)]
        if 0 in (y, x):  # along an axis spectra fall off from the other one: compare along it only
            steps = [(dy, dx) for dy, dx in steps if (dy if y == 0 else dx) == 0]
        around = np.mean([power[(y + dy) % SIDE, (x + dx) % SIDE] for dy, dx in steps])
        ratios.append(power[y, x] / around)
    return float(np.sqrt(max(ratios)))


def _windows(change, region):
    """Windows of SIDE x SIDE, half overlapping, minus their mean."""
    count = 0
    half = SIDE // 2
    for plane, where in zip(change, region, strict=True):
        for y in range(0, plane.shape[0] - SIDE + 1, half):
            for x in range(0, plane.shape[1] - SIDE + 1, half):
                inside = where[y : y + SIDE, x : x + SIDE]
                if inside.mean() < 0.9:
                    continue
                frame = plane[y : y + SIDE, x : x + SIDE].astype(np.float64)
                frame = frame - frame[inside].mean()
                frame[~inside] = 0
                yield frame
                count += 1
                if count == MOST_WINDOWS:
                    return
