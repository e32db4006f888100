"""Module 2, Synthetic Contrast Analysis: CNR circles, left heart chambers, Dice."""

from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget


class SyntheticContrastAnalysis(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Synthetic Contrast Analysis")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = []
        parent.contributors = ["The Synthetic Contrast developers"]
        parent.helpText = _("Will measure contrast-to-noise ratio and left heart chambers on NCCT, sCECT and CECT.")
        parent.acknowledgementText = _("After Choi et al. (2021) and Santini et al. (2018).")


class SyntheticContrastAnalysisWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        import qt

        label = qt.QLabel(_("The measuring tools are not in this release."))
        label.wordWrap = True
        self.layout.addWidget(label)
        self.layout.addStretch(1)
