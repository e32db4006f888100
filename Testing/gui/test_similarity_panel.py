"""Similarity in the scene: resampled pairs against closed forms, progress and cancel, and all that can go wrong."""

import json
import math

import numpy as np
import pytest

from views.factory import add_volume, parent_transform

MODULE = "SyntheticContrastAnalysis"
SIDE = 168  # pixels: MS-SSIM needs 161


@pytest.fixture
def panel(modulePanel, mrmlScene, tmp_path, monkeypatch):
    """Temporary files go below tmp_path/temp."""
    import tempfile

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    opened = modulePanel(MODULE)
    opened.section = opened.widget.panels["similarity"]
    opened.temp = tmp_path / "temp"
    opened.parameters = lambda: opened.section.parameters
    if opened.ui.similaritySection.collapsed:
        opened.click(opened.ui.similaritySection)
    return opened


@pytest.fixture
def played(panel):
    from harness.child import PlayedChild

    panel.section.child = PlayedChild()
    return panel


def wave(shape=(6, SIDE, SIDE), offset=0):
    """(K, J, I) HU: smooth in space, air at the front."""
    k, j, i = np.indices(shape)
    hu = 50 + 80 * np.sin(i / 9) + 40 * np.cos(j / 7) + 5 * k
    hu = np.rint(hu).astype(np.int16)
    hu[:, :6] = -1000
    return hu + np.int16(offset) * (hu > -1000)


def choose(panel, image="image", reference="reference", first=None, last=None):
    ui = panel.ui
    panel.choose(ui.similarityImageSelector, image)
    panel.choose(ui.similarityReferenceSelector, reference)
    if first is not None:
        panel.type(ui.similarityFirstSpinBox, first)
        panel.type(ui.similarityLastSpinBox, last)


def measure(panel):
    panel.click(panel.ui.similarityMeasureButton)
    panel.waitFor(lambda: not panel.section.child.running)


def results(panel):
    from SyntheticContrastLib.scene.tables import rowsOf

    return rowsOf(panel.parameters().similarityTable)


def nothingIsLeft(panel):
    return list(panel.temp.iterdir()) == []


def test_a_constant_difference_on_one_grid(panel, mrmlScene):
    """MAE and PSNR of 10 HU by hand; the range is kept to; the table and its line about LPIPS are read."""
    add_volume(mrmlScene, wave(offset=10), "image", (1, 1, 3))
    add_volume(mrmlScene, wave(), "reference", (1, 1, 3))
    choose(panel)
    assert (panel.ui.similarityFirstSpinBox.value, panel.ui.similarityLastSpinBox.value) == (0, 5)
    panel.type(panel.ui.similarityFirstSpinBox, 2)
    panel.type(panel.ui.similarityLastSpinBox, 4)
    panel.click(panel.ui.similarityMeasureButton)
    assert panel.ui.similarityMeasureButton.text == "Cancel" and not panel.ui.similarityImageSelector.enabled
    panel.waitFor(lambda: not panel.section.child.running)
    assert panel.messages == []
    [row] = results(panel)
    inside = (SIDE - 6) / SIDE
    assert (row["volume"], row["reference"], row["first_slice"], row["last_slice"]) == ("image", "reference", 2, 4)
    assert row["mae_unclipped_hu"] == pytest.approx(10 * inside, abs=1e-3)
    assert row["mae_hu"] == pytest.approx(10 * inside, abs=0.05)
    assert row["psnr_db"] == pytest.approx(10 * math.log10(350**2 / (100 * inside)), abs=0.01)
    assert 0.95 < row["ms_ssim"] < 1 and 1 < row["nmi_1_to_2"] <= 2 and math.isnan(row["lpips"])
    assert panel.ui.similarityStateLabel.text == (
        "Done: image against reference. LPIPS is left out: no file of AlexNet's weights was given."
    )
    table = panel.ui.similarityTable
    shown = {table.verticalHeaderItem(n).text(): table.item(n, 0).text() for n in range(table.rowCount)}
    assert shown["PSNR (dB)"] == f"{row['psnr_db']:.4g}" and shown["LPIPS"] == "" and shown["Window (HU)"] == "350/50"
    assert nothingIsLeft(panel)


def test_another_grid_and_a_parent_transform_are_resampled(panel, mrmlScene):
    """The same wave on finer pixels, moved and moved back by a transform: nearly equal, and only where both lie."""
    import slicer

    reference = add_volume(mrmlScene, wave(), "reference", (1, 1, 3))
    fine = np.repeat(np.repeat(wave(), 2, axis=1), 2, axis=2)[:, :, :-8]  # 4 columns fewer
    image = add_volume(mrmlScene, fine, "image", (0.5, 0.5, 3))
    affine = slicer.util.arrayFromVTKMatrix(matrix_of(image))
    affine[:3, 3] -= affine[:3, :3] @ (0.5, 0.5, 0)  # the middle of the first 2 x 2 pixels on the first one
    affine[:3, 3] -= (30.0, 20.0, 10.0)
    image.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
    moved = np.eye(4)
    moved[:3, 3] = (30.0, 20.0, 10.0)
    parent_transform(mrmlScene, image, matrix=moved)
    choose(panel, first=1, last=3)
    measure(panel)
    assert panel.messages == []
    [row] = results(panel)
    assert row["mae_unclipped_hu"] < 1.0 and row["ms_ssim"] > 0.999
    assert "only where both volumes lie" in row["notes"]
    assert reference.GetImageData().GetDimensions() == (SIDE, SIDE, 6)


