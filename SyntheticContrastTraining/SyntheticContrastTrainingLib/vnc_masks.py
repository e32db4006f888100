"""Where the iodine of a contrast chest CT is: masks of the enhanced blood, of bone, and of lung vessels.

The masks only need to be right about what a piece of the image is. They may be coarse, because the edges of the VNC are
taken from the image and not from them.

Volumes are (Z, Y, X) in HU, Z from superior to inferior; spacing is (z, y, x) in mm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEART_HU = 45.0  # unenhanced myocardium and what else touches the blood pool
LEVELS_HU = (300.0, 200.0, 150.0, 120.0, 85.0)  # where the blood pool is looked for, strongest first

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
Index = tuple[NDArray[np.intp], ...]


@dataclass(frozen=True)
class Anatomy:
    """Masks (Z, Y, X), and `level`, the HU of the enhanced blood.

    `pool` is the core of the heart and the great vessels, `blood` all that is blood, `bone` bone and calcification
    with the marrow in it, and `lung_vessels` the thin ones within the lungs. `from_pool` and `from_bone` are distances
    in mm, the latter from bone and all that it encloses.
    """

    level: float
    pool: Mask
    blood: Mask
    bone: Mask
    lung_vessels: Mask
    from_pool: Floats
    from_bone: Floats


def find_anatomy(smooth: Floats, noise: float, quiet: Mask, spacing: Spacing) -> Anatomy | None:
    """The masks of a denoised CECT (Z, Y, X) in HU, `quiet` where it is homogeneous; None without enhanced blood.

    `noise` (HU) is the SD of the noise in the CECT. The masks are found on voxels of about 1.5 mm in plane, which is
    enough and takes a quarter of the time.
    """
    from scipy import ndimage

    step = max(1, round(1.5 / spacing[1]))
    coarse_spacing = (spacing[0], step * spacing[1], step * spacing[2])
    coarse, peak = blocks(smooth, step).mean(axis=(2, 4)), blocks(smooth, step).max(axis=(2, 4))
    found = find_blood_level(coarse, quiet[:, ::step, ::step], coarse_spacing)
    if found is None:
        return None
    level, pool = found
    blood, bone, veins = split_blood_and_bone(coarse, peak, quiet[:, ::step, ::step], pool, level, coarse_spacing)

    sigma = tuple(5.0 / side for side in coarse_spacing)
    local = masked_mean(coarse, blood, sigma)
    embedded = ndimage.gaussian_filter(blood.astype(np.float32), sigma) > 0.3
    small = 3000.0 / float(np.prod(coarse_spacing))

    def only_dense_blood(part: Index) -> bool:
        return part[0].size < small and bool(
            embedded[part].mean() > 0.5 and np.median(coarse[part]) < 1.3 * np.median(local[part])
        )

    dense_blood = keep_components(bone, only_dense_blood)
    blood, bone = blood | dense_blood, bone & ~dense_blood

    def fine(values: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(np.repeat(values, step, axis=1), step, axis=2)[:, : smooth.shape[1], : smooth.shape[2]]

    # Calcifications are smaller than the coarse voxels.
    specks = (smooth > max(1.3 * level + 4.0 * noise, 300.0)) & ~fine(dilate(veins, 5.0, coarse_spacing))
    bone_with_specks = fine(bone) | specks
    return Anatomy(
        level=level,
        pool=fine(pool),
        blood=fine(blood) & ~specks,
        bone=bone_with_specks,
        lung_vessels=lung_vessels(smooth, bone_with_specks, spacing) & fine(within_body(coarse, coarse_spacing)),
        from_pool=fine(distance_to(pool, coarse_spacing)),
        from_bone=fine(distance_to(enclose(bone, 9.0, coarse_spacing), coarse_spacing)),
    )


def blocks(values: Floats, step: int) -> Floats:
    """In-plane blocks (Z, Y / step, step, X / step, step) of a volume, its last voxels repeated to fit."""
    padded = np.pad(values, ((0, 0), (0, -values.shape[1] % step), (0, -values.shape[2] % step)), mode="edge")
    depth, height, width = padded.shape
    return padded.reshape(depth, height // step, step, width // step, step)


def find_blood_level(smooth: Floats, quiet: Mask, spacing: Spacing) -> tuple[float, Mask] | None:
    """Level (HU) and core of the blood pool: the brightest large, homogeneous lumps beside the lungs.

    A lump in a shell denser than itself is marrow.
    """
    from scipy import ndimage

    voxel_ml = float(np.prod(spacing)) / 1000.0
    by_lung = dilate(erode((smooth > -930.0) & (smooth < -500.0), 3.0, spacing), 40.0, spacing)
    for threshold in LEVELS_HU:
        core = erode(quiet & (smooth > threshold) & (smooth < 800.0), 3.0, spacing)
        labels, count = ndimage.label(core)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        beside = np.bincount(labels[by_lung].ravel(), minlength=count + 1)
        sizes[beside < 0.5 * sizes] = 0
        sizes[0] = 0
        for largest in np.argsort(-sizes)[: np.count_nonzero(sizes * voxel_ml >= 60.0)]:
            level = float(np.median(smooth[labels == largest]))
            away = distance_to(labels == largest, spacing)
            shell = smooth[(away > 3.0) & (away < 7.0)]
            if (shell > level + 60.0).mean() > 0.12:
                continue
            pool = np.zeros(core.shape, dtype=bool)
            for number in np.flatnonzero(sizes * voxel_ml >= 8.0):
                part = labels == number
                if abs(float(np.median(smooth[part])) - level) < 0.2 * level:
                    pool |= part
            return level, pool
    return None


def split_blood_and_bone(
    smooth: Floats, peak: Floats, quiet: Mask, pool: Mask, level: float, spacing: Spacing
) -> tuple[Mask, Mask, Mask]:
    """Masks of blood, of bone, and of undiluted contrast in the blood (Z, Y, X).

    They grow from sure markers over everything brighter than half the blood. Sure bone is a large piece denser than
    blood, with the marrow that it encloses; a dense lump by the blood pool is a vein full of undiluted contrast, and
    small dense pieces are calcifications.
    """
    from scipy import ndimage
    from skimage.segmentation import watershed

    voxel_ml = float(np.prod(spacing)) / 1000.0
    threshold = max(0.5 * (level + HEART_HU), 85.0)
    candidates = smooth > threshold
    mediastinal = between(erode((smooth > -930.0) & (smooth < -500.0), 2.0, spacing))
    beyond_pool = distance_to(pool, spacing)

    inner_dense = ndimage.distance_transform_edt(smooth > max(1.3 * level, 450.0), sampling=spacing)
    beside = (inner_dense > 2.5) & (mediastinal | (beyond_pool < 8.0))
    beside = keep_components(beside, lambda part: float(beyond_pool[part].min()) < 12.0)
    solid = (inner_dense > 4.0) & (beyond_pool < 40.0)  # hardly any bone before the spine is so thick and so dense
    last_row = int(np.flatnonzero(pool.any(axis=(0, 2)))[-1])
    solid[:, max(0, last_row - round(20.0 / spacing[1])) :] = False
    cortical = peak > max(300.0, level + 95.0)
    shell = (peak > 250.0) & ~dilate(erode(peak > 250.0, 3.0, spacing), 5.0, spacing)
    cortical[:, last_row + 1 :] |= shell[:, last_row + 1 :]  # behind the blood pool what is thin and bright is bone
    spine = np.nonzero((cortical & mediastinal)[:, last_row + 1 :])[2]
    if spine.size:  # the front of the vertebrae lies beside the aorta
        reach = round(25.0 / spacing[1])
        column = int(np.median(spine))
        front = np.s_[:, max(0, last_row - reach) : last_row + 1, max(0, column - reach) : column + reach]
        cortical[front] |= shell[front]
    veins = cortical & (mediastinal | (beyond_pool < 15.0)) & dilate(beside | solid, 12.0, spacing)
    veins |= cortical & dilate(solid, 13.0, spacing)
    # A thick piece denser than the blood, amid blood and going nowhere away from it, is in the heart or a great vein.
    dense = (smooth > 1.3 * level) & ~dilate(veins, 2.0, spacing)
    thick = ndimage.distance_transform_edt(dense, sampling=spacing) > 2.0
    lumen = erode(candidates & (smooth < 1.3 * level), 2.0, spacing) | pool
    by_lumen = dilate(keep_components(lumen, lambda part: bool(pool[part].any())), 6.0, spacing)
    veins |= keep_components(
        dense,
        lambda part: (
            bool(thick[part].any()) and float(by_lumen[part].mean()) > 0.3 and float(beyond_pool[part].max()) < 40.0
        ),
    )
    bone = keep_components(
        cortical & ~dilate(veins, 1.5, spacing),
        lambda part: part[0].size * voxel_ml > 1.0 and float(beyond_pool[part].max()) > 30.0,
    )
    bone = enclose(bone, 4.0, spacing) & ~veins

    inner = ndimage.distance_transform_edt(candidates & (smooth < 1.4 * level) & ~bone, sampling=spacing)
    trunk = keep_components(((inner > 3.0) & quiet) | pool, lambda part: bool(pool[part].any()))
    sure_blood = trunk | veins | ((inner > 1.5) & dilate(trunk, 5.0, spacing))
    marrow = erode(enclose(bone, 9.0, spacing), 2.0, spacing)
    markers = np.where(sure_blood, 1, np.where(bone | marrow, 2, 0)).astype(np.int8)
    edges = ndimage.gaussian_gradient_magnitude(smooth, (0.0, 0.7, 0.7))
    regions = watershed(edges, markers, mask=candidates | bone | sure_blood)

    loose = candidates & (regions == 0)
    within = mediastinal | closed_lung(smooth, spacing)
    vessels = keep_components(
        loose,
        lambda part: (
            float(smooth[part].max()) < 1.3 * level
            and (float(within[part].mean()) > 0.5 or float(inner[part].max()) > 5.0)
        ),
    )
    other = keep_components(
        loose & ~vessels,
        lambda part: float(smooth[part].max()) > max(350.0 if part[0].size * voxel_ml > 3.0 else 200.0, 0.8 * level),
    )
    blood = (regions == 1) | vessels
    weak = (smooth > max(0.36 * level + 0.64 * HEART_HU, 85.0)) & (smooth < 1.4 * level) & (regions != 2) & ~other
    lumens = (ndimage.distance_transform_edt(weak, sampling=spacing) > 5.0) & quiet  # the aorta, as the contrast thins
    lumens = keep_components(lumens | trunk, lambda part: bool(trunk[part].any()))
    return blood | (weak & dilate(lumens, 5.0, spacing)), (regions == 2) | other, veins


def between(mask: Mask) -> Mask:
    """Voxels (Z, Y, X) with the mask to the left and to the right of them in their row."""
    right = np.maximum.accumulate(mask, axis=2)
    left = np.maximum.accumulate(mask[:, :, ::-1], axis=2)[:, :, ::-1]
    return right & left


def within_body(smooth: Floats, spacing: Spacing) -> Mask:
    """Voxels (Z, Y, X) between tissue to the left and to the right, or a volume's side that cuts through the body."""
    from scipy import ndimage

    tissue = erode(smooth > -200.0, 6.0, spacing)
    around = ndimage.gaussian_filter(smooth, (0.0, 5.0 / spacing[1], 5.0 / spacing[2]))
    for side in (0, -1):
        tissue[:, :, side] |= around[:, :, side] > -940.0
    return between(tissue)


