"""Left chambers and Dice: spheres with a closed form on grids that lie askew, a phantom, and all that can go wrong."""

import csv
import math

import numpy as np
import pytest

from views.factory import ijk_to_ras, parent_transform

MODULE = "SyntheticContrastAnalysis"
CENTRE = np.array([10.0, -20.0, 30.0])  # of the chambers, RAS mm of the world
RADIUS, APART = 24.0, 16.0  # mm
LENS = math.pi * (4 * RADIUS + APART) * (2 * RADIUS - APART) ** 2 / 12
SPHERE = 4 / 3 * math.pi * RADIUS**3
GRIDS = {
    "anisotropic pixels": (np.eye(3), None),
    "oblique": (None, None),
    "oblique under a transform": (None, (35.0, 12.5)),
}


def tilted(degrees=(18.0, 25.0)):
    """Columns: directions of I, J and K, turned about the long axis and tilted about I."""
    (c, s), (d, t) = ((math.cos(math.radians(one)), math.sin(math.radians(one))) for one in degrees)
    about_z = np.array([[d, -t, 0], [t, d, 0], [0, 0, 1]])
    return about_z @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


@pytest.fixture
def panel(modulePanel, mrmlScene):
    opened = modulePanel(MODULE)
    opened.section = opened.widget.panels["chambers"]
    opened.parameters = lambda: opened.section.parameters
    opened.openSection = lambda: opened.ui.chambersSection.collapsed and opened.click(opened.ui.chambersSection)
    opened.openSection()
    return opened


