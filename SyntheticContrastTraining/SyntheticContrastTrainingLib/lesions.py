"""Made-up masses and effusions: soft tissue in place of lung, the same in input and target, as contrast leaves it.

A few patients show a network few diseases, and a mass that it has not seen the like of it takes for the heart. Every
other one invades: it lies at the heart and the large vessels, and takes the place of fat and muscle beside them too.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LUNG_HU = (-970.0, -400.0)  # of the mean over some voxels: the air around the body is below, fat above
AERATED_HU = -300  # a lesion takes the place of what is below; vessels and walls stay
ENHANCED_HU = 100  # CECT - NCCT of blood
KEPT_HU = (30, 100)  # an invading one leaves what contrast changes by more than the first, and bone, above the second
NEAR_MM = 25.0  # of blood, in plane, where it begins
COARSE = 4  # pixels
MOST = 3  # lesions a stack
RADIUS_MM = (8.0, 60.0)
LEVEL_HU = (10.0, 55.0)
NOISE_HU = (6.0, 20.0)
GRAIN = (0.4, 1.3)  # standard deviation, in pixels, of the filter that gives noise the grain of a reconstructed CT
KNOTS_ZYX = (3, 5, 5)  # of the random field that makes a lesion's surface uneven
UNEVEN = 0.25  # of a radius


def add_lesions(
    ncct: NDArray,
    cect: NDArray,
    spacing_zyx: tuple[float, float, float],
    random: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both volumes, (Z, Y, X) HU, with the same one to three lesions in the lungs; as they were without lungs.

    spacing_zyx: mm.
    """
    from scipy.ndimage import uniform_filter

    both = [ncct.astype(np.float32), cect.astype(np.float32)]
    around = uniform_filter(both[0], (1, 7, 7))
    change = uniform_filter(both[1] - both[0], (1, 3, 3))  # smoothed: noise of two scans would leave specks in a mass
    lung, hilar = begin_where(around, change, spacing_zyx)
    for _ in range(int(random.integers(1, MOST + 1))):
        if not len(lung):
            break
        invades = len(hilar) and random.random() < 0.5
        centre = random.choice(hilar if invades else lung)
        radii = np.exp(random.uniform(math.log(RADIUS_MM[0]), math.log(RADIUS_MM[1]), 3))
        part, amount = lesion_shape(ncct.shape, centre, spacing_zyx, radii, random)
        replaced = (ncct[part] < AERATED_HU) & (around[part] > LUNG_HU[0])
        if invades:
            replaced |= (change[part] < KEPT_HU[0]) & (ncct[part] < KEPT_HU[1]) & (around[part] > LUNG_HU[0])
        tissue = np.float32(random.uniform(*LEVEL_HU)) + grainy_noise(amount.shape, random)
        for volume in both:
            volume[part] += amount * replaced * (tissue - volume[part])
    return both[0], both[1]


def begin_where(
    around: NDArray[np.float32], change: NDArray[np.float32], spacing_zyx: tuple[float, float, float]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Voxels of the lungs where a lesion may have its middle, and those of them near blood, (n, 3) each.

    around: NCCT, smoothed; change: CECT - NCCT; both (Z, Y, X) HU. One voxel in COARSE x COARSE stands for all.
    """
    from scipy.ndimage import binary_dilation, uniform_filter

    around, change = around[:, ::COARSE, ::COARSE], change[:, ::COARSE, ::COARSE]
    outside = binary_dilation(around <= LUNG_HU[0], np.ones((1, 5, 5)))  # with the half air, half skin at its edge
    lung = (around > LUNG_HU[0]) & (around < LUNG_HU[1]) & ~outside
    side = 2 * round(NEAR_MM / (COARSE * spacing_zyx[1])) + 1
    near = uniform_filter((change > ENHANCED_HU).astype(np.float32), (1, side, side)) > 0.01
    return np.argwhere(lung) * (1, COARSE, COARSE), np.argwhere(lung & near) * (1, COARSE, COARSE)


def grainy_noise(shape_zyx: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float32]:
    """(Z, Y, X) HU: noise smooth in plane as a reconstruction makes it; white noise would give a lesion away."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(random.standard_normal(shape_zyx, np.float32), random.uniform(*GRAIN), axes=(1, 2))
    return noise * np.float32(random.uniform(*NOISE_HU) / max(float(noise.std()), 1e-6))


def lesion_shape(
    shape_zyx: tuple[int, ...],
    centre_zyx: NDArray[np.int64],
    spacing_zyx: tuple[float, float, float],
    radii_mm: NDArray[np.float64],
    random: np.random.Generator,
) -> tuple[tuple[slice, ...], NDArray[np.float32]]:
    """An uneven ellipsoid, 1 inside, with an edge of about two pixels: where it lies, and (Z, Y, X) in [0, 1]."""
    import torch
    import torch.nn.functional as F

    reach = 1 + 3 * UNEVEN  # in radii; the random field is seldom beyond three deviations
    part, axes = [], []
    for size, centre, mm, radius in zip(shape_zyx, centre_zyx, spacing_zyx, radii_mm, strict=True):
        half = int(reach * radius / mm) + 1
        part.append(slice(max(0, int(centre) - half), min(size, int(centre) + half + 1)))
        axes.append(
            (np.arange(part[-1].start, part[-1].stop, dtype=np.float32) - np.float32(centre)) * np.float32(mm / radius)
        )
    distance = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2)
    knots = torch.from_numpy(random.standard_normal((1, 1, *KNOTS_ZYX), np.float32))
    field = F.interpolate(knots, size=distance.shape, mode="trilinear", align_corners=True)[0, 0].numpy()
    sharpness = np.float32(min(radii_mm[1:]) / (2 * spacing_zyx[1]))
    return tuple(part), np.clip((1 + np.float32(UNEVEN) * field - distance) * sharpness, 0, 1).astype(np.float32)
