"""CT nodes as input, and sCECT nodes back: geometry, transform, names, references, hierarchy."""

import numpy as np
import pytest
import SimpleITK

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.read import read_ct
from views.factory import add_volume, chest, ijk_to_ras, parent_transform


@pytest.fixture
def volumes(mrmlScene):
    from SyntheticContrastLib.scene import volumes

    return volumes


@pytest.fixture
def ncct(mrmlScene):
    """Oblique by 4 degrees, anisotropic, under a parent transform, in a study of the hierarchy, from DICOM."""
    import slicer

    node = add_volume(mrmlScene, chest(), "Thorax", spacing=(0.75, 0.9, 5.0), degrees=4)
    parent_transform(mrmlScene, node)
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(mrmlScene)
    hierarchy.CreateItem(hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study"), node)
    return node


def test_a_ct_is_accepted(volumes, ncct):
    assert volumes.checkInput(ncct) == ""


@pytest.mark.parametrize("name", ["Discectomy", "CT synthetic graft", "Photosynthetic trial 7", "mysCECTs"])
def test_a_ct_whose_own_name_sounds_synthetic_is_a_ct(volumes, ncct, name):
    ncct.SetName(name)
    assert volumes.checkInput(ncct) == ""
    assert "not synthetic" in volumes.checkOutput(ncct, None)  # it is never overwritten


@pytest.mark.parametrize("name", ["case_7_sCECT", "scect", "Thorax sCECT 2", "4: X synthetic - not for diagnosis"])
def test_a_result_that_was_saved_and_loaded_is_known_by_its_name(volumes, ncct, name):
    ncct.SetName(name)
    assert "synthetic already" in volumes.checkInput(ncct)
    assert volumes.checkOutput(ncct, None) == ""


def test_the_input_file_has_the_nodes_own_grid_and_values(volumes, ncct, tmp_path):
    import slicer

    path = volumes.writeInput(ncct, tmp_path)
    assert "Thorax" not in path.name
    read = read_ct(path)
    lps = np.diag([-1, -1, 1, 1]) @ ijk_to_ras(ncct)
    np.testing.assert_allclose(read.grid.affine, lps, atol=1e-9)
    np.testing.assert_array_equal(read.to_stored(read.hu), slicer.util.arrayFromVolume(ncct))
    assert SimpleITK.ReadImage(str(path)).GetPixelID() == SimpleITK.sitkInt16


def test_fractional_values_are_rounded_for_the_child(volumes, mrmlScene, tmp_path):
    node = add_volume(mrmlScene, chest().astype(np.float64) + 0.4)
    values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(volumes.writeInput(node, tmp_path))))
    np.testing.assert_array_equal(values, chest())


def test_the_output_lies_where_the_input_lies(volumes, ncct):
    import slicer

    hu = chest(seed=1)
    output = volumes.addSynthetic(ncct, hu, "tiny", "ab" * 32)
    np.testing.assert_array_equal(ijk_to_ras(output), ijk_to_ras(ncct))
    assert output.GetTransformNodeID() == ncct.GetTransformNodeID() is not None
    stored = slicer.util.arrayFromVolume(output)
    assert stored.dtype == np.int16
    np.testing.assert_array_equal(stored, hu)


def test_the_file_of_the_child_comes_back_voxel_by_voxel(volumes, ncct, tmp_path):
    import slicer

    from SyntheticContrastLib.ct.write import write_image

    given = read_ct(volumes.writeInput(ncct, tmp_path))
    write_image(tmp_path / "scect.nrrd", given.hu + np.int16(7), given)
    output = volumes.addSynthetic(ncct, tmp_path / "scect.nrrd", "tiny", "")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(output), chest() + 7)


def test_the_output_says_what_it_is_and_where_it_came_from(volumes, ncct):
    import slicer

    output = volumes.addSynthetic(ncct, chest(), "tiny", "ab" * 32)
    assert output.GetName() == "Thorax sCECT"
    assert output.GetAttribute("SyntheticContrast.Model") == "tiny"
    assert output.GetAttribute("SyntheticContrast.WeightsSHA256") == "ab" * 32
    assert output.GetAttribute("SyntheticContrast.Note") == "synthetic - not for diagnosis"
    assert output.GetAttribute("DICOM.instanceUIDs") is None
    assert ncct.GetAttribute("DICOM.instanceUIDs") is not None
    assert volumes.sourceOf(output) is ncct
    assert output.GetStorageNode() is None
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(ncct.GetScene())
    items = [hierarchy.GetItemByDataNode(node) for node in (ncct, output)]
    assert all(items)
    assert hierarchy.GetItemParent(items[0]) == hierarchy.GetItemParent(items[1]) != hierarchy.GetSceneItemID()


def test_input_and_output_share_the_mediastinal_window_but_no_display_node(volumes, ncct):
    output = volumes.addSynthetic(ncct, chest(), "tiny", "")
    assert output.GetDisplayNode() is not ncct.GetDisplayNode()
    for node in (ncct, output):
        display = node.GetDisplayNode()
        assert (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel()) == (500, 50, 0)