def add_grid(scene, name, spacing, shape, directions=None, transform=None, kind="vtkMRMLScalarVolumeNode"):
    """An empty volume whose middle is CENTRE. spacing (I, J, K) mm; shape (K, J, I)."""
    import slicer

    node = scene.AddNewNodeByClass(kind, name)
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if directions is None else directions) * spacing
    parent = np.eye(4)
    if transform is not None:
        angle, moved = transform
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        parent[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
        parent[:3, 3] = moved
    local = (np.linalg.inv(parent) @ [*CENTRE, 1])[:3]
    affine[:3, 3] = local - affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
    slicer.util.updateVolumeFromArray(node, np.zeros(shape, np.int16))
    node.CreateDefaultDisplayNodes()
    if transform is not None:
        parent_transform(scene, node, matrix=parent)
    return node, parent @ affine


def distance(shape, to_world, centre):
    """(K, J, I): mm from a place of the world."""
    k, j, i = np.indices(shape)
    places = np.stack([i, j, k], axis=-1) @ to_world[:3, :3].T + to_world[:3, 3]
    return np.linalg.norm(places - centre, axis=-1)


def add_ct(scene, directions=None, transform=None, name="CT", spacing=(1.7, 2.3, 3.1), shape=(36, 44, 60)):
    """400 HU within RADIUS of CENTRE, 40 HU around, some air. The directions of its axes in the world come with it."""
    import slicer

    node, to_world = add_grid(scene, name, spacing, shape, directions, transform)
    hu = np.where(distance(shape, to_world, CENTRE) <= RADIUS, 400, 40).astype(np.int16)
    hu[:, :2] = -1000
    slicer.util.updateVolumeFromArray(node, hu)
    return node, to_world[:3, :3] / np.linalg.norm(to_world[:3, :3], axis=0)


def add_ball(scene, name, centre, radius=RADIUS, kind="segmentation", spacing=(1.1, 1.1, 1.4), shape=(66, 84, 84)):
    """A ball on a grid of its own, as a segmentation or a label map."""
    import slicer

    label, to_world = add_grid(scene, name, spacing, shape, kind="vtkMRMLLabelMapVolumeNode")
    slicer.util.updateVolumeFromArray(label, (distance(shape, to_world, centre) <= radius).astype(np.uint8))
    if kind != "segmentation":
        return label
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(label, node)
    scene.RemoveNode(label)
    return node


def add_box(scene, centre=CENTRE, side=70.0, name="Box"):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    node.CreateDefaultDisplayNodes()
    node.SetCenter(*centre)
    node.SetSize(side, side, side)
    return node


def segment(panel, ct="CT", region="Box"):
    panel.choose(panel.ui.chambersVolumeSelector, ct)
    panel.choose(panel.ui.chambersRegionSelector, region)
    panel.click(panel.ui.chambersSegmentButton)
    return panel.parameters().chambersOutput


def compare(panel, reference="Reference"):
    panel.choose(panel.ui.chambersReferenceSelector, reference)
    panel.click(panel.ui.chambersCompareButton)


def results(panel):
    from SyntheticContrastLib.scene.tables import rowsOf

    return rowsOf(panel.parameters().chambersTable)


def cells(table):
    """What a person reads in the table: {line: [text of each column]}."""
    return {
        table.verticalHeaderItem(line).text(): [table.item(line, column).text() for column in range(table.columnCount)]
        for line in range(table.rowCount)
    }


@pytest.mark.parametrize("grid", GRIDS)
def test_dice_of_two_spheres_through_the_panel(panel, mrmlScene, grid):
    """Our sphere and the reference, displaced in the slice, on grids of their own: the closed form of their lens."""
    import slicer

    directions, transform = GRIDS[grid]
    ct, axes = add_ct(mrmlScene, tilted() if directions is None else directions, transform)
    add_box(mrmlScene, side=90.0)
    add_ball(mrmlScene, "Reference", CENTRE + APART * axes[:, 0])
    output = segment(panel)
    assert panel.messages == []
    assert panel.ui.chambersStateLabel.text.startswith("Left heart chambers: ")
    assert output.GetParentTransformNode() is ct.GetParentTransformNode()
    compare(panel)
    assert panel.messages == []
    [row] = results(panel)
    assert row["dice"] == pytest.approx(LENS / SPHERE, abs=0.012)
    assert row["compared_ml"] == pytest.approx(SPHERE / 1000, rel=0.02)
    assert row["reference_ml"] == pytest.approx(SPHERE / 1000, rel=0.02)
    assert row["volume_error_percent"] < 3 and row["threshold_hu"] == 300
    assert f"{row['dice']:.4g}" in cells(panel.ui.chambersTable)["Dice"]
    assert panel.ui.chambersStateLabel.text.startswith(f"Dice {row['dice']:.3f}, volume difference ")

    parameters = panel.parameters()
    # Dice by slice: two discs of the radius at that height
    table = parameters.chambersSlices.GetTable()
    slices = {
        int(table.GetValue(n, 0).ToInt()): table.GetValue(n, 1).ToDouble() for n in range(table.GetNumberOfRows())
    }
    assert len(slices) == row["slices"]
    half = APART / 2
    lens = 2 * (RADIUS**2 * math.acos(half / RADIUS) - half * math.sqrt(RADIUS**2 - half**2))
    middle = [dice for z, dice in slices.items() if abs(z - 17.5) < 2]
    assert np.mean(middle) == pytest.approx(lens / (math.pi * RADIUS**2), abs=0.03)
    series = parameters.chambersChart.GetNthPlotSeriesNode(0)
    assert series.GetTableNode() is parameters.chambersSlices
    assert (series.GetXColumnName(), series.GetYColumnName()) == ("slice", "dice")

    agreement = parameters.chambersAgreement
    voxel = abs(np.linalg.det(ijk_to_ras(ct)[:3, :3])) / 1000
    ml = {}
    for identifier in agreement.GetSegmentation().GetSegmentIDs():
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(agreement, identifier, ct)
        ml[agreement.GetSegmentation().GetSegment(identifier).GetName()] = mask.sum() * voxel
    assert list(ml) == ["both", "only ours", "only reference"]
    assert ml["both"] == pytest.approx(LENS / 1000, rel=0.03)
    assert ml["only ours"] == pytest.approx((SPHERE - LENS) / 1000, rel=0.06)
    assert ml["both"] + ml["only reference"] == pytest.approx(row["reference_ml"])


def test_the_segmentation_lies_on_the_voxels_of_the_ct(panel, mrmlScene):
    import slicer
    import vtk

    ct, _ = add_ct(mrmlScene, tilted(), (35.0, 12.5))
    add_box(mrmlScene)
    output = segment(panel)
    [identifier] = output.GetSegmentation().GetSegmentIDs()
    image, matrix = output.GetSegmentation().GetSegment(identifier).GetRepresentation("Binary labelmap"), None
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(matrix), ijk_to_ras(ct), atol=1e-6)
    found = slicer.util.arrayFromSegmentBinaryLabelmap(output, identifier, ct) > 0
    np.testing.assert_array_equal(found, slicer.util.arrayFromVolume(ct) >= 300)


