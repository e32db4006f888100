"""Bring a CECT into the frame of the NCCT of the same patient, and onto its grid (Santini 2018, section 2.2).

The rigid transform that maximises the Mattes mutual information (MI) of the two scans is searched from coarse to fine.
MI takes HU as classes, so that unenhanced blood may become enhanced blood; the table is taken out of both scans, since
the patient moves on it. Everything runs in one thread with fixed seeds: the same scans give the same transform.

Transforms map points of the fixed scan (NCCT) to points of the moving scan (CECT), LPS mm, as in ITK.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.resample import NOWHERE, OUTSIDE_HU, to_array, to_image, to_int16
from SyntheticContrastLib.ct.volume import CTVolume

# Classes of 16 HU from fat to bone. Lung and air are one class: breathing deforms lungs most, and their partial volume
# with soft tissue pulls slices of 5 mm off by half a millimetre. Above 500 HU there are only cortical bone, metal and
# dense iodine, which would stretch the classes and say nothing about the position.
WINDOW_HU = (-300.0, 500.0)
BINS = 50
LEVELS_MM = (8.0, 4.0, 2.0)  # voxel size of the search, coarse to fine, as far as a scan has it
SAMPLES = (15_000, 30_000, 60_000)  # points of each level in the box of the scan, drawn once
SEED = 20403
SEARCH_Z_MM = (-40.0, -20.0, 0.0, 20.0, 40.0)  # starts along the body, beside the scanner's own coordinates
NUDGES = (-8.0, -4.0, 4.0, 8.0)  # mm and degrees, by which a pair that lies right already is worse
MEASURE_MM = 4.0  # voxel size at which MI and agreement are measured, before and after

MAX_ROTATION_DEGREES = 20.0
MAX_TRANSLATION_MM = 60.0
MIN_OVERLAP = 0.1  # of the NCCT's body: a cardiac CECT covers a fifth of a long chest NCCT
MIN_SAMPLES = 2_000
MI_TOLERANCE = 0.02  # a pair that was aligned before may lose this share of its MI to interpolation
# What tells one patient from two, or from a wrong optimum. Measured on public CTs: three patients against their own
# simulated VNC, with up to 25 HU of noise and 25 mm of breathing, give an NMI of 1.20 to 1.45 and a bone agreement of
# 0.84 to 0.98; twelve pairs of different patients at most 1.07 and 0.38; mirrored scans at most 1.10 and 0.55.
MIN_NMI = 1.12
MIN_BONE = 0.55
BONE_HU = 200.0

CONTROL_MM = 60.0  # between control points of the B-spline
DEFORM_ITERATIONS = 15
MIN_JACOBIAN = 0.1


@dataclass(frozen=True, eq=False)
class Registration:
    """The transform of one pair and how far to trust it. Use it only if `failed` is empty."""

    transform: sitk.Transform  # NCCT point -> CECT point, LPS mm; a composite if deformable
    rotation_degrees: tuple[float, float, float]  # about the R-L, A-P and S-I axes through `centre_mm`, order Z X Y
    translation_mm: tuple[float, float, float]  # of the centre: to the left, back and head
    centre_mm: tuple[float, float, float]  # LPS mm, middle of the NCCT's body
    mi_before: float  # nats, scanner coordinates; before and after on the same samples, with BINS x BINS classes
    mi_after: float
    nmi_after: float  # (H(NCCT) + H(CECT)) / H(both): 1 unrelated, 2 the same
    bone_agreement: float  # share of the NCCT's bone that is bone or as bright in the moved CECT
    samples: int  # voxels of MEASURE_MM behind mi_before and mi_after
    overlap_voxels: int  # voxels of MEASURE_MM of the NCCT's body that the moved CECT covers
    overlap: float  # their share of the NCCT's body
    deformation_mm: float  # largest displacement that the B-spline adds within the body, 0 if rigid
    failed: str  # why it must not be used, else ""

    @property
    def angle_degrees(self) -> float:
        """The whole rotation as one angle."""
        rotation = sitk.Euler3DTransform()
        rotation.SetRotation(*np.radians(self.rotation_degrees).tolist())
        trace = np.trace(np.reshape(rotation.GetMatrix(), (3, 3)))
        return float(np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1))))

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest or report; of the transform only its rigid parameters."""
        return {
            "rotation_degrees": [round(value, 4) for value in self.rotation_degrees],
            "translation_mm": [round(value, 4) for value in self.translation_mm],
            "centre_mm": [round(value, 4) for value in self.centre_mm],
            "mi_before": round(self.mi_before, 4),
            "mi_after": round(self.mi_after, 4),
            "nmi_after": round(self.nmi_after, 4),
            "bone_agreement": round(self.bone_agreement, 4),
            "samples": self.samples,
            "overlap_voxels": self.overlap_voxels,
            "overlap": round(self.overlap, 4),
            "deformation_mm": round(self.deformation_mm, 4),
            "failed": self.failed,
        }


