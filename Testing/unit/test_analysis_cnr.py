"""CNR by hand, and the warnings about badly placed circles."""

import math
import re

import numpy as np
import pytest

from SyntheticContrastLib.analysis.circles import Circle
from SyntheticContrastLib.analysis.cnr import (
    AORTA,
    FAT_LEFT,
    FAT_RIGHT,
    LESION,
    ROLES,
    circle_diameter,
    contrast_to_noise,
    measure_cnr,
)
from SyntheticContrastLib.ct.errors import InputError

PLACES = {LESION: (60, 60), AORTA: (90, 70), FAT_RIGHT: (16, 75), FAT_LEFT: (134, 75)}  # x, y of 150 x 150 voxels


def slice_of_a_patient(noise=10.0):
    """(1, Y, X), 1 mm: fat about soft tissue, in it a lesion of 70 HU and an aorta of 310 HU with 12 mm radius."""
    y, x = np.mgrid[:150, :150]
    hu = np.full((150, 150), -1000.0)
    hu[np.hypot((x - 75) / 72, (y - 75) / 50) < 1] = -100
    hu[np.hypot((x - 75) / 45, (y - 75) / 40) < 1] = 55
    for role, value in ((LESION, 70), (AORTA, 310)):
        hu[np.hypot(x - PLACES[role][0], y - PLACES[role][1]) <= 12] = value
    return (hu + np.random.default_rng(0).normal(0, noise, hu.shape))[None]


def circles(**changed):
    """Of 10 mm, by role with '_' for ' '; changed: another centre, or a Circle."""
    result = {role: Circle((*PLACES[role], 0), 10) for role in ROLES}
    for role, where in changed.items():
        result[role.replace("_", " ")] = where if isinstance(where, Circle) else Circle((*where, 0), 10)
    return result


def test_by_hand():
    # noise = sqrt((3^2 + 4^2) / 2), CNR = |300 - 70| / noise
    noise, cnr = contrast_to_noise(300, 70, 3, 4)
    assert noise == pytest.approx(3.5355339)
    assert cnr == pytest.approx(65.0538239)
    assert contrast_to_noise(70, 300, 3, 4)[1] == cnr


def test_voxels_by_hand():
    """Five voxels a circle (diameter 2 mm): SD of -104, -102, -100, -98, -96 with ddof 1 is sqrt(10)."""
    array = np.zeros((1, 9, 30))
    places = {LESION: 4, AORTA: 11, FAT_RIGHT: 18, FAT_LEFT: 25}
    for role, mean, step in ((LESION, 70, 1), (AORTA, 300, 1), (FAT_RIGHT, -100, 2), (FAT_LEFT, -100, 4)):
        x = places[role]
        for order, (y, dx) in enumerate(((3, 0), (4, -1), (4, 0), (4, 1), (5, 0))):
            array[0, y, x + dx] = mean + (order - 2) * step
    found = measure_cnr(array, np.eye(4), {role: Circle((x, 4, 0), 2) for role, x in places.items()})
    assert [found.rois[role].voxels for role in ROLES] == [5] * 4
    assert found.rois[FAT_RIGHT].sd == pytest.approx(math.sqrt(10))
    assert found.rois[FAT_LEFT].sd == pytest.approx(math.sqrt(40))
    assert found.noise == pytest.approx(5)
    assert found.cnr == pytest.approx(46)


def test_diameter():
    assert circle_diameter(14) == pytest.approx(12.6)
    for bad in (0, -1, math.nan, math.inf):
        with pytest.raises(InputError, match="short axis"):
            circle_diameter(bad)


@pytest.mark.parametrize("noise", [5, 12, 20])
def test_well_placed_circles_give_no_warning(noise):
    found = measure_cnr(slice_of_a_patient(noise), np.eye(4), circles())
    assert found.warnings == ()
    assert found.cnr == pytest.approx((310 - 70) / noise, rel=0.25)


def half_lung():
    array = slice_of_a_patient()
    array[0, 74:] = -850
    return array


def with_calcium():
    array = slice_of_a_patient()
    array[0, 71:73, 91:93] = 700
    return array


@pytest.mark.parametrize(
    ("array", "placed", "says"),
    [
        (slice_of_a_patient(), circles(fat_right=(29, 75)), "fat right: .* not fat"),
        (slice_of_a_patient(), circles(fat_left=(121, 75)), "fat left: .* not fat"),
        (slice_of_a_patient(), circles(aorta=(98, 70)), "touches the wall"),
        (with_calcium(), circles(), "calcium"),
        (slice_of_a_patient(), circles(aorta=(16, 75)), "not in blood"),
        (half_lung(), circles(aorta=(90, 73)), "touches the wall"),
        (slice_of_a_patient(), circles(fat_right=(6, 75)), "fat right: the circle leaves the body"),
        (slice_of_a_patient(), circles(aorta=Circle((90, 70, 0), 11)), r"differ in size \(10.0 to 11.0 mm\)"),
    ],
)
def test_warnings(array, placed, says):
    warnings = measure_cnr(array, np.eye(4), placed).warnings
    assert any(re.search(says, line) for line in warnings), warnings
    assert all("\n" not in line for line in warnings)


def test_what_cannot_be_measured():
    array = slice_of_a_patient()
    with pytest.raises(InputError, match="circle fat left is missing"):
        measure_cnr(array, np.eye(4), {role: circle for role, circle in circles().items() if role != FAT_LEFT})
    with pytest.raises(InputError, match=r"aorta: the circle of 10\.0 mm lies outside"):
        measure_cnr(array, np.eye(4), circles(aorta=(500, 70)))
    with pytest.raises(InputError, match="no noise"):
        measure_cnr(slice_of_a_patient(0), np.eye(4), circles())
    with pytest.raises(InputError, match="no noise"):
        measure_cnr(array, np.eye(4), {role: Circle((*PLACES[role], 0), 0.5) for role in ROLES})  # one voxel each
