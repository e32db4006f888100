"""Choice of device and precision, and the reasons given for it."""

import warnings

import pytest
import torch

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.synthesis import device


@pytest.fixture
def machine(monkeypatch):
    """Make this look like a machine with that many GPUs of that compute capability."""

    def make(gpus=0, capability=(9, 0), bf16_cpu=False, works=True, driver_warning=None, mps=False):
        def available():
            if driver_warning:
                warnings.warn(driver_warning, UserWarning, stacklevel=1)
            return gpus > 0

        def conv3d(*args):
            if not works:
                raise RuntimeError("CUDA error: no kernel image is available\nmore")
            return torch.ones(1)

        ones = torch.ones
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "is_available", available)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda name: capability)
        monkeypatch.setattr(torch, "ones", lambda *shape, device=None: ones(*shape))
        monkeypatch.setattr(torch.nn.functional, "conv3d", conv3d)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(device, "_cpu_has_bf16", lambda: bf16_cpu)
        monkeypatch.delenv("LOCAL_RANK", raising=False)

    return make


@pytest.mark.parametrize(
    ("machine_is", "expected"),
    [
        ({}, ("cpu", "fp32", "no GPU: no NVIDIA GPU or driver found")),
        ({"bf16_cpu": True}, ("cpu", "bf16", "bf16 instructions")),
        ({"gpus": 2}, ("cuda:0", "bf16", "Card 0")),
        ({"gpus": 1, "capability": (7, 0)}, ("cuda:0", "fp16", "this GPU has no bf16")),
        ({"gpus": 1, "works": False}, ("cpu", "fp32", "it fails to compute (CUDA error: no kernel image")),
        (
            {"driver_warning": "The NVIDIA driver is too old (found 11040). (Triggered internally at x)"},
            ("cpu", "fp32", "driver is too old (found 11040)."),
        ),
        ({"mps": True}, ("mps", "fp32", "Apple GPU")),
    ],
)
def test_automatic_choice_says_why(machine, machine_is, expected):
    machine(**machine_is)
    chosen = device.choose()
    assert (chosen.device, chosen.precision) == expected[:2]
    assert expected[2] in str(chosen)
    assert "Triggered" not in str(chosen)


def test_each_local_rank_takes_its_own_gpu(machine, monkeypatch):
    machine(gpus=4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert device.choose().device == "cuda:3"
    assert device.choose("cuda").device == "cuda:3"
    assert device.choose("cuda:1").device == "cuda:1"


def test_cpu_as_asked(machine):
    machine(gpus=1)
    chosen = device.choose("cpu", "bf16")
    assert (chosen.device, chosen.precision, chosen.dtype) == ("cpu", "bf16", torch.bfloat16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cuda", "auto"), "cannot be used: no NVIDIA GPU"),
        (("cuda:x", "auto"), "unknown device cuda:x"),
        (("tpu", "auto"), "use auto, cpu, cuda, cuda:N or mps"),
        (("mps", "auto"), "no Apple GPU"),
        (("cpu", "fp16"), "needs a GPU"),
        (("cpu", "int8"), "unknown precision int8"),
    ],
)
def test_what_cannot_be_is_refused(machine, arguments, message):
    machine()
    with pytest.raises(InputError, match=message):
        device.choose(*arguments)


def test_a_gpu_that_does_not_exist_is_named(machine):
    machine(gpus=2)
    with pytest.raises(InputError, match="GPU 5 does not exist, there are 2"):
        device.choose("cuda:5")
