"""Synthesis by shares of contrast: the network says where contrast goes, the user how much of it there is.

rise = share x (level - unenhanced blood). The share is found on the canonical grid, in slabs from the top, and brought
back to the CT's own voxels; see `ct.canonical_grid`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from SyntheticContrastLib.ct.canonical_grid import CanonicalCT, back, takes_contrast, to_canonical
from SyntheticContrastLib.models.share_unet import IN_PLANE_MULTIPLE, Z_MULTIPLE, to_share
from SyntheticContrastLib.synthesis.contrast import Contrast
from SyntheticContrastLib.synthesis.device import Compute
from SyntheticContrastLib.synthesis.predict import predict
from SyntheticContrastLib.synthesis.process import check_cancelled
from SyntheticContrastLib.synthesis.sliding_window import AIR_HU, OUTSIDE_HU, Synthesis

LEFT_OF_RIGHT = 0.65  # level of the left heart and the arteries in the pulmonary phase, of that in the right heart
SLAB, OVERLAP = 64, 16  # canonical slices that are kept of a slab, and that it sees above and below them
BLOOD_SHARE = 0.8  # voxels above it tell what unenhanced blood is
NATIVE_HU = (0.0, 80.0)  # of unenhanced blood; where nothing enhances, 40
DOUBT = (0.1, 0.5)  # a share up to the first is nothing; from the second on it is what the network gives
EXPECTED_HU = 39.0  # of unenhanced blood: the scan is shifted until its own lies there, and looked at again
NO_BLOOD_HU = (30.0, 18.0)  # so far below the blood of the scan nothing is blood: effusion, fluid in the stomach
SHIFTED_HU = (-8.0, 8.0)  # of the CT, for the uncertainty: calibrations differ by as much


@dataclass(frozen=True)
class ShareSynthesis(Synthesis):
    """`native_hu`: unenhanced blood of the CT. Another level needs no new run: the change is in proportion to
    level - native."""

    native_hu: float = 40.0


def synthesise_shares(
    hu: NDArray,
    spacing_zyx: tuple[float, float, float],
    network: nn.Module,
    windows: tuple[tuple[float, float], ...],
    contrast: Contrast,
    compute: Compute,
    *,
    uncertainty: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_fallback: Callable[[str], None] = lambda message: None,
) -> ShareSynthesis:
    """The contrast-enhanced CT, int16 HU on the CT's own grid.

    Args:
        hu: (Z, Y, X) in HU, Z from superior to inferior, at least one slice.
        spacing_zyx: mm.
        network: takes (N, C, Z, Y, X) in `windows`, gives logits as `ShareUNet` does.
        uncertainty: also give the SD (HU) of the rise with the CT's blood at EXPECTED_HU and shifted by SHIFTED_HU.
        on_progress: called with the slices of the CT that are done, and that there are.
        on_fallback: called with a line for a person whenever memory forces smaller work.

    Raises:
        OutOfMemoryError: when even one slab does not fit on the CPU.
        Cancelled: when the process was asked to stop.
    """
    canonical = to_canonical(hu, spacing_zyx)
    slabs = _slabs(len(canonical.hu))
    arterial, wanted = (_Mixed(network, phase) for phase in ("arterial", contrast.phase))
    shifts = [0.0, 0.0, *(SHIFTED_HU if uncertainty else ())]  # the first only finds the blood

    def read(mixed: nn.Module, number: int, shift: float) -> NDArray[np.float32]:
        shares = np.empty_like(canonical.hu)
        inputs = (_seen(canonical.hu[first:last] + np.float32(shift), windows) for first, last, _ in slabs)
        found = predict(mixed, inputs, compute, on_fallback, at_once=1, name="slab")
        for (first, _, kept), share in zip(slabs, found, strict=True):
            part = slice(kept.start - first, kept.stop - first)
            shares[kept] = share[part, : shares.shape[1], : shares.shape[2]].float().cpu().numpy()
            done = (number + kept.stop / len(shares)) / len(shifts)
            on_progress(min(len(hu) - 1, int(0.6 * done * len(hu))), len(hu))
            check_cancelled()
        shares[canonical.hu <= AIR_HU] = 0
        return shares

    native = unenhanced_blood(canonical, read(arterial, 0, 0.0))
    readings = [read(wanted, number, EXPECTED_HU - native + shift) for number, shift in enumerate(shifts[1:], 1)]
    if contrast.phase == "arterial":  # in the others organs have high shares, too, or blood has low ones
        native = unenhanced_blood(canonical, readings[0])
    possible = may_be_blood(canonical, native)
    readings = [shares * possible for shares in readings]
    return _brought_back(hu, canonical, readings, native, contrast.level_hu, on_progress)


def unenhanced_blood(canonical: CanonicalCT, shares: NDArray[np.float32]) -> float:
    """HU of blood in the CT: the median of what is taken for blood, within what blood can be."""
    blood = canonical.hu[(shares > BLOOD_SHARE) & (canonical.tissue > 0.95)]
    return float(np.clip(np.median(blood), *NATIVE_HU)) if len(blood) >= 100 else 40.0


def may_be_blood(canonical: CanonicalCT, native: float) -> NDArray[np.float32]:
    """(Z, Y, X) in [0, 1]: all blood of a scan has one HU; what lies well below it, noise averaged, takes none."""
    from scipy.ndimage import gaussian_filter

    soft = ((canonical.hu > -20) & (canonical.hu < 110)).astype(np.float32)  # fat beside a vessel does not count
    around = gaussian_filter(soft, 1.5)
    calm = gaussian_filter(canonical.hu * soft, 1.5) / np.maximum(around, 1e-3)
    nothing, sure = NO_BLOOD_HU
    part = np.clip((calm - native + nothing) / (nothing - sure), 0, 1)
    return np.where(around > 0.1, part, 1).astype(np.float32)


def _brought_back(
    hu: NDArray,
    canonical: CanonicalCT,
    readings: list[NDArray[np.float32]],
    native: float,
    level: float,
    on_progress: Callable[[int, int], None],
) -> ShareSynthesis:
    result = np.empty(hu.shape, np.int16)
    spread = np.zeros(hu.shape, np.float32) if len(readings) > 1 else None
    for z, values in enumerate(hu):
        result[z] = np.where(values <= OUTSIDE_HU, AIR_HU, np.rint(np.clip(values, -32768, 32767)))
    for parts in zip(*(back(shares, canonical) for shares in readings), strict=True):
        where, share = parts[0]
        own = hu[where]
        reached = takes_contrast(own) * np.float32(level - native)
        changed = np.rint(own + share * reached)
        result[where] = np.where(own <= OUTSIDE_HU, AIR_HU, np.clip(changed, -32768, 32767))
        if spread is not None:
            spread[where] = np.std([share for _, share in parts], axis=0) * np.abs(reached)
        last = where[0].stop
        on_progress(max(last, int(0.6 * len(hu))) if last < len(hu) else len(hu), len(hu))
        check_cancelled()
    return ShareSynthesis(result, spread, native)


def _slabs(slices: int) -> list[tuple[int, int, slice]]:
    """First and last + 1 of the slices that a slab sees, and those that are kept of it."""
    kept = [slice(first, min(first + SLAB, slices)) for first in range(0, slices, SLAB)]
    return [(max(0, part.start - OVERLAP), min(slices, part.stop + OVERLAP), part) for part in kept]


def _seen(hu: NDArray[np.float32], windows: tuple[tuple[float, float], ...]) -> Tensor:
    """(1, C, Z, Y, X), continued by air to the multiples that the network takes."""
    pads = [(0, -size % multiple) for size, multiple in zip(hu.shape, _MULTIPLES, strict=True)]
    padded = torch.from_numpy(np.pad(hu, pads, constant_values=AIR_HU))
    return torch.stack([((padded - level) / (width / 2)).clamp(-1, 1) for width, level in windows])[None]


_MULTIPLES = (Z_MULTIPLE, IN_PLANE_MULTIPLE, IN_PLANE_MULTIPLE)


class _Mixed(nn.Module):
    """The network's compartments, joined to the share of the wanted phase: (N, 1, Z, Y, X).

    In doubt it gives low shares to large organs; that haze is taken away.
    """

    def __init__(self, network: nn.Module, phase: str) -> None:
        super().__init__()
        self.network, self.phase = network, phase

    def forward(self, windows: Tensor) -> Tensor:
        arterial, portal, right = to_share(self.network(windows)).unbind(1)
        if self.phase == "portal":
            share = portal
        elif self.phase == "pulmonary":
            share = arterial * (LEFT_OF_RIGHT + (1 - LEFT_OF_RIGHT) * right)
        else:
            share = arterial
        nothing, sure = DOUBT
        return (share * ((share - nothing) / (sure - nothing)).clamp(0, 1))[:, None]
