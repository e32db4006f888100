"""Stacks of slices out of the prepared volumes, in a random order that covers each of them once an epoch.

Which stack has which place in the stream, and how it is cut and altered, follows from the seed and that place alone. So
a run that resumes goes on with the same data, and several processes share a stream without talking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.in_plane import BEND_KNOTS, Placement, cut_out, sample
from SyntheticContrastTrainingLib.lesions import add_lesions
from SyntheticContrastTrainingLib.prepared import CECT, NCCT, PreparedCase, open_volume
from SyntheticContrastTrainingLib.recipes import Recipe
from SyntheticContrastTrainingLib.vnc import BLOOD_HU

AIR_HU = -1000
HU_RANGE = (-1024, 3071)
_ORDER, _STACK = 0, 1  # of random numbers: one purpose never shares them with another

Volume = NDArray[Any]  # int16; on the canonical grid float32


@dataclass(frozen=True)
class Pair:
    """NCCT (or VNC) and CECT on one grid, (Z, Y, X) HU, its spacing in mm, the CECT's blood level if known."""

    ncct: Volume
    cect: Volume
    spacing_zyx: tuple[float, float, float] = (1.0, 1.0, 1.0)
    blood_hu: float | None = field(default=None, kw_only=True)


class Stacks:
    """Every stack of `depth` successive slices of every volume, by number."""

    def __init__(self, pairs: list[Pair], depth: int) -> None:
        self.pairs = pairs
        self.depth = depth
        self.places = [(pair, z) for pair, volumes in enumerate(pairs) for z in range(len(volumes.cect) - depth + 1)]

    @classmethod
    def open(cls, folder: Path, cases: Sequence[PreparedCase], depth: int) -> Stacks:
        """Map the volumes of these cases of a prepared training set into memory; thin ones are read and continued."""
        volumes = [[continued(open_volume(folder, case, name), depth) for name in (NCCT, CECT)] for case in cases]
        return cls(
            [
                Pair(ncct, cect, case.spacing_zyx, blood_hu=case.blood_hu)
                for case, (ncct, cect) in zip(cases, volumes, strict=True)
            ],
            depth,
        )

    def __len__(self) -> int:
        return len(self.places)

    def read(self, number: int, thickness: int = 1) -> Pair:
        """One stack, (depth, Y, X), of slices as they are, or each the mean of `thickness` neighbours.

        Where the volume ends too early for thicker slices, the stack begins earlier.
        """
        pair, z = self.places[number]
        volumes = self.pairs[pair]
        z = min(z, len(volumes.cect) - self.depth * thickness)
        part = slice(z, z + self.depth * thickness)
        return replace(
            volumes,
            ncct=merge_slices(volumes.ncct[part], thickness),
            cect=merge_slices(volumes.cect[part], thickness),
            spacing_zyx=(volumes.spacing_zyx[0] * thickness, *volumes.spacing_zyx[1:]),
        )

    def fixed(self, a_volume: int) -> list[Pair]:
        """Stacks as a model sees them when it is used: `a_volume` of each volume, evenly spaced, without its ends."""
        chosen = []
        for volume in range(len(self.pairs)):
            numbers = [number for number, (pair, _) in enumerate(self.places) if pair == volume]
            last = len(numbers) - 1
            places = sorted({round(last * (place + 1) / (a_volume + 1)) for place in range(a_volume)})
            chosen += [self.read(numbers[place]) for place in places if numbers]
        return chosen

    def number_at(self, seed: int, place: int) -> int:
        """Which stack has this place in the endless stream."""
        epoch, within = divmod(place, len(self))
        return int(epoch_order(seed, epoch, len(self))[within])

    def draw(self, recipe: Recipe, place: int, crop: int) -> Pair:
        """The stack at this place in the stream, cut to `crop` x `crop` and altered as the recipe says."""
        random = stream_random(recipe, place)
        number = self.number_at(recipe.seed, place)
        volumes = self.pairs[self.places[number][0]]
        stack = self.read(number, draw_thickness(random, volumes, self.depth, recipe))
        return augment(crop_in_plane(stack, random, recipe, crop), random, recipe)