@dataclass(frozen=True, eq=False)
class _Scan:
    """A scan at the finest level of the search: HU clipped to WINDOW_HU, the table taken out; and its body."""

    image: sitk.Image  # float32
    body: sitk.Image  # uint8, 1 within the body, lungs included


def register(fixed: CTVolume, moving: CTVolume, *, deformable: bool = False) -> Registration:
    """Find the transform that lays a CECT onto the NCCT of the same patient (Santini 2018, section 2.2).

    The scans may differ in grid, slice thickness and coverage; they must share the scanner's coordinates to within
    MAX_TRANSLATION_MM, as two series of one study do.

    Where the search finds nothing better than the scanner's own coordinates, those are the result.

    fixed: the NCCT. moving: the CECT. (Z, Y, X) HU on the canonical axes.
    deformable: add a B-spline stage after the rigid one, control points 60 mm apart, for different breath holds. It is
        kept only if it does not fold the body and raises the MI; `deformation_mm` is 0 where the rigid one stands.

    Raises:
        InputError: if no body is found in one of the scans. A registration that fails does not raise: see `failed`.
    """
    thickest = max(fixed.spacing_zyx[0], moving.spacing_zyx[0])
    ncct, cect = _prepare(fixed, "ncct", thickest), _prepare(moving, "cect", thickest)
    centre = _points(ncct.body).mean(axis=0)
    identity = sitk.Euler3DTransform()
    identity.SetCenter(centre.tolist())
    try:
        with _one_thread():
            rigid = _search(ncct, cect, identity)
            result = _measure(ncct, cect, rigid, rigid)
            if result.failed or result.mi_after <= result.mi_before:
                as_scanned = _as_scanned(ncct, cect, identity)
                if not as_scanned.failed:
                    rigid, result = identity, as_scanned
            if deformable and not result.failed:
                deformed = _measure(ncct, cect, rigid, _deform(ncct, cect, rigid))
                if not deformed.failed and deformed.mi_after > result.mi_after:
                    return deformed
            return result
    except RuntimeError:  # ITK's word for no or too few common points, or an optimiser that diverged
        return _as_scanned(ncct, cect, identity)


def _as_scanned(ncct: _Scan, cect: _Scan, identity: sitk.Euler3DTransform) -> Registration:
    """The scans as they lie: failed if one of them moved a little fits better, or they do not fit at all."""
    result = _measure(ncct, cect, identity, identity)
    fixed, moving = _at(ncct, MEASURE_MM), _at(cect, MEASURE_MM)
    here = _nmi(fixed, moving, identity)
    for axis, step in product(range(6), NUDGES):
        nudged = sitk.Euler3DTransform(identity)
        parameters = [0.0] * 6  # three angles in radians, three shifts in mm
        parameters[axis] = np.radians(step) if axis < 3 else step
        nudged.SetParameters(parameters)
        if _nmi(fixed, moving, nudged) > here:
            return replace(result, failed="the search found no common ground of the two scans")
    return result


def _search(ncct: _Scan, cect: _Scan, identity: sitk.Euler3DTransform) -> sitk.Euler3DTransform:
    """Rigid, coarse to fine; the coarsest level from the three best of several starts.

    Raises:
        RuntimeError: from ITK.
    """
    best = identity
    for number, mm in enumerate(LEVELS_MM):
        fixed, moving = _at(ncct, mm), _at(cect, mm)
        if number == 0:
            scored = [(_nmi(fixed, moving, start), start) for start in _starts(fixed, moving, identity)]
            starts = [start for nmi, start in sorted(scored, key=lambda pair: -pair[0])[:3] if nmi > 0]
            results = [_optimise(fixed, moving, start, mm) for start in starts] or [identity]
            best = max(results, key=lambda result: _nmi(fixed, moving, result))
        else:
            best = _optimise(fixed, moving, best, mm)
    return best


