"""Simulated virtual non-contrast (VNC): a contrast chest CT (CECT) with its iodine taken out.

Most archives hold only contrast CTs, so the non-contrast partner of a training pair is made here. What has to be right
is what a network could otherwise read the answer from: the noise, the edges of chambers and vessels, and bone.

Every voxel lies on the way from a darker to a brighter tissue. The two are found by walking down and up the image until
it is level (the LH histogram of Sereda et al. 2006). Each is given its unenhanced HU, and the voxel keeps its place
between them: an edge of blood to fat becomes a lower edge of the same width, and an edge of blood to myocardium, which
have the same HU without contrast, disappears. Where both tissues stay as they are, so does the voxel.

An edge that is made lower takes its noise with it, which would show where the blood was. What is missing is made up by
random noise of the same spectrum and strength as that of the blood.

Volumes are (Z, Y, X) in HU, Z from superior to inferior; spacing is (z, y, x) in mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastTrainingLib.vnc_masks import (
    HEART_HU,
    Anatomy,
    Floats,
    Mask,
    Spacing,
    find_anatomy,
    masked_mean,
    ramp,
)

VNC_VERSION = 3  # counts up whenever the same CECT gives another VNC
BLOOD_HU = 40.0  # unenhanced blood
LUNG_HU = -850.0  # between the vessels
TISSUE_HU = 62.0  # no unenhanced soft tissue away from bone is expected above this


@dataclass(frozen=True)
class VirtualNonContrast:
    """`vnc_hu` and `iodine_hu` (Z, Y, X) int16, whose sum is the CECT; `blood_hu`, the level of the enhanced blood."""

    vnc_hu: NDArray[np.int16]
    iodine_hu: NDArray[np.int16]
    blood_hu: float


def simulate_vnc(cect_hu: NDArray[Any], spacing_zyx: Spacing) -> VirtualNonContrast:
    """Take the iodine out of a contrast chest CT (Z, Y, X) in HU.

    A CT without a blood pool of at least 85 HU comes back unchanged, with `blood_hu` NaN. The same CECT gives the same
    VNC: the random noise is seeded. `iodine_hu` includes the noise that was exchanged, and can be negative for that.

    Raises:
        ValueError: if the array does not have three axes.
    """
    if cect_hu.ndim != 3:
        raise ValueError(f"expected a (Z, Y, X) volume, got {cect_hu.ndim} axes")
    hu = np.clip(cect_hu, -1024, 3071).astype(np.float32)
    iodine = np.zeros(hu.shape, dtype=np.int16)
    level = float("nan")
    box = body_box(hu)
    if box is not None:
        vnc, level = unenhanced(hu[box], spacing_zyx)
        iodine[box] = np.rint(hu[box] - vnc)
    return VirtualNonContrast((cect_hu - iodine).astype(np.int16), iodine, level)


def unenhanced(hu: Floats, spacing: Spacing) -> tuple[Floats, float]:
    """The VNC (Z, Y, X) in HU and the blood level in HU (the CECT and NaN where there is no enhanced blood)."""
    from scipy import ndimage

    noise = noise_sd(hu)
    smooth = guided_smooth(hu, noise, spacing)
    anatomy = find_anatomy(smooth, noise, local_sd(hu, sigma=1.5 / spacing[1]) < max(3.0 * noise, 45.0), spacing)
    if anatomy is None:
        return hu, float("nan")

    core = ndimage.binary_erosion(anatomy.blood, ndimage.generate_binary_structure(3, 2))
    inside = guided_smooth(hu, noise, spacing, core, width=9.0)
    pure = pure_hu(smooth, anatomy)
    residual = np.where(core, hu - inside, hu - smooth)

    low, high = edge_ends(smooth, step=0.4 * noise)
    rise = smooth.ravel()[high] - smooth.ravel()[low]
    pure_low = pure.ravel()[low]
    slope = np.clip((pure.ravel()[high] - pure_low) / np.maximum(rise, 1.0), 0.0, 1.0)
    on_edge = pure_low + slope * (hu - smooth.ravel()[low])
    edge = ramp(rise, 1.5 * noise, 3.5 * noise)
    trusted = core & (edge == 0.0)
    sd, calm = noise_levels(residual, trusted, noise, spacing)
    vnc = edge * on_edge + (1.0 - edge) * (pure + residual * calm)
    kept = (1.0 - edge) * calm + edge * slope
    lost = np.sqrt(np.clip(1.0 - kept**2, 0.0, 1.0))
    vnc += lost * sd * noise_like(np.where(trusted, residual, 0.0), lost > 0.05)
    return dim_lung_vessels(vnc, hu, anatomy, spacing).astype(np.float32), anatomy.level


def pure_hu(smooth: Floats, anatomy: Anatomy) -> Floats:
    """HU without contrast (Z, Y, X) of what each voxel would be if it were one tissue.

    Blood is set to its level. Bone is left, and of all else what is above the HU of unenhanced tissue goes, without a
    step.
    """
    heart = 1.0 - ramp(anatomy.from_pool, 12.0, 25.0)
    ceiling = TISSUE_HU + heart * (HEART_HU - TISSUE_HU)
    excess = np.maximum(smooth - (ceiling - 10.0), 0.0)
    excess -= 10.0 * (1.0 - np.exp(-excess / 10.0))
    pure = smooth - excess * ramp(anatomy.from_bone, 0.7, 2.5)
    pure[anatomy.blood] = BLOOD_HU
    return np.where(anatomy.bone, smooth, pure)


def edge_ends(smooth: Floats, step: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Flat indices (Z, Y, X) of the ends of the edge on which each voxel lies, the dark end and the bright one.

    From each voxel the way leads in plane to the steepest neighbour, eight times at most, as long as that is at least
    `step` HU a voxel.
    """
    height, width = smooth.shape[1:]
    index = np.arange(smooth.size, dtype=np.intp).reshape(smooth.shape)
    ends = []
    for sign in (-1.0, 1.0):
        padded = np.pad(sign * smooth, ((0, 0), (1, 1), (1, 1)), constant_values=-1e6)
        here = padded[:, 1:-1, 1:-1]
        steepest = np.full(smooth.shape, step, dtype=np.float32)
        target = index.copy()
        for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
            rise = padded[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] - here
            rise /= np.hypot(dy, dx)
            steeper = rise > steepest
            steepest[steeper] = rise[steeper]
            target[steeper] = (index + (dy * width + dx))[steeper]
        for _ in range(3):
            target = target.ravel()[target]
        ends.append(target)
    return ends[0], ends[1]


