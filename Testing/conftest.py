"""Shared fixtures. Keras, the oracle for the networks, runs on torch; nothing is downloaded."""

import os
from contextlib import suppress

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("MPLBACKEND", "Agg")

import sys
import tempfile
from pathlib import Path

import pytest

with suppress(ImportError):
    import triton  # noqa: F401  # PyTorch imports it with its first optimiser; late, after other C libraries, it crashed

import tree

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_addoption(parser):
    parser.addoption("--installed", action="store_true", help="test what CMake installs instead of the sources")


def pytest_configure(config):
    if config.getoption("--installed"):
        folder = tempfile.TemporaryDirectory(prefix="SyntheticContrast-installed-")
        config.add_cleanup(folder.cleanup)
        tree.use(tree.install(Path(folder.name)))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory):
    """A bundle of a very small generator with fixed random weights: quick, and not the identity."""
    import torch

    from SyntheticContrastLib.models.bundle import write_bundle
    from SyntheticContrastLib.models.choi2021 import Generator
    from unit.tiny import tiny_card

    torch.manual_seed(0)
    return write_bundle(tmp_path_factory.mktemp("models") / "tiny", Generator(gf=2), tiny_card())


@pytest.fixture(autouse=True)
def pytorch_computes(request, monkeypatch):
    """OpenVINO, where it is installed, would compile anew in every test: only those that ask for it have it."""
    if "with_openvino" not in request.fixturenames:
        monkeypatch.setattr("SyntheticContrastLib.synthesis.openvino_network.works", lambda: False)


@pytest.fixture
def with_openvino():
    """OpenVINO computes, as it does for a user who has it."""


@pytest.fixture(scope="session")
def shared_data():
    """The public CTs beside the project; a missing folder fails the test, it does not skip it."""
    folder = REPOSITORY.parent / "shared" / "data"
    assert folder.is_dir(), "the public CTs are missing: see README, section Tests"
    return folder


@pytest.fixture
def mrmlScene():  # noqa: N802  Slicer's own name
    """A fresh scene of a harness application: `import slicer, qt, ctk` work in a test that has it."""
    from harness.install import freshScene, installHarness

    installHarness()
    scene = freshScene()
    yield scene
    scene.Clear(1)


@pytest.fixture
def modulePanel(mrmlScene):  # noqa: N802, N803
    """`modulePanel("SyntheticContrastTraining")` opens the panel of a module: see `harness.panel.ModulePanel`."""
    from harness.panel import ModulePanel

    panels, hook = [], sys.excepthook

    def open_panel(name):
        panels.append(ModulePanel(tree.find(f"{name}.py")))
        return panels[-1]

    yield open_panel
    try:
        for panel in panels:
            panel.close()
    finally:
        sys.excepthook = hook
