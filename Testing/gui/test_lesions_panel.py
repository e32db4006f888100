"""The section "Lesion CNR" of module 2: a lesion drawn, dragged, measured and saved, and all that can be wrong."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from unit import entry
from views.factory import ijk_to_ras, parent_transform

MODULE = "SyntheticContrastAnalysis"
MEASURE = Path(entry.GENERATE).with_name("measure.py")
SHAPE, SPACING = (40, 160, 160), (6.0, 2.2, 2.2)


@pytest.fixture(scope="module")
def phantom():
    from SyntheticContrastLib.ct.phantom import thorax_phantom

    return thorax_phantom(SHAPE, SPACING)


@pytest.fixture
def opened(modulePanel, mrmlScene, layoutViews, phantom):
    """The panel with the phantom's NCCT and CECT, which are shown side by side at the slice of the lymph node."""
    from SyntheticContrastLib.scene.sample import addCT

    panel = modulePanel(MODULE)
    panel.lesions = panel.widget.panels["lesions"]
    hus = {"NCCT": phantom.ncct, "CECT": phantom.cect}
    panel.volumes = {name: addCT(mrmlScene, phantom.volume(hu), hu, name) for name, hu in hus.items()}
    panel.choose(panel.ui.lesionsNcctSelector, "NCCT")
    panel.choose(panel.ui.lesionsCectSelector, "CECT")
    settle(panel)
    panel.click(panel.ui.lesionsShowButton)
    panel.process(0.25)
    z, y, x = np.argwhere(phantom.mask("lymph_node")).mean(axis=0).round()
    panel.node = (ijk_to_ras(panel.volumes["CECT"]) @ [x, y, SHAPE[0] - 1 - z, 1])[:3]
    panel.lesions.comparison.setOffset(panel.node[2])
    panel.views = layoutViews.shown()
    return panel


@pytest.fixture
def measured(opened):
    """The same with a lesion that was drawn; the views are zoomed in on it."""
    draw(opened, opened.node)
    zoom(opened, opened.node)
    return opened


def settle(panel):
    panel.waitFor(lambda: not panel.lesions.timer.active)


def draw(panel, middle, half=5.0, view=1):
    panel.click(panel.ui.lesionsDrawButton)
    for offset in (-half, half):
        pixel = panel.views[view].to_pixel(np.add(middle, (offset, 0, 0)))
        panel.views[view].press(pixel)
        panel.views[view].release(pixel)
    panel.process(0.05)
    settle(panel)


def zoom(panel, place, field=60.0):
    """Let `field` mm around a place fill the first view, as with the mouse; the others are linked."""
    for view in panel.views:
        width, height, _ = view.node.GetDimensions()
        view.node.SetFieldOfView(field, field * height / width, view.node.GetFieldOfView()[2])
        view.node.JumpSliceByCentering(*place)


def current(panel):
    return panel.lesions.current()


def drag(panel, role, end, by, view=0):
    """Drag the centre (0) or the rim (1) of a circle by so many mm with the mouse."""
    place = current(panel).ends(role)[end]
    zoom(panel, place)
    panel.views[view].drag(panel.views[view].to_pixel(place), panel.views[view].to_pixel(place + by))
    panel.process(0.05)
    settle(panel)


def texts(table):
    return [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]


def sceneTable(name="Lesion CNR"):
    """Rows of the MRML table, by (lesion, volume)."""
    import slicer

    table, rows = slicer.util.getNode(name).GetTable(), {}
    for number in range(table.GetNumberOfRows()):
        row = {}
        for column in range(table.GetNumberOfColumns()):
            value = table.GetValue(number, column)
            row[table.GetColumnName(column)] = value.ToString() if value.IsString() else value.ToDouble()
        rows[row["lesion"], row["volume"]] = row
    return rows


def chosen(panel, combo, text):
    panel.choose(combo, text)
    settle(panel)


def byHand(panel, role, volume):
    """Mean, SD and number of the voxels of the slice whose centres lie in a circle: plain numpy on the stored array."""
    import slicer

    node = panel.volumes[volume]
    centre, rim = current(panel).ends(role)
    values = slicer.util.arrayFromVolume(node).astype(float)
    k, j, i = np.indices(values.shape)
    places = np.stack([i, j, k], -1) @ ijk_to_ras(node)[:3, :3].T + ijk_to_ras(node)[:3, 3]
    inside = np.linalg.norm((places - centre)[..., :2], axis=-1) <= np.linalg.norm(rim - centre)
    inside &= np.abs(places[..., 2] - centre[2]) < 1e-3
    return values[inside].mean(), values[inside].std(ddof=1), inside.sum()


