"""All measures of one case of a cohort: NCCT and sCECT against CECT (Choi 2021), left chambers (Santini 2018), CNR.

The CECT, and the sCECT if need be, is brought onto the NCCT's grid, in the patient's coordinates and without any
registration. What a scanner did not measure (-1024 HU and below) counts as -1024 HU in all three.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.analysis.chambers import DEFAULT_THRESHOLD
from SyntheticContrastLib.analysis.similarity import READING_WINDOW, SMALLEST_SIDE, Similarity, compare, psnr
from SyntheticContrastLib.ct.cases import Case
from SyntheticContrastLib.ct.content import hash_source
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.volume import CTVolume, Grid

if TYPE_CHECKING:
    from SyntheticContrastLib.analysis.similarity import Lpips

EVALUATION_VERSION = 1  # another one makes finished cases be measured again
NCCT, SCECT, CECT = IMAGES = ("NCCT", "sCECT", "CECT")
OUTSIDE_HU = -1024
LEAST_COVERED = 0.5  # of the NCCT's slices, rows and columns count those of which the CECT covers so much


@dataclass(frozen=True)
class Options:
    """window: (width, level) in HU. lpips: what its weights are, None to go without. threshold: of chambers, HU."""

    window: tuple[float, float] = READING_WINDOW
    slices: Literal["auto", "all"] = "auto"
    lpips: str | None = None
    threshold: float = DEFAULT_THRESHOLD
    series: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Evaluation:
    """`record` is for a JSON file; `images` are the compared (Z, Y, X) parts, HU, by name, with `spacing_zyx` in mm."""

    record: dict[str, Any]
    images: dict[str, NDArray[np.int16]]
    spacing_zyx: tuple[float, float, float]


@dataclass(frozen=True)
class _Range:
    first: int
    last: int
    source: str
    note: str = ""


def made_of(case: Case, options: Options) -> dict[str, Any]:
    """What decides the result: equal, the case needs no second evaluation.

    Raises:
        InputError: a file is missing, or a column that every case needs is empty.
    """
    if missing := [name for name in ("ncct", "cect", "scect") if getattr(case, name) is None]:
        raise InputError(f"no {' and no '.join(missing)} given: every case needs ncct, cect and scect")
    columns = ("ncct", "cect", "scect", "heart_mask", "chambers", "lesions")
    return {
        "version": EVALUATION_VERSION,
        "inputs": {name: hash_source(path) for name in columns if (path := getattr(case, name))},
        **({"labels": {mask: list(labels) for mask, labels in case.labels.items()}} if case.labels else {}),
        "first_slice": case.first_slice,
        "last_slice": case.last_slice,
        "options": {**asdict(options), "window": list(options.window), "series": list(options.series)},
    }


def evaluate(
    case: Case, options: Options, lpips: Lpips | None, on_slice: Callable[[int], None] = lambda done: None
) -> Evaluation:
    """Raises InputError where a volume, mask or markups file cannot be used, or no slices are to be compared."""
    from SyntheticContrastLib.ct.enhanced import enhancement_note
    from SyntheticContrastLib.ct.read import read_ct

    assert case.ncct and case.cect and case.scect  # made_of saw to it
    volumes = {
        NCCT: read_ct(case.ncct, options.series),
        SCECT: read_ct(case.scect, options.series, allow_synthetic=True),
        CECT: read_ct(case.cect, options.series),
    }
    grid = volumes[NCCT].grid
    notes = [f"NCCT: {note}"] if (note := enhancement_note(volumes[NCCT])) else []
    record: dict[str, Any] = {}
    if case.lesions:
        record["lesions"] = _lesions(case, volumes)
    hu, covered = {}, np.ones(grid.shape_zyx, bool)
    for name, volume in volumes.items():
        hu[name], inside = on_grid(volume, grid)
        if inside is not None:
            covered &= inside
            notes.append(f"the {name} was resampled to the NCCT's grid")
    box = _covered_box(covered)
    slices = _slice_range(case, hu[NCCT], grid.spacing_zyx, options)
    first, last = max(slices.first, box[0].start), min(slices.last, box[0].stop - 1)
    if first > last:
        raise InputError(
            f"slices {slices.first} to {slices.last} hold no CECT or sCECT: check the slices and the scans"
        )
    if (first, last) != (slices.first, slices.last):
        notes.append(f"slices {slices.first} to {slices.last} are not all in the CECT and sCECT")
    if slices.note:
        notes.append(slices.note)
    part = (slice(first, last + 1), *box[1:])
    images = {name: np.ascontiguousarray(array[part]) for name, array in hu.items()}
    share = float(covered[part].mean())
    if share < 1:
        for image in images.values():
            image[~covered[part]] = OUTSIDE_HU
        notes.append(f"{1 - share:.1%} of the compared voxels lie outside the CECT or sCECT and count as equal")
    structure = min(images[NCCT].shape[1:]) >= SMALLEST_SIDE
    if not structure:
        y, x = images[NCCT].shape[1:]
        notes.append(f"no MS-SSIM: slices of {y} x {x} pixels have a side under {SMALLEST_SIDE}")
    found = {
        name: compare(images[name], images[CECT], options.window, lpips, structure=structure, on_slice=on_slice)
        for name in (NCCT, SCECT)
    }
    if case.chambers:
        record["chambers"] = _chambers(case, hu, grid, options.threshold)
    record |= {
        "shape_zyx": list(images[NCCT].shape),
        "spacing_zyx": [round(mm, 4) for mm in grid.spacing_zyx],
        "slices": {"first": first, "last": last, "from": slices.source},
        "notes": notes,
        "similarity": {name: _finite(similarity.of_case()) for name, similarity in found.items()},
        "of_slices": {name: _of_slices(similarity) for name, similarity in found.items()},
    }
    return Evaluation(record, images, grid.spacing_zyx)


def on_grid(volume: CTVolume, grid: Grid) -> tuple[NDArray[np.int16], NDArray[np.bool_] | None]:
    """(Z, Y, X) HU on the canonical axes of `grid`, and where the volume covers it: None if it lies on that grid.

    Linear interpolation; much thinner slices are averaged to those of the grid first.
    """
    from SyntheticContrastLib.ct.resample import resample_to, reslice, to_int16

    same = volume.hu.shape == grid.shape_zyx and np.allclose(
        volume.grid.canonical_affine, grid.canonical_affine, atol=1e-2
    )
    if same:
        return np.maximum(to_int16(volume.hu), OUTSIDE_HU), None
    import SimpleITK

    if volume.spacing_zyx[0] < 0.9 * grid.spacing_zyx[0]:
        volume = reslice(volume, grid.spacing_zyx[0])
    return resample_to(volume, grid, SimpleITK.Transform(3, SimpleITK.sitkIdentity))


def _covered_box(covered: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The slices, rows and columns of which enough is covered, as far as any voxel is.

    Raises:
        InputError: nothing is covered.
    """
    box = []
    for axis in range(3):
        share = covered.mean(axis=tuple(other for other in range(3) if other != axis))
        inside = np.flatnonzero(share >= LEAST_COVERED * share.max()) if share.max() > 0 else np.array([], int)
        if not inside.size:
            raise InputError("the CECT or sCECT does not meet the NCCT: they must share the scanner's coordinates")
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return box[0], box[1], box[2]