def test_a_transform_that_bends_moves_segments_and_is_refused_for_a_box(panel, mrmlScene):
    """A region that a non-linear transform brings onto the chambers takes all of them."""
    import vtk

    ct, axes = add_ct(mrmlScene)
    region = add_ball(mrmlScene, "Region", CENTRE - 15.0 * axes[:, 0], 28.0)
    box = add_box(mrmlScene)
    corners = np.array(list(np.ndindex(2, 2, 2))) * 400.0 - 200.0
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in corners:
        source.InsertNextPoint(corner)
        target.InsertNextPoint(corner + 15.0 * axes[:, 0])
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    bent = mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "bent")
    bent.SetAndObserveTransformToParent(spline)
    for node in (region, box):
        node.SetAndObserveTransformNodeID(bent.GetID())
    assert not bent.IsTransformToWorldLinear()
    segment(panel, region="Region")
    assert panel.messages == []
    assert float(panel.ui.chambersStateLabel.text.split()[3]) == pytest.approx(SPHERE / 1000, rel=0.04)
    panel.choose(panel.ui.chambersRegionSelector, "Box")
    panel.click(panel.ui.chambersSegmentButton)
    assert panel.messages == ["Box or CT is bent by its transform: harden that, or take a segment."]
    assert ct.GetParentTransformNode() is None


def test_structures_stand_beside_each_other_with_their_terminology(panel, mrmlScene):
    import slicer

    add_ct(mrmlScene)
    add_box(mrmlScene)
    panel.choose(panel.ui.chambersStructureComboBox, "Left atrium")
    output = segment(panel)
    panel.choose(panel.ui.chambersStructureComboBox, "Left ventricle")
    panel.click(panel.ui.chambersSegmentButton)
    assert panel.parameters().chambersOutput is output
    panel.click(panel.ui.chambersSegmentButton)  # again: the same segment
    segmentation = output.GetSegmentation()
    found = {
        segmentation.GetSegment(one).GetName(): segmentation.GetSegment(one) for one in segmentation.GetSegmentIDs()
    }
    assert list(found) == ["left atrium", "left ventricle"]
    for name, code in (("left atrium", "SCT^82471001^Left Atrium"), ("left ventricle", "SCT^87878005^Left Ventricle")):
        entry = slicer.vtkSlicerTerminologyEntry()
        text = found[name].GetTerminology()
        assert slicer.modules.terminologies.logic().DeserializeTerminologyEntry(text, entry) or code in text
        assert code in text and text.count("~") == 6


@pytest.mark.parametrize("kind", ["segment", "label map", "box"])
def test_regions_of_every_kind(panel, mrmlScene, kind):
    """The region cuts the chambers: a ball of half the radius takes an eighth of them."""
    add_ct(mrmlScene)
    wanted = SPHERE / 8
    if kind == "box":
        add_box(mrmlScene, side=20.0, name="Region")
        wanted = (12 * 8 * 6) * 1.7 * 2.3 * 3.1  # voxels whose middle lies in it, counted by hand
    elif kind == "label map":
        add_ball(mrmlScene, "Region", CENTRE, RADIUS / 2, kind="label map")
    else:
        node = add_ball(mrmlScene, "Region", CENTRE, RADIUS / 2)
        other = add_ball(mrmlScene, "Other", CENTRE, 60.0)
        large = other.GetSegmentation().GetNthSegment(0)
        node.GetSegmentation().AddSegment(large, "large")
        mrmlScene.RemoveNode(other)
    panel.choose(panel.ui.chambersVolumeSelector, "CT")
    panel.choose(panel.ui.chambersRegionSelector, "Region")
    if kind == "segment":
        name = panel.parameters().chambersRegion.GetSegmentation().GetNthSegment(0).GetName()
        panel.choose(panel.ui.chambersRegionSegmentComboBox, name)
    else:
        assert not panel.ui.chambersRegionSegmentComboBox.visible
    panel.click(panel.ui.chambersSegmentButton)
    assert panel.messages == []
    ml = float(panel.ui.chambersStateLabel.text.split()[3])
    assert ml == pytest.approx(wanted / 1000, rel=0.06)


