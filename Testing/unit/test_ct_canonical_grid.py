"""The canonical grid: the same millimetres and the body alone, whatever the CT's grid, and the way back."""

import numpy as np
import pytest

from SyntheticContrastLib.ct.canonical_grid import AIR_HU, CANONICAL_MM, back, takes_contrast, to_canonical
from SyntheticContrastLib.ct.phantom import thorax_phantom

SPACING = (5.0, 1.4, 1.4)


@pytest.fixture(scope="module")
def phantom():
    return thorax_phantom((48, 256, 256), SPACING)


def through(values, canonical):
    """The CT's own grid, of (Z, Y, X) shares on the canonical one."""
    result = np.zeros(canonical.shape_zyx, np.float32)
    for where, slab in back(values, canonical):
        result[where] = slab
    return result


def test_a_voxel_keeps_its_place(phantom):
    canonical = to_canonical(phantom.ncct, SPACING)
    for name in ("aorta", "left_ventricle", "liver"):
        mask = phantom.mask(name)
        middle = np.argwhere(mask).mean(axis=0) * SPACING
        share = canonical.also(mask.astype(np.float32))
        found = (np.argwhere(share > 0.5).mean(axis=0) + [part.start for part in canonical.box]) * CANONICAL_MM
        assert np.abs(middle + np.array(SPACING) / 2 - found - np.array(CANONICAL_MM) / 2).max() < 1.5, name


def test_it_is_cut_to_the_body_and_holds_air_around_it(phantom):
    canonical = to_canonical(phantom.ncct, SPACING)
    body = (canonical.hu > AIR_HU).any(axis=0)
    assert body.any(axis=1).sum() > 0.85 * canonical.hu.shape[1]
    table = canonical.also(phantom.mask("table").astype(np.float32)) > 0.9
    assert (canonical.hu[table] == AIR_HU).all()


def test_the_field_of_view_and_the_table_do_not_matter(phantom):
    wide = np.pad(phantom.ncct, ((0, 0), (30, 10), (20, 40)), constant_values=-1000)
    first, second = (to_canonical(hu, SPACING) for hu in (phantom.ncct, wide))
    assert np.abs(np.array(first.hu.shape) - second.hu.shape).max() <= 1
    assert first.hu.mean() == pytest.approx(second.hu.mean(), abs=8)


def test_shares_come_back_with_the_edges_of_the_ct(phantom):
    """Blood beside lung: no half-lit rim, although the canonical voxels there are half lung."""
    canonical = to_canonical(phantom.ncct, SPACING)
    blood = np.logical_or.reduce([phantom.mask(name) for name in ("aorta", "left_ventricle", "right_ventricle")])
    held = canonical.also(blood.astype(np.float32))
    shares = np.clip(held / np.maximum(canonical.tissue, 0.15), 0, 1)
    returned = through(shares, canonical) * takes_contrast(phantom.ncct)
    assert returned[blood].mean() > 0.85
    assert returned[phantom.mask("lung")].mean() < 0.01
    assert not returned[phantom.mask("air")].any()


def test_bone_and_calcium_take_no_contrast(phantom):
    part = takes_contrast(phantom.ncct)
    assert part[phantom.mask("bone")].mean() < 0.1
    assert part[phantom.mask("aorta")].mean() > 0.9


@pytest.mark.parametrize("spacing", [(1.0, 0.7, 0.7), (10.0, 0.9, 0.9), (3.0, 1.5, 1.5)])
def test_constant_shares_come_back_constant(spacing):
    hu = np.full((20, 60, 70), -1000, np.int16)
    hu[:, 10:50, 10:60] = 40
    canonical = to_canonical(hu, spacing)
    returned = through(np.ones_like(canonical.hu), canonical)
    assert returned.shape == hu.shape
    assert returned[2:-2, 20:40, 20:50] == pytest.approx(1, abs=0.01)


def test_a_volume_of_air_is_no_error():
    canonical = to_canonical(np.full((4, 30, 30), -1000, np.int16), (5.0, 2.0, 2.0))
    assert (canonical.hu == AIR_HU).all()
    assert not canonical.tissue.any()
