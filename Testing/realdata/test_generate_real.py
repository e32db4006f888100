"""The shipped model on the two real non-contrast CTs: the grid of every format, and what it does to tissue."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from realdata.roi_report import ROIS, circle_mean
from SyntheticContrastLib.ct.read import read_ct
from unit import entry
from unit.entry import GENERATE

pytestmark = pytest.mark.realdata


def itk_image(path):
    if path.is_dir():
        return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)))
    return sitk.ReadImage(str(path))


@pytest.mark.parametrize("name", ROIS)
def test_every_format_is_on_exactly_the_inputs_grid(name, shared_data, tmp_path, capsys):
    source = shared_data / ROIS[name]["path"]
    outputs = {"nrrd": tmp_path / "o.nrrd", "nifti": tmp_path / "o.nii.gz", "dicom": tmp_path / "series"}
    for format_, output in outputs.items():
        arguments = ["--input", source, "--output", output, "--format", format_, "--progress", "json"]
        done = entry.call(GENERATE, arguments, capsys)
        assert done.status == 0, done.err
        assert json.loads(done.out.splitlines()[0])["model"].startswith("SyntheticContrast")
    expected = itk_image(source)
    for format_ in ("nrrd", "nifti"):
        found = itk_image(outputs[format_])
        assert found.GetSize() == expected.GetSize()
        for part in ("Spacing", "Origin", "Direction"):
            np.testing.assert_allclose(getattr(found, f"Get{part}")(), getattr(expected, f"Get{part}")(), atol=1e-4)
    volumes = {format_: read_ct(path, allow_synthetic=True) for format_, path in outputs.items()}
    assert volumes["dicom"].spacing_zyx == pytest.approx(read_ct(source).spacing_zyx, abs=1e-4)
    for volume in volumes.values():
        assert np.array_equal(volume.hu, volumes["nrrd"].hu)
        np.testing.assert_allclose(volume.grid.canonical_affine, volumes["nrrd"].grid.canonical_affine, atol=2e-3)

    before, after = read_ct(source).hu, volumes["nrrd"].hu
    change = {tissue: circle_mean(after, roi) - circle_mean(before, roi) for tissue, roi in ROIS[name]["rois"].items()}
    assert min(change[tissue] for tissue in ("descending aorta", "left atrium", "left ventricle")) > 100
    kept = ("shoulder muscle", "paraspinal muscle", "subcutaneous fat", "lung", "vertebra", "liver")
    assert max(abs(change[tissue]) for tissue in kept) < 15
    assert change.get("effusion", 0) < 45
