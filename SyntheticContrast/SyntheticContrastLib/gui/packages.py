"""The Python packages that generate.py needs: what is there, and installing what is not. Only ever on a click."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.gui.words import sentence

ENTRY = Path(__file__).resolve().parents[2] / "SyntheticContrastCLI" / "check.py"
REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "SyntheticContrast-requirements.txt"
TORCH = ("torch", "torchvision")  # a pair, of the PyTorch extension
TORCH_VERSION = ">=2.4"


@dataclass(frozen=True)
class Packages:
    """What check.py found: the reason of each package that cannot be used, "missing" if it is not there at all."""

    broken: dict[str, str] = field(default_factory=dict)
    device: str = ""
    deviceReason: str = ""

    @property
    def complete(self) -> bool:
        return not self.broken


def readPackages(line: str) -> Packages | None:
    """The line that check.py prints; None for another line."""
    try:
        found = json.loads(line)
        return Packages(found["broken"], found.get("device", ""), found.get("device_reason", ""))
    except (ValueError, TypeError, KeyError):
        return None


def question(packages: Packages) -> str:
    """What will be installed and how large it is, for the one dialog before."""
    lines = [_("To generate an sCECT, Python packages must be installed into Slicer:"), ""]
    if "torch" in packages.broken:
        size = _("about 0.2 GB to download without, 3 GB with an NVIDIA GPU; two to three times that on the disk")
        lines.append(_("PyTorch and torchvision, by the PyTorch extension: {size}").format(size=size))
    lines.append(_("the small ones of {names} that are missing: up to 0.1 GB").format(names=", ".join(smallNames())))
    lines.append("")
    lines += [
        _("{name} is there but does not work ({reason}); it is installed anew.").format(name=name, reason=reason)
        for name, reason in packages.broken.items()
        if reason != "missing"
    ]
    lines.append(
        _("They come from pypi.org and pytorch.org. This takes some minutes, in which Slicer does not respond.")
    )
    return "\n".join(lines)


def install(packages: Packages) -> None:
    """Install what is missing or broken.

    Raises:
        InputError: it cannot be done, with what to do.
    """
    try:
        if "torch" in packages.broken:
            _installTorch(isBroken=packages.broken["torch"] != "missing")
        broken = [name for name, reason in packages.broken.items() if reason != "missing" and name != "torch"]
        if anew := [line for line in smallRequirements() if _name(line) in broken]:
            slicer.util.pip_install(["--force-reinstall", "--no-deps", *anew])  # pip takes what is there for whole
        if missing := [line for line in smallRequirements() if not _isInstalled(line)]:
            slicer.util.pip_install(missing)
    except InputError:
        raise
    except Exception as error:  # of pip, the network, the disk, the PyTorch extension
        raise InputError(
            _("the installation failed ({reason}): check the network and the space on the disk, then try again").format(
                reason=sentence(error).rstrip(".")
            )
        ) from error


def _installTorch(isBroken: bool) -> None:
    try:
        import PyTorchUtils
    except ImportError:
        raise InputError(
            _(
                "PyTorch is not installed, and Slicer's extension PyTorch, which installs it, is not there: "
                "install it in the Extensions Manager, restart Slicer, and generate again"
            )
        ) from None
    logic = PyTorchUtils.PyTorchUtilsLogic()
    if isBroken:
        logic.uninstallTorch()
    if logic.installTorch(askConfirmation=False, torchVersionRequirement=TORCH_VERSION) is None:
        raise InputError(_("PyTorch was not installed: see the Python console, and try again"))


def smallRequirements() -> list[str]:
    """The lines of the requirements but those of PyTorch."""
    lines = (line.split("#")[0].strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and _name(line) not in TORCH]


def smallNames() -> list[str]:
    return [_name(line) for line in smallRequirements()]


def _name(line: str) -> str:
    return line.split(">=")[0].strip()


def _isInstalled(line: str) -> bool:
    try:
        from slicer.packaging import pip_check  # of Slicer 5.11 and later
    except ImportError:
        from importlib.metadata import PackageNotFoundError, version

        try:
            return bool(version(_name(line)))
        except PackageNotFoundError:
            return False
    return bool(pip_check(line))