def noise_levels(residual: Floats, trusted: Mask, noise: float, spacing: Spacing) -> tuple[Floats, Floats]:
    """SD of the noise (Z, Y, X) in HU, and the factor that takes streaks in the blood down to it.

    The SD is that of the trusted voxels around, but no more than 1.3 times what it is there on the whole.
    """
    square = np.minimum(residual**2, (6.0 * noise) ** 2)
    around = np.sqrt(masked_mean(square, trusted, tuple(10.0 / side for side in spacing)))
    usual = float(np.median(around[trusted])) if trusted.any() else noise
    sd = np.where(around > 0.0, np.clip(around, 0.7 * usual, 1.3 * usual), usual)
    here = np.sqrt(masked_mean(residual**2, trusted, tuple(2.5 / side for side in spacing)))
    calm = np.where(trusted, np.minimum(1.0, 1.2 * sd / np.maximum(here, 1.0)), 1.0)
    return sd, calm


def noise_like(sample: Floats, wanted: Mask) -> Floats:
    """Random noise (Z, Y, X) of SD 1 with the spectrum of `sample`, within the bounds of `wanted`; elsewhere zero.

    White noise is given the amplitudes of the sample, of which only a part needs to be other than zero.
    """
    from scipy import fft, ndimage

    noise = np.zeros_like(sample)
    box = ndimage.find_objects(wanted.astype(np.int8))
    if not box or not sample[box[0]].any():
        return noise
    part = sample[box[0]]
    shape = [fft.next_fast_len(side, real=True) for side in part.shape]
    white = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    shaped = fft.irfftn(fft.rfftn(white) * np.abs(fft.rfftn(part, shape)), shape)
    noise[box[0]] = (shaped / shaped.std())[tuple(slice(side) for side in part.shape)]
    return noise


def dim_lung_vessels(vnc: Floats, hu: Floats, anatomy: Anatomy, spacing: Spacing) -> Floats:
    """The VNC with the thin vessels of the lungs dimmed: what is above lung loses the iodine's share of it."""
    from scipy import ndimage

    share = (anatomy.level - BLOOD_HU) / (anatomy.level - LUNG_HU)
    weight = ndimage.gaussian_filter(anatomy.lung_vessels.astype(np.float32), (0.0, 1.0, 1.0))
    weight = np.minimum(2.0 * weight, 1.0)
    dimmed = hu - share * np.maximum(hu - LUNG_HU, 0.0)
    return np.where(weight > 0.01, np.minimum(vnc, (1.0 - weight) * vnc + weight * dimmed), vnc)


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
