"""Slices around the heart, with its mask and the left chambers, out of the prepared volumes (Santini 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.in_plane import BEND_KNOTS, Placement, sample
from SyntheticContrastLib.synthesis.heart_slices import heart_placement
from SyntheticContrastTrainingLib.dataset import AIR_HU, Pair, Stacks, augment, stream_random, to_int16
from SyntheticContrastTrainingLib.prepared import CECT, CHAMBERS, HEART, NCCT, PreparedCase, open_volume
from SyntheticContrastTrainingLib.recipes import Recipe


@dataclass(frozen=True)
class HeartPair(Pair):
    """A pair with the heart mask and the left chambers (atrium and ventricle), (Z, Y, X) uint8, 1 within them."""

    heart: NDArray[np.uint8] = None  # type: ignore[assignment]
    chambers: NDArray[np.uint8] = None  # type: ignore[assignment]


class HeartSlices(Stacks):
    """The slices that show the left chambers, `crop` x `crop` pixels of `pixel_mm` around the heart.

    The middle of a crop is that of the heart mask of the whole volume, as it is when the model is used.
    """

    def __init__(self, hearts: Sequence[HeartPair], crop: int, pixel_mm: float) -> None:
        super().__init__(list(hearts), depth=1)
        self.hearts = hearts
        self.crop = crop
        self.pixel_mm = pixel_mm
        self.places = [(pair, z) for pair, z in self.places if hearts[pair].chambers[z].any()]
        self.placements = [
            heart_placement(np.asarray(pair.heart) > 0, pair.spacing_zyx, crop, pixel_mm) for pair in hearts
        ]

    @classmethod
    def open_hearts(cls, folder: Path, cases: Sequence[PreparedCase], crop: int, pixel_mm: float) -> HeartSlices:
        """Map the volumes of these cases of a prepared training set into memory.

        Raises:
            InputError: for a case without a heart mask or chambers.
        """
        pairs = []
        for case in cases:
            if not {HEART, CHAMBERS} <= case.files.keys():
                raise InputError(
                    f"case {case.case_id} has no chambers: fill in that column of cases.csv and run prepare.py again"
                )
            ncct, cect, heart, chambers = (open_volume(folder, case, name) for name in (NCCT, CECT, HEART, CHAMBERS))
            pairs.append(HeartPair(ncct, cect, case.spacing_zyx, heart, chambers, blood_hu=case.blood_hu))
        return cls(pairs, crop, pixel_mm)

    def read(self, number: int, thickness: int = 1) -> HeartPair:
        """One slice, (1, crop, crop), as the model sees it when it is used. There are no thicker ones."""
        return self.around_heart(number, self.crop)

    def draw(self, recipe: Recipe, place: int, crop: int) -> HeartPair:
        """The slice at this place in the stream, turned and otherwise altered as the recipe says."""
        random = stream_random(recipe, place)
        stack = self.around_heart(
            self.number_at(recipe.seed, place),
            crop,
            step=1 / random.uniform(*recipe.magnification),
            shift_yx=random.uniform(-recipe.max_shift, recipe.max_shift, 2),
            degrees=random.uniform(-recipe.rotation, recipe.rotation),
            bend=(random.standard_normal((2, BEND_KNOTS, BEND_KNOTS)) * recipe.bend).astype(np.float32),
        )
        changed = augment(stack, random, recipe)
        return replace(stack, ncct=changed.ncct, cect=changed.cect)

    def around_heart(
        self,
        number: int,
        crop: int,
        step: float = 1.0,
        shift_yx: Sequence[float] | NDArray = (0.0, 0.0),
        degrees: float = 0.0,
        bend: NDArray[np.float32] | None = None,
    ) -> HeartPair:
        """One slice, (1, crop, crop). `step`, `shift_yx` and `bend` are in pixels of `pixel_mm`."""
        pair, z = self.places[number]
        volumes = self.hearts[pair]
        place = self.placements[pair]
        y_step, x_step = place.step_yx
        y, x = (
            middle + pixel * shift
            for middle, pixel, shift in zip(place.centre_yx, place.step_yx, shift_yx, strict=True)
        )
        bent = None if bend is None or not bend.any() else bend * np.float32(x_step)
        placement = Placement((y, x), crop, (y_step * step, x_step * step), degrees, bent)
        ncct, cect = (to_int16(sample(volume[z : z + 1], placement, AIR_HU)) for volume in (volumes.ncct, volumes.cect))
        heart, chambers = (
            sample(volume[z : z + 1], placement, 0, nearest=True).astype(np.uint8)
            for volume in (volumes.heart, volumes.chambers)
        )
        return replace(volumes, ncct=ncct, cect=cect, heart=heart, chambers=chambers)
