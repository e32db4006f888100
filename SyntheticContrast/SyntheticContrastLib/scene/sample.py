"""The phantom pair as volume nodes: data to try the module with, without a download and without a patient."""

from __future__ import annotations

import numpy as np
import slicer
from numpy.typing import NDArray

from SyntheticContrastLib.ct.volume import CTVolume
from SyntheticContrastLib.scene.windows import PRESETS, setWindow

_RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def addPhantomPair(
    scene: slicer.vtkMRMLScene,
    shape_zyx: tuple[int, int, int] = (48, 256, 256),
    spacing_zyx: tuple[float, float, float] = (5.0, 1.4, 1.4),
) -> tuple[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLScalarVolumeNode]:
    """Add an NCCT and a CECT of the same made-up chest. shape_zyx: (Z, Y, X); spacing_zyx: mm."""
    from SyntheticContrastLib.ct.phantom import thorax_phantom  # scipy

    phantom = thorax_phantom(shape_zyx, spacing_zyx)
    names = {"NCCT": phantom.ncct, "CECT": phantom.cect}
    ncct, cect = (addCT(scene, phantom.volume(hu), hu, f"Phantom {name}") for name, hu in names.items())
    return ncct, cect


def addPhantomChambers(
    scene: slicer.vtkMRMLScene,
    shape_zyx: tuple[int, int, int] = (40, 128, 128),
    spacing_zyx: tuple[float, float, float] = (6.0, 2.8, 2.8),
) -> tuple[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLSegmentationNode]:
    """Add a CECT of the made-up chest, and a segmentation "reference" of its left atrium and ventricle."""
    from SyntheticContrastLib.ct.phantom import thorax_phantom
    from SyntheticContrastLib.scene.chambers import STRUCTURES
    from SyntheticContrastLib.scene.masks import addSegmentation, putSegment

    phantom = thorax_phantom(shape_zyx, spacing_zyx)
    volume = phantom.volume(phantom.cect)
    cect = addCT(scene, volume, phantom.cect, "Phantom CECT")
    reference = addSegmentation(cect, "reference")
    for name in ("left atrium", "left ventricle"):
        mask = phantom.mask(name.replace(" ", "_"))
        putSegment(reference, STRUCTURES[name], cect, np.ascontiguousarray(volume.to_stored(mask)))
    return cect, reference


def addCT(scene: slicer.vtkMRMLScene, volume: CTVolume, hu_zyx: NDArray, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a volume node of (Z, Y, X) HU on the stored grid of `volume`."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(_RAS_LPS @ volume.grid.affine))
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(volume.to_stored(hu_zyx)))
    setWindow(node, *PRESETS["mediastinal"])
    return node
