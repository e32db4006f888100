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


def addCT(scene: slicer.vtkMRMLScene, volume: CTVolume, hu_zyx: NDArray, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a volume node of (Z, Y, X) HU on the stored grid of `volume`."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(_RAS_LPS @ volume.grid.affine))
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(volume.to_stored(hu_zyx)))
    setWindow(node, *PRESETS["mediastinal"])
    return node
