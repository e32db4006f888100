"""Draw the pictures of panels and views in Resources/Screenshots with the harness: a function for each name.

python Testing/make_screenshots.py [generate-panel training-panel ...]

generate-panel, which makes linked-views.png too, and the analysis-… read public CTs from ../shared/data (see README,
section Tests).
"""

import os
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / name) for name in ("SyntheticContrast", "SyntheticContrastTraining", "Testing")]
os.environ["MPLBACKEND"] = "Agg"

import numpy as np
from PIL import Image, ImageDraw
from PySide6 import QtCore, QtTest

import tree
from harness.install import freshScene, installHarness
from harness.panel import ModulePanel
from SyntheticContrastLib.ct.phantom import thorax_phantom

LABEL = "Drawn with the test harness (Testing/harness), not in 3D Slicer."
GAP = 12  # pixels
REAL_NCCT = REPOSITORY.parent / "shared" / "data" / "ncct" / "lung-dx-a0001_dicom"
REAL_SOURCE = "CT: Lung-PET-CT-Dx A0001, The Cancer Imaging Archive, CC BY 4.0."
REAL_CECT = REPOSITORY.parent / "shared" / "data" / "cect" / "lidc-idri-0001_arterial_2.5mm.nii.gz"
REAL_CECT_SOURCE = (
    "CT: LIDC-IDRI-0001, The Cancer Imaging Archive, CC BY 3.0; its NCCT is simulated by taking the iodine out."
)
REAL_CECT_SLICES = slice(24, 74)  # from the arch to the heart: enough, and quicker
REAL_NODULE = ((306, 368, 20), (330, 368, 20))  # ends of a short axis, voxels (x, y, z) of these slices
CHAMBERS_SOURCE = "CT: LIDC-IDRI-0001, The Cancer Imaging Archive, CC BY 3.0."
CHAMBERS_TITLE = "Above: by the threshold. Below: both (green), only ours (orange), only the reference (blue)"
HEART_MM_WIDE = 200.0
REAL_HEART_MM = -314.0  # superior, of a slice through the heart


def open_panel(name):
    freshScene()
    return ModulePanel(tree.find(f"{name}.py"))


def side_by_side(pictures, path, label=LABEL):
    """One PNG of several, (title, path) each, with a line below that says what they are."""
    images = [Image.open(picture).convert("RGB") for _, picture in pictures]
    width = sum(image.width for image in images) + GAP * (len(images) + 1)
    sheet = Image.new("RGB", (width, max(image.height for image in images) + 66), "white")
    pen, left = ImageDraw.Draw(sheet), GAP
    for (title, _), image in zip(pictures, images, strict=True):
        pen.text((left + 8, 8), title, fill="black", font_size=16)
        sheet.paste(image, (left, 34))
        left += image.width + GAP
    pen.text((GAP + 8, sheet.height - 24), label, fill="black", font_size=14)
    sheet.save(path, optimize=True)