def checkedByHand(panel, row, volume):
    for role in ("lesion", "aorta", "fat right", "fat left"):
        name = role.replace(" ", "_")
        mean, sd, voxels = byHand(panel, role, volume)
        assert (row[f"{name}_mean_hu"], row[f"{name}_sd_hu"]) == pytest.approx((mean, sd), rel=1e-9)
        assert row[f"{name}_voxels"] == voxels
    noise = math.sqrt((row["fat_right_sd_hu"] ** 2 + row["fat_left_sd_hu"] ** 2) / 2)
    assert row["noise_hu"] == pytest.approx(noise)
    assert row["cnr"] == pytest.approx(abs(row["aorta_mean_hu"] - row["lesion_mean_hu"]) / noise)


# A lesion, as a reader measures it


def test_every_control_says_what_it_does(opened):
    controls = opened.controls()
    assert len(controls) >= 18
    names = ("lesionsTable", "lesionsRoiTable", "lesionsNcctSelector", "lesionsScectSelector", "lesionsCectSelector")
    controls |= {name: getattr(opened.ui, name) for name in names}
    assert [name for name, widget in controls.items() if not widget.toolTip] == []


def test_without_volumes_nothing_can_be_done_and_each_button_says_why(modulePanel):
    panel = modulePanel(MODULE)
    ui = panel.ui
    assert "Choose the CECT" in ui.lesionsStateLabel.text
    for name in ("Draw", "Add", "GoTo", "Remove", "Propose", "Middle", "Equal", "Copy", "Plot", "Export", "Show"):
        button = getattr(ui, f"lesions{name}Button")
        assert not button.enabled and ("Choose" in button.toolTip or "no lesion" in button.toolTip), name


def test_a_ruler_becomes_four_circles_that_are_measured_in_every_volume(measured):
    lesion = current(measured)
    assert lesion.name == "Lesion 1"
    line = lesion.ruler
    assert lesion.shortAxis == pytest.approx(line.GetLineLengthWorld()) == pytest.approx(10, abs=2)
    diameters = [circle.diameter for circle in lesion.circles().values()]
    assert diameters == pytest.approx([0.9 * lesion.shortAxis] * 4)
    ends = [np.array(line.GetNthControlPointPositionWorld(index)) for index in range(2)]
    np.testing.assert_allclose(lesion.ends("lesion")[0], sum(ends) / 2, atol=1e-6)
    rows = sceneTable()
    assert list(rows) == [("Lesion 1", "NCCT"), ("Lesion 1", "CECT")]
    for volume in ("NCCT", "CECT"):
        checkedByHand(measured, rows["Lesion 1", volume], volume)
        assert rows["Lesion 1", volume]["warnings"] == rows["Lesion 1", volume]["error"] == ""
    assert rows["Lesion 1", "CECT"]["aorta_mean_hu"] == pytest.approx(350, abs=15)  # as the phantom is painted
    assert rows["Lesion 1", "NCCT"]["aorta_mean_hu"] == pytest.approx(40, abs=15)
    cect = rows["Lesion 1", "CECT"]
    [shown] = texts(measured.ui.lesionsTable)
    assert shown == [
        "Lesion 1",
        f"{lesion.shortAxis:.1f}",
        f"{rows['Lesion 1', 'NCCT']['cnr']:.2f}",
        f"{cect['cnr']:.2f}",
    ]
    cells = texts(measured.ui.lesionsRoiTable)
    assert cells[1][1] == f"{cect['aorta_mean_hu']:.1f} ± {cect['aorta_sd_hu']:.1f} ({cect['aorta_voxels']:.0f})"
    assert cells[4][1] == f"{cect['noise_hu']:.1f}" and cells[5][1] == f"{cect['cnr']:.2f}"
    assert not measured.ui.lesionsCheckLabel.visible


def test_a_rim_dragged_in_one_view_is_followed_by_circles_and_tables(measured):
    zoom(measured, current(measured).ends("aorta")[0])
    before, shown = sceneTable(), texts(measured.ui.lesionsRoiTable)
    pictures = [view.grab() for view in measured.views]
    centre, rim = current(measured).ends("aorta")
    drag(measured, "aorta", 1, (rim - centre) * 0.6)
    diameter = current(measured).circle("aorta").diameter
    assert diameter == pytest.approx(1.6 * before["Lesion 1", "CECT"]["diameter_mm"], rel=0.1)
    zoom(measured, centre)
    outline = current(measured).outline("aorta")
    points = np.array([outline.GetNthControlPointPositionWorld(i) for i in range(outline.GetNumberOfControlPoints())])
    np.testing.assert_allclose(np.linalg.norm(points - centre, axis=1), diameter / 2, atol=1e-6)
    for view, picture in zip(measured.views, pictures, strict=True):  # drawn in both
        changed = np.argwhere((view.grab() != picture).any(axis=-1))
        assert len(changed) > 50
    rows = sceneTable()
    for volume in ("NCCT", "CECT"):
        checkedByHand(measured, rows["Lesion 1", volume], volume)
        assert rows["Lesion 1", volume]["aorta_voxels"] > 1.8 * before["Lesion 1", volume]["aorta_voxels"]
        assert rows["Lesion 1", volume]["lesion_mean_hu"] == before["Lesion 1", volume]["lesion_mean_hu"]
    assert texts(measured.ui.lesionsRoiTable)[1] != shown[1]
    assert "differ in size" in measured.ui.lesionsCheckLabel.text
    measured.click(measured.ui.lesionsEqualButton)
    assert "differ" not in measured.ui.lesionsCheckLabel.text
    assert current(measured).circle("aorta").diameter == pytest.approx(before["Lesion 1", "CECT"]["diameter_mm"])


