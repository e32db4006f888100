"""Landmarks of the chest, with or without contrast, from the image alone: lungs, vertebral column, carina, right dome.

Found on blocks of about 3 mm. Volumes are (Z, Y, X), Z from superior to inferior; spacing is (z, y, x) in mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]

COARSE_MM = 3.0


@dataclass(frozen=True)
class Spine:
    """In coarse voxels, for each slice: the middle of the vertebral column, and the front of the vertebral bodies."""

    x: NDArray[np.float64]
    front: NDArray[np.float64]


def coarse_chest(hu: NDArray, spacing: Spacing) -> tuple[Floats, tuple[int, int, int]]:
    """Block means of about 3 mm, and the voxels a side of a block."""
    z, y, x = (max(1, round(COARSE_MM / side)) for side in spacing)
    depth, height, width = (-(-size // step) for size, step in zip(hu.shape, (z, y, x), strict=True))
    coarse = np.empty((depth, height, width), np.float32)
    for index in range(depth):  # so that a float copy of the volume never exists
        slab = np.clip(hu[index * z : (index + 1) * z], -1024, 2000).mean(axis=0, dtype=np.float32)
        slab = np.pad(slab, ((0, height * y - slab.shape[0]), (0, width * x - slab.shape[1])), mode="edge")
        coarse[index] = slab.reshape(height, y, width, x).mean(axis=(1, 3))
    return coarse, (z, y, x)


def find_lungs(coarse: Floats, spacing: Spacing) -> Mask:
    """The large pieces of air that are denser than the air around the patient.

    Raises:
        InputError
    """
    from scipy import ndimage

    tissue = opened_in_plane(coarse > -300.0, 6.0, spacing)
    back = np.quantile(np.nonzero(largest_piece(tissue))[1], 0.98) if tissue.any() else 0.0
    plane = ndimage.generate_binary_structure(3, 1)
    plane[[0, 2]] = False
    labels, count = ndimage.label(opened_in_plane(coarse < -450.0, 4.0, spacing), plane)
    lungs = np.zeros(coarse.shape, bool)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        part = labels[box] == number
        behind = box[1].start + np.nonzero(part)[1].mean() > back  # the table
        at_side = any(
            side.start == 0 or side.stop == size for side, size in zip(box[1:], coarse.shape[1:], strict=True)
        )
        airy = -900.0 if at_side else -985.0  # air around the patient, or in the bowel
        if part.sum() * spacing[1] * spacing[2] > 400.0 and np.median(coarse[box][part]) > airy and not behind:
            lungs[box] |= part
    labels, count = ndimage.label(lungs)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    lungs = (sizes > 0.05 * sizes.max())[labels]  # bowel gas is smaller
    area = np.count_nonzero(lungs, axis=(1, 2)).max() * spacing[1] * spacing[2]
    if area < 3000.0:
        raise InputError("no heart found: there are no lungs around it in this volume, give a heart mask")
    return lungs


def find_spine(coarse: Floats, lungs: Mask, spacing: Spacing) -> Spine:
    """From the spinal canal, a soft hole in a ring of bone; without one, from the lungs alone."""
    from scipy import ndimage

    rows = np.nonzero(lungs.any(axis=0))[0]
    middle = np.nonzero(coarse > -300.0)[2].mean()
    found: list[tuple[int, float, float]] = []
    for index, plane in enumerate(coarse):
        bone = ndimage.binary_closing(plane > 140.0, np.ones((3, 3), bool))
        labels, _ = ndimage.label(ndimage.binary_fill_holes(bone) & ~bone)
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            y, x = np.nonzero(labels[box] == number)
            y, x = y + box[0].start, x + box[1].start
            area = y.size * spacing[1] * spacing[2]
            central = abs(x.mean() - middle) * spacing[2] < 50.0 and y.mean() > np.quantile(rows, 0.6)
            if 45.0 <= area <= 700.0 and central and -30.0 < plane[y, x].mean() < 110.0:
                found.append((index, float(x.mean()), _body_front(plane, float(x.mean()), int(y.min()), spacing)))
    slices = np.arange(len(coarse))
    if len(found) < 0.2 * slices.size:
        return Spine(*(np.full(slices.size, value) for value in _spine_from_lungs(coarse, lungs, spacing)))
    at, x, front = np.array(found).T
    return Spine(_smooth_along(slices, at, x, spacing[0]), _smooth_along(slices, at, front, spacing[0]))


def _body_front(plane: Floats, x: float, canal: int, spacing: Spacing) -> float:
    """The row where the vertebral body before this spinal canal ends: 20 to 38 mm before it, where bone ends."""
    half = max(1, round(6.0 / spacing[2]))
    strip = plane[:, max(0, round(x) - half) : round(x) + half + 1].mean(axis=1)
    nearest, farthest = canal - round(20.0 / spacing[1]), canal - round(38.0 / spacing[1])
    for row in range(nearest, max(farthest, 0), -1):
        if strip[row] < 110.0:
            return float(row)
    return float(max(canal - round(29.0 / spacing[1]), 0))


def _spine_from_lungs(coarse: Floats, lungs: Mask, spacing: Spacing) -> tuple[float, float]:
    """Middle and front row of the vertebral column: bone at the back of the tissue between the lungs."""
    rows = np.nonzero(lungs.any(axis=0))[0]
    last = int(np.quantile(rows, 0.98))
    between = between_sides(lungs)[:, max(0, last - 3) : last + 1].mean(axis=(0, 1))
    x = (
        float(np.average(np.arange(between.size), weights=between))
        if between.any()
        else float(np.nonzero(coarse > -300.0)[2].mean())
    )
    half = max(1, round(6.0 / spacing[2]))
    strip = np.median(coarse[:, : last + 1, max(0, round(x) - half) : round(x) + half + 1], axis=2)
    thickness = np.argmin(np.c_[strip[:, ::-1] > 110.0, np.zeros(len(strip), bool)], axis=1)
    mm = np.quantile(thickness, 0.25) * spacing[1]
    return x, float(last + 1 - np.clip(mm, 9.0, 25.0) / spacing[1])


def _smooth_along(slices: NDArray, at: NDArray, values: NDArray, spacing_z: float) -> NDArray[np.float64]:
    """Running median (over 50 mm) of values that are known at some slices."""
    known = np.unique(at)
    reach = 25.0 / spacing_z
    medians = [np.median(values[np.abs(at - index) <= reach]) for index in known]
    return np.interp(slices, known, medians)


def find_carina(coarse: Floats, lungs: Mask, spine: Spine, spacing: Spacing) -> float | None:
    """Depth in mm where the trachea, followed from the top, splits or ends; None if there is none at the top."""
    from scipy import ndimage

    previous: tuple[float, float] | None = None
    last: int | None = None
    for index, plane in enumerate(coarse):
        labels, _ = ndimage.label(plane < -600.0)
        airways = []
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            y, x = np.nonzero(labels[box] == number)
            place = (float(y.mean()) + box[0].start, float(x.mean()) + box[1].start)
            before = (spine.front[index] - place[0]) * spacing[1]
            aside = abs(place[1] - spine.x[index]) * spacing[2]
            air = plane[box][labels[box] == number].min() < -920.0
            if air and 40.0 <= y.size * spacing[1] * spacing[2] <= 900.0 and -12.0 < before < 110.0 and aside < 40.0:
                apart = np.hypot(place[0] - previous[0], place[1] - previous[1]) if previous else 0.0
                if apart * spacing[1] < 25.0:
                    airways.append((y.size * spacing[1] * spacing[2], (np.ptp(x) + 1) * spacing[2], place))
        airways = [one for one in airways if one[0] > 0.4 * max(airways)[0]]
        if last is not None and (len(airways) > 1 or any(width > 32.0 for _, width, _ in airways)):
            break
        if len(airways) == 1 and airways[0][0] > 80.0:
            previous, last = airways[0][2], index
        elif last is not None and (index - last) * spacing[0] > 16.0:
            break
    return None if last is None else last * spacing[0]


def find_right_dome(lungs: Mask, spine: Spine, carina: float | None, spacing: Spacing) -> float | None:
    """Depth in mm where the liver rises into the right lung for good; None where lung never gives way."""
    share = []
    for index, plane in enumerate(lungs):
        columns = np.clip(np.rint(spine.x[index] - np.array([105.0, 50.0]) / spacing[2]), 0, None).astype(int)
        rows = np.clip(np.rint(spine.front[index] - np.array([85.0, 20.0]) / spacing[1]), 0, None).astype(int)
        zone = plane[rows[0] : rows[1], columns[0] : columns[1]]
        share.append(1.0 - zone.mean() if zone.size else 0.0)
    solid = np.array(share) > 0.3
    depth = np.arange(len(share)) * spacing[0]
    if not solid[-1]:
        return None
    first = int(np.flatnonzero(~solid)[-1]) + 1 if (~solid).any() else 0
    if carina is not None and not 45.0 <= depth[first] - carina <= 125.0:
        return None
    return float(depth[first]) if first else None


def between_sides(mask: Mask) -> Mask:
    """Voxels outside the mask with the mask to the left and to the right of them in their row."""
    right = np.maximum.accumulate(mask, axis=2)
    left = np.maximum.accumulate(mask[:, :, ::-1], axis=2)[:, :, ::-1]
    return right & left & ~mask


def largest_piece(mask: Mask) -> Mask:
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    return labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])) if count else mask


def opened_in_plane(mask: Mask, by: float, spacing: Spacing) -> Mask:
    """Without what is narrower than twice `by` mm in its slice; the border of the image cuts nothing off."""
    from scipy import ndimage

    reach_y, reach_x = int(by / spacing[1]), int(by / spacing[2])
    y, x = np.ogrid[-reach_y : reach_y + 1, -reach_x : reach_x + 1]
    disc = ((y * spacing[1]) ** 2 + (x * spacing[2]) ** 2 <= by**2)[None]
    kept = ndimage.binary_erosion(mask, disc, border_value=1)
    return ndimage.binary_dilation(kept, disc)