def _slice_range(case: Case, hu: NDArray, spacing_zyx: tuple[float, float, float], options: Options) -> _Range:
    """Both ends included, counted from 0 at the superior end."""
    end = len(hu) - 1
    first, last = case.first_slice, case.last_slice
    if options.slices == "auto" and (first is None or last is None):
        from SyntheticContrastLib.analysis.slice_range import propose_slice_range

        found = propose_slice_range(hu, spacing_zyx)
        range_ = _Range(found.first, found.last, "proposed from the NCCT", found.note)
    else:
        range_ = _Range(0, end, "all slices")
    if first is None and last is None:
        return range_
    first = range_.first if first is None else first
    last = range_.last if last is None else last
    if first > last or last > end:
        raise InputError(f"slices {first} to {last} are not in a CT with slices 0 to {end}: correct the columns")
    both = case.first_slice is not None and case.last_slice is not None
    return _Range(first, last, "given" if both else f"given and {range_.source}", "" if both else range_.note)


def _of_slices(found: Similarity) -> dict[str, list[float | None]]:
    columns: dict[str, Any] = {
        name: getattr(found, name) for name in ("mae", "mae_unclipped", "ms_ssim", "lpips", "nmi", "nmi_unit")
    }
    columns["psnr"] = [psnr(float(error), found.window[0]) for error in found.squared_error]
    return {name: [_number(value) for value in values] for name, values in columns.items() if values is not None}


def _chambers(case: Case, hu: Mapping[str, NDArray], grid: Grid, threshold: float) -> dict[str, Any]:
    """Of sCECT and CECT by one threshold, against the given ones; all in the given heart, else the one in the NCCT."""
    from SyntheticContrastLib.analysis.chambers import compare_chambers, threshold_chambers
    from SyntheticContrastLib.ct.heart_region import heart_region
    from SyntheticContrastLib.ct.mask import read_mask

    assert case.chambers
    reference = read_mask(case.chambers, grid, labels=case.labels.get("chambers", ()))
    spacing = grid.spacing_zyx
    if case.heart_mask:
        heart = read_mask(case.heart_mask, grid, labels=case.labels.get("heart_mask", ()))
    else:
        heart = heart_region(hu[NCCT], spacing)
    rows: dict[str, Any] = {"heart": "given" if case.heart_mask else "found in the NCCT", "threshold_hu": threshold}
    for name in (SCECT, CECT):
        reached = (hu[name][heart] >= threshold).any()
        found = threshold_chambers(hu[name], heart, spacing, threshold) if reached else np.zeros(heart.shape, bool)
        result = compare_chambers(found, reference, spacing)
        rows["reference_ml"] = result.reference_ml
        rows[name] = {
            "dice": result.dice,
            "dice_of_slices_mean": float(result.dice_of_slices.mean()),
            "volume_ml": result.volume_ml,
            "volume_error_percent": result.volume_error_percent,
            "elsewhere_ml": result.elsewhere_ml,
        }
    return rows


def _lesions(case: Case, volumes: Mapping[str, CTVolume]) -> list[dict[str, Any]]:
    """One row a lesion and image; each image is measured on its own grid."""
    from SyntheticContrastLib.analysis.cnr import measure_cnr
    from SyntheticContrastLib.analysis.markups import read_lesions

    assert case.lesions
    rows: list[dict[str, Any]] = []
    for lesion, circles in read_lesions(case.lesions).items():
        for name, volume in volumes.items():
            row: dict[str, Any] = {"lesion": lesion, "image": name}
            try:
                found = measure_cnr(volume.hu, volume.grid.canonical_affine, circles)
                row |= {"cnr": found.cnr, "noise_hu": found.noise, "warnings": list(found.warnings)}
            except InputError as error:
                row["error"] = str(error)
            rows.append(row)
    return rows


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    """JSON has no infinity; None for the PSNR of equal images."""
    return float(value) if math.isfinite(value) else None
