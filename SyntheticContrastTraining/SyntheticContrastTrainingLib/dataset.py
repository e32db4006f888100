"""Stacks of slices out of the prepared volumes, in a random order that covers each of them once an epoch.

Which stack has which place in the stream, and how it is cut and altered, follows from the seed and that place alone. So
a run that resumes goes on with the same data, and several processes share a stream without talking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastTrainingLib.prepared import PreparedCase, open_volumes
from SyntheticContrastTrainingLib.recipes import Recipe

AIR_HU = -1000
HU_RANGE = (-1024, 3071)
_ORDER, _STACK = 0, 1  # of random numbers: one purpose never shares them with another

Volume = NDArray[np.int16]
Offset = tuple[int, int]


@dataclass(frozen=True)
class Pair:
    """NCCT (or VNC) and CECT on one grid, (Z, Y, X) int16 HU."""

    ncct: Volume
    cect: Volume


class Stacks:
    """Every stack of `depth` successive slices of every volume, by number."""

    def __init__(self, pairs: list[Pair], depth: int) -> None:
        self.pairs = pairs
        self.depth = depth
        self.places = [(pair, z) for pair, volumes in enumerate(pairs) for z in range(len(volumes.cect) - depth + 1)]

    @classmethod
    def open(cls, folder: Path, cases: Sequence[PreparedCase], depth: int) -> Stacks:
        """Map the volumes of these cases of a prepared training set into memory.

        Raises:
            InputError: for a volume that is missing, or of fewer than `depth` slices.
        """
        for case in cases:
            if case.shape_zyx[0] < depth:
                raise InputError(f"case {case.case_id} has {case.shape_zyx[0]} slices: a stack needs {depth}")
        return cls([Pair(*open_volumes(folder, case)) for case in cases], depth)

    def __len__(self) -> int:
        return len(self.places)

    def read(self, number: int, offset_yx: Offset, crop: int) -> Pair:
        """One stack, (depth, crop, crop): the same cut-out of both volumes, air where it reaches beyond them."""
        pair, z = self.places[number]
        volumes = self.pairs[pair]
        return Pair(
            cut_out(volumes.ncct[z : z + self.depth], offset_yx, crop),
            cut_out(volumes.cect[z : z + self.depth], offset_yx, crop),
        )

    def number_at(self, seed: int, place: int) -> int:
        """Which stack has this place in the endless stream."""
        epoch, within = divmod(place, len(self))
        return int(epoch_order(seed, epoch, len(self))[within])

    def draw(self, recipe: Recipe, place: int, crop: int) -> Pair:
        """The stack at this place in the stream, cut to `crop` x `crop` and altered as the recipe says."""
        random = np.random.default_rng([recipe.seed, _STACK, place])
        number = self.number_at(recipe.seed, place)
        shape = self.pairs[self.places[number][0]].cect.shape
        shift = recipe.max_shift
        offset = random_offset(random, shape[1], crop, shift), random_offset(random, shape[2], crop, shift)
        return augment(self.read(number, offset, crop), random, recipe)


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


def cut_out(volume: Volume, offset_yx: Offset, crop: int) -> Volume:
    """(Z, crop, crop) of a (Z, Y, X) volume, from an offset that may lie outside it; air outside."""
    result = np.full((len(volume), crop, crop), AIR_HU, dtype=np.int16)
    inside, source = [], []
    for offset, size in zip(offset_yx, volume.shape[1:], strict=True):
        first, last = max(offset, 0), min(offset + crop, size)
        if first >= last:
            return result
        inside.append(slice(first - offset, last - offset))
        source.append(slice(first, last))
    result[:, inside[0], inside[1]] = volume[:, source[0], source[1]]
    return result


def augment(pair: Pair, random: np.random.Generator, recipe: Recipe) -> Pair:
    """Another amount of iodine in the target, and noise: the same in both, so that it stays the input's own."""
    ncct, cect = pair.ncct, pair.cect
    if recipe.iodine != (1.0, 1.0):
        cect = to_int16(ncct + np.float32(random.uniform(*recipe.iodine)) * (cect.astype(np.float32) - ncct))
    if recipe.noise_hu > 0:
        noise = random.standard_normal(ncct.shape, np.float32) * np.float32(random.uniform(0, recipe.noise_hu))
        ncct, cect = to_int16(ncct + noise), to_int16(cect + noise)
    return Pair(ncct, cect)


def to_int16(hu: NDArray) -> Volume:
    return np.rint(np.clip(hu, *HU_RANGE)).astype(np.int16)
