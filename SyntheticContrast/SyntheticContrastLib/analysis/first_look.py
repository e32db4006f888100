"""The middle slice before and after, to look at while the rest of the volume is still converted."""

from __future__ import annotations

from pathlib import Path

from numpy.typing import NDArray

from SyntheticContrastLib.analysis.similarity import READING_WINDOW
from SyntheticContrastLib.ct.atomic import atomic_file
from SyntheticContrastLib.ct.disclaimer import DISCLAIMER

DPI = 100
SIDE, MARGIN = 4.5, 0.42  # inches: the width of one slice, and the height of the line above and of that below


def write_first_look(
    path: Path, ncct: NDArray, scect: NDArray, spacing_yx: tuple[float, float], middle: int, slices: int
) -> None:
    """Write a PNG of 900 pixels' width: NCCT and sCECT side by side. Its text is large: a panel shows it half as wide.

    Args:
        ncct, scect: (Y, X) in HU, slice `middle` (counted from 0 at the top) of `slices`.
        spacing_yx: mm.
    """
    from matplotlib.figure import Figure

    height, width = ncct.shape
    tall = SIDE * height * spacing_yx[0] / (width * spacing_yx[1])
    figure = Figure(figsize=(2 * SIDE, tall + 2 * MARGIN), dpi=DPI, facecolor="black")
    edge = MARGIN / figure.get_figheight()
    window, level = READING_WINDOW
    for left, image, title in ((0.0, ncct, "NCCT (input)"), (0.5, scect, "sCECT (synthetic)")):
        axes = figure.add_axes((left + 0.002, edge, 0.496, 1 - 2 * edge))
        axes.imshow(image, cmap="gray", vmin=level - window / 2, vmax=level + window / 2, aspect="auto")
        axes.set_axis_off()
        figure.text(left + 0.25, 1 - edge / 2, title, color="white", fontsize=15, ha="center", va="center")
    note = f"{DISCLAIMER}  |  first look: middle slice, {middle + 1} of {slices}  |  {window:g}/{level:g} HU"
    figure.text(0.5, edge / 2, note, color="orange", fontsize=15, ha="center", va="center")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", facecolor="black")
