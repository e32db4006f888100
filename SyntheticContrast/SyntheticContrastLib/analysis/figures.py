"""What all figures of a report share: colours, and how they are written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from SyntheticContrastLib.analysis.evaluation import CECT, NCCT, SCECT
from SyntheticContrastLib.ct.atomic import atomic_file
from SyntheticContrastLib.ct.disclaimer import DISCLAIMER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {NCCT: "#5b7fa6", SCECT: "#d9822b", CECT: "#5a5a5a"}
FORMATS = ("png", "svg", "pdf")
DPI = 110
NO_DATE: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def new_figure(width: float, height: float) -> Figure:
    """Inches; drawn without a display, marked as synthetic."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.supxlabel(DISCLAIMER, fontsize=7, color="#b03000", x=0.995, ha="right")
    return figure


def save_figure(figure: Figure, stem: Path) -> None:
    """Write stem.png, stem.svg and stem.pdf; the text of the latter two stays text."""
    from matplotlib import rc_context

    figure.draw_without_rendering()  # the layout is settled once, not for each format
    figure.set_layout_engine("none")
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": stem.name, "pdf.fonttype": 42}):
        for format_ in FORMATS:
            with atomic_file(stem.with_name(f"{stem.name}.{format_}")) as temporary:
                figure.savefig(temporary, format=format_, dpi=DPI, metadata=NO_DATE[format_])


def p_text(p: float) -> str:
    """As the papers write it."""
    if p != p:  # NaN: no test
        return "no test"
    return "P < .001" if p < 0.001 else f"P = {p:.3f}".replace("0.", ".", 1)
