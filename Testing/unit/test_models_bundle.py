"""Model bundles: what is written comes back, and every defect is one clear line."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.models import bundle as bundles
from SyntheticContrastLib.models.choi2021 import Generator
from unit.tiny import HEART_WINDOW, WINDOWS, tiny_card, tiny_heart_card, tiny_heart_network


def test_round_trip(tmp_path):
    network = Generator(gf=2)
    written = bundles.write_bundle(tmp_path / "b", network, tiny_card(), half=False)
    bundle = bundles.load_bundle(tmp_path / "b")
    assert bundle.card == written.card
    assert bundle.card.input_windows == WINDOWS
    loaded = bundle.load_network()
    assert not loaded.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])


def test_half_is_half_the_size_and_loads_as_float32(tmp_path):
    network = Generator(gf=2)
    for half in (True, False):
        bundles.write_bundle(tmp_path / str(half), network, tiny_card(), half=half)
    sizes = [(tmp_path / str(half) / bundles.WEIGHTS_FILE).stat().st_size for half in (True, False)]
    assert sizes[0] < 0.6 * sizes[1]
    loaded = bundles.load_bundle(tmp_path / "True").load_network().state_dict()
    for name, tensor in network.state_dict().items():
        assert loaded[name].dtype == torch.float32
        assert torch.equal(loaded[name], tensor.half().float())


def test_round_trip_of_a_model_of_the_heart(tmp_path):
    network = tiny_heart_network()
    bundles.write_bundle(tmp_path / "b", network, tiny_heart_card(), half=False)
    bundle = bundles.load_bundle(tmp_path / "b")
    assert bundle.card.heart_only
    assert (bundle.card.crop, bundle.card.pixel_mm) == (128, 1.5625)
    assert bundle.card.input_windows == (HEART_WINDOW,) == (bundle.card.output_window,)
    loaded = bundle.load_network()
    assert not loaded.training
    image = torch.linspace(-1, 1, 32 * 32).view(1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded(image), network(image))


def test_a_card_from_before_the_heart_models_is_as_good(tmp_path):
    bundles.write_bundle(tmp_path / "b", Generator(gf=2), tiny_card())
    edit_card(tmp_path / "b", pixel_mm=None, crop=None)
    assert {"pixel_mm", "crop"}.isdisjoint(json.loads((tmp_path / "b" / bundles.CARD_FILE).read_text()))
    bundle = bundles.load_bundle(tmp_path / "b")
    assert bundle.card.pixel_mm is bundle.card.crop is None and not bundle.card.heart_only
    bundle.load_network()


HEART_DEFECTS = {
    "no pixel size": ({"pixel_mm": None}, "lacks pixel_mm or crop"),
    "no crop": ({"crop": None}, "lacks pixel_mm or crop"),
    "a pixel size that is no number": ({"pixel_mm": "fine"}, "wrong form"),
    "a pixel size of nothing": ({"pixel_mm": 0}, "pixel_mm is above 0"),
    "a crop that does not halve four times": ({"crop": 120}, "multiple of 16"),
    "another window out": ({"output_window": [2000, 0]}, "one window"),
    "more windows than one": ({"input_windows": [[1000, 200], [2000, 0]]}, "one window"),
    "too few widths": ({"architecture_arguments": {"widths": [2, 3]}}, "does not take .* 8 positive"),
    "unfolded arguments": ({"architecture_arguments": {"widths": [2, 3, 3, 4, 4, 5, 5, 6]}}, "tensors differ"),
}


@pytest.mark.parametrize("defect", HEART_DEFECTS)
def test_defects_of_a_model_of_the_heart_are_refused(tmp_path, defect):
    changes, message = HEART_DEFECTS[defect]
    bundles.write_bundle(tmp_path / "b", tiny_heart_network(), tiny_heart_card())
    edit_card(tmp_path / "b", **changes)
    with pytest.raises(InputError, match=message) as refusal:
        bundles.load_bundle(tmp_path / "b").load_network()
    assert "\n" not in str(refusal.value)


def edit_card(folder, **changes):
    path = folder / bundles.CARD_FILE
    card = json.loads(path.read_text())
    for name, value in changes.items():
        if value is None:
            del card[name]
        else:
            card[name] = value
    path.write_text(json.dumps(card))


def change_weights(folder, change):
    weights = load_file(folder / bundles.WEIGHTS_FILE)
    change(weights)
    save_file(weights, folder / bundles.WEIGHTS_FILE)
    edit_card(folder, weights_sha256=bundles._sha256(folder / bundles.WEIGHTS_FILE))


DEFECTS = {
    "no card": (lambda f: (f / bundles.CARD_FILE).unlink(), "it has no card.json"),
    "card is no JSON": (lambda f: (f / bundles.CARD_FILE).write_text("{"), "cannot be read as JSON"),
    "card is a list": (lambda f: (f / bundles.CARD_FILE).write_text("[]"), "does not hold a JSON object"),
    "other format version": (lambda f: edit_card(f, format_version=2), "format version 2, this release reads 1"),
    "no format version": (lambda f: edit_card(f, format_version=None), "format version None"),
    "missing fields": (lambda f: edit_card(f, licence=None, recipe=None), "lacks licence, recipe"),
    "window of one number": (lambda f: edit_card(f, output_window=[2000]), "wrong form"),
    "no weights": (lambda f: (f / bundles.WEIGHTS_FILE).unlink(), "weights.safetensors is missing"),
    "damaged weights": (lambda f: (f / bundles.WEIGHTS_FILE).write_bytes(b"x"), "sha256"),
    "unknown architecture": (lambda f: edit_card(f, architecture="unet"), "unknown architecture unet; known: choi2021"),
    "unknown argument": (lambda f: edit_card(f, architecture_arguments={"width": 3}), "does not take"),
    "impossible argument": (lambda f: edit_card(f, architecture_arguments={"gf": 2, "depth": 12}), "power of two"),
    "weights of another width": (lambda f: edit_card(f, architecture_arguments={"gf": 3}), "tensors differ"),
    "a tensor too few": (lambda f: change_weights(f, lambda w: w.pop("out.conv.bias")), "1 tensors differ, first out"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_are_refused(tiny_bundle, tmp_path, defect):
    damage, message = DEFECTS[defect]
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle.folder, folder)
    bundles.load_bundle(folder).load_network()
    damage(folder)
    with pytest.raises(InputError, match=message) as refusal:
        bundles.load_bundle(folder).load_network()
    assert "\n" not in str(refusal.value)


def test_discovery_in_both_folders(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setenv(bundles.USER_MODELS_VARIABLE, str(tmp_path))
    shutil.copytree(tiny_bundle.folder, tmp_path / "mine")
    (tmp_path / "no bundle").mkdir()
    found = bundles.discover()
    assert found["mine"] == tmp_path / "mine"
    assert "no bundle" not in found
    assert bundles.find_bundle("mine").folder == tmp_path / "mine"
    assert bundles.find_bundle(tmp_path / "mine").card.name == "tiny"
