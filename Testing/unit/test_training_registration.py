"""Registration of a CECT to an NCCT, on phantoms moved by a known transform (Santini 2018, section 2.2)."""

import dataclasses
import json
from functools import cache

import numpy as np
import pytest
import SimpleITK as sitk

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.phantom import thorax_phantom
from SyntheticContrastLib.ct.resample import resample_to, reslice
from SyntheticContrastLib.ct.volume import CTVolume, Grid
from SyntheticContrastTrainingLib import registration
from SyntheticContrastTrainingLib.registration import register
from SyntheticContrastTrainingLib.registration_picture import checkerboard, write_picture

SHAPE, SPACING = (48, 112, 112), (5.0, 3.2, 3.2)


@dataclasses.dataclass(frozen=True)
class Move:
    """How a CECT is made from the phantom: moved, on a grid of its own, beside an NCCT of some of the slices."""

    degrees: tuple[float, float, float]
    mm: tuple[float, float, float]
    shape: tuple[int, int, int] = SHAPE
    spacing: tuple[float, float, float] = SPACING
    ncct_slices: tuple[int, int] = (0, SHAPE[0])
    thicker: float = 0.0  # mm

    @property
    def transform(self):
        return euler(self.degrees, self.mm)


MOVES = {
    "same grid": Move((4, -3, 5), (12, -8, 14)),
    "6 degrees, thin slices": Move((-2, 6, -3), (-20, 10, -15), (80, 120, 120), (3.0, 3.0, 3.0)),
    "slices of 6 mm": Move((2, 2, 6), (6, 5, 20), (126, 112, 112), (2.0, 3.2, 3.2), ncct_slices=(8, 40), thicker=6.0),
    "cect covers more": Move((3, 0, -4), (5, 15, -20), ncct_slices=(14, 36)),
}


@cache
def phantom(seed=0):
    return thorax_phantom(SHAPE, SPACING, seed)


def euler(degrees, mm):
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*np.radians(degrees).tolist())
    transform.SetTranslation(mm)
    return transform


def shifted(grid, mm):
    affine = grid.affine.copy()
    affine[:3, 3] += mm
    return Grid(grid.size, affine)


def slices(volume, first, last):
    affine = volume.grid.canonical_affine.copy()
    affine[:3, 3] += first * affine[:3, 2]
    hu = volume.hu[first:last]
    return CTVolume(hu, Grid(hu.shape[::-1], affine))


def moved_cect(move):
    """The phantom's CECT as a scan of the moved patient: what was at p is at transform(p).

    Where its ends come into view they are cut off as no patient is, which must not lie within slices that are averaged.
    """
    grid = shifted(Grid.axial(move.shape, move.spacing), (7.0, -4.0, 3.3))
    cect = phantom().volume(phantom().cect)
    moved = CTVolume(resample_to(cect, grid, move.transform.GetInverse())[0], grid)
    return reslice(moved, move.thicker) if move.thicker else moved


def ncct_of(move):
    return slices(phantom().volume(phantom().ncct), *move.ncct_slices)


@cache
def registered(name):
    return register(ncct_of(MOVES[name]), moved_cect(MOVES[name]))


def errors(found, true, volume):
    """Largest displacement (mm) over the corners of the body's box, and the angle (degrees) between two transforms."""
    solid = np.argwhere(volume.hu > -300)
    low, high = solid.min(axis=0), solid.max(axis=0)
    apart = []
    for corner in np.ndindex(2, 2, 2):
        z, y, x = np.where(corner, high, low)
        point = (volume.grid.canonical_affine @ (x, y, z, 1))[:3].tolist()
        apart.append(np.linalg.norm(np.subtract(found.TransformPoint(point), true.TransformPoint(point))))
    one, other = (np.reshape(transform.GetMatrix(), (3, 3)) for transform in (found, true))
    return max(apart), np.degrees(np.arccos(np.clip((np.trace(one.T @ other) - 1) / 2, -1, 1)))


