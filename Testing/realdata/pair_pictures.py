"""The picture of a real pair: NCCT, sCECT and real CECT side by side, window 350/50; axial slices and a coronal one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

TITLES = ("NCCT", "sCECT - synthetic", "CECT (real)")
PIXEL_MM = 0.8  # of the picture
BAR = 18  # pixels, for the words above a row


def save_picture(
    path: Path,
    volumes: tuple[NDArray, ...],
    region: NDArray[np.bool_],
    spacing: tuple[float, float, float],
    title: str,
    axial: int = 4,
) -> None:
    """PNG: `axial` slices spread over the depth of `region`, and the coronal row through its middle.

    volumes: two or three of NCCT, sCECT and CECT, (Z, Y, X), HU. region: the blood, as a rule.
    """
    depth = np.flatnonzero(region.any(axis=(1, 2)))
    rows = np.flatnonzero(region.any(axis=(0, 2)))
    levels = np.unique(np.linspace(depth[0], depth[-1], axial + 2)[1:-1].round().astype(int))
    coronal = int(np.average(np.arange(region.shape[1]), weights=region.sum(axis=(0, 2)))) if len(rows) else 0
    strips = [
        _strip([volume[z] for volume in volumes], spacing[1:], f"{title}, slice {z + 1} of {len(region)}")
        for z in levels
    ]
    planes = [volume[:, coronal] for volume in volumes]
    strips.append(_strip(planes, (spacing[0], spacing[2]), f"{title}, coronal row {coronal + 1}"))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(strips)).save(path)


def _strip(planes: list[NDArray], spacing: tuple[float, ...], title: str) -> NDArray[np.uint8]:
    tiles = []
    for name, plane in zip(TITLES, planes, strict=False):
        grey = (np.clip((plane.astype(np.float32) - 50) / 350 + 0.5, 0, 1) * 255).astype(np.uint8)
        height, width = (round(side * mm / PIXEL_MM) for side, mm in zip(plane.shape, spacing, strict=True))
        tile = Image.new("L", (width, height + BAR))
        tile.paste(Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR), (0, BAR))
        ImageDraw.Draw(tile).text((4, 3), f"{name}: {title}" if not tiles else name, fill=255)
        tiles.append(np.asarray(tile))
    return np.concatenate(tiles, axis=1)
