"""Two volume nodes as files on one grid for the child process that compares them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
import slicer
from numpy.typing import NDArray
from slicer.i18n import tr as _

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.write import write_whole
from SyntheticContrastLib.scene.measured import ctOf
from SyntheticContrastLib.scene.resample import onGridOf

AIR_HU = -1000
NAMES = ("image.nrrd", "reference.nrrd")


@dataclass(frozen=True)
class Pair:
    """Files of the slices that are compared, cut to where both volumes lie.

    cut: whether that is less than the reference's slices. outside: the share of what is left that one of the two does
    not cover, 0 to 1; it counts as air in both.
    """

    image: Path
    reference: Path
    cut: bool
    outside: float


def writePair(
    image: slicer.vtkMRMLScalarVolumeNode | None,
    reference: slicer.vtkMRMLScalarVolumeNode | None,
    first: int,
    last: int,
    folder: Path,
) -> Pair:
    """Write slices `first` to `last` (along the reference's canonical Z, from 0 at the top, included) of both volumes.

    The image is resampled onto the reference's grid; parent transforms of both count.

    folder: private and temporary. The files have no name of a node, which may name a patient.

    Raises:
        InputError: a volume is missing or has no voxels, both are one, fewer than two slices, or no common voxel.
        OSError: no space, or no permission.
    """
    ctOf(image)  # refuses what cannot be compared
    ct = ctOf(reference)
    assert image is not None and reference is not None
    if image is reference:
        raise InputError(_("image and reference are one volume: choose two"))
    depth = len(ct.hu)
    if not 0 <= first < last < depth:
        text = _("slices {first} to {last} cannot be compared: give two or more of the {depth} slices of the reference")
        raise InputError(text.format(first=first, last=last, depth=depth))
    part = slice(first, last + 1)
    resampled = ct.from_stored(onGridOf(image, reference))[part]
    there = ~np.isnan(resampled)
    if not there.any():
        text = _("{name} does not reach slices {first} to {last} of {reference}: choose a volume of this patient")
        raise InputError(text.format(name=image.GetName(), first=first, last=last, reference=reference.GetName()))
    if not there.any(axis=(1, 2)).all():
        missing = int(np.count_nonzero(~there.any(axis=(1, 2))))
        text = _("{name} does not reach {missing} of the slices {first} to {last}: narrow the range")
        raise InputError(text.format(name=image.GetName(), missing=missing, first=first, last=last))
    rows, columns = (np.flatnonzero(there.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    box = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    there = there[box]
    arrays = (np.where(there, array[box], AIR_HU) for array in (resampled, ct.hu[part]))
    paths = [_write(folder / name, array, ct.spacing_zyx) for name, array in zip(NAMES, arrays, strict=True)]
    return Pair(paths[0], paths[1], there.shape[1:] != ct.hu.shape[1:], float(1 - there.mean()))


def _write(path: Path, hu: NDArray, spacing_zyx: tuple[float, float, float]) -> Path:
    """(Z, Y, X), as an axial volume somewhere."""
    written = SimpleITK.GetImageFromArray(np.ascontiguousarray(hu[::-1], np.float32))
    written.SetSpacing(spacing_zyx[::-1])
    write_whole(path, written, compress=False)
    return path
