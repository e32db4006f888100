"""How long a generation will take, about: from earlier runs on this computer, else from a measured constant. No Qt."""

from __future__ import annotations

import math

import slicer

from SyntheticContrastLib.models.bundle import Card

SETTING = "SyntheticContrast/SecondsPerMegavoxel"
# Measured with PyTorch on two cores of an Intel Xeon in fp32 (README, "Performance"): the generator of gf 64 takes 2.1
# seconds for 512 x 512 x 16 voxels, that of gf 16 0.30. A computer differs from it by a factor of some.
SECONDS_PER_MEGAVOXEL_GF64 = 2.1 / (512 * 512 * 16 / 1e6)
GF_EXPONENT = 1.4
SHARES_SECONDS_PER_MEGAVOXEL = 19.0 / (300 * 512 * 512 / 1e6)  # of the CT, measured as above, in bf16
START_SECONDS = 5.0  # of Python and PyTorch


def windowCount(slices: int, depth: int, step: int) -> int:
    """As `sliding_window.window_starts` counts them."""
    return 1 + math.ceil((max(slices, depth) - depth) / step)


def windowMegavoxels(shape_zyx: tuple[int, int, int], depth: int, step: int) -> float:
    """10^6 voxels that the network sees in all windows together."""
    z, y, x = shape_zyx
    return windowCount(z, depth, step) * depth * y * x / 1e6


def workMegavoxels(card: Card, shape_zyx: tuple[int, int, int], step: int) -> float:
    """What the time of a run is in proportion to: 10^6 voxels in all windows, or for a model of shares of the CT."""
    if card.by_shares:
        return math.prod(shape_zyx) / 1e6
    return windowMegavoxels(shape_zyx, card.patch_depth, step)


def rememberSpeed(card: Card, device: str, megavoxels: float, seconds: float) -> None:
    """Keep what a run took, without its start, in Slicer's settings."""
    if megavoxels > 0 and seconds > 0:
        slicer.app.settings().setValue(_key(card, device), str(seconds / megavoxels))


def expectedSeconds(card: Card, device: str, megavoxels: float) -> float | None:
    """megavoxels: `workMegavoxels`.

    None for a model of the heart, whose slices are not known before, and for a GPU that has not been used yet.
    """
    if card.heart_only:
        return None
    measured = slicer.app.settings().value(_key(card, device))
    try:
        return START_SECONDS + megavoxels * float(measured)
    except (TypeError, ValueError):
        pass
    if device != "cpu":
        return None
    if card.by_shares:
        return START_SECONDS + megavoxels * SHARES_SECONDS_PER_MEGAVOXEL
    width = float(card.architecture_arguments.get("gf", 64))
    return START_SECONDS + megavoxels * SECONDS_PER_MEGAVOXEL_GF64 * (width / 64) ** GF_EXPONENT


def _key(card: Card, device: str) -> str:
    return f"{SETTING}/{card.weights_sha256[:12] or card.name}/{device.replace(':', '')}"
