"""One NCCT to one sCECT: a model loaded once, then volume after volume."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from SyntheticContrastLib.ct.atomic import atomic_file, atomic_folder
from SyntheticContrastLib.ct.volume import CTVolume
from SyntheticContrastLib.ct.write import write_image
from SyntheticContrastLib.models.bundle import Bundle
from SyntheticContrastLib.synthesis.device import Compute
from SyntheticContrastLib.synthesis.sliding_window import Patch, Synthesis, synthesise
from SyntheticContrastLib.synthesis.tasks import Task

DISCLAIMER = "synthetic - not for diagnosis"


@dataclass
class Converter:
    """A bundle's network, folded for inference, on its device."""

    bundle: Bundle
    compute: Compute
    step: int = 1
    patch: Patch = field(init=False)

    def __post_init__(self) -> None:
        from SyntheticContrastLib.models.choi2021 import IN_PLANE_MULTIPLE
        from SyntheticContrastLib.models.folding import fold

        card = self.bundle.card
        generator = self.bundle.load_generator()
        self.patch = Patch(
            card.patch_depth, card.input_windows, card.output_window, IN_PLANE_MULTIPLE, generator.minimum_in_plane
        )
        self._network = fold(generator)

    def convert(
        self,
        volume: CTVolume,
        uncertainty: bool = False,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        on_fallback: Callable[[str], None] = lambda message: None,
    ) -> Synthesis:
        """sCECT on the canonical axes of `volume`; see `sliding_window.synthesise`."""
        return synthesise(
            volume.hu,
            self._network,
            self.patch,
            self.compute,
            step=self.step,
            uncertainty=uncertainty,
            on_progress=on_progress,
            on_fallback=on_fallback,
        )

    def provenance(self, volume: CTVolume) -> dict[str, Any]:
        """What decides the result: equal provenance, equal sCECT (but for rounding on another device)."""
        digest = hashlib.sha256(repr((volume.grid.size, volume.grid.affine.round(6).tolist())).encode())
        for slice_ in volume.hu:
            digest.update(np.ascontiguousarray(slice_).data)
        return {
            "input_sha256": digest.hexdigest(),
            "model": self.bundle.card.name,
            "weights_sha256": self.bundle.card.weights_sha256,
            "step": self.step,
        }

    @property
    def derivation(self) -> str:
        """How the values came about, for a DICOM header."""
        card = self.bundle.card
        return (
            f"{DISCLAIMER}. Synthetic contrast-enhanced CT computed from a non-contrast CT by the neural network "
            f"{card.name} (recipe {card.recipe}, weights sha256 {card.weights_sha256[:16]}), "
            f"sliding window of {card.patch_depth} slices, step {self.step}."
        )


def write_result(
    task: Task,
    volume: CTVolume,
    result: Synthesis,
    converter: Converter,
    write_preview: Callable[[Path], None],
    overwrite: bool = False,
) -> None:
    """Write all files of a task: each appears only when all are whole, the record last.

    Raises:
        InputError, OSError: as the writers do; then nothing has changed on the disk.
    """
    from SyntheticContrastLib.ct.dicom_write import write_dicom_series

    with ExitStack() as stack:  # left in reverse order: what is entered first is renamed last
        if task.record:
            record = {**converter.provenance(volume), "format": task.format, "compute": str(converter.compute)}
            path = stack.enter_context(atomic_file(task.record))
            path.write_text(json.dumps({"note": DISCLAIMER, **record}, indent=2) + "\n", encoding="utf-8")
        if task.format == "dicom":
            write_dicom_series(
                stack.enter_context(atomic_folder(task.output, overwrite)),
                result.hu,
                volume,
                description=f"sCECT {DISCLAIMER}",
                derivation=converter.derivation,
            )
        else:
            write_image(stack.enter_context(atomic_file(task.output)), result.hu, volume, f"sCECT, {DISCLAIMER}")
        if task.uncertainty and result.uncertainty is not None:
            path = stack.enter_context(atomic_file(task.uncertainty))
            write_image(path, result.uncertainty, volume, f"sCECT uncertainty (HU), {DISCLAIMER}")
        if task.preview:
            write_preview(stack.enter_context(atomic_file(task.preview)))


def is_finished(task: Task, volume: CTVolume, converter: Converter) -> bool:
    """True when the task's files are there and its record says that they were made from this input, as now asked."""
    if task.record is None or not all(p.exists() for p in (task.output, task.uncertainty, task.preview) if p):
        return False
    try:
        record = json.loads(task.record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    wanted = {**converter.provenance(volume), "format": task.format}
    return wanted.items() <= record.items()
