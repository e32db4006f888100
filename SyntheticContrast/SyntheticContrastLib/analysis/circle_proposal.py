"""Where the aorta and fat circles of a lesion may go, on its axial CECT slice: first positions for a reader to check.

The descending aorta is the bright round blood pool beside the front of the vertebral body, from its left to its middle.
Subcutaneous fat has -130 to -70 HU and lies under the skin, outside the ribs, on either side.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.analysis.body import body_mask
from SyntheticContrastLib.analysis.circles import Circle
from SyntheticContrastLib.analysis.cnr import AORTA, FAT_HU, FAT_LEFT, FAT_RIGHT
from SyntheticContrastLib.ct.chest import coarse_chest, find_lungs, find_spine
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.volume import CTVolume

SLAB_MM = 30.0  # so much above and below the slice tells where the spine is
# HU from weak contrast upwards; the aorta stands apart from its surroundings at one of them at least.
BLOOD_POOL_HU = (75, 85, 100, 120, 145, 175, 210, 250, 300, 350, 400, 450)
AORTA_DIAMETER_MM = (14.0, 42.0)
NECK_MM = (4.0, 6.0, 8.0)  # half of the width of what may join it to a neighbour: a vein, the left atrium
MOST_UNEVEN = 0.15  # SD of its smoothed inside, as a share of the mean: bone is less even
LEAST_ROUND = 0.7  # share of its circumscribed circle
SKIN_MM = 3.0
DEEPEST_FAT_MM = 60.0
FAT_MARGIN_MM = 2.0


def propose_circles(volume: CTVolume, z: int, diameter: float) -> dict[str, Circle | None]:
    """Aorta, right and left fat circle, by role; None where no place is found. LPS mm, in the plane of the slice.

    Args:
        volume: a CECT.
        z: canonical slice, from 0 at the superior end.
        diameter: mm, of every circle.

    Raises:
        InputError: there is no such slice.
    """
    if not 0 <= z < len(volume.hu):
        raise InputError(f"slice {z + 1} is not in the CT of {len(volume.hu)} slices")
    spacing = volume.spacing_zyx
    reach = round(SLAB_MM / spacing[0])
    top = max(0, z - reach)
    slab = volume.hu[top : z + reach + 1]
    try:
        coarse, steps = coarse_chest(slab, spacing)
        z_mm, y_mm, x_mm = (side * step for side, step in zip(spacing, steps, strict=True))
        lungs = find_lungs(coarse, (z_mm, y_mm, x_mm))
    except InputError:  # no lungs: no chest
        return dict.fromkeys((AORTA, FAT_RIGHT, FAT_LEFT))
    spine = find_spine(coarse, lungs, (z_mm, y_mm, x_mm))
    at = (z - top) // steps[0]
    middle, front = float(spine.x[at] * steps[2]), float(spine.front[at] * steps[1])
    plane = np.clip(volume.hu[z], -1024, 2000).astype(np.float32)
    lung = np.kron(lungs[at], np.ones(steps[1:], bool))[: plane.shape[0], : plane.shape[1]]
    places = {AORTA: _aorta(plane, middle, front, spacing[1:]), **_fat(plane, lung, middle, spacing[1:], diameter)}
    affine = volume.grid.canonical_affine
    normal = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    return {
        role: None if place is None else _circle(affine @ [place[1], place[0], z, 1.0], normal, diameter)
        for role, place in places.items()
    }


def _circle(centre: NDArray[np.float64], normal: NDArray[np.float64], diameter: float) -> Circle:
    x, y, z = (float(value) for value in centre[:3])
    a, b, c = (float(value) for value in normal)
    return Circle((x, y, z), diameter, (a, b, c))


def _aorta(
    plane: NDArray[np.float32], middle: float, front: float, spacing: tuple[float, float]
) -> tuple[float, float] | None:
    """Its middle (y, x) in pixels. `middle`: column of the midline; `front`: row of the front of the vertebral body."""
    from scipy import ndimage

    (y_mm, x_mm), (height, width) = spacing, plane.shape
    rows = slice(max(0, int(front - 55 / y_mm)), min(height, int(front + 30 / y_mm)))
    columns = slice(max(0, int(middle - 20 / x_mm)), min(width, int(middle + 65 / x_mm)))
    window = ndimage.gaussian_filter(plane[rows, columns], (1.2 / y_mm, 1.2 / x_mm))
    y, x = np.mgrid[rows, columns]
    left, before = (x - middle) * x_mm, (front - y) * y_mm
    behind_front = np.maximum(before + 18, 0)
    window[np.hypot(left, behind_front) < 19] = -1000  # the vertebral body, round at its front, and what is behind it
    best: tuple[float, tuple[float, float]] | None = None
    for threshold, neck in product(BLOOD_POOL_HU, NECK_MM):
        inside = ndimage.distance_transform_edt(np.pad(window > threshold, 1), sampling=spacing)[1:-1, 1:-1]
        labels, count = ndimage.label(inside > neck)
        for number in range(1, count + 1):
            piece = ndimage.distance_transform_edt(labels != number, sampling=spacing) <= neck
            area = np.count_nonzero(piece) * y_mm * x_mm
            at = float(left[piece].mean()), float(before[piece].mean())
            farthest = np.hypot(left[piece] - at[0], before[piece] - at[1]).max()
            across, roundness = 2 * np.sqrt(area / np.pi), area / (np.pi * farthest**2)
            if not AORTA_DIAMETER_MM[0] <= across <= AORTA_DIAMETER_MM[1] or roundness < LEAST_ROUND:
                continue
            if not (0 <= at[0] <= 55 and -20 <= at[1] <= 30):
                continue
            room = ndimage.distance_transform_edt(np.pad(piece, 1), sampling=spacing)[1:-1, 1:-1]
            uneven = float(window[room > 2].std() / window[room > 2].mean())
            if uneven > MOST_UNEVEN:
                continue
            # rounder, larger, and nearer to where it mostly is
            score = roundness + across / 100 - np.hypot(at[0] - 22, at[1] - 2) / 100
            if best is None or score > best[0]:
                core = room >= room.max() - 1  # mm; a vein that is joined to it does not pull the middle aside
                best = float(score), (float(y[core].mean()), float(x[core].mean()))
    return best[1] if best else None


def _fat(
    plane: NDArray[np.float32],
    lung: NDArray[np.bool_],
    middle: float,
    spacing: tuple[float, float],
    diameter: float,
) -> dict[str, tuple[float, float] | None]:
    """(y, x) in pixels, by role, of a circle with nothing but fat in it."""
    from scipy import ndimage
    from skimage.morphology import convex_hull_image

    body = body_mask(plane, spacing)
    if not body.any():
        return {FAT_RIGHT: None, FAT_LEFT: None}
    depth = ndimage.distance_transform_edt(np.pad(body, 1), sampling=spacing)[1:-1, 1:-1]
    smooth = ndimage.gaussian_filter(plane, [1.5 / side for side in spacing])
    fat = (smooth >= FAT_HU[0]) & (smooth <= FAT_HU[1]) & (depth > SKIN_MM) & (depth < DEEPEST_FAT_MM)
    if lung.any():
        fat &= ~convex_hull_image(lung)
    room = ndimage.distance_transform_edt(np.pad(fat, 1), sampling=spacing)[1:-1, 1:-1]
    # Strands and glands, which are no noise: the SD of the smoothed image in a square of the circle's size.
    square = [max(3, round(diameter / side)) for side in spacing]
    clipped = np.clip(smooth, -200, 100).astype(np.float64)
    variance = ndimage.uniform_filter(clipped**2, square) - ndimage.uniform_filter(clipped, square) ** 2
    uneven = np.sqrt(np.maximum(variance, 0))
    left = (np.arange(plane.shape[1]) - middle)[None] * spacing[1]
    found: dict[str, tuple[float, float] | None] = {}
    for role, side in ((FAT_RIGHT, left < -30), (FAT_LEFT, left > 30)):
        fits = np.where(side, room, 0.0)
        # Of the places with room to spare, an even one near the skin.
        score = np.minimum(fits, diameter / 2 + FAT_MARGIN_MM) - 0.1 * uneven - 0.01 * depth
        y, x = np.unravel_index(int(np.argmax(np.where(fits >= diameter / 2, score, -np.inf))), plane.shape)
        found[role] = (float(y), float(x)) if fits[y, x] >= diameter / 2 else None
    return found
