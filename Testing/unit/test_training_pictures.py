"""What a person looks at: montage, curves, TensorBoard's events."""

import json
import sys
import types

import numpy as np
import pytest
from matplotlib.image import imread

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastTrainingLib.curves import draw_curves, read_log
from SyntheticContrastTrainingLib.montage import WINDOWS, save_montage
from SyntheticContrastTrainingLib.tensorboard import open_tensorboard
from unit.training_set import phantom_pair


@pytest.fixture
def log(tmp_path):
    lines = [{"step": step, "loss": 1 / step, "gan": 0.7, "steps": 9} for step in range(1, 10)]
    scores = {"mae": 20.0, "psnr": 21.5, "input_mae": 30.0, "input_psnr": 18.0}
    lines[4:4] = [{"step": 4, **scores}]
    lines.append({"step": 9, **scores})
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 10, "lo')
    return path


def panels(path, rows):
    """The pictures of a montage, (rows, 4, side, side) grey values, without title and seams."""
    image = imread(path)[..., :3].mean(axis=-1)
    side = image.shape[1] / 4
    top = image.shape[0] - rows * side
    cut = [
        [
            image[
                int(top + row * side) + 20 : int(top + (row + 1) * side) - 8,
                int(k * side) + 8 : int((k + 1) * side) - 8,
            ]
        ]
        for row in range(rows)
        for k in range(4)
    ]
    return [parts[0] for parts in cut]


def test_a_montage_shows_every_slice_in_three_windows(tmp_path):
    pair = phantom_pair()
    ncct, cect = pair.ncct[8], pair.cect[8]
    save_montage(tmp_path / "m.png", [(ncct, cect, cect), (ncct, ncct, cect)], "title")
    rows = panels(tmp_path / "m.png", 2 * len(WINDOWS))
    assert len(rows) == 24
    for window in range(3):
        perfect, nothing = rows[4 * window : 4 * window + 4], rows[12 + 4 * window : 16 + 4 * window]
        grey = [picture.mean() for picture in perfect]
        assert abs(grey[1] - grey[2]) < 1e-3 < 5e-3 < grey[1] - grey[0]  # contrast is bright
        assert np.ptp(perfect[3]) < 0.02  # output equals target: no difference to be seen
        # The lung window ends at 150 HU, where contrast hardly begins.
        assert np.ptp(nothing[3]) > (0.2 if window else 0.1)
    lung, vascular = rows[2], rows[6]
    assert lung.mean() > vascular.mean()  # lung is grey in the lung window, black in the vascular one


def test_curves_show_losses_and_scores(log, tmp_path):
    assert [line["step"] for line in read_log(log)] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 9]
    draw_curves(log, tmp_path / "full.png")
    log.write_text("")
    draw_curves(log, tmp_path / "empty.png")
    full, empty = (imread(tmp_path / name) for name in ("full.png", "empty.png"))
    assert full.shape == empty.shape
    thirds = [slice(k * full.shape[1] // 3 + 60, (k + 1) * full.shape[1] // 3 - 10) for k in range(3)]
    inside = slice(40, full.shape[0] - 60)
    assert all(np.abs(full[inside, third] - empty[inside, third]).max() > 0.3 for third in thirds)
    for third in thirds[1:]:
        red_over_blue = full[inside, third, 0] - full[inside, third, 2]
        assert red_over_blue.max() > 0.2 and red_over_blue.min() < -0.2  # the input is orange, the output blue


def test_tensorboard_is_only_used_if_it_is_installed(tmp_path, monkeypatch):
    with open_tensorboard(None) as scalars:
        assert scalars is None
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="package tensorboard"), open_tensorboard(tmp_path):
        pass


def test_tensorboard_gets_the_numbers_of_the_log(tmp_path, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, folder):
            assert folder == str(tmp_path)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            written.append("closed")

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    with open_tensorboard(tmp_path) as scalars:
        scalars({"step": 3, "steps": 9, "loss": 0.5, "gan": 0.1})
    assert written == [("loss", 0.5, 3), ("gan", 0.1, 3), "closed"]
