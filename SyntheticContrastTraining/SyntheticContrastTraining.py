"""Module 3, Synthetic Contrast Training: train a model on your own paired scans."""

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


class SyntheticContrastTraining(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Synthetic Contrast Training")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = ["SyntheticContrast"]
        parent.contributors = ["The Synthetic Contrast developers"]
        parent.helpText = _(
            "Trains a model on your own pairs of NCCT and CECT: prepare the training set, train, look at curves and "
            "pictures, and export a model for the module Synthetic Contrast. The headless prepare.py, train.py and "
            "export.py do the work in the background."
        )
        parent.acknowledgementText = _("After Choi et al. (2021) and Santini et al. (2018).")


class SyntheticContrastTrainingWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from SyntheticContrastTrainingLib.gui.training_panel import TrainingPanel

        top = slicer.util.loadUI(self.resourcePath("UI/SyntheticContrastTraining.ui"))
        self.layout.addWidget(top)
        self.ui = slicer.util.childWidgetVariables(top)
        top.setMRMLScene(slicer.mrmlScene)
        self.logic = SyntheticContrastTrainingLogic()
        self.panel = TrainingPanel(top, self.ui)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.onSceneEndClose()

    def enter(self):
        self.panel.refresh()

    def onSceneStartClose(self, *_event):
        self.panel.setParameters(None)

    def onSceneEndClose(self, *_event):
        self.panel.setParameters(self.logic.getParameterNode())

    def cleanup(self):
        self.removeObservers()
        self.panel.close()


class SyntheticContrastTrainingLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        from SyntheticContrastTrainingLib.gui.parameters import TrainingParameters

        return TrainingParameters(ScriptedLoadableModuleLogic.getParameterNode(self))


class SyntheticContrastTrainingTest(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_the_panel_says_what_is_missing()

    def test_the_panel_says_what_is_missing(self):
        widget = slicer.util.getModuleWidget("SyntheticContrastTraining")
        parameters = widget.panel.parameters
        self.assertFalse(widget.ui.prepareButton.enabled)
        self.assertIn("table of cases", widget.ui.prepareButton.toolTip)
        widget.ui.settingsLineEdit.text = "gf=16"
        self.assertEqual(parameters.settings, "gf=16")
        parameters.recipe = "l1"
        self.assertEqual(widget.ui.recipeComboBox.currentText, "l1")
        slicer.mrmlScene.Clear()
        self.assertEqual(widget.panel.parameters.settings, "")