def matrix_of(node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix


@pytest.mark.realdata
def test_lpips_with_the_chosen_file(panel, mrmlScene, shared_data):
    add_volume(mrmlScene, wave(offset=40), "image", (1, 1, 3))
    add_volume(mrmlScene, wave(), "reference", (1, 1, 3))
    choose(panel, first=0, last=1)
    panel.type(panel.ui.similarityWeightsPath, shared_data / "lpips" / "alexnet_features.pth")
    measure(panel)
    assert panel.messages == []
    [row] = results(panel)
    assert 0 < row["lpips"] < 0.5 and row["notes"] == ""


def test_without_torch_the_other_measures_are_made(panel, mrmlScene, tmp_path, monkeypatch):
    blocked = tmp_path / "blocked" / "torch"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    monkeypatch.setenv("PYTHONPATH", str(blocked.parent))
    add_volume(mrmlScene, wave(offset=10), "image", (1, 1, 3))
    add_volume(mrmlScene, wave(), "reference", (1, 1, 3))
    choose(panel)
    measure(panel)
    assert panel.messages == []
    [row] = results(panel)
    assert math.isnan(row["ms_ssim"]) and row["psnr_db"] > 20
    assert "MS-SSIM and LPIPS are left out: PyTorch is not installed" in panel.ui.similarityStateLabel.text


def test_progress_cancel_and_failure(played, mrmlScene):
    ui, child = played.ui, played.section.child
    add_volume(mrmlScene, wave((6, 40, 40)), "image", (1, 1, 3))
    add_volume(mrmlScene, wave((6, 40, 40)), "reference", (1, 1, 3))
    choose(played, first=1, last=4)
    played.click(ui.similarityMeasureButton)
    [(entry, arguments)] = child.started
    assert entry == "measure.py" and arguments[0] == "similarity" and "--lpips-weights" not in arguments
    assert "image.nrrd" in " ".join(arguments)  # and no name of a node
    child.tell(json.dumps({"event": "progress", "slices_done": 1, "slices_total": 4}))
    child.tell("something else")
    assert ui.similarityProgressBar.visible and ui.similarityProgressBar.format == "1 of 4 slices"
    played.click(ui.similarityMeasureButton)
    assert child.stopping and ui.similarityMeasureButton.text == "End now"
    played.click(ui.similarityMeasureButton)
    assert child.killed
    child.finish(-9)
    assert ui.similarityStateLabel.text == "Cancelled. The table is as it was." and played.messages == []
    assert results(played) == [] and nothingIsLeft(played) and not ui.similarityProgressBar.visible

    played.click(ui.similarityMeasureButton)
    assert "--lpips-weights" not in child.started[-1][1]
    child.tell("measure.py: none.pth does not exist: give the file", isError=True)
    child.finish(2)
    assert played.messages == ["None.pth does not exist: give the file."]
    played.type(ui.similarityWeightsPath, "alexnet.pth")
    played.click(ui.similarityMeasureButton)
    assert child.started[-1][1][-2:] == ["--lpips-weights", "alexnet.pth"]
    child.finish(-11)
    assert played.messages[-1].startswith("measure.py was ended from outside (status -11)")
    played.click(ui.similarityMeasureButton)
    played.closeScene()
    assert not child.running and nothingIsLeft(played)


def test_a_node_removed_during_the_comparison_does_not_matter(played, mrmlScene):
    import slicer

    add_volume(mrmlScene, wave((6, 40, 40)), "image", (1, 1, 3))
    add_volume(mrmlScene, wave((6, 40, 40)), "reference", (1, 1, 3))
    choose(played)
    played.click(played.ui.similarityMeasureButton)
    mrmlScene.RemoveNode(slicer.util.getNode("image"))
    played.process()
    assert played.section.child.running
    arguments = played.section.child.started[-1][1]
    columns = "volume,reference,first_slice,last_slice,window,mae_hu,ms_ssim,notes"
    with open(arguments[arguments.index("--output") + 1], "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(f"{columns}\nimage.nrrd,reference.nrrd,0,5,350/50,3.5,,\n")
    played.section.child.finish(0)
    [row] = results(played)
    assert (row["volume"], row["mae_hu"]) == ("image", 3.5) and math.isnan(row["ms_ssim"])
    assert not played.ui.similarityMeasureButton.enabled
    assert played.ui.similarityMeasureButton.toolTip == "Choose the image first."


def test_the_views_go_to_the_end_that_is_moved(played, mrmlScene, layoutViews):
    import slicer

    reference = add_volume(mrmlScene, wave((10, 40, 40)), "reference", (1, 1, 3))
    slicer.util.setSliceViewerLayers(background=reference)
    view = next(one for one in layoutViews.shown() if one.node.GetOrientation() == "Axial")
    played.choose(played.ui.similarityReferenceSelector, "reference")
    for box, z in ((played.ui.similarityFirstSpinBox, 2), (played.ui.similarityLastSpinBox, 7)):
        box.value = z
        played.process()
        top = -40.0 + 9 * 3  # superior mm of slice 0: K goes up
        assert view.offset == pytest.approx(top - 3 * z)


def test_the_range_is_proposed(played, mrmlScene):
    """What the search finds is in the boxes; where it finds nothing, one line says so and they stay."""
    from SyntheticContrastLib.analysis.slice_range import propose_slice_range
    from SyntheticContrastLib.ct.phantom import thorax_phantom
    from SyntheticContrastLib.scene.sample import addCT

    spacing = (8.0, 3.75, 3.75)
    phantom = thorax_phantom((40, 96, 96), spacing)
    addCT(mrmlScene, phantom.volume(phantom.cect), phantom.cect, "CECT")
    add_volume(mrmlScene, wave((6, 40, 40)), "wave", (1, 1, 3))
    found = propose_slice_range(phantom.cect, spacing)
    first, last = played.ui.similarityFirstSpinBox, played.ui.similarityLastSpinBox
    played.choose(played.ui.similarityReferenceSelector, "CECT")
    played.click(played.ui.similarityProposeButton)
    assert played.messages == [] and 0 < found.first < found.last < 39
    assert (first.value, last.value) == (found.first, found.last)
    assert played.ui.similarityStateLabel.text.startswith(f"Slices {found.first} to {found.last} are proposed")
    played.choose(played.ui.similarityReferenceSelector, "wave")
    played.click(played.ui.similarityProposeButton)
    assert len(played.messages) == 1 and played.messages[0].startswith("No slice range found: there are no lungs")
    assert (first.value, last.value) == (0, 5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("same", "Image and reference are one volume: choose two."),
        ("range", "Slices 4 to 2 cannot be compared: give two or more of the 6 slices of the reference"),
        ("beyond", "Slices 0 to 9 cannot be compared: give two or more of the 6 slices"),
        ("apart", "Image does not reach slices 0 to 5 of reference: choose a volume of this patient."),
        ("partly", "Image does not reach 2 of the slices 0 to 5: narrow the range."),
        ("empty", "Image has no voxels: choose another volume."),
    ],
)
def test_bad_input(played, mrmlScene, change, says):
    image = add_volume(mrmlScene, wave((6, 40, 40)), "image", (1, 1, 3))
    add_volume(mrmlScene, wave((6, 40, 40)), "reference", (1, 1, 3))
    choose(played, image="reference" if change == "same" else "image")
    if change == "range":
        played.ui.similarityFirstSpinBox.value, played.ui.similarityLastSpinBox.value = 4, 2
    elif change == "beyond":
        played.ui.similarityLastSpinBox.value = 9
    elif change in ("apart", "partly"):
        matrix = np.eye(4)
        matrix[2, 3] = 500 if change == "apart" else 6
        parent_transform(mrmlScene, image, matrix=matrix)
    elif change == "empty":
        image.SetAndObserveImageData(None)
    played.click(played.ui.similarityMeasureButton)
    assert len(played.messages) == 1 and played.messages[0].startswith(says)
    assert played.section.child.started == [] and nothingIsLeft(played)


def test_rows_stay_and_are_saved(played, mrmlScene, tmp_path):
    """Two comparisons side by side, replaced when made again; exported."""
    from SyntheticContrastLib.scene.tables import putRow

    row = {"volume": "a", "reference": "b", "first_slice": 1.0, "last_slice": 2.0, "psnr_db": 20.0, "notes": ""}
    table = mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Similarity")
    from SyntheticContrastLib.gui.similarity_panel import KEYS

    for change in ({}, {"volume": "c"}, {"psnr_db": 21.0}):
        putRow(table, row | change, KEYS)
    played.parameters().similarityTable = table
    played.process()
    assert [(one["volume"], one["psnr_db"]) for one in results(played)] == [("a", 21.0), ("c", 20.0)]
    assert played.ui.similarityTable.columnCount == 2
    played.section.chooseCsv = lambda title: tmp_path / "s.csv"
    played.click(played.ui.similarityExportButton)
    assert (tmp_path / "s.csv").read_text().splitlines()[1] == "a,b,1,2,21,"
    played.click(played.ui.similarityCopyButton)


def test_every_control_says_what_it_does(panel):
    controls = {name: one for name, one in vars(panel.ui).items() if name.startswith("similarity")}
    controls = {name: one for name, one in controls.items() if not name.startswith("similaritySection")}
    assert len(controls) > 8
    assert [name for name, one in controls.items() if hasattr(one, "toolTip") and not one.toolTip] == []