def test_the_preview_follows_the_slider_in_all_views(panel, mrmlScene, layoutViews):
    """Red where the threshold passes, in every view, before anything is segmented; gone when the module is left."""
    import slicer

    ct, _ = add_ct(mrmlScene)
    hu = slicer.util.arrayFromVolume(ct)
    hu[hu == 40] = np.where(np.indices(hu.shape)[2][hu == 40] < 20, 250, 40)
    slicer.util.arrayFromVolumeModified(ct)
    add_box(mrmlScene, side=90.0).GetDisplayNode().SetVisibility(False)  # it is reddish itself
    slicer.util.setSliceViewerLayers(background=ct)
    views = layoutViews.shown()
    assert len(views) >= 3
    for view in views:
        view.logic.FitSliceToAll()
        view.node.JumpSliceByCentering(*CENTRE)

    def red():
        pictures = [view.grab().astype(int) for view in views]
        return [int(((one[..., 0] - one[..., 1]) > 60).sum()) for one in pictures]

    panel.choose(panel.ui.chambersVolumeSelector, "CT")
    assert red() == [0] * len(views)
    panel.choose(panel.ui.chambersRegionSelector, "Box")
    panel.process(0.1)
    sphere = red()
    assert min(sphere) > 300
    assert panel.ui.chambersStateLabel.text.startswith("Preview: ")
    panel.ui.chambersThresholdSlider.value = 200
    panel.process(0.1)
    assert sum(red()) > 1.2 * sum(sphere)
    panel.ui.chambersThresholdSlider.value = 500
    panel.process(0.1)
    assert red() == [0] * len(views)
    assert panel.ui.chambersStateLabel.text.startswith("Nothing in the heart reaches 500 HU")
    panel.ui.chambersThresholdSlider.value = 300
    panel.process(0.1)
    assert red() == sphere
    box = panel.parameters().chambersRegion
    box.SetCenter(*(CENTRE + np.array([0, 0, 60])))  # dragged away
    panel.process(0.1)
    assert sum(red()) < 0.7 * sum(sphere)
    [preview] = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert preview.GetHideFromEditors() and not preview.GetSaveWithScene()
    panel.widget.exit()
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == [] and red() == [0] * len(views)
    panel.widget.enter()
    box.SetCenter(*CENTRE)
    panel.process(0.1)
    assert min(red()) > 300


def test_agreement_and_fusion_in_the_views(panel, mrmlScene, layoutViews):
    """Green, orange and blue side by side; then the chambers over the basal CT."""
    import slicer

    ct, axes = add_ct(mrmlScene)
    basal, _ = add_grid(mrmlScene, "Basal", (2.0, 2.0, 3.0), (36, 50, 50))
    add_box(mrmlScene, side=90.0)
    add_ball(mrmlScene, "Reference", CENTRE + APART * axes[:, 0])
    slicer.util.setSliceViewerLayers(background=ct)
    output = segment(panel)
    compare(panel)
    view = layoutViews.shown()[0]
    view.logic.FitSliceToAll()
    picture = view.grab().astype(int)
    counts = {}
    for name, colour in (("both", (0.35, 0.80, 0.45)), ("ours", (0.95, 0.55, 0.10)), ("reference", (0.25, 0.50, 0.95))):
        hue = np.array(colour) - np.mean(colour)
        seen = picture - picture.mean(axis=-1, keepdims=True)
        counts[name] = int(
            ((seen @ hue) > 0.8 * np.linalg.norm(hue) * np.maximum(np.linalg.norm(seen, axis=-1), 25)).sum()
        )
    assert min(counts.values()) > 100, counts
    covering = [
        panel.parameters().chambersReference.GetDisplayNode(),
        panel.parameters().chambersRegion.GetDisplayNode(),
    ]
    assert [one.GetVisibility() for one in covering] == [0, 0]
    panel.widget.exit()
    assert [one.GetVisibility() for one in covering] == [1, 1]
    panel.widget.enter()
    assert [one.GetVisibility() for one in covering] == [0, 0]
    panel.choose(panel.ui.chambersBasalSelector, "Basal")
    panel.click(panel.ui.chambersFusionButton)
    assert {one.composite.GetBackgroundVolumeID() for one in layoutViews.shown()} == {basal.GetID()}
    assert output.GetDisplayNode().GetVisibility()
    assert not panel.parameters().chambersAgreement.GetDisplayNode().GetVisibility()
    assert [one.GetVisibility() for one in covering] == [0, 0]
    assert panel.ui.chambersStateLabel.text == f"{output.GetName()} over Basal."
    picture = view.grab().astype(int)
    assert ((picture[..., 0] - picture[..., 1]) > 60).sum() > 300
    panel.choose(panel.ui.chambersShowComboBox, "Nothing")
    assert [one.GetVisibility() for one in covering] == [1, 1]