def closed_lung(smooth: Floats, spacing: Spacing) -> Mask:
    """The lungs (Z, Y, X) with their vessels: what a closing by 12 mm in plane fills."""
    in_plane = (1e3, spacing[1], spacing[2])
    lung = (smooth > -1000.0) & (smooth < -500.0)
    return ~dilate(~dilate(lung, 12.0, in_plane), 12.5, in_plane)


def enclose(bone: Mask, closing: float, spacing: Spacing) -> Mask:
    """Bone with the marrow inside it: closing (mm) in plane, then holes of less than 25 cm2 filled."""
    from scipy import ndimage

    in_plane = (1e3, spacing[1], spacing[2])
    closed = ~dilate(~dilate(bone, closing, in_plane), closing, in_plane)
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in closed | bone])
    largest = 2500.0 / (spacing[1] * spacing[2])
    planes = ndimage.generate_binary_structure(3, 1)
    planes[[0, 2]] = False
    holes = keep_components(filled & ~bone, lambda part: part[0].size < largest, planes)
    return bone | holes


def lung_vessels(smooth: Floats, bone: Mask, spacing: Spacing) -> Mask:
    """Thin bright structures within lung (Z, Y, X): above -450 HU, under 6 mm wide, with a peak above -100 HU."""
    from scipy import ndimage

    side = 2 * round(3.0 / spacing[1]) + 1
    solid = smooth > -450.0
    wide = ndimage.binary_opening(solid, np.ones((1, side, side), dtype=bool))
    around = ndimage.gaussian_filter(smooth, (0.0, 5.0 / spacing[1], 5.0 / spacing[2]), mode="nearest")
    thin = solid & ~wide & ~bone & (around < -350.0) & (around > -920.0)
    return keep_components(thin, lambda part: float(smooth[part].max()) > -100.0)


