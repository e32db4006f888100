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


def test_of_masks_with_several_labels_the_named_ones_are_taken(files, measure, tmp_path):
    for name, other in (("heart", 2), ("reference", 5)):
        image = sitk.ReadImage(str(files / f"{name}.nrrd"))
        labels = sitk.GetArrayFromImage(image)
        labels[:3, :40, :40] = other  # far away
        several = sitk.GetImageFromArray(labels)
        several.CopyInformation(image)
        sitk.WriteImage(several, str(tmp_path / f"{name}.nrrd"))
    (tmp_path / "cases.csv").write_text(
        f"case_id,scect,heart_mask,heart_label,chambers,chambers_label\na,{files / 'cect.nrrd'},heart.nrrd,1,"
        "reference.nrrd,1\n"
    )
    plain = ["--volume", files / "cect.nrrd", "--threshold", 250]
    masks = ["--heart-mask", tmp_path / "heart.nrrd", "--reference", tmp_path / "reference.nrrd"]
    done = measure("chambers", *plain, *masks, "--heart-label", 1, "--output", tmp_path / "c.csv")
    assert done.status == 2 and "reference.nrrd has 2 labels, 1, 5: name the one to take" in done.err
    done = measure(
        "chambers", *plain, *masks, "--heart-label", 1, "--reference-label", 1, "--output", tmp_path / "c.csv"
    )
    assert done.status == 0, done.err
    whole = ["--heart-mask", files / "heart.nrrd", "--reference", files / "reference.nrrd"]
    assert measure("chambers", *plain, *whole, "--output", tmp_path / "w.csv").status == 0
    cohort = ["--cases", tmp_path / "cases.csv", "--threshold", 250, "--output", tmp_path / "cohort"]
    assert measure("chambers", *cohort).status == 0
    found = [table(path)[0] for path in (tmp_path / "c.csv", tmp_path / "w.csv", tmp_path / "cohort" / "chambers.csv")]
    assert len({(row["chambers_ml"], row["reference_ml"], row["dice"]) for row in found}) == 1


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
        (["chambers", "--cases", "none.csv", "--output", "x.csv"], "give a folder"),
        (["chambers", "--cases", "none.csv", "--output", "x"], "none.csv does not exist"),
        (["chambers", "--cases", "none.csv", "--slices", "s.csv", "--output", "x"], "--slices is for one --volume"),
        (["chambers", "--output", "x.csv"], "--volume --cases is required"),
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


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Balls of 400 HU in a block of tissue, drawn a little too small and a little too large by two observers.

    case0 to case3 have a radius of 20 to 32 mm, on 2 x 1.5 x 1.5 mm. Of the others each lacks something.
    """
    folder = tmp_path_factory.mktemp("cohort")
    spacing, shape = (2.0, 1.5, 1.5), (40, 60, 70)
    z, y, x = (axis * side for axis, side in zip(np.indices(shape), spacing, strict=True))
    distance = np.sqrt((z - 39) ** 2 + (y - 44) ** 2 + (x - 52) ** 2)

    def write(name, array):
        image = sitk.GetImageFromArray(np.ascontiguousarray(array[::-1]))
        image.SetSpacing(spacing[::-1])
        sitk.WriteImage(image, str(folder / name), True)

    rows = ["case_id,scect,heart_mask,chambers,chambers_2,last_slice"]
    write("heart.nrrd", (distance < 36).astype(np.uint8))
    for number, (radius, drawn, second) in enumerate([(20, 19, 20), (24, 24, 24), (28, 28, 29), (32, 31, 31)]):
        hu = np.where(distance < radius, 400, 40).astype(np.int16)
        hu[:, :2] = -1000
        write(f"scect{number}.nrrd", hu)
        write(f"first{number}.nrrd", (distance < drawn).astype(np.uint8))
        write(f"second{number}.nrrd", (distance < second).astype(np.uint8))
        rows.append(f"case{number},scect{number}.nrrd,heart.nrrd,first{number}.nrrd,second{number}.nrrd,")
    (folder / "good.csv").write_text("\n".join(rows))
    rows.insert(3, "broken,none.nrrd,heart.nrrd,first0.nrrd,,")
    rows += ["nothing,,heart.nrrd,first0.nrrd,,", "deep,scect0.nrrd,heart.nrrd,first0.nrrd,,40"]
    (folder / "cases.csv").write_text("\n".join(rows))
    return folder


def ball_ml(radius):
    return 4 / 3 * np.pi * radius**3 / 1000


def test_a_cohort_of_balls(cohort, measure, tmp_path):
    """Against closed forms: concentric balls of radius a < b have Dice 2 a^3 / (a^3 + b^3)."""
    done = measure("chambers", "--cases", cohort / "good.csv", "--output", tmp_path / "results")
    assert (done.status, done.err) == (0, "")
    rows = table(tmp_path / "results" / "chambers.csv")
    assert [row["case_id"] for row in rows] == ["case0", "case1", "case2", "case3"]
    radii = [(20, 19, 20), (24, 24, 24), (28, 28, 29), (32, 31, 31)]
    for row, (radius, drawn, second) in zip(rows, radii, strict=True):
        assert float(row["chambers_ml"]) == pytest.approx(ball_ml(radius), rel=0.02)
        assert float(row["reference_ml"]) == pytest.approx(ball_ml(drawn), rel=0.02)
        assert float(row["second_ml"]) == pytest.approx(ball_ml(second), rel=0.02)
        assert float(row["dice"]) == pytest.approx(2 * drawn**3 / (drawn**3 + radius**3), abs=0.01)
        small, large = sorted((drawn, second))
        assert float(row["observers_dice"]) == pytest.approx(2 * small**3 / (small**3 + large**3), abs=0.01)
    summary = {row["measure"]: row for row in table(tmp_path / "results" / "chambers_summary.csv")}

    def column(name):
        return np.array([float(row[name]) for row in rows])

    for name in ("dice", "volume_error_percent", "observers_dice"):
        assert float(summary[f"{name}_mean"]["value"]) == pytest.approx(column(name).mean(), rel=1e-4)
        assert float(summary[f"{name}_mean"]["sd"]) == pytest.approx(column(name).std(ddof=1), rel=1e-3)
    apart = column("compared_ml") - column("reference_ml")
    bias = summary["bland_altman_bias_ml"]
    assert float(bias["value"]) == pytest.approx(apart.mean(), rel=1e-3)
    assert float(bias["upper"]) == pytest.approx(apart.mean() + 1.96 * apart.std(ddof=1), rel=1e-3)
    assert float(bias["lower"]) == pytest.approx(apart.mean() - 1.96 * apart.std(ddof=1), rel=1e-3)
    rho = np.corrcoef(column("compared_ml"), column("reference_ml"))[0, 1]
    assert float(summary["pearson_rho"]["value"]) == pytest.approx(rho, abs=1e-5)
    assert float(summary["observers_pearson_rho"]["value"]) == pytest.approx(
        np.corrcoef(column("second_ml"), column("reference_ml"))[0, 1], abs=1e-5
    )
    assert float(summary["observers_icc_absolute"]["value"]) == pytest.approx(
        icc_2_1(np.c_[column("second_ml"), column("reference_ml")]), abs=1e-4
    )
    assert summary["observers_icc_consistency"]["cases"] == "4"
    slices = table(tmp_path / "results" / "chambers_slices.csv")
    assert len(slices) == sum(int(row["slices"]) for row in rows)
    assert "pearson_rho" in done.out and "case0: chambers" in done.out
    from PIL import Image

    with Image.open(tmp_path / "results" / "bland_altman.png") as picture:
        assert min(picture.size) > 400
    assert "<svg" in (tmp_path / "results" / "bland_altman.svg").read_text()


def icc_2_1(ratings):
    """Shrout and Fleiss 1979, by the mean squares of a two-way table."""
    n, k = ratings.shape
    mean = ratings.mean()
    rows = k * ((ratings.mean(axis=1) - mean) ** 2).sum() / (n - 1)
    columns = n * ((ratings.mean(axis=0) - mean) ** 2).sum() / (k - 1)
    total = ((ratings - mean) ** 2).sum()
    error = (total - rows * (n - 1) - columns * (k - 1)) / ((n - 1) * (k - 1))
    return (rows - error) / (rows + (k - 1) * error + k * (columns - error) / n)


def test_a_broken_case_is_reported_at_the_end_and_the_others_are_done(cohort, measure, tmp_path):
    done = measure("chambers", "--cases", cohort / "cases.csv", "--output", tmp_path / "results")
    assert done.status == 2
    *lines, last = done.err.splitlines()
    assert last == "measure.py: 3 of 7 cases failed, the others are done"
    assert [line.split(": ")[1] for line in lines] == ["broken", "nothing", "deep"]
    assert "does not exist" in lines[0] and "no scect in the table" in lines[1] and "last_slice 40" in lines[2]
    rows = {row["case_id"]: row for row in table(tmp_path / "results" / "chambers.csv")}
    assert rows["broken"]["error"] and rows["broken"]["dice"] == ""
    assert float(rows["case3"]["dice"]) > 0.9
    summary = {row["measure"]: row for row in table(tmp_path / "results" / "chambers_summary.csv")}
    assert summary["dice_mean"]["cases"] == "4"


def test_a_cohort_of_one_has_no_agreement_and_says_so(cohort, measure, tmp_path):
    (cohort / "one.csv").write_text(
        "case_id,cect,heart_mask,chambers,chambers_2\na,scect0.nrrd,heart.nrrd,first0.nrrd,second0.nrrd"
    )
    done = measure("chambers", "--cases", cohort / "one.csv", "--column", "cect", "--output", tmp_path / "results")
    assert (done.status, done.err) == (0, "")
    summary = {row["measure"]: row for row in table(tmp_path / "results" / "chambers_summary.csv")}
    assert "3 at least" in summary["pearson_rho"]["note"] and summary["pearson_rho"]["value"] == ""
    assert summary["dice_mean"]["note"] == "one case has no SD"
    assert not (tmp_path / "results" / "bland_altman.png").exists()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two CTs of 3 slices of 170 x 165 pixels, with a difference of 10 HU everywhere."""
    folder = tmp_path_factory.mktemp("pair")
    hu = np.random.default_rng(0).integers(-100, 200, (3, 170, 165)).astype(np.int16)
    hu[:, :4] = -1000
    for name, array in (("reference", hu), ("volume", hu + 10), ("small", hu[:, :100])):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((0.8, 0.8, 3.0))
        sitk.WriteImage(image, str(folder / f"{name}.nrrd"))
    return folder


