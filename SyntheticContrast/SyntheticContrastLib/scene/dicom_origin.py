"""The DICOM series that a volume node was loaded from, and an sCECT saved as a series derived from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import slicer
from slicer.i18n import tr as _

from SyntheticContrastLib.ct.dicom_write import write_dicom_series
from SyntheticContrastLib.ct.disclaimer import DISCLAIMER
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.quiet import quiet_libraries
from SyntheticContrastLib.ct.volume import CTVolume, DicomSource, Grid
from SyntheticContrastLib.scene.contrast_mark import contrastOf
from SyntheticContrastLib.scene.volumes import MODEL_ATTRIBUTE, WEIGHTS_ATTRIBUTE, gridOf, isSynthetic, sourceOf

INSTANCES_ATTRIBUTE = "DICOM.instanceUIDs"  # of Slicer's DICOM reader
_TOLERANCE = 0.02  # of a voxel: headers round their positions


def dicomFiles(node: slicer.vtkMRMLVolumeNode | None) -> list[Path] | None:
    """The files that a node was loaded from; None when it is not from DICOM or Slicer's database lacks one of them."""
    uids = (node.GetAttribute(INSTANCES_ATTRIBUTE) or "").split() if node is not None else []
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None or not database.isOpen:
        return None
    files = [Path(database.fileForInstance(uid)) for uid in uids]
    return files if all(file.is_file() for file in files) else None


def dicomSource(node: slicer.vtkMRMLVolumeNode | None) -> DicomSource | None:
    """The source series of a node, slice by slice in K order.

    None where `dicomFiles` is None, or where the node's grid is not the files': cropped, resampled, or with the
    transform hardened that Slicer gives a tilted scan. A parent transform does not matter: the series stays in its
    own frame of reference.
    """
    files = dicomFiles(node)
    return _matched(files, gridOf(node)) if files else None


def saveDicom(node: slicer.vtkMRMLScalarVolumeNode, folder: Path) -> str:
    """Write an sCECT node as a DICOM series and return its SeriesInstanceUID; the rules are `write_dicom_series`'s.

    It is derived from the source's series where `dicomSource` knows it, else a study of its own.

    Raises:
        InputError: the node is not an sCECT or has no voxels; and as `write_dicom_series` does.
        OSError: no space, or no permission.
    """
    if not isSynthetic(node) or node.GetImageData() is None:
        raise InputError(_("{name} is not an sCECT: choose one").format(name=node.GetName()))
    grid = gridOf(node)
    source = dicomSource(sourceOf(node))
    if source is not None and not grid.matches(gridOf(sourceOf(node))):
        source = None
    hu = grid.from_stored(slicer.util.arrayFromVolume(node))
    model, weights = (node.GetAttribute(name) or "unknown" for name in (MODEL_ATTRIBUTE, WEIGHTS_ATTRIBUTE))
    made = contrastOf(node)
    words = f"{made.contrast.words} " if made is not None else ""
    how = f", phase {made.contrast.phase}, vessels at {made.contrast.level_hu:g} HU" if made is not None else ""
    return write_dicom_series(
        folder,
        hu,
        CTVolume(hu, grid, source),
        description=f"sCECT {words}{DISCLAIMER}",
        derivation=f"{DISCLAIMER}. Synthetic contrast-enhanced CT computed from a non-contrast CT by the neural "
        f"network {model} (weights sha256 {weights[:16]}){how}.",
    )


def _matched(files: Sequence[Path], grid: Grid) -> DicomSource | None:
    """Find for each K the file whose slice lies there; None unless each fits in place, axes and size."""
    i, j, k = grid.size
    if len(files) != k:
        return None
    toVoxel = np.linalg.inv(grid.affine)
    found: dict[int, tuple[Path, str]] = {}
    series = ""
    for file in files:
        try:
            with quiet_libraries():
                header = pydicom.dcmread(file, stop_before_pixels=True)
                row, column = np.reshape(header.ImageOrientationPatient, (2, 3)).astype(float)
                first = np.array(header.ImagePositionPatient, float)
                betweenRows, betweenColumns = (float(value) for value in header.PixelSpacing)
                size = (int(header.Columns), int(header.Rows))
                uid, series = str(header.SOPInstanceUID), str(header.SeriesInstanceUID)
        except Exception:  # pydicom raises many kinds; such a file is no source to derive from
            return None
        last = first + row * betweenColumns * (i - 1) + column * betweenRows * (j - 1)
        corners = np.stack([first, last]) @ toVoxel[:3, :3].T + toVoxel[:3, 3]
        index = round(float(corners[0, 2]))
        fits = np.abs(corners - [[0, 0, index], [i - 1, j - 1, index]]).max() <= _TOLERANCE
        if size != (i, j) or not fits or index in found:
            return None
        found[index] = (file, uid)
    ordered = [found[index] for index in range(k)] if set(found) == set(range(k)) else []
    if not ordered:
        return None
    return DicomSource(series, tuple(file for file, _ in ordered), tuple(uid for _, uid in ordered))
