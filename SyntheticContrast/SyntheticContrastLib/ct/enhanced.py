"""Whether a CT holds contrast agent already: from the blood between the lungs, and from the DICOM header."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .chest import between_sides, coarse_chest, find_lungs, find_spine
from .errors import InputError
from .volume import CTVolume, DicomSource

SLICE_MM = 8.0  # slices so far apart tell enough
MIDLINE_MM = 35.0  # heart and great vessels lie there; stomach and bowel with oral contrast do not
# Blood without contrast was 14 to 69 HU in the scans at hand, and 100 to 114 HU late after weak contrast.
ENHANCED_HU = 85.0
TISSUE_HU = (0.0, 1500.0)  # no fat, no air, no metal
# Calcium and oral contrast came to .06 at most, an arterial scan that shows only the lowest heart to .26.
ENHANCED_SHARE = 0.2
NO_AGENT = ("", "NO", "NONE", "N", "N/A")


def enhanced_share(hu: NDArray, spacing_zyx: tuple[float, float, float]) -> float | None:
    """The share of the tissue between the lungs, near the midline, that is brighter than blood without contrast.

    hu: (Z, Y, X) HU, Z from superior to inferior. spacing_zyx: mm. None where there are no lungs, or nothing between.
    """
    from scipy import ndimage

    every = max(1, int(SLICE_MM / spacing_zyx[0]))
    apart = (spacing_zyx[0] * every, *spacing_zyx[1:])
    coarse, steps = coarse_chest(hu[::every], apart)
    z, y, x = (side * step for side, step in zip(apart, steps, strict=True))
    try:
        lungs = find_lungs(coarse, (z, y, x))
    except InputError:
        return None
    spine = find_spine(coarse, lungs, (z, y, x))
    aside = np.abs(np.arange(coarse.shape[2]) - spine.x[:, None]) * x
    before = np.arange(coarse.shape[1]) < spine.front[:, None]
    smooth = ndimage.gaussian_filter(coarse, (0, 2.0 / y, 2.0 / x))
    tissue = between_sides(lungs) & before[:, :, None] & (aside < MIDLINE_MM)[:, None, :]
    tissue &= (smooth > TISSUE_HU[0]) & (smooth < TISSUE_HU[1])
    return float((smooth[tissue] > ENHANCED_HU).mean()) if tissue.any() else None


def is_enhanced(hu: NDArray, spacing_zyx: tuple[float, float, float]) -> bool:
    """True where heart and great vessels are plainly enhanced; False too where the CT shows neither."""
    share = enhanced_share(hu, spacing_zyx)
    return share is not None and share > ENHANCED_SHARE


def contrast_agent(source: DicomSource | None) -> str:
    """What the header names as given into a vein (ContrastBolusAgent); "" for nothing, or for oral contrast."""
    if source is None:
        return ""
    import pydicom

    from .quiet import quiet_libraries

    with quiet_libraries():
        header = pydicom.dcmread(source.files[0], specific_tags=["ContrastBolusAgent", "ContrastBolusRoute"])
    agent = str(header.get("ContrastBolusAgent") or "").strip()
    oral = any(word in f"{agent} {header.get('ContrastBolusRoute') or ''}".upper() for word in ("ORAL", "RECTAL"))
    return "" if oral or agent.upper() in NO_AGENT else agent


def enhancement_note(volume: CTVolume) -> str:
    """One line for who takes the CT for unenhanced; "" where nothing speaks against that."""
    seen, agent = is_enhanced(volume.hu, volume.spacing_zyx), contrast_agent(volume.source)
    if not (seen or agent):
        return ""
    what = "heart and great vessels are bright" if seen else ""
    header = f"its header names a contrast agent ({agent})" if agent else ""
    return (
        f"this CT seems to be enhanced already: {' and '.join(filter(None, (what, header)))}. "
        "The model expects a CT without contrast."
    )
