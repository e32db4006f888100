"""Shared fixtures. Keras, the oracle for the networks, runs on torch; nothing is downloaded."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("MPLBACKEND", "Agg")

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
