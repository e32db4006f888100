"""Compare: real slice views, linked in position, zoom and window, of volumes on their own grids."""

import numpy as np
import pytest

from SyntheticContrastLib.ct.errors import InputError
from views.factory import add_volume, chest, parent_transform, sphere

CENTRE = np.array([10.0, -5.0, 20.0])  # of the sphere, RAS mm


@pytest.fixture
def comparison(layoutViews):
    import slicer

    from SyntheticContrastLib.scene.comparison import Comparison

    made = Comparison(slicer.mrmlScene)
    yield made
    made.leave()


@pytest.fixture
def pair(mrmlScene):
    """An NCCT and its sCECT, 144 x 120 x 80 mm."""
    from SyntheticContrastLib.scene.volumes import addSynthetic

    ncct = add_volume(mrmlScene, chest(), "Thorax")
    return {"NCCT": ncct, "sCECT": addSynthetic(ncct, chest() + np.int16(100), "tiny", "")}


def mm_per_pixel(view):
    return view.node.GetFieldOfView()[0] / view.node.GetDimensions()[0]


def test_each_volume_has_its_view_with_a_short_label(comparison, pair, sliceViews):
    comparison.show(pair, difference=("sCECT", "NCCT"))
    views = sliceViews(3)
    assert [view.node.GetLayoutLabel() for view in views] == ["N", "S", "D"]
    shown = [view.composite.GetBackgroundVolumeID() for view in views]
    assert shown == [node.GetID() for node in comparison.volumes.values()]
    assert len({view.node.GetSingletonTag() for view in views}) == 3
    assert len({view.node.GetViewGroup() for view in views}) == 1
    assert {view.node.GetOrientation() for view in views} == {"Axial"}
    assert len({view.offset for view in views}) == 1


def test_the_layout_is_beyond_slicers_own_and_the_users_comes_back(comparison, pair, layoutViews, sliceViews):
    import slicer

    layoutViews.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
    users = {view.node.GetID() for view in layoutViews.shown()}
    comparison.show(pair)
    assert layoutViews.layout > 500
    sliceViews(2)
    comparison.show(pair, difference=("sCECT", "NCCT"))
    comparison.leave()
    assert layoutViews.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
    assert {view.node.GetID() for view in layoutViews.shown()} == users
    assert not comparison.isShown


def test_a_layout_that_the_user_chose_meanwhile_stays(comparison, pair, layoutViews):
    import slicer

    comparison.show(pair)
    layoutViews.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    comparison.leave()
    assert layoutViews.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView


def test_the_wheel_over_one_view_scrolls_all(comparison, pair, sliceViews):
    comparison.show(pair, difference=("sCECT", "NCCT"))
    first, second, third = sliceViews(3)
    before = first.offset
    second.wheel(2)
    assert abs(second.offset - before) == pytest.approx(10)
    assert first.offset == third.offset == second.offset


def test_a_zoom_and_a_pan_by_mouse_move_all(comparison, pair, sliceViews):
    comparison.show(pair, difference=("sCECT", "NCCT"))
    views = sliceViews(3)
    before = mm_per_pixel(views[0])
    views[0].drag((200, 200), (200, 260), button="Right")
    assert mm_per_pixel(views[0]) != before
    assert [mm_per_pixel(view) for view in views] == pytest.approx([mm_per_pixel(views[0])] * 3)
    place = views[0].to_pixel((0, 0, 0))
    views[1].drag((200, 200), (230, 190), button="Middle")
    moved = {view.to_pixel((0, 0, 0)) for view in views}
    assert len(moved) == 1
    assert moved != {place}


def test_the_others_follow_while_the_mouse_still_moves(comparison, pair, sliceViews):
    comparison.show(pair)
    views = sliceViews(2)
    before = mm_per_pixel(views[0])
    views[0].press((200, 200), "Right")
    views[0].move((200, 230))
    views[0].move((200, 260))
    assert mm_per_pixel(views[1]) == pytest.approx(mm_per_pixel(views[0])) != pytest.approx(before)
    views[0].release((200, 260), "Right")


