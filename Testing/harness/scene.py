"""A real MRML scene with the logics that Slicer has, and nothing of its windows."""

from __future__ import annotations

import types

import slicer
import vtk

LOGICS = {
    "colors": None,  # the application logic's own
    "volumes": "vtkSlicerVolumesLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "terminologies": "vtkSlicerTerminologiesModuleLogic",
    "tables": "vtkSlicerTablesLogic",
    "plots": "vtkSlicerPlotsLogic",
    "cropvolume": "vtkSlicerCropVolumeLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "sequences": "vtkSlicerSequencesLogic",
}


def openScene():
    """A fresh `slicer.mrmlScene`, with its logics below `slicer.modules`. Returns it and the application logic."""
    scene = slicer.vtkMRMLScene()
    slicer.mrmlScene = scene
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetMRMLScene(scene)
    logic.GetColorLogic().SetMRMLScene(scene)
    logic.GetColorLogic().AddDefaultColorNodes()
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    slicer.modules = types.SimpleNamespace()
    shown = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.SetGlobalWarningDisplay(0)  # slicer-core has no files of terminologies
    for name, kind in LOGICS.items():
        if kind is None:
            module_logic = logic.GetColorLogic()
        else:
            module_logic = getattr(slicer, kind)()
            module_logic.SetMRMLApplicationLogic(logic)
            module_logic.SetMRMLScene(scene)
            logic.SetModuleLogic(name.capitalize(), module_logic)
        setattr(slicer.modules, name, types.SimpleNamespace(logic=lambda found=module_logic: found))
    vtk.vtkObject.SetGlobalWarningDisplay(shown)
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    scene.AddObserver(scene.NodeAddedEvent, addToHierarchy)
    return scene, logic


@vtk.calldata_type(vtk.VTK_OBJECT)
def addToHierarchy(scene, _event, node):
    """A data node has an item in the subject hierarchy at once: in Slicer a part of its windows sees to that."""
    if node.IsA("vtkMRMLStorableNode") and not node.IsA("vtkMRMLColorNode") and not node.GetHideFromEditors():
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        if not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
