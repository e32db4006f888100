"""measure.py as a user meets it: tables of known values, refusals in one line, the exit status."""

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from SyntheticContrastLib.analysis.circles import Circle
from SyntheticContrastLib.analysis.cnr import AORTA, FAT_LEFT, FAT_RIGHT, LESION
from SyntheticContrastLib.analysis.markups import write_lesions
from SyntheticContrastLib.ct.phantom import thorax_phantom, write_phantom_series
from unit import entry

MEASURE = Path(entry.GENERATE).with_name("measure.py")
SHAPE, SPACING = (48, 200, 200), (5.0, 1.8, 1.8)
SLICE = 17  # with the lymph node and the descending aorta in it


@pytest.fixture(scope="module")
def phantom():
    return thorax_phantom(SHAPE, SPACING)


@pytest.fixture(scope="module")
def files(phantom, tmp_path_factory):
    """NCCT as DICOM, CECT as NRRD; masks; markups of two lesions, one of them with an aorta circle outside."""
    folder = tmp_path_factory.mktemp("measure")
    write_phantom_series(folder / "ncct", phantom.ncct, SPACING)
    volume = phantom.volume(phantom.cect)

    def write(name, array):
        image = sitk.GetImageFromArray(np.ascontiguousarray(volume.to_stored(array)))
        image.SetSpacing(volume.grid.spacing)
        image.SetOrigin(volume.grid.origin)
        sitk.WriteImage(image, str(folder / name), True)

    left = phantom.mask("left_ventricle") | phantom.mask("left_atrium")
    write("cect.nrrd", phantom.cect)
    write("reference.nrrd", left.astype(np.uint8))
    write("heart.nrrd", (left | phantom.mask("myocardium")).astype(np.uint8))

    def middle(name, left_side=None):
        where = phantom.mask(name)[SLICE].copy()
        if left_side is not None:
            where[:, slice(0, 100) if left_side else slice(100, None)] = False
        from scipy.ndimage import distance_transform_edt

        y, x = np.unravel_index(np.argmax(distance_transform_edt(where)), where.shape)
        return tuple(float(mm) for mm in (volume.grid.canonical_affine @ [x, y, SLICE, 1])[:3])

    circles = {
        LESION: Circle(middle("lymph_node"), 9.0),
        AORTA: Circle(middle("aorta", left_side=True), 9.0),
        FAT_RIGHT: Circle(middle("fat", left_side=False), 9.0),
        FAT_LEFT: Circle(middle("fat", left_side=True), 9.0),
    }
    write_lesions(folder / "lesions.mrk.json", {"4R": circles})
    broken = {"5": circles | {AORTA: Circle((900, 0, 0), 9.0)}}
    write_lesions(folder / "broken.mrk.json", {"4R": circles} | broken)
    return folder


@pytest.fixture
def measure(capsys):
    return lambda *arguments: entry.call(MEASURE, arguments, capsys)


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def volumes(files):
    return ["--volume", f"NCCT={files / 'ncct'}", "--volume", f"CECT={files / 'cect.nrrd'}"]


def test_cnr_of_a_dicom_series_and_a_file(files, measure, tmp_path, phantom):
    done = measure("cnr", "--markups", files / "lesions.mrk.json", *volumes(files), "--output", tmp_path / "cnr.csv")
    assert (done.status, done.err) == (0, "")
    ncct, cect = table(tmp_path / "cnr.csv")
    assert (ncct["lesion"], ncct["volume"], cect["volume"]) == ("4R", "NCCT", "CECT")
    for row, lesion, aorta, fat in ((ncct, 35, 40, -105), (cect, 75, 350, -102)):  # as the phantom is painted
        assert float(row["lesion_mean_hu"]) == pytest.approx(lesion, abs=8)
        assert float(row["aorta_mean_hu"]) == pytest.approx(aorta, abs=8)
        for side in ("fat_right", "fat_left"):
            assert float(row[f"{side}_mean_hu"]) == pytest.approx(fat, abs=8)
            assert int(row[f"{side}_voxels"]) == pytest.approx(np.pi * 4.5**2 / 1.8**2, rel=0.2)
        noise = np.hypot(float(row["fat_right_sd_hu"]), float(row["fat_left_sd_hu"])) / np.sqrt(2)
        assert float(row["noise_hu"]) == pytest.approx(noise, rel=1e-4)
        contrast = abs(float(row["aorta_mean_hu"]) - float(row["lesion_mean_hu"]))
        assert float(row["cnr"]) == pytest.approx(contrast / noise, rel=1e-4)
        assert (row["warnings"], row["error"]) == ("", "")
    assert float(cect["diameter_mm"]) == 9
    assert "4R, CECT: CNR" in done.out