def test_a_scripted_move_moves_all(comparison, pair, sliceViews):
    comparison.show(pair)
    comparison.setOffset(12.5)
    assert [view.offset for view in sliceViews(2)] == [12.5, 12.5]


def test_other_volumes_are_shown_at_the_same_place(comparison, pair, sliceViews):
    """Whoever asks for the difference at a lesion wants to see it there."""
    comparison.show(pair)
    first = sliceViews(2)[0]
    middle = first.offset
    first.wheel(3)
    first.drag((200, 200), (200, 260), button="Right")
    first.drag((200, 200), (230, 190), button="Middle")
    offset, scale = first.offset, mm_per_pixel(first)
    centre = first.node.GetXYToRAS().MultiplyPoint((*(size / 2 for size in first.window.GetSize()), 0, 1))
    comparison.show(pair, difference=("sCECT", "NCCT"))
    comparison.settle()
    views = sliceViews(3)
    assert [view.offset for view in views] == [offset] * 3 != [middle] * 3
    assert [mm_per_pixel(view) for view in views] == pytest.approx([scale] * 3)
    for view in views:
        place = view.node.GetXYToRAS().MultiplyPoint((*(size / 2 for size in view.window.GetSize()), 0, 1))
        np.testing.assert_allclose(place, centre, atol=scale)
    comparison.fit()
    assert {view.offset for view in views} == {middle}


@pytest.mark.parametrize("orientation", ["Coronal", "Sagittal"])
def test_the_orientation_is_that_of_all_views(orientation, comparison, pair, sliceViews):
    comparison.show(pair, difference=("sCECT", "NCCT"))
    comparison.setOrientation(orientation)
    views = sliceViews(3)
    assert {view.node.GetOrientation() for view in views} == {orientation}
    views[0].wheel(1)
    assert len({view.offset for view in views}) == 1


def test_a_window_dragged_in_one_view_is_that_of_all_but_the_difference(comparison, pair, sliceViews):
    import slicer

    comparison.show(pair, difference=("sCECT", "NCCT"))
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.AdjustWindowLevel)
    sliceViews(3)[1].drag((150, 150), (220, 190))
    windows = [(d.GetWindow(), d.GetLevel()) for d in (n.GetDisplayNode() for n in comparison.volumes.values())]
    assert windows[0] == windows[1] != (500, 50)
    assert windows[2] == (600, 0)
    assert comparison.window == windows[0]


def test_a_window_set_by_script_or_on_a_new_display_node_is_carried_across(comparison, pair):
    comparison.show(pair)
    pair["sCECT"].GetDisplayNode().SetWindowLevel(1234, 56)
    assert comparison.window == (1234, 56)
    display = pair["NCCT"].GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    display.AutoWindowLevelOff()
    pair["NCCT"].SetAndObserveDisplayNodeID(display.GetID())
    display.SetWindowLevel(800, 100)
    assert (pair["sCECT"].GetDisplayNode().GetWindow(), pair["sCECT"].GetDisplayNode().GetLevel()) == (800, 100)


@pytest.mark.parametrize(
    ("name", "window"),
    [("lung/bone", (2000, 0)), ("vascular", (1000, 200)), ("mediastinal", (500, 50)), ("soft", (350, 50))],
)
def test_presets(name, window, comparison, pair):
    comparison.show(pair)
    comparison.setPreset(name)
    assert [(n.GetDisplayNode().GetWindow(), n.GetDisplayNode().GetLevel()) for n in pair.values()] == [window] * 2


def test_after_leaving_windows_and_views_are_independent(comparison, pair):
    comparison.show(pair)
    comparison.leave()
    pair["sCECT"].GetDisplayNode().SetWindowLevel(1234, 56)
    assert pair["NCCT"].GetDisplayNode().GetWindow() == 500


def centre_of_bright(view):
    """RAS of the middle of the bright pixels, inside the titles and the ruler."""
    picture = view.grab()[:, :, 0].astype(int)
    picture[:60] = picture[-60:] = picture[:, :40] = 0
    rows, columns = np.nonzero(picture > 200)
    assert len(rows) > 50
    x, y = columns.mean(), picture.shape[0] - 1 - rows.mean()
    return np.array(view.node.GetXYToRAS().MultiplyPoint((x, y, 0, 1))[:3])