@pytest.fixture
def phantom(panel, mrmlScene):
    """A phantom CECT, and a segmentation of its left heart."""
    from SyntheticContrastLib.scene.sample import addPhantomChambers

    panel.ct, panel.reference = addPhantomChambers(mrmlScene)
    return panel


def test_propose_correct_and_segment_where_the_right_heart_passes_too(phantom):
    """At 250 HU the right heart passes the threshold: the panel warns, and a corrected region leaves it out."""
    ui, opened = phantom.ui, []
    phantom.section.openSegmentEditor = lambda node, volume: opened.append((node, volume))
    phantom.choose(ui.chambersVolumeSelector, "Phantom CECT")
    assert not ui.chambersSegmentButton.enabled and "Propose one" in ui.chambersSegmentButton.toolTip
    phantom.click(ui.chambersProposeButton)
    assert phantom.messages == []
    region = phantom.parameters().chambersRegion
    assert region.GetName() == "Phantom CECT heart region"
    phantom.click(ui.chambersEditButton)
    assert opened == [(region, phantom.ct)]
    ui.chambersThresholdSlider.value = 250
    phantom.click(ui.chambersFillHolesCheckBox)
    phantom.click(ui.chambersSegmentButton)
    assert "large pieces" in ui.chambersStateLabel.text and "right heart" in ui.chambersStateLabel.text
    compare(phantom, "reference")
    [whole] = results(phantom)
    assert whole["volume_error_percent"] > 50
    # a user cuts the region down to the left heart in the Segment Editor: here, to the reference
    phantom.choose(ui.chambersRegionSelector, "reference")
    phantom.click(ui.chambersSegmentButton)
    compare(phantom, "reference")
    [left] = results(phantom)
    assert left["dice"] > 0.9 > whole["dice"] + 0.1


def test_the_segment_editor_opens_on_the_region(panel, mrmlScene, monkeypatch):
    import slicer

    ct, _ = add_ct(mrmlScene)
    region = add_ball(mrmlScene, "Region", CENTRE)
    add_box(mrmlScene)
    shown = []
    monkeypatch.setattr(slicer.util, "selectModule", shown.append)
    panel.choose(panel.ui.chambersVolumeSelector, "CT")
    panel.choose(panel.ui.chambersRegionSelector, "Box")
    assert not panel.ui.chambersEditButton.enabled
    panel.choose(panel.ui.chambersRegionSelector, "Region")
    for _ in range(2):  # the module's one node is made once
        panel.click(panel.ui.chambersEditButton)
    [editor] = slicer.util.getNodesByClass("vtkMRMLSegmentEditorNode")
    assert shown == ["SegmentEditor"] * 2
    assert editor.GetSegmentationNode() is region and editor.GetSourceVolumeNode() is ct


def test_threshold_from_the_reference(phantom):
    import slicer

    ui = phantom.ui
    phantom.choose(ui.chambersVolumeSelector, "Phantom CECT")
    phantom.choose(ui.chambersReferenceSelector, "reference")
    phantom.click(ui.chambersFromReferenceButton)
    lowest = []
    for identifier in phantom.reference.GetSegmentation().GetSegmentIDs():
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(phantom.reference, identifier, phantom.ct) > 0
        lowest.append(slicer.util.arrayFromVolume(phantom.ct)[mask].min())
    assert ui.chambersThresholdSlider.value == round(np.mean(lowest))
    assert phantom.messages == [] and "lowest inside the reference" in ui.chambersStateLabel.text
    slicer.util.arrayFromVolume(phantom.ct)[:] = -800
    phantom.click(ui.chambersFromReferenceButton)
    assert phantom.messages == ["The lowest HU inside the reference is -800: its rim takes in lung or fat, correct it."]


