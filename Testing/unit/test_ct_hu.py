"""What values are taken for HU, on a phantom of a chest: judged by what was measured, above -1024."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from SyntheticContrastLib.ct.check import check_hu
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.phantom import thorax_phantom

Change = Callable[[NDArray], NDArray]
PHANTOM = thorax_phantom((24, 96, 96), (10.0, 3.7, 3.7))
HU = PHANTOM.ncct.astype(np.float32)
OUTSIDE = HU <= -1024


def windowed(low: float, high: float) -> Change:
    return lambda hu: hu.clip(low, high)


def scaled(low: float, high: float, to_low: float, to_high: float) -> Change:
    return lambda hu: (hu.clip(low, high) - low) / (high - low) * (to_high - to_low) + to_low


def iodine(hu: NDArray) -> NDArray:
    """Nothing but the contrast and noise around 0; -1024 outside the patient."""
    noise = np.random.default_rng(0).normal(0, 15, hu.shape)
    return np.where(hu < -950, -1024, PHANTOM.cect - PHANTOM.ncct + noise)


REFUSED: dict[str, tuple[Change, str]] = {
    "+1024, padded with -2000": (lambda hu: np.where(OUTSIDE, -2000, hu + 1024), "intercept was not applied"),
    "+1024, padded with -1024": (lambda hu: np.where(OUTSIDE, -1024, hu + 1024), "intercept was not applied"),
    "+1000, padded with -2000": (lambda hu: np.where(OUTSIDE, -2000, hu + 1000), "as low as lung or air"),
    "soft window": (windowed(-160, 240), "cut off at -160 HU"),
    "lung window": (windowed(-1350, 150), "cut off at 150 HU"),
    "bone window": (windowed(-500, 1300), "cut off at -500 HU"),
    "vascular window": (windowed(-300, 700), "cut off at -300 HU"),
    "clipped as for a network": (windowed(-1000, 400), "cut off at 400 HU"),
    "window, padded with -2000": (lambda hu: np.where(OUTSIDE, -2000, hu.clip(-160, 240)), "cut off at -160 HU"),
    "grey scale, padded": (
        lambda hu: np.where(OUTSIDE, -2000, scaled(-160, 240, 0, 255)(hu)),
        "intercept was not applied",
    ),
    "grey scale, signed": (lambda hu: np.rint(scaled(-1000, 1000, -128, 127)(hu)), "HU"),
    "z scores times 100": (lambda hu: 100 * (hu - hu.mean()) / hu.std(), "as low as lung or air"),
    "[-1, 1] times 100": (scaled(-1024, 1024, -100, 100), "as low as lung or air"),
    "[-1, 1] times 1000 of all HU": (scaled(-1024, 3071, -1000, 1000), "soft tissue"),
    "[-1, 1] times 1000 of a window": (scaled(-160, 240, -1000, 1000), "cut off at 1000 HU"),
    "iodine": (iodine, "as low as lung or air"),
    "only padding": (lambda hu: np.where(OUTSIDE, -2000, -1024), "no value is above -1024 HU"),
}


@pytest.mark.parametrize(("change", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_hu_is_refused(change: Change, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_hu(change(HU))
    with pytest.raises(InputError, match=says):
        check_hu(np.rint(change(HU)).astype(np.int16))


ACCEPTED: dict[str, Change] = {
    "as it is": lambda hu: hu,
    "with contrast": lambda hu: PHANTOM.cect,
    "padded with -2000": lambda hu: np.where(OUTSIDE, -2000, hu),
    "padded with -3024": lambda hu: np.where(OUTSIDE, -3024, hu),
    "cut off at air": lambda hu: np.maximum(hu, -1000),
    "cut off as the network's widest window": windowed(-1000, 1000),
    "cropped to the heart": lambda hu: hu[10:20, 30:70, 25:70],
    "one lung": lambda hu: hu[:, :, 55:85],
    "smooth": lambda hu: hu + np.float32(0.25),
    "metal": lambda hu: np.where(hu > 450, 3071, hu),
    "large": lambda hu: np.tile(hu, (2, 5, 5)),
}


@pytest.mark.parametrize("change", ACCEPTED.values(), ids=ACCEPTED)
def test_a_chest_in_hu_is_accepted(change: Change) -> None:
    check_hu(change(HU))
