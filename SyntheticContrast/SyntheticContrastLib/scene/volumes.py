"""CT volume nodes as input of a generation, and what it made back as a node on the same grid."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import SimpleITK
import slicer
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _

from SyntheticContrastLib.ct.check import check_angles, check_hu, check_slice_count, check_spacing
from SyntheticContrastLib.ct.disclaimer import DISCLAIMER
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.volume import CTVolume, Grid
from SyntheticContrastLib.ct.write import write_whole
from SyntheticContrastLib.scene.contrast_mark import MadeContrast, markContrast
from SyntheticContrastLib.scene.windows import PRESETS, setWindow

MODEL_ATTRIBUTE = "SyntheticContrast.Model"
WEIGHTS_ATTRIBUTE = "SyntheticContrast.WeightsSHA256"
NOTE_ATTRIBUTE = "SyntheticContrast.Note"
SOURCE_REFERENCE = "SyntheticContrast.Source"
# Files of the CLI and DICOM series say it in the name; a discectomy or a synthetic graft does not.
_SYNTHETIC_NAME = re.compile(rf"(?<![a-z])scect(?![a-z])|{DISCLAIMER}", re.IGNORECASE)
_RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def checkInput(node: slicer.vtkMRMLNode | None) -> str:
    """Why a node cannot be the input of a generation, in one line; empty when it can.

    A parent transform does not matter, whatever its kind: it says where the patient lies in the scene, not how the
    slices lie in the patient, and the output gets the same one.
    """
    try:
        toCT(node)
    except InputError as error:
        return str(error)
    return ""


def checkOutput(node: slicer.vtkMRMLNode | None, inputNode: slicer.vtkMRMLNode | None) -> str:
    """Why a node cannot receive an sCECT, in one line; empty when it can, or when there is none: a new one is made.

    Only an empty volume or an earlier sCECT is overwritten, so that no measured CT is lost to a wrong choice.
    """
    if node is None:
        return ""
    if node is inputNode:
        return _("the output is the input itself: choose a new volume")
    if node.GetClassName() != "vtkMRMLScalarVolumeNode":
        return _("{name} cannot hold a CT: choose a new volume as output").format(name=node.GetName())
    if node.GetImageData() is not None and not isSynthetic(node):
        return _("{name} holds an image that is not synthetic: choose a new volume as output").format(
            name=node.GetName()
        )
    return ""


def isSynthetic(node: slicer.vtkMRMLVolumeNode) -> bool:
    """By its attribute, or by its name: a file saved and loaded again may have lost the attribute."""
    return node.GetAttribute(NOTE_ATTRIBUTE) is not None or bool(_SYNTHETIC_NAME.search(node.GetName() or ""))


def toCT(node: slicer.vtkMRMLNode | None) -> CTVolume:
    """The voxels of a node as a CT, on the node's own grid without its parent transform.

    Raises:
        InputError: the node cannot be the input of a generation.
    """
    if node is None:
        raise InputError(_("no CT is selected: choose the non-contrast CT as input"))
    name = node.GetName()
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(_("{name} is not a volume: choose a CT").format(name=name))
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(_("{name} is a label map: choose a CT").format(name=name))
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        raise InputError(_("{name} has no voxels: load it again").format(name=name))
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(
            _("the voxels of {name} have {count} components (colour or vector image): choose a CT").format(
                name=name, count=image.GetNumberOfScalarComponents()
            )
        )
    if image.GetScalarSize() == 1:
        raise InputError(_("{name} holds 8-bit values, which cannot be HU: choose the original CT").format(name=name))
    if isSynthetic(node):
        raise InputError(
            _("{name} is synthetic already: choose the non-contrast CT that it was made from").format(name=name)
        )
    stored = slicer.util.arrayFromVolume(node)
    grid = gridOf(node)
    check_spacing(grid.spacing)
    check_slice_count(grid.shape_zyx[0])
    check_angles(grid.affine)
    check_hu(stored)
    return CTVolume(grid.from_stored(stored), grid)


def gridOf(node: slicer.vtkMRMLVolumeNode) -> Grid:
    """The node's own IJK-to-world, without its parent transform, in LPS.

    Raises:
        InputError: axes of no length, or parallel ones.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    try:
        i, j, k = node.GetImageData().GetDimensions()
        return Grid((i, j, k), _RAS_LPS @ slicer.util.arrayFromVTKMatrix(matrix))
    except ValueError:
        raise InputError(
            _("{name} has no valid spacing or directions: load it again").format(name=node.GetName())
        ) from None


def writeInput(node: slicer.vtkMRMLVolumeNode, folder: Path) -> Path:
    """Write a node's voxels as `ncct.nrrd`, int16 HU, uncompressed: what the child process reads.

    folder: private and temporary, for example a `tempfile.TemporaryDirectory` that lives as long as the run. The file
        has no name of a node, which may name a patient.

    Raises:
        InputError: see `toCT`.
        OSError: no space, or no permission.
    """
    volume = toCT(node)
    limits = np.iinfo(np.int16)
    hu = np.clip(np.rint(volume.to_stored(volume.hu)), limits.min, limits.max).astype(np.int16)
    image = SimpleITK.GetImageFromArray(hu)
    image.SetSpacing(volume.grid.spacing)
    image.SetOrigin(volume.grid.origin)
    image.SetDirection(volume.grid.direction.ravel().tolist())
    path = Path(folder) / "ncct.nrrd"
    write_whole(path, image, compress=False)
    return path