def test_a_cect_on_another_grid_and_transform_is_shown_where_it_lies(comparison, mrmlScene, sliceViews):
    ncct = sphere(mrmlScene, CENTRE, "NCCT", (2.0, 2.5, 4.0), (24, 60, 70))
    cect = sphere(mrmlScene, CENTRE - (9, 0, 8), "CECT", (1.0, 1.5, 1.25), (60, 80, 90))
    shift = np.eye(4)
    shift[:3, 3] = (9, 0, 8)
    parent_transform(mrmlScene, cect, matrix=shift)
    comparison.show({"NCCT": ncct, "CECT": cect}, difference=("CECT", "NCCT"))
    comparison.setOffset(CENTRE[2])
    for view in sliceViews(3)[:2]:
        np.testing.assert_allclose(centre_of_bright(view)[:2], CENTRE[:2], atol=1.0)


@pytest.mark.parametrize("linear", [True, False], ids=["linear", "non-linear"])
def test_the_difference_is_taken_at_the_same_places(linear, mrmlScene):
    import slicer
    import vtk

    from SyntheticContrastLib.scene.derived import OUTSIDE, differenceMap

    ncct = sphere(mrmlScene, CENTRE, "NCCT", (2.0, 2.0, 2.0), (50, 60, 70))
    cect = sphere(mrmlScene, CENTRE - (9, 0, 8), "CECT", (1.0, 1.5, 1.25), (60, 80, 90))
    shift = np.eye(4)
    shift[:3, 3] = (9, 0, 8)
    transform = parent_transform(mrmlScene, cect, matrix=shift)
    if not linear:
        spline = vtk.vtkThinPlateSplineTransform()
        spline.SetBasisToR()
        corners = np.array(list(np.ndindex(2, 2, 2))) * 200.0 - 100
        for points, places in ((vtk.vtkPoints(), corners), (vtk.vtkPoints(), corners + shift[:3, 3])):
            for place in places:
                points.InsertNextPoint(*place)
            (spline.SetSourceLandmarks if places is corners else spline.SetTargetLandmarks)(points)
        transform.SetAndObserveTransformToParent(spline)
        assert not transform.IsLinear()
    node = differenceMap(cect, ncct)
    assert node.GetName() == "CECT - NCCT"
    assert node.GetTransformNodeID() == cect.GetTransformNodeID()
    values = slicer.util.arrayFromVolume(node)
    assert values.shape == slicer.util.arrayFromVolume(cect).shape
    inside = values[values != OUTSIDE]
    assert abs(inside.mean()) < 2  # only the rim of the sphere differs, by interpolation
    assert (inside == 0).mean() > 0.95
    assert (values == OUTSIDE).any()  # the CECT reaches beyond the NCCT


def test_the_difference_on_one_grid_is_exact_and_centred_on_0_hu(mrmlScene, pair):
    import slicer

    from SyntheticContrastLib.scene.derived import differenceMap

    node = differenceMap(pair["sCECT"], pair["NCCT"])
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), 100)
    assert differenceMap(pair["sCECT"], pair["NCCT"]) is node
    assert node.GetAttribute("SyntheticContrast.Note") == "synthetic - not for diagnosis"
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-300, 300)
    table = display.GetColorNode()
    colours = [np.zeros(4) for _ in range(table.GetNumberOfColors())]
    for index, colour in enumerate(colours):
        table.GetColor(index, colour)
    brightness = np.array(colours)[:, :3].sum(axis=1)
    assert brightness.argmin() == len(colours) // 2
    assert colours[0][2] > colours[0][0]  # less is blue
    assert colours[-1][0] > colours[-1][2]  # more is red


def test_a_colour_bar_is_in_the_view_of_the_difference_alone(comparison, pair, sliceViews):
    four = {**pair, "CECT": add_volume(pair["NCCT"].GetScene(), chest(), "CECT")}
    for volumes, roles in ((pair, ("sCECT", "NCCT")), (four, ("CECT", "NCCT")), (pair, ("sCECT", "NCCT"))):
        comparison.show(volumes, difference=roles)
        comparison.setOffset(1000)  # beyond the volumes: only the bar has colours
        right = [view.grab()[100:-60, -30:].astype(int) for view in sliceViews(len(volumes) + 1)]
        colourful = [int((part.max(axis=2) - part.min(axis=2)).max()) for part in right]
        assert max(colourful[:-1]) == 0
        assert colourful[-1] > 100