def test_similarity_of_a_constant_difference(pair, measure, tmp_path):
    arguments = ["--volume", pair / "volume.nrrd", "--reference", pair / "reference.nrrd", "--first-slice", 1]
    done = measure("similarity", *arguments, "--output", tmp_path / "s.csv", "--progress", "json")
    assert (done.status, done.err) == (0, "")
    [row] = table(tmp_path / "s.csv")
    inside = 166 / 170  # the rows that are not air: the window ends above -1000
    assert float(row["mae_unclipped_hu"]) == pytest.approx(10, abs=1e-4)
    assert float(row["mae_hu"]) == pytest.approx(10 * inside, abs=1e-3)
    assert float(row["psnr_db"]) == pytest.approx(10 * np.log10(350**2 / (100 * inside)), abs=1e-3)
    assert 0.99 < float(row["ms_ssim"]) < 1
    assert row["lpips"] == "" and "LPIPS is left out: no file" in row["notes"]
    assert (row["first_slice"], row["last_slice"], row["window"]) == ("1", "2", "350/50")
    import json

    events = [json.loads(line) for line in done.out.splitlines()]
    assert [one["slices_done"] for one in events if one["event"] == "progress"] == [1, 2]
    assert events[-1] == {"event": "end", "status": 0, "message": "done"}


