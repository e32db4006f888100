"""Every input that must be refused, each with its one clear line."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom.dataset import Dataset

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.read import read_ct
from unit.ct_factory import (
    DICOMDIR,
    ENHANCED_CT,
    MR,
    PATIENT,
    REPORT,
    SECONDARY_CAPTURE,
    chest_values,
    compressed,
    ct_slices,
    odd_values,
    other_object,
    save,
    save_all,
    save_image,
    store,
)

Make = Callable[[Path], Path]
HU = chest_values((6, 10, 12))


def edited(**tags: object) -> Make:
    """A series whose every slice has these tags."""

    def make(folder: Path) -> Path:
        return save_all(folder, ct_slices(), lambda ds, k: ds.update(tags))

    return make


def last_slice_edited(**tags: object) -> Make:
    def edit(ds: Dataset, k: int) -> None:
        if k == 4:
            ds.update(tags)

    return lambda folder: save_all(folder, ct_slices(), edit)


def without_tag(name: str) -> Make:
    def edit(ds: Dataset, k: int) -> None:
        if k == 2:
            delattr(ds, name)

    return lambda folder: save_all(folder, ct_slices(), edit)


def at_heights(*heights: float) -> Make:
    positions = [(0.0, 0.0, height) for height in heights]
    return lambda folder: save_all(folder, ct_slices(chest_values((len(heights), 10, 12)), positions=positions))


def staggered(folder: Path) -> Path:
    positions = [(0.0, 3.0 * (k == 2), 5.0 * k) for k in range(5)]
    return save_all(folder, ct_slices(positions=positions))


def tilted(degrees: float) -> Make:
    shift = np.tan(np.radians(degrees))
    positions = [(0.0, shift * 5.0 * k, 5.0 * k) for k in range(5)]
    return lambda folder: save_all(folder, ct_slices(positions=positions))


def oblique(degrees: float) -> Make:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    positions = [(0.0, -sin * 5.0 * k, cos * 5.0 * k) for k in range(5)]
    return lambda folder: save_all(folder, ct_slices(orientation=(1, 0, 0, 0, cos, sin), positions=positions))


def two_series(folder: Path) -> Path:
    save_all(folder / "soft", ct_slices(series_uid="1.2.3.4"))
    thin = ct_slices(chest_values((9, 10, 12)), thickness=1.25, series_uid="1.2.3.5")
    return save_all(folder / "sharp", thin, lambda ds, k: setattr(ds, "ConvolutionKernel", "B70f")).parent


def only_objects(*objects: tuple[str, str]) -> Make:
    def make(folder: Path) -> Path:
        for number, (sop_class, modality) in enumerate(objects):
            save(folder / str(number), other_object(sop_class, modality))
        return folder

    return make


def cut(make: Make, name: str, part: float) -> Make:
    """The same input with one file cut off."""

    def made(folder: Path) -> Path:
        result = make(folder)
        path = folder / name
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * part)])
        return result

    return made


def compressed_series(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for k, ds in enumerate(ct_slices(chest_values((3, 60, 60)))):
        save(folder / f"IM{k:04d}.dcm", *compressed(ds, "JPEG", folder))
    return folder


def image(name: str, values: np.ndarray = HU, direction: np.ndarray | None = None) -> Make:
    return lambda folder: save_image(folder / name, values, direction)


def vector_image(folder: Path) -> Path:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.stack([HU] * 3, -1), isVector=True), str(folder / "v.nrrd"))
    return folder / "v.nrrd"


def four_dimensional(folder: Path) -> Path:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.stack([HU] * 3), isVector=False), str(folder / "v.nii.gz"))
    return folder / "v.nii.gz"


def two_dimensional(folder: Path) -> Path:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(HU[0]), str(folder / "v.nrrd"))
    return folder / "v.nrrd"


def nan_image(folder: Path) -> Path:
    values = HU.astype(np.float32)
    values[3, 4, 5] = np.nan
    return save_image(folder / "v.nrrd", values)


def infinite_image(folder: Path) -> Path:
    values = HU.astype(np.float64)
    values[3, 4, 5] = 1e300  # finite in the file, not in float32
    return save_image(folder / "v.nrrd", values)


def one_file(folder: Path) -> Path:
    return save_all(folder, ct_slices()) / "IM0000.dcm"


def one_file_without_extension(folder: Path) -> Path:
    return one_file(folder).rename(folder / "IM0")


def twin_nifti(folder: Path) -> Path:
    save_image(folder / "v.nii", HU)
    return save_image(folder / "v.nii.gz", HU)


def text_file(folder: Path) -> Path:
    (folder / "notes.txt").write_text("no image")
    return folder / "notes.txt"


def folder_of_text(folder: Path) -> Path:
    return text_file(folder).parent


def not_an_image(name: str) -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_text("this is not an image")
        return folder / name

    return make


def gzip_of_cut_nifti(folder: Path) -> Path:
    whole = save_image(folder / "whole.nii", HU).read_bytes()
    (folder / "v.nii.gz").write_bytes(gzip.compress(whole[:-100]))
    return folder / "v.nii.gz"


def compressed_mha(folder: Path) -> Path:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(HU), str(folder / "v.mha"), useCompression=True)
    return folder / "v.mha"


def mhd_alone(folder: Path) -> Path:
    path = save_image(folder / "v.mhd", HU)
    (folder / "v.raw").unlink()
    return path


def gzip_garbage(folder: Path) -> Path:
    (folder / "v.nii.gz").write_bytes(gzip.compress(b"nothing of use"))
    return folder / "v.nii.gz"


def colour(folder: Path) -> Path:
    def edit(ds: Dataset, k: int) -> None:
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.PixelData = ds.PixelData * 3

    return save_all(folder, ct_slices(), edit)


def eight_bit(folder: Path) -> Path:
    def edit(ds: Dataset, k: int) -> None:
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.PixelData = ds.PixelData[: ds.Rows * ds.Columns]

    return save_all(folder, ct_slices(), edit)


def smaller_slice(folder: Path) -> Path:
    slices = ct_slices()
    odd = slices[3]
    odd.Rows, odd.Columns = 8, 8
    store(odd, np.zeros((8, 8)), signed=False)
    return save_all(folder, slices)


def same_slice_twice(folder: Path) -> Path:
    slices = ct_slices()
    save_all(folder, slices)
    save(folder / "copy" / "again.dcm", slices[2])
    return folder


def synthetic_only(folder: Path) -> Path:
    def edit(ds: Dataset, k: int) -> None:
        ds.ImageType, ds.SeriesDescription = ["DERIVED", "SECONDARY", "AXIAL"], "Synthetic CECT"

    return save_all(folder, ct_slices(), edit)


def multi_frame(folder: Path) -> Path:
    """Two files of the CT class with three frames each: only the first frames would be seen."""

    def edit(ds: Dataset, k: int) -> None:
        ds.NumberOfFrames, ds.PixelData = 3, ds.PixelData * 3

    return save_all(folder, ct_slices(HU[:2]), edit)


def thirty_two_bits(ds: Dataset, k: int) -> None:
    ds.BitsAllocated = ds.BitsStored = 32
    ds.HighBit = 31
    ds.PixelData = ds.PixelData * 2


def unusual_bits_compressed(folder: Path) -> Path:
    for k, ds in enumerate(ct_slices(chest_values((3, 60, 60)))):
        packed, syntax = compressed(ds, "JPEG", folder)
        packed.BitsStored = 12
        save(folder / f"IM{k:04d}.dcm", packed, syntax)
    return folder


def nifti(change: Callable[[bytearray], None], values: np.ndarray = HU, name: str = "v.nii") -> Make:
    """A NIfTI file whose header bytes are changed."""

    def make(folder: Path) -> Path:
        whole = bytearray(save_image(folder / "whole.nii", values).read_bytes())
        (folder / "whole.nii").unlink()
        change(whole)
        (folder / name).write_bytes(gzip.compress(bytes(whole)) if name.endswith(".gz") else bytes(whole))
        return folder / name

    return make


def askew_without_qform(header: bytearray) -> None:
    struct.pack_into("<h", header, 252, 0)
    struct.pack_into("<f", header, 304, 0.4)


def packed(place: int, form: str, *values: float) -> Callable[[bytearray], None]:
    return lambda header: struct.pack_into(f"<{form}", header, place, *values)


def gzip_called_nii(folder: Path) -> Path:
    (folder / "v.nii").write_bytes(gzip.compress(save_image(folder / "whole.nii", HU).read_bytes()))
    return folder / "v.nii"


def not_finite(name: str, value: float, kind: type = np.float32) -> Make:
    values = HU.astype(kind)
    values[3, 4, 5] = value
    return image(name, values)


def header_of_mhd(data: str, **changes: str) -> str:
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "ElementSpacing": "0.5 0.75 5",
        "DimSize": "12 10 6",
        "ElementType": "MET_SHORT",
        **changes,
        "ElementDataFile": data,
    }
    return "".join(f"{key} = {value}\n" for key, value in fields.items())


def mhd_list(count: int, name: str, data: str) -> Make:
    """A .mhd over `count` files of one slice each."""

    def make(folder: Path) -> Path:
        for k in range(count):
            (folder / f"s{k}.raw").write_bytes(HU[k].tobytes())
        (folder / name).write_text(header_of_mhd(data))
        return folder / name

    return make


def damaged_inside(make: Make, name: str, from_end: int | None = None) -> Make:
    """One byte is another one: in the middle of the compressed data, or of the checksum of gzip, its last 8 bytes."""

    def made(folder: Path) -> Path:
        result = make(folder)
        whole = bytearray((folder / name).read_bytes())
        whole[-from_end if from_end else 2 * len(whole) // 3] ^= 0x55
        (folder / name).write_bytes(whole)
        return result

    return made


def compressed_nrrd(folder: Path) -> Path:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(HU), str(folder / "v.nrrd"), useCompression=True)
    return folder / "v.nrrd"


def nhdr_alone(folder: Path) -> Path:
    path = save_image(folder / "v.nhdr", HU)
    (folder / "v.raw").unlink()
    return path


def spaced(*mm: float) -> Make:
    def make(folder: Path) -> Path:
        written = SimpleITK.GetImageFromArray(HU)
        written.SetSpacing(mm)
        SimpleITK.WriteImage(written, str(folder / "v.nrrd"))
        return folder / "v.nrrd"

    return make


NAN, INF = float("nan"), float("inf")

REFUSED = {
    # paths
    "path does not exist": (lambda folder: folder / "gone", "does not exist"),
    "empty folder": (lambda folder: folder, "folder is empty"),
    "folder without DICOM": (folder_of_text, "no DICOM file"),
    "file of no known type": (text_file, "no known type"),
    "one DICOM file": (one_file, "give the folder"),
    "one DICOM file without extension": (one_file_without_extension, "give the folder"),
    # choice of series
    "only MR": (only_objects((MR, "MR"), (MR, "MR")), "found only MR (2)"),
    "only a report and a capture": (only_objects((REPORT, "SR"), (SECONDARY_CAPTURE, "CT")), "no CT series"),
    "only a DICOMDIR": (only_objects((DICOMDIR, "")), "no DICOM file"),
    "only scouts": (edited(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "found only CT scout (5)"),
    "enhanced CT": (only_objects((ENHANCED_CT, "CT")), "multi-frame"),
    "CT class, other modality": (edited(Modality="PT"), "without position"),
    "only a synthetic series": (synthetic_only, "only a synthetic CT series"),
    "several series": (
        two_series,
        "2 CT series in this folder, name one by its SeriesInstanceUID: "
        "1.2.3.4 (5 slices, 5 mm, kernel B30f); 1.2.3.5 (9 slices, 1.25 mm, kernel B70f)",
    ),
    # geometry
    "one slice": (lambda folder: save_all(folder, ct_slices(HU[:1])), "has 1 slice"),
    "a slice missing": (
        at_heights(0, 5, 10, 20, 25),
        "gap of 10.0 mm between slices 3 and 4, elsewhere 5.0 mm: 1 slice is missing",
    ),
    "a slice missing of four": (at_heights(0, 5, 15), "1 slice is missing"),
    "three slices missing": (at_heights(0, 5, 10, 30), "gap of 20.0 mm between slices 3 and 4"),
    "uneven slices": (at_heights(0, 5, 10, 17.5, 22.5), "not evenly spaced: gap of 7.5 mm"),
    "slightly uneven slices": (at_heights(0, 5, 10, 15.3, 20), "not evenly spaced"),
    "spacing that drifts": (at_heights(*np.cumsum([2.5] * 40 + [2.6] * 40)), "straight, even row"),
    "a slice twice": (same_slice_twice, "slices 3 and 4 lie at the same position (1 such pairs)"),
    "two phases in one series": (at_heights(0, 0, 5, 5, 10, 10), "several phases"),
    "staggered slices": (staggered, "slice 3 is off by 3.0 mm"),
    "gantry tilt": (tilted(5.1), "sheared by 5.1 degrees"),
    "oblique slices": (oblique(12), "oblique to the patient by 12.0 degrees"),
    "oblique image": (
        image("v.nrrd", direction=SimpleITK.Euler3DTransform((0, 0, 0), 0, 0, np.radians(8)).GetMatrix()),
        "oblique to the patient by 8.0 degrees",
    ),
    "two sizes in a series": (smaller_slice, "different size in one series (12 x 10 and 8 x 8 pixels)"),
    "two pixel spacings": (last_slice_edited(PixelSpacing=[0.75, 0.51]), "different pixel spacing"),
    "two orientations": (last_slice_edited(ImageOrientationPatient=[1, 0, 0, 0, -1, 0]), "different orientation"),
    "skewed orientation": (edited(ImageOrientationPatient=[1, 0, 0, 0.5, 0.8, 0]), "perpendicular"),
    "no position": (without_tag("ImagePositionPatient"), "IM0002.dcm is a CT slice without position"),
    "pixels of 800 mm": (edited(PixelSpacing=[800, 800]), "spacing is 800 x 800 x 5 mm"),
    "pixels in micrometres": (spaced(700, 700, 5000), "spacing is 700 x 700 x 5000 mm"),
    "pixels in metres": (spaced(0.0007, 0.0007, 0.005), "0.0007 x 0.0007 x 0.005 mm"),
    "slices 800 mm apart": (at_heights(0, 800, 1600), "x 800 mm, which no CT has"),
    "no pixel spacing": (without_tag("PixelSpacing"), "without position, size"),
    "zero pixel spacing": (edited(PixelSpacing=[0, 0]), "without position, size"),
    "no rows": (without_tag("Rows"), "without position, size"),
    # values
    "rescale to something else": (edited(RescaleType="OD"), "rescale type is OD, not HU"),
    "zero slope": (edited(RescaleSlope=0), "same value"),
    "intercept not applied": (edited(RescaleIntercept=1), "intercept was not applied"),
    "an empty slope": (last_slice_edited(RescaleSlope=None), "RescaleSlope of IM0004.dcm is empty"),
    "an empty intercept": (edited(RescaleIntercept=None), "RescaleIntercept of IM0000.dcm is empty"),
    "one slice without rescale": (without_tag("RescaleIntercept"), "IM0002.dcm has no rescale slope and intercept"),
    "several frames in a file": (multi_frame, "IM0000.dcm holds 3 frames"),
    "32-bit slices": (lambda f: save_all(f, ct_slices(), thirty_two_bits), "values of 32 bits, not of 16"),
    "compressed in unusual bits": (unusual_bits_compressed, "keeps its values in unusual bits"),
    "8-bit slices": (eight_bit, "8-bit"),
    "colour slices": (colour, "colour"),
    "8-bit image": (image("v.nrrd", (HU // 8).astype(np.uint8)), "8-bit"),
    "signed 8-bit image": (image("v.nii.gz", (HU // 16).astype(np.int8)), "8-bit"),
    "unsigned image": (image("v.nii.gz", (HU + 1024).astype(np.uint16)), "intercept was not applied"),
    "all zero": (image("v.nrrd", 0 * HU), "same value (0)"),
    "normalised to [-1, 1]": (image("v.nrrd", (HU / 1500).astype(np.float32)), "look normalised"),
    "normalised to z scores": (image("v.nii", (HU / 300).astype(np.float32)), "look normalised"),
    "not a number, nii": (not_finite("v.nii", NAN), "not a number"),
    "not a number, nii.gz": (not_finite("v.nii.gz", NAN), "not a number"),
    "not a number, double nii": (not_finite("v.nii", NAN, np.float64), "not a number"),
    "infinite, nii.gz": (not_finite("v.nii.gz", -INF), "infinite"),
    "not a number, mha": (not_finite("v.mha", NAN), "not a number"),
    "an infinite slope": (nifti(packed(112, "f", INF)), "infinite slope"),
    "not a number": (nan_image, "not a number"),
    "infinite": (infinite_image, "infinite"),
    "colour image": (vector_image, "3 components"),
    "four dimensions": (four_dimensional, "4 dimensions"),
    "two dimensions": (two_dimensional, "2 dimensions"),
    "one-slice image": (image("v.nrrd", HU[:1]), "has 1 slice"),
    # damage
    "slice cut in its pixels": (
        cut(lambda f: save_all(f, ct_slices()), "IM0001.dcm", 0.9),
        "slice 2 of 5 (IM0001.dcm)",
    ),
    "slice cut in its header": (cut(lambda f: save_all(f, ct_slices()), "IM0001.dcm", 0.4), "IM0001.dcm is a"),
    "slice without pixels": (without_tag("PixelData"), "slice 3 of 5 (IM0002.dcm) is truncated"),
    "compressed slice cut": (cut(compressed_series, "IM0001.dcm", 0.7), "slice 2 of 3 (IM0001.dcm) is truncated"),
    "cut nrrd": (cut(image("v.nrrd"), "v.nrrd", 0.7), "truncated"),
    "cut nrrd header": (cut(image("v.nrrd"), "v.nrrd", 0.05), "truncated"),
    "cut nhdr data": (cut(image("v.nhdr"), "v.raw", 0.7), "truncated"),
    "cut mha": (cut(image("v.mha"), "v.mha", 0.7), "truncated"),
    "cut mha, compressed": (cut(compressed_mha, "v.mha", 0.7), "truncated"),
    "cut mhd data": (cut(image("v.mhd"), "v.raw", 0.7), "truncated"),
    "mhd without its data": (mhd_alone, "v.raw, which holds voxels of v.mhd, is not there"),
    "cut nii": (cut(image("v.nii"), "v.nii", 0.7), "truncated"),
    "cut nii.gz": (cut(image("v.nii.gz"), "v.nii.gz", 0.9), "truncated"),
    "empty nii.gz": (cut(image("v.nii.gz"), "v.nii.gz", 0.0), "truncated"),
    "nii.gz of a cut nii": (gzip_of_cut_nifti, "truncated"),
    "nii of a spacing of 0": (nifti(packed(80, "f", 0.0)), "no spacing of its voxels"),
    "nii of no spacing": (nifti(packed(84, "f", NAN)), "no spacing of its voxels"),
    "nii in metres": (nifti(packed(123, "B", 9)), "another unit than mm"),
    "nii in micrometres, gz": (nifti(packed(123, "B", 11), name="v.nii.gz"), "another unit than mm"),
    "nii of two spacings": (nifti(packed(280, "f", -5.0)), "two spacings, 0.5 x 0.75 x 5 and 5 x 0.75 x 5 mm"),
    "nii of axes not perpendicular": (nifti(packed(304, "f", 0.4)), "not perpendicular, which NIfTI readers"),
    "nii of axes a little askew": (nifti(packed(304, "f", 0.02)), "do not agree on (by 0.2 degrees)"),
    "nii of axes askew, the other form": (nifti(askew_without_qform), "not perpendicular, which NIfTI readers"),
    "nii that lies nowhere": (nifti(packed(292, "f", NAN)), "values that are not numbers"),
    "nii of complex values": (nifti(packed(70, "2h", 1792, 128)), "a kind that is not read (code 1792)"),
    "NIfTI-2": (nifti(packed(0, "i", 540)), "NIfTI-2"),
    "Analyze": (nifti(packed(344, "4s", b"\0\0\0\0")), "no NIfTI file of its own"),
    "gzip called nii": (gzip_called_nii, "v.nii is compressed: name it v.nii.gz"),
    "gzip with a damaged byte": (damaged_inside(image("v.nii.gz"), "v.nii.gz"), "truncated or damaged"),
    "compressed nrrd with a damaged byte": (damaged_inside(compressed_nrrd, "v.nrrd"), "truncated or damaged"),
    "compressed nrrd with another checksum": (damaged_inside(compressed_nrrd, "v.nrrd", 7), "truncated or damaged"),
    "compressed nrrd cut": (cut(compressed_nrrd, "v.nrrd", 0.9), "truncated or damaged"),
    "compressed mha with a damaged byte": (damaged_inside(compressed_mha, "v.mha"), "truncated or damaged"),
    "nhdr without its data": (nhdr_alone, "v.raw, which holds the voxels of v.nhdr, is not there"),
    "mhd list without a slice": (
        mhd_list(5, "v.mhd", "LIST\n" + "\n".join(f"s{k}.raw" for k in range(6))),
        "s5.raw, which holds voxels of v.mhd, is not there",
    ),
    "mhd pattern without a slice": (mhd_list(5, "v.mhd", "s%d.raw 0 5 1"), "s5.raw, which holds voxels"),
    "mhd list that is short": (mhd_list(5, "v.mhd", "LIST\ns0.raw\ns1.raw"), "truncated"),
    "nii beside nii.gz": (twin_nifti, "v.nii lies beside v.nii.gz"),
    "text called nrrd": (not_an_image("v.nrrd"), "truncated or damaged"),
    "text called nii.gz": (not_an_image("v.nii.gz"), "truncated or damaged"),
    "text called mha": (not_an_image("v.mha"), "truncated or damaged"),
    "garbage nii.gz": (gzip_garbage, "truncated or damaged"),
}


@pytest.mark.parametrize(("make", "fragment"), REFUSED.values(), ids=REFUSED)
def test_refused_with_one_clear_line(
    make: Make, fragment: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path)
    capfd.readouterr()
    with pytest.raises(InputError) as refusal:
        read_ct(path)
    line = str(refusal.value)
    assert fragment in line
    assert "\n" not in line
    assert len(line) < 300
    assert not any(secret in line for secret in (PATIENT, "SECRET", "1950", "2020"))
    assert capfd.readouterr() == ("", "")


NAMES = {
    "none of several": ("1.2.9",),
    "two of several": ("1.2.3.4", "1.2.3.5"),
}


@pytest.mark.parametrize("uids", NAMES.values(), ids=NAMES)
def test_names_that_do_not_settle_the_choice(uids: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"name (one|only one).*1\.2\.3\.4 .*1\.2\.3\.5 "):
        read_ct(two_series(tmp_path), uids)


def test_odd_header_values_are_read_without_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_all(tmp_path, ct_slices(), odd_values)
    capfd.readouterr()
    assert read_ct(tmp_path).hu.shape == (5, 10, 12)
    assert capfd.readouterr() == ("", "")