def fingerprint(node: slicer.vtkMRMLVolumeNode) -> str:
    """Another one as soon as a voxel has another value."""
    return hashlib.sha256(np.ascontiguousarray(slicer.util.arrayFromVolume(node)).data).hexdigest()


def readOutput(path: Path, inputNode: slicer.vtkMRMLVolumeNode) -> NDArray:
    """(K, J, I) of the file that the child process wrote for `inputNode`: int16 HU, or of an uncertainty float32.

    Raises:
        InputError: the file is not on the node's grid: the node was changed meanwhile.
        OSError: the file cannot be read.
    """
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise OSError(_("cannot read {name}: the generation did not end well").format(name=Path(path).name)) from error
    grid = Grid.from_parts(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    if inputNode.GetImageData() is None or not grid.matches(gridOf(inputNode)):
        raise InputError(_("{name} was changed during the generation: generate again").format(name=inputNode.GetName()))
    values: NDArray = SimpleITK.GetArrayFromImage(image)
    return values


def addSynthetic(
    inputNode: slicer.vtkMRMLScalarVolumeNode,
    hu: NDArray | Path,
    model: str,
    weightsSHA256: str,
    outputNode: slicer.vtkMRMLScalarVolumeNode | None = None,
    contrast: MadeContrast | None = None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Put an sCECT into the scene: on the input's grid and under its parent transform, beside it in the hierarchy.

    hu: (K, J, I) on the input's grid, rounded to int16 HU; or the file that the child process wrote.
    model, weightsSHA256: of the card of the model.
    outputNode: an earlier sCECT or an empty volume to fill; a new one by default, named "<input> sCECT".
    contrast: of a model of shares: the node and its name say it, "<input> sCECT arterial 350".

    The input's own window becomes the mediastinal one, as the output's. Nothing changes when an error is raised.

    Raises:
        InputError: see `checkOutput` and `readOutput`.
        ValueError: `hu` has another shape than the input.
        OSError: the file cannot be read.
    """
    if reason := checkOutput(outputNode, inputNode):
        raise InputError(reason)
    values = readOutput(hu, inputNode) if isinstance(hu, Path) else hu
    shape = slicer.util.arrayFromVolume(inputNode).shape
    if values.shape != shape:
        raise ValueError(f"an sCECT of shape {values.shape} is not on the input's grid of shape {shape}")
    limits = np.iinfo(np.int16)
    values = np.clip(np.rint(values), limits.min, limits.max).astype(np.int16)

    scene = inputNode.GetScene()
    if outputNode is None:
        name = f"{inputNode.GetName()} sCECT" + (f" {contrast.contrast.words}" if contrast is not None else "")
        outputNode = slicer.vtkSlicerVolumesLogic.CloneVolumeWithoutImageData(scene, inputNode, name)
        _forget(outputNode)
    with slicer.util.NodeModify(outputNode):
        outputNode.CopyOrientation(inputNode)  # origin, spacing and directions
        slicer.util.updateVolumeFromArray(outputNode, values)
        outputNode.SetAndObserveTransformNodeID(inputNode.GetTransformNodeID())
        if not _SYNTHETIC_NAME.search(outputNode.GetName() or ""):
            outputNode.SetName(f"{outputNode.GetName()} sCECT")
        outputNode.SetAttribute(MODEL_ATTRIBUTE, model)
        outputNode.SetAttribute(WEIGHTS_ATTRIBUTE, weightsSHA256)
        outputNode.SetAttribute(NOTE_ATTRIBUTE, DISCLAIMER)
        markContrast(outputNode, contrast)
        outputNode.SetNodeReferenceID(SOURCE_REFERENCE, inputNode.GetID())
    for node in (inputNode, outputNode):
        setWindow(node, *PRESETS["mediastinal"])
    _placeBeside(outputNode, inputNode)
    return outputNode


def addUncertainty(
    syntheticNode: slicer.vtkMRMLScalarVolumeNode, deviation: NDArray[np.float32]
) -> slicer.vtkMRMLScalarVolumeNode:
    """Put an uncertainty map beside its sCECT, named "<sCECT> uncertainty".

    deviation: (K, J, I), the standard deviation of the overlapping predictions in HU.
    """
    name = f"{syntheticNode.GetName()} uncertainty"
    node = slicer.vtkSlicerVolumesLogic.CloneVolumeWithoutImageData(syntheticNode.GetScene(), syntheticNode, name)
    slicer.util.updateVolumeFromArray(node, deviation.astype(np.float32))
    setWindow(node, 100, 50)
    _placeBeside(node, syntheticNode)
    return node


def sourceOf(node: slicer.vtkMRMLVolumeNode | None) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The NCCT that an sCECT was made from, while it is in the scene."""
    return node.GetNodeReference(SOURCE_REFERENCE) if node is not None else None


def _forget(clone: slicer.vtkMRMLVolumeNode) -> None:
    """Drop what a clone must not share with its original: a synthetic volume is no instance of the source's series."""
    for name in clone.GetAttributeNames():
        if name.startswith("DICOM."):
            clone.RemoveAttribute(name)
    clone.SetDescription("")


def _placeBeside(node: slicer.vtkMRMLNode, sibling: slicer.vtkMRMLNode) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    siblingItem = hierarchy.GetItemByDataNode(sibling)
    parent = hierarchy.GetItemParent(siblingItem) if siblingItem else hierarchy.GetSceneItemID()
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)
