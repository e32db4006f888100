"""The circles of lesions as a Slicer markups file (.mrk.json), the exchange format of the ROI tools and measure.py.

One point list holds them all, two control points a circle: the label is the lesion's name, the description its role
and which point it is ("lesion centre", "lesion rim", "aorta centre", ..., "fat left rim"). The third column of the
centre's orientation is the normal of the circle. Positions are those of the patient (world), LPS or RAS, in mm, cm or m
as the file says; circles are in LPS mm.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from SyntheticContrastLib.analysis.circles import Circle, Point
from SyntheticContrastLib.analysis.cnr import ROLES
from SyntheticContrastLib.ct.atomic import atomic_file
from SyntheticContrastLib.ct.errors import InputError

CENTRE, RIM = "centre", "rim"
SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_TO_LPS = {"LPS": (1, 1, 1), "RAS": (-1, -1, 1)}
_TO_MM = {"um": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1000.0}

Lesions = dict[str, dict[str, Circle]]  # name: role: circle, LPS mm


def read_lesions(path: Path) -> Lesions:
    """In the file's order of names. Points that are not placed, or of no role, are passed over.

    Raises:
        InputError: a missing or damaged file, an unknown unit, half a circle, a circle given twice, or none at all.
    """
    found: dict[tuple[str, str], dict[str, tuple[Point, Point]]] = {}
    for label, what, position, normal in _points(path):
        role, _, end = what.strip().rpartition(" ")
        if role not in ROLES or end not in (CENTRE, RIM):
            continue
        ends = found.setdefault((label, role), {})
        if end in ends:
            raise InputError(f"{path.name}: {label}: the {what} is given twice")
        ends[end] = (position, normal)
    if not found:
        raise InputError(f"{path.name} holds no circle: save the lesions of the analysis module")
    lesions: Lesions = {}
    for (label, role), ends in found.items():
        if missing := {CENTRE, RIM} - set(ends):
            raise InputError(f"{path.name}: {label}: the circle {role} has no {missing.pop()}")
        centre, normal = ends[CENTRE]
        try:
            lesions.setdefault(label, {})[role] = Circle.through(centre, ends[RIM][0], normal)
        except InputError as error:
            raise InputError(f"{path.name}: {label}: {role}: {error}") from error
    return lesions


def write_lesions(path: Path, lesions: Mapping[str, Mapping[str, Circle]]) -> None:
    """Write what `read_lesions` reads and Slicer loads as a point list; replaces an existing file when whole."""
    points = [
        _control_point(number, *point)
        for number, point in enumerate(
            (
                (name, f"{role} {end}", circle.centre if end == CENTRE else _rim(circle), circle.normal)
                for name, circles in lesions.items()
                for role, circle in circles.items()
                for end in (CENTRE, RIM)
            ),
            start=1,
        )
    ]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points}
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps({"@schema": SCHEMA, "markups": [markup]}, indent=1), encoding="utf-8")


def _points(path: Path) -> list[tuple[str, str, Point, Point]]:
    """(label, description, position, normal) of each placed control point, LPS."""
    if not path.is_file():
        raise InputError(f"{path} does not exist: give the .mrk.json file of the circles")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [
            _point(point, _TO_LPS[str(markup.get("coordinateSystem", "LPS"))], _mm(path.name, markup))
            for markup in content["markups"]
            for point in markup["controlPoints"]
            if point.get("positionStatus", "defined") == "defined"
        ]
    except InputError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path.name} is no markups file of Slicer, or damaged: save it again") from error


def _mm(name: str, markup: dict[str, Any]) -> float:
    """How long the unit of a markup's positions is. Slicer writes "mm", or a list that begins with it."""
    units = markup.get("coordinateUnits") or "mm"
    unit = str(units[0] if isinstance(units, list) else units)
    if unit not in _TO_MM:
        raise InputError(f"{name} gives positions in {unit!r}, not in {', '.join(_TO_MM)}: save it again in mm")
    return _TO_MM[unit]


def _point(point: dict[str, Any], signs: tuple[int, int, int], mm: float) -> tuple[str, str, Point, Point]:
    axes = point.get("orientation") or (1, 0, 0, 0, 1, 0, 0, 0, 1)
    x, y, z = (mm * float(sign * value) for sign, value in zip(signs, point["position"], strict=True))
    a, b, c = (float(sign * axes[index]) for sign, index in zip(signs, (2, 5, 8), strict=True))
    return str(point.get("label", "")), str(point.get("description", "")), (x, y, z), (a, b, c)


def _axes(normal: Point) -> np.ndarray:
    """(3, 3), right-handed, the third column along the normal."""
    third = np.array(normal) / np.linalg.norm(normal)
    start = np.eye(3)[int(np.argmin(np.abs(third)))]
    first = start - (start @ third) * third
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(third, first), third], axis=1)


def _rim(circle: Circle) -> Point:
    x, y, z = (float(value) for value in np.array(circle.centre) + circle.diameter / 2 * _axes(circle.normal)[:, 0])
    return x, y, z


def _control_point(number: int, label: str, what: str, position: Point, normal: Point) -> dict[str, Any]:
    return {
        "id": str(number),
        "label": label,
        "description": what,
        "associatedNodeID": "",
        "position": list(position),
        "orientation": _axes(normal).ravel().tolist(),
        "selected": True,
        "locked": False,
        "visibility": True,
        "positionStatus": "defined",
    }