def test_a_centre_takes_its_rim_along_and_a_fat_circle_in_muscle_is_told(measured):
    circle, (centre, rim) = current(measured).circle("fat right"), current(measured).ends("fat right")
    drag(measured, "fat right", 0, np.array((-6.0, -14, 0)), view=1)
    moved = current(measured).ends("fat right")
    assert np.linalg.norm(moved[0] - centre) > 12
    np.testing.assert_allclose(moved[1] - moved[0], rim - centre, atol=1e-6)
    assert current(measured).circle("fat right").diameter == pytest.approx(circle.diameter)
    assert "of the circle is not fat" in measured.ui.lesionsCheckLabel.text
    checkedByHand(measured, sceneTable()["Lesion 1", "CECT"], "CECT")


def test_circles_in_wrong_places_are_told(measured):
    lesion = current(measured)
    for role, by, says in (
        ("aorta", (-10.0, 0, 0), "CECT: Aorta: the circle touches the wall"),
        ("aorta", (0.0, 150, 0), "Aorta: the circle is not in blood"),
        ("fat left", (-30.0, 0, 0), "NCCT, CECT: Fat left: the circle leaves the body"),
        ("fat left", (-300.0, 0, 0), "NCCT, CECT: Fat left: the circle of 9.1 mm lies outside the volume"),
    ):
        place, diameter = lesion.ends(role)[0], lesion.circle(role).diameter
        lesion.place(role, place + by, diameter)
        settle(measured)
        assert says in measured.ui.lesionsCheckLabel.text
        lesion.place(role, place, diameter)
        settle(measured)
        assert measured.ui.lesionsCheckLabel.text == ""


def test_dragged_in_a_coronal_view_a_circle_stays_on_its_slice(measured):
    lesion = current(measured)
    before = lesion.ends("aorta")
    measured.lesions.comparison.setOrientation("Coronal")
    drag(measured, "aorta", 0, np.array((6.0, 0, 20)))
    centre, rim = lesion.ends("aorta")
    assert centre[0] != pytest.approx(before[0][0], abs=2)
    assert (centre[2], rim[2]) == pytest.approx((before[0][2],) * 2)
    np.testing.assert_allclose(rim - centre, before[1] - before[0], atol=1e-6)


def test_the_ruler_goes_on_to_set_size_and_slice(measured):
    lesion = current(measured)
    assert (
        not measured.ui.lesionsMeasuredAxisSlider.enabled and "ruler" in measured.ui.lesionsMeasuredAxisSlider.toolTip
    )
    aorta = lesion.ends("aorta")[0]
    for index, x in enumerate((-8.0, 8.0)):
        lesion.ruler.SetNthControlPointPositionWorld(index, *(np.add(measured.node, (x, 0, 6))))  # the next slice
    settle(measured)
    assert lesion.shortAxis == pytest.approx(16)
    assert [c.diameter for c in lesion.circles().values()] == pytest.approx([14.4] * 4)
    np.testing.assert_allclose(lesion.ends("lesion")[0], np.add(measured.node, (0, 0, 6)), atol=1e-6)
    np.testing.assert_allclose(lesion.ends("aorta")[0], np.add(aorta, (0, 0, 6)), atol=1e-6)
    lesion.ruler.SetNthControlPointPositionWorld(0, *(np.add(measured.node, (-8, 0, 12))))
    settle(measured)
    assert "not on one axial slice" in measured.ui.lesionsStateLabel.text


def test_a_ruler_that_is_given_up_leaves_nothing(opened):
    import slicer

    nodes = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsNode")
    opened.click(opened.ui.lesionsDrawButton)
    assert opened.ui.lesionsDrawButton.text == "Cancel" and "Escape" in opened.ui.lesionsStateLabel.text
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)  # what Escape does
    settle(opened)
    assert opened.ui.lesionsDrawButton.text == "Draw the short axis"
    opened.click(opened.ui.lesionsDrawButton)
    opened.click(opened.ui.lesionsDrawButton)
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    opened.click(opened.ui.lesionsDrawButton)
    opened.widget.exit()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsNode") == nodes
    assert opened.lesions.lesions == []