def test_an_output_is_used_again(volumes, ncct):
    import slicer

    first = volumes.addSynthetic(ncct, chest(), "tiny", "")
    count = ncct.GetScene().GetNumberOfNodes()
    ncct.SetOrigin(1, 2, 3)
    ncct.SetAndObserveTransformNodeID(None)
    again = volumes.addSynthetic(ncct, chest(seed=2), "other", "", outputNode=first)
    assert again is first
    assert ncct.GetScene().GetNumberOfNodes() == count
    assert again.GetName() == "Thorax sCECT"
    assert again.GetAttribute("SyntheticContrast.Model") == "other"
    assert again.GetTransformNodeID() is None
    np.testing.assert_array_equal(ijk_to_ras(again), ijk_to_ras(ncct))
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(again), chest(seed=2))


def test_an_empty_volume_is_filled_and_its_name_says_synthetic(volumes, ncct):
    empty = ncct.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode", "result")
    assert volumes.addSynthetic(ncct, chest(), "tiny", "", outputNode=empty).GetName() == "result sCECT"


def test_no_measured_ct_is_overwritten(volumes, ncct):
    import slicer

    other = add_volume(ncct.GetScene(), chest(seed=3), "CECT")
    for node in (other, ncct):
        with pytest.raises(InputError, match="choose a new volume"):
            volumes.addSynthetic(ncct, chest(), "tiny", "", outputNode=node)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(other), chest(seed=3))


def test_a_result_that_does_not_fit_leaves_the_scene_as_it_was(volumes, ncct, tmp_path):
    path = volumes.writeInput(ncct, tmp_path)
    count = ncct.GetScene().GetNumberOfNodes()
    with pytest.raises(ValueError, match="shape"):
        volumes.addSynthetic(ncct, chest()[:5], "tiny", "")
    ncct.SetSpacing(1, 1, 1)
    with pytest.raises(InputError, match="was changed during the generation"):
        volumes.addSynthetic(ncct, path, "tiny", "")
    (tmp_path / "half.nrrd").write_bytes(path.read_bytes()[:2000])
    with pytest.raises(OSError, match="did not end well"):
        volumes.addSynthetic(ncct, tmp_path / "half.nrrd", "tiny", "")
    assert ncct.GetScene().GetNumberOfNodes() == count


REFUSED = {
    "no CT is selected": lambda scene: None,
    "is not a volume": lambda scene: scene.AddNewNodeByClass("vtkMRMLModelNode", "model"),
    "is a label map": lambda scene: scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels"),
    "has no voxels": lambda scene: scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"),
    "1 slice": lambda scene: add_volume(scene, chest((16, 40, 48))[3:4]),
    "8-bit": lambda scene: add_volume(scene, np.abs(chest()).astype(np.uint8)),
    "look normalised": lambda scene: add_volume(scene, chest().astype(np.float32) / 1000),
    "rescale intercept": lambda scene: add_volume(scene, chest() + np.int16(1024)),
    "not a number": lambda scene: add_volume(scene, np.where(chest() == 700, np.nan, chest())),
    "oblique to the patient by 20.0": lambda scene: add_volume(scene, chest(), degrees=20),
    "synthetic already": lambda scene: add_volume(scene, chest(), "case7_sCECT"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_the_input_is_refused_in_one_line(reason, volumes, mrmlScene):
    import re

    said = volumes.checkInput(REFUSED[reason](mrmlScene))
    assert re.search(reason, said)
    assert "\n" not in said


def test_a_colour_volume_is_refused(volumes, mrmlScene):
    import slicer

    node = mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "colour")
    slicer.util.updateVolumeFromArray(node, np.zeros((4, 5, 6, 3), np.int16))
    assert "3 components" in volumes.checkInput(node)


def test_an_output_is_no_input(volumes, ncct):
    output = volumes.addSynthetic(ncct, chest(), "tiny", "")
    output.SetName("renamed")
    assert "synthetic already" in volumes.checkInput(output)


def test_a_saved_scene_keeps_reference_window_and_attributes(volumes, ncct, tmp_path):
    import slicer

    output = volumes.addSynthetic(ncct, chest(seed=1), "tiny", "ab" * 32)
    scene = ncct.GetScene()
    for number, node in enumerate((ncct, output)):
        storage = node.CreateDefaultStorageNode()
        scene.AddNode(storage)
        node.SetAndObserveStorageNodeID(storage.GetID())
        storage.SetFileName(str(tmp_path / f"{number}.nrrd"))
        assert storage.WriteData(node)
    scene.SetURL(str(tmp_path / "scene.mrml"))
    scene.SetRootDirectory(str(tmp_path))
    assert scene.Commit()
    scene.Clear(0)
    assert scene.Import()

    again = scene.GetFirstNodeByName("Thorax sCECT")
    assert volumes.sourceOf(again) is scene.GetFirstNodeByName("Thorax")
    assert again.GetAttribute("SyntheticContrast.WeightsSHA256") == "ab" * 32
    assert (again.GetDisplayNode().GetWindow(), again.GetDisplayNode().GetLevel()) == (500, 50)
    assert again.GetParentTransformNode().GetName() == "registration"
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(again), chest(seed=1))
