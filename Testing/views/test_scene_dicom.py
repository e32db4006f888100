"""From a volume node back to its DICOM files, and an sCECT as a series derived from them."""

import types
from pathlib import Path

import numpy as np
import pydicom
import pytest

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.read import read_ct
from unit.ct_factory import chest_values, ct_slices, save_all
from views.factory import add_volume


@pytest.fixture
def loaded(mrmlScene, tmp_path, monkeypatch):
    """A node as Slicer's DICOM module leaves it, and the volume that it holds; the files are in no order."""
    import slicer

    volume = read_ct(save_all(tmp_path / "series", ct_slices()))
    node = add_volume(mrmlScene, np.ascontiguousarray(volume.to_stored(volume.hu)), "3: Chest")
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.diag([-1.0, -1, 1, 1]) @ volume.grid.affine))
    files = dict(zip(volume.source.sop_instance_uids, map(str, volume.source.files), strict=True))
    node.SetAttribute("DICOM.instanceUIDs", " ".join(sorted(files)))
    database = types.SimpleNamespace(isOpen=True, fileForInstance=lambda uid: files.get(uid, ""), files=files)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    return node, volume


def test_the_files_are_found_and_put_in_the_order_of_the_slices(loaded):
    from SyntheticContrastLib.scene.dicom_origin import dicomFiles, dicomSource

    node, volume = loaded
    assert sorted(dicomFiles(node)) == sorted(volume.source.files)
    assert dicomSource(node) == volume.source


def test_there_is_no_source_without_database_attribute_or_file(loaded, monkeypatch):
    import slicer

    from SyntheticContrastLib.scene.dicom_origin import dicomFiles, dicomSource

    node, _ = loaded
    assert dicomFiles(None) is None
    slicer.dicomDatabase.files.popitem()
    assert dicomFiles(node) is None
    assert dicomSource(node) is None
    monkeypatch.delattr(slicer, "dicomDatabase")
    assert dicomFiles(node) is None


@pytest.mark.parametrize("change", ["moved", "cropped", "flipped"])
def test_a_changed_volume_has_no_source(change, loaded):
    import slicer

    from SyntheticContrastLib.scene.dicom_origin import dicomSource

    node, _ = loaded
    if change == "moved":
        node.SetOrigin(*(value + 1 for value in node.GetOrigin()))
    elif change == "cropped":
        slicer.util.updateVolumeFromArray(node, slicer.util.arrayFromVolume(node)[:, :-1])
    else:
        node.SetSpacing(*reversed(node.GetSpacing()))
    assert dicomSource(node) is None


def test_an_scect_becomes_a_series_derived_from_its_source(loaded, tmp_path):
    from SyntheticContrastLib.scene.dicom_origin import saveDicom
    from SyntheticContrastLib.scene.volumes import addSynthetic

    node, volume = loaded
    hu = chest_values((5, 10, 12), seed=4)
    output = addSynthetic(node, hu, "tiny", "ab" * 32)
    saveDicom(output, tmp_path / "derived")
    again = read_ct(tmp_path / "derived", allow_synthetic=True)
    np.testing.assert_allclose(again.grid.affine, volume.grid.affine, atol=1e-6)
    np.testing.assert_array_equal(again.to_stored(again.hu), hu)
    headers = [pydicom.dcmread(file) for file in sorted(Path(tmp_path / "derived").iterdir())]
    referenced = {header.SourceImageSequence[0].ReferencedSOPInstanceUID for header in headers}
    assert referenced == set(volume.source.sop_instance_uids)
    assert headers[0].ImageType[:2] == ["DERIVED", "SECONDARY"]
    assert "not for diagnosis" in headers[0].SeriesDescription
    assert "tiny" in headers[0].DerivationDescription
    assert headers[0].StudyInstanceUID == pydicom.dcmread(volume.source.files[0]).StudyInstanceUID


def test_without_a_source_it_becomes_a_study_of_its_own(loaded, tmp_path):
    from SyntheticContrastLib.scene.dicom_origin import saveDicom
    from SyntheticContrastLib.scene.volumes import addSynthetic

    node, volume = loaded
    output = addSynthetic(node, chest_values((5, 10, 12), seed=4), "tiny", "")
    node.GetScene().RemoveNode(node)
    saveDicom(output, tmp_path / "own")
    header = pydicom.dcmread(next((tmp_path / "own").iterdir()))
    assert "SourceImageSequence" not in header
    assert header.PatientID.startswith("SC")
    np.testing.assert_allclose(
        read_ct(tmp_path / "own", allow_synthetic=True).grid.canonical_affine, volume.grid.canonical_affine, atol=1e-6
    )


def test_a_measured_ct_is_not_saved_as_synthetic(loaded, tmp_path):
    from SyntheticContrastLib.scene.dicom_origin import saveDicom

    with pytest.raises(InputError, match="is not an sCECT"):
        saveDicom(loaded[0], tmp_path / "derived")
    assert not (tmp_path / "derived").exists()
