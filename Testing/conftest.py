"""Shared fixtures. Keras, the oracle for the networks, runs on torch; nothing is downloaded."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("MPLBACKEND", "Agg")

import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory):
    """A bundle of a very small generator with fixed random weights: quick, and not the identity."""
    import torch

    from SyntheticContrastLib.models.bundle import write_bundle
    from SyntheticContrastLib.models.choi2021 import Generator
    from unit.tiny import tiny_card

    torch.manual_seed(0)
    return write_bundle(tmp_path_factory.mktemp("models") / "tiny", Generator(gf=2), tiny_card())


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
        [path] = REPOSITORY.glob(f"SyntheticContrast*/{name}.py")
        panels.append(ModulePanel(path))
        return panels[-1]

    yield open_panel
    try:
        for panel in panels:
            panel.close()
    finally:
        sys.excepthook = hook
