"""Slicer's own Segment Editor, opened on a segmentation."""

from __future__ import annotations

import slicer

TAG = "SegmentEditor"  # of the module's one node


def openSegmentEditor(
    segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode | None
) -> None:
    """Go to the module, with this segmentation to edit on this volume.

    Raises:
        RuntimeError: there is no main window.
    """
    scene = segmentation.GetScene()
    editor = scene.GetSingletonNode(TAG, "vtkMRMLSegmentEditorNode")
    if editor is None:
        editor = slicer.vtkMRMLSegmentEditorNode()
        editor.SetSingletonTag(TAG)
        editor = scene.AddNode(editor)
    editor.SetAndObserveSegmentationNode(segmentation)
    editor.SetAndObserveSourceVolumeNode(volume)
    slicer.util.selectModule("SegmentEditor")
