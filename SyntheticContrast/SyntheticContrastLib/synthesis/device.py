"""Which device and precision to compute with, and why."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.synthesis import openvino_network

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Compute:
    """A device ("cpu", "cuda:0", "mps"), a precision ("fp32", "bf16", "fp16"), and the reason for each in words.

    `engine` is what computes the network of the whole chest: "PyTorch", or on a CPU that has it "OpenVINO";
    `engine_reason` says why the latter does not though it is installed.
    """

    device: str
    precision: str
    device_reason: str
    precision_reason: str
    engine: str = "PyTorch"
    engine_reason: str = ""

    @property
    def dtype(self) -> torch.dtype:
        return PRECISIONS[self.precision]

    def __str__(self) -> str:
        engine = f"{self.engine} ({self.engine_reason})" if self.engine_reason else self.engine
        return f"{self.device} ({self.device_reason}), {self.precision} ({self.precision_reason}), {engine}"


def choose(device: str = "auto", precision: str = "auto", engine: str = "auto") -> Compute:
    """Resolve "auto": a GPU that works, else the CPU; the fastest precision that the device computes in hardware.

    Args:
        engine: "pytorch" to go without OpenVINO, "auto" to take it on a CPU if it is there.

    Raises:
        InputError: when the device named is not there, does not work, or cannot compute in the precision named.
    """
    device, device_reason = _choose_device(device)
    precision, precision_reason = _choose_precision(device, precision)
    if device != "cpu" or engine == "pytorch":
        return Compute(device, precision, device_reason, precision_reason)
    if openvino_network.works():
        return Compute(device, precision, device_reason, precision_reason, "OpenVINO")
    return Compute(device, precision, device_reason, precision_reason, engine_reason=openvino_network.complaint())


def _choose_device(wanted: str) -> tuple[str, str]:
    if wanted == "cpu":
        return "cpu", "as asked"
    if wanted == "auto":
        index = int(os.environ.get("LOCAL_RANK", "0"))
        if not (missing := _why_no_cuda(index)):
            return f"cuda:{index}", torch.cuda.get_device_name(index)
        if torch.backends.mps.is_available():
            return "mps", "Apple GPU"
        return "cpu", f"no GPU: {missing}"
    kind, _, number = wanted.partition(":")
    if kind == "cuda" and (number.isdigit() or not number):
        index = int(number or os.environ.get("LOCAL_RANK", "0"))
        if missing := _why_no_cuda(index):
            raise InputError(f"device {wanted} cannot be used: {missing}; use --device auto or cpu")
        return f"cuda:{index}", torch.cuda.get_device_name(index)
    if wanted == "mps":
        if not torch.backends.mps.is_available():
            raise InputError(
                "device mps cannot be used: no Apple GPU that this PyTorch supports; use --device auto or cpu"
            )
        return "mps", "as asked"
    raise InputError(f"unknown device {wanted}: use auto, cpu, cuda, cuda:N or mps")


def _why_no_cuda(index: int) -> str:
    """Why GPU number `index` cannot be used, in words; empty if it can."""
    if torch.version.cuda is None and torch.version.hip is None:
        return "this PyTorch was built without GPU support"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
        count = torch.cuda.device_count() if available else 0
    if not available:
        said = str(caught[0].message).split("(Triggered")[0] if caught else "no NVIDIA GPU or driver found"
        return " ".join(said.split())
    if index >= count:
        return f"GPU {index} does not exist, there are {count}"
    try:
        ones = torch.ones(1, 1, 4, 4, 4, device=f"cuda:{index}")
        torch.nn.functional.conv3d(ones, ones).item()
    except RuntimeError as error:
        return f"it fails to compute ({str(error).splitlines()[0]})"
    return ""


def _choose_precision(device: str, wanted: str) -> tuple[str, str]:
    on_cuda = device.startswith("cuda")
    if wanted != "auto":
        if wanted not in PRECISIONS:
            raise InputError(f"unknown precision {wanted}: use auto, {', '.join(PRECISIONS)}")
        if wanted == "fp16" and device == "cpu":
            raise InputError("precision fp16 needs a GPU: use fp32 or bf16 on the CPU")
        return wanted, "as asked"
    if on_cuda:
        major, _ = torch.cuda.get_device_capability(device)
        return ("bf16", "tensor cores") if major >= 8 else ("fp16", "this GPU has no bf16")
    if device == "cpu" and _cpu_has_bf16():
        return "bf16", "the processor has bf16 instructions"
    return "fp32", "the processor has no bf16 instructions" if device == "cpu" else "safe on this device"


def _cpu_has_bf16() -> bool:
    """Without the instructions bf16 is emulated, many times slower than fp32."""
    return bool({"amx_bf16", "avx512_bf16"} & cpu_flags())


def cpu_flags() -> set[str]:
    """The instruction sets of the processor, as Linux names them; empty where the system does not tell."""
    try:
        return set(Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore").split())
    except OSError:
        return set()
