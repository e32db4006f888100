"""Every unusual input that must be read, with exactly its values and geometry."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from SyntheticContrastLib.ct.read import read_ct
from unit.ct_factory import chest_values, compressed, ct_slices, save, save_all, save_image, store

# Writes an input, and says what must come out: HU (K, J, I) and the affine IJK -> LPS.
Made = tuple[Path, NDArray, NDArray]
Make = Callable[[Path], Made]

HU = chest_values((5, 10, 12))


def affine_of(
    step: tuple[float, float, float] = (0, 0, 5), origin: tuple[float, float, float] = (-20.5, -31.25, -100)
) -> NDArray:
    """The factory's pixels, 0.5 mm along I and 0.75 mm along J, with this step from slice to slice."""
    affine = np.diag([0.5, 0.75, 1, 1])
    affine[:3, 2], affine[:3, 3] = step, origin
    return affine


def series(hu: NDArray, edit: Callable[[Dataset, int], None] | None = None, expected: NDArray | None = None) -> Make:
    return lambda folder: (save_all(folder, ct_slices(hu), edit), hu if expected is None else expected, affine_of())


def at_positions(positions: NDArray, expected_step: tuple[float, float, float]) -> Make:
    def make(folder: Path) -> Made:
        hu = chest_values((len(positions), 10, 12))
        return save_all(folder, ct_slices(hu, positions=positions)), hu, affine_of(expected_step, tuple(positions[0]))

    return make


def tilted(degrees: float) -> Make:
    step = np.array([0.0, np.tan(np.radians(degrees)) * 5.0, 5.0])
    return at_positions(np.arange(6)[:, None] * step, tuple(step))


def oblique(folder: Path) -> Made:
    cos, sin = np.cos(np.radians(4)), np.sin(np.radians(4))
    positions = np.arange(5)[:, None] * np.array([0, -sin, cos]) * 5.0
    affine = affine_of((0, -sin * 5, cos * 5), (0, 0, 0))
    affine[:3, 1] = np.array([0, cos, sin]) * 0.75
    return save_all(folder, ct_slices(HU, orientation=(1, 0, 0, 0, cos, sin), positions=positions)), HU, affine


def feet_first(folder: Path) -> Made:
    """Rows to the right and columns to the front: the normal still points to the head."""
    affine = affine_of()
    affine[:3, :2] *= -1
    return save_all(folder, ct_slices(HU, orientation=(-1, 0, 0, 0, -1, 0))), HU, affine


def coronal(folder: Path) -> Made:
    """A coronal reformat: columns run to the feet, slices to the back."""
    positions = [(0.0, 5.0 * k, 50.0) for k in range(5)]
    affine = np.array([[0.5, 0, 0, 0], [0, 0, 5, 0], [0, -0.75, 0, 50], [0, 0, 0, 1]])
    return save_all(folder, ct_slices(HU, orientation=(1, 0, 0, 0, 0, -1), positions=positions)), HU, affine


def shuffled_names(folder: Path) -> Made:
    """Neither the names nor InstanceNumber follow the positions."""
    slices = ct_slices(HU)
    for name, k in enumerate((3, 0, 4, 2, 1)):
        slices[k].InstanceNumber = 10 - name
        save(folder / "a" / "b" / f"{name}", slices[k])
    return folder, HU, affine_of()


def own_slope_each(folder: Path) -> Made:
    def edit(ds: Dataset, k: int) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = 2, -1000 - k
        store(ds, np.full((10, 12), 200 * k), signed=True)

    expected = np.stack([np.full((10, 12), 400 * k - 1000 - k) for k in range(5)])
    return save_all(folder, ct_slices(HU), edit), expected, affine_of()


def fractional_slope(ds: Dataset, k: int) -> None:
    ds.RescaleSlope, ds.RescaleIntercept = 0.5, -512


def empty_padding_tag(ds: Dataset, k: int) -> None:
    ds.add_new("PixelPaddingValue", "US", None)


def no_rescale_tags(ds: Dataset, k: int) -> None:
    del ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType
    store(ds, HU[k], signed=True)


def padded(folder: Path) -> Made:
    """Padding above -1024 HU comes out at -1024, lower padding stays. Old scanners write -500 as unsigned 65036."""
    stored, tags = (-2000, -500, 700, 700, 700), (63536, 65036, 700, 700, 700)

    def edit(ds: Dataset, k: int) -> None:
        values = HU[k].copy()
        values[0, :6] = stored[k]
        store(ds, values, signed=True)
        ds.RescaleIntercept = 0
        ds.add_new("PixelPaddingValue", "US", tags[k])

    expected = HU.copy()
    for k in range(5):
        expected[k][HU[k] == stored[k]] = -1024  # a measured value cannot be told from the padding
        expected[k, 0, :6] = min(stored[k], -1024)
    return save_all(folder, ct_slices(HU), edit), expected, affine_of()


