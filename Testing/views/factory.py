"""Makes small CT volume nodes. Not a test."""

import math

import numpy as np


def add_volume(scene, values, name="CT", spacing=(3.0, 3.0, 5.0), degrees=0.0, origin=(-60.0, -50.0, -40.0)):
    """A volume node of values (K, J, I), turned about the patient's long axis; spacing and origin in RAS mm."""
    import slicer

    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[-cos, sin, 0], [-sin, -cos, 0], [0, 0, 1]]) * spacing
    affine[:3, 3] = -np.array(origin) * (1, 1, -1)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
    slicer.util.updateVolumeFromArray(node, values)
    node.CreateDefaultDisplayNodes()
    return node


def chest(shape=(16, 40, 48), seed=0):
    """(K, J, I) int16: noise around soft tissue in air, unlike under any flip."""
    rng = np.random.default_rng(seed)
    values = np.full(shape, -1000, np.int16)
    values[2:-2, 6:-6, 6:-6] = rng.integers(0, 90, (shape[0] - 4, shape[1] - 12, shape[2] - 12))
    values[3, 8:12, 8:14] = 700
    return values


def sphere(scene, centre, name, spacing, shape):
    """A volume of 400 HU within 15 mm of a place of the world (RAS mm), air elsewhere, on a grid of its own."""
    node = add_volume(scene, np.full(shape, -1000, np.int16), name, spacing)
    import slicer

    affine = ijk_to_ras(node)
    k, j, i = np.indices(shape)
    places = np.stack([i, j, k], axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    values = np.where(np.linalg.norm(places - centre, axis=-1) < 15, 400, -1000).astype(np.int16)
    slicer.util.updateVolumeFromArray(node, values)
    return node


def parent_transform(scene, node, *, matrix=None):
    """Put the node under a linear transform: turned, moved and not axis aligned."""
    import slicer

    if matrix is None:
        matrix = np.eye(4)
        matrix[:3, :3] = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]
        matrix[:3, 3] = (12.5, -7.0, 31.0)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "registration")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def ijk_to_ras(node):
    """(4, 4), without the parent transform."""
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)
