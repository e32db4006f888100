"""evaluate.py with LPIPS: a phantom cohort in the form of both papers, and a pair simulated from a public CTA."""

import csv
import json

import numpy as np
import pytest

from SyntheticContrastLib.ct.volume import CTVolume, Grid
from SyntheticContrastLib.ct.write import write_image
from SyntheticContrastTrainingLib.prepared import open_volume, read_manifest
from unit.entry import GENERATE, TRAINING_CLI, call
from unit.phantom_cohort import write_cohort
from unit.test_analysis_readings import choi_like

pytestmark = pytest.mark.realdata
EVALUATE = GENERATE.with_name("evaluate.py")
PREPARE = TRAINING_CLI / "prepare.py"
CTA = "cta-crops/pulmonary"


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_twenty_phantoms_have_the_signs_of_choi_and_the_form_of_santini(shared_data, tmp_path, capsys):
    cases = write_cohort(tmp_path, 20, slices=(7, 8))
    readings = choi_like(tmp_path, [f"P{number:03d}" for number in range(12)])
    weights = shared_data / "lpips" / "alexnet_features.pth"
    arguments = ["--cases", cases, "--output", tmp_path / "out", "--lpips-weights", weights, "--case-figures", 2]
    done = call(EVALUATE, [*arguments, "--readings", readings], capsys)
    assert done.status == 0, done.err
    assert "20 cases, 0 missing" in done.out
    rows = table(tmp_path / "out" / "tables" / "similarity_statistics.csv")
    for row in rows:  # Table 2: lower MAE and LPIPS, higher PSNR and MS-SSIM, P < .001 in all, P < .05 in subgroups
        sign = {"lower": -1, "higher": 1}[row["better"]]
        assert sign * (float(row["sCECT_median"]) - float(row["NCCT_median"])) > 0, row
        assert float(row["p"]) < (0.05 if row["column"] else 0.001), row
    assert {row["measure"] for row in rows} >= {"mae", "psnr", "ms_ssim", "lpips"}
    assert {row["group"] for row in rows} == {"all cases", "Siemens", "Philips"}
    cnr, noise = table(tmp_path / "out" / "tables" / "lesions_statistics.csv")[:2]
    assert float(cnr["sCECT_median"]) > 3 * float(cnr["NCCT_median"]) and float(cnr["p"]) < 0.001
    assert noise["measure"] == "noise_hu"
    scect = table(tmp_path / "out" / "tables" / "chamber_statistics.csv")[0]  # Santini, 3
    assert scect["image"] == "sCECT" and 0.6 < float(scect["dice_mean"]) < 1
    assert float(scect["rho"]) > 0.7 and float(scect["rho_p"]) < 0.01
    assert float(scect["bland_altman_lower"]) < float(scect["bland_altman_bias"]) < float(scect["bland_altman_upper"])
    tests = table(tmp_path / "out" / "tables" / "reader_tests.csv")
    assert [round(float(row["mcnemar_p"]), 4) for row in (tests[0], tests[3])] == [0.0026, 0.0625]
    names = {path.name for path in (tmp_path / "out" / "figures").glob("*.svg")}
    assert names == {
        *("similarity_boxes.svg", "similarity_slices.svg", "lesion_boxes.svg", "chambers_sCECT.svg"),
        *("chambers_CECT.svg", "conspicuity.svg", "froc.svg"),
    }


def test_a_simulated_pair_from_prepare_to_the_report(shared_data, tmp_path, capsys):
    """prepare.py, generate.py and evaluate.py; the NCCT is simulated, the model the one that ships."""
    (tmp_path / "source.csv").write_text(
        f"case_id,cect,heart_mask,first_slice,last_slice\nsimulated,{shared_data / CTA}/ct.nii.gz,"
        f"{shared_data / CTA}/heart.nii.gz,40,58\n"
    )
    prepared = tmp_path / "prepared"
    done = call(PREPARE, ["--cases", tmp_path / "source.csv", "--output", prepared, "--simulate-vnc"], capsys)
    assert done.status == 0, done.err
    [pair] = read_manifest(prepared)
    assert pair.simulated
    z, y, x = pair.shape_zyx
    grid = Grid((x, y, z), np.array(pair.affine))
    for name in ("ncct", "cect"):
        array = np.array(open_volume(prepared, pair, f"{name}.npy"))
        write_image(tmp_path / f"{name}.nrrd", array, CTVolume(array, grid))
    cases = tmp_path / "cases.csv"
    cases.write_text("case_id,ncct,cect,scect\nsimulated,ncct.nrrd,cect.nrrd,out/simulated_sCECT.nrrd\n")
    done = call(GENERATE, ["--cases", cases, "--output", tmp_path / "out", "--device", "cpu"], capsys)
    assert done.status == 0, done.err
    weights = shared_data / "lpips" / "alexnet_features.pth"
    arguments = ["--cases", cases, "--output", tmp_path / "report", "--lpips-weights", weights, "--slices", "all"]
    done = call(EVALUATE, arguments, capsys)
    assert done.status == 0, done.err
    record = json.loads((tmp_path / "report" / "cases" / "simulated.json").read_text())
    assert record["shape_zyx"] == [19, y, x]
    assert any("no MS-SSIM" in note for note in record["notes"])  # 122 x 102 pixels
    for image in ("NCCT", "sCECT"):
        assert 5 < record["similarity"][image]["mae"] < 200
        assert 0.01 < record["similarity"][image]["lpips"] < 1
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "synthetic - not for diagnosis" in page and page.count("data:image/png;base64,") == 4
