"""The pair of a case on one grid: read, registered or simulated, resliced (Santini 2018, section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.cases import Case
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.heart_region import heart_region
from SyntheticContrastLib.ct.mask import read_mask
from SyntheticContrastLib.ct.read import read_ct
from SyntheticContrastLib.ct.resample import OUTSIDE_HU, resample_to, reslice
from SyntheticContrastLib.ct.volume import CTVolume
from SyntheticContrastTrainingLib.vnc import simulate_vnc


@dataclass(frozen=True)
class PairingOptions:
    """`register`: bring a given CECT into its NCCT's frame. `spacing_z`: slice spacing of the pair in mm."""

    register: Literal["none", "rigid", "deformable"] = "none"
    simulate_vnc: bool = False
    spacing_z: float | None = None


@dataclass(frozen=True, eq=False)
class Pair:
    """NCCT (or simulated VNC) and CECT, (Z, Y, X) int16 HU on one grid, or an NCCT alone.

    `affine` maps voxel (x, y, z, 1) to LPS mm.
    """

    ncct: NDArray[np.int16]
    cect: NDArray[np.int16] | None
    affine: NDArray[np.float64]
    spacing_zyx: tuple[float, float, float]
    simulated: bool
    blood_hu: float | None = None  # of the CECT, where the VNC was simulated
    registration: dict[str, Any] | None = None
    heart_mask: NDArray[np.uint8] | None = None  # 1 within, (Z, Y, X) on the same grid
    chambers: NDArray[np.uint8] | None = None


def make_pair(case: Case, options: PairingOptions, picture: Path | None = None) -> Pair:
    """Read a case and bring its two volumes onto one grid: the NCCT's, or the CECT's where the VNC is simulated.
    An NCCT alone stays so: it shows a network what does not enhance.

    `first_slice` and `last_slice` count the slices of that grid as it was read. Where the moved CECT does not reach,
    both volumes are set to air. With `picture`, a registration is drawn there for review, a failed one too.

    Chambers are drawn on the CECT and move with it; a heart mask lies where the pair does, as generate.py takes it too.
    Any grid will do. Where chambers are given without a heart mask, the heart is looked for in the CECT.

    Raises:
        InputError: for a volume that is missing or cannot be read, a pair that is not on one grid and not to be
            registered, a registration that failed, or a slice range beyond the volume.
    """
    if case.cect is None:
        if case.phase != "unenhanced" or case.ncct is None:
            raise InputError("no cect is given: every case needs one, but an NCCT whose column phase says unenhanced")
        return _alone(case, read_ct(case.ncct), options)
    if case.ncct is None and not options.simulate_vnc:
        raise InputError("no ncct is given: give one, or have it made from the CECT with --simulate-vnc")
    cect = read_ct(case.cect)
    ncct = read_ct(case.ncct) if case.ncct else None
    if ncct is None:
        pair = _simulated(case, cect, options)
    elif options.register == "none":
        pair = _as_given(case, ncct, cect, options)
    else:
        pair = _registered(case, ncct, cect, options, picture)
    return _cropped(pair, case, (ncct or cect).spacing_zyx[0])


def _alone(case: Case, ncct: CTVolume, options: PairingOptions) -> Pair:
    """An NCCT without a partner."""
    read_spacing_z = ncct.spacing_zyx[0]
    ncct = _resliced(ncct, options)
    pair = Pair(_int16(ncct.hu), None, ncct.grid.canonical_affine.copy(), ncct.spacing_zyx, simulated=False)
    return _cropped(pair, case, read_spacing_z)


def _simulated(case: Case, cect: CTVolume, options: PairingOptions) -> Pair:
    made = simulate_vnc(_int16(cect.hu), cect.spacing_zyx)
    if np.isnan(made.blood_hu):
        raise InputError("no enhanced blood pool was found in the cect: it cannot be a training target")
    vnc = _resliced(CTVolume(made.vnc_hu, cect.grid), options)
    return _pair(case, vnc, _resliced(cect, options).hu, simulated=True, blood_hu=round(made.blood_hu, 1))


