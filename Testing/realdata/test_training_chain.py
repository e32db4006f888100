"""From the CTs of ../shared/data to a bundle that generate.py uses, in three commands: both papers, and shares."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from SyntheticContrastLib.ct.cases import read_cases
from unit.entry import GENERATE, TRAINING_CLI, call

HERE = Path(__file__).resolve().parent
CTA = Path("cta-crops") / "pulmonary" / "ct.nii.gz"

pytestmark = pytest.mark.realdata


def chain(cases, folder, recipe, settings, scan, capsys):
    """prepare.py, train.py, export.py and generate.py; returns NCCT (here the CTA itself) and sCECT, (Z, Y, X) HU."""
    prepared, run, bundle, scect = (folder / name for name in ("prepared", "run", "bundle", "scect.nrrd"))
    values = [part for setting in settings for part in ("--set", setting)]
    for entry, arguments in (
        ("prepare.py", ["--cases", cases, "--output", prepared, "--simulate-vnc"]),
        ("train.py", ["--recipe", recipe, "--data", prepared, "--output", run, "--device", "cpu", *values]),
        ("export.py", ["--checkpoint", run / "last.pt", "--output", bundle]),
    ):
        outcome = call(TRAINING_CLI / entry, arguments, capsys)
        assert outcome.status == 0, f"{entry}: {outcome.err}"
    outcome = call(GENERATE, ["--input", scan, "--output", scect, "--model", bundle, "--device", "cpu"], capsys)
    assert outcome.status == 0, outcome.err
    images = [SimpleITK.ReadImage(str(path)) for path in (scan, scect)]
    assert images[0].GetSize() == images[1].GetSize()
    assert images[0].GetOrigin() == pytest.approx(images[1].GetOrigin(), abs=1e-3)
    return [SimpleITK.GetArrayFromImage(image) for image in images]


def test_choi(shared_data, tmp_path, capsys):
    cases = tmp_path / "cases.csv"
    cases.write_text(f"case_id,cect\ncta,{shared_data / CTA}\n", encoding="utf-8")
    settings = ("gf=2", "steps=2", "crop=256", "final_crop=256")
    before, after = chain(cases, tmp_path, "l1", settings, shared_data / CTA, capsys)
    assert not np.array_equal(before, after)


def test_santini(shared_data, tmp_path, capsys):
    labels = tmp_path / "labels"
    command = [sys.executable, HERE / "chamber_labels.py", "--output", labels, "--only", "cta"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    settings = ("widths=[4,4,4,4,8,8,8,8]", "epochs=0", "steps=2", "batch_size=2")
    before, after = chain(labels / "cases_santini.csv", tmp_path, "santini2018", settings, shared_data / CTA, capsys)
    changed = np.maximum(before, -1000) != np.maximum(after, -1000)
    assert 0.02 < changed.mean() < 0.9  # the heart region only


def test_shares(shared_data, tmp_path, capsys):
    listed = read_cases(HERE / "training_cases.csv")  # of the shipped model
    assert all(path.exists() for case in listed for path in (case.ncct, case.cect) if path)
    cases = tmp_path / "cases.csv"
    alone = shared_data / "pairs" / "hcc-013-08_unenhanced.nii.gz"
    rows = ("case_id,ncct,cect,phase", f"cta,,{shared_data / CTA},arterial", f"alone,{alone},,unenhanced")
    cases.write_text("\n".join(rows) + "\n", encoding="utf-8")
    settings = ("widths=[2,3,4,4,4]", "steps=2", "crop=48", "final_crop=48", "depth=8")
    before, after = chain(cases, tmp_path, "share", settings, shared_data / CTA, capsys)
    assert not np.array_equal(before, after)
