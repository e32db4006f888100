"""The left heart on real CECTs, through the panel; references are grown from discs placed by eye: chamber_labels.py."""

import csv

import numpy as np
import pytest

from realdata.chamber_labels import SEEDS, label_chambers, left_region
from SyntheticContrastLib.ct.read import read_ct
from SyntheticContrastLib.ct.write import write_image
from unit import entry

pytestmark = pytest.mark.realdata
MEASURE = entry.GENERATE.with_name("measure.py")


@pytest.fixture
def open_case(modulePanel, mrmlScene, shared_data):
    """The panel with a CECT, its reference, and the region of the left heart that a user would draw."""
    import slicer

    def open_case(name):
        panel = modulePanel("SyntheticContrastAnalysis")
        from SyntheticContrastLib.scene.chambers import HEART_REGION, STRUCTURES
        from SyntheticContrastLib.scene.masks import addSegmentation, putSegment
        from SyntheticContrastLib.scene.sample import addCT

        panel.volume = read_ct(shared_data / SEEDS[name]["path"])
        panel.labels = label_chambers(panel.volume, SEEDS[name])
        panel.ct = addCT(slicer.mrmlScene, panel.volume, panel.volume.hu, "CECT")
        left = left_region(panel.labels.chambers, panel.volume.spacing_zyx)
        for title, look, mask in (
            ("left heart", HEART_REGION, left),
            ("reference", STRUCTURES["left heart chambers"], panel.labels.chambers),
        ):
            putSegment(
                addSegmentation(panel.ct, title), look, panel.ct, np.ascontiguousarray(panel.volume.to_stored(mask))
            )
        if panel.ui.chambersSection.collapsed:
            panel.click(panel.ui.chambersSection)
        panel.choose(panel.ui.chambersVolumeSelector, "CECT")
        panel.choose(panel.ui.chambersReferenceSelector, "reference")
        return panel

    return open_case


def measured(panel, region):
    from SyntheticContrastLib.scene.tables import rowsOf

    panel.choose(panel.ui.chambersRegionSelector, region)
    panel.click(panel.ui.chambersSegmentButton)
    panel.click(panel.ui.chambersCompareButton)
    assert panel.messages == []
    row = rowsOf(panel.parameters().chambersTable)[-1]
    print(f"{region}: Dice {row['dice']:.3f}, {row['compared_ml']:.1f} of {row['reference_ml']:.1f} mL")
    return row


def test_the_left_heart_of_lidc_0001(open_case):
    """At 300 HU the right heart passes too; in a region of the left heart the threshold agrees with the reference."""
    panel = open_case("lidc-0001")
    panel.parameters = lambda: panel.widget.panels["chambers"].parameters
    panel.click(panel.ui.chambersProposeButton)
    proposed = measured(panel, "CECT heart region")
    assert proposed["volume_error_percent"] > 80 and proposed["dice"] < 0.75
    panel.click(panel.ui.chambersFillHolesCheckBox)
    left = measured(panel, "left heart")
    assert left["dice"] > 0.87 and left["volume_error_percent"] < 12
    assert 100 < left["reference_ml"] < 135


def test_panel_and_measure_py_agree_on_a_cta(open_case, shared_data, tmp_path, capsys):
    panel = open_case("cta")
    panel.parameters = lambda: panel.widget.panels["chambers"].parameters
    row = measured(panel, "left heart")
    assert row["dice"] > 0.9
    left = left_region(panel.labels.chambers, panel.volume.spacing_zyx)
    for name, mask in (("heart.nii.gz", left), ("reference.nii.gz", panel.labels.chambers)):
        write_image(tmp_path / name, mask.astype(np.uint8), panel.volume)
    arguments = ["chambers", "--volume", shared_data / SEEDS["cta"]["path"], "--heart-mask", tmp_path / "heart.nii.gz"]
    arguments += ["--reference", tmp_path / "reference.nii.gz", "--output", tmp_path / "c.csv"]
    done = entry.call(MEASURE, arguments, capsys)
    assert (done.status, done.err) == (0, "")
    with (tmp_path / "c.csv").open(encoding="utf-8", newline="") as file:
        [headless] = csv.DictReader(file)
    for name in ("dice", "compared_ml", "reference_ml", "slices", "slice_dice_mean", "elsewhere_ml"):
        assert float(headless[name]) == pytest.approx(row[name], rel=1e-4)
