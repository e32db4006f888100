"""Module 3, Synthetic Contrast Training: train a model on your own paired scans."""

from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget


class SyntheticContrastTraining(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Synthetic Contrast Training")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = ["SyntheticContrast"]
        parent.contributors = ["The Synthetic Contrast developers"]
        parent.helpText = _("Trains a model on paired scans, with the headless prepare.py, train.py and export.py.")
        parent.acknowledgementText = _("After Choi et al. (2021) and Santini et al. (2018).")


class SyntheticContrastTrainingWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        import qt

        label = qt.QLabel(
            _("This release trains headless, with SyntheticContrastTrainingCLI/prepare.py, train.py and export.py.")
        )
        label.wordWrap = True
        self.layout.addWidget(label)
        self.layout.addStretch(1)