def test_titles_name_the_volume_the_window_and_what_is_synthetic(comparison, pair, sliceViews):
    comparison.show(pair, difference=("sCECT", "NCCT"))
    comparison.setPreset("vascular")
    texts = [texts_of(view) for view in sliceViews(3)]
    assert texts[0] == ["NCCT", "W 1000  L 200", "", "R"]
    assert texts[1] == ["sCECT", "W 1000  L 200", "synthetic - not for diagnosis", "R"]
    assert texts[2] == ["sCECT \N{MINUS SIGN} NCCT", "HU", "synthetic - not for diagnosis", "R"]
    comparison.setOrientation("Sagittal")
    assert texts_of(sliceViews(3)[0])[-1] == "A"
    views = sliceViews(3)
    comparison.leave()
    assert [texts_of(view) for view in views] == [[], [], []]


def test_a_volume_that_is_loaded_meanwhile_comes_under_no_title(comparison, pair, sliceViews):
    import slicer

    comparison.show(pair)
    other = add_volume(slicer.mrmlScene, chest(), "Other")
    logic = slicer.app.applicationLogic()
    logic.GetSelectionNode().SetActiveVolumeID(other.GetID())
    logic.PropagateVolumeSelection()
    views = sliceViews(2)
    assert [view.composite.GetBackgroundVolumeID() for view in views] == [node.GetID() for node in pair.values()]
    views[1].composite.SetBackgroundVolumeID(other.GetID())  # by the view's own controller
    assert texts_of(views[1])[:3] == ["Other", "", ""]
    comparison.show(pair)
    assert [texts_of(view)[0] for view in views] == ["NCCT", "sCECT"]


def texts_of(view):
    props = view.renderer.GetViewProps()
    props = [props.GetItemAsObject(index) for index in range(props.GetNumberOfItems())]
    return [prop.GetInput() for prop in props if prop.IsA("vtkTextActor")]


def test_a_fade_blends_two_volumes_in_one_view(comparison, pair, sliceViews):
    comparison.show(pair)
    view = sliceViews(2)[1]
    grey = []
    for opacity in (0.0, 0.5, 1.0):
        comparison.setFade("sCECT", "NCCT", opacity)
        assert view.composite.GetForegroundVolumeID() == pair["NCCT"].GetID()
        grey.append(view.grab()[180:260, 150:400].mean())
    assert grey[0] > grey[1] > grey[2]
    assert texts_of(view)[0] == "sCECT + 100% NCCT"
    comparison.setFade("sCECT", None)
    assert view.composite.GetForegroundVolumeID() is None
    assert sliceViews(2)[0].composite.GetForegroundVolumeID() is None


def test_a_checkerboard_alternates_and_goes_away(comparison, pair, sliceViews):
    import slicer

    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    comparison.show(pair)
    comparison.setCheckerboard("NCCT", "sCECT")
    view = sliceViews(2)[0]
    board = slicer.mrmlScene.GetNodeByID(view.composite.GetBackgroundVolumeID())
    assert not board.GetSaveWithScene()
    difference = slicer.util.arrayFromVolume(board).astype(int) - chest()
    assert set(np.unique(difference)) == {0, 100}
    assert difference[0, 0, 0] == 0
    assert difference[0, 0, 14] == 100  # 42 mm to the side
    comparison.setWindow(700, 70)
    assert board.GetDisplayNode().GetWindow() == 700
    comparison.setCheckerboard("NCCT", None)
    assert view.composite.GetBackgroundVolumeID() == pair["NCCT"].GetID()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == count
    comparison.setCheckerboard("NCCT", "sCECT")
    comparison.leave()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == count


