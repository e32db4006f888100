"""The bundles that ship."""

import shutil

import pytest

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.models import bundle as bundles


def test_a_users_bundle_does_not_replace_one_that_ships(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setenv(bundles.USER_MODELS_VARIABLE, str(tmp_path))
    shutil.copytree(tiny_bundle.folder, tmp_path / bundles.DEFAULT_MODEL)
    assert bundles.find_bundle().folder.parent == bundles.built_in_models_folder()


def test_unknown_model_names_the_known_ones():
    with pytest.raises(InputError, match=f"no model named other .*{bundles.DEFAULT_MODEL}"):
        bundles.find_bundle("other")


def test_built_in_bundles_load_and_say_what_they_are():
    """Every bundle that ships: the hash is right, it names its data and that it is not for diagnosis."""
    folders = [folder for folder in bundles.discover().values() if folder.parent == bundles.built_in_models_folder()]
    assert folders
    for folder in folders:
        bundle = bundles.load_bundle(folder)
        bundle.load_network()
        assert bundle.card.name == folder.name
        assert "not for diagnosis" in bundle.card.intended_use
        assert all(source["licence"] and source["attribution"] for source in bundle.card.training_data)
        assert bundle.card.training_data and bundle.card.figures