def test_save_and_reload(panel, mrmlScene, tmp_path):
    import slicer

    _, axes = add_ct(mrmlScene)
    add_box(mrmlScene)
    add_ball(mrmlScene, "Reference", CENTRE + APART * axes[:, 0])
    panel.ui.chambersThresholdSlider.value = 275
    output = segment(panel)
    compare(panel)
    before, names = cells(panel.ui.chambersTable), output.GetName()
    for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
        if node.GetSaveWithScene() and not node.IsA("vtkMRMLColorNode"):
            node.AddDefaultStorageNode() if node.GetStorageNode() is None else None
            storage = node.GetStorageNode()
            if storage is not None:
                storage.SetFileName(str(tmp_path / f"{node.GetID()}.{storage.GetDefaultWriteFileExtension()}"))
                assert storage.WriteData(node), node.GetName()
    mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    mrmlScene.SetRootDirectory(str(tmp_path))
    assert mrmlScene.Commit()
    panel.closeScene()
    assert panel.parameters().chambersTable is None and not panel.ui.chambersTable.visible
    mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    mrmlScene.Connect()
    panel.process(0.1)
    assert panel.ui.chambersThresholdSlider.value == 275
    assert panel.ui.chambersVolumeSelector.currentNode().GetName() == "CT"
    assert panel.ui.chambersRegionSelector.currentNode().GetName() == "Box"
    assert panel.parameters().chambersOutput.GetName() == names
    assert panel.ui.chambersShowComboBox.currentText == "Agreement with the reference"
    assert cells(panel.ui.chambersTable) == before
    assert panel.parameters().chambersChart.GetNthPlotSeriesNode(0).GetTableNode() is panel.parameters().chambersSlices
    panel.click(panel.ui.chambersCompareButton)
    assert panel.messages == [] and cells(panel.ui.chambersTable) == before


def test_copy_export_and_plot(panel, mrmlScene, tmp_path, layoutViews):
    import qt
    import slicer

    _, axes = add_ct(mrmlScene)
    add_box(mrmlScene)
    add_ball(mrmlScene, "Reference", CENTRE + APART * axes[:, 0])
    assert not panel.ui.chambersExportButton.enabled
    segment(panel)
    compare(panel)
    panel.click(panel.ui.chambersCopyButton)
    copied = dict(line.split("\t") for line in qt.QApplication.clipboard().text().splitlines())
    assert copied["CT"] == "CT" and copied["Dice"] == cells(panel.ui.chambersTable)["Dice"][0]
    panel.section.chooseCsv = lambda title: tmp_path / "left.csv"
    panel.click(panel.ui.chambersExportButton)
    with (tmp_path / "left.csv").open(encoding="utf-8", newline="") as file:
        [row] = csv.DictReader(file)
    assert float(row["dice"]) == pytest.approx(results(panel)[0]["dice"], rel=1e-5)
    with (tmp_path / "left_slices.csv").open(encoding="utf-8", newline="") as file:
        slices = list(csv.DictReader(file))
    assert len(slices) == int(float(row["slices"])) and set(slices[0]) == {"slice", "dice"}
    panel.click(panel.ui.chambersPlotButton)
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == panel.parameters().chambersChart.GetID()
    panel.section.chooseCsv = lambda title: None  # cancelled
    panel.click(panel.ui.chambersExportButton)
    assert panel.messages == []


def test_comparisons_stand_side_by_side_and_are_replaced(panel, mrmlScene):
    _, axes = add_ct(mrmlScene)
    add_box(mrmlScene)
    add_ball(mrmlScene, "Reference", CENTRE + APART * axes[:, 0])
    add_ball(mrmlScene, "Second", CENTRE)
    segment(panel)
    for reference in ("Reference", "Second", "Reference"):
        compare(panel, reference)
    assert [row["reference"] for row in results(panel)] == ["Reference", "Second"]
    assert results(panel)[1]["dice"] > 0.97 > results(panel)[0]["dice"]


