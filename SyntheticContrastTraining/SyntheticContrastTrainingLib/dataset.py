"""Random stacks of slices out of the prepared volumes.

Which stack a step sees follows from the seed and the step alone, so a run that resumes goes on with the same data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastTrainingLib.prepared import open_volumes, read_manifest

AIR_HU = -1000

Volume = NDArray[np.int16]
Offset = tuple[int, int]


@dataclass(frozen=True)
class Pair:
    """NCCT (or VNC) and CECT on one grid, (Z, Y, X) int16 HU."""

    ncct: Volume
    cect: Volume


class Stacks:
    """Every stack of `depth` successive slices of every volume, by number: all of them equally likely to be drawn."""

    def __init__(self, pairs: list[Pair], depth: int) -> None:
        self.pairs = pairs
        self.depth = depth
        self.places = [(pair, z) for pair, volumes in enumerate(pairs) for z in range(len(volumes.cect) - depth + 1)]

    @classmethod
    def open(cls, folder: Path, depth: int) -> Stacks:
        """Open a prepared training set.

        Raises:
            InputError: for a folder that is none, or a volume of fewer than `depth` slices.
        """
        cases = read_manifest(folder)
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

    def draw(self, seed: int, step: int, crop: int, max_shift: int) -> Pair:
        """The stack of this step."""
        random = np.random.default_rng([seed, step])
        number = int(random.integers(len(self)))
        shape = self.pairs[self.places[number][0]].cect.shape
        offset = random_offset(random, shape[1], crop, max_shift), random_offset(random, shape[2], crop, max_shift)
        return self.read(number, offset, crop)


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