def padded_range(folder: Path) -> Made:
    def edit(ds: Dataset, k: int) -> None:
        stored = HU[k] + 1024
        stored[0, :3] = (4000, 4050, 4100)
        stored[1, :2] = (3999, 4101)
        store(ds, stored, signed=False)
        ds.add_new("PixelPaddingValue", "US", 4100)
        ds.add_new("PixelPaddingRangeLimit", "US", 4000)

    expected = HU.copy()
    expected[:, 0, :3] = -1024
    expected[:, 1, :2] = (3999 - 1024, 4101 - 1024)
    return save_all(folder, ct_slices(HU), edit), expected, affine_of()


def twelve_bits_with_overlay(ds: Dataset, k: int) -> None:
    """Signed 12-bit values; the four bits above them hold something else."""
    ds.RescaleIntercept = 0
    words = (HU[k].view(np.uint16) & 0x0FFF) | 0xA000
    store(ds, words, signed=False, bits=12)
    ds.PixelRepresentation = 1


def left_aligned(signed: bool) -> Make:
    """12 bits at the left of 16, the four below hold something else."""

    def edit(ds: Dataset, k: int) -> None:
        stored = HU[k] if signed else HU[k] + 1024
        ds.RescaleIntercept = 0 if signed else -1024
        store(ds, (stored.astype(np.int16).view(np.uint16) << 4) | 0x5, signed=False, bits=12)
        ds.HighBit, ds.PixelRepresentation = 15, int(signed)

    return series(HU, edit)


def water_is_no_padding(folder: Path) -> Made:
    """Signed HU whose padding tag says 0, as some scanners write whatever they padded: water inside stays water."""
    hu = HU.copy()
    hu[:, 4:7, 4:9] = 0
    hu[:, [0, 0, -1, -1], [0, -1, 0, -1]] = -1000

    def edit(ds: Dataset, k: int) -> None:
        store(ds, hu[k], signed=True)
        ds.RescaleIntercept = 0
        ds.add_new("PixelPaddingValue", "SS", 0)

    return save_all(folder, ct_slices(hu), edit), hu, affine_of()


def corners_of_water(folder: Path) -> Made:
    """The same tag where the scanner did pad: what hangs together with a corner was not measured."""
    hu = np.where(HU == 0, 1, HU)
    hu[:, 5, 5] = 0
    hu[:, 0, :5] = hu[:, 1, :3] = 0
    expected = hu.copy()
    expected[:, 0, :5] = expected[:, 1, :3] = -1024

    def edit(ds: Dataset, k: int) -> None:
        store(ds, hu[k], signed=True)
        ds.RescaleIntercept = 0
        ds.add_new("PixelPaddingValue", "SS", 0)

    return save_all(folder, ct_slices(hu), edit), expected, affine_of()


def rounded_cosines(folder: Path) -> Made:
    """Cosines shorter than 1 do not shrink the pixels."""
    return save_all(folder, ct_slices(HU, orientation=(0.996, 0, 0, 0, 0.996, 0))), HU, affine_of()


def without_preamble(syntax: str, meta: bool) -> Make:
    """The file begins with its first element: the file header, or the dataset itself."""

    def make(folder: Path) -> Made:
        for k, ds in enumerate(ct_slices(HU)):
            if syntax == ExplicitVRBigEndian:
                ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
            path = save(folder / f"{k}.dcm", ds, syntax)
            whole = path.read_bytes()[132:]
            path.write_bytes(whole if meta else whole[12 + int.from_bytes(whole[8:12], "little") :])
        return folder, HU, affine_of()

    return make


def mhd(name: str, data: str, **changes: str) -> Make:
    """A .mhd over a file for each slice."""

    def make(folder: Path) -> Made:
        for k, values in enumerate(HU):
            (folder / f"s{k:03d}.raw").write_bytes(values.tobytes())
        (folder / "all.raw").write_bytes(HU.tobytes())
        fields = {"ObjectType": "Image", "NDims": "3", "BinaryData": "True", "ElementSpacing": "0.5 0.75 5"}
        fields |= {"Offset": "-20.5 -31.25 -100", "DimSize": "12 10 5", "ElementType": "MET_SHORT"}
        fields |= {**changes, "ElementDataFile": data}
        (folder / name).write_text("".join(f"{key} = {value}\n" for key, value in fields.items()))
        return folder / name, HU, affine_of()

    return make