# Bad input


def bad_reference(scene, kind):
    import slicer

    if kind == "empty":
        scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Reference")
    elif kind == "an empty segment":
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Reference")
        node.GetSegmentation().AddEmptySegment("nothing")
    elif kind == "elsewhere":
        node = add_ball(scene, "Reference", CENTRE)
        matrix = np.eye(4)
        matrix[:3, 3] = 500
        parent_transform(scene, node, matrix=matrix)
    else:
        node = add_grid(scene, "Reference", (2, 2, 2), (20, 20, 20), kind="vtkMRMLLabelMapVolumeNode")[0]
        assert slicer.util.arrayFromVolume(node).sum() == 0
        if kind == "two labels":
            slicer.util.arrayFromVolume(node)[5:8] = 1
            slicer.util.arrayFromVolume(node)[8:12] = 2


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("empty", "The segmentation Reference is empty: draw a segment, or choose another one."),
        ("an empty segment", "The reference Reference marks no voxel of CT: choose the chambers of this patient."),
        ("elsewhere", "The reference Reference marks no voxel of CT: choose the chambers of this patient."),
        ("two labels", "Reference has 2 labels: convert it to a segmentation, and choose one of its segments."),
        ("an empty label map", "The reference Reference marks no voxel of CT: choose the chambers of this patient."),
    ],
)
def test_a_reference_that_marks_nothing(panel, mrmlScene, kind, says):
    add_ct(mrmlScene)
    add_box(mrmlScene)
    bad_reference(mrmlScene, kind)
    segment(panel)
    compare(panel)
    assert panel.messages == [says] and panel.ui.chambersStateLabel.text == says
    assert results(panel) == [] and panel.parameters().chambersAgreement is None


def test_no_overlap_is_said(panel, mrmlScene):
    _, axes = add_ct(mrmlScene)
    add_box(mrmlScene, side=30.0)
    add_ball(mrmlScene, "Reference", CENTRE + 36 * axes[:, 0], 12.0)
    segment(panel)
    compare(panel)
    assert results(panel)[0]["dice"] == 0
    assert panel.ui.chambersStateLabel.text.startswith("The chambers and the reference do not overlap")


def test_a_reference_larger_than_the_volume_is_compared_inside_and_said(panel, mrmlScene):
    """The ball reaches beyond the CT: the share of its caps is told, and the rest compared."""
    add_ct(mrmlScene, shape=(12, 44, 60))  # 37 mm high, of a ball of 48 mm
    add_box(mrmlScene, side=90.0)
    add_ball(mrmlScene, "Reference", CENTRE, spacing=(1.1, 1.1, 0.6), shape=(154, 84, 84))
    segment(panel)
    compare(panel)
    height = RADIUS - 12 * 3.1 / 2
    caps = 2 * math.pi * height**2 * (3 * RADIUS - height) / 3 / SPHERE
    [row] = results(panel)
    assert row["reference_outside_percent"] == pytest.approx(100 * caps, abs=0.1)
    assert row["dice"] > 0.97 and row["volume_error_percent"] < 3
    assert f"{caps:.0%} of the reference lies outside CT and is not compared" in panel.ui.chambersStateLabel.text


def test_a_region_outside_the_volume(panel, mrmlScene):
    add_ct(mrmlScene)
    add_box(mrmlScene, centre=CENTRE + 900)
    panel.choose(panel.ui.chambersVolumeSelector, "CT")
    panel.choose(panel.ui.chambersRegionSelector, "Box")
    panel.process(0.1)
    says = "The heart region Box holds no voxel of CT: move or redraw it."
    assert panel.ui.chambersStateLabel.text == says  # at once, by the preview
    panel.click(panel.ui.chambersSegmentButton)
    assert panel.messages == [says] and panel.parameters().chambersOutput is None


def test_no_heart_is_found_in_something_else(panel, mrmlScene):
    add_ct(mrmlScene)
    panel.choose(panel.ui.chambersVolumeSelector, "CT")
    panel.click(panel.ui.chambersProposeButton)
    assert len(panel.messages) == 1 and "no lungs" in panel.messages[0] and panel.parameters().chambersRegion is None


