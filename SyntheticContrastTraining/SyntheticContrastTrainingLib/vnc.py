"""Simulated virtual non-contrast (VNC): a contrast chest CT (CECT) with its iodine taken out.

Most archives hold only contrast CTs, so the non-contrast partner of a training pair is made here. What has to be right
is what a network could otherwise read the answer from: the noise, the edges of chambers and vessels, and bone.

Iodine adds up linearly, so at the border of blood and tissue a voxel is `p` parts blood (at the local blood level) and
`1 - p` parts its neighbour, and its iodine is `p` times that of blood. `p` is read from the voxel itself, between the
nearest pure blood and the nearest pure background, which maps the whole edge linearly instead of cutting it. Inside the
blood the iodine is an edge-preserving smooth of the image, so that the noise stays in the VNC.

Volumes are (Z, Y, X) in HU, Z from superior to inferior; spacing is (z, y, x) in mm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

VNC_VERSION = 2  # counts up whenever the same CECT gives another VNC
BLOOD_HU = 40.0  # unenhanced blood
HEART_HU = 45.0  # unenhanced myocardium and what else touches the blood pool
TISSUE_HU = 62.0  # no unenhanced soft tissue away from bone is expected above this
VOXELS = (1.5, 1.0, 1.0)  # distances in voxels: a slice profile is sharper than the in-plane blur
LEVELS_HU = (300.0, 200.0, 150.0, 120.0, 85.0)  # where the blood pool is looked for, strongest first

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
Index = tuple[NDArray[np.intp], ...]


@dataclass(frozen=True)
class VirtualNonContrast:
    """`vnc_hu` and `iodine_hu` (Z, Y, X) int16, whose sum is the CECT; `blood_hu`, the level of the enhanced blood."""

    vnc_hu: NDArray[np.int16]
    iodine_hu: NDArray[np.int16]
    blood_hu: float


def simulate_vnc(cect_hu: NDArray[Any], spacing_zyx: Spacing) -> VirtualNonContrast:
    """Take the iodine out of a contrast chest CT (Z, Y, X) in HU.

    A CT without a blood pool of at least 85 HU comes back unchanged, with `blood_hu` NaN.

    Raises:
        ValueError: if the array does not have three axes.
    """
    if cect_hu.ndim != 3:
        raise ValueError(f"expected a (Z, Y, X) volume, got {cect_hu.ndim} axes")
    hu = np.clip(cect_hu, -1024, 3071).astype(np.float32)
    iodine = np.zeros_like(hu)
    level = float("nan")
    box = body_box(hu)
    if box is not None:
        iodine[box], level = estimate_iodine(hu[box], spacing_zyx)
    rounded = np.rint(iodine).astype(np.int16)
    return VirtualNonContrast((cect_hu - rounded).astype(np.int16), rounded, level)


def estimate_iodine(hu: Floats, spacing: Spacing) -> tuple[Floats, float]:
    """Iodine (Z, Y, X) in HU, never negative, and the blood level in HU (NaN and no iodine where there is none)."""
    noise = noise_sd(hu)
    smooth = guided_smooth(hu, noise, spacing)
    quiet = local_sd(hu, sigma=1.5 / spacing[1]) < max(3.0 * noise, 45.0)

    found = find_blood_level(smooth, quiet, spacing)
    if found is None:
        return np.zeros_like(hu), float("nan")
    level, pool = found
    blood, bone, veins = split_blood_and_bone(smooth, quiet, pool, level, spacing)
    blood |= lung_vessels(smooth, bone, spacing)

    core = erode(blood, 1.9, VOXELS)
    beyond = ~dilate(blood, 2.1, VOXELS)
    background = beyond & ~dilate(bone, 1.1, VOXELS)
    tissue = guided_smooth(hu, noise, spacing, background)
    tissue_part = tissue_iodine(tissue, pool, spacing)
    tissue_part *= background * ramp(distance_to(enclose(bone, 9.0, spacing), spacing), 0.7, 2.5)

    inside = guided_smooth(hu, noise, spacing, core, width=9.0)
    local = masked_mean(inside, core, tuple(5.0 / side for side in spacing))
    local[veins] = 3071.0  # only what is denser than the blood around it is calcification
    inside = np.minimum(inside, local + 100.0)

    border = ~core & ~beyond & ~bone
    border_part = border_iodine(hu, border, (inside, core), (tissue, tissue_part, background), level, spacing)
    iodine = np.where(core, inside - BLOOD_HU, np.where(border, border_part, tissue_part))
    return np.maximum(iodine, 0.0).astype(np.float32), level


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
    smooth: Floats, quiet: Mask, pool: Mask, level: float, spacing: Spacing
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
    mediastinal = between_lungs(smooth, spacing)
    beyond_pool = distance_to(pool, spacing)

    inner_dense = ndimage.distance_transform_edt(smooth > max(1.3 * level, 450.0), sampling=spacing)
    beside = (inner_dense > 2.5) & (mediastinal | (beyond_pool < 8.0))
    beside = keep_components(beside, lambda part: float(beyond_pool[part].min()) < 12.0)
    solid = (inner_dense > 4.0) & (beyond_pool < 40.0)  # hardly any bone before the spine is so thick and so dense
    last_row = int(np.flatnonzero(pool.any(axis=(0, 2)))[-1])
    solid[:, max(0, last_row - round(20.0 / spacing[1])) :] = False
    cortical = smooth > max(300.0, level + 100.0)
    veins = cortical & (mediastinal | (beyond_pool < 15.0)) & dilate(beside | solid, 12.0, spacing)
    veins |= cortical & dilate(solid, 13.0, spacing)
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
    vessels = keep_components(
        loose,
        lambda part: (
            float(smooth[part].max()) < 1.3 * level
            and (float(mediastinal[part].mean()) > 0.5 or float(inner[part].max()) > 5.0)
        ),
    )
    other = keep_components(loose & ~vessels, lambda part: float(smooth[part].max()) > max(200.0, 0.8 * level))
    return (regions == 1) | vessels, (regions == 2) | other, veins


def between_lungs(smooth: Floats, spacing: Spacing) -> Mask:
    """Voxels (Z, Y, X) with lung to the left and to the right of them in their row."""
    lung = erode((smooth > -930.0) & (smooth < -500.0), 2.0, spacing)
    right = np.maximum.accumulate(lung, axis=2)
    left = np.maximum.accumulate(lung[:, :, ::-1], axis=2)[:, :, ::-1]
    return right & left


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
    """Thin bright structures within lung (Z, Y, X): above -200 HU, under 5 mm wide, with a peak above 60 HU."""
    from scipy import ndimage

    in_plane = (1e3, spacing[1], spacing[2])
    solid = smooth > -200.0
    wide = dilate(erode(solid, 2.6, in_plane), 3.2, in_plane)
    wider = ndimage.gaussian_filter(smooth, (0.0, 5.0 / spacing[1], 5.0 / spacing[2]), mode="nearest")
    thin = solid & ~wide & ~bone & (wider < -350.0) & (wider > -920.0)
    return keep_components(thin, lambda part: float(smooth[part].max()) > 60.0)


def tissue_iodine(smooth: Floats, pool: Mask, spacing: Spacing) -> Floats:
    """Iodine (HU) of solid tissue: what is above the HU of the unenhanced tissue, compressed without a step."""
    heart = 1.0 - ramp(distance_to(pool, spacing), 12.0, 25.0)
    ceiling = TISSUE_HU + heart * (HEART_HU - TISSUE_HU)
    excess = np.maximum(smooth - (ceiling - 10.0), 0.0)
    return (excess - 10.0 * (1.0 - np.exp(-excess / 10.0))).astype(np.float32)


def border_iodine(
    hu: Floats,
    border: Mask,
    blood: tuple[Floats, Mask],
    tissue: tuple[Floats, Floats, Mask],
    level: float,
    spacing: Spacing,
) -> Floats:
    """Iodine (HU) of the voxels between pure blood and pure tissue, in proportion to the blood in each.

    Args:
        border: where to compute it; zero elsewhere.
        blood: HU of pure blood, and where it is known.
        tissue: HU and iodine of pure tissue, and where they are known.
        level: HU of blood where no pure blood is near, as in small vessels.
    """
    from scipy import ndimage

    blood_hu, core = blood
    tissue_hu, tissue_part, background = tissue
    place = np.nonzero(border)
    to_core, nearest = ndimage.distance_transform_edt(~core, sampling=spacing, return_indices=True)
    pure = tuple(axis[border] for axis in nearest)
    high = np.where(to_core[border] < 8.0, blood_hu[pure], level)
    nearest = ndimage.distance_transform_edt(~background, sampling=VOXELS, return_distances=False, return_indices=True)
    beside = tuple(axis[border] for axis in nearest)
    low, low_part = tissue_hu[beside], tissue_part[beside]

    rise = np.maximum(high - low, 30.0)
    part = np.clip((hu[border] - low) / rise, 0.0, 1.2)  # above 1: the noise of pure blood
    iodine = part * (high - BLOOD_HU) + np.maximum(1.0 - part, 0.0) * low_part

    # The mapping flattens the noise with the edge. What is missing is taken from the blood, mirrored at its border.
    slope = 1.0 - (high - BLOOD_HU - low_part) / rise
    mirror = tuple(
        np.clip(2 * inner - here, 0, size - 1) for inner, here, size in zip(pure, place, hu.shape, strict=True)
    )
    texture = np.where(core[mirror], hu[mirror] - blood_hu[mirror], hu[pure] - blood_hu[pure])
    texture = np.where(to_core[border] < 8.0, texture, 0.0)
    result = np.zeros_like(hu)
    result[border] = iodine - texture * np.sqrt(np.clip(1.0 - slope**2, 0.0, 1.0))
    return result


def guided_smooth(hu: Floats, noise: float, spacing: Spacing, mask: Mask | None = None, width: float = 5.0) -> Floats:
    """Edge-preserving mean in plane over `width` mm: the self-guided filter of He et al. 2010, edges of 3 noise SD.

    With a mask, only what is inside it counts, so that nothing leaks in; zero where no such voxel is near.
    """
    from scipy import ndimage

    side = 2 * max(1, round(0.5 * width / spacing[1])) + 1
    inside = np.ones_like(hu) if mask is None else mask.astype(np.float32)
    count = np.maximum(ndimage.uniform_filter(inside, (1, side, side)), 1e-3)

    def average(values: Floats) -> Floats:
        return ndimage.uniform_filter(values * inside, (1, side, side)) / count

    mean = average(hu)
    variance = np.maximum(average(hu * hu) - mean * mean, 0.0)
    gain = (variance / (variance + (3.0 * noise) ** 2)).astype(np.float32)
    return average(gain) * hu + average(mean * (1.0 - gain))


def local_sd(hu: Floats, sigma: float) -> Floats:
    """Standard deviation (HU) under an in-plane Gaussian of `sigma` voxels."""
    from scipy import ndimage

    mean = ndimage.gaussian_filter(hu, (0.0, sigma, sigma))
    square = ndimage.gaussian_filter(hu * hu, (0.0, sigma, sigma))
    return np.sqrt(np.maximum(square - mean * mean, 0.0))


def noise_sd(hu: Floats) -> float:
    """Noise (HU): the median local SD of soft tissue, 15 HU where there is none."""
    from scipy import ndimage

    sd = local_sd(hu, 2.0)
    tissue = np.abs(ndimage.gaussian_filter(hu, (0.0, 2.0, 2.0)) - 50.0) < 40.0
    return float(np.clip(np.median(sd[tissue]), 5.0, 40.0)) if tissue.any() else 15.0


def masked_mean(values: Floats, mask: Mask, sigma: tuple[float, ...]) -> Floats:
    """Gaussian mean of `values` over `mask` only; zero far away from the mask."""
    from scipy import ndimage

    weight = ndimage.gaussian_filter(mask.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(np.where(mask, values, 0.0).astype(np.float32), sigma)
    return total / np.maximum(weight, 1e-6)


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
