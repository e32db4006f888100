"""How alike two CTs of one grid are: the measures of Choi 2021, Table 2, and the NMI of Santini 2018.

Conventions, to be named with every table:

- The window is (width, level) in HU, by default the papers' reading window 350/50, -125 to 225 HU. Both images are
  clipped to it first; `mae_unclipped` is the one measure that is not.
- A slice is an axial one. Each measure is made slice by slice, and a case's is the mean over its slices. PSNR of a case
  comes from the mean squared error over all its slices, with the window's width as the peak.
- MS-SSIM (Wang 2003) is of the window scaled to [0, 1]: five scales, a Gaussian window of 11 pixels and 1.5 standard
  deviation, K = 0.01 and 0.03. Slices have at least 161 pixels a side.
- LPIPS (Zhang 2018) is package lpips, version 0.1, network "alex", of the window scaled to [-1, 1] in three equal
  channels.
- NMI has 64 bins over the window in either image: (H(a) + H(b)) / H(a, b), which lies in [1, 2], and 2 I(a, b) /
  (H(a) + H(b)), in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

READING_WINDOW = (350.0, 50.0)
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
GAUSSIAN_SIZE, GAUSSIAN_SIGMA = 11, 1.5
SMALLEST_SIDE = (GAUSSIAN_SIZE - 1) * 2 ** (len(SCALE_WEIGHTS) - 1) + 1
NMI_BINS = 64


@dataclass(frozen=True, eq=False)
class Similarity:
    """Of each slice, (Z,); HU for MAE, dB for PSNR. `ms_ssim` and `lpips` are None where left out."""

    mae: NDArray[np.float64]
    mae_unclipped: NDArray[np.float64]
    squared_error: NDArray[np.float64]  # mean over the slice, HU squared, in the window
    ms_ssim: NDArray[np.float64] | None
    nmi: NDArray[np.float64]
    nmi_unit: NDArray[np.float64]  # the form in [0, 1]
    lpips: NDArray[np.float64] | None
    window: tuple[float, float]

    def of_case(self) -> dict[str, float]:
        """One number a measure; PSNR is infinite for equal images."""
        means = {
            name: float(np.mean(values))
            for name in ("mae", "mae_unclipped", "ms_ssim", "lpips", "nmi", "nmi_unit")
            if (values := getattr(self, name)) is not None
        }
        return means | {"psnr": psnr(float(np.mean(self.squared_error)), self.window[0])}


def compare(
    image: NDArray,
    target: NDArray,
    window: tuple[float, float] = READING_WINDOW,
    lpips: Lpips | None = None,
    *,
    structure: bool = True,
    on_slice: Callable[[int], None] = lambda done: None,
) -> Similarity:
    """Compare two (Z, Y, X) CTs in HU, slice by slice.

    Args:
        structure: whether MS-SSIM is made, which needs PyTorch and slices of SMALLEST_SIDE pixels.
        on_slice: is given how many slices are done.

    Raises:
        InputError: when their shapes differ, there is no slice, or a slice is smaller than MS-SSIM takes.
    """
    if image.shape != target.shape or image.ndim != 3 or not len(image):
        raise InputError(
            f"images of {image.shape} and {target.shape} voxels cannot be compared: give one grid, (Z, Y, X)"
        )
    if structure and min(image.shape[1:]) < SMALLEST_SIDE:
        raise InputError(
            f"slices of {image.shape[1:]} pixels are too small for MS-SSIM: {SMALLEST_SIDE} a side at least"
        )
    rows = []
    for done, (one, other) in enumerate(zip(image, target, strict=True), 1):
        a, b = scaled(one, window), scaled(other, window)
        error = (a.astype(np.float64) - b) * window[0]
        rows.append(
            (
                np.mean(np.abs(error)),
                np.mean(np.abs(one.astype(np.float64) - other)),
                np.mean(error**2),
                ms_ssim(a, b) if structure else math.nan,
                *normalized_mutual_information(a, b),
                lpips(a, b) if lpips else math.nan,
            )
        )
        on_slice(done)
    mae, unclipped, squared, ssim, nmi, nmi_unit, distance = np.array(rows, np.float64).T
    return Similarity(
        mae, unclipped, squared, ssim if structure else None, nmi, nmi_unit, distance if lpips else None, window
    )


def scaled(hu: NDArray, window: tuple[float, float]) -> NDArray[np.float32]:
    """HU to [0, 1] over the window, clipped."""
    width, level = window
    return np.clip((hu.astype(np.float32) - np.float32(level - width / 2)) / np.float32(width), 0, 1)


def psnr(mean_squared_error: float, peak: float) -> float:
    """dB; infinite for no error."""
    return math.inf if mean_squared_error == 0 else 10 * math.log10(peak**2 / mean_squared_error)


def ms_ssim(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Multi-scale structural similarity of two (Y, X) images in [0, 1]."""
    import torch
    import torch.nn.functional as F

    x = torch.from_numpy(np.stack([a, b]))[:, None].double()
    offsets = torch.arange(GAUSSIAN_SIZE, dtype=torch.double) - GAUSSIAN_SIZE // 2
    kernel = torch.exp(-(offsets**2) / (2 * GAUSSIAN_SIGMA**2))
    kernel /= kernel.sum()
    result = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        luminance, contrast = _ssim_terms(x, kernel)
        last = scale == len(SCALE_WEIGHTS) - 1
        value = float((luminance * contrast if last else contrast).mean())
        result *= max(value, 0.0) ** weight
        x = F.avg_pool2d(x, 2, padding=(x.shape[-2] % 2, x.shape[-1] % 2))
    return result