def test_a_typed_short_axis_in_the_middle_of_the_view(opened):
    ui = opened.ui
    zoom(opened, opened.node)
    ui.lesionsShortAxisSlider.value = 8
    opened.click(ui.lesionsAddButton)
    lesion = current(opened)
    assert lesion.shortAxis == 8 and lesion.ruler is None and lesion.circle("lesion").diameter == pytest.approx(7.2)
    np.testing.assert_allclose(lesion.ends("lesion")[0], opened.node, atol=0.5)
    assert set(lesion.circles()) == {"lesion", "aorta", "fat right", "fat left"}
    ui.lesionsMeasuredAxisSlider.value = 10
    assert [c.diameter for c in lesion.circles().values()] == pytest.approx([9.0] * 4)
    chosen(opened, ui.lesionsRoleComboBox, "Aorta")
    ui.lesionsDiameterSlider.value = 12
    settle(opened)
    assert lesion.circle("aorta").diameter == pytest.approx(12)
    assert lesion.circle("lesion").diameter == pytest.approx(9)
    place = lesion.ends("aorta")[0]
    opened.click(ui.lesionsMiddleButton)
    np.testing.assert_allclose(lesion.ends("aorta")[0], opened.node, atol=0.5)
    opened.click(ui.lesionsProposeButton)
    np.testing.assert_allclose(lesion.ends("aorta")[0], place, atol=1e-6)
    chosen(opened, ui.lesionsRoleComboBox, "Lesion")
    assert not ui.lesionsProposeButton.enabled


def test_where_the_image_shows_no_place_the_circle_is_not_forced(opened):
    ui = opened.ui
    chosen(opened, ui.lesionsCectSelector, "None")  # without contrast there is no aorta to be seen
    opened.click(ui.lesionsAddButton)
    assert "No place was found for: aorta" in ui.lesionsStateLabel.text
    lesion = current(opened)
    assert "aorta" not in lesion.circles()
    assert "aorta is missing" in ui.lesionsCheckLabel.text and texts(ui.lesionsTable)[0][2] == "–"
    chosen(opened, ui.lesionsRoleComboBox, "Aorta")
    assert not ui.lesionsDiameterSlider.enabled
    opened.click(ui.lesionsProposeButton)
    assert "No place was found for aorta" in ui.lesionsStateLabel.text
    opened.click(ui.lesionsMiddleButton)
    assert lesion.circle("aorta").diameter == pytest.approx(9) and "missing" not in ui.lesionsCheckLabel.text


def test_without_scikit_image_the_reader_places_the_circles(opened, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "skimage.morphology", None)
    opened.click(opened.ui.lesionsAddButton)
    assert "Lesion 1 was added. The Python package skimage.morphology is missing" in opened.ui.lesionsStateLabel.text
    assert set(current(opened).circles()) == {"lesion"}
    chosen(opened, opened.ui.lesionsRoleComboBox, "Aorta")
    opened.click(opened.ui.lesionsMiddleButton)
    assert set(current(opened).circles()) == {"lesion", "aorta"}


# Several lesions


def test_add_rename_go_to_and_remove(measured, mrmlScene):
    import qt
    from PySide6 import QtTest

    ui = measured.ui
    draw(measured, np.add(measured.node, (3, 4, 0)), half=4)
    assert [row[0] for row in texts(ui.lesionsTable)] == ["Lesion 1", "Lesion 2"]
    assert current(measured).name == "Lesion 2" and ui.lesionsTable.currentRow() == 1

    def rename(name):
        measured.type(ui.lesionsNameEdit, name)
        QtTest.QTest.keyClick(ui.lesionsNameEdit, qt.Qt.Key_Return)
        settle(measured)

    rename("Lesion 1")
    assert "Another lesion is named Lesion 1" in ui.lesionsStateLabel.text and current(measured).name == "Lesion 2"
    rename("4R")
    lesion = current(measured)
    assert [row[0] for row in texts(ui.lesionsTable)] == ["Lesion 1", "4R"]
    assert lesion.outline("aorta").GetName() == "4R aorta" and lesion.node.GetNthControlPointLabel(3) == "4R"
    assert ("4R", "CECT") in sceneTable()

    ui.lesionsTable.selectRow(0)
    settle(measured)
    assert current(measured).name == "Lesion 1" and ui.lesionsNameEdit.text == "Lesion 1"
    measured.lesions.comparison.setOffset(measured.node[2] + 30)
    measured.click(ui.lesionsGoToButton)
    assert [view.offset for view in measured.views] == pytest.approx([measured.node[2]] * 2)

    markups = mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsNode")
    measured.click(ui.lesionsRemoveButton)
    assert mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsNode") == markups - 6  # with outlines and ruler
    assert [row[0] for row in texts(ui.lesionsTable)] == ["4R"] and "Lesion 1 was removed" in ui.lesionsStateLabel.text
    assert list(sceneTable()) == [("4R", "NCCT"), ("4R", "CECT")]
    measured.click(ui.lesionsRemoveButton)
    assert texts(ui.lesionsTable) == [] and sceneTable() == {} and not ui.lesionsGoToButton.enabled


