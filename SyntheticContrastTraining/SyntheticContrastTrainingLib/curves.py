"""The curves of a run, drawn from its log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from SyntheticContrastLib.ct.atomic import atomic_file

LOSSES = ("loss", "l1", "rmse", "bce", "gan", "discriminator_real", "discriminator_fake")
SCORES = {"mae": "MAE, HU", "psnr": "PSNR, dB"}


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log.jsonl, without one that was cut off."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


def draw_curves(log: Path, path: Path) -> None:
    """Write a PNG: the losses, and MAE and PSNR of the validation with those of its input."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = read_log(log)
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, *scores = figure.subplots(1, 3)
    for name in LOSSES:
        if points := [(line["step"], line[name]) for line in lines if name in line]:
            losses.plot(*zip(*points, strict=True), label=name, linewidth=0.8)
    losses.set(title="losses", xlabel="step")
    if any(value > 0 for line in lines for name in LOSSES if (value := line.get(name))):
        losses.set_yscale("log")
        losses.legend(fontsize=8)
    for axis, (name, title) in zip(scores, SCORES.items(), strict=True):
        for key, label in ((name, "output"), (f"input_{name}", "input")):
            if points := [(line["step"], line[key]) for line in lines if key in line]:
                axis.plot(*zip(*points, strict=True), "o-" if key == name else "--", label=label, markersize=3)
                axis.legend(fontsize=8)
        axis.set(title=f"validation {title}, window 350 / 50", xlabel="step")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=80, format="png")