def test_a_lesion_that_cannot_be_measured_does_not_stop_the_rest(files, measure, tmp_path):
    done = measure("cnr", "--markups", files / "broken.mrk.json", *volumes(files), "--output", tmp_path / "cnr.csv")
    assert done.status == 2
    assert done.err.count("\n") == 2 and "measure.py: 5, CECT: aorta: the circle" in done.err
    rows = table(tmp_path / "cnr.csv")
    assert [(row["lesion"], bool(row["cnr"]), bool(row["error"])) for row in rows] == [
        ("4R", True, False),
        ("4R", True, False),
        ("5", False, True),
        ("5", False, True),
    ]


def test_chambers_against_a_reference(files, measure, tmp_path, phantom):
    arguments = ["--volume", files / "cect.nrrd", "--heart-mask", files / "heart.nrrd"]
    arguments += ["--reference", files / "reference.nrrd", "--threshold", 250, "--fill-holes"]
    outputs = ["--slices", tmp_path / "s.csv", "--segmentation", tmp_path / "found.nrrd"]
    done = measure("chambers", *arguments, "--output", tmp_path / "c.csv", *outputs)
    assert (done.status, done.err) == (0, "")
    [row] = table(tmp_path / "c.csv")
    left = phantom.mask("left_ventricle") | phantom.mask("left_atrium")
    assert float(row["reference_ml"]) == pytest.approx(left.sum() * 5 * 1.8 * 1.8 / 1000, rel=1e-4)
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "found.nrrd")))[::-1] > 0
    dice = 2 * (found & left).sum() / (found[left.any(axis=(1, 2))].sum() + left.sum())
    assert float(row["dice"]) == pytest.approx(dice, abs=1e-5)
    assert dice > 0.9
    slices = table(tmp_path / "s.csv")
    assert [int(one["slice"]) for one in slices] == np.flatnonzero(left.any(axis=(1, 2))).tolist()
    assert float(row["slice_dice_mean"]) == pytest.approx(np.mean([float(one["dice"]) for one in slices]), abs=1e-4)
    assert int(row["slices"]) == len(slices)


def test_chambers_without_mask_and_reference(files, measure, tmp_path):
    done = measure("chambers", "--volume", files / "cect.nrrd", "--output", tmp_path / "c.csv", "--keep-largest")
    assert done.status == 0, done.err
    [row] = table(tmp_path / "c.csv")
    assert row["heart"] == "found in the CT"
    assert float(row["chambers_ml"]) > 50 and row["dice"] == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["cnr", "--markups", "none.json", "--volume", "CECT=CECT.nrrd", "--output", "x.csv"],
            "none.json does not exist",
        ),
        (["cnr", "--markups", "MARKUPS", "--volume", "cect.nrrd", "--output", "x.csv"], "give a name and a path"),
        (["cnr", "--markups", "MARKUPS", "--volume", "A=a", "--volume", "A=b", "--output", "x.csv"], "given twice"),
        (["cnr", "--markups", "MARKUPS", "--volume", "A=none.nrrd", "--output", "x.csv"], "none.nrrd does not exist"),
        (["cnr", "--markups", "MARKUPS", "--volume", "A=a", "--output", "x.txt"], "ends in .csv"),
        (["chambers", "--volume", "none.nrrd", "--output", "x.csv"], "none.nrrd does not exist"),
        (["chambers", "--volume", "CECT", "--output", "x.csv", "--slices", "s.csv"], "needs a --reference"),
        (
            ["chambers", "--volume", "CECT", "--heart-mask", "HEART", "--threshold", "2500", "--output", "x.csv"],
            "2500 HU",
        ),
        (["chambers", "--volume", "CECT", "--output", "x.csv", "--threshold", "nan"], "number of HU"),
        (["chambers", "--output", "x.csv"], "required: --volume"),
        ([], "required"),
    ],
)
def test_refused_in_one_line(files, measure, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    names = {"MARKUPS": files / "lesions.mrk.json", "CECT": files / "cect.nrrd", "HEART": files / "heart.nrrd"}
    done = measure(*[names.get(argument, argument) for argument in arguments])
    assert done.status == 2
    assert says in done.err and "\n" not in done.err.strip()
    assert list(tmp_path.iterdir()) == []


def test_an_output_is_not_overwritten_unasked(files, measure, tmp_path):
    output = tmp_path / "cnr.csv"
    output.write_text("mine")
    arguments = ["cnr", "--markups", files / "lesions.mrk.json", *volumes(files), "--output", output]
    assert measure(*arguments).status == 2 and output.read_text() == "mine"
    assert measure(*arguments, "--overwrite").status == 0 and output.read_text() != "mine"


def test_as_a_process(files, tmp_path):
    arguments = ["cnr", "--markups", files / "lesions.mrk.json", "--volume", f"CECT={files / 'cect.nrrd'}"]
    done = entry.run_after("", MEASURE, *arguments, "--output", tmp_path / "cnr.csv")
    assert (done.status, done.err) == (0, "")
    refused = entry.run_after("", MEASURE, *arguments, "--output", tmp_path / "cnr.csv")
    assert refused.status == 2 and refused.err.startswith("measure.py: ") and refused.err.count("\n") == 1