def continued(volume: Volume, depth: int) -> Volume:
    """At least `depth` slices: a thin volume is continued by its edge slices, as it is when a model is used."""
    missing = depth - len(volume)
    if missing <= 0:
        return volume
    return np.pad(volume, ((missing // 2, missing - missing // 2), (0, 0), (0, 0)), mode="edge")


def draw_thickness(random: np.random.Generator, volumes: Pair, depth: int, recipe: Recipe) -> int:
    """How many slices are averaged to one: up to `recipe.slice_mm` thick, and no more than the volume can fill."""
    most = int(min(recipe.slice_mm / volumes.spacing_zyx[0], len(volumes.cect) / depth))
    return int(random.integers(1, most + 1)) if most > 1 else 1


def merge_slices(volume: Volume, thickness: int) -> Volume:
    """(Z, Y, X) to (Z / thickness, Y, X)."""
    if thickness == 1:
        return volume
    return to_int16(volume.reshape(-1, thickness, *volume.shape[1:]).mean(axis=1, dtype=np.float32))


def crop_in_plane(stack: Pair, random: np.random.Generator, recipe: Recipe, crop: int) -> Pair:
    """(depth, crop, crop): the same part of both, somewhere in the field of view; air where it reaches beyond it.

    The pixels stay as they are, unless the recipe asks for another size, or turns, magnifies or bends.
    """
    step = recipe.pixel_mm / stack.spacing_zyx[1] if recipe.pixel_mm else 1.0
    if recipe.magnification != (1.0, 1.0):
        step /= random.uniform(*recipe.magnification)
    reach = round(crop * step)
    offset = tuple(random_offset(random, size, reach, recipe.max_shift) for size in stack.cect.shape[1:])
    degrees = random.uniform(-recipe.rotation, recipe.rotation) if recipe.rotation else 0.0
    bend = None
    if recipe.bend:
        bend = (random.standard_normal((2, BEND_KNOTS, BEND_KNOTS)) * recipe.bend).astype(np.float32)
    if step == 1.0 and not degrees and bend is None:
        ncct, cect = (cut_out(volume, offset, (crop, crop), AIR_HU) for volume in (stack.ncct, stack.cect))
    else:
        centre = offset[0] + (reach - 1) / 2, offset[1] + (reach - 1) / 2
        both = np.concatenate([stack.ncct, stack.cect])
        ncct, cect = np.split(to_int16(sample(both, Placement(centre, crop, step, degrees, bend), AIR_HU)), 2)
    z_mm, y_mm, x_mm = stack.spacing_zyx
    return replace(stack, ncct=ncct, cect=cect, spacing_zyx=(z_mm, y_mm * step, x_mm * step))


def stream_random(recipe: Recipe, place: int) -> np.random.Generator:
    """What alters the stack at this place in the stream."""
    return np.random.default_rng([recipe.seed, _STACK, place])


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The numbers 0 to count - 1 in the random order of this epoch, counted from 0."""
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(count)


def random_offset(random: np.random.Generator, size: int, crop: int, max_shift: int) -> int:
    """First voxel of a crop along one axis, uniform from `max_shift` before the image to `max_shift` past its end.

    A crop as large as the image is shifted by up to `max_shift` (Choi 2021: 50 pixels); a smaller one covers the whole
    field of view, its edges included. An image smaller than the crop lies whole within it.
    """
    lowest, highest = sorted((0, size - crop))
    return int(random.integers(lowest - max_shift, highest + max_shift + 1))


def augment(pair: Pair, random: np.random.Generator, recipe: Recipe) -> Pair:
    """Lesions, another amount of iodine in the target, and noise; lesions and noise are the same in both."""
    ncct, cect = pair.ncct, pair.cect
    if recipe.lesions and random.random() < recipe.lesions:
        ncct, cect = (to_int16(volume) for volume in add_lesions(ncct, cect, pair.spacing_zyx, random))
    iodine = iodine_to_level(pair.blood_hu, recipe.blood_hu)
    if recipe.iodine != (1.0, 1.0):
        iodine *= random.uniform(*recipe.iodine)
    if iodine != 1.0:
        cect = to_int16(ncct + np.float32(iodine) * (cect.astype(np.float32) - ncct))
    if recipe.noise_hu > 0:
        noise = random.standard_normal(ncct.shape, np.float32) * np.float32(random.uniform(0, recipe.noise_hu))
        ncct, cect = to_int16(ncct + noise), to_int16(cect + noise)
    return replace(pair, ncct=ncct, cect=cect)


def iodine_to_level(blood_hu: float | None, wanted_hu: float) -> float:
    """What CECT - NCCT is multiplied by so that blood has the level that is wanted; 1 where either is not known."""
    if not wanted_hu or not blood_hu:
        return 1.0
    return (wanted_hu - BLOOD_HU) / (blood_hu - BLOOD_HU)


def to_int16(hu: NDArray) -> Volume:
    return np.rint(np.clip(hu, *HU_RANGE)).astype(np.int16)