@pytest.mark.parametrize("name", MOVES)
def test_a_known_rigid_transform_is_found(name):
    result = registered(name)
    mm, degrees = errors(result.transform, MOVES[name].transform, ncct_of(MOVES[name]))
    assert not result.failed
    assert mm < 0.5
    assert degrees < 0.5
    assert result.mi_after > 1.5 * result.mi_before
    assert result.overlap > 0.8


def test_the_parameters_in_plain_terms_are_those_of_the_transform():
    result = registered("same grid")
    assert np.allclose(result.rotation_degrees, (4, -3, 5), atol=0.5)
    centre = np.array(result.centre_mm)
    moved = np.array(result.transform.TransformPoint(centre.tolist()))
    assert np.allclose(moved - centre, result.translation_mm, atol=1e-6)
    matrix = np.reshape(result.transform.GetMatrix(), (3, 3))
    assert result.angle_degrees == pytest.approx(np.degrees(np.arccos((np.trace(matrix) - 1) / 2)), abs=1e-6)
    assert json.loads(json.dumps(result.to_json()))["failed"] == ""


def test_two_runs_give_the_same_transform_and_figures():
    move = MOVES["cect covers more"]
    again = register(ncct_of(move), moved_cect(move))
    first = registered("cect covers more")
    assert again.transform.GetParameters() == first.transform.GetParameters()
    assert again.to_json() == first.to_json()


def test_an_aligned_pair_stays_aligned():
    ncct, cect = (phantom().volume(hu) for hu in (phantom().ncct, phantom().cect))
    result = register(ncct, cect)
    mm, degrees = errors(result.transform, sitk.Euler3DTransform(), ncct)
    assert not result.failed
    assert mm < 0.3
    assert degrees < 0.1
    assert result.mi_after == pytest.approx(result.mi_before, rel=0.05)


def other_build():
    """Broader, flatter, longer, with other lung vessels, 25 mm higher: no rigid motion of the first."""
    other = thorax_phantom(SHAPE, (5.8, 2.7, 3.7), seed=7)
    return CTVolume(other.cect, shifted(Grid.axial(SHAPE, other.spacing_zyx), (0, 0, 25)))


