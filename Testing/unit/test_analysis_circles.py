"""Circles: voxels counted by hand, and on turned, sheared and anisotropic grids."""

import math

import numpy as np
import pytest

from SyntheticContrastLib.analysis.circles import Circle, measure, voxels_inside
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.volume import CTVolume, Grid


def turned(angles, spacing, origin=(3.0, -7.0, 11.0)):
    """(4, 4): a grid turned about x, y and z by degrees."""
    affine = np.eye(4)
    for axis, angle in enumerate(np.radians(angles)):
        turn = np.eye(3)
        a, b = [index for index in range(3) if index != axis]
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        affine[:3, :3] = affine[:3, :3] @ turn
    affine[:3, :3] *= spacing
    affine[:3, 3] = origin
    return affine


def test_thirteen_voxels_by_hand():
    array = np.zeros((3, 7, 7))
    array[1] = np.arange(49).reshape(7, 7)
    found = measure(array, np.eye(4), Circle((3, 3, 1.2), 4))
    # rows of 1, 3, 5, 3, 1 voxels about 24
    values = [10, 16, 17, 18, 22, 23, 24, 25, 26, 30, 31, 32, 38]
    assert found.voxels == 13
    assert found.mean == pytest.approx(24)
    assert found.sd == pytest.approx(math.sqrt(sum((v - 24) ** 2 for v in values) / 12))  # ddof = 1


def test_anisotropic_pixels():
    # 2 mm x 1 mm pixels: of a circle of radius 2 mm, x = 0 holds y = -2..2, x = +-2 mm holds y = 0
    affine = np.diag([2.0, 1.0, 5.0, 1.0])
    inside = voxels_inside((4, 11, 11), affine, Circle((10, 5, 10), 4))
    assert sorted(map(tuple, inside.tolist())) == [(2, y, 5) for y in (3, 4)] + [(2, 5, x) for x in (4, 5, 6)] + [
        (2, y, 5) for y in (6, 7)
    ]


def test_the_nearest_slice_and_one_half_way():
    shape, affine = (6, 20, 20), np.diag([1.0, 1.0, 5.0, 1.0])
    for height, wanted in ((9.9, 2), (12.4, 2), (12.6, 3), (12.5, 3)):
        assert set(voxels_inside(shape, affine, Circle((10, 10, height), 7))[:, 0]) == {wanted}


@pytest.mark.parametrize("angles", [(0, 0, 0), (25, 0, 0), (10, -20, 35), (0, 0, 90)])
def test_a_turned_volume_with_the_circle_in_its_slice(angles):
    """Brute force over all voxel centres, in a plane of the slices of a turned grid."""
    spacing = (0.8, 0.6, 3.0)
    affine, shape = turned(angles, spacing), (9, 60, 50)
    normal = affine[:3, 2] / 3.0
    centre = affine[:3] @ [24.3, 31.7, 4.2, 1]
    inside = voxels_inside(shape, affine, Circle(tuple(centre), 14, tuple(normal)))
    z, y, x = np.indices(shape)
    mm = np.stack([x, y, z, np.ones(shape)], axis=-1) @ affine.T
    off = mm[..., :3] - centre
    beside = np.linalg.norm(off - (off @ normal)[..., None] * normal, axis=-1)
    wanted = np.argwhere((beside <= 7) & (z == 4))
    assert sorted(map(tuple, inside.tolist())) == sorted(map(tuple, wanted.tolist()))
    assert len(inside) == pytest.approx(math.pi * 7**2 / (0.8 * 0.6), rel=0.03)


