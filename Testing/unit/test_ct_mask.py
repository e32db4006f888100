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


def write_values(values, path):
    image = sitk.GetImageFromArray(np.ascontiguousarray(GRID.to_stored(values)))
    image.CopyInformation(image_of(values > 0, GRID))
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def organs(mask):
    """A label map: 1 left ventricle, 3 left atrium, 7 the rest of the heart."""
    labels = np.where(mask, 7, 0).astype(np.int16)
    labels[6:9][mask[6:9]] = 1
    labels[9:11][mask[9:11]] = 3
    return labels


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_of_several_labels_the_named_ones_are_taken(organs, tmp_path, dtype):
    path = write_values(organs.astype(dtype), tmp_path / "m.nrrd")
    with pytest.raises(InputError, match=r"m\.nrrd has 3 labels, 1, 3, 7: name the one to take"):
        read_mask(path, GRID)
    assert np.array_equal(read_mask(path, GRID, labels=[3]), organs == 3)
    assert np.array_equal(read_mask(path, GRID, labels=[1, 3]), np.isin(organs, (1, 3)))
    with pytest.raises(InputError, match="has no label 2, but 1, 3, 7"):
        read_mask(path, GRID, labels=[1, 2])


def test_a_label_that_is_named_must_be_there_though_it_is_the_only_one(mask, tmp_path):
    path = write_values(np.where(mask, np.uint8(4), np.uint8(0)), tmp_path / "m.nrrd")
    assert np.array_equal(read_mask(path, GRID, labels=[4]), mask)
    with pytest.raises(InputError, match="has no label 1, but 4"):
        read_mask(path, GRID, labels=[1])


def test_what_is_no_label_map_is_refused(mask, tmp_path):
    random = np.random.default_rng(1)
    wrong = {
        "holds fractions, as a map of probabilities": np.where(mask, 0.7, 0).astype(np.float32),
        "holds values that are not a number": np.where(mask, 1, np.nan).astype(np.float32),
        "values from -1000 to 1499, as a CT does": (random.permutation(mask.size) % 2500 - 1000)
        .reshape(mask.shape)
        .astype(np.int16),
        "values from 1 to 900, as a CT does": (random.permutation(mask.size) % 901)
        .reshape(mask.shape)
        .astype(np.int16),
        "values from -1 to 1, as a CT does": np.where(mask, 1, -1).astype(np.int16),
        "marks no voxel": np.zeros(mask.shape, np.uint8),
        "marks 100% of this CT": np.ones(mask.shape, np.uint8),
        "marks 9[0-9]% of this CT": np.where(np.arange(20)[:, None, None] > 0, 1, mask).astype(np.uint8),
    }
    for says, values in wrong.items():
        with pytest.raises(InputError, match=says):
            read_mask(write_values(values, tmp_path / "m.nrrd"), GRID)
