"""The picture of a run: input, output, target and their difference, in three windows, for a few fixed slices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.atomic import atomic_file

# (width, level) in HU
WINDOWS = {"lung": (1500.0, -600.0), "vascular": (1000.0, 200.0), "mediastinal": (350.0, 50.0)}
TITLES = ("input (NCCT or VNC)", "output (sCECT)", "target (CECT)", "output - target, +-200 HU")
SIDE = 3.2  # inches


def save_montage(path: Path, slices: Sequence[tuple[NDArray, NDArray, NDArray]], title: str) -> None:
    """Write a PNG with a row for each slice and window. A slice is input, output and target, (Y, X) in HU."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [(images, name) for images in slices for name in WINDOWS]
    figure = Figure(figsize=(4 * SIDE, SIDE * len(rows) + 0.5))
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 4, squeeze=False)
    for line, ((ncct, output, target), name) in zip(axes, rows, strict=True):
        width, level = WINDOWS[name]
        low, high = level - width / 2, level + width / 2
        for axis, image in zip(line, (ncct, output, target), strict=False):
            axis.imshow(image, cmap="gray", vmin=low, vmax=high)
        difference = np.clip(output.astype(np.float32), low, high) - np.clip(target, low, high)
        line[3].imshow(difference, cmap="RdBu_r", vmin=-200, vmax=200)
        line[0].text(0.02, 0.98, name, color="yellow", fontsize=8, va="top", transform=line[0].transAxes)
    for axis, heading in zip(axes[0], TITLES, strict=True):
        axis.set_title(heading, fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    height = figure.get_figheight()
    figure.suptitle(title, fontsize=9, y=1 - 0.08 / height, va="top")
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1 - 0.55 / height, wspace=0.01, hspace=0.01)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=80, format="png")