OTHERS = {
    "another build": other_build,
    "front and back swapped": lambda: phantom().volume(np.ascontiguousarray(phantom().cect[:, ::-1])),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_different_patient_is_flagged(name):
    result = register(phantom().volume(phantom().ncct), OTHERS[name]())
    assert result.failed
    assert "\n" not in result.failed


def test_no_overlap_is_flagged():
    cect = phantom().volume(phantom().cect)
    far = CTVolume(cect.hu, shifted(cect.grid, (0, 0, 900)))
    result = register(phantom().volume(phantom().ncct), far)
    assert result.failed
    assert result.overlap == 0
    json.dumps(result.to_json(), allow_nan=False)


def test_the_deformable_stage_follows_a_breath():
    """The front of the lower chest and what lies in it move down by up to 12 mm; the spine stays."""
    grid = Grid.axial(SHAPE, SPACING)
    x, y, z = (grid.affine[:3, :3] @ np.indices(grid.size).reshape(3, -1) + grid.affine[:3, 3:]).reshape(3, *grid.size)
    push = 12 * np.exp(-((x / 90) ** 2) - ((y + 30) / 60) ** 2 - ((z + 60) / 60) ** 2)
    field = np.stack([0 * push, 0 * push, push], axis=-1).transpose(2, 1, 0, 3)  # from the moved scan to the phantom
    image = sitk.GetImageFromArray(field, isVector=True)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    breath = sitk.DisplacementFieldTransform(image)
    cect = phantom().volume(phantom().cect)
    breathed = CTVolume(resample_to(cect, cect.grid, breath)[0], cect.grid)
    ncct = phantom().volume(phantom().ncct)

    deformed = register(ncct, breathed, deformable=True)
    rigid = deformed.transform.GetNthTransform(0)
    assert not deformed.failed
    assert deformed.mi_after > deformed.mi_before
    assert 5 < deformed.deformation_mm < 25
    where = np.argwhere(phantom().mask("myocardium") | phantom().mask("liver"))[::97]
    points = (np.c_[where[:, ::-1], np.ones(len(where))] @ ncct.grid.canonical_affine.T)[:, :3]

    def error(transform):
        there = [transform.TransformPoint(point) for point in points.tolist()]
        back = [breath.TransformPoint(point) for point in there]
        return np.linalg.norm(np.array(back) - points, axis=1).mean()

    assert error(deformed.transform) < 0.6 * error(rigid)


def test_a_scan_without_a_body_is_refused():
    air = CTVolume(np.full(SHAPE, -1000, np.int16), Grid.axial(SHAPE, SPACING))
    with pytest.raises(InputError, match="no body is found in the ncct"):
        register(air, phantom().volume(phantom().cect))
    with pytest.raises(InputError, match="no body is found in the cect"):
        register(phantom().volume(phantom().ncct), air)


def numbered(shape=(4, 5, 6), spacing=(3.0, 1.5, 0.75)):
    hu = np.random.default_rng(0).integers(-1024, 3000, shape).astype(np.int16)
    return CTVolume(hu, Grid.axial(shape, spacing))


def test_resampling_under_the_identity_changes_nothing():
    volume = numbered()
    hu, covered = resample_to(volume, volume.grid, sitk.Euler3DTransform())
    assert hu.dtype == np.int16
    assert np.array_equal(hu, volume.hu)
    assert covered.all()


def test_resampling_by_whole_voxels_shifts_and_marks_what_is_outside():
    volume = numbered()
    toward = sitk.TranslationTransform(3, (2 * 0.75, -1.5, -3.0))  # two to the left, one to the front, one down
    hu, covered = resample_to(volume, volume.grid, toward, default=-2000)
    assert np.array_equal(hu[:-1, 1:, :-2], volume.hu[1:, :-1, 2:])
    inside = np.zeros(hu.shape, bool)
    inside[:-1, 1:, :-2] = True
    assert np.array_equal(covered, inside)
    assert (hu[~inside] == -2000).all()


def test_resampling_halfway_takes_the_mean_and_rounds():
    volume = CTVolume(np.arange(0, 120, 1, np.int16).reshape(4, 5, 6) * 3, Grid.axial((4, 5, 6), (3.0, 1.5, 0.75)))
    hu, _ = resample_to(volume, volume.grid, sitk.TranslationTransform(3, (0.25, 0.0, 0.0)))
    assert np.array_equal(hu[:, :, :-1], volume.hu[:, :, :-1] + 1)


def test_resampling_does_not_depend_on_how_the_grid_is_stored():
    volume = numbered()
    affine = volume.grid.canonical_affine  # K runs to the feet, where Grid.axial runs to the head
    other = Grid(volume.hu.shape[::-1], affine)
    assert not other.matches(volume.grid)
    assert np.array_equal(resample_to(volume, other, sitk.Euler3DTransform())[0], volume.hu)


def stack(values, spacing_z):
    hu = np.repeat(np.array(values, np.int16), 6).reshape(-1, 2, 3)
    return CTVolume(hu, Grid.axial(hu.shape, (spacing_z, 1.0, 1.0)))


def test_thicker_slices_are_means_weighted_by_overlap():
    volume = stack([0, 30, 60, 90], 2.0)
    thick = reslice(volume, 3.0)  # (2 x 0 + 1 x 30) / 3 and (1 x 30 + 2 x 60) / 3; the last 2 mm make no slice
    assert thick.hu[:, 0, 0].tolist() == [10, 50]
    assert thick.hu.dtype == np.int16
    assert thick.spacing_zyx == (3.0, 1.0, 1.0)
    down = volume.grid.canonical_affine[:3, 3] - thick.grid.canonical_affine[:3, 3]
    assert np.allclose(down, (0, 0, 0.5))  # the middle of the first slice lies 1.5, not 1, below the top


def test_thinner_slices_are_interpolated():
    assert reslice(stack([0, 80], 4.0), 2.0).hu[:, 0, 0].tolist() == [0, 20, 60, 80]


def test_the_same_spacing_is_the_same_volume():
    volume = numbered()
    same = reslice(volume, 3.0)
    assert np.array_equal(same.hu, volume.hu)
    assert np.allclose(same.grid.canonical_affine, volume.grid.canonical_affine)


def test_reslicing_keeps_every_structure_in_its_place():
    scan = phantom().volume(phantom().ncct)
    thick = reslice(scan, 7.0)
    back, covered = resample_to(thick, scan.grid, sitk.Euler3DTransform())
    densities = [np.where(covered, hu + 1024.0, 0).sum(axis=(1, 2)) for hu in (back, scan.hu)]
    middles = [np.average(np.arange(SHAPE[0]), weights=density) for density in densities]
    assert middles[0] == pytest.approx(middles[1], abs=0.02)


@pytest.mark.parametrize("spacing", [0.0, -3.0, float("nan"), 100.0])
def test_an_impossible_slice_spacing_is_refused(spacing):
    with pytest.raises(InputError, match="mm"):
        reslice(stack([0, 30, 60, 90], 2.0), spacing)


def test_the_picture_is_written_and_shows_the_scans(tmp_path):
    scan = phantom()
    path = tmp_path / "case.png"
    write_picture(path, scan.ncct, np.roll(scan.cect, 8, axis=2), scan.cect, SPACING, "case 1: MI 0.41 to 1.32")
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert image.shape[1] == 1600
    assert image.std() > 30


def test_the_checkerboard_alternates_and_tints_only_the_cect():
    board = checkerboard(np.full((60, 60), 40), np.full((60, 60), 1000), (1.0, 1.0))
    assert np.allclose(board[10, 10], 0.5)
    assert np.allclose(board[10, 40], board[40, 10])
    assert board[10, 40, 0] == 1
    assert board[10, 40, 2] < 0.7
    assert np.allclose(board[40, 40], board[10, 10])


def test_a_picture_of_scans_on_different_grids_is_refused(tmp_path):
    with pytest.raises(InputError, match="grid"):
        write_picture(tmp_path / "a.png", phantom().ncct, phantom().cect[1:], phantom().cect, SPACING)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("noise", [0, 40])
def test_a_thin_pair_that_lies_right_stays_as_it_is(noise):
    """Too few slices to search in, and nothing to search for."""
    random = np.random.default_rng(0)
    pair = [slices(phantom().volume(hu), 20, 24) for hu in (phantom().ncct, phantom().cect)]
    ncct, cect = (
        CTVolume((scan.hu + random.normal(0, noise, scan.hu.shape)).astype(np.int16), scan.grid) for scan in pair
    )
    found = register(ncct, cect)
    assert found.failed == "" and found.translation_mm == found.rotation_degrees == (0, 0, 0)
    assert found.mi_after == found.mi_before > 1


@pytest.mark.parametrize(("degrees", "mm"), [((0, 0, 0), (8, -6, 0)), ((0, 0, 0), (3, 0, 0)), ((0, 0, 6), (0, 0, 0))])
def test_a_thin_pair_that_lies_wrong_is_not_taken_for_right(degrees, mm):
    grid = phantom().volume(phantom().ncct).grid
    moved = resample_to(phantom().volume(phantom().cect), grid, euler(degrees, mm).GetInverse())[0]
    found = register(*(slices(CTVolume(hu, grid), 20, 24) for hu in (phantom().ncct, moved)))
    assert "no common ground" in found.failed


def test_where_the_search_goes_astray_a_pair_that_lies_right_is_kept(monkeypatch):
    monkeypatch.setattr(registration, "_search", lambda ncct, cect, identity: euler((0, 0, 0), (25.0, 0, 0)))
    found = register(phantom().volume(phantom().ncct), phantom().volume(phantom().cect))
    assert found.failed == "" and found.translation_mm == (0, 0, 0)
