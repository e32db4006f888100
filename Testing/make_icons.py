"""Draw the icons of the extension and of its modules from the thorax phantom: left half NCCT, right half CECT."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "SyntheticContrast"))

from SyntheticContrastLib.ct.phantom import thorax_phantom

SIDE, SCALE = 128, 4
BADGES = {"SyntheticContrast": None, "SyntheticContrastAnalysis": "circle", "SyntheticContrastTraining": "curve"}


def draw(phantom, badge):
    z = int(0.55 * len(phantom.ncct))
    halves = np.where(np.arange(phantom.ncct.shape[2]) < phantom.ncct.shape[2] // 2, phantom.ncct[z], phantom.cect[z])
    grey = (np.clip((halves + 150) / 500, 0, 1) * 255).astype(np.uint8)
    grey = grey[np.ix_(*(np.flatnonzero((halves > -500).any(axis)) for axis in (1, 0)))]
    side = SIDE * SCALE
    icon = Image.new("RGB", (side, side))
    chest = Image.fromarray(grey).convert("RGB")
    chest = chest.resize((side, round(side * chest.height / chest.width)), Image.Resampling.LANCZOS)
    icon.paste(chest, (0, (side - chest.height) // 2))
    pen = ImageDraw.Draw(icon)
    pen.line([(side // 2, 0), (side // 2, side)], fill=(255, 160, 0), width=2 * SCALE)
    if badge == "circle":
        for x, y, radius in ((0.58, 0.6, 0.07), (0.05, 0.5, 0.05), (0.945, 0.5, 0.05), (0.52, 0.42, 0.06)):
            box = [side * (x - radius), side * (y - radius), side * (x + radius), side * (y + radius)]
            pen.ellipse(box, outline=(0, 220, 120), width=3 * SCALE)
    if badge == "curve":
        x = np.linspace(0.08, 0.92, 60)
        y = 0.25 + 0.6 * (1 - np.exp(-4 * (x - 0.08)))
        pen.line([(side * a, side * b) for a, b in zip(x, y, strict=True)], fill=(0, 220, 120), width=4 * SCALE)
    return icon.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


phantom = thorax_phantom()
draw(phantom, None).save(REPOSITORY / "Resources" / "SyntheticContrast.png")
for name, badge in BADGES.items():
    folder = "SyntheticContrastTraining" if name == "SyntheticContrastTraining" else "SyntheticContrast"
    draw(phantom, badge).save(REPOSITORY / folder / "Resources" / "Icons" / f"{name}.png")
