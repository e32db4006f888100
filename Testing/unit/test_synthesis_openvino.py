"""OpenVINO computes what PyTorch computes, and is taken where it is installed."""

import json
import sys

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from SyntheticContrastLib.ct.volume import CTVolume, Grid
from SyntheticContrastLib.models.choi2021 import Generator
from SyntheticContrastLib.models.folding import fold
from SyntheticContrastLib.synthesis import device
from SyntheticContrastLib.synthesis.convert import Converter
from SyntheticContrastLib.synthesis.openvino_network import OpenVinoNetwork
from unit.ct_factory import chest_values
from unit.entry import GENERATE, call

pytestmark = pytest.mark.usefixtures("with_openvino")


@pytest.mark.parametrize(("norm", "output", "size"), [("keras", "plain", 128), ("instance", "residual", 256)])
def test_it_gives_what_pytorch_gives(norm, output, size):
    torch.manual_seed(0)
    network = fold(Generator(gf=2, norm=norm, output=output))
    compiled = OpenVinoNetwork(network, "fp32")
    for height in (size, size + 128):  # it is compiled again for another shape
        x = torch.rand(1, 3, 16, height, size) * 2 - 1
        expected = network(x)
        assert compiled(x).shape == expected.shape
        torch.testing.assert_close(compiled(x), expected, rtol=0, atol=2e-4)  # 0.2 HU


def test_generate_computes_with_it(tiny_bundle, tmp_path, capsys, monkeypatch):
    image = sitk.GetImageFromArray(chest_values((16, 128, 128)))
    sitk.WriteImage(image, str(tmp_path / "ncct.nrrd"))
    found = {}
    for engine in ("OpenVINO", "PyTorch"):
        if engine == "PyTorch":
            monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
        arguments = ["--input", tmp_path / "ncct.nrrd", "--output", tmp_path / f"{engine}.nrrd", "--device", "cpu"]
        arguments += ["--model", tiny_bundle.folder, "--precision", "fp32", "--progress", "json"]
        outcome = call(GENERATE, arguments, capsys)
        assert outcome.status == 0, outcome.err
        assert json.loads(outcome.out.splitlines()[0])["engine"] == engine
        found[engine] = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{engine}.nrrd"))).astype(int)
    difference = np.abs(found["OpenVINO"] - found["PyTorch"])
    assert difference.max() <= 1 and difference.mean() < 0.01


def test_nothing_is_reported_over_the_network(monkeypatch):
    import openvino_telemetry as telemetry  # comes with openvino

    def refuse(*args, **kwargs):
        raise AssertionError("OpenVINO wants to report its use")

    monkeypatch.setattr(telemetry.Telemetry, "__init__", refuse)
    monkeypatch.setattr(telemetry.Telemetry, "send_event", refuse)
    OpenVinoNetwork(fold(Generator(gf=2)), "fp32")(torch.zeros(1, 3, 16, 128, 128))


def test_bf16_is_near_fp32(tiny_bundle):
    hu = chest_values((16, 128, 128))
    found = {}
    for precision in ("fp32", "bf16"):
        converter = Converter(tiny_bundle, device.choose("cpu", precision))
        found[precision] = converter.convert(CTVolume(hu, Grid.axial(hu.shape, (5.0, 2.0, 2.0)))).hu.astype(int)
    difference = np.abs(found["bf16"] - found["fp32"])
    assert 0 < difference.mean() < 10


def test_it_is_for_the_cpu_alone(monkeypatch):
    assert device.choose("cpu").engine == "OpenVINO" and "OpenVINO" in str(device.choose("cpu"))
    monkeypatch.setattr(device, "_choose_device", lambda wanted: ("mps", "Apple GPU"))
    assert device.choose().engine == "PyTorch"


def old(monkeypatch):
    """An OpenVINO of which this program needs a part that it does not have."""
    import openvino

    monkeypatch.delattr(openvino, "PartialShape")


def test_where_it_is_too_old_pytorch_computes_and_it_is_said(monkeypatch):
    old(monkeypatch)
    said = []
    network = fold(Generator(gf=2))
    compiled = OpenVinoNetwork(network, "fp32", said.append)
    for height in (128, 256):
        x = torch.rand(1, 3, 16, height, 128) * 2 - 1
        torch.testing.assert_close(compiled(x), network(x))
    [line] = said
    assert line.startswith("OpenVINO cannot compute this model (") and "PartialShape" in line and "PyTorch does" in line


@pytest.mark.parametrize("how", ["too old", "not wanted", "broken"])
def test_generate_goes_on_without_it(tiny_bundle, tmp_path, capsys, monkeypatch, how):
    sitk.WriteImage(sitk.GetImageFromArray(chest_values((16, 128, 128))), str(tmp_path / "ncct.nrrd"))
    arguments = ["--input", tmp_path / "ncct.nrrd", "--output", tmp_path / "o.nrrd", "--device", "cpu"]
    arguments += ["--model", tiny_bundle.folder, "--precision", "fp32", "--progress", "json"]
    if how == "too old":
        old(monkeypatch)
    elif how == "broken":
        (tmp_path / "openvino").mkdir()
        (tmp_path / "openvino" / "__init__.py").write_text("raise ImportError('libopenvino.so is gone')")
        monkeypatch.delitem(sys.modules, "openvino")
        monkeypatch.syspath_prepend(tmp_path)
    done = call(GENERATE, [*arguments, *(["--engine", "pytorch"] if how == "not wanted" else [])], capsys)
    events = [json.loads(line) for line in done.out.splitlines()]
    assert done.status == 0 and (tmp_path / "o.nrrd").exists(), done.err
    warnings = [event["message"] for event in events if event["event"] == "warning"]
    assert len(warnings) == (1 if how == "too old" else 0)
    assert events[0]["engine"] == ("OpenVINO" if how == "too old" else "PyTorch")
    if how == "broken":
        assert "PyTorch (OpenVINO does not work: libopenvino.so is gone)" in str(device.choose("cpu"))
