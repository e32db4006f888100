"""What makes an sCECT for a report: a model bundle, the classical baseline, or nothing at all, behind one call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "SyntheticContrast"))

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.volume import CTVolume

Synthesise = Callable[[CTVolume], NDArray]  # NCCT -> sCECT, (Z, Y, X), HU
CLASSICAL_HU, CLASSICAL_RISE = (12, 75), 300


def load_model(name: str | None, step: int = 1) -> tuple[str, Synthesise]:
    """Its name in a table, and the call. "classical" and "ncct" (nothing is added) are no bundles.

    Raises:
        InputError: when there is no such bundle.
    """
    if name == "classical":
        return "classical baseline", lambda volume: classical(volume.hu, volume.spacing_zyx)
    if name == "ncct":
        return "NCCT as it is", lambda volume: volume.hu
    from SyntheticContrastLib.models.bundle import find_bundle
    from SyntheticContrastLib.synthesis.convert import Converter
    from SyntheticContrastLib.synthesis.device import choose

    converter = Converter(find_bundle(name), choose(), step)
    return converter.bundle.card.name, lambda volume: converter.convert(volume).hu


def parse_folds(texts: list[str]) -> dict[str, str]:
    """{"hcc-007": "run/bundle"} of ["hcc-007=run/bundle"]: the model of a pair, or of all pairs of a patient.

    Raises:
        InputError: for what is no pair or patient, or names no bundle.
    """
    from real_pairs import PAIRS

    folds = dict(text.partition("=")[::2] for text in texts)
    known = {*PAIRS, *(pair["patient"] for pair in PAIRS.values())}
    if wrong := [case for case, bundle in folds.items() if case not in known or not bundle]:
        raise InputError(f"--fold {', '.join(wrong)}: give a pair or patient and its bundle, hcc-007=run/bundle")
    return folds


def fold_of(folds: dict[str, str], scan: str, otherwise: str | None) -> str | None:
    """The bundle for a pair (or another scan, which has no fold)."""
    from real_pairs import PAIRS

    return folds.get(scan) or folds.get(PAIRS.get(scan, {}).get("patient", "")) or otherwise


def classical(ncct: NDArray, spacing: tuple[float, float, float]) -> NDArray[np.int16]:
    """The classical baseline: soft tissue between the lungs that is smooth and 12 to 75 HU, plus 300 HU.

    Between the lungs: lung to the right and to the left in the row, in this slice or one within 15 mm.
    Smooth: a standard deviation below 15 HU within 5 mm, of what 1.5 mm of smoothing leave.
    """
    from pair_figures import find_body

    z_mm, y_mm, x_mm = spacing
    calm = ndimage.gaussian_filter(np.clip(ncct, -1024, 1000).astype(np.float32), (0, 1.5 / y_mm, 1.5 / x_mm))
    size = (1, 2 * round(2.5 / y_mm) + 1, 2 * round(2.5 / x_mm) + 1)
    mean = ndimage.uniform_filter(calm, size)
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(calm**2, size) - mean**2, 0))
    lung = ndimage.binary_opening((calm < -500) & find_body(ncct), np.ones((1, 9, 9)))
    between = (np.cumsum(lung, axis=2) > 0) & (np.cumsum(lung[..., ::-1], axis=2)[..., ::-1] > 0)
    near = max(1, round(15 / z_mm))
    between = ndimage.maximum_filter(between, (2 * near + 1, 1, 1))
    low, high = CLASSICAL_HU
    region = between & (calm > low) & (calm < high) & (spread < 15)
    region = ndimage.binary_opening(region, np.ones((1, 5, 5)))
    share = ndimage.gaussian_filter(region.astype(np.float32), (0, 0.7 / y_mm, 0.7 / x_mm))
    return np.rint(ncct + CLASSICAL_RISE * share).astype(np.int16)
