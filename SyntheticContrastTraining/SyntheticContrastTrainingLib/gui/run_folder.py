"""What the folder of a run tells about it, while it is written and later. No Qt, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastTrainingLib.curves import read_log
from SyntheticContrastTrainingLib.recipes import Recipe


@dataclass(frozen=True)
class RunState:
    """Where a run stands. Of figures the last ones logged; loss, MAE (HU) and PSNR (dB) are None before."""

    recipe: Recipe | None = None  # None: the run has not begun
    step: int = 0
    steps: int = 0
    loss: float | None = None
    secondsLeft: float | None = None
    mae: float | None = None
    psnr: float | None = None
    inputPsnr: float | None = None
    checkpoint: Path | None = None  # the best, or else the last
    curves: Path | None = None
    montage: Path | None = None  # the latest

    @property
    def begun(self) -> bool:
        return self.recipe is not None

    @property
    def finished(self) -> bool:
        return 0 < self.steps == self.step


def readRun(folder: Path) -> RunState:
    """The names are those of run.py and checkpoint.py, which import torch."""
    try:
        recipe = Recipe.from_json((folder / "recipe.json").read_text(encoding="utf-8"))
        lines = read_log(folder / "log.jsonl") if (folder / "log.jsonl").is_file() else []
    except (OSError, UnicodeDecodeError, InputError):
        return RunState()
    losses: dict[str, Any] = next((line for line in reversed(lines) if "loss" in line), {})
    scores: dict[str, Any] = next((line for line in reversed(lines) if "psnr" in line), {})
    return RunState(
        recipe,
        losses.get("step", 0),
        losses.get("steps", 0),
        losses.get("loss"),
        losses.get("seconds_left"),
        scores.get("mae"),
        scores.get("psnr"),
        scores.get("input_psnr"),
        existing([folder / "best.pt", folder / "last.pt", folder / "previous.pt"]),
        existing([folder / "curves.png"]),
        max(folder.glob("montage_*.png"), default=None),
    )


def existing(paths: list[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