def changed_bytes(name: str, change: Callable[[bytes], bytes]) -> Make:
    """A plain .nii whose bytes are changed, under another name."""

    def make(folder: Path) -> Made:
        source, values, affine = image("whole.nii")(folder)
        (folder / name).write_bytes(change(source.read_bytes()))
        source.unlink()
        return folder / name, values, affine

    return make


def two_gzip_members(whole: bytes) -> bytes:
    return gzip.compress(whole[:1000]) + gzip.compress(whole[1000:])


def with_syntax(syntax: str) -> Make:
    def make(folder: Path) -> Made:
        for k, ds in enumerate(ct_slices(HU)):
            if syntax == ExplicitVRBigEndian:
                ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
            save(folder / f"{k}.dcm", ds, syntax)
        return folder, HU, affine_of()

    return make


def run_length_encoded(folder: Path) -> Made:
    for k, ds in enumerate(ct_slices(HU)):
        whole = pydicom.dcmread(save(folder / f"{k}.dcm", ds))
        whole.compress(RLELossless)
        whole.save_as(folder / f"{k}.dcm")
    return folder, HU, affine_of()


def with_compressor(name: str, signed: bool) -> Make:
    def make(folder: Path) -> Made:
        for k, ds in enumerate(ct_slices(HU)):
            if signed:
                store(ds, HU[k], signed=True)
            ds.RescaleIntercept = 0 if signed else -1024
            save(folder / f"{k}.dcm", *compressed(ds, name, folder))
        return folder, HU, affine_of()

    return make


def compressed_mha(folder: Path) -> Made:
    written = SimpleITK.GetImageFromArray(HU)
    SimpleITK.WriteImage(written, str(folder / "v.mha"), useCompression=True)
    return folder / "v.mha", HU, np.eye(4)


def image(name: str, values: NDArray = HU, direction: NDArray | None = None) -> Make:
    def make(folder: Path) -> Made:
        path = save_image(folder / name, values, direction)
        written = SimpleITK.ReadImage(str(path))
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(written.GetDirection(), (3, 3)) * written.GetSpacing()
        affine[:3, 3] = written.GetOrigin()
        return path, values, affine

    return make


SHEAR = np.array([[1, 0, 0], [0, 1, np.sin(np.radians(4))], [0, 0, np.cos(np.radians(4))]])

ROUNDED = np.c_[np.zeros((9, 2)), np.round(np.arange(9) * 1.25, 1)]  # 1.2 and 1.3 mm apart in turn

