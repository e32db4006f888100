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


class SyntheticContrast(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Synthetic Contrast")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = []
        parent.contributors = ["The Synthetic Contrast developers"]
        parent.helpText = _(
            "Makes a synthetic contrast-enhanced CT (sCECT) from a non-contrast chest CT. "
            "Synthetic images are for research, not for diagnosis."
        )
        parent.acknowledgementText = _(
            "Reimplements Choi et al., Sci Rep 11:20403 (2021), and Santini et al., arXiv (2018). The demonstration "
            "model was trained on scans of The Cancer Imaging Archive (Clark et al. 2013)."
        )


class SyntheticContrastWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        import qt

        label = qt.QLabel(
            _("This release converts CTs headless, with SyntheticContrastCLI/generate.py. See the README.")
        )
        label.wordWrap = True
        self.layout.addWidget(label)
        self.layout.addStretch(1)


class SyntheticContrastLogic(ScriptedLoadableModuleLogic):
    def models(self):
        """Names of the model bundles that `generate.py --model` knows."""
        from SyntheticContrastLib.models.bundle import discover

        return list(discover())


class SyntheticContrastTest(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_default_model_is_found()

    def test_default_model_is_found(self):
        from SyntheticContrastLib.models.bundle import DEFAULT_MODEL

        self.assertIn(DEFAULT_MODEL, SyntheticContrastLogic().models())
