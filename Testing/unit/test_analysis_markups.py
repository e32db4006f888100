"""Circles as a markups file: what is written is read again, and what Slicer itself writes is understood."""

import json

import numpy as np
import pytest

from SyntheticContrastLib.analysis.circles import Circle
from SyntheticContrastLib.analysis.markups import read_lesions, write_lesions
from SyntheticContrastLib.ct.errors import InputError


def point(label, what, position, orientation=(-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0), status="defined"):
    """As Slicer 5.13 writes it, with its default orientation."""
    return {
        "id": "1",
        "label": label,
        "description": what,
        "associatedNodeID": "",
        "position": [float(mm) for mm in position],
        "orientation": list(orientation),
        "selected": True,
        "locked": False,
        "visibility": True,
        "positionStatus": status,
    }


def slicer_file(path, points, system="LPS", units="mm"):
    markup = {"type": "Fiducial", "coordinateSystem": system, "coordinateUnits": units, "controlPoints": points}
    path.write_text(json.dumps({"@schema": "…markups-schema-v1.0.4.json#", "markups": [markup]}), encoding="utf-8")
    return path


def test_there_and_back(tmp_path):
    tilted = Circle((1.0, -2.0, 3.0), 9.0, (0.0, 0.6, 0.8))
    lesions = {
        "4R": {"lesion": Circle((10.5, 20.25, -30.0), 12.6), "aorta": tilted},
        "7 ä": {"fat left": Circle((0, 0, 0), 5)},
    }
    write_lesions(tmp_path / "lesions.mrk.json", lesions)
    found = read_lesions(tmp_path / "lesions.mrk.json")
    assert list(found) == list(lesions)
    for name, circles in lesions.items():
        assert list(found[name]) == list(circles)
        for role, circle in circles.items():
            assert found[name][role].centre == pytest.approx(circle.centre)
            assert found[name][role].diameter == pytest.approx(circle.diameter)
            assert np.abs(np.cross(found[name][role].normal, circle.normal)).max() < 1e-12


@pytest.mark.parametrize(("system", "position"), [("LPS", (-1, -2, 3)), ("RAS", (1, 2, 3))])
def test_a_file_of_slicer(tmp_path, system, position):
    rim = np.add(position, (0, 4, 0))
    points = [point("N1", "lesion centre", position), point("N1", "lesion rim", rim), point("N1", "", (0, 0, 0))]
    points.append(point("N1", "aorta centre", (0, 0, 0), status="undefined"))
    found = read_lesions(slicer_file(tmp_path / "a.mrk.json", points, system))
    assert list(found) == ["N1"] and list(found["N1"]) == ["lesion"]
    assert found["N1"]["lesion"] == Circle((-1, -2, 3), 8.0)


CENTRE, RIM = point("N1", "lesion centre", (0, 0, 0)), point("N1", "lesion rim", (3, 0, 0))


@pytest.mark.parametrize(
    ("units", "mm"),
    [("mm", 1), ("cm", 10), ("m", 1000), ("um", 0.001), (["cm", "UCUM", "centimeter"], 10), (None, 1), ("", 1)],
)
def test_positions_in_another_unit_come_out_in_mm(tmp_path, units, mm):
    centre, rim = np.array((-1.5, -2, 3)) / mm, np.array((-1.5, 2, 3)) / mm
    points = [point("N1", "lesion centre", centre), point("N1", "lesion rim", rim)]
    circle = read_lesions(slicer_file(tmp_path / "a.mrk.json", points, units=units))["N1"]["lesion"]
    assert circle.centre == pytest.approx((-1.5, -2, 3)) and circle.diameter == pytest.approx(8.0)


@pytest.mark.parametrize("units", ["inch", 3, ["px"]])
def test_an_unknown_unit_is_refused(tmp_path, units):
    with pytest.raises(InputError, match=r"gives positions in '(inch|3|px)', not in um, mm, cm, m"):
        read_lesions(slicer_file(tmp_path / "a.mrk.json", [CENTRE, RIM], units=units))


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ([], "holds no circle"),
        ([CENTRE], "N1: the circle lesion has no rim"),
        ([RIM], "N1: the circle lesion has no centre"),
        ([CENTRE, RIM, CENTRE], "lesion centre is given twice"),
        ([CENTRE, point("N1", "lesion rim", (0, 0, 0))], "N1: lesion: a circle of 0 mm"),
        ([CENTRE, point("N1", "lesion rim", (0, 0))], "no markups file"),
    ],
)
def test_bad_points(tmp_path, points, says):
    with pytest.raises(InputError, match=says):
        read_lesions(slicer_file(tmp_path / "a.mrk.json", points))


ODD_POINTS = {
    "another system": '{"coordinateSystem": "XYZ", "controlPoints": [{"position": [1, 2, 3]}]}',
    "a short orientation": '{"controlPoints": [{"position": [1, 2, 3], "orientation": [1]}]}',
    "a number without end": f'{{"controlPoints": [{{"position": [1{"0" * 400}, 2, 3]}}]}}',
}


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1]", "[" * 100_000, *(f'{{"markups": [{markup}]}}' for markup in ODD_POINTS.values())],
    ids=["empty", "no markups", "a list", "brackets without end", *ODD_POINTS],
)
def test_what_is_no_markups_file(tmp_path, text):
    (tmp_path / "a.mrk.json").write_text(text)
    with pytest.raises(InputError, match="no markups file"):
        read_lesions(tmp_path / "a.mrk.json")
    with pytest.raises(InputError, match="does not exist"):
        read_lesions(tmp_path / "b.mrk.json")
