"""What a network of contrast shares learns from a pair: on the canonical grid, how much of the patient's contrast the
tissue of each voxel took up.

Share and level are apart: rise = share x (level - unenhanced blood), the level being that of the aorta.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.canonical_grid import LEAST_TISSUE, CanonicalCT, tissue, to_canonical
from SyntheticContrastLib.models.share_unet import HIGHEST_SHARE

UNENHANCED_HU = 40.0  # of blood, where the pair does not tell
BLOOD_SHARE = 0.6  # above it a voxel is blood
NOISE_SHARE = 0.03  # of a real pair: two scans differ by as much anywhere
HARD_HU = 150.0  # bone, calcium, oral contrast in the NCCT: nothing is learnt of what they do
MOVED = 0.25  # of a voxel's tissue, by which two scans differ where breath or heart moved it
NEAR_LUNG_MM = 12.0
SKIN_MM = 20.0


@dataclass(frozen=True, eq=False)
class ShareTarget:
    """(Z, Y, X) arrays on the canonical grid, cut to the body.

    hu: NCCT. tissue: in [0, 1]. share: of the contrast of `phase`, in [0, HIGHEST_SHARE]. weight: of each voxel,
    0 where the share is not known. right: 1 in the right heart and pulmonary arteries, 0 in other blood, -1 unknown.
    """

    hu: NDArray[np.float32]
    tissue: NDArray[np.float32]
    share: NDArray[np.float32]
    weight: NDArray[np.float32]
    right: NDArray[np.float32]
    phase: str


def target_of_pair(
    ncct: NDArray,
    cect: NDArray,
    spacing_zyx: tuple[float, float, float],
    level_hu: float | None,
    *,
    simulated: bool,
    phase: str = "arterial",
    right_hu: tuple[float, float] | None = None,
) -> ShareTarget:
    """A pair on one grid, (Z, Y, X) HU, spacing in mm.

    Where two scans show other tissue, as breath and heart moved, or a border of the moved scan, nothing is learnt.

    level_hu: of the aorta in the CECT; None: from what rises most in the pair itself.
    right_hu: range of the right heart in the CECT, where it differs from the left.
    """
    from scipy.ndimage import binary_dilation, gaussian_filter, maximum_filter

    canonical = to_canonical(ncct, spacing_zyx)
    enhanced, enhanced_tissue = canonical.also(cect), canonical.also(tissue(cect))
    held = np.maximum(canonical.tissue, LEAST_TISSUE)
    rise = enhanced - canonical.hu
    if not simulated:
        rise = gaussian_filter(rise * canonical.tissue, (0, 0.7, 0.7)) / np.maximum(
            gaussian_filter(canonical.tissue, (0, 0.7, 0.7)), LEAST_TISSUE
        )
        held = np.ones_like(held)  # the smoothing has divided by it
    moved = np.zeros(rise.shape, bool)
    if not simulated:
        gap = gaussian_filter(np.abs(enhanced_tissue - canonical.tissue), (0, 1, 1)) > MOVED
        unmeasured = (canonical.also((cect <= -1024).astype(np.float32)) > 0.01) & (canonical.hu > -900)
        moved = binary_dilation(gap, np.ones((1, 3, 3))) | binary_dilation(unmeasured, np.ones((3, 3, 3)))
    sure = np.where(moved, np.float32(0), rise)
    native = _unenhanced(canonical, sure)
    full = _full_rise(canonical, sure) if level_hu is None else level_hu - native
    share = np.clip(rise / held / np.float32(full), 0, np.float32(HIGHEST_SHARE))
    share[canonical.tissue < LEAST_TISSUE] = 0
    weight = np.ones_like(share)
    hard = maximum_filter(canonical.hu, (1, 3, 3)) > HARD_HU
    weight[hard] = 0.3 if simulated else 0.0
    if simulated:
        weight[hard & (share > 0.03)] = 0
    else:
        share = np.clip(share - np.float32(NOISE_SHARE), 0, None) / np.float32(1 - NOISE_SHARE)
        weight[moved] = 0
    right = np.full(share.shape, -1, np.float32)
    if right_hu:
        right = _right(share, gaussian_filter(enhanced, (0, 1, 1)), right_hu)
    return ShareTarget(canonical.hu, canonical.tissue, share, weight, right, phase)


def target_of_unenhanced(ncct: NDArray, spacing_zyx: tuple[float, float, float]) -> ShareTarget:
    """A CT without a partner: away from lungs, heart and great vessels, in the wall of the chest, nothing enhances."""
    from scipy.ndimage import distance_transform_edt

    canonical = to_canonical(ncct, spacing_zyx)
    lung = (canonical.hu < -500) & (canonical.tissue < LEAST_TISSUE) & _body(canonical)
    weight = np.zeros_like(canonical.hu)
    for z, slice_ in enumerate(lung):
        if slice_.sum() < 400:  # too little to tell where the heart may be
            continue
        from_skin = distance_transform_edt(_body(canonical)[z], sampling=1.5)
        from_lungs = distance_transform_edt(~_between(slice_), sampling=1.5)
        weight[z] = (from_lungs > NEAR_LUNG_MM) & (from_skin < 4 * SKIN_MM)
    return ShareTarget(
        canonical.hu,
        canonical.tissue,
        np.zeros_like(canonical.hu),
        weight.astype(np.float32),
        np.full(canonical.hu.shape, -1, np.float32),
        "arterial",
    )


def _body(canonical: CanonicalCT) -> NDArray[np.bool_]:
    return canonical.hu > -1000


def _between(lung: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(Y, X): the convex hull of the lungs of a slice."""
    from skimage.morphology import convex_hull_image

    return np.asarray(convex_hull_image(lung))


def _unenhanced(canonical: CanonicalCT, rise: NDArray[np.float32]) -> float:
    """HU of blood in the NCCT: of what rises most."""
    blood = (rise > 0.8 * np.percentile(rise[canonical.tissue > 0.9], 99)) & (canonical.tissue > 0.95)
    blood &= (canonical.hu > 0) & (canonical.hu < 90)
    return float(np.median(canonical.hu[blood])) if blood.sum() > 100 else UNENHANCED_HU


def _full_rise(canonical: CanonicalCT, rise: NDArray[np.float32]) -> float:
    """HU by which blood rises: the median of what rises at least half as much as what rises most.

    Heart and aorta often differ, as the bolus passes; neither is to be taken for half-enhanced tissue.
    """
    soft = rise[(canonical.tissue > 0.95) & (canonical.hu > 0) & (canonical.hu < 90)]
    if not len(soft):
        return 1.0
    blood = soft[soft > 0.5 * np.percentile(soft, 99.5)]
    return max(1.0, float(np.median(blood)))


def _right(
    share: NDArray[np.float32], enhanced: NDArray[np.float32], right_hu: tuple[float, float]
) -> NDArray[np.float32]:
    from scipy.ndimage import binary_erosion, binary_opening

    blood = binary_erosion(share > BLOOD_SHARE, np.ones((1, 3, 3)))
    within = binary_opening(blood & (enhanced > right_hu[0]) & (enhanced < right_hu[1]), np.ones((1, 5, 5)))
    right = np.full(share.shape, -1, np.float32)
    right[binary_opening(blood & ~within, np.ones((1, 3, 3)))] = 0
    right[within] = 1
    return right