def test_a_lesion_cloned_in_the_data_module_has_circles_of_its_own(measured, mrmlScene):
    import slicer

    original = current(measured)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(mrmlScene)
    item = hierarchy.GetItemByDataNode(original.node)
    assert slicer.vtkSlicerSubjectHierarchyModuleLogic.CloneSubjectHierarchyItem(hierarchy, item, "copy")
    settle(measured)
    first, second = measured.lesions.lesions
    assert (first.name, second.name) == ("Lesion 1", "copy") and second.ruler is None
    assert first.outline("aorta") is not second.outline("aorta")
    assert second.outline("aorta").GetName() == "copy aorta" and first.outline("aorta").GetName() == "Lesion 1 aorta"
    assert sceneTable()["copy", "CECT"]["cnr"] == sceneTable()["Lesion 1", "CECT"]["cnr"]


def test_a_removal_can_be_undone(measured, mrmlScene):
    mrmlScene.SetUndoOn()
    before, circles = sceneTable(), current(measured).circles()
    measured.click(measured.ui.lesionsRemoveButton)
    assert sceneTable() == {}
    mrmlScene.Undo()
    settle(measured)
    assert sceneTable() == before
    lesion = current(measured)
    for role, circle in lesion.circles().items():
        assert circle.centre == pytest.approx(circles[role].centre)
        assert lesion.outline(role).GetDisplayNode().GetVisibility()
    drag(measured, "aorta", 0, np.array((4.0, 0, 0)))
    assert sceneTable()["Lesion 1", "CECT"]["aorta_mean_hu"] != before["Lesion 1", "CECT"]["aorta_mean_hu"]
    assert lesion.ruler.GetNumberOfDefinedControlPoints() == 2


# Geometry


def test_oblique_volumes_under_transforms_are_measured_at_the_same_place(measured, mrmlScene):
    """Turn voxel grids one way and the parent transform the other: the place in the world, and the numbers, stay."""
    import slicer

    before = sceneTable()
    for degrees, name in ((4.0, "NCCT"), (-25.0, "CECT")):
        a = math.radians(degrees)
        turn = np.eye(4)
        turn[:3, :3] = [[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]]
        turn[:3, 3] = (40, -25, 13)
        node = measured.volumes[name]
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.linalg.inv(turn) @ ijk_to_ras(node)))
        parent_transform(mrmlScene, node, matrix=turn)
    settle(measured)
    after = sceneTable()
    for key, row in before.items():
        assert after[key] == {
            name: pytest.approx(v, rel=1e-6) if isinstance(v, float) else v for name, v in row.items()
        }


def test_a_lesion_on_a_tilted_ct_lies_on_its_slice_and_the_views_turn_to_it(opened, mrmlScene):
    """The whole patient is turned: circles lie on the slices of the CECT, and hold the same voxels as untilted."""
    ui = opened.ui
    zoom(opened, opened.node)
    opened.click(ui.lesionsAddButton)
    upright = sceneTable()
    opened.click(ui.lesionsRemoveButton)
    a = math.radians(20)
    turn = np.eye(4)
    turn[:3, :3] = [[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]]
    for name, node in opened.volumes.items():
        parent_transform(mrmlScene, node, matrix=turn).SetName(name)
    settle(opened)
    place = turn[:3, :3] @ opened.node
    for view in opened.views:
        view.node.JumpSliceByCentering(*place)
    opened.click(ui.lesionsAddButton)
    lesion = current(opened)
    np.testing.assert_allclose(np.abs(lesion.normal), np.abs(turn[:3, 2]), atol=1e-9)
    np.testing.assert_allclose(np.linalg.inv(turn[:3, :3]) @ lesion.ends("lesion")[0], opened.node, atol=1.5)
    tilted = sceneTable()["Lesion 1", "CECT"]
    for name in ("aorta", "fat_right", "fat_left"):
        for what in ("mean_hu", "sd_hu", "voxels"):
            assert tilted[f"{name}_{what}"] == pytest.approx(upright["Lesion 1", "CECT"][f"{name}_{what}"])
    opened.click(ui.lesionsGoToButton)
    for view in opened.views:
        facing = np.array([view.node.GetSliceToRAS().GetElement(row, 2) for row in range(3)])
        assert abs(facing @ lesion.normal) == pytest.approx(1)
        assert view.node.GetSliceToRAS().GetElement(0, 0) == pytest.approx(-1)  # the patient's right stays on the left


def test_a_volume_on_another_grid_is_measured_at_the_same_place(measured, mrmlScene, phantom):
    """A CT of half the field and twice the voxels: the values are constant in places, so the means must agree."""
    import slicer

    from views.factory import add_volume

    place = measured.node
    small = np.full((30, 60, 70), 12, np.int16)
    small[:, :, 35:] = 88
    other = add_volume(mrmlScene, small, "other", (1.3, 1.9, 2.5))
    matrix = ijk_to_ras(other)
    matrix[:3, 3] = place - matrix[:3, :3] @ [34.5, 30, 15]
    other.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    lesion = current(measured)
    for role in ("aorta", "fat right", "fat left"):
        lesion.place(role, np.add(place, (15, 0, 0)), 12)
    lesion.place("lesion", place, 12)
    chosen(measured, measured.ui.lesionsScectSelector, "other")
    settle(measured)
    row = sceneTable()["Lesion 1", "sCECT"]
    assert "no noise" in row["error"]  # it is flat
    small[:, ::2] += 1
    slicer.util.updateVolumeFromArray(other, small)
    settle(measured)
    row = sceneTable()["Lesion 1", "sCECT"]
    assert row["lesion_mean_hu"] == pytest.approx(50, abs=3)  # half of either
    assert row["aorta_mean_hu"] == pytest.approx(12.5, abs=0.1)  # every other row is 13
    assert row["aorta_voxels"] == pytest.approx(math.pi * 36 / (1.3 * 1.9), rel=0.05)


