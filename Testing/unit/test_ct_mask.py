"""A mask on any grid, read onto the grid of a CT."""

import numpy as np
import pytest
import SimpleITK as sitk

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.mask import read_mask
from SyntheticContrastLib.ct.volume import Grid

GRID = Grid.axial((20, 40, 50), (3.0, 1.0, 1.2))


def image_of(mask, grid, values=1):
    image = sitk.GetImageFromArray(np.ascontiguousarray(grid.to_stored(mask)).astype(np.uint8) * values)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction.ravel().tolist())
    return image


@pytest.fixture
def mask():
    """Noise in a box: a shift or a flip by one voxel would show, and it does not compress."""
    mask = np.zeros(GRID.shape_zyx, bool)
    mask[4:15, 10:30, 5:30] = np.random.default_rng(0).random((11, 20, 25)) < 0.5
    return mask


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha", ".mhd"])
def test_on_its_own_grid_it_is_exact(mask, tmp_path, suffix):
    sitk.WriteImage(image_of(mask, GRID, values=7), str(tmp_path / f"m{suffix}"))
    found = read_mask(tmp_path / f"m{suffix}", GRID)
    assert found.dtype == bool and np.array_equal(found, mask)


def test_another_orientation_is_the_same_mask(mask, tmp_path):
    image = sitk.Flip(sitk.PermuteAxes(image_of(mask, GRID), [2, 0, 1]), [True, False, True])
    sitk.WriteImage(image, str(tmp_path / "m.nrrd"))
    assert np.array_equal(read_mask(tmp_path / "m.nrrd", GRID), mask)


def test_a_part_of_the_ct_fills_up_with_nothing(mask, tmp_path):
    part = sitk.RegionOfInterest(image_of(mask, GRID), [30, 25, 12], [3, 8, 4])
    sitk.WriteImage(part, str(tmp_path / "m.nrrd"))
    assert np.array_equal(read_mask(tmp_path / "m.nrrd", GRID), mask)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_a_truncated_file_is_refused(mask, tmp_path, suffix, capfd):
    path = tmp_path / f"m{suffix}"
    sitk.WriteImage(image_of(mask, GRID), str(path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="is truncated or damaged"):
        read_mask(path, GRID)
    assert capfd.readouterr() == ("", "")