def _as_given(case: Case, ncct: CTVolume, cect: CTVolume, options: PairingOptions) -> Pair:
    same = ncct.hu.shape == cect.hu.shape and np.allclose(
        ncct.grid.canonical_affine, cect.grid.canonical_affine, atol=1e-2
    )
    if not same:
        raise InputError("ncct and cect are not on one grid: add --register rigid")
    return _pair(case, _resliced(ncct, options), _resliced(cect, options).hu, simulated=False)


def _registered(case: Case, ncct: CTVolume, cect: CTVolume, options: PairingOptions, picture: Path | None) -> Pair:
    import SimpleITK as sitk

    from SyntheticContrastTrainingLib.registration import register
    from SyntheticContrastTrainingLib.registration_picture import write_picture

    target = _resliced(ncct, options)
    found = register(target, cect, deformable=options.register == "deformable")
    if cect.spacing_zyx[0] < 0.9 * target.spacing_zyx[0]:
        cect = reslice(cect, target.spacing_zyx[0])  # averages thin slices, where resampling would pick one
    moved, covered = resample_to(cect, target.grid, found.transform)
    if picture:
        before, _ = resample_to(cect, target.grid, sitk.Transform(3, sitk.sitkIdentity))
        title = f"registration failed: {found.failed}" if found.failed else ""
        write_picture(picture, target.hu, before, moved, target.spacing_zyx, title)
    if found.failed:
        raise InputError(f"the registration failed, the case is left out: {found.failed}")
    pair = _pair(case, target, moved, found.transform, simulated=False, registration=found.to_json())
    for volume in (pair.ncct, pair.cect):
        assert volume is not None
        volume[~covered] = OUTSIDE_HU
    return pair


def _pair(case: Case, ncct: CTVolume, cect_hu: NDArray, cect_moved: Any = None, **more: Any) -> Pair:
    """`cect_moved`: SimpleITK transform from points of the pair to points of the CECT as it was read."""
    cect = _int16(cect_hu)
    heart_mask, chambers = (
        read_mask(path, ncct.grid, moved, case.labels.get(name, ())).astype(np.uint8) if path else None
        for name, path, moved in (("heart_mask", case.heart_mask, None), ("chambers", case.chambers, cect_moved))
    )
    if chambers is not None and heart_mask is None:
        heart_mask = heart_region(cect, ncct.spacing_zyx).astype(np.uint8)
    affine = ncct.grid.canonical_affine.copy()
    return Pair(_int16(ncct.hu), cect, affine, ncct.spacing_zyx, heart_mask=heart_mask, chambers=chambers, **more)


def _cropped(pair: Pair, case: Case, read_spacing_z: float) -> Pair:
    scale = read_spacing_z / pair.spacing_zyx[0]
    first = 0 if case.first_slice is None else round(case.first_slice * scale)
    last = len(pair.ncct) if case.last_slice is None else round((case.last_slice + 1) * scale)
    if first >= len(pair.ncct):
        raise InputError(f"first_slice {case.first_slice} lies beyond the last slice of the volume")
    affine = pair.affine.copy()
    affine[:3, 3] += first * affine[:3, 2]
    volumes = {name: getattr(pair, name) for name in ("ncct", "cect", "heart_mask", "chambers")}
    cut = {name: volume[first:last] for name, volume in volumes.items() if volume is not None}
    return replace(pair, affine=affine, **cut)


def _resliced(volume: CTVolume, options: PairingOptions) -> CTVolume:
    if options.spacing_z is None:
        return volume
    return reslice(volume, options.spacing_z)


def _int16(hu: NDArray) -> NDArray[np.int16]:
    if hu.dtype == np.int16:
        return hu
    return np.rint(np.clip(hu, -32768, 32767)).astype(np.int16)
