"""Small stand-ins of whole modules: `slicer.i18n`, `slicer.packaging`, `SampleData`."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import ClassVar


def tr(text):
    if not isinstance(text, str):
        raise TypeError(f"tr takes a text, not {text!r}")
    return text


def translate(context, text):
    return tr(text)


class Packaging:
    """`slicer.packaging`. Nothing is installed: what was asked for is recorded in `asked`."""

    def __init__(self):
        self.asked = []
        self.absent = set()  # packages to report as missing

    def pip_check(self, requirement):
        name = re.split(r"[<>=!~\[; ]", str(requirement))[0]
        return name not in self.absent and importlib.util.find_spec(name.replace("-", "_")) is not None

    def load_requirements(self, path):
        lines = (line.split("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line]

    def pip_ensure(self, requirements, requester=None, **_):
        self.asked.append((list(requirements), requester))

    def pip_install(self, requirements, **_):
        self.asked.append((requirements, None))


class SampleDataLogic:
    """Samples are registered, never downloaded."""

    registered: ClassVar[list[dict]] = []

    @staticmethod
    def registerCustomSampleDataSource(category="Custom", **source):
        SampleDataLogic.registered.append({"category": category, **source})

    def downloadSample(self, name):
        raise RuntimeError(f"the harness has no network: {name}")
