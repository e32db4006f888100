"""The Bland-Altman plot of two sets of volumes, as PNG or SVG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from SyntheticContrastLib.analysis.agreement import LIMITS_SD, bland_altman
from SyntheticContrastLib.ct.atomic import atomic_file

COLOUR = "#1f5a8a"


def write_bland_altman(
    path: Path, first: ArrayLike, second: ArrayLike, names: tuple[str, str] = ("threshold", "reference")
) -> None:
    """Difference against mean of (N,) and (N,) mL of the same cases, with the bias and the limits of agreement.

    path: .png or .svg; it appears only when whole.

    Raises:
        InputError: fewer than 2 cases, or a value that is missing.
    """
    from matplotlib.figure import Figure

    found = bland_altman(first, second)
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    figure = Figure(figsize=(6.4, 4.4), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.scatter((one + other) / 2, one - other, s=28, color=COLOUR, zorder=3)
    lines = (
        (found.upper, "--", f"+{LIMITS_SD:g} SD"),
        (found.bias, "-", "bias"),
        (found.lower, "--", f"\N{MINUS SIGN}{LIMITS_SD:g} SD"),
    )
    for value, style, name in lines:
        axes.axhline(value, linestyle=style, color="black", linewidth=1)
        axes.annotate(
            f"{name} {value:.1f}",
            (1, value),
            (-4, 3),
            ("axes fraction", "data"),
            "offset points",
            ha="right",
            fontsize=9,
        )
    axes.set_xlabel(f"mean of {names[0]} and {names[1]} (mL)")
    axes.set_ylabel(f"{names[0]} \N{MINUS SIGN} {names[1]} (mL)")
    axes.set_title(f"Left heart chambers, {found.cases} cases", fontsize=11)
    axes.margins(0.15)
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower())