# Saving


def save(scene, folder):
    import slicer

    folder.mkdir()
    assert slicer.app.applicationLogic().SaveSceneToSlicerDataBundleDirectory(str(folder), None)
    [path] = folder.glob("*.mrml")
    return path


def test_a_saved_scene_brings_the_tool_back_as_it_was(measured, mrmlScene, tmp_path):
    from SyntheticContrastLib.analysis.markups import read_lesions

    lesion = current(measured)
    lesion.rename("4R ä")
    chosen(measured, measured.ui.lesionsRoleComboBox, "Fat, left")
    for index in (4, 5):
        lesion.node.UnsetNthControlPointPosition(index)
    settle(measured)
    measured.click(measured.ui.lesionsPlotButton)
    shown, label = texts(measured.ui.lesionsTable), measured.ui.lesionsCheckLabel.text
    assert "fat right is missing" in label
    circles, names = lesion.circles(), {node.GetName() for node in markups(mrmlScene)}
    path = save(mrmlScene, tmp_path / "saved")
    [own] = [
        path
        for path in (tmp_path / "saved").rglob("*.mrk.json")
        if json.loads(path.read_text(encoding="utf-8"))["markups"][0]["type"] == "Fiducial"
    ]
    assert read_lesions(own)["4R ä"]["aorta"].diameter == pytest.approx(circles["aorta"].diameter)

    measured.closeScene()
    assert texts(measured.ui.lesionsTable) == [] and measured.lesions.volumes() == {}
    mrmlScene.SetURL(str(path))
    assert mrmlScene.Connect()
    measured.process(0.1)
    assert texts(measured.ui.lesionsTable) == shown and measured.ui.lesionsCheckLabel.text == label
    assert {node.GetName() for node in markups(mrmlScene)} == names
    again = current(measured)
    assert list(again.circles()) == list(circles)
    for role, circle in circles.items():
        assert again.circle(role).centre == pytest.approx(circle.centre)
        assert again.circle(role).diameter == pytest.approx(circle.diameter)
    assert measured.ui.lesionsRoleComboBox.currentText == "Fat, left" and again.ruler is not None
    assert measured.lesions.parameters.lesionChart.GetNumberOfPlotSeriesNodes() == 2
    measured.lesions.comparison.leave()
    measured.click(measured.ui.lesionsShowButton)
    measured.process(0.25)
    import slicer

    measured.views = slicer.app.layoutManager().shown()
    before = sceneTable()["4R ä", "CECT"]
    drag(measured, "aorta", 0, np.array((5.0, 0, 0)))
    assert again.outline("aorta").GetNthControlPointPositionWorld(0)[0] == pytest.approx(
        again.ends("aorta")[0][0] + again.circle("aorta").diameter / 2
    )
    assert before["error"] == sceneTable()["4R ä", "CECT"]["error"] != ""


def markups(scene):
    import slicer

    return slicer.util.getNodesByClass("vtkMRMLMarkupsNode", scene)


# Files and results


def test_measure_py_finds_the_same_numbers_in_the_exported_circles(measured, tmp_path, capsys):
    import SimpleITK
    import slicer

    ui = measured.ui
    draw(measured, np.add(measured.node, (2, 3, 0)), half=4)
    drag(measured, "aorta", 1, np.array((2.0, 0, 0)))
    measured.lesions.chooseFileToSave = lambda title, kinds: str(tmp_path / "out.mrk.json")
    measured.click(ui.lesionsExportButton)
    assert ui.lesionsStateLabel.text == "Saved: out.mrk.json, out.csv."
    for name, node in measured.volumes.items():
        image = SimpleITK.GetImageFromArray(slicer.util.arrayFromVolume(node))
        lps = np.diag([-1, -1, 1, 1]) @ ijk_to_ras(node)
        image.SetSpacing(node.GetSpacing())
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetDirection((lps[:3, :3] / node.GetSpacing()).ravel().tolist())
        SimpleITK.WriteImage(image, str(tmp_path / f"{name}.nrrd"))
    volumes = [part for name in ("NCCT", "CECT") for part in ("--volume", f"{name}={tmp_path / name}.nrrd")]
    arguments = ["cnr", "--markups", tmp_path / "out.mrk.json", *volumes, "--output", tmp_path / "cli.csv"]
    done = entry.call(MEASURE, arguments, capsys)
    assert (done.status, done.err) == (0, "")
    tables = []
    for name in ("out.csv", "cli.csv"):
        with (tmp_path / name).open(encoding="utf-8", newline="") as file:
            tables.append(list(csv.DictReader(file)))
    assert tables[0] == tables[1] and len(tables[0]) == 4
    panel = sceneTable()["Lesion 2", "CECT"]
    assert float(tables[1][3]["cnr"]) == pytest.approx(panel["cnr"], rel=1e-5)
    assert "differ in size" in tables[1][3]["warnings"] and tables[1][3]["warnings"] == panel["warnings"]

    parent_transform(slicer.mrmlScene, measured.volumes["NCCT"])
    settle(measured)
    measured.click(ui.lesionsExportButton)
    assert "NCCT: harden the transform" in ui.lesionsStateLabel.text