def test_removing_a_compared_volume_leaves_the_others_or_the_comparison(comparison, pair, layoutViews, sliceViews):
    import slicer

    before = layoutViews.layout
    cect = add_volume(slicer.mrmlScene, chest(seed=5), "CECT")
    comparison.show({**pair, "CECT": cect}, difference=("sCECT", "NCCT"))
    comparison.setFade("sCECT", "CECT")
    sliceViews(4)
    slicer.mrmlScene.RemoveNode(pair["NCCT"])
    assert [view.node.GetLayoutLabel() for view in sliceViews(2)] == ["S", "C"]
    slicer.mrmlScene.RemoveNode(cect)
    assert not comparison.isShown
    assert layoutViews.layout == before


def test_removing_the_difference_map_leaves_the_volumes(comparison, pair, sliceViews):
    import slicer

    comparison.show(pair, difference=("sCECT", "NCCT"))
    slicer.mrmlScene.RemoveNode(comparison.volumes["difference"])
    assert [view.node.GetLayoutLabel() for view in sliceViews(2)] == ["N", "S"]


def test_closing_the_scene_gives_the_layout_back(comparison, pair, layoutViews):
    import slicer

    from SyntheticContrastLib.scene.compare_layout import isComparison

    before = layoutViews.layout
    cect = add_volume(slicer.mrmlScene, chest(seed=5), "CECT")
    comparison.show({**pair, "CECT": cect}, difference=("CECT", "sCECT"))
    comparison.setCheckerboard("sCECT", "CECT")
    layouts = []
    node = layoutViews.layout_node
    tag = node.AddObserver("ModifiedEvent", lambda *_: layouts.append(node.GetViewArrangement()))
    slicer.mrmlScene.Clear(0)
    node.RemoveObserver(tag)
    assert not comparison.isShown
    assert not any(isComparison(layout) for layout in layouts)  # at once, not by way of the volumes that are left
    assert layoutViews.layout == before
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []


def test_a_scene_saved_during_a_comparison_does_not_trap_the_user(comparison, pair, layoutViews):
    import slicer

    from SyntheticContrastLib.scene.compare_layout import addLayouts, layoutId

    addLayouts(layoutViews.layout_node)
    layoutViews.setLayout(layoutId(["NCCT", "CECT"]))
    comparison.show(pair)
    comparison.leave()
    assert layoutViews.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def test_without_views_only_the_scene_changes(mrmlScene, pair):
    """As with --no-main-window."""
    from SyntheticContrastLib.scene.comparison import Comparison

    comparison = Comparison(mrmlScene)
    comparison.show(pair, difference=("sCECT", "NCCT"))
    comparison.setOrientation("Coronal")
    comparison.setFade("NCCT", "sCECT")
    comparison.setOffset(1)
    comparison.fit()
    pair["NCCT"].GetDisplayNode().SetWindowLevel(900, 90)
    assert pair["sCECT"].GetDisplayNode().GetWindow() == 900
    assert comparison.volumes["difference"].GetImageData() is not None
    comparison.leave()


def test_what_cannot_be_compared_is_refused(comparison, pair, mrmlScene):
    with pytest.raises(InputError, match="only one volume"):
        comparison.show({"NCCT": pair["NCCT"]})
    with pytest.raises(InputError, match="has no voxels"):
        comparison.show({**pair, "CECT": mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")})
    with pytest.raises(ValueError, match="no such role"):
        comparison.show({**pair, "difference": pair["NCCT"]})
    with pytest.raises(ValueError, match="not shown"):
        comparison.show(pair, difference=("CECT", "NCCT"))
    with pytest.raises(ValueError, match="no such orientation"):
        comparison.show(pair, orientation="Reformat")
    assert not comparison.isShown
    comparison.show(pair)
    with pytest.raises(ValueError, match="not shown: CECT"):
        comparison.setFade("NCCT", "CECT")


def test_a_picture_of_the_row_can_be_saved(comparison, pair, layoutViews, tmp_path):
    from PIL import Image

    comparison.show(pair)
    layoutViews.save(tmp_path / "row.png")
    with Image.open(tmp_path / "row.png") as picture:
        assert picture.size[0] == 1200
        assert np.asarray(picture.convert("L")).std() > 10
