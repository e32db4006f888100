"""Simulated virtual non-contrast (VNC): a contrast chest CT (CECT) with its iodine taken out.

Most archives hold only contrast CTs, so the non-contrast partner of a training pair is made here. Iodine is what an
edge-preserving smoothing leaves above the HU that tissue has without contrast, inside the body, and outside bone and
oral contrast. What blood, bone and oral contrast are is told from the even lumps of the smoothed image: by their level
against that of the aorta, a shell denser than they are, contact with gas, and their place before or behind the aorta.

Volumes are (Z, Y, X) in HU, Z from superior to inferior, rows from front to back; spacing is (z, y, x) in mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.enhanced import ENHANCED_SHARE, enhanced_share

VNC_VERSION = 4  # counts up whenever the same CECT gives another VNC
BLOOD_HU = 40.0  # unenhanced blood
HEART_HU = 48.0  # unenhanced myocardium and what else lies by the blood
LIVER_HU, KIDNEY_HU = 62.0, 30.0  # the brightest and the darkest unenhanced organ
LEAST_HU = 85.0  # blood below this is not taken for enhanced

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
ORGAN, BLOOD, BONE, ORAL = range(4)


@dataclass(frozen=True)
class VirtualNonContrast:
    """`vnc_hu` and `iodine_hu` (Z, Y, X) int16, whose sum is the CECT; `blood_hu`, the level of the aorta."""

    vnc_hu: NDArray[np.int16]
    iodine_hu: NDArray[np.int16]
    blood_hu: float


def simulate_vnc(cect_hu: NDArray[Any], spacing_zyx: Spacing, native_hu: float = BLOOD_HU) -> VirtualNonContrast:
    """Take the iodine out of a contrast chest CT (Z, Y, X) in HU, and leave blood at `native_hu`.

    A CT without enhanced blood comes back unchanged, with `blood_hu` NaN. The same CECT gives the same VNC.

    Raises:
        ValueError: if the array does not have three axes.
    """
    if cect_hu.ndim != 3:
        raise ValueError(f"expected a (Z, Y, X) volume, got {cect_hu.ndim} axes")
    hu = np.clip(cect_hu, -1024, 3071).astype(np.float32)
    iodine = np.zeros(hu.shape, dtype=np.int16)
    level = float("nan")
    box = body_box(hu)
    seen = enhanced_share(hu, spacing_zyx)
    if box is not None and (seen is None or seen >= ENHANCED_SHARE):
        hu = hu[box]
        smooth = smoothed(hu)
        step = max(1, round(1.5 / spacing_zyx[1]))
        spacing = (spacing_zyx[0], step * spacing_zyx[1], step * spacing_zyx[2])
        coarse = smooth[:, ::step, ::step]
        body = body_mask(coarse)
        aorta = find_aorta(np.where(body, coarse, -1000), spacing)
        if aorta is not None:
            level = aorta[0]
            kinds = sort_tissue(coarse, body, *aorta, spacing)
            iodine[box] = np.rint(iodine_of(hu, smooth, kinds, body, level, native_hu, spacing, step))
    return VirtualNonContrast((cect_hu - iodine).astype(np.int16), iodine, level)


def body_box(hu: Floats) -> tuple[slice, slice, slice] | None:
    """Slices around everything denser than -300 HU, with a margin of 8 voxels; None where there is nothing."""
    solid = hu > -300.0
    if not solid.any():
        return None
    box = []
    for axis in range(3):
        used = np.flatnonzero(solid.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(max(0, int(used[0]) - 8), int(used[-1]) + 9))
    return box[0], box[1], box[2]


def smoothed(hu: Floats) -> Floats:
    """The CT (Z, Y, X) in HU without what is finer than its tissues: total variation, slice by slice."""
    from scipy import ndimage
    from skimage.restoration import denoise_tv_chambolle

    fine = np.abs(hu - ndimage.uniform_filter(hu, (1, 3, 3)))[np.abs(hu - 40.0) < 150.0]
    weight = max(0.03, 0.0015 * float(np.median(fine))) if fine.size else 0.03
    planes = np.clip(hu, -1000.0, 1500.0) / 1000.0
    calm = np.stack([denoise_tv_chambolle(plane, weight=weight, max_num_iter=30) for plane in planes])
    return (1000.0 * calm).astype(np.float32)


def body_mask(smooth: Floats) -> Mask:
    """The largest solid object with what it encloses in plane: no table, no arms' sleeves."""
    from scipy import ndimage

    solid = ndimage.binary_opening(smooth > -290.0, np.ones((1, 5, 5)))
    labels, _ = ndimage.label(solid)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.stack([ndimage.binary_fill_holes(plane) for plane in labels == np.argmax(sizes)])


