"""Measures of similarity against independent implementations and values worked by hand."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import normalized_mutual_information as skimage_nmi
from skimage.metrics import peak_signal_noise_ratio as skimage_psnr

from SyntheticContrastLib.analysis.similarity import (
    NMI_BINS,
    READING_WINDOW,
    Lpips,
    compare,
    ms_ssim,
    normalized_mutual_information,
    scaled,
)
from SyntheticContrastLib.ct.errors import InputError


@pytest.fixture(scope="module")
def pair():
    """Two like CTs of odd sides, most of their values in the window."""
    random = np.random.default_rng(0)
    first = gaussian_filter(random.normal(0, 1, (3, 201, 188)), (0, 3, 3)) * 2000 + 50
    return first, first + random.normal(0, 20, first.shape) + 10


def test_a_known_difference():
    target = np.full((2, 170, 170), 60.0)
    image = target + 35
    image[:, :, 85:] = 3000  # 165 HU away at the top of the window
    case = compare(image, target).of_case()
    assert case["mae"] == pytest.approx((35 + 165) / 2)
    assert case["mae_unclipped"] == pytest.approx((35 + 2940) / 2)
    assert case["psnr"] == pytest.approx(10 * math.log10(350**2 / ((35**2 + 165**2) / 2)))
    assert case.get("lpips") is None


def test_slices_too_small_for_ms_ssim_have_the_other_measures():
    image, target = np.full((1, 160, 170), 50.0), np.full((1, 160, 170), 60.0)
    case = compare(image, target, structure=False).of_case()
    assert "ms_ssim" not in case and case["mae"] == pytest.approx(10)
    assert "ms_ssim" in compare(np.full((1, 161, 170), 50.0), np.full((1, 161, 170), 60.0)).of_case()


def test_weights_that_cannot_be_downloaded_are_one_line(monkeypatch, tmp_path):
    import urllib.error

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*arguments, **options):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setattr("torch.hub.urlopen", offline)
    assert not Lpips.downloaded()
    with pytest.raises(InputError, match=r"cannot be downloaded.*give a file"):
        Lpips()


def test_equal_images():
    image = np.random.default_rng(1).normal(50, 100, (1, 161, 161))
    case = compare(image, image).of_case()
    assert (case["mae"], case["psnr"]) == (0, math.inf)
    assert case["ms_ssim"] == pytest.approx(1)
    assert (case["nmi"], case["nmi_unit"]) == (pytest.approx(2), pytest.approx(1))


def test_psnr_is_skimages(pair):
    found = compare(*pair).of_case()["psnr"]
    clipped = [np.clip(image, -125, 225) for image in pair]
    assert found == pytest.approx(skimage_psnr(*clipped, data_range=350), abs=1e-4)


def test_ms_ssim_is_that_of_pytorch_msssim_and_torchmetrics(pair):
    import pytorch_msssim
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    x, y = (torch.from_numpy(scaled(image, READING_WINDOW))[:, None].double() for image in pair)
    found = compare(*pair).ms_ssim
    assert found.min() > 0.5 and found.max() < 0.999
    wanted = pytorch_msssim.ms_ssim(x, y, data_range=1, size_average=False).numpy()
    assert found == pytest.approx(wanted, abs=1e-4)
    assert found.mean() == pytest.approx(
        float(multiscale_structural_similarity_index_measure(x, y, data_range=1.0)), abs=1e-4
    )


def test_ms_ssim_of_an_inverted_image_is_0():
    image = np.random.default_rng(2).random((161, 161), np.float32)
    assert ms_ssim(image, 1 - image) == 0


def test_nmi_is_skimages_in_one_form_and_unit_in_the_other(pair):
    x, y = (scaled(image[0], READING_WINDOW) for image in pair)
    found, unit = normalized_mutual_information(x, y)
    assert found == pytest.approx(skimage_nmi(x, y, bins=NMI_BINS), rel=1e-9)
    assert unit == pytest.approx(2 - 2 / found)  # both come from the same three entropies
    independent = normalized_mutual_information(x, np.random.default_rng(3).random(x.shape, np.float32))
    assert independent[0] < 1.05 and independent[1] < 0.1


@pytest.mark.realdata
def test_lpips_is_the_packages(pair, shared_data):
    import lpips

    file = shared_data / "lpips" / "alexnet_features.pth"
    weights = torch.load(file, weights_only=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's, on how lpips calls it
        own = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False).eval()
    layers = dict(own.net.named_parameters())
    for name, layer in layers.items():
        layer.data = weights["features." + name.split(".", 1)[1]]
    measure = Lpips(file)
    x, y = (scaled(image[0], READING_WINDOW) for image in pair)
    tensors = [torch.from_numpy(image)[None, None].repeat(1, 3, 1, 1) for image in (x, y)]
    with torch.inference_mode():
        wanted = float(own(*tensors, normalize=True))
    assert measure(x, y) == pytest.approx(wanted, abs=1e-5)
    assert wanted > 0.01
    assert measure(x, x) == 0
    assert compare(*pair, lpips=measure).of_case()["lpips"] == pytest.approx(wanted, rel=0.3)


@pytest.mark.realdata
def test_lpips_refuses_other_weights(tmp_path, shared_data):
    with pytest.raises(InputError, match="does not exist"):
        Lpips(tmp_path / "none.pth")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="does not hold AlexNet's features"):
        Lpips(tmp_path / "other.pth")
    with pytest.raises(InputError, match="does not hold AlexNet's features"):
        Lpips(shared_data / "lpips" / "squeezenet1_1_features.pth")


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        (((2, 170, 170), (3, 170, 170)), "cannot be compared"),
        (((0, 170, 170), (0, 170, 170)), "cannot be compared"),
        (((1, 160, 170), (1, 160, 170)), "161 a side"),
    ],
)
def test_what_cannot_be_compared(shapes, says):
    with pytest.raises(InputError, match=says):
        compare(*(np.zeros(shape) for shape in shapes))