def keep_components(mask: Mask, keep: Callable[[Index], bool], structure: NDArray[Any] | None = None) -> Mask:
    """The connected components of `mask` whose voxel index `keep` accepts."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure)
    order = np.flatnonzero(labels)
    parts = np.split(
        order[np.argsort(labels.ravel()[order], kind="stable")],
        np.cumsum(np.bincount(labels.ravel()[order], minlength=count + 1)[1:])[:-1],
    )
    kept = np.zeros(mask.shape, dtype=bool)
    for part in parts:
        index = np.unravel_index(part, mask.shape)
        if part.size and keep(index):
            kept[index] = True
    return kept


def distance_to(mask: Mask, spacing: Spacing) -> Floats:
    """Distance (mm) of every voxel to the mask; 1000 mm where the mask is empty."""
    from scipy import ndimage

    if not mask.any():
        return np.full(mask.shape, 1000.0, dtype=np.float32)
    return ndimage.distance_transform_edt(~mask, sampling=spacing).astype(np.float32)


def erode(mask: Mask, by: float, spacing: Spacing) -> Mask:
    from scipy import ndimage

    return mask if mask.all() else ndimage.distance_transform_edt(mask, sampling=spacing) > by


def dilate(mask: Mask, by: float, spacing: Spacing) -> Mask:
    return distance_to(mask, spacing) <= by


def ramp(values: Floats, start: float, end: float) -> Floats:
    """0 up to `start`, 1 from `end`, linear between."""
    return np.clip((values - start) / (end - start), 0.0, 1.0).astype(np.float32)


def masked_mean(values: Floats, mask: Mask, sigma: tuple[float, ...]) -> Floats:
    """Gaussian mean of `values` over `mask` only; zero far away from the mask."""
    from scipy import ndimage

    weight = ndimage.gaussian_filter(mask.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(np.where(mask, values, 0.0).astype(np.float32), sigma)
    return total / np.maximum(weight, 1e-6)