def test_import_brings_circles_back(measured, tmp_path):
    ui = measured.ui
    circles, rows = current(measured).circles(), sceneTable()
    measured.lesions.chooseFileToSave = lambda title, kinds: str(tmp_path / "out")
    measured.click(ui.lesionsExportButton)
    measured.lesions.chooseFileToOpen = lambda title, kinds: str(tmp_path / "out.mrk.json")
    measured.click(ui.lesionsImportButton)
    assert ui.lesionsStateLabel.text == "Read: Lesion 1 1."
    measured.click(ui.lesionsRemoveButton)
    measured.click(ui.lesionsRemoveButton)
    measured.click(ui.lesionsImportButton)
    assert current(measured).name == "Lesion 1"
    for role, circle in current(measured).circles().items():
        assert circle.centre == pytest.approx(circles[role].centre)
        assert circle.diameter == pytest.approx(circles[role].diameter)
    assert sceneTable()["Lesion 1", "CECT"]["cnr"] == pytest.approx(rows["Lesion 1", "CECT"]["cnr"])
    (tmp_path / "out.mrk.json").write_text("{}")
    measured.click(ui.lesionsImportButton)
    assert "no markups file" in ui.lesionsStateLabel.text
    measured.lesions.chooseFileToSave = measured.lesions.chooseFileToOpen = lambda title, kinds: ""
    measured.click(ui.lesionsImportButton)
    measured.click(ui.lesionsExportButton)
    assert len(measured.lesions.lesions) == 1


def test_plot_and_copy(measured, layoutViews):
    import qt
    import slicer

    ui = measured.ui
    draw(measured, np.add(measured.node, (2, 3, 0)), half=4)
    measured.click(ui.lesionsPlotButton)
    assert not measured.lesions.comparison.isShown
    chart = measured.lesions.parameters.lesionChart
    view = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLPlotViewNode")
    assert view.GetPlotChartNodeID() == chart.GetID()
    assert "vtkMRMLPlotViewNode" in layoutViews.layout_node.GetCurrentLayoutDescription()
    series = [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [one.GetName() for one in series] == ["NCCT", "CECT"]
    for one in series:
        table = one.GetTableNode().GetTable()
        labels, bars = table.GetColumnByName(one.GetLabelColumnName()), table.GetColumnByName(one.GetYColumnName())
        rows = sceneTable()
        for number, name in enumerate(("Lesion 1", "Lesion 2")):
            assert labels.GetValue(number) == name
            assert bars.GetValue(number) == rows[name, one.GetName()]["cnr"]
    current(measured).resize("aorta", 5.0)
    settle(measured)
    bars = series[1].GetTableNode().GetTable().GetColumnByName("CECT")
    assert bars.GetValue(1) == sceneTable()["Lesion 2", "CECT"]["cnr"] != rows["Lesion 2", "CECT"]["cnr"]

    measured.click(ui.lesionsCopyButton)
    lines = [line.split("\t") for line in qt.QApplication.clipboard().text().split("\n")]
    assert lines[0][:2] == ["lesion", "volume"] and lines[4][:2] == ["Lesion 2", "CECT"]
    assert float(lines[4][lines[0].index("cnr")]) == sceneTable()["Lesion 2", "CECT"]["cnr"]
    assert {len(line) for line in lines} == {len(lines[0])}


# What can be wrong


def test_a_circle_that_holds_nothing_is_told(measured):
    lesion = current(measured)
    centre, _rim = lesion.ends("lesion")
    lesion.place("lesion", np.add(centre, (1.1, 1.1, 0)), 0.2)
    settle(measured)
    assert "Lesion: the circle of 0.2 mm holds the centre of no voxel" in measured.ui.lesionsCheckLabel.text
    lesion.node.SetNthControlPointPositionWorld(1, *lesion.ends("lesion")[0])
    settle(measured)
    assert "Lesion: a circle of 0 mm holds nothing" in measured.ui.lesionsCheckLabel.text
    assert sceneTable()["Lesion 1", "CECT"]["error"].startswith("lesion: a circle of 0 mm")
    measured.click(measured.ui.lesionsEqualButton)
    assert "holds" not in measured.ui.lesionsCheckLabel.text


def test_volumes_that_cannot_be_measured_are_told(measured, mrmlScene):
    import slicer
    import vtk

    ui = measured.ui
    empty = mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    chosen(measured, ui.lesionsScectSelector, "empty")
    assert "sCECT: Empty has no voxels" in ui.lesionsCheckLabel.text
    assert not measured.lesions.comparison.isShown
    assert not ui.lesionsShowButton.enabled and "empty has no voxels" in ui.lesionsShowButton.toolTip
    mrmlScene.RemoveNode(empty)
    settle(measured)
    assert "empty was removed from the scene: choose another sCECT" in ui.lesionsStateLabel.text
    assert len(texts(ui.lesionsTable)[0]) == 4

    grid = vtk.vtkThinPlateSplineTransform()
    grid.SetBasisToR()
    bend = mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "bend")
    bend.SetAndObserveTransformToParent(grid)
    measured.volumes["NCCT"].SetAndObserveTransformNodeID(bend.GetID())
    settle(measured)
    assert "NCCT: NCCT is under a transform that bends it" in ui.lesionsCheckLabel.text
    assert texts(ui.lesionsTable)[0][2] == "–" and float(texts(ui.lesionsTable)[0][3]) > 1

    mrmlScene.RemoveNode(measured.volumes["CECT"])
    settle(measured)
    assert "CECT was removed from the scene: choose another CECT" in ui.lesionsStateLabel.text
    mrmlScene.RemoveNode(measured.volumes["NCCT"])
    settle(measured)
    assert not ui.lesionsDrawButton.enabled and not ui.lesionsCopyButton.enabled
    assert current(measured).name == "Lesion 1"  # the circles stay
    assert slicer.util.getNode("Lesion CNR").GetNumberOfRows() == 0


