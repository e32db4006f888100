"""Module 1, Synthetic Contrast: make an sCECT from an NCCT and compare them in linked views."""

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


class SyntheticContrast(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Synthetic Contrast")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = []
        parent.contributors = ["The Synthetic Contrast developers"]
        parent.helpText = _(
            "Makes a synthetic contrast-enhanced CT (sCECT) from a non-contrast chest CT, and shows NCCT, sCECT and "
            "CECT side by side in linked views. Synthetic images are for research, not for diagnosis."
        )
        parent.acknowledgementText = _(
            "Reimplements Choi et al., Sci Rep 11:20403 (2021), and Santini et al., arXiv (2018). The demonstration "
            "model was trained on scans of The Cancer Imaging Archive (Clark et al. 2013)."
        )
        slicer.app.startupCompleted.connect(onStartupCompleted)


def onStartupCompleted():
    """Make the comparison's layouts known before a scene is loaded that was saved with one of them shown."""
    from SyntheticContrastLib.scene.compare_layout import addLayouts

    layoutNode = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if layoutNode is not None:
        addLayouts(layoutNode)


class SyntheticContrastWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from SyntheticContrastLib.gui.generate_panel import GeneratePanel

        top = slicer.util.loadUI(self.resourcePath("UI/SyntheticContrast.ui"))
        self.layout.addWidget(top)
        self.ui = slicer.util.childWidgetVariables(top)
        top.setMRMLScene(slicer.mrmlScene)
        self.logic = SyntheticContrastLogic()
        self.panel = GeneratePanel(top, self.ui)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        for event in (slicer.mrmlScene.EndCloseEvent, slicer.mrmlScene.EndImportEvent):
            self.addObserver(slicer.mrmlScene, event, self.onSceneReady)
        self.onSceneReady()

    def enter(self):
        self.panel.enter()

    def exit(self):
        self.panel.exit()

    def onSceneStartClose(self, *_event):
        self.panel.setParameters(None)

    def onSceneReady(self, *_event):
        """Connect again: in a scene that is loaded the parameters come before the volumes that they refer to."""
        self.panel.setParameters(self.logic.getParameterNode())

    def cleanup(self):
        self.removeObservers()
        self.panel.close()


class SyntheticContrastLogic(ScriptedLoadableModuleLogic):
    """Generates without a window as well: in scripts, and in `Slicer --no-main-window`."""

    def getParameterNode(self):
        from SyntheticContrastLib.gui.parameters import GenerateParameters

        return GenerateParameters(ScriptedLoadableModuleLogic.getParameterNode(self))

    def models(self):
        """Names of the model bundles that `generate` knows."""
        from SyntheticContrastLib.models.bundle import discover

        return list(discover())

    def generate(
        self,
        inputNode,
        outputNode=None,
        model=None,
        step=1,
        device="auto",
        precision="auto",
        uncertainty=False,
        heartMask=None,
        heartSegment="",
        phase=None,
        level=None,
        waitForCompletion=True,
        onProgress=lambda: None,
        onFinished=lambda: None,
    ):
        """Make an sCECT of a volume node. The scene changes only when all has gone well.

        Args:
            outputNode: an empty volume or an earlier sCECT to fill; a new volume by default.
            model: name or folder of a bundle; the one that ships by default.
            step: where windows of slices step through the CT: slices from one window to the next (1 to 16).
            uncertainty: for a model of the whole chest: whether to add a volume with the standard deviation of several
                predictions, too.
            heartMask: for a model of the heart, a segmentation node of it; found in the CT by default.
            heartSegment: id of the segment that is the heart, where the node holds several.
            phase, level: for a model of shares of contrast, as of generate.py: "arterial" (default), "pulmonary" or
                "portal"; of the brightest vessels in HU, that of the phase by default.
            device, precision: as of generate.py.
            onProgress, onFinished: called without arguments when something has changed, and at the end.

        Returns:
            The sCECT node; with waitForCompletion=False at once the `Generation`, with `running`, `progress`,
            `cancel()`, and at the end `outcome` ("done", "cancelled", "failed"), `output` and `message`.

        Raises:
            InputError: the input, the output or the model cannot be used (a ValueError).
            OSError: no space, or the process cannot be started.
            RuntimeError: the generation failed or was cancelled, with what to do. Only when waited for.
        """
        import time

        from SyntheticContrastLib.gui.generation import Generation, Order
        from SyntheticContrastLib.models.bundle import find_bundle

        order = Order(
            find_bundle(model), step, device, precision, uncertainty, heartMask, heartSegment, phase=phase, level=level
        )
        generation = Generation(inputNode, outputNode, order, onProgress=onProgress, onFinished=onFinished)
        generation.start()
        if not waitForCompletion:
            return generation
        try:
            while generation.running:
                slicer.app.processEvents()
                time.sleep(0.02)
        finally:
            generation.close()
        if generation.outcome != "done":
            raise RuntimeError(generation.message or _("The generation was cancelled."))
        return generation.output


class SyntheticContrastTest(ScriptedLoadableModuleTest):
    """Needs no network. Without PyTorch, generating is left out, and said to be."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        for test in (
            self.test_default_model_is_found,
            self.test_generate_and_compare,
            self.test_bad_input_is_refused,
        ):
            self.setUp()
            test()

    def test_default_model_is_found(self):
        from SyntheticContrastLib.models.bundle import DEFAULT_MODEL

        self.assertIn(DEFAULT_MODEL, SyntheticContrastLogic().models())

    def test_generate_and_compare(self):
        ncct, cect = makePhantomPair()
        try:
            import torch  # noqa: F401
        except ImportError:
            self.delayDisplay("PyTorch is not installed: generating is not tested, the CECT stands in for the sCECT.")
            self.checkComparison(ncct, cect)
            return
        scect = self.checkGeneration(ncct)
        self.checkComparison(ncct, scect, cect)

    def checkGeneration(self, ncct):
        import tempfile
        from pathlib import Path

        self.delayDisplay("Generating with a tiny model")
        with tempfile.TemporaryDirectory() as folder:
            bundle = writeTinyBundle(Path(folder, "tiny"))
            scect = SyntheticContrastLogic().generate(ncct, model=bundle, step=8, device="cpu", precision="fp32")
        self.assertEqual(scect.GetName(), f"{ncct.GetName()} sCECT")
        self.assertIs(scect.GetNodeReference("SyntheticContrast.Source"), ncct)
        self.assertIn("not for diagnosis", scect.GetAttribute("SyntheticContrast.Note"))
        self.assertEqual(scect.GetAttribute("SyntheticContrast.Model"), "tiny")
        self.assertEqual(scect.GetImageData().GetDimensions(), ncct.GetImageData().GetDimensions())
        for name in ("GetSpacing", "GetOrigin"):
            self.assertEqual(getattr(scect, name)(), getattr(ncct, name)())
        values = slicer.util.arrayFromVolume(scect)
        self.assertEqual(values.dtype.name, "int16")
        self.assertGreaterEqual(values.min(), -1000)
        self.assertLessEqual(values.max(), 1000)
        self.assertTrue((values != slicer.util.arrayFromVolume(ncct)).any())
        return scect

    def checkComparison(self, ncct, scect, cect=None):
        from SyntheticContrastLib.scene.compare_layout import isComparison
        from SyntheticContrastLib.scene.comparison import Comparison

        self.delayDisplay("Comparing")
        layoutNode = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        before = layoutNode.GetViewArrangement() if layoutNode is not None else None
        volumes = {"NCCT": ncct, "sCECT": scect} | ({"CECT": cect} if cect is not None else {})
        comparison = Comparison(slicer.mrmlScene)
        comparison.show(volumes, ("sCECT", "NCCT"))
        self.assertEqual(set(comparison.volumes), {*volumes, "difference"})
        comparison.setPreset("vascular")
        for node in volumes.values():
            self.assertEqual((node.GetDisplayNode().GetWindow(), node.GetDisplayNode().GetLevel()), (1000, 200))
        if slicer.app.layoutManager() is None:
            self.delayDisplay("There are no views: their linking is not tested.")
        else:
            self.assertTrue(isComparison(layoutNode.GetViewArrangement()))
            self.checkLinking(comparison)
        comparison.leave()
        if layoutNode is not None:
            self.assertEqual(layoutNode.GetViewArrangement(), before)

    def checkLinking(self, comparison):
        """Moving the first view by its own controller moves the others."""
        from SyntheticContrastLib.scene.compare_layout import ROLES

        widgets = [slicer.app.layoutManager().sliceWidget(ROLES[role].tag) for role in comparison.volumes]
        logics = [widget.sliceLogic() for widget in widgets]
        offset = logics[0].GetSliceOffset() + 15
        widgets[0].sliceController().setSliceOffsetValue(offset)
        for logic in logics:
            self.assertAlmostEqual(logic.GetSliceOffset(), offset, places=3)

    def test_bad_input_is_refused(self):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        count = slicer.mrmlScene.GetNumberOfNodes()
        with self.assertRaisesRegex(ValueError, "no voxels"):
            SyntheticContrastLogic().generate(node)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), count)


def makePhantomPair():
    """A small phantom, for tests: NCCT and CECT volume nodes."""
    from SyntheticContrastLib.scene.sample import addPhantomPair

    return addPhantomPair(slicer.mrmlScene, (20, 96, 96), (12.0, 3.75, 3.75))


def writeTinyBundle(folder):
    """A bundle of a very small generator with random weights, for tests. Needs PyTorch."""
    import torch

    from SyntheticContrastLib.models.bundle import Card, write_bundle
    from SyntheticContrastLib.models.choi2021 import Generator

    torch.manual_seed(0)
    card = Card(
        name="tiny",
        description="random weights, for tests",
        architecture="choi2021",
        architecture_arguments={"gf": 2, "depth": 16, "norm": "keras"},
        input_windows=((2000.0, 0.0), (1000.0, 200.0), (500.0, 50.0)),
        output_window=(2000.0, 0.0),
        patch_depth=16,
        slice_order="superior-to-inferior",
        recipe="none",
        training_data=(),
        figures={},
        intended_use="tests",
        licence="Apache-2.0",
    )
    return write_bundle(folder, Generator(gf=2), card).folder