def test_a_threshold_that_nothing_reaches(panel, mrmlScene):
    add_ct(mrmlScene)
    add_box(mrmlScene)
    panel.ui.chambersThresholdSlider.value = 700
    assert segment(panel) is None
    assert panel.messages == ["Nothing in the heart reaches 700 HU: lower the threshold, or check the contrast."]


def test_the_segmentation_is_never_the_region_or_the_reference(panel, mrmlScene):
    add_ct(mrmlScene)
    region = add_ball(mrmlScene, "Region", CENTRE)
    panel.choose(panel.ui.chambersOutputSelector, "Region")
    segment(panel, region="Region")
    assert "is the heart region itself" in panel.messages[0]
    assert region.GetSegmentation().GetNumberOfSegments() == 1
    panel.messages.clear()
    compare(panel, "Region")
    assert "is the segmentation of the chambers itself" in panel.messages[0]


@pytest.mark.parametrize("name", ["CT", "Region", "Reference", "chambers"])
def test_a_node_that_is_removed_while_in_use(panel, mrmlScene, name):
    """It is said which, the rest goes on, and what needs it is disabled with the reason."""
    import slicer

    _, axes = add_ct(mrmlScene)
    add_ball(mrmlScene, "Region", CENTRE, 40.0)
    add_ball(mrmlScene, "Reference", CENTRE + APART * axes[:, 0])
    output = segment(panel, region="Region")
    compare(panel)
    panel.choose(panel.ui.chambersShowComboBox, "Live preview of the threshold")
    panel.process(0.1)
    node = output if name == "chambers" else slicer.util.getNode(name)
    said = node.GetName()
    mrmlScene.RemoveNode(node)
    panel.process(0.1)
    assert panel.ui.chambersStateLabel.text == f"{said} was removed from the scene: choose another."
    assert panel.messages == []
    needs = {"CT": "Segment", "Region": "Segment", "Reference": "Compare", "chambers": "Compare"}[name]
    button = getattr(panel.ui, f"chambers{needs}Button")
    assert not button.enabled and "hoose" in button.toolTip
    assert len(results(panel)) == 1
    if name == "CT":
        assert [one for one in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if one.GetHideFromEditors()] == []


def test_a_chosen_segment_that_is_gone(panel, mrmlScene):
    add_ct(mrmlScene)
    node = add_ball(mrmlScene, "Region", CENTRE)
    node.GetSegmentation().AddEmptySegment("second", "second")
    panel.choose(panel.ui.chambersVolumeSelector, "CT")
    panel.choose(panel.ui.chambersRegionSelector, "Region")
    panel.choose(panel.ui.chambersRegionSegmentComboBox, "second")
    node.GetSegmentation().RemoveSegment("second")
    panel.click(panel.ui.chambersSegmentButton)
    assert panel.messages == ["The chosen segment of Region is gone: choose another one."]


def test_closing_the_scene_leaves_nothing(panel, mrmlScene):
    add_ct(mrmlScene)
    add_box(mrmlScene)
    segment(panel)
    panel.choose(panel.ui.chambersShowComboBox, "Live preview of the threshold")
    panel.process(0.1)
    panel.closeScene()
    panel.process(0.1)
    assert panel.ui.chambersVolumeSelector.currentNode() is None and panel.messages == []
    assert panel.ui.chambersStateLabel.text == "Choose the CT first."


def test_every_control_says_what_it_does(panel):
    controls = {name: one for name, one in vars(panel.ui).items() if name.startswith("chambers")}
    controls = {name: one for name, one in controls.items() if not name.startswith("chambersSection")}
    assert len(controls) > 20
    assert [name for name, one in controls.items() if hasattr(one, "toolTip") and not one.toolTip] == []


def test_the_self_test_of_the_module(panel, mrmlScene):
    import unittest

    module = __import__(MODULE)
    suite = unittest.TestSuite([module.SyntheticContrastAnalysisTest("runTest")])
    result = unittest.TestResult()
    suite.run(result)
    assert result.wasSuccessful(), (result.errors + result.failures)[0][1]