def test_similarity_without_torch_leaves_two_measures_out(pair, tmp_path):
    block = "sys.modules['torch'] = None  # import raises ModuleNotFoundError"
    arguments = ["similarity", "--volume", pair / "volume.nrrd", "--reference", pair / "reference.nrrd"]
    done = entry.run_after(block, MEASURE, *arguments, "--output", tmp_path / "s.csv", "--progress", "none")
    assert (done.status, done.err) == (0, "")
    [row] = table(tmp_path / "s.csv")
    assert row["ms_ssim"] == row["lpips"] == "" and "PyTorch is not installed" in row["notes"]
    assert float(row["mae_unclipped_hu"]) == pytest.approx(10, abs=1e-4) and 1 < float(row["nmi_1_to_2"]) < 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--reference", "small.nrrd"], "not on the grid of small.nrrd"),
        (["--reference", "reference.nrrd", "--last-slice", "3"], "slices 0 to 3 are not in a CT of 3"),
        (["--reference", "reference.nrrd", "--lpips-weights", "none.pth"], "none.pth does not exist"),
        (["--reference", "reference.nrrd", "--lpips-weights", "reference.nrrd"], "no file of weights"),
        (["--reference", "reference.nrrd", "--window", "0", "50"], "--window"),
    ],
)
def test_similarity_refuses(pair, measure, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(pair)
    done = measure("similarity", "--volume", "volume.nrrd", *arguments, "--output", tmp_path / "s.csv")
    assert done.status == 2 and says in done.err
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
