"""A made-up chest, without and with contrast: for tests, demonstrations and tutorials. No patient is in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from .dicom_write import write_dicom_series
from .volume import CTVolume, Grid

# name: (label, HU without contrast, HU in the arterial phase)
TISSUES: dict[str, tuple[int, float, float]] = {
    "air": (0, -1000, -1000),
    "skin": (1, 20, 25),
    "fat": (2, -105, -102),
    "muscle": (3, 55, 60),
    "bone": (4, 520, 520),
    "marrow": (5, 170, 178),
    "spinal_canal": (6, 28, 32),
    "lung": (7, -860, -850),
    "lung_vessel": (8, 40, 300),
    "airway": (9, -1000, -1000),
    "mediastinal_fat": (10, -95, -92),
    "aorta": (11, 40, 350),
    "pulmonary_artery": (12, 40, 300),
    "vena_cava": (13, 40, 320),
    "myocardium": (14, 45, 100),
    "left_ventricle": (15, 40, 350),
    "right_ventricle": (16, 40, 300),
    "left_atrium": (17, 40, 350),
    "right_atrium": (18, 40, 280),
    "oesophagus": (19, 35, 50),
    "lymph_node": (20, 35, 75),
    "liver": (21, 55, 70),
    "stomach": (22, 30, 35),
    "table": (23, -350, -350),
}
NOISE_HU = 12.0
OUTSIDE_HU = -1024
_BOX_ZYX = (240.0, 358.0, 358.0)  # nominal mm: the anatomy below fills this box, whatever the grid


@dataclass(frozen=True, eq=False)
class Phantom:
    """All arrays are (Z, Y, X) on the canonical axes and share one grid."""

    ncct: NDArray[np.int16]  # HU without contrast
    cect: NDArray[np.int16]  # HU in the arterial phase
    labels: NDArray[np.uint8]  # see TISSUES
    spacing_zyx: tuple[float, float, float]  # mm

    def mask(self, name: str) -> NDArray[np.bool_]:
        """(Z, Y, X): where the tissue of this name is."""
        return self.labels == TISSUES[name][0]

    def volume(self, hu: NDArray) -> CTVolume:
        """`ncct`, `cect` or another (Z, Y, X) array as a volume on a plain axial grid."""
        return CTVolume(hu, Grid.axial(hu.shape, self.spacing_zyx))


def thorax_phantom(
    shape_zyx: tuple[int, int, int] = (48, 256, 256),
    spacing_zyx: tuple[float, float, float] = (5.0, 1.4, 1.4),
    seed: int = 0,
) -> Phantom:
    """A chest from the lung apices to the liver dome, which fills the grid whatever its size.

    seed: chooses the lung vessels and the noise; the same seed gives the same phantom.
    """
    rng = np.random.default_rng(seed)
    labels = _paint(shape_zyx, rng)
    y, x = _nominal_axis(shape_zyx, 1)[:, None], _nominal_axis(shape_zyx, 2)
    outside = np.hypot(y, x) > _BOX_ZYX[1] / 2
    ncct, cect = (_scan(labels, phase, outside, rng) for phase in (1, 2))
    return Phantom(ncct, cect, labels, spacing_zyx)


def write_phantom_series(
    folder: str | Path,
    hu_zyx: NDArray,
    spacing_zyx: tuple[float, float, float],
    *,
    description: str = "Chest phantom",
    overwrite: bool = False,
) -> str:
    """Write a phantom as a scanner-like DICOM series of patient PHANTOM; returns its SeriesInstanceUID.

    hu_zyx: (Z, Y, X) HU on the canonical axes. spacing_zyx: mm.
    """
    volume = CTVolume(hu_zyx, Grid.axial(hu_zyx.shape, spacing_zyx))
    return write_dicom_series(
        folder, hu_zyx, volume, description=description, synthetic=False, patient="PHANTOM", overwrite=overwrite
    )


def _scan(labels: NDArray[np.uint8], phase: int, outside: NDArray[np.bool_], rng: np.random.Generator) -> NDArray:
    """Values of one phase, partial volume blur, correlated noise, the scan circle."""
    values = np.array([tissue[phase] for tissue in TISSUES.values()], np.float32)
    hu = gaussian_filter(values[labels], (0.3, 0.7, 0.7))
    noise = gaussian_filter(rng.standard_normal(labels.shape, np.float32), (0, 0.9, 0.9))
    hu += noise * (NOISE_HU / noise.std())
    hu[:, outside] = OUTSIDE_HU
    return np.clip(np.rint(hu), OUTSIDE_HU, 3071).astype(np.int16)


def _paint(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The labels, painted from the outside in. x to the patient's left, y to the back, z down from the top, mm."""
    labels = np.zeros(shape, np.uint8)
    z = (_nominal_axis(shape, 0) + _BOX_ZYX[0] / 2)[:, None, None]
    y = _nominal_axis(shape, 1)[:, None]
    x = _nominal_axis(shape, 2)

    def fill(name: str, where: NDArray[np.bool_]) -> None:
        labels[np.broadcast_to(where, shape)] = TISSUES[name][0]

    def oval(cx: float, cy: float, rx: NDArray | float, ry: NDArray | float, power: float = 2.0) -> NDArray[np.bool_]:
        return np.abs((x - cx) / rx) ** power + np.abs((y - cy) / ry) ** power <= 1

    def ball(cx: float, cy: float, cz: float, rx: float, ry: float, rz: float) -> NDArray[np.bool_]:
        return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 <= 1

    def tube(name: str, *knots: tuple[float, float, float, float], inside: str = "") -> None:
        _stamp_tube(labels, TISSUES[name][0], knots, TISSUES[inside][0] if inside else None)

    # Wall of the chest.
    fill("skin", oval(0, 2, 160, 112, 2.5))
    fill("fat", oval(0, 2, 157.5, 109.5, 2.5))
    fill("muscle", oval(0, 3, 146, 97, 2.4))
    apex = np.sqrt(np.clip((z + 14) / 70, 0.04, 1))  # the cage narrows towards its top
    cage = oval(0, -2, 136 * apex, 90 * apex, 2.3)
    cavity = oval(0, -2, 127 * apex, 81 * apex, 2.3)
    rib = np.abs((z + 0.55 * y) % 27 - 13.5) < 6.5  # ribs slope down towards the front
    fill("bone", cage & ~cavity & rib & ((np.abs(x) > 32) | (y > 0)))
    fill("muscle", cage & ~cavity & (np.abs(x) < 24) & (y > 0))
    fill("bone", (np.abs(x) < 17) & (np.abs(y + 86) < 6) & (z > 30) & (z < 190))
    fill("marrow", (np.abs(x) < 14) & (np.abs(y + 86) < 3.2) & (z > 33) & (z < 187))

    # Lungs, mediastinum, diaphragm.
    fill("lung", cavity)
    fill("mediastinal_fat", cavity & (oval(4, -12, 42, 78) | ball(22, -20, 168, 76, 60, 62)))
    fill("liver", cavity & ball(-62, 0, 290, 92, 92, 100))
    fill("stomach", cavity & ball(62, 5, 290, 78, 82, 78))

    # Spine.
    disc = (z % 26) < 5
    fill("muscle", oval(0, 80, 44, 20))
    fill("bone", (np.abs(x) < 34) & (np.abs(y - 80 - 0.1 * np.abs(x)) < 4.5) & ~disc)
    fill("bone", (np.abs(x) < 3.5) & (y > 86) & (y < 104) & ~disc)
    fill("bone", oval(0, 80, 13, 12))
    fill("bone", oval(0, 58, 19, 15))
    fill("marrow", oval(0, 58, 16.5, 12.5) & ~disc)
    fill("muscle", oval(0, 58, 16.5, 12.5) & disc)
    fill("spinal_canal", oval(0, 79, 9, 8))

    # Airways with their thin wall, oesophagus.
    for tissue, wall in (("muscle", 1.8), ("airway", 0.0)):
        tube(tissue, (-2, 6, 0, 8.5 + wall), (-2, 14, 104, 8.5 + wall))
        tube(tissue, (-2, 14, 104, 7 + wall), (-38, 20, 128, 6 + wall))
        tube(tissue, (-2, 14, 104, 6.5 + wall), (44, 22, 130, 5.5 + wall))
    tube("oesophagus", (3, 24, 0, 6.5), (5, 33, 110, 6.5), (14, 40, 240, 8))

    # Lung vessels fan out of the hila.
    for side in (-1, 1):
        hilum = (46.0 * side, 8.0, 115.0)
        for _ in range(60):
            direction = rng.normal(size=3) * (0.9, 1, 1.3)
            direction[0] = side * abs(direction[0])
            end = hilum + 105 * direction / np.linalg.norm(direction)
            middle = (np.array(hilum) + end) / 2 + rng.normal(0, 7, 3)
            width = rng.uniform(2.0, 3.8)
            points = [(*hilum, width), (*middle, 0.65 * width), (*end, 0.8)]
            tube("lung_vessel", *[(float(a), float(b), float(c), float(r)) for a, b, c, r in points], inside="lung")

    # Heart: each chamber inside its wall.
    fill("myocardium", ball(10, -46, 176, 36, 25, 40) | ball(-30, -14, 164, 27, 32, 38) | ball(12, 19, 150, 38, 21, 25))
    fill("right_ventricle", ball(10, -46, 176, 32, 21.5, 36))
    fill("right_atrium", ball(-30, -14, 164, 24.5, 29.5, 35))
    fill("left_atrium", ball(12, 19, 150, 36, 19, 23))
    fill("myocardium", ball(50, -14, 176, 36, 33, 45))
    fill("left_ventricle", ball(50, -14, 173, 24, 21, 34))
    tube("left_atrium", (-20, 20, 148, 7), (-58, 24, 150, 5.5))  # pulmonary veins
    tube("left_atrium", (40, 22, 146, 7), (64, 30, 148, 5))

    # Great vessels.
    tube("pulmonary_artery", (16, -46, 142, 13), (22, -36, 118, 14), (24, -24, 108, 13))
    tube("pulmonary_artery", (24, -24, 108, 13), (48, 4, 104, 11), (66, 18, 106, 8))
    tube("pulmonary_artery", (22, -22, 108, 11), (0, -4, 112, 10.5), (-40, 2, 116, 9.5), (-62, 8, 122, 7))
    tube("vena_cava", (-20, -22, 0, 7), (-26, -22, 40, 8.5), (-29, -16, 140, 9.5))
    tube("vena_cava", (34, -30, 14, 6), (4, -42, 46, 6.5), (-24, -24, 58, 7))
    tube("vena_cava", (-30, -6, 190, 10), (-28, 8, 240, 12))
    tube("aorta", (8, -16, 146, 14), (-4, -24, 118, 15.5), (-8, -26, 92, 15.5), (-2, -18, 74, 14.5))
    tube("aorta", (-2, -18, 74, 14.5), (12, 4, 66, 13.5), (25, 28, 76, 12.5), (27, 40, 100, 12), (22, 40, 240, 11))
    for x0, x1, y0, y1, radius in ((-6, -14, -14, -8, 6), (8, 14, -4, -4, 4.5), (20, 28, 12, 6, 5)):
        tube("aorta", (x0, y0, 66, radius), (x1, y1, 0, radius))
    fill("lymph_node", ball(-19, 0, 84, 8, 8, 12))

    fill("table", (np.abs(y - 124 + 0.0006 * x**2) < 3) & (np.abs(x) < 150) & (labels == 0))
    return labels


