"""Whether a CT holds contrast agent already: from the blood between the lungs, and from the DICOM header."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .chest import between_sides, coarse_chest, find_lungs, find_spine
from .errors import InputError
from .volume import CTVolume

SLICE_MM = 8.0  # slices so far apart tell enough
MIDLINE_MM = 35.0  # heart and great vessels lie there; stomach and bowel with oral contrast do not
# Blood without contrast was 14 to 69 HU in the scans at hand, and 100 to 114 HU late after weak contrast.
ENHANCED_HU = 85.0
NOT_BLOOD_HU = (0.0, 1500.0)  # fat, air; metal
ENHANCED_SHARE = 0.25  # of the tissue between the lungs: calcium and the sternum are less
NO_AGENT = ("", "NO", "NONE", "N", "N/A", "WITHOUT", "0")


def enhanced_share(hu: NDArray, spacing_zyx: tuple[float, float, float]) -> float | None:
    """The share of the tissue between the lungs, near the midline, that is brighter than blood without contrast.

    hu: (Z, Y, X) HU, Z from superior to inferior. spacing_zyx: mm. None where there are no lungs, or nothing between.
    """
    from scipy import ndimage

    every = max(1, int(SLICE_MM / spacing_zyx[0]))
    try:
        coarse, steps = coarse_chest(hu[every // 2 :: every], (spacing_zyx[0] * every, *spacing_zyx[1:]))
        z, y, x = (side * step for side, step in zip((spacing_zyx[0] * every, *spacing_zyx[1:]), steps, strict=True))
        lungs = find_lungs(coarse, (z, y, x))
    except InputError:
        return None
    spine = find_spine(coarse, lungs, (z, y, x))
    aside = np.abs(np.arange(coarse.shape[2]) - spine.x[:, None]) * x
    before = np.arange(coarse.shape[1]) < spine.front[:, None]
    smooth = ndimage.gaussian_filter(coarse, (0, 2.0 / y, 2.0 / x))
    tissue = between_sides(lungs) & before[:, :, None] & (aside < MIDLINE_MM)[:, None, :]
    tissue &= (smooth > NOT_BLOOD_HU[0]) & (smooth < NOT_BLOOD_HU[1])
    return float((smooth[tissue] > ENHANCED_HU).mean()) if tissue.any() else None
