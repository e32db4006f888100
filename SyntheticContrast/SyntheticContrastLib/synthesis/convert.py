"""One NCCT to one sCECT: a model loaded once, then volume after volume."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.atomic import atomic_file, atomic_folder
from SyntheticContrastLib.ct.record import DONE, WRITING, read_record, write_record
from SyntheticContrastLib.ct.volume import CTVolume
from SyntheticContrastLib.ct.write import write_image
from SyntheticContrastLib.models.bundle import Bundle
from SyntheticContrastLib.synthesis.contrast import Contrast
from SyntheticContrastLib.synthesis.device import Compute
from SyntheticContrastLib.synthesis.heart_slices import HeartCrop, synthesise_heart
from SyntheticContrastLib.synthesis.openvino_network import OpenVinoNetwork
from SyntheticContrastLib.synthesis.shares import synthesise_shares
from SyntheticContrastLib.synthesis.sliding_window import Patch, Synthesis, synthesise
from SyntheticContrastLib.synthesis.tasks import Task

if TYPE_CHECKING:
    from torch import nn

DISCLAIMER = "synthetic - not for diagnosis"


@dataclass
class Converter:
    """A bundle's network, folded for inference, on its device.

    A model of the heart (`heart_only`) needs to know where the heart is, and has no uncertainty. Only one that windows
    of slices step through takes a `step`, only one of shares (`card.by_shares`) a `contrast`.
    """

    bundle: Bundle
    compute: Compute
    step: int = 1
    contrast: Contrast = field(default_factory=Contrast)

    def __post_init__(self) -> None:
        from SyntheticContrastLib.models import choi2021, folding, santini2018, share_unet

        self._tell: Callable[[str], None] = lambda message: None
        card = self.bundle.card
        network = self.bundle.load_network()
        if isinstance(network, choi2021.Generator):
            self._shape: Patch | HeartCrop | None = Patch(
                card.patch_depth,
                card.input_windows,
                card.output_window,
                choi2021.IN_PLANE_MULTIPLE,
                network.minimum_in_plane,
                residual=network.output == "residual",
            )
            self._network: nn.Module = folding.fold(network)
            if self.compute.engine == "OpenVINO":
                self._network = OpenVinoNetwork(self._network, self.compute.precision, self._without_openvino)
        elif isinstance(network, share_unet.ShareUNet):
            self._shape = None
            self._network = network
            self.compute = replace(self.compute, engine="PyTorch")  # its 2D convolutions are as fast
        else:
            assert isinstance(network, santini2018.Network) and card.crop and card.pixel_mm  # the bundle saw to it
            self._shape = HeartCrop(card.crop, card.pixel_mm, card.output_window)
            self._network = network if network.middle.norm is None else santini2018.fold_for_inference(network)

    def _without_openvino(self, why: str) -> None:
        self.compute = replace(self.compute, engine="PyTorch", engine_reason=why)
        self._tell(why)

    @property
    def heart_only(self) -> bool:
        return self.bundle.card.heart_only

    def convert(
        self,
        volume: CTVolume,
        heart: NDArray[np.bool_] | None = None,
        uncertainty: bool = False,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        on_fallback: Callable[[str], None] = lambda message: None,
    ) -> Synthesis:
        """sCECT on the canonical axes of `volume`; see `synthesise_shares`, `synthesise`, `synthesise_heart`.

        Args:
            heart: (Z, Y, X), for a model of the heart only; found in the CT if not given.

        Raises:
            InputError: when no heart is found.
        """
        self._tell = on_fallback
        if isinstance(self._shape, HeartCrop):
            return synthesise_heart(
                volume.hu,
                find_heart(volume) if heart is None else heart,
                volume.spacing_zyx,
                self._network,
                self._shape,
                self.compute,
                on_progress=on_progress,
                on_fallback=on_fallback,
            )
        if self._shape is None:
            return synthesise_shares(
                volume.hu,
                volume.spacing_zyx,
                self._network,
                self.bundle.card.input_windows,
                self.contrast,
                self.compute,
                uncertainty=uncertainty,
                on_progress=on_progress,
                on_fallback=on_fallback,
            )
        return synthesise(
            volume.hu,
            self._network,
            self._shape,
            self.compute,
            step=self.step,
            uncertainty=uncertainty,
            on_progress=on_progress,
            on_fallback=on_fallback,
        )

    def first_look(
        self, volume: CTVolume, on_fallback: Callable[[str], None] = lambda message: None
    ) -> tuple[int, NDArray[np.int16]]:
        """Index of the middle slice, and its sCECT in HU, (Y, X), from the slices around it.

        Only for a model that windows of slices step through. Where windows overlap, `convert` gives their mean instead.
        """
        assert isinstance(self._shape, Patch)
        self._tell = on_fallback
        slices, depth = len(volume.hu), self._shape.depth
        middle = slices // 2
        first = max(0, min(middle - depth // 2, slices - depth))
        slab = volume.hu[first : first + depth]
        window = synthesise(slab, self._network, self._shape, self.compute, on_fallback=on_fallback)
        return middle, window.hu[middle - first]

    def provenance(self, volume: CTVolume, given_heart: NDArray[np.bool_] | None = None) -> dict[str, Any]:
        """What decides the result: equal provenance, equal sCECT (but for rounding on another device).

        `given_heart` is None where the heart is found in the CT, or not needed.
        """
        digest = hashlib.sha256(repr((volume.grid.size, volume.grid.affine.round(6).tolist())).encode())
        for slice_ in volume.hu:
            digest.update(np.ascontiguousarray(slice_).data)
        found: dict[str, Any] = {
            "input_sha256": digest.hexdigest(),
            "model": self.bundle.card.name,
            "weights_sha256": self.bundle.card.weights_sha256,
            "step": self.step,
        }
        if self.bundle.card.by_shares:
            found |= dataclasses.asdict(self.contrast)
        if self.heart_only:  # stated in either case: a rerun with a mask is another result than one without
            mask = None if given_heart is None else hashlib.sha256(np.packbits(given_heart).data).hexdigest()
            found["heart_mask_sha256"] = mask
        return found

    @property
    def words(self) -> str:
        """Phase and level for the name of a series, with a blank after them; empty where the model has neither."""
        return f"{self.contrast.words} " if self.bundle.card.by_shares else ""

    @property
    def derivation(self) -> str:
        """How the values came about, for a DICOM header."""
        card = self.bundle.card
        if self.heart_only:
            how = "slice by slice. Only the heart region is synthetic, the rest is the non-contrast CT"
        elif card.by_shares:
            how = f"phase {self.contrast.phase}, vessels at {self.contrast.level_hu:g} HU"
        else:
            how = f"sliding window of {card.patch_depth} slices, step {self.step}"
        return (
            f"{DISCLAIMER}. Synthetic contrast-enhanced CT computed from a non-contrast CT by the neural network "
            f"{card.name} (recipe {card.recipe}, weights sha256 {card.weights_sha256[:16]}), {how}."
        )


def find_heart(volume: CTVolume) -> NDArray[np.bool_]:
    """(Z, Y, X): where the heart is.

    Raises:
        InputError: when none is found.
    """
    from SyntheticContrastLib.ct.heart_region import heart_region

    return heart_region(volume.hu, volume.spacing_zyx)


def write_result(
    task: Task,
    volume: CTVolume,
    result: Synthesis,
    converter: Converter,
    write_preview: Callable[[Path], None],
    overwrite: bool = False,
    given_heart: NDArray[np.bool_] | None = None,
    compress: bool = True,
) -> None:
    """Write all files of a task: each appears only when all are whole, the record last.

    `given_heart` is for the record: see `Converter.provenance`.

    Raises:
        InputError, OSError: as the writers do; then nothing has changed on the disk.
    """
    from SyntheticContrastLib.ct.dicom_write import write_dicom_series

    with ExitStack() as stack:  # left in reverse order: what is entered first is renamed last
        record: dict[str, Any] = {}
        if task.record:
            made_of = converter.provenance(volume, given_heart)
            record = {"note": DISCLAIMER, **made_of, "format": task.format, "compute": str(converter.compute)}
            write_record(stack.enter_context(atomic_file(task.record)), {**record, "state": DONE})
        if task.format == "dicom":
            write_dicom_series(
                stack.enter_context(atomic_folder(task.output, overwrite)),
                result.hu,
                volume,
                description=f"sCECT {converter.words}{DISCLAIMER}",
                derivation=converter.derivation,
            )
        else:
            path = stack.enter_context(atomic_file(task.output))
            write_image(path, result.hu, volume, f"sCECT, {DISCLAIMER}", compress)
        if task.uncertainty and result.uncertainty is not None:
            path = stack.enter_context(atomic_file(task.uncertainty))
            write_image(path, result.uncertainty, volume, f"sCECT uncertainty (HU), {DISCLAIMER}", compress)
        if task.preview:
            write_preview(stack.enter_context(atomic_file(task.preview)))
        if task.record:  # all is whole; who is killed while the files get their names finds them to be his
            write_record(task.record, {**record, "state": WRITING})


def state_of(
    task: Task, volume: CTVolume, converter: Converter, given_heart: NDArray[np.bool_] | None = None
) -> str | None:
    """Of the task's files, if its record says that they were made from this input, as now asked, else None.

    DONE if all are there; WRITING if the process was killed while they got their names, so that some may be missing or
    from before: they may be written again.
    """
    record = read_record(task.record) if task.record else {}
    wanted = {**converter.provenance(volume, given_heart), "format": task.format}
    if not wanted.items() <= record.items():
        return None
    state = record.get("state", DONE)
    if state == DONE and not all(path.exists() for path in task.outputs):
        return None
    return str(state)
