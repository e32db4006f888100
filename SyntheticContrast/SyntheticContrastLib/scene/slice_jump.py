"""Slice views that show a plane, and the place in their middle."""

from __future__ import annotations

import numpy as np
import slicer
from numpy.typing import NDArray

LEAST_COSINE = 0.7  # of the angle between a view and the plane that it is turned to
SAME_PLANE = 1e-6


def jumpTo(scene: slicer.vtkMRMLScene, place: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    """Bring the plane through a place (RAS mm) into all views that look about along its normal.

    A view that is a little oblique to it is turned into it: a circle is seen whole only in its own plane.
    """
    for node in _shown(scene, normal):
        across = np.array([node.GetSliceToRAS().GetElement(row, 0) for row in range(3)])
        facing = _normal(node) @ normal
        if abs(facing) < 1 - SAME_PLANE:
            node.SetSliceToRASByNTP(*(np.sign(facing) * normal), *across, *place, 0)
        else:
            node.JumpSliceByOffsetting(*place)


def middleOfView(scene: slicer.vtkMRMLScene, normal: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """RAS mm, of the first view that looks about along the normal; None if there is none."""
    node = next(iter(_shown(scene, normal)), None)
    if node is None:
        return None
    width, height, _ = node.GetDimensions()
    return np.array(node.GetXYToRAS().MultiplyPoint((width / 2, height / 2, 0, 1))[:3])


def _shown(scene: slicer.vtkMRMLScene, normal: NDArray[np.float64]) -> list[slicer.vtkMRMLSliceNode]:
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode", scene)
    return [node for node in nodes if node.IsMappedInLayout() and abs(_normal(node) @ normal) > LEAST_COSINE]


def _normal(node: slicer.vtkMRMLSliceNode) -> NDArray[np.float64]:
    return np.array([node.GetSliceToRAS().GetElement(row, 2) for row in range(3)])
