"""Patches of the canonical grid out of the share targets, altered at random in space and in HU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from SyntheticContrastLib.ct.canonical_grid import AIR_HU, CANONICAL_MM, LEAST_TISSUE
from SyntheticContrastTrainingLib.dataset import Pair, Stacks, stream_random
from SyntheticContrastTrainingLib.lesions import add_lesions
from SyntheticContrastTrainingLib.prepared import CECT, NCCT, PreparedCase, open_volume
from SyntheticContrastTrainingLib.recipes import Recipe
from SyntheticContrastTrainingLib.share_targets import (
    BLOOD_SHARE,
    UNENHANCED_HU,
    ShareTarget,
    target_of_pair,
    target_of_unenhanced,
)

LEVEL_RISE_HU = 350.0 - UNENHANCED_HU  # of blood in the CECT that stands for the shares, in pictures and validation
AROUND_BLOOD = 0.45  # share of the patches whose middle lies near blood of its slice; the others lie anywhere
UNENHANCED_EVERY = 3  # slices of a CT without a partner, of which one is the middle of a patch
TILT = 5.0  # degrees about the axes in plane, to either side
STRETCH = 0.07  # of each axis, on top of the magnification
BEND_KNOTS_ZYX = (3, 4, 4)
NATIVE_HU = (-22.0, 18.0)  # added to unenhanced blood: anaemia, another calibration
OFFSET_HU = 15.0  # of the whole scan, to either side
THICK = 0.4  # share of the patches whose slices are made up to 12 mm thick
OTHER_KERNEL = 0.3  # share of those that are made sharper or softer


@dataclass(frozen=True)
class SharePatch(Pair):
    """A pair on the canonical grid, whose CECT has its blood at 350 HU, with what `ShareTarget` holds of it, all
    (Z, Y, X) float32."""

    target: ShareTarget = None  # type: ignore[assignment]

    @classmethod
    def of(cls, target: ShareTarget) -> SharePatch:
        cect = target.hu + np.float32(LEVEL_RISE_HU) * target.share * target.tissue
        return cls(target.hu, cect, CANONICAL_MM, target=target)


class ShareStacks(Stacks):
    """One patch around each slice of each volume, `depth` slices high."""

    def __init__(self, targets: Sequence[ShareTarget], depth: int) -> None:
        super().__init__([SharePatch.of(target) for target in targets], depth)
        self.targets = list(targets)
        self.places = [
            (number, z)
            for number, target in enumerate(targets)
            for z in range(0, len(target.hu), 1 if target.share.any() else UNENHANCED_EVERY)
        ]

    @classmethod
    def open_shares(cls, folder: Path, cases: Sequence[PreparedCase], depth: int) -> ShareStacks:
        """The targets of these cases of a prepared training set; they are made here, and kept in memory.

        Raises:
            InputError: for a volume that is missing.
        """
        return cls([read_target(folder, case) for case in cases], depth)

    def read(self, number: int, thickness: int = 1) -> SharePatch:
        """`depth` whole slices around the slice of that number, air beyond the volume. There are no thicker ones."""
        volume, z = self.places[number]
        target = self.targets[volume]
        slices = len(target.hu)
        first = min(max(0, z - self.depth // 2), max(0, slices - self.depth))
        rows = np.clip(np.arange(first, first + self.depth), 0, slices - 1)
        arrays = {name: getattr(target, name)[rows] for name in ("hu", "tissue", "share", "weight", "right")}
        return SharePatch.of(replace(target, **arrays))

    def draw(self, recipe: Recipe, place: int, crop: int) -> SharePatch:
        """The patch at this place in the stream, (depth, crop, crop), altered as the recipe says."""
        random = stream_random(recipe, place)
        volume, z = self.places[self.number_at(recipe.seed, place)]
        target = self.targets[volume]
        size = (self.depth, crop, crop)
        return SharePatch.of(
            _altered(_warped(target, _centre(target, z, size, random), size, recipe, random), recipe, random)
        )


def read_target(folder: Path, case: PreparedCase) -> ShareTarget:
    ncct = np.asarray(open_volume(folder, case, NCCT))
    if CECT not in case.files:
        return target_of_unenhanced(ncct, case.spacing_zyx)
    cect = np.asarray(open_volume(folder, case, CECT))
    return target_of_pair(
        ncct,
        cect,
        case.spacing_zyx,
        case.blood_hu,
        simulated=case.simulated,
        phase="portal" if case.phase == "portal" else "arterial",  # the pulmonary one is made of the arterial share
        right_hu=case.right_hu,
    )


def _centre(
    target: ShareTarget, z: int, size: tuple[int, int, int], random: np.random.Generator
) -> NDArray[np.float64]:
    """Voxels. Not so near the border that there is more air than need be."""
    shape = np.array(target.hu.shape)
    blood = np.argwhere((target.share[z] > BLOOD_SHARE) & (target.weight[z] > 0))
    if len(blood) and random.random() < AROUND_BLOOD:
        centre = np.array([z, *blood[int(random.integers(len(blood)))]], float)
        centre += random.uniform(-0.35, 0.35, 3) * size
    else:
        centre = np.array([z, *(random.uniform(0, 1, 2) * shape[1:])], float)
    least = np.minimum(np.array(size) / 2, shape / 2)
    return np.clip(centre, least, shape - least)


def _warped(
    target: ShareTarget,
    centre: NDArray[np.float64],
    size: tuple[int, int, int],
    recipe: Recipe,
    random: np.random.Generator,
) -> ShareTarget:
    """Turned, magnified and bent."""
    mm = np.array(CANONICAL_MM)
    scale = random.uniform(*recipe.magnification) * (1 + random.uniform(-1, 1, 3) * STRETCH)
    turn = _rotation(*(math.radians(random.uniform(-most, most)) for most in (recipe.rotation, TILT, TILT)))
    size_mm = np.array(size) * mm
    matrix = (turn / scale) / mm[:, None]  # mm in the patch, from its middle, to voxels of the volume
    # Only the part of the volume that the patch can reach is looked at.
    reach = np.abs(matrix) @ (size_mm / 2) + 3 * recipe.bend / mm
    part = tuple(
        slice(max(0, int(at - far)), min(n, int(at + far) + 2))
        for at, far, n in zip(centre, reach, target.hu.shape, strict=True)
    )
    start, shape = (np.array([getattr(side, name) for side in part]) for name in ("start", "stop"))
    shape = shape - start
    theta = np.c_[matrix * (size_mm / 2), centre - start + 0.5] * 2 / shape[:, None]
    theta[:, 3] -= 1
    theta = theta[::-1][:, [2, 1, 0, 3]].copy()  # PyTorch's order is x, y, z
    grid = F.affine_grid(torch.from_numpy(theta).float()[None], [1, 1, *size], align_corners=False)
    knots = random.standard_normal((1, 3, *BEND_KNOTS_ZYX)) * recipe.bend / mm[:, None, None, None]
    knots = (knots * 2 / shape[:, None, None, None])[:, ::-1].copy()
    bend = F.interpolate(torch.from_numpy(knots).float(), size=size, mode="trilinear", align_corners=True)
    grid += bend.permute(0, 2, 3, 4, 1)

    def sampled(arrays: list[NDArray], mode: str) -> NDArray[np.float32]:
        stack = torch.from_numpy(np.stack(arrays).astype(np.float32, copy=False))[None]
        return np.asarray(F.grid_sample(stack, grid, mode=mode, padding_mode="zeros", align_corners=False)[0])

    held = target.share[part] * target.tissue[part]
    hu, tissue, held, weight = sampled(
        [target.hu[part] - AIR_HU, target.tissue[part], held, target.weight[part]], "bilinear"
    )
    right = np.full(size, -1, np.float32)
    if (target.right[part] >= 0).any():
        right = sampled([target.right[part] + 1], "nearest")[0] - 1
    share = np.where(tissue > LEAST_TISSUE, held / np.maximum(tissue, LEAST_TISSUE), 0).astype(np.float32)
    return ShareTarget(hu + np.float32(AIR_HU), tissue, share, weight, right, target.phase)


def _rotation(about_z: float, about_y: float, about_x: float) -> NDArray[np.float64]:
    """(3, 3) in the order z, y, x."""
    result = np.eye(3)
    for angle, (first, second) in ((about_z, (1, 2)), (about_y, (0, 2)), (about_x, (0, 1))):
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        result = result @ turn
    return result


def _altered(target: ShareTarget, recipe: Recipe, random: np.random.Generator) -> ShareTarget:
    """With lesions, other blood, thicker slices, another kernel and calibration, noise."""
    from scipy.ndimage import gaussian_filter

    if random.random() < recipe.lesions:
        target = _with_lesions(target, random)
    hu = target.hu + np.minimum(target.share, 1) * target.tissue * np.float32(random.uniform(*NATIVE_HU))
    if random.random() < THICK:
        hu = _thick(hu, random)
    hu = hu + np.float32(random.uniform(-1, 1) * OFFSET_HU) * (hu > -900)
    if random.random() < OTHER_KERNEL:
        hu = hu + np.float32(random.uniform(-1, 0.6)) * (hu - gaussian_filter(hu, (0, 0.7, 0.7)))
    noise = gaussian_filter(random.standard_normal(hu.shape, np.float32), random.uniform(0, 0.8), axes=(1, 2))
    noise *= np.float32(random.uniform(0, recipe.noise_hu) / max(float(noise.std()), 1e-6))
    return replace(target, hu=np.maximum(hu + noise, np.float32(-1024)))


def _with_lesions(target: ShareTarget, random: np.random.Generator) -> ShareTarget:
    """Masses and effusions in the lungs, without contrast."""
    enhanced = target.hu + np.float32(LEVEL_RISE_HU) * target.share * target.tissue
    hu, enhanced = add_lesions(target.hu, enhanced, CANONICAL_MM, random)
    filled = np.abs(hu - target.hu) > 50
    tissue = np.where(filled, np.clip((hu + 1000) / 1000, target.tissue, 1), target.tissue).astype(np.float32)
    held = (enhanced - hu) / np.float32(LEVEL_RISE_HU)
    share = np.where(tissue > LEAST_TISSUE, held / np.maximum(tissue, LEAST_TISSUE), 0).astype(np.float32)
    return replace(target, hu=hu, tissue=tissue, share=np.clip(share, 0, None))


def _thick(hu: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """Slices of up to 10 mm, brought to the canonical ones as inference does it."""
    count = int(random.integers(2, 5))
    first = int(random.integers(0, count))
    padded = np.pad(hu, ((count, count), (0, 0), (0, 0)), mode="edge")[first:]
    n = len(padded) // count
    slices = padded[: n * count].reshape(n, count, *hu.shape[1:]).mean(1)
    # middle of thick slice k in the padded order: first + k * count + (count - 1) / 2
    at = (np.arange(len(hu)) + count - first - (count - 1) / 2) / count
    at = np.clip(at, 0, n - 1)
    lower = np.minimum(at.astype(int), n - 2) if n > 1 else np.zeros(len(hu), int)
    part = (at - lower).astype(np.float32)[:, None, None]
    return slices[lower] * (1 - part) + slices[np.minimum(lower + 1, n - 1)] * part