def test_parts_of_a_lesion_that_are_removed_elsewhere(measured, mrmlScene):
    lesion, rows = current(measured), sceneTable()
    mrmlScene.RemoveNode(lesion.outline("aorta"))
    settle(measured)
    assert lesion.outline("aorta").GetName() == "Lesion 1 aorta"  # drawn again
    mrmlScene.RemoveNode(lesion.ruler)
    mrmlScene.RemoveNode(measured.lesions.parameters.lesionTable)
    settle(measured)
    assert sceneTable() == rows and measured.ui.lesionsMeasuredAxisSlider.enabled
    lesion.node.SetName("7")  # in the Data module
    settle(measured)
    assert lesion.outline("aorta").GetName() == "7 aorta" and ("7", "CECT") in sceneTable()
    mrmlScene.RemoveNode(lesion.node)
    settle(measured)
    assert "7 was removed" in measured.ui.lesionsStateLabel.text and sceneTable() == {}


def test_a_place_outside_the_ct_is_refused(opened):
    ui = opened.ui
    for view in opened.views:
        view.node.JumpSliceByCentering(0, 0, 900)
    opened.click(ui.lesionsAddButton)
    assert "above or below the CT" in ui.lesionsStateLabel.text and opened.lesions.lesions == []
    draw(opened, np.array((0.0, 0, 900)))
    assert "above or below the CT" in ui.lesionsStateLabel.text and opened.lesions.lesions == []


# Beside module 1


def test_the_volumes_of_module_1_are_taken_over_and_its_comparison_gives_way(
    modulePanel, mrmlScene, layoutViews, phantom
):
    from SyntheticContrastLib.scene.sample import addCT

    first = modulePanel("SyntheticContrast")
    first.widget.panel.checkTimer.stop()
    nodes = [addCT(mrmlScene, phantom.volume(hu), hu, name) for name, hu in (("A", phantom.ncct), ("B", phantom.cect))]
    first.widget.panel.parameters.ncct, first.widget.panel.parameters.cect = nodes
    first.process()
    first.click(first.ui.compareButton)
    panel = modulePanel(MODULE)
    lesions = panel.widget.panels["lesions"]
    assert [panel.ui.lesionsNcctSelector.currentNode(), panel.ui.lesionsCectSelector.currentNode()] == nodes
    panel.click(panel.ui.lesionsShowButton)
    panel.process(0.2)
    assert lesions.comparison.isShown and not first.widget.panel.compare.comparison.isShown
    props = layoutViews.shown()[0].renderer.GetViewProps()
    titles = [props.GetItemAsObject(i) for i in range(props.GetNumberOfItems())]
    assert [title.GetInput() for title in titles if title.IsA("vtkTextActor")].count("NCCT") == 1


def test_the_self_test_of_the_module(modulePanel, layoutViews):
    panel = modulePanel(MODULE)
    panel.module.SyntheticContrastAnalysisTest().runTest()


def test_the_self_test_without_views(modulePanel):
    modulePanel(MODULE).module.SyntheticContrastAnalysisTest().runTest()