def _starts(fixed: _Scan, moving: _Scan, identity: sitk.Euler3DTransform) -> Iterator[sitk.Euler3DTransform]:
    """The scanner's coordinates; and, for several shifts along the body, the bodies centred on each other in plane."""
    yield identity
    here, there = _points(fixed.body), _points(moving.body)
    for z in SEARCH_Z_MM:
        common = [
            points[(points[:, 2] >= other[:, 2].min() + shift) & (points[:, 2] <= other[:, 2].max() + shift)]
            for points, other, shift in ((here, there, -z), (there, here, z))
        ]
        if min(len(points) for points in common):
            x, y, _ = common[1].mean(axis=0) - common[0].mean(axis=0)
            start = sitk.Euler3DTransform(identity)
            start.SetTranslation((float(x), float(y), z))
            yield start


def _optimise(fixed: _Scan, moving: _Scan, start: sitk.Euler3DTransform, mm: float) -> sitk.Euler3DTransform:
    """Regular-step gradient descent on Mattes MI over the fixed body, steps in mm at the body's radius."""
    method = _method(fixed, mm)
    reach = _points(fixed.body) - start.GetCenter()
    radius = float(np.sqrt((reach**2).sum(axis=1).mean()))
    method.SetOptimizerScales([radius**2] * 3 + [1.0] * 3)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=mm / 2,
        minStep=mm / 200,
        numberOfIterations=100,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-7,
    )
    result = sitk.Euler3DTransform(start)
    method.SetInitialTransform(result, inPlace=True)
    method.Execute(fixed.image, moving.image)
    return result


