"""Generating from a script in Slicer without a main window: what the README's example does, and its failures."""

import tempfile
import unittest
from pathlib import Path

import slicer


class SyntheticContrastHeadlessSelfTest(unittest.TestCase):
    def setUp(self):
        import SyntheticContrast

        slicer.mrmlScene.Clear()
        self.module = SyntheticContrast
        self.logic = SyntheticContrast.SyntheticContrastLogic()
        self.ncct, self.cect = SyntheticContrast.makePhantomPair()

    def test_an_empty_volume_is_refused(self):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        with self.assertRaisesRegex(ValueError, "no voxels"):
            self.logic.generate(node)

    def test_generate_into_the_same_node_twice(self):
        with tempfile.TemporaryDirectory() as folder:
            model = self.tiny_bundle(Path(folder, "tiny"))
            scect = self.logic.generate(self.ncct, model=model, step=8, device="cpu")
            first = slicer.util.arrayFromVolume(scect).copy()
            again = self.logic.generate(self.ncct, scect, model=model, step=8, device="cpu", uncertainty=True)
        self.assertIs(again, scect)
        self.assertTrue((slicer.util.arrayFromVolume(scect) == first).all())
        deviation = slicer.util.arrayFromVolume(slicer.util.getNode(f"{scect.GetName()} uncertainty"))
        self.assertEqual(deviation.shape, first.shape)
        self.assertGreater(deviation.max(), 0)

    def test_cancel(self):
        with tempfile.TemporaryDirectory() as folder:
            model = self.tiny_bundle(Path(folder, "tiny"))
            before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
            generation = self.logic.generate(self.ncct, model=model, waitForCompletion=False)
            generation.cancel()
            while generation.running:
                slicer.app.processEvents()
        self.assertEqual(generation.outcome, "cancelled")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"), before)

    def tiny_bundle(self, folder):
        try:
            return self.module.writeTinyBundle(folder)
        except ImportError:
            self.skipTest("PyTorch is not installed in this Slicer")
