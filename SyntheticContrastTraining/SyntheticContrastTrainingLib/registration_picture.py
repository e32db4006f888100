"""The picture of a registration, for a reader to accept or refuse it at a glance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.atomic import atomic_file
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastTrainingLib.registration import find_body

WINDOW = (400.0, 40.0)  # (width, level) in HU
TILE_MM = 30.0
TINT = np.array([1.0, 0.86, 0.64], np.float32)  # of the CECT in the checkerboard
CONTOURS = (("body and lungs", -300.0, "#3cd2ff"), ("bone", 200.0, "#ff4a3d"))  # of the NCCT


def write_picture(
    path: Path,
    fixed_hu: NDArray,
    moving_before: NDArray,
    moving_after: NDArray,
    spacing_zyx: tuple[float, float, float],
    title: str = "",
) -> None:
    """Write a PNG: the NCCT against the CECT before (upper row) and after registration (lower row).

    One axial and one coronal slice, each as a checkerboard, whose tinted tiles are the CECT, and as the CECT with the
    outlines of the NCCT drawn on it.

    fixed_hu: the NCCT. moving_before, moving_after: the CECT on the NCCT's grid, by scanner coordinates and registered.
    All (Z, Y, X) in HU, Z from superior to inferior. spacing_zyx: mm.

    Raises:
        InputError: if the three have different shapes, or the NCCT holds no body.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    if not fixed_hu.shape == moving_before.shape == moving_after.shape:
        raise InputError(
            f"ncct and moved cect have shapes {fixed_hu.shape}, {moving_before.shape} and {moving_after.shape}: "
            "resample the cect to the ncct's grid first"
        )
    body = _body(fixed_hu, spacing_zyx)
    z, y, box = _choose(body, moving_after, spacing_zyx)
    sz, sy, sx = spacing_zyx
    cuts: tuple[tuple[str, Any, tuple[float, float], str], ...] = (
        ("axial", (z, box[1], box[2]), (sy, sx), "RLAP"),
        ("coronal", (box[0], y, box[2]), (sz, sx), "RLHF"),
    )
    sizes = [np.array(fixed_hu[cut].shape) * spacing for _, cut, spacing, _ in cuts]  # mm, (rows, columns)
    widths = [size[1] for size in sizes for _ in range(2)]
    height = max(size[0] for size in sizes)
    scale = 16.0 / sum(widths)  # inches per mm
    figure = Figure(figsize=(16.0, 2 * (height * scale + 0.3) + 0.5), facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 4, gridspec_kw={"width_ratios": widths}, squeeze=False)
    for row, when, moving in zip(axes, ("BEFORE", "AFTER"), (moving_before, moving_after), strict=True):
        for number, (name, cut, spacing, letters) in enumerate(cuts):
            ncct, cect = fixed_hu[cut].astype(np.float32), moving[cut].astype(np.float32)
            board, outline = row[2 * number : 2 * number + 2]
            extent = (0.0, ncct.shape[1] * spacing[1], ncct.shape[0] * spacing[0], 0.0)
            board.imshow(checkerboard(ncct, cect, spacing), extent=extent, interpolation="bilinear")
            board.set_title(f"{when}: {name}, NCCT grey, CECT tinted", color="white", fontsize=10)
            outline.imshow(_grey(cect), cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="bilinear")
            _draw_contours(outline, np.where(body[cut], ncct, -1000.0), spacing)
            outline.set_title(f"{when}: {name}, CECT with outlines of the NCCT", color="white", fontsize=10)
            for axis in (board, outline):
                _finish(axis, extent, letters)
    handles = [Line2D([], [], color=colour, label=f"{name} of the NCCT") for name, _, colour in CONTOURS]
    plain = {"facecolor": "black", "edgecolor": "none", "labelcolor": "white"}
    figure.legend(handles=handles, loc="upper right", ncols=2, fontsize=10, **plain)
    figure.suptitle(title, color="white", fontsize=11, x=0.01, ha="left", y=0.985)
    top = 1 - 0.65 / figure.get_figheight()
    figure.subplots_adjust(left=0.003, right=0.997, bottom=0.005, top=top, wspace=0.015, hspace=0.09)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def checkerboard(ncct: NDArray, cect: NDArray, spacing: tuple[float, float]) -> NDArray[np.float32]:
    """(rows, columns, 3) in 0..1: tiles of TILE_MM that alternate between two slices in HU, the CECT tinted."""
    rows, columns = (
        (np.arange(count) * mm // TILE_MM).astype(int) for count, mm in zip(ncct.shape, spacing, strict=True)
    )
    from_cect = ((rows[:, None] + columns) % 2 == 1)[..., None]
    return np.where(from_cect, _grey(cect)[..., None] * TINT, _grey(ncct)[..., None])


def _body(hu: NDArray, spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    """(Z, Y, X): the body without the table, found on every few voxels.

    Raises:
        InputError: if there is none.
    """
    steps = [max(1, round(4.0 / mm)) for mm in spacing]
    coarse = hu[:: steps[0], :: steps[1], :: steps[2]]
    body, _ = find_body(coarse, tuple(step * mm for step, mm in zip(steps, spacing, strict=True)))
    if not body.any():
        raise InputError("the ncct holds no body: give a chest CT in HU")
    z, y, x = (np.arange(count) // step for count, step in zip(hu.shape, steps, strict=True))
    return body[z][:, y][:, :, x]


def _choose(
    body: NDArray[np.bool_], moving_hu: NDArray, spacing: tuple[float, float, float]
) -> tuple[int, int, tuple[slice, slice, slice]]:
    """The axial and the coronal slice in the middle of what both scans cover, and the box of the body."""
    common = body & (moving_hu > -1000)
    if not common.any():
        common = body
    z, y = (sum(_ends(common, axis)) // 2 for axis in (0, 1))
    box = []
    for axis, mm in enumerate(spacing):
        first, last = _ends(body, axis)
        margin = int(5.0 / mm) if axis else 0
        box.append(slice(max(0, first - margin), last + margin + 1))
    return z, y, (box[0], box[1], box[2])


def _ends(mask: NDArray[np.bool_], axis: int) -> tuple[int, int]:
    """First and last index along an axis with voxels of a mask."""
    used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
    return int(used[0]), int(used[-1])


def _draw_contours(axis: Any, ncct: NDArray, spacing: tuple[float, float]) -> None:
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(ncct, [0.8 / mm for mm in spacing])
    y, x = ((np.arange(count) + 0.5) * mm for count, mm in zip(ncct.shape, spacing, strict=True))
    for _, level, colour in CONTOURS:
        if smooth.min() < level < smooth.max():
            axis.contour(x, y, smooth, levels=[level], colors=[colour], linewidths=0.8, linestyles="solid")


def _finish(axis: Any, extent: tuple[float, float, float, float], letters: str) -> None:
    """No axes, the anatomical side on each edge."""
    axis.set_xlim(extent[0], extent[1])
    axis.set_ylim(extent[2], extent[3])
    axis.set_axis_off()
    places = ((0.015, 0.5), (0.985, 0.5), (0.5, 0.975), (0.5, 0.025))
    for letter, (x, y) in zip(letters, places, strict=True):
        axis.text(x, y, letter, transform=axis.transAxes, color="white", fontsize=9, ha="center", va="center")


def _grey(hu: NDArray) -> NDArray[np.float32]:
    width, level = WINDOW
    return np.clip((hu - (level - width / 2)) / width, 0, 1).astype(np.float32)
