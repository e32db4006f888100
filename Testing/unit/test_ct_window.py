"""Windows in and out."""

from __future__ import annotations

import numpy as np
import pytest

from SyntheticContrastLib.ct.window import from_window, to_windows

CHOI = [(2000.0, 0.0), (1000.0, 200.0), (500.0, 50.0)]


def test_values_by_hand() -> None:
    hu = np.array([-3000, -1000, 0, 50, 450, 3000], np.int16)
    expected = [
        [-1, -1, 0, 0.05, 0.45, 1],
        [-1, -1, -0.4, -0.3, 0.5, 1],
        [-1, -1, -0.2, 0, 1, 1],
    ]
    result = to_windows(hu, CHOI)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_channels_come_first_whatever_the_shape(dtype: type) -> None:
    assert to_windows(np.zeros((4, 5, 6), dtype), CHOI).shape == (3, 4, 5, 6)


def test_int16_extremes_do_not_wrap() -> None:
    np.testing.assert_array_equal(to_windows(np.array([-32768, 32767], np.int16), [(400, -30000)]), [[-1, 1]])


@pytest.mark.parametrize("window", CHOI)
def test_inverse_inside_the_window(window: tuple[float, float]) -> None:
    width, level = window
    hu = np.linspace(level - width / 2, level + width / 2, 101)
    np.testing.assert_allclose(from_window(to_windows(hu, [window])[0], window), hu, atol=1e-3)