@contextmanager
def _one_thread() -> Iterator[None]:
    """The order of a sum is part of its result, and the metric heeds only the library's own number of threads."""
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _method(fixed: _Scan, mm: float) -> sitk.ImageRegistrationMethod:
    """Mattes MI on the same points in every run."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(fixed.body)
    method.SetInterpolator(sitk.sitkLinear)
    part = SAMPLES[LEVELS_MM.index(mm)] / fixed.image.GetNumberOfPixels()
    if part < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(part, SEED)
    return method


def _deform(ncct: _Scan, cect: _Scan, rigid: sitk.Euler3DTransform) -> sitk.CompositeTransform:
    """Rigid, then cubic B-spline found by L-BFGS-B on the same metric.

    Raises:
        RuntimeError: from ITK.
    """
    extent = np.array(ncct.image.GetSize()) * ncct.image.GetSpacing()
    mesh = [max(1, round(length / CONTROL_MM)) for length in extent]
    spline = sitk.BSplineTransformInitializer(ncct.image, mesh, order=3)
    mm = LEVELS_MM[1]  # fine enough for control points so far apart
    fixed, moving = _at(ncct, mm), _at(cect, mm)
    method = _method(fixed, mm)
    method.SetOptimizerAsLBFGSB(numberOfIterations=DEFORM_ITERATIONS, maximumNumberOfFunctionEvaluations=100)
    method.SetMovingInitialTransform(rigid)
    method.SetInitialTransform(spline, inPlace=True)
    method.Execute(fixed.image, moving.image)
    return sitk.CompositeTransform([rigid, spline])  # the last one is applied first


def _measure(
    ncct: _Scan, cect: _Scan, rigid: sitk.Euler3DTransform, transform: sitk.Transform, failed: str = ""
) -> Registration:
    """MI before and after on one set of voxels, what else tells a failure, and the verdict."""
    fixed, moving = _at(ncct, MEASURE_MM), _at(cect, MEASURE_MM)
    identity = sitk.Transform(3, sitk.sitkIdentity)
    body = to_array(fixed.body) > 0
    hu = to_array(fixed.image)[body]
    before, after = (_moved(fixed, moving, way)[body] for way in (identity, transform))
    inside = after > WINDOW_HU[0] - 1
    both = inside & (before > WINDOW_HU[0] - 1)
    mi_before, _ = _information(hu[both], before[both])
    mi_after, _ = _information(hu[both], after[both])
    _, nmi = _information(hu[inside], after[inside])
    bone = inside & (hu > BONE_HU)
    folding, deformation = _folding(fixed, rigid, transform)

    parameters = rigid.GetParameters()
    result = Registration(
        transform=transform,
        rotation_degrees=_triple(np.degrees(parameters[:3])),
        translation_mm=_triple(parameters[3:]),
        centre_mm=_triple(rigid.GetCenter()),
        mi_before=mi_before,
        mi_after=mi_after,
        nmi_after=nmi,
        bone_agreement=float((after[bone] > BONE_HU - 50).mean()) if bone.any() else float(inside.any()),
        samples=int(both.sum()),
        overlap_voxels=int(inside.sum()),
        overlap=float(inside.mean()),
        deformation_mm=deformation,
        failed=failed,
    )
    return result if failed else replace(result, failed=_verdict(result, folding))


def _verdict(result: Registration, smallest_jacobian: float) -> str:
    if result.overlap < MIN_OVERLAP or result.samples < MIN_SAMPLES:
        return f"the scans have too little in common: the cect covers {100 * result.overlap:.0f} % of the ncct's body"
    if result.angle_degrees > MAX_ROTATION_DEGREES:
        return f"a rotation of {result.angle_degrees:.0f} degrees is not plausible"
    if (shift := float(np.linalg.norm(result.translation_mm))) > MAX_TRANSLATION_MM:
        return f"a translation of {shift:.0f} mm is not plausible"
    if result.mi_after < (1 - MI_TOLERANCE) * result.mi_before:
        return f"the mutual information fell from {result.mi_before:.3f} to {result.mi_after:.3f}"
    if result.nmi_after < MIN_NMI or result.bone_agreement < MIN_BONE:
        return (
            f"the scans do not look like one patient: NMI {result.nmi_after:.3f}, "
            f"bone agreement {result.bone_agreement:.2f}"
        )
    if smallest_jacobian < MIN_JACOBIAN:
        return "the deformation folds the body"
    return ""


def _information(first: NDArray, second: NDArray) -> tuple[float, float]:
    """MI in nats and NMI of paired HU values, by BINS x BINS classes over WINDOW_HU; (0, 1) without values."""
    if not len(first):
        return 0.0, 1.0
    joint = np.histogram2d(first, second, bins=BINS, range=(WINDOW_HU, WINDOW_HU))[0]
    one, other, both = (_entropy(counts) for counts in (joint.sum(axis=1), joint.sum(axis=0), joint))
    return one + other - both, (one + other) / both if both > 0 else 1.0


def _entropy(counts: NDArray[np.float64]) -> float:
    """Shannon entropy in nats."""
    parts = counts[counts > 0] / counts.sum()
    return float(-(parts * np.log(parts)).sum())


def _nmi(fixed: _Scan, moving: _Scan, transform: sitk.Transform) -> float:
    """NMI of two scans over the fixed body, 0 where they hardly meet."""
    body = to_array(fixed.body) > 0
    moved = _moved(fixed, moving, transform)[body]
    inside = moved > WINDOW_HU[0] - 1
    if inside.mean() < MIN_OVERLAP:
        return 0.0
    return _information(to_array(fixed.image)[body][inside], moved[inside])[1]


def _moved(fixed: _Scan, moving: _Scan, transform: sitk.Transform) -> NDArray[np.float32]:
    """The moving scan on the fixed level's grid, NOWHERE outside its field of view."""
    return to_array(sitk.Resample(moving.image, fixed.image, transform, sitk.sitkLinear, NOWHERE))


def _folding(fixed: _Scan, rigid: sitk.Transform, transform: sitk.Transform) -> tuple[float, float]:
    """Smallest Jacobian determinant and largest displacement (mm) that a transform adds to the rigid one."""
    if transform is rigid or not isinstance(transform, sitk.CompositeTransform):
        return 1.0, 0.0
    image = fixed.image
    grid = (image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection())
    spline = transform.GetNthTransform(1)
    field = to_array(sitk.TransformToDisplacementField(spline, sitk.sitkVectorFloat64, *grid))
    by_index = np.stack(np.gradient(field, axis=(2, 1, 0)), axis=-1)  # (Z, Y, X, component, x y z of the index)
    step = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    jacobian = np.linalg.det(np.eye(3) + by_index @ np.linalg.inv(step))
    body = to_array(fixed.body) > 0
    return float(jacobian[body].min()), float(np.linalg.norm(field[body], axis=1).max())


