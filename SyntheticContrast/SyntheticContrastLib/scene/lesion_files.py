"""Lesions out to a .mrk.json and a .csv, which measure.py and other programs read, and in again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer
from slicer.i18n import tr as _

from SyntheticContrastLib.analysis.circles import Circle
from SyntheticContrastLib.analysis.cnr import LESION, SHARE_OF_SHORT_AXIS
from SyntheticContrastLib.analysis.cnr_table import COLUMNS
from SyntheticContrastLib.analysis.csv_table import Row, write_table
from SyntheticContrastLib.analysis.markups import read_lesions, write_lesions
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.scene.lesion import Lesion, newName
from SyntheticContrastLib.scene.world import lps

SUFFIX = ".mrk.json"


def exportLesions(path: Path, lesions: Sequence[Lesion], rows: Sequence[Row]) -> tuple[Path, Path]:
    """Write the circles as `<name>.mrk.json` and the table as `<name>.csv` beside it; returns both.

    Raises:
        InputError: nothing to write, a circle without a size, or two lesions of one name.
        OSError: no space, or no permission.
    """
    names = [lesion.name for lesion in lesions]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(_("two lesions are named {name}: rename one").format(name=min(twice)))
    circles = {lesion.name: lesion.circles() for lesion in lesions}
    if not any(circles.values()):
        raise InputError(_("there is no lesion to export: add one"))
    base = path.name.removesuffix(SUFFIX).removesuffix(".json").removesuffix(".csv")
    markups, table = path.with_name(base + SUFFIX), path.with_name(f"{base}.csv")
    write_lesions(markups, circles)
    write_table(table, COLUMNS, rows)
    return markups, table


def importLesions(path: Path, scene: slicer.vtkMRMLScene) -> list[Lesion]:
    """Add the lesions of a markups file. One whose name is taken gets another; without a lesion circle none is made.

    Raises:
        InputError: a missing or damaged file, or one without lesions.
    """
    found = {name: circles for name, circles in read_lesions(path).items() if LESION in circles}
    if not found:
        raise InputError(_("{name} holds no lesion circle: export the lesions again").format(name=path.name))
    taken = {lesion.name for lesion in Lesion.all(scene)}
    return [_add(scene, newName(scene, name) if name in taken else name, circles) for name, circles in found.items()]


def _add(scene: slicer.vtkMRMLScene, name: str, circles: dict[str, Circle]) -> Lesion:
    circle = circles[LESION]
    normal = np.array(lps(circle.normal))
    normal /= np.linalg.norm(normal)
    lesion = Lesion.create(scene, name, np.array(lps(circle.centre)), normal, circle.diameter / SHARE_OF_SHORT_AXIS)
    for role, other in circles.items():
        if role != LESION:
            lesion.place(role, np.array(lps(other.centre)), other.diameter)
    lesion.draw()
    return lesion
