"""Made-up masses and effusions: soft tissue in place of lung, the same in input and target, as contrast leaves it.

A few patients show a network few diseases, and a mass that it has not seen the like of it takes for the heart.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LUNG_HU = (-970.0, -400.0)  # of the mean over some voxels: the air around the body is below, fat above
AERATED_HU = -300  # a lesion takes the place of what is below; vessels and walls stay
MOST = 3  # lesions a stack
RADIUS_MM = (8.0, 60.0)
LEVEL_HU = (10.0, 55.0)
NOISE_HU = (6.0, 20.0)
KNOTS_ZYX = (3, 5, 5)  # of the random field that makes a lesion's surface uneven
UNEVEN = 0.25  # of a radius


def add_lesions(
    ncct: NDArray[np.int16],
    cect: NDArray[np.int16],
    spacing_zyx: tuple[float, float, float],
    random: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both volumes, (Z, Y, X) HU, with the same one to three lesions in the lungs; as they were without lungs.

    spacing_zyx: mm.
    """
    from scipy.ndimage import uniform_filter

    both = [ncct.astype(np.float32), cect.astype(np.float32)]
    around = uniform_filter(both[0], (1, 7, 7))
    lung = np.flatnonzero((around > LUNG_HU[0]) & (around < LUNG_HU[1]))
    aerated = (ncct < AERATED_HU) & (around > LUNG_HU[0])
    for _ in range(int(random.integers(1, MOST + 1))):
        if not len(lung):
            break
        centre = np.unravel_index(int(random.choice(lung)), ncct.shape)
        amount = lesion_shape(ncct.shape, centre, spacing_zyx, random) * aerated
        noise = random.standard_normal(ncct.shape, np.float32) * np.float32(random.uniform(*NOISE_HU))
        tissue = np.float32(random.uniform(*LEVEL_HU)) + noise
        for volume in both:
            volume += amount * (tissue - volume)
    return both[0], both[1]


def lesion_shape(
    shape_zyx: tuple[int, ...],
    centre_zyx: tuple[np.intp, ...],
    spacing_zyx: tuple[float, float, float],
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """(Z, Y, X) in [0, 1]: an uneven ellipsoid, 1 inside, with an edge of about two pixels in plane."""
    import torch
    import torch.nn.functional as F

    radii = np.exp(random.uniform(math.log(RADIUS_MM[0]), math.log(RADIUS_MM[1]), 3))
    axes = [
        (np.arange(size, dtype=np.float32) - np.float32(centre)) * np.float32(mm / radius)
        for size, centre, mm, radius in zip(shape_zyx, centre_zyx, spacing_zyx, radii, strict=True)
    ]
    distance = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2)
    knots = torch.from_numpy(random.standard_normal((1, 1, *KNOTS_ZYX), np.float32))
    field = F.interpolate(knots, size=shape_zyx, mode="trilinear", align_corners=True)[0, 0].numpy()
    sharpness = np.float32(min(radii[1:]) / (2 * spacing_zyx[1]))
    return np.clip((1 + np.float32(UNEVEN) * field - distance) * sharpness, 0, 1).astype(np.float32)
