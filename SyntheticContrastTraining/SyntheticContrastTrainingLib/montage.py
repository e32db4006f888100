"""The picture of a run: input, output, target and their difference, for a few fixed slices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.atomic import atomic_file

MEDIASTINAL = (350.0, 50.0)  # (width, level) in HU, the paper's window for reading
TITLES = ("input (NCCT or VNC)", "output (sCECT)", "target (CECT)", "output - target, +-200 HU")


def save_montage(path: Path, rows: Sequence[tuple[NDArray, NDArray, NDArray]], title: str) -> None:
    """Write a PNG. Each row is an axial slice: input, output and target, (Y, X) in HU."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, level = MEDIASTINAL
    figure = Figure(figsize=(4 * 3.2, 3.2 * len(rows) + 0.5))
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 4, squeeze=False)
    for line, (ncct, output, target) in zip(axes, rows, strict=True):
        grey = {"cmap": "gray", "vmin": level - width / 2, "vmax": level + width / 2}
        difference = output.astype(np.float32) - target
        for axis, image in zip(line, (ncct, output, target), strict=False):
            axis.imshow(image, **grey)
        line[3].imshow(difference, cmap="RdBu_r", vmin=-200, vmax=200)
    for axis, name in zip(axes[0], TITLES, strict=True):
        axis.set_title(name, fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.suptitle(title, fontsize=9)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1 - 0.55 / figure.get_figheight(), wspace=0.01, hspace=0.01)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=80, format="png")