def find_aorta(smooth: Floats, spacing: Spacing) -> tuple[float, Mask] | None:
    """Level (HU) and core (Z, Y, X) of the aorta: the longest pile of bright, even discs; None if there is none.

    A disc is 13 to 44 mm wide, has no rim brighter than itself and is dark all around. It is looked for in slices
    about 5 mm apart, under several thresholds, because its level is not known.
    """
    from scipy import ndimage

    apart = max(1, round(5.0 / spacing[0]))
    rows, columns = np.arange(smooth.shape[1])[:, None], np.arange(smooth.shape[2])
    reach = [round(30.0 / side) for side in spacing[1:]]
    discs = np.zeros(smooth.shape, dtype=np.float32)
    for z in range(min(apart // 2, len(smooth) - 1), len(smooth), apart):
        for threshold in (300.0, 200.0, 130.0, LEAST_HU):
            radii = ndimage.distance_transform_edt(smooth[z] > threshold, sampling=spacing[1:])
            peaks = (radii == ndimage.maximum_filter(radii, 9)) & (radii > 6.5) & (radii < 22.0)
            for y, x in np.argwhere(peaks):
                near = np.s_[max(0, y - reach[0]) : y + reach[0] + 1, max(0, x - reach[1]) : x + reach[1] + 1]
                values = smooth[z][near]
                away = np.hypot((rows[near[0]] - y) * spacing[1], (columns[near[1]] - x) * spacing[2]) / radii[y, x]
                core, rim, ring = values[away < 0.6], values[(away > 0.7) & (away < 1.1)], (away > 1.25) & (away < 1.6)
                level = float(np.median(core))
                even = core.std() < 0.08 * level + 4.0 and np.percentile(rim, 80) < 1.1 * level
                if even and (values[ring] < 0.6 * level + 30.0).mean() > 0.66:
                    pile = slice(z, z + apart), *near
                    discs[pile][:, away < 0.6] = level
    labels, count = ndimage.label(discs > 0)
    if not count:
        return None
    middle = float(np.median(np.nonzero(smooth > -300.0)[2]))
    scores = []
    for part in ndimage.find_objects(labels):
        height, row, column = part[0].stop - part[0].start, part[1].stop + part[1].start, part[2].stop + part[2].start
        scores.append(height * row * (1.0 - abs(0.5 * column / middle - 1.0)) * np.sqrt(discs[part].max()))
    core = labels == int(np.argmax(scores)) + 1
    return float(np.median(smooth[core])), core


def sort_tissue(smooth: Floats, body: Mask, level: float, aorta: Mask, spacing: Spacing) -> NDArray[np.int8]:
    """ORGAN, BLOOD, BONE (and calcium, each with what it encloses) or ORAL (contrast) for each voxel (Z, Y, X).

    Even lumps are sorted one by one, and grow along the gradient over all that is bright.
    """
    from scipy import ndimage
    from skimage.segmentation import watershed

    bright = (smooth > max(LEAST_HU, 0.5 * level + 25.0)) & body
    steep = np.hypot(*(ndimage.gaussian_filter(smooth, (0.0, 0.8, 0.8), order) for order in ((0, 1, 0), (0, 0, 1))))
    inner = ndimage.distance_transform_edt(bright, sampling=spacing)
    labels, _ = ndimage.label((inner > 3.0) & (steep < 0.12 * level))
    sizes = np.bincount(labels.ravel()) * float(np.prod(spacing)) / 1000.0
    gas, lung = air(smooth, body, spacing)
    top = ndimage.maximum_filter(smooth, (1, 3, 3))
    planes = np.flatnonzero(aorta.any(axis=(1, 2)))
    back = np.interp(range(len(smooth)), planes, [np.flatnonzero(aorta[z].any(axis=1))[-1] for z in planes])
    row = np.arange(smooth.shape[1])[None, :, None]
    behind = np.broadcast_to(row > back[:, None, None] + 6.0 / spacing[1], smooth.shape)
    width = round(30.0 / spacing[1])
    front = np.argmax(lung.any(axis=2), axis=1) + 15.0 / spacing[1]  # what is before that may be the sternum
    chest = lung.sum(axis=(1, 2)) > 0.2 * body.sum(axis=(1, 2))  # too high for bowel
    columns = np.flatnonzero(body.any(axis=(0, 1)))
    central = np.zeros(smooth.shape[2], dtype=bool)
    central[int(0.75 * columns[0] + 0.25 * columns[-1]) : int(0.25 * columns[0] + 0.75 * columns[-1])] = True
    amid = (between(lung) | (chest[:, None, None] & central)) & (row > front[:, None, None]) & ~behind
    before = amid & (row < back[:, None, None] - 20.0 / spacing[1])  # no spine
    by_middle = abs(np.arange(smooth.shape[2]) - np.median(np.nonzero(body)[2])) * spacing[2] < 18.0
    spine = amid & ~before & by_middle
    amid |= ndimage.uniform_filter(lung.astype(np.float32), (1, width, width)) > 0.5

    marks = np.zeros(smooth.shape, dtype=np.int32)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if sizes[number] < 0.15:
            continue
        pad = tuple(slice(max(0, side.start - 5), side.stop + 5) for side in box)
        lump = labels[pad] == number
        away = distance_to(lump, spacing)
        ring = (away > 2.0) & (away < 6.0)
        median = float(np.median(smooth[pad][lump]))
        shell = float((top[pad][ring] > median + max(50.0, 0.15 * level)).mean())
        touch = np.count_nonzero(gas[pad] & (away < 6.0)) / np.count_nonzero(lump)
        place = [float(where[pad][lump].mean()) for where in (amid, before, behind, spine)]
        kind = BLOOD if (aorta[pad] & lump).any() else kind_of(median, level, shell, touch, *place)
        marks[pad][lump] = kind + 1

    lumps = distance_to(np.isin(marks, (BLOOD + 1, ORAL + 1)), spacing) < 3.2
    dense = (smooth > max(1.2 * level, level + 70.0)) & body & ~lumps
    parts, count = ndimage.label(dense)
    every = np.arange(count + 1)
    veins = (ndimage.mean(before, parts, every) > 0.8) & (np.bincount(parts.ravel()) * np.prod(spacing) > 250.0)
    marks[dense & (marks == 0)] = BONE + 1
    marks[dense & veins[parts]] = BLOOD + 1
    kinds = watershed(steep, marks, mask=bright | (marks > 0)) - 1
    rest, count = ndimage.label(bright & (kinds < 0))
    kinds = np.maximum(kinds, ORGAN)
    if count:
        every = np.arange(1, count + 1)
        bony = (ndimage.maximum(smooth, rest, every) > min(0.9 * level, 320.0)) & (
            ndimage.mean(amid, rest, every) < 0.5
        )
        kinds[np.isin(rest, every[bony])] = BONE
    free = kinds != BLOOD
    kinds[enclosed(kinds == BONE, spacing) & free] = BONE
    return kinds.astype(np.int8)


def kind_of(
    median: float, level: float, shell: float, gas: float, amid: float, before: float, behind: float, spine: float
) -> int:
    """What an even lump of a median HU is, the aorta being at `level`.

    The rest are shares of it: of its surface under a denser shell, of gas at it to its volume, and of its volume amid
    the lungs, before the spine, behind the aorta, and beside it where the spine is.
    """
    if (shell > 0.25 and before < 0.5) or spine > 0.5:
        return BONE
    if behind > 0.5:
        return BONE if shell > 0.1 or median > max(1.3 * level, 300.0) else ORGAN
    if amid > 0.2:
        return BLOOD if median > 0.6 * level else ORGAN
    return ORAL if gas > 0.01 or median > 200.0 else ORGAN


def between(mask: Mask) -> Mask:
    """Voxels (Z, Y, X) with the mask to the left and to the right of them in their row."""
    return np.maximum.accumulate(mask, axis=2) & np.maximum.accumulate(mask[:, :, ::-1], axis=2)[:, :, ::-1]


def enclosed(bone: Mask, spacing: Spacing) -> Mask:
    """Bone (Z, Y, X) with its marrow and the canal: dilated by 7 mm in plane, holes of up to 15 cm2 filled, eroded."""
    from scipy import ndimage

    filled = bone.copy()
    for plane, full in zip(bone, filled, strict=True):
        if plane.any():
            near = np.pad(ndimage.distance_transform_edt(~plane, sampling=spacing[1:]) <= 7.0, 1)
            holes, _ = ndimage.label(~near)
            small = np.bincount(holes.ravel()) * spacing[1] * spacing[2] < 1500.0
            small[0] = True
            full |= ndimage.distance_transform_edt(small[holes], sampling=spacing[1:])[1:-1, 1:-1] > 7.0
    return filled


def iodine_of(
    hu: Floats,
    smooth: Floats,
    kinds: NDArray[np.int8],
    body: Mask,
    level: float,
    native_hu: float,
    spacing: Spacing,
    step: int,
) -> Floats:
    """Iodine (Z, Y, X) in HU on the grid of `hu`; `kinds`, `body` and `spacing` are of every `step`-th voxel in plane.

    Each voxel keeps its place between the darkest and the brightest tissue around it, once these are unenhanced, so
    that edges and thin vessels lose their share. The brighter an organ, the darker it was (kidney 30, spleen 50 HU).
    """
    from scipy import ndimage

    def fine(values: NDArray[Any], order: int = 1) -> Floats:
        factors = (1.0, hu.shape[1] / values.shape[1], hu.shape[2] / values.shape[2])
        values = values.astype(np.float32)
        return ndimage.zoom(values, factors, order=order, mode="nearest", grid_mode=True) if step > 1 else values

    stays = distance_to(kinds == BONE, spacing) <= max(1.2, 1.05 * spacing[1])
    stays |= distance_to(kinds == ORAL, spacing) <= 4.0
    stays &= kinds != BLOOD
    changes = fine(body, 0) * np.clip(1.6 - 1.6 * fine(stays), 0.0, 1.0)
    by_heart = np.clip(2.0 - fine(np.minimum(distance_to(kinds == BLOOD, spacing), 60.0)) / 12.0, 0.0, 1.0)

    def unenhanced(values: Floats) -> Floats:
        organ = np.clip(LIVER_HU - 0.2 * (values - LIVER_HU), KIDNEY_HU, LIVER_HU)
        return np.minimum(values, organ + by_heart * (HEART_HU - organ))

    low = ndimage.minimum_filter(smooth, (1, 5, 5))
    high = ndimage.maximum_filter(np.where(changes > 0.0, smooth, -1000.0), (1, 5, 5))
    place = np.clip((smooth - low) / np.maximum(high - low, 1.0), 0.0, 1.0)
    dark, light = unenhanced(low), unenhanced(high)
    iodine = changes * np.maximum(smooth - (dark + place * (light - dark)), 0.0)

    rest = hu - smooth
    sd = np.sqrt(ndimage.gaussian_filter(rest**2, (0.0, 2.5 * step / spacing[1], 2.5 * step / spacing[2])))
    tissue = np.abs(smooth - 40.0) < 40.0
    noise = float(np.median(sd[tissue])) if tissue.any() else 10.0
    calm = np.minimum(1.0, 1.2 * noise / np.maximum(sd, 1.0))  # what the smoothing missed of edges and streaks
    iodine += np.clip(iodine / 40.0, 0.0, 1.0) * (1.0 - calm) * rest
    return iodine - np.clip(iodine / (level - HEART_HU), 0.0, 1.0) * (native_hu - HEART_HU)


def air(smooth: Floats, body: Mask, spacing: Spacing) -> tuple[Mask, Mask]:
    """Masks (Z, Y, X) of bowel gas and of lung. Gas has no tissue in it, or fills less than 10 cm2 in every slice."""
    from scipy import ndimage

    thin = (smooth < -400.0) & body
    labels, count = ndimage.label(ndimage.binary_erosion(thin, np.ones((1, 3, 3))))
    lung = np.zeros(count + 1, dtype=bool)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        part = labels[box] == number
        area = part.sum(axis=(1, 2)).max() * spacing[1] * spacing[2] / 100.0
        lung[number] = area > (10.0 if smooth[box][part].mean() > -945.0 else 60.0)
    lungs = ndimage.binary_dilation(lung[labels], np.ones((1, 5, 5))) & thin
    return ndimage.binary_dilation((labels > 0) & ~lung[labels], np.ones((1, 5, 5))) & thin & ~lungs, lungs


def distance_to(mask: Mask, spacing: Spacing) -> Floats:
    """Distance (mm) of every voxel to the mask; 1000 mm where the mask is empty."""
    from scipy import ndimage

    if not mask.any():
        return np.full(mask.shape, 1000.0, dtype=np.float32)
    return ndimage.distance_transform_edt(~mask, sampling=spacing).astype(np.float32)