def test_an_axial_circle_in_an_oblique_volume_follows_the_plane():
    """On a volume turned by 20 degrees every voxel taken lies within half a slice of the circle's plane."""
    affine, shape = turned((20, 0, 0), (1.0, 1.0, 2.0), (0, 0, 0)), (40, 60, 60)
    centre = tuple(affine[:3] @ [30, 30, 20, 1])
    inside = voxels_inside(shape, affine, Circle(centre, 20))
    mm = inside[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
    assert len(set(inside[:, 0])) > 3
    assert np.abs(mm[:, 2] - centre[2]).max() <= 1.0  # half of 2 mm along the column, less across the plane
    assert np.hypot(*(mm[:, :2] - centre[:2]).T).max() <= 10
    # a column of voxels stands for its footprint in the plane: 1 mm x 1 mm / cos 20
    assert len(inside) == pytest.approx(math.pi * 100 * math.cos(math.radians(20)), rel=0.03)
    assert len({(y, x) for _, y, x in inside}) == len(inside)


def test_the_same_circle_on_two_grids_of_one_patient():
    """A ramp in the patient's space has the value of the circle's centre in every volume, parent transform or not."""
    circle = Circle((5.0, -8.0, 20.0), 16)
    parent = turned((0, 0, 30), (1, 1, 1), (12, 4, -6))
    for affine, shape in (
        (Grid.axial((40, 80, 80), (3.0, 0.9, 0.9)).canonical_affine, (40, 80, 80)),
        (Grid.axial((60, 120, 100), (2.0, 0.7, 0.8)).canonical_affine, (60, 120, 100)),
    ):
        for world in (affine, parent @ affine):
            z, y, x = np.indices(shape)
            mm = np.stack([x, y, z, np.ones(shape)], axis=-1) @ world.T
            found = measure(100 + 2 * mm[..., 0] - 3 * mm[..., 1], world, circle)
            assert found.mean == pytest.approx(100 + 10 + 24, abs=0.4)


def test_a_parent_transform_moves_the_volume_and_not_the_circle():
    array = np.zeros((5, 30, 30))
    array[2, 9:12, 19:22] = 50
    shift = np.eye(4)
    shift[:3, 3] = 100, 200, 300
    assert measure(array, shift, Circle((120, 210, 302), 2.9)).mean == 50


def test_the_canonical_axes_of_a_stored_volume():
    hu = np.zeros((4, 21, 21), np.int16)
    hu[1, 5, 15] = 77
    volume = CTVolume(hu, Grid.axial((4, 21, 21), (5.0, 1.0, 1.0)))
    # slices from the top: 2.5 mm above the middle; row 5 of 21 is 5 mm before it, column 15 is 5 mm to the left
    assert measure(hu, volume.grid.canonical_affine, Circle((5, -5, 2.5), 0.5)).mean == 77


def test_a_single_voxel_has_no_sd():
    found = measure(np.full((1, 5, 5), 7), np.eye(4), Circle((2, 2, 0), 0.5))
    assert (found.mean, found.voxels) == (7, 1) and math.isnan(found.sd)


@pytest.mark.parametrize(
    ("circle", "says"),
    [
        (Circle((2.5, 2.5, 0), 0.5), "holds the centre of no voxel"),
        (Circle((50, 2, 0), 2), "outside the volume"),
        (Circle((2, 2, 30), 2), "outside the volume"),
        (Circle((0, 2, 0), 4), "sticks out of it"),
    ],
)
def test_empty_and_outside(circle, says):
    with pytest.raises(InputError, match=says):
        measure(np.zeros((3, 6, 6)), np.eye(4), circle)


@pytest.mark.parametrize(
    "bad",
    [((0, 0, 0), 0), ((0, 0, 0), -3), ((0, math.nan, 0), 3), ((0, 0, 0), math.inf), ((0, 0, 0), 3, (0, 0, 0))],
)
def test_what_is_no_circle(bad):
    with pytest.raises(InputError, match="circle"):
        Circle(*bad)


def test_from_centre_and_rim():
    assert Circle.through((1, 2, 3), (4, 6, 3)).diameter == pytest.approx(10)
    assert Circle.through((1, 2, 3), (4, 6, 3.7)).diameter == pytest.approx(10)  # the rim was clicked off the plane
    tilted = Circle.through((0, 0, 0), (0, 3, 4), (0, -4, 3))
    assert tilted.diameter == pytest.approx(10)
