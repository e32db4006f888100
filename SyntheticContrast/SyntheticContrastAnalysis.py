"""Module 2, Synthetic Contrast Analysis: CNR circles, left heart chambers, Dice."""

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

# From top to bottom: name, .ui file, panel (module of SyntheticContrastLib.gui, class), parameters (the same).
SECTIONS = (
    (
        "lesions",
        "UI/SyntheticContrastLesions.ui",
        ("lesions_panel", "LesionsPanel"),
        ("lesions_parameters", "LesionParameters"),
    ),
    (
        "chambers",
        "UI/SyntheticContrastChambers.ui",
        ("chambers_panel", "ChambersPanel"),
        ("chambers_parameters", "ChambersParameters"),
    ),
    (
        "similarity",
        "UI/SyntheticContrastSimilarity.ui",
        ("similarity_panel", "SimilarityPanel"),
        ("similarity_parameters", "SimilarityParameters"),
    ),
)


class SyntheticContrastAnalysis(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Synthetic Contrast Analysis")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = []
        parent.contributors = ["The Synthetic Contrast developers"]
        parent.helpText = _(
            "Measures NCCT, sCECT and CECT of one patient: the contrast-to-noise ratio of lesions, with circles that "
            "are dragged in linked views; left heart chambers by a threshold, their Dice and volumes against a "
            "reference; and how alike two volumes are. Synthetic images are for research, not for diagnosis."
        )
        parent.acknowledgementText = _("After Choi et al., Sci Rep 11:20403 (2021), and Santini et al., arXiv (2018).")


class SyntheticContrastAnalysisWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """`panels` are the sections by name; `ui` holds the widgets of all of them."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from types import SimpleNamespace

        self.logic = SyntheticContrastAnalysisLogic()
        self.ui, self.panels = SimpleNamespace(), {}
        for name, uiFile, panel, _parameters in SECTIONS:
            top = slicer.util.loadUI(self.resourcePath(uiFile))
            self.layout.addWidget(top)
            ui = slicer.util.childWidgetVariables(top)
            vars(self.ui).update(vars(ui))
            top.setMRMLScene(slicer.mrmlScene)
            self.panels[name] = libraryClass(*panel)(top, ui)
        self.layout.addStretch(1)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        for event in (slicer.mrmlScene.EndCloseEvent, slicer.mrmlScene.EndImportEvent):
            self.addObserver(slicer.mrmlScene, event, self.onSceneReady)
        self.onSceneReady()

    def enter(self):
        for panel in self.panels.values():
            panel.enter()

    def exit(self):
        for panel in self.panels.values():
            panel.exit()

    def onSceneStartClose(self, *_event):
        for panel in self.panels.values():
            panel.setParameters(None)

    def onSceneReady(self, *_event):
        """Connect again: in a scene that is loaded the parameters come before the nodes that they refer to."""
        for name, panel in self.panels.items():
            panel.setParameters(self.logic.parameters(name))

    def cleanup(self):
        self.removeObservers()
        for panel in self.panels.values():
            panel.close()


class SyntheticContrastAnalysisLogic(ScriptedLoadableModuleLogic):
    def parameters(self, section):
        """The parameters of a section, by its name; all are in the one parameter node of the module."""
        found = next(parameters for name, _file, _panel, parameters in SECTIONS if name == section)
        return libraryClass(*found)(self.getParameterNode())


def libraryClass(module, name):
    """A class of SyntheticContrastLib.gui."""
    from importlib import import_module

    return getattr(import_module(f"SyntheticContrastLib.gui.{module}"), name)


class SyntheticContrastAnalysisTest(ScriptedLoadableModuleTest):
    """Needs neither network nor PyTorch."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        tests = [self.test_chambers_and_dice, self.test_similarity_pair]
        try:
            import skimage  # noqa: F401
        except ImportError:
            self.delayDisplay("scikit-image is not installed: lesions are not tested, as no place is proposed.")
        else:
            tests += [self.test_lesion_on_a_phantom, self.test_lesion_files]
        for test in tests:
            self.setUp()
            test()

    def makeLesion(self):
        """A lesion on the lymph node of a phantom: (lesion, {"NCCT": node, "CECT": node})."""
        import numpy as np

        from SyntheticContrastLib.analysis.circle_proposal import propose_circles
        from SyntheticContrastLib.analysis.cnr import circle_diameter
        from SyntheticContrastLib.ct.phantom import thorax_phantom
        from SyntheticContrastLib.scene.lesion import Lesion
        from SyntheticContrastLib.scene.sample import addCT
        from SyntheticContrastLib.scene.world import lps, slicePlane, worldCT

        phantom = thorax_phantom((48, 200, 200), (5.0, 1.8, 1.8))
        volumes = {
            name: addCT(slicer.mrmlScene, phantom.volume(hu), hu, f"Phantom {name}")
            for name, hu in (("NCCT", phantom.ncct), ("CECT", phantom.cect))
        }
        z, y, x = np.argwhere(phantom.mask("lymph_node")).mean(axis=0).round()
        ct = worldCT(volumes["CECT"])
        middle = np.array(lps((ct.grid.canonical_affine @ [x, y, z, 1])[:3]))
        index, centre, normal = slicePlane(ct, middle)
        lesion = Lesion.create(slicer.mrmlScene, "Lymph node", centre, normal, 10.0)
        for role, circle in propose_circles(ct, index, circle_diameter(10.0)).items():
            self.assertIsNotNone(circle, role)
            lesion.place(role, np.array(lps(circle.centre)), circle.diameter)
        lesion.draw()
        return lesion, volumes

    def test_lesion_on_a_phantom(self):
        """The HU that the phantom was painted with, in both volumes; a rim that is moved makes the circle larger."""
        from SyntheticContrastLib.analysis.cnr import AORTA, FAT_LEFT, FAT_RIGHT, LESION
        from SyntheticContrastLib.scene.lesion_measurements import LesionMeasurements
        from SyntheticContrastLib.scene.lesion_watch import LesionWatch

        self.delayDisplay("Measuring a lymph node of a phantom")
        lesion, volumes = self.makeLesion()
        measurements = LesionMeasurements()
        measurements.measure([lesion], volumes, set())
        painted = {LESION: (35, 75), AORTA: (40, 350), FAT_RIGHT: (-105, -102), FAT_LEFT: (-105, -102)}
        for index, name in enumerate(("NCCT", "CECT")):
            found = measurements.of(lesion, name)
            self.assertNotIsInstance(found, str, found)
            self.assertEqual(found.warnings, ())
            for role, hu in painted.items():
                self.assertAlmostEqual(found.rois[role].mean, hu[index], delta=10)
        self.delayDisplay("Dragging a rim")
        watch = LesionWatch(slicer.mrmlScene, lambda: None)
        watch.start()
        centre, rim = lesion.ends(AORTA)
        lesion.node.SetNthControlPointPositionWorld(3, *(rim + (rim - centre)))
        self.assertAlmostEqual(lesion.circle(AORTA).diameter, 18.0, places=3)
        self.assertEqual(watch.changed, {lesion.node.GetID()})
        voxels = measurements.of(lesion, "CECT").rois[AORTA].voxels
        measurements.measure([lesion], volumes, watch.changed)
        self.assertAlmostEqual(measurements.of(lesion, "CECT").rois[AORTA].voxels / voxels, 4, delta=0.8)
        watch.stop()

    def test_lesion_files(self):
        """Out to a markups file and in again: the same circles, under another name as the first is taken."""
        import tempfile
        from pathlib import Path

        from SyntheticContrastLib.scene.lesion_files import exportLesions, importLesions

        self.delayDisplay("Exporting and importing lesions")
        lesion, _volumes = self.makeLesion()
        with tempfile.TemporaryDirectory() as folder:
            markups, table = exportLesions(Path(folder, "lesions"), [lesion], [])
            self.assertTrue(table.is_file())
            [again] = importLesions(markups, slicer.mrmlScene)
        self.assertEqual(again.name, "Lymph node 1")
        for role, circle in lesion.circles().items():
            self.assertAlmostEqual(again.circle(role).diameter, circle.diameter, places=6)
            for mm, expected in zip(again.circle(role).centre, circle.centre, strict=True):
                self.assertAlmostEqual(mm, expected, places=6)

    def test_chambers_and_dice(self):
        """The left heart of a phantom CECT, with the heart region found, then with the region of the left heart."""
        from SyntheticContrastLib.scene import chambers, chambers_compare, masks
        from SyntheticContrastLib.scene.sample import addPhantomChambers

        self.delayDisplay("Left chambers")
        cect, reference = addPhantomChambers(slicer.mrmlScene)
        region = chambers.proposeRegion(cect)
        for where, dice in ((region, 0.3), (reference, 0.85)):
            search = chambers.ChamberSearch(cect, where, "")
            found = search.find(chambers.Threshold(250.0, fillHoles=True))
            node = masks.addSegmentation(cect, "chambers")
            masks.putSegment(node, chambers.STRUCTURES["left heart chambers"], cect, found, search.first)
            compared = chambers_compare.compareWithReference(cect, node, reference, "")
            self.assertGreater(compared.agreement.dice, dice)
        agreement = chambers_compare.showAgreement(compared, cect, None, "agreement")
        self.assertEqual(agreement.GetSegmentation().GetNumberOfSegments(), 3)
        with self.assertRaisesRegex(ValueError, "no reference"):
            chambers_compare.compareWithReference(cect, node, None, "")

    def test_similarity_pair(self):
        """What the child process is given: the image on the reference's grid, as files."""
        import tempfile
        from pathlib import Path

        from SyntheticContrastLib.scene.sample import addPhantomPair
        from SyntheticContrastLib.scene.similarity import writePair

        self.delayDisplay("Similarity")
        ncct, cect = addPhantomPair(slicer.mrmlScene, (20, 96, 96), (12.0, 3.75, 3.75))
        with tempfile.TemporaryDirectory() as folder:
            pair = writePair(ncct, cect, 2, 8, Path(folder))
            self.assertTrue(pair.image.is_file() and pair.reference.is_file())
        self.assertEqual(pair.outside, 0)
