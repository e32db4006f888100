"""Where the heart lies in a chest CT, with or without contrast: a proposal from the image alone, without a network.

Soft tissue with a lung on either side of it in its slice is heart; what lies beneath a lung (liver, spleen, stomach) or
behind the front of the spine is not. Where the lungs do not say, down to the diaphragm, a guess falls from 1 to 0 with
the depth below the last slice in which they did. The guess is then smoothed along what looks alike (a random walk with
priors: Grady 2005), so that the border settles at the edges that the CT shows: blood against liver with contrast, fat
and a few HU without it. A scan whose top cuts the heart is no special case.

Volumes are (Z, Y, X), Z from superior to inferior; spacing is (z, y, x) in mm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .chest import (
    Floats,
    Mask,
    Spacing,
    Spine,
    coarse_chest,
    find_carina,
    find_lungs,
    find_spine,
    largest_piece,
    opened_in_plane,
)
from .errors import InputError

FEW_MM = 60.0  # a stack this low is taken to be at the level of the heart
LEAST_AREA_MM2 = 1000.0  # in its largest slice: less is no heart
# How far the pericardium reaches, in mm, in people whose lungs, effusion or liver do not say.
RIGHT_OF_SPINE = (34.0, 60.0)
LEFT_OF_SPINE = 115.0
BELOW_CARINA = (8.0, 120.0)
BEHIND_HEART_MM = 20.0  # before the spine: left atrium, oesophagus or aorta
# What lies beneath a lung narrows downwards by (mm a mm, mm at most): the heart widens, most of all to the left.
BENEATH_RIGHT = (0.5, 30.0)
BENEATH_LEFT = (1.5, 70.0)
DEPTH_MM = 60.0  # from where the lungs hold the heart between them to where nothing is heart any more
UNSURE = 0.1  # weight of the guess where the lungs do not say
REACH_MM = 25.0  # so far a sure voxel tells its equals what they are
EDGE_HU = 10.0  # a step between neighbours that parts them


def heart_region(hu: NDArray, spacing_zyx: Spacing) -> Mask:
    """The region (Z, Y, X) that holds atria, ventricles and pericardium, with the roots of the great vessels.

    hu: (Z, Y, X) HU of a chest CT, Z from superior to inferior; whole, cropped around the heart, or a few slices.
    spacing_zyx: mm.

    Raises:
        InputError: where there are no lungs, or nothing between them at the level of the heart.
    """
    from scipy import ndimage

    coarse, steps = coarse_chest(hu, spacing_zyx)
    z, y, x = (side * step for side, step in zip(spacing_zyx, steps, strict=True))
    spacing = (z, y, x)
    lungs = find_lungs(coarse, spacing)
    spine = find_spine(coarse, lungs, spacing)
    depth = np.arange(len(coarse)) * spacing[0]
    carina = find_carina(coarse, lungs, spine, spacing) if len(coarse) * spacing[0] > FEW_MM else None
    chest = _chest(lungs, spine, spacing)
    if carina is not None:
        chest[(depth < carina + BELOW_CARINA[0]) | (depth > carina + BELOW_CARINA[1] + DEPTH_MM / 4)] = False

    smooth = ndimage.gaussian_filter(coarse, (0, 2.0 / spacing[1], 2.0 / spacing[2]))
    guess, weight, soft = _guess(smooth, chest, lungs, spine, spacing)
    if carina is not None:
        guess *= np.clip((carina + BELOW_CARINA[1] - depth) / (DEPTH_MM / 2) + 0.5, 0.0, 1.0)[:, None, None]
    region = np.zeros(coarse.shape, bool)
    boxes = ndimage.find_objects((chest & (guess > 0)).astype(np.int8))
    if boxes:
        levels, *sides = boxes[0]
        levels = slice(levels.start, levels.stop + round(10.0 / spacing[0]))  # nothing is heart there
        box = (levels, *(slice(max(0, side.start - 4), side.stop + 4) for side in sides))
        alike = _smoothed_along_what_looks_alike(smooth[box], soft[box], guess[box], weight[box], spacing)
        region[box] = (alike > 0.5) & chest[box]
        region = largest_piece(opened_in_plane(_opened(region, 7.0, spacing), 12.0, spacing))
    if region.sum(axis=(1, 2)).max() * spacing[1] * spacing[2] < LEAST_AREA_MM2:
        raise InputError("no heart found: nothing lies between the lungs below the carina, give a heart mask")
    return _fine(region, steps, hu.shape, spacing)


def _chest(lungs: Mask, spine: Spine, spacing: Spacing) -> Mask:
    """Before the spine, within the convex hull of both lungs, each as large as the other: one may be missing."""
    from skimage.morphology import convex_hull_image

    columns = np.arange(lungs.shape[2])
    rows = np.arange(lungs.shape[1])[:, None]
    right = _right_border(lungs, spine, spacing)
    above, below = round(25.0 / spacing[0]), round(12.0 / spacing[0])  # higher up the lungs meet before the heart
    hull = np.zeros(lungs.shape, bool)
    for index in range(len(lungs)):
        near: Mask = np.logical_or.reduce(lungs[max(0, index - above) : index + below + 1], axis=0)
        mirrored = np.rint(2 * spine.x[index] - columns).astype(int)
        inside = (mirrored >= 0) & (mirrored < columns.size)
        near[:, inside] |= near[:, mirrored[inside]]
        if near.any(axis=1).sum() > 1 and near.any(axis=0).sum() > 1:
            hull[index] = convex_hull_image(near)
        left_mm = (columns - spine.x[index]) * spacing[2]
        hull[index] &= (rows < spine.front[index]) & (left_mm > -right) & (left_mm < LEFT_OF_SPINE)
    return _inner(hull, spacing) > 4.0  # without the chest wall


def _right_border(lungs: Mask, spine: Spine, spacing: Spacing) -> float:
    """mm from the middle of the spine to the right border of the heart, where the right lung shows it."""
    low, high = RIGHT_OF_SPINE
    found = []
    for index, plane in enumerate(lungs):
        front, middle = int(spine.front[index]), int(spine.x[index])
        first, last = front - round(65.0 / spacing[1]), front - round(15.0 / spacing[1])
        for row in plane[max(first, 0) : max(last, 0)]:
            air = np.flatnonzero(row[: max(middle, 0)])
            if air.size:
                found.append((middle - air[-1]) * spacing[2])
    return float(np.clip(np.quantile(found, 0.75) + 6.0, low, high)) if found else high


def _guess(smooth: Floats, chest: Mask, lungs: Mask, spine: Spine, spacing: Spacing) -> tuple[Floats, Floats, Mask]:
    """The share of heart by what the lungs say (0 to 1), the weight of that, and the soft tissue: all (Z, Y, X)."""
    left = np.arange(lungs.shape[2]) >= spine.x[:, None, None]
    lung = ~opened_in_plane(~lungs, 8.0, spacing)  # with the vessels in it
    whole = ~opened_in_plane(~lungs, 15.0, spacing)
    beneath = _beneath(whole & ~left, spacing, *BENEATH_RIGHT) | _beneath(whole & left, spacing, *BENEATH_LEFT)
    soft = (smooth > -25.0) & ~lung  # fat before the heart does not belong to it
    possible = chest & soft & ~beneath
    abdomen = soft & beneath
    to_right = _first_met(np.where(abdomen, 2, lung).astype(np.int8))
    to_left = _first_met(np.where(abdomen | (lung & ~left), 2, lung).astype(np.int8)[:, :, ::-1])[:, :, ::-1]
    between = possible & (to_right < 2) & (to_left < 2) & ((to_right == 1) | (to_left == 1))

    guess = between.astype(np.float32)
    for index in range(1, len(guess)):
        guess[index] = np.maximum(guess[index], guess[index - 1] - spacing[0] / DEPTH_MM)
    guess[~possible] = 0.0
    weight = np.where(possible & ~between, UNSURE, 1.0).astype(np.float32)
    before = (spine.front[:, None] - np.arange(lungs.shape[1])) * spacing[1]
    behind_heart = possible & (before < BEHIND_HEART_MM)[:, :, None]
    guess[behind_heart] = np.minimum(guess[behind_heart], 0.5)
    weight[behind_heart] = UNSURE
    return guess, weight, soft


def _beneath(lung: Mask, spacing: Spacing, narrowing: float, most: float) -> Mask:
    """The lung and what lies straight below it, in a cone that narrows by `narrowing` mm a mm and by `most` mm."""
    inner = _inner(lung, spacing)
    result = np.zeros(lung.shape, bool)
    cone = deepest = np.zeros(lung.shape[1:], np.float32)
    for index, own in enumerate(inner):
        cone = np.maximum(cone - narrowing * spacing[0], own)
        deepest = np.maximum(deepest, own)
        result[index] = (cone > 0) | (deepest > most)
    return result


def _first_met(what: NDArray[np.int8]) -> NDArray[np.int8]:
    """For each voxel the nearest `what` that is not 0 along its row, towards the first column; else 0."""
    at = np.maximum.accumulate(np.where(what > 0, np.arange(what.shape[2]), 0), axis=2)
    return np.take_along_axis(what, at, axis=2)


def _inner(mask: Mask, spacing: Spacing) -> Floats:
    """mm to the border of the mask within its slice; the border of the image is none."""
    from scipy import ndimage

    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)), mode="edge")
    inner = [ndimage.distance_transform_edt(plane, sampling=spacing[1:])[1:-1, 1:-1] for plane in padded]
    return np.stack(inner).astype(np.float32)


def _smoothed_along_what_looks_alike(
    smooth: Floats, tissue: Mask, guess: Floats, weight: Floats, spacing: Spacing
) -> Floats:
    """The guess spread within the tissue, less over steps of HU; with a large weight a voxel keeps its own."""
    from scipy import sparse
    from scipy.sparse.linalg import cg

    number = np.full(tissue.shape, -1)
    number[tissue] = np.arange(np.count_nonzero(tissue))
    hu = np.clip(smooth, -100.0, 400.0)
    pairs, links = [], []
    for axis in range(3):
        one, other = (np.moveaxis(number, axis, 0)[part].ravel() for part in (np.s_[:-1], np.s_[1:]))
        step = np.abs(np.diff(np.moveaxis(hu, axis, 0), axis=0)).ravel()
        both = (one >= 0) & (other >= 0)
        pairs.append(np.stack([one[both], other[both]]))
        links.append((REACH_MM / spacing[axis]) ** 2 * np.exp(-step[both] / EDGE_HU))
    (one, other), link = np.concatenate(pairs, axis=1), np.concatenate(links)
    size = np.count_nonzero(tissue)
    graph = sparse.coo_matrix((np.r_[link, link], (np.r_[one, other], np.r_[other, one])), (size, size)).tocsr()
    own = weight[tissue].astype(np.float64)
    equations = sparse.diags(np.asarray(graph.sum(axis=1)).ravel() + own) - graph
    start = guess[tissue].astype(np.float64)
    found, _ = cg(equations, own * start, x0=start, rtol=1e-3, maxiter=300, M=sparse.diags(1.0 / equations.diagonal()))
    result = np.zeros(tissue.shape, np.float32)
    result[tissue] = found
    return result


def _fine(region: Mask, steps: tuple[int, int, int], shape: tuple[int, ...], spacing: Spacing) -> Mask:
    """Smoothed, on the grid of the image."""
    from scipy import ndimage

    sigma = [4.0 / side if size > 1 else 0.0 for side, size in zip(spacing, region.shape, strict=True)]
    soft = ndimage.gaussian_filter(region.astype(np.float32), sigma, mode="nearest")
    box = ndimage.find_objects((soft > 0.02).astype(np.int8))[0]
    fine = ndimage.zoom(soft[box], steps, order=1, mode="nearest", grid_mode=True) > 0.5
    result = np.zeros([side * step for side, step in zip(region.shape, steps, strict=True)], bool)
    result[tuple(slice(part.start * step, part.stop * step) for part, step in zip(box, steps, strict=True))] = fine
    return result[: shape[0], : shape[1], : shape[2]]


def _opened(mask: Mask, by: float, spacing: Spacing) -> Mask:
    """Without what is thinner than twice `by` mm; the border of the image cuts nothing off."""
    from scipy import ndimage

    box = ndimage.find_objects(mask.astype(np.int8))
    if not box:
        return mask
    pads = [int(by / side) + 2 for side in spacing]
    at_border = np.pad(mask, [(pad, pad) for pad in pads], mode="edge")
    around = tuple(slice(part.start, part.stop + 2 * pad) for part, pad in zip(box[0], pads, strict=True))
    padded = at_border[around]
    kept = ndimage.distance_transform_edt(padded, sampling=spacing) > by if not padded.all() else padded
    opened = ndimage.distance_transform_edt(~kept, sampling=spacing) <= by if kept.any() else kept
    result = np.zeros_like(mask)
    result[box[0]] = opened[tuple(slice(pad, -pad) for pad in pads)]
    return result
