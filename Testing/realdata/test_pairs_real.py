"""The registrations that are kept lay the real pairs on each other."""

import numpy as np
import pytest

from realdata.pair_figures import find_regions
from realdata.real_pairs import PAIRS, load_pairs
from realdata.roi_report import SCANS, circle_mean

pytestmark = pytest.mark.realdata


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_lies_in_place(name):
    (pair,) = load_pairs([name])
    assert pair.ncct.shape == pair.cect.shape == pair.valid.shape == pair.grid.shape_zyx
    aorta = SCANS[name]["circles"]["blood"]["descending aorta"]
    assert all(circle_mean(pair.ncct, circle) < 60 and circle_mean(pair.cect, circle) > 180 for circle in aorta)
    assert all(pair.valid[z, y, x] for z, y, x, _ in aorta)

    regions = find_regions(pair)
    assert len(regions.slices) >= 6
    lung = (pair.ncct < -700) & pair.valid & (pair.ncct > -1000)
    assert (pair.cect[lung] > -100).mean() < 0.03  # soft tissue where lung was
    bone = (pair.ncct > 250) & pair.valid
    assert (pair.cect[bone] > 150).mean() > 0.85
    assert np.median(regions.rise[regions.still]) == pytest.approx(5, abs=8)  # the two scans' HU agree