def _prepare(volume: CTVolume, name: str, slice_mm: float) -> _Scan:
    """HU in WINDOW_HU at the finest level, without the table, and the body.

    slice_mm: thinner slices are blurred to the variance of such thick ones: clipped at the window, the rim of the lungs
    and of the liver dome would otherwise lie elsewhere in thick slices than in thin ones, and pull the scans apart.

    Raises:
        InputError: if there is no body.
    """
    whole = to_image(np.maximum(to_int16(volume.hu), OUTSIDE_HU), volume.grid.canonical_affine)
    image = sitk.Cast(_shrink(whole, LEVELS_MM[-1]), sitk.sitkFloat32)
    small = _shrink(image, 4.0)
    body, behind = find_body(to_array(small), small.GetSpacing()[::-1])
    if not body.any():
        raise InputError(f"no body is found in the {name}: give a chest CT in HU")
    masks = []
    for mask in (body, behind):
        coarse = sitk.GetImageFromArray(mask.astype(np.uint8))
        coarse.CopyInformation(small)
        masks.append(sitk.Resample(coarse, image, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkNearestNeighbor, 0))
    low, high = WINDOW_HU
    without_table = sitk.Mask(image, masks[1], low, 1)
    blur = max(0.0, slice_mm**2 - image.GetSpacing()[2] ** 2) / 12
    blurred = sitk.DiscreteGaussian(without_table, variance=[0.0, 0.0, blur]) if blur else without_table
    return _Scan(sitk.Clamp(blurred, sitk.sitkFloat32, low, high), masks[0])


def find_body(hu: NDArray, spacing_zyx: tuple[float, ...]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The body with its lungs and a rim of air, and all that lies behind or beside it, where the table is; (Z, Y, X).

    What is less than 10 mm thick, as table tops are, is no body. Columns are filled from front to back, which also
    holds for a small field of view whose edge cuts through the lungs. Meant for voxels of about 4 mm.

    hu, both results: (Z, Y, X); the results are empty without a body.
    """
    from scipy import ndimage

    core = ndimage.distance_transform_edt(_padded(hu > -300.0), sampling=spacing_zyx)[1:-1, 1:-1, 1:-1] > 5.0
    labels, count = ndimage.label(core)
    if not count:
        return core, core
    sizes = np.bincount(labels.ravel())[1:]
    core = np.isin(labels, 1 + np.flatnonzero(sizes > 0.1 * sizes.max()))
    solid = (ndimage.distance_transform_edt(~core, sampling=spacing_zyx) < 6.0) & (hu > -300.0)
    rows = np.arange(hu.shape[1])[:, None]
    front = np.where(solid, rows, hu.shape[1]).min(axis=1, keepdims=True)
    back = np.where(solid, rows, -1).max(axis=1, keepdims=True)
    body = (rows >= front) & (rows <= back)
    body = ndimage.distance_transform_edt(~body, sampling=spacing_zyx) <= 8.0
    return body, rows > ndimage.maximum_filter(back, (1, 1, 3)) + 1


def _padded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The body goes on beyond the edge of the scan."""
    return np.pad(mask, 1, mode="edge")


def _at(scan: _Scan, mm: float) -> _Scan:
    """A scan at a coarser level: averaged to voxels of about `mm`, smoothed by a Gaussian of a quarter of that."""
    image = sitk.DiscreteGaussian(_shrink(scan.image, mm), variance=[(mm / 4) ** 2] * 3)
    identity = sitk.Transform(3, sitk.sitkIdentity)
    return _Scan(image, sitk.Resample(scan.body, image, identity, sitk.sitkNearestNeighbor, 0))


def _shrink(image: sitk.Image, mm: float) -> sitk.Image:
    """Average whole voxels along each axis, so that they measure about `mm`, or more where they did before."""
    factors = [
        min(max(1, round(mm / spacing)), size)
        for spacing, size in zip(image.GetSpacing(), image.GetSize(), strict=True)
    ]
    return sitk.BinShrink(image, factors)


def _points(mask: sitk.Image) -> NDArray[np.float64]:
    """(N, 3) LPS mm of the voxels of a mask."""
    index = np.argwhere(to_array(mask))[:, ::-1]
    step = np.reshape(mask.GetDirection(), (3, 3)) * mask.GetSpacing()
    return index @ step.T + mask.GetOrigin()


def _triple(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