def write_phantoms(folder, count):
    """A cases.csv of phantom pairs, as NRRD files."""
    import SimpleITK

    rows = ["case_id,ncct,cect"]
    for number in range(count):
        phantom = thorax_phantom((16, 128, 128), (15.0, 2.8, 2.8), number)
        for name, hu in (("ncct", phantom.ncct), ("cect", phantom.cect)):
            image = SimpleITK.GetImageFromArray(np.ascontiguousarray(hu[::-1]))
            image.SetSpacing((2.8, 2.8, 15.0))
            SimpleITK.WriteImage(image, str(folder / f"{name}{number}.nrrd"))
        rows.append(f"phantom{number},ncct{number}.nrrd,cect{number}.nrrd")
    (folder / "cases.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder / "cases.csv"


def training_panel(path, folder):
    """Module 3 before, during and after a small run on phantoms."""
    panel = open_panel("SyntheticContrastTraining")
    ui, at_work = panel.ui, lambda: panel.widget.panel.job is not None
    pictures = [(title, folder / f"{title}.png") for title in ("Idle", "Training", "Finished")]
    panel.screenshot(pictures[0][1])
    panel.type(ui.casesPath, write_phantoms(folder, 2))
    panel.type(ui.workFolderPath, folder / "work")
    panel.choose(ui.recipeComboBox, "l1")
    panel.type(ui.settingsLineEdit, "gf=4 depth=4 norm=keras crop=128 final_crop=128 steps=210")
    panel.type(ui.runNameLineEdit, "phantoms")
    panel.click(ui.prepareButton)
    panel.waitFor(lambda: not at_work())
    panel.click(ui.trainButton)
    panel.waitFor(lambda: ui.curvesPicture.visible or not at_work(), 1000)
    panel.screenshot(pictures[1][1])
    panel.waitFor(lambda: not at_work(), 1000)
    panel.screenshot(pictures[2][1])
    panel.close()
    side_by_side(pictures, path)


def generate_panel(path, folder):
    """Module 1 before, during and after a run of the default model on a real NCCT; and what the linked views show."""
    import slicer

    from harness.slice_views import SliceViews
    from SyntheticContrastLib.ct.read import read_ct

    panel = open_panel("SyntheticContrast")
    from SyntheticContrastLib.scene.sample import addCT

    views = slicer.app._layouts = SliceViews(slicer.mrmlScene, slicer.app.applicationLogic(), (1290, 452))
    ui, at_work = panel.ui, lambda: panel.widget.panel.atWork()
    panel.waitFor(lambda: panel.widget.panel.packages is not None)
    volume = read_ct(REAL_NCCT)
    addCT(slicer.mrmlScene, volume, volume.hu, "Lung-Dx A0001")
    pictures = [(title, folder / f"{title}.png") for title in ("Idle", "Generating", "Done")]
    panel.choose(ui.inputSelector, "Lung-Dx A0001")
    panel.screenshot(pictures[0][1])
    panel.click(ui.generateButton)
    panel.waitFor(lambda: ui.progressBar.value >= 16 or not at_work(), 1000)
    panel.screenshot(pictures[1][1])
    panel.waitFor(lambda: not at_work(), 1000)
    panel.process(0.3)
    panel.screenshot(pictures[2][1])
    side_by_side(pictures, path)
    panel.widget.panel.compare.comparison.setOffset(REAL_HEART_MM)
    views.save(path.with_name("linked-views.png"), f"{LABEL} {REAL_SOURCE}")
    panel.close()
    slicer.app._layouts = None
    views.close()


def analysis_lesions(path, folder):
    """Module 2: a lung nodule on a real CECT, measured beside the same CT with its iodine taken out."""
    import slicer

    from harness.slice_views import SliceViews
    from SyntheticContrastLib.ct.read import read_ct
    from SyntheticContrastLib.ct.volume import CTVolume, Grid
    from SyntheticContrastTrainingLib.vnc import simulate_vnc

    panel = open_panel("SyntheticContrastAnalysis")
    from SyntheticContrastLib.scene.sample import addCT

    views = slicer.app._layouts = SliceViews(slicer.mrmlScene, slicer.app.applicationLogic(), (1120, 640))
    ui, whole = panel.ui, read_ct(REAL_CECT)
    hu = whole.hu[REAL_CECT_SLICES]
    volume = CTVolume(hu, Grid.axial(hu.shape, whole.spacing_zyx))
    vnc = simulate_vnc(volume.hu, volume.spacing_zyx).vnc_hu
    for name, hu in (("LIDC-0001 CECT", volume.hu), ("LIDC-0001 without iodine", vnc)):
        addCT(slicer.mrmlScene, volume, hu, name)
    panel.choose(ui.lesionsNcctSelector, "LIDC-0001 without iodine")
    panel.choose(ui.lesionsCectSelector, "LIDC-0001 CECT")
    panel.process(0.1)
    panel.click(ui.lesionsShowButton)
    panel.process(0.3)
    ends = [(volume.grid.canonical_affine @ [*end, 1])[:3] * (-1, -1, 1) for end in REAL_NODULE]
    panel.widget.panels["lesions"].comparison.setOffset(ends[0][2])
    panel.click(ui.lesionsDrawButton)
    _, view = views.shown()
    for end in ends:
        view.press(view.to_pixel(end))
        view.release(view.to_pixel(end))
        panel.process(0.1)
    panel.process(0.5)
    panel.type(ui.lesionsNameEdit, "Nodule")
    QtTest.QTest.keyClick(ui.lesionsNameEdit, QtCore.Qt.Key_Return)
    panel.process(0.2)
    pictures = [(title, folder / f"{title}.png") for title in ("Panel", "Linked views")]
    panel.screenshot(pictures[0][1])
    for view in views.shown():
        zoom(view, np.add(ends[0], (44, 40, 0)), 400)
    Image.fromarray(views.picture()).save(pictures[1][1])
    side_by_side(pictures, path, f"{LABEL} {REAL_CECT_SOURCE}")
    panel.close()
    slicer.app._layouts = None
    views.close()


def analysis_chambers(path, folder):
    """Module 2's left chambers on a real CECT: what the threshold takes, and how it agrees with a reference."""
    import slicer
    import vtk

    from harness.slice_views import SliceViews
    from realdata.chamber_labels import SEEDS, label_chambers, left_region
    from SyntheticContrastLib.ct.read import read_ct

    panel = open_panel("SyntheticContrastAnalysis")
    from SyntheticContrastLib.scene.chambers import HEART_REGION, STRUCTURES
    from SyntheticContrastLib.scene.masks import addSegmentation, putSegment
    from SyntheticContrastLib.scene.sample import addCT

    views = slicer.app._layouts = SliceViews(slicer.mrmlScene, slicer.app.applicationLogic(), (1100, 400))
    ui, volume = panel.ui, read_ct(REAL_CECT)
    labels = label_chambers(volume, SEEDS["lidc-0001"])
    ct = addCT(slicer.mrmlScene, volume, volume.hu, "LIDC-0001")
    for name, look, mask in (
        ("left heart region", HEART_REGION, left_region(labels.chambers, volume.spacing_zyx)),
        ("reference", STRUCTURES["left heart chambers"], labels.chambers),
    ):
        node = addSegmentation(ct, name)
        putSegment(node, look, ct, np.ascontiguousarray(volume.to_stored(mask)))
        node.GetDisplayNode().SetVisibility(False)
    slicer.util.setSliceViewerLayers(background=ct)
    for name in panel.widget.panels:
        collapsed = name != "chambers"
        if getattr(ui, f"{name}Section").collapsed != collapsed:
            panel.click(getattr(ui, f"{name}Section"))
    panel.choose(ui.chambersVolumeSelector, "LIDC-0001")
    panel.choose(ui.chambersRegionSelector, "left heart region")
    panel.click(ui.chambersFillHolesCheckBox)
    panel.click(ui.chambersSegmentButton)
    panel.choose(ui.chambersReferenceSelector, "reference")
    panel.click(ui.chambersCompareButton)
    panel.screenshot(folder / "panel.png")
    k, j, i = np.argwhere(volume.to_stored(labels.chambers)).mean(axis=0)
    matrix = vtk.vtkMatrix4x4()
    ct.GetIJKToRASMatrix(matrix)
    zoom_on(views, matrix.MultiplyPoint((i, j, k, 1))[:3], HEART_MM_WIDE)
    drawn = []
    for show in ("The segmentation", "Agreement with the reference"):
        panel.choose(ui.chambersShowComboBox, show)
        panel.process(0.1)
        drawn.append(folder / f"{len(drawn)}.png")
        Image.fromarray(views.picture()).save(drawn[-1])
    stacked = np.vstack([np.asarray(Image.open(one)) for one in drawn])
    Image.fromarray(stacked).save(folder / "views.png")
    pictures = [("Module Synthetic Contrast Analysis", folder / "panel.png"), (CHAMBERS_TITLE, folder / "views.png")]
    side_by_side(pictures, path, f"{LABEL} {CHAMBERS_SOURCE}")
    panel.close()
    slicer.app._layouts = None
    views.close()


def zoom(view, place, field):
    """Show so many mm around a place (RAS) in a view."""
    width, height, _ = view.node.GetDimensions()
    view.node.SetFieldOfView(field, field * height / width, view.node.GetFieldOfView()[2])
    view.node.JumpSliceByCentering(*place)


def zoom_on(views, ras, width_mm):
    """Show so many mm around a place of the world."""
    for view in views.shown():
        width, height = view.window.GetSize()
        view.node.SetFieldOfView(width_mm, width_mm * height / width, view.node.GetFieldOfView()[2])
        view.node.UpdateMatrices()
        view.node.JumpSliceByCentering(*ras)


PICTURES = {
    "analysis-chambers": analysis_chambers,
    "analysis-lesions": analysis_lesions,
    "generate-panel": generate_panel,
    "training-panel": training_panel,
}


def main(names):
    installHarness()
    for name in names or PICTURES:
        with tempfile.TemporaryDirectory() as folder:
            PICTURES[name](REPOSITORY / "Resources" / "Screenshots" / f"{name}.png", Path(folder))
        print(f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
