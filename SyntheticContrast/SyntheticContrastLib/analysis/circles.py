"""A circle region of interest (ROI) in the patient's space, and the voxels of any volume that it holds.

A circle lies in a plane of the world. Of a volume it holds, in every column of voxels along the array axis that runs
nearest to the circle's normal, the one voxel nearest to the plane, if that voxel's centre, seen along the normal, is no
further from the circle's centre than the radius. Where the plane is parallel to the slices this is the nearest slice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.errors import InputError

Point: TypeAlias = tuple[float, float, float]

SD_DDOF = 1  # the sample SD: the squared deviations are divided by n - 1
RIM_POINTS = 64


@dataclass(frozen=True)
class Circle:
    """Centre (x, y, z) and diameter in mm, in the coordinates of the volumes' affines (LPS, RAS or a parent's).

    The normal's length does not matter; it is that of an axial slice by default.

    Raises:
        InputError: a diameter that is not above 0, a normal without length, or a number that is not finite.
    """

    centre: Point
    diameter: float
    normal: Point = (0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        numbers = np.array([*self.centre, *self.normal, self.diameter], np.float64)
        if numbers.size != 7 or not np.isfinite(numbers).all():
            raise InputError("a circle has a centre, a normal and a diameter of finite numbers in mm")
        if self.diameter <= 0:
            raise InputError(f"a circle of {self.diameter:g} mm holds nothing: give a diameter above 0")
        if not any(self.normal):
            raise InputError("the normal of a circle cannot be 0, 0, 0")

    @classmethod
    def through(cls, centre: Point, rim: Point, normal: Point = (0.0, 0.0, 1.0)) -> Circle:
        """From its centre and a point on its rim, in mm; how far the rim lies beside the plane does not count."""
        across = np.cross(np.subtract(rim, centre), _unit(normal))
        return cls(centre, 2 * float(np.linalg.norm(across)), normal)


@dataclass(frozen=True)
class RoiStatistics:
    """Mean and SD in HU (SD with ddof = `SD_DDOF`; NaN for a single voxel), and how many voxels there are."""

    mean: float
    sd: float
    voxels: int


def measure(array: NDArray, affine: NDArray[np.float64], circle: Circle) -> RoiStatistics:
    """Mean and SD of the voxels in the circle; see `voxels_inside`.

    Args:
        array: (Z, Y, X), HU.
        affine: (4, 4), array voxel (x, y, z, 1) -> mm.

    Raises:
        InputError: the circle lies outside the volume, or holds no voxel.
    """
    return statistics(values_inside(array, affine, circle))


def values_inside(array: NDArray, affine: NDArray[np.float64], circle: Circle) -> NDArray[np.float64]:
    """(N,): the values of the (Z, Y, X) array in the circle. Raises InputError as `voxels_inside`."""
    shape_z, shape_y, shape_x = array.shape
    z, y, x = voxels_inside((shape_z, shape_y, shape_x), affine, circle).T
    return array[z, y, x].astype(np.float64)


def statistics(values: NDArray[np.float64]) -> RoiStatistics:
    """Of (N,) values in HU, N at least 1."""
    sd = float(np.std(values, ddof=SD_DDOF)) if values.size > SD_DDOF else math.nan
    return RoiStatistics(float(np.mean(values)), sd, int(values.size))


def voxels_inside(shape_zyx: tuple[int, int, int], affine: NDArray[np.float64], circle: Circle) -> NDArray[np.intp]:
    """(N, 3): the indices (z, y, x) of the voxels in the circle, N at least 1.

    Args:
        shape_zyx: of the array.
        affine: (4, 4), array voxel (x, y, z, 1) -> mm; oblique and anisotropic grids are fine.

    Raises:
        InputError: a part of the circle lies outside the volume, or it is smaller than a voxel and holds none.
    """
    size = np.array(shape_zyx[::-1])
    steps, origin = affine[:3, :3], affine[:3, 3]
    centre, radius, normal = np.array(circle.centre), circle.diameter / 2, _unit(circle.normal)
    to_voxel = np.linalg.inv(steps)

    rim = (_rim(centre, radius, normal) - origin) @ to_voxel.T
    if (rim < -0.5 - 1e-6).any() or (rim > size - 0.5 + 1e-6).any():
        raise InputError(
            f"the circle of {circle.diameter:.1f} mm lies outside the volume, or sticks out of it: move it inside"
        )
    # The axis of the columns, and where the plane cuts each of them.
    along = int(np.argmax(np.abs(normal @ (steps / np.linalg.norm(steps, axis=0)))))
    others = [axis for axis in range(3) if axis != along]
    low = np.maximum(np.floor(rim.min(axis=0)).astype(int) - 1, 0)  # the voxels' slice may lie aside of the plane
    high = np.minimum(np.ceil(rim.max(axis=0)).astype(int) + 2, size)
    index = np.zeros((high[others[0]] - low[others[0]], high[others[1]] - low[others[1]], 3))
    index[..., others[0]], index[..., others[1]] = np.meshgrid(
        *(np.arange(low[axis], high[axis]) for axis in others), indexing="ij"
    )
    cut = ((centre - origin) @ normal - (index @ steps.T) @ normal) / (steps[:, along] @ normal)
    index[..., along] = np.floor(np.round(cut, 6) + 0.5)  # rounded: half-way is half-way in every column

    offset = index @ steps.T + origin - centre
    beside = offset - (offset @ normal)[..., None] * normal
    inside = np.einsum("...i,...i", beside, beside) <= radius**2 * (1 + 1e-9)
    inside &= (index[..., along] >= 0) & (index[..., along] < size[along])
    if not inside.any():
        raise InputError(f"the circle of {circle.diameter:.2g} mm holds the centre of no voxel: make it larger")
    return index[inside][:, ::-1].astype(np.intp)


def _rim(centre: NDArray, radius: float, normal: NDArray) -> NDArray[np.float64]:
    """(RIM_POINTS, 3): points on the rim, mm."""
    first = np.cross(normal, np.eye(3)[int(np.argmin(np.abs(normal)))])
    first /= np.linalg.norm(first)
    angle = np.linspace(0, 2 * math.pi, RIM_POINTS, endpoint=False)[:, None]
    return centre + radius * (np.cos(angle) * first + np.sin(angle) * np.cross(normal, first))


def _unit(vector: Point) -> NDArray[np.float64]:
    return np.array(vector, np.float64) / np.linalg.norm(vector)