def _ssim_terms(x: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure maps of the two images (2, 1, Y, X); constants K1 = 0.01, K2 = 0.03."""
    import torch
    import torch.nn.functional as F

    def blurred(image: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(image, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))

    a, b = x[:1], x[1:]
    mean_a, mean_b, aa, bb, ab = blurred(torch.cat([a, b, a * a, b * b, a * b])).unbind(0)
    variance_a, variance_b, covariance = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    return luminance, (2 * covariance + 0.03**2) / (variance_a + variance_b + 0.03**2)


def normalized_mutual_information(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[float, float]:
    """(H(a) + H(b)) / H(a, b) and 2 I(a, b) / (H(a) + H(b)) of two images in [0, 1]; 2 and 1 for two constants."""
    joint, _, _ = np.histogram2d(a.ravel(), b.ravel(), bins=NMI_BINS, range=[[0, 1], [0, 1]])
    both = _entropy(joint)
    apart = _entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))
    if both == 0:
        return 2.0, 1.0
    return apart / both, 2 * (apart - both) / apart


def _entropy(counts: NDArray[Any]) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-np.sum(p * np.log(p)))


class Lpips:
    """LPIPS of two slices; lower is more alike.

    Args:
        weights: file of AlexNet's feature layers (torchvision's, keys `features.*`), for a computer without a network;
            without it, torchvision downloads them once (`DOWNLOAD_MB`).

    Raises:
        InputError: when the package lpips is not there, the file does not hold those weights, or they cannot be
            downloaded.
    """

    DOWNLOAD_MB = 233

    def __init__(self, weights: Path | None = None) -> None:
        import contextlib
        import io
        import warnings

        import torch

        try:
            import lpips
        except ImportError as error:
            raise InputError(
                "LPIPS needs the packages lpips and torchvision: install them, or go without it"
            ) from error
        own = weights is None
        try:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")  # torchvision's, on how lpips calls it
                self.network = lpips.LPIPS(net="alex", version="0.1", pnet_rand=not own, verbose=False).eval()
        except (OSError, RuntimeError) as error:
            if not own:
                raise
            raise InputError(
                "the weights of LPIPS cannot be downloaded (no network?): give a file of them, or go without LPIPS"
            ) from error
        if weights is not None:
            path = _existing(weights)
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # of a file that is not PyTorch's anything can come
                raise InputError(f"{weights.name} is no file of weights of PyTorch: give AlexNet's features") from error
            self._load(state, weights)

    @staticmethod
    def downloaded() -> bool:
        """True if torchvision has fetched AlexNet's weights on this computer before."""
        import torch
        from torchvision.models import AlexNet_Weights

        name = AlexNet_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
        return (Path(torch.hub.get_dir()) / "checkpoints" / name).is_file()

    def _load(self, state: dict[str, Tensor], weights: Path) -> None:
        own = self.network.net.state_dict()  # slice1.0.weight for features.0.weight
        names = {name: "features." + name.split(".", 1)[1] for name in own}
        if missing := [name for name in names.values() if not isinstance(state, dict) or name not in state]:
            raise InputError(f"{weights.name} does not hold AlexNet's features: it has no {missing[0]}")
        self.network.net.load_state_dict({name: state[source] for name, source in names.items()})

    def __call__(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
        """Of two (Y, X) images in [0, 1]."""
        import torch

        x, y = (torch.from_numpy(2 * image - 1)[None, None].expand(1, 3, -1, -1) for image in (a, b))
        with torch.inference_mode():
            return float(self.network(x, y))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path} does not exist: give the file of LPIPS' AlexNet weights")
    return path
