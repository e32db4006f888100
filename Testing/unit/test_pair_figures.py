"""The figures of the real pairs, on made ones of which they are known."""

import math

import numpy as np
import pytest
import SimpleITK as sitk

from realdata.contrast_models import classical, fold_of, parse_folds
from realdata.lattice import lattice_ratio
from realdata.pair_figures import find_regions, levelled_figures, tissue_figures
from realdata.pairs_table import over_patients, table
from realdata.real_pairs import RealPair, moved_to
from realdata.sensitivity_report import deviation, of_spacing
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.volume import CTVolume, Grid

SPACING = (10.0, 0.7, 0.7)


def disc(shape, y, x, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


@pytest.fixture
def pair():
    """A body of 50 HU with blood that rises by 250 HU, an organ by 60, and bone; the last slice is not shared."""
    ncct = np.full((3, 240, 240), -1000, np.int16)
    ncct[:, disc((240, 240), 120, 120, 110)] = 50
    ncct[:, disc((240, 240), 190, 120, 15)] = 400
    cect = ncct.copy()
    cect[:, disc((240, 240), 90, 90, 35)] += 250
    cect[:, disc((240, 240), 90, 170, 30)] += 60
    valid = np.ones(ncct.shape, bool)
    valid[2, :120] = False
    return RealPair("made", "made", ncct, cect, valid, SPACING, Grid.axial(ncct.shape, SPACING), ())


def test_regions_are_where_the_real_scan_says(pair):
    regions = find_regions(pair)
    assert list(regions.slices) == [0, 1]
    assert regions.blood[0, 90, 90] and not regions.blood[0, 90, 90 + 34]  # eroded
    assert regions.half[0, 90, 170] and regions.still[0, 150, 60] and regions.dense[0, 190, 120]
    assert not (regions.blood | regions.half | regions.still | regions.dense)[2, :120].any()
    assert not regions.still[0, 190, 120 + 16]  # beside bone


def test_an_organ_that_rises_as_blood_does_is_left_out(pair):
    spleen = (slice(0, 3), slice(40, 140), slice(40, 140))
    named = RealPair(*(getattr(pair, name) for name in list(RealPair.__dataclass_fields__)[:-1]), no_blood=(spleen,))
    assert find_regions(pair).blood.any() and not find_regions(named).blood.any()


def test_the_real_scan_itself_is_perfect(pair):
    figures = tissue_figures(pair.cect, pair, find_regions(pair))
    assert figures["blood_ratio"] == figures["lit_dice"] == 1
    assert figures["blood_true"] == pytest.approx(250, abs=1) and figures["half_synthetic"] == pytest.approx(60, abs=1)
    assert figures["still_above_50"] == figures["dense_above_50"] == 0


def test_half_the_contrast_and_a_lit_body(pair):
    half = (pair.ncct + (pair.cect - pair.ncct) // 2).astype(np.int16)
    figures = tissue_figures(half, pair, find_regions(pair))
    assert figures["blood_ratio"] == pytest.approx(0.5, abs=0.01)
    everything = tissue_figures(pair.ncct + np.int16(60), pair, find_regions(pair))
    assert everything["still_above_50"] == everything["dense_above_50"] == 1 and everything["lit_dice"] == 0


def test_half_the_contrast_has_the_right_shape(pair):
    half = (pair.ncct + (pair.cect - pair.ncct) // 2).astype(np.int16)
    figures = levelled_figures(half, pair, find_regions(pair))
    assert figures == {"level_factor": 2.0, "levelled_psnr": math.inf}
    assert levelled_figures(pair.ncct, pair, find_regions(pair)) == {}


def test_a_lattice_of_period_four_is_seen_and_noise_is_not():
    noise = np.random.default_rng(0).normal(0, 10, (4, 96, 96))
    everywhere = np.ones(noise.shape, bool)
    assert 0.7 < lattice_ratio(noise, everywhere) < 1.4
    rows, columns = np.indices((96, 96))
    for lattice in (np.cos(np.pi / 2 * columns), np.cos(np.pi / 2 * rows), np.cos(np.pi / 2 * (rows + columns))):
        assert lattice_ratio(noise + 10 * lattice, everywhere) > 3
    assert math.isnan(lattice_ratio(noise, np.zeros(noise.shape, bool)))


def row(patient, psnr, ratio):
    similarity = {"mae": 10.0, "mae_unclipped": 20.0, "psnr": 15.0, "ms_ssim": 0.8}
    return {
        "patient": patient,
        "model": "made",
        "ncct": similarity,
        "scect": {**similarity, "psnr": 15.0 + psnr},
        "tissue": {"blood_ratio": ratio},
    }


def test_two_scans_of_a_patient_count_as_one():
    rows = {"a1": row("a", 1.0, 0.5), "a2": row("a", 3.0, 0.7), "b": row("b", 4.0, 1.0), "c": row("c", 6.0, 0.9)}
    means = over_patients(rows)
    assert means["psnr_gain"]["mean"] == 4.0 and means["psnr_gain"]["patients"] == 3
    low, high = means["psnr_gain"]["interval"]
    assert 2.0 <= low < 4.0 < high <= 6.0
    assert means["mae_ratio"]["interval"] == [1.0, 1.0]
    cells = table(rows, means).splitlines()[4].split("|")
    assert cells[1:3] == [" PSNR 350/50, dB ", " 15.00 → 16.00 "] and cells[-2].startswith(" 4.00 [")


def test_thin_slices_are_averaged_over_the_thick_one():
    thin = np.repeat(np.arange(16, dtype=np.int16)[:, None, None] * 10, 8, axis=1).repeat(8, axis=2)
    moving = CTVolume(thin, Grid.axial(thin.shape, (2.5, 1.0, 1.0)))
    fixed = CTVolume(np.zeros((4, 8, 8), np.int16), Grid.axial((4, 8, 8), (10.0, 1.0, 1.0)))
    hu, valid = moved_to(fixed, moving, sitk.Transform(3, sitk.sitkIdentity))
    assert hu[:, 4, 4].tolist() == [15, 55, 95, 135] and valid[:, 4, 4].all()
    up = sitk.TranslationTransform(3, (0.0, 0.0, 5.0))
    hu, valid = moved_to(fixed, moving, up)
    assert hu[1:, 4, 4].tolist() == [35, 75, 115] and valid[:, 4, 4].tolist() == [False, True, True, True]


def test_folds_name_a_pair_or_a_patient():
    folds = parse_folds(["hcc-007=one", "hcc-013-08=other"])
    assert fold_of(folds, "hcc-007-1998", "all") == "one" and fold_of(folds, "hcc-013-08", "all") == "other"
    assert fold_of(folds, "hcc-011-10", "all") == "all" and fold_of(folds, "lidc-idri-0314", None) is None
    for wrong in ("hcc-099=one", "hcc-007"):
        with pytest.raises(InputError, match="give a pair or patient"):
            parse_folds([wrong])


def test_the_classical_baseline_lights_soft_tissue_between_the_lungs():
    ncct = np.full((2, 200, 200), -1000, np.int16)
    ncct[:, disc((200, 200), 100, 100, 90)] = 50
    for x in (55, 145):
        ncct[:, disc((200, 200), 100, x, 25)] = -850
    change = classical(ncct, (5.0, 1.0, 1.0)) - ncct
    assert change[0, 100, 100] == 300 and change[0, 30, 100] == 0 and change[0, 100, 55] == 0


def test_a_deviation_is_of_the_circles_that_both_show():
    base = np.array([100.0, 300.0])
    assert deviation(np.array([90.0, np.nan]), base) == pytest.approx(0.1)
    assert deviation(np.array([np.nan, np.nan]), base) == 0
    assert deviation(np.array([9.0]), np.array([10.0])) == 0  # hardly rises


def test_a_circle_keeps_its_place_in_slices_of_another_thickness():
    hu = np.zeros((20, 4, 4), np.int16)
    hu[10:12] = 100
    thick, place = of_spacing(CTVolume(hu, Grid.axial(hu.shape, (3.0, 1.0, 1.0))), 6.0)
    assert thick.hu[place(10, 2, 2, 1)[0], 2, 2] == thick.hu[place(11, 2, 2, 1)[0], 2, 2] == 100
