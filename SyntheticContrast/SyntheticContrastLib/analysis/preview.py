"""One picture that shows at a glance what a synthesis did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.atomic import atomic_file

WINDOW = (500, 50)  # mediastinal (Choi 2021): width, level in HU
DIFFERENCE_LIMIT = 300  # HU
AXIAL_LEVELS = (0.3, 0.5, 0.7)  # of the volume, from the top


def write_preview(
    path: Path, ncct: NDArray, scect: NDArray, spacing_zyx: tuple[float, float, float], model: str
) -> None:
    """Write a PNG: three axial slices and a coronal one; NCCT, sCECT and their difference side by side.

    Args:
        ncct, scect: (Z, Y, X) in HU, canonical axes, one grid.
        spacing_zyx: mm.
        model: the model's name, for the title.
    """
    from matplotlib.figure import Figure

    depth, height, width = ncct.shape
    axial = [min(depth - 1, round(level * depth)) for level in AXIAL_LEVELS]
    coronal = height // 2
    z_mm, y_mm, x_mm = spacing_zyx
    views = [(np.s_[z], f"axial, slice {z + 1} of {depth}", y_mm / x_mm) for z in axial]
    views.append((np.s_[:, coronal], f"coronal, row {coronal + 1} of {height}", z_mm / x_mm))

    row_heights = [height * y_mm] * len(axial) + [depth * z_mm]
    columns = 3
    scale = 3.4 / (width * x_mm)
    figure = Figure(figsize=(columns * 3.4 + 1.0, sum(row_heights) * scale + 1.1), dpi=110, facecolor="black")
    axes = figure.subplots(
        len(views), columns, squeeze=False, gridspec_kw={"height_ratios": row_heights, "wspace": 0.02, "hspace": 0.03}
    )
    low, high = WINDOW[1] - WINDOW[0] / 2, WINDOW[1] + WINDOW[0] / 2
    grey = {"cmap": "gray", "vmin": low, "vmax": high}
    signed = {"cmap": "RdBu_r", "vmin": -DIFFERENCE_LIMIT, "vmax": DIFFERENCE_LIMIT}
    for row, (where, name, aspect) in zip(axes, views, strict=True):
        before, after = ncct[where].astype(np.float32), scect[where].astype(np.float32)
        # Below -1000 HU there is nothing to compare: the sCECT ends there.
        for axis, image, style in zip(
            row, (before, after, after - np.maximum(before, -1000)), (grey, grey, signed), strict=True
        ):
            axis.imshow(image, aspect=aspect, interpolation="antialiased", **style)
            axis.set_axis_off()
        row[0].text(0.02, 0.02, name, color="yellow", fontsize=8, transform=row[0].transAxes)
    for axis, title in zip(axes[0], ("NCCT (input)", "sCECT (synthetic)", "sCECT - NCCT"), strict=True):
        axis.set_title(title, color="white", fontsize=11)
    figure.subplots_adjust(
        left=0.01, right=0.91, top=1 - 0.7 / figure.get_figheight(), bottom=0.3 / figure.get_figheight()
    )
    bar = figure.colorbar(axes[0][-1].images[0], cax=figure.add_axes((0.925, 0.35, 0.015, 0.3)))
    bar.set_label("HU", color="white")
    bar.ax.tick_params(colors="white", labelsize=8)
    figure.suptitle(
        f"synthetic - not for diagnosis   |   model {model}",
        color="orange",
        fontsize=11,
        y=1 - 0.12 / figure.get_figheight(),
    )
    figure.text(
        0.01,
        0.08 / figure.get_figheight(),
        f"window width {WINDOW[0]}, level {WINDOW[1]} HU; patient's right is on the left",
        color="grey",
        fontsize=8,
    )
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", facecolor="black")