ACCEPTED = {
    # slices and positions
    "two slices": series(HU[:2]),
    "fifteen slices": series(chest_values((15, 10, 12))),
    "2,000 slices": at_positions(np.arange(2000)[:, None] * np.array([0, 0, 0.5]), (0, 0, 0.5)),
    "large matrix": series(chest_values((2, 1024, 768))),
    "rounded positions": at_positions(ROUNDED, (0, 0, 1.25)),
    "gap within the tolerance": at_positions(np.c_[np.zeros((4, 2)), [0, 5, 10.2, 15]], (0, 0, 5)),
    "gantry tilt of 4.9 degrees": tilted(4.9),
    "gantry tilt of 5 degrees": tilted(5.0),
    "oblique by 4 degrees": oblique,
    "prone": feet_first,
    "coronal reformat": coronal,
    "shuffled names, nested folders": shuffled_names,
    # values
    "its own slope and intercept in each slice": own_slope_each,
    "fractional slope": series(HU, fractional_slope, (HU + 1024) / 2 - 512),
    "no rescale tags": series(HU, no_rescale_tags),
    "beyond [-1024, 3071]": series(np.where(HU > 1000, 9000, np.where(HU < -800, -1024, HU)).astype(np.int16)),
    "padding": padded,
    "padding range": padded_range,
    "empty padding tag": series(HU, empty_padding_tag),
    "bits above the stored ones": series(HU, twelve_bits_with_overlay),
    "12 bits at the left": left_aligned(signed=False),
    "12 bits at the left, signed": left_aligned(signed=True),
    "a padding tag of 0 in signed HU": water_is_no_padding,
    "padding of 0 in signed HU": corners_of_water,
    "cosines of .996": rounded_cosines,
    # transfer syntaxes
    "no preamble": without_preamble(ExplicitVRLittleEndian, meta=True),
    "no preamble, explicit": without_preamble(ExplicitVRLittleEndian, meta=False),
    "no preamble, implicit": without_preamble(ImplicitVRLittleEndian, meta=False),
    "no preamble, big endian": without_preamble(ExplicitVRBigEndian, meta=False),
    "implicit": with_syntax(ImplicitVRLittleEndian),
    "big endian": with_syntax(ExplicitVRBigEndian),
    "deflated": with_syntax(DeflatedExplicitVRLittleEndian),
    "RLE": run_length_encoded,
    "JPEG lossless": with_compressor("JPEG", signed=False),
    "JPEG lossless, signed": with_compressor("JPEG", signed=True),
    "JPEG 2000": with_compressor("JPEG2000", signed=False),
    "JPEG 2000, signed": with_compressor("JPEG2000", signed=True),
    # image files
    **{name: image(f"v.{name}") for name in ("nrrd", "nhdr", "nii", "nii.gz", "mha", "mhd")},
    "compressed mha": compressed_mha,
    "mhd list": mhd("v.mhd", "LIST\n" + "\n".join(f"s{k:03d}.raw" for k in range(5))),
    "mhd pattern": mhd("v.mhd", "s%03d.raw 0 4 1"),
    "mhd of cosines of .996": mhd("v.mhd", "all.raw", TransformMatrix="0.996 0 0 0 0.996 0 0 0 1"),
    "plain data called nii.gz": changed_bytes("v.nii.gz", lambda whole: whole),
    "bytes after gzip": changed_bytes("v.nii.gz", lambda whole: gzip.compress(whole) + b"and more"),
    "zeros after gzip": changed_bytes("v.nii.gz", lambda whole: gzip.compress(whole) + bytes(512)),
    "gzip in two members": changed_bytes("v.nii.gz", two_gzip_members),
    "upper-case extension": image("V.NRRD"),
    "floats that are whole": image("v.nrrd", HU.astype(np.float64)),
    "fractions of HU": image("v.nii.gz", (HU + 0.25).astype(np.float32)),
    "-3024 outside the scan circle": image("v.nrrd", np.where(HU < -900, -3024, HU).astype(np.int16)),
    "too large for int16": image("v.mha", np.where(HU > 1000, 40000, HU.astype(np.int32))),
    "sheared by 4 degrees": image("v.nrrd", direction=SHEAR),
}


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED)
def test_read_with_exact_values_and_geometry(make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, hu_kji, affine = make(tmp_path)
    capfd.readouterr()
    volume = read_ct(path)
    assert capfd.readouterr() == ("", "")
    np.testing.assert_array_equal(volume.to_stored(volume.hu), hu_kji)
    np.testing.assert_allclose(volume.grid.affine, affine, atol=1e-5)
    whole = np.array_equal(hu_kji, np.rint(hu_kji)) and np.abs(hu_kji).max() < 32768
    assert volume.hu.dtype == (np.int16 if whole else np.float32)
    assert volume.hu.flags["C_CONTIGUOUS"]


AXIS_ORDERS = [
    pytest.param(axes, signs, id="".join("LPS"[a] if s > 0 else "RAI"[a] for a, s in zip(axes, signs, strict=True)))
    for axes in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]


@pytest.mark.parametrize("extension", ["nrrd", "nii"])
@pytest.mark.parametrize(("axes", "signs"), AXIS_ORDERS)
def test_all_48_axis_orders(axes: tuple[int, ...], signs: tuple[int, ...], extension: str, tmp_path: Path) -> None:
    """The canonical axes are found by where the voxels lie, and the stored order comes back exactly."""
    direction = np.zeros((3, 3))
    direction[list(axes), range(3)] = signs
    path = save_image(tmp_path / f"v.{extension}", HU, direction)
    volume = read_ct(path)
    np.testing.assert_array_equal(volume.to_stored(volume.hu), HU)
    np.testing.assert_array_equal(volume.from_stored(HU), volume.hu)
    np.testing.assert_allclose(volume.grid.direction, direction, atol=1e-6)

    steps = volume.grid.canonical_affine[:3, :3]
    np.testing.assert_allclose(steps, np.diag(volume.spacing_zyx[::-1]) * (1, 1, -1), atol=1e-5)

    written = SimpleITK.ReadImage(str(path))  # ITK's own word on where a voxel lies
    for zyx in ((0, 0, 0), (1, 2, 3), tuple(n - 1 for n in volume.hu.shape)):
        world = volume.grid.canonical_affine @ (*zyx[::-1], 1)
        index = written.TransformPhysicalPointToIndex(world[:3].tolist())
        assert written[index] == volume.hu[zyx]
