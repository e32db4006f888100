"""Module 2 on a real CECT: a lung nodule measured as a reader does, with the mouse."""

import math

import numpy as np
import pytest

from SyntheticContrastLib.ct.read import read_ct
from views.conftest import layoutViews  # noqa: F401  fixture

pytestmark = pytest.mark.realdata

NODULE = ((306, 368, 44), (330, 368, 44))  # ends of its short axis, voxels (x, y, z), read off the picture


def test_cnr_of_a_lung_nodule(modulePanel, mrmlScene, layoutViews, shared_data):  # noqa: F811, N803
    import slicer

    panel = modulePanel("SyntheticContrastAnalysis")
    from SyntheticContrastLib.scene.sample import addCT

    volume = read_ct(shared_data / "cect" / "lidc-idri-0001_arterial_2.5mm.nii.gz")
    node = addCT(mrmlScene, volume, volume.hu, "LIDC-0001")
    lesions = panel.widget.panels["lesions"]
    panel.choose(panel.ui.lesionsCectSelector, "LIDC-0001")
    panel.waitFor(lambda: not lesions.timer.active)
    ends = [(volume.grid.canonical_affine @ [*end, 1])[:3] * (-1, -1, 1) for end in NODULE]
    view = layoutViews.shown()[0]
    view.composite.SetBackgroundVolumeID(node.GetID())
    view.logic.FitSliceToBackground()
    view.setSliceOffsetValue(ends[0][2])
    panel.click(panel.ui.lesionsDrawButton)
    for end in ends:
        view.press(view.to_pixel(end))
        view.release(view.to_pixel(end))
    panel.waitFor(lambda: lesions.lesions and not lesions.timer.active)

    lesion = lesions.current()
    assert lesion.shortAxis == pytest.approx(math.dist(*ends), abs=1.5)  # a click is as exact as a pixel
    [row] = lesions.rows()
    centre = (np.linalg.inv(volume.grid.canonical_affine) @ [*(lesion.ends("lesion")[0] * (-1, -1, 1)), 1])[:3]
    assert centre[2] == pytest.approx(44, abs=1e-6)
    y, x = np.mgrid[:512, :512]
    _z, y_mm, x_mm = volume.spacing_zyx
    inside = np.hypot((y - centre[1]) * y_mm, (x - centre[0]) * x_mm) <= row["diameter_mm"] / 2
    assert row["lesion_mean_hu"] == pytest.approx(volume.hu[44][inside].mean(), abs=0.5)
    assert row["lesion_voxels"] == pytest.approx(inside.sum(), abs=2)
    assert 367 - 20 < row["aorta_mean_hu"] < 437 + 20  # by the README of the data, measured elsewhere
    for side in ("right", "left"):
        assert -130 < row[f"fat_{side}_mean_hu"] < -70
    assert 10 < row["cnr"] < 30 and row["warnings"] == ""
    table = slicer.util.getNode("Lesion CNR").GetTable()
    assert table.GetValueByName(0, "cnr").ToDouble() == row["cnr"]