def _nominal_axis(shape: tuple[int, int, int], axis: int) -> NDArray[np.float64]:
    """Nominal mm of the voxel centres along one array axis, 0 in the middle."""
    return ((np.arange(shape[axis]) + 0.5) / shape[axis] - 0.5) * _BOX_ZYX[axis]


def _stamp_tube(
    labels: NDArray[np.uint8], label: int, knots: Sequence[tuple[float, float, float, float]], inside: int | None
) -> None:
    """Paint balls along straight pieces between (x, y, z, radius) knots; with `inside`, only over that label."""
    voxel = np.array(_BOX_ZYX) / labels.shape
    for x, y, z, radius in _along(knots, step=max(1.5, float(voxel.min()))):
        centre = np.array([z, y + _BOX_ZYX[1] / 2, x + _BOX_ZYX[2] / 2]) / voxel - 0.5
        reach = np.maximum(radius / voxel, 0.5)  # a thin vessel still hits one voxel
        low = np.maximum(np.ceil(centre - reach), 0).astype(int)
        high = np.minimum(np.floor(centre + reach) + 1, labels.shape).astype(int)
        if (low >= high).any():
            continue
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        parts = [((np.arange(a, b) - c) / r) ** 2 for a, b, c, r in zip(low, high, centre, reach, strict=True)]
        ball = parts[0][:, None, None] + parts[1][:, None] + parts[2] <= 1
        if inside is not None:
            ball &= labels[box] == inside
        labels[box][ball] = label


def _along(knots: Sequence[tuple[float, float, float, float]], step: float) -> Iterator[NDArray[np.float64]]:
    points = np.array(knots)
    for start, end in pairwise(points):
        count = int(np.linalg.norm(end[:3] - start[:3]) / step) + 2
        yield from np.linspace(start, end, count)
