"""A very small model for tests."""

from SyntheticContrastLib.models.bundle import Card

WINDOWS = ((2000.0, 0.0), (1000.0, 200.0), (500.0, 50.0))


def tiny_card(**changes) -> Card:
    """The card of `Generator(gf=2)`, with `changes`."""
    fields = {
        "name": "tiny",
        "description": "random weights, for tests",
        "architecture": "choi2021",
        "architecture_arguments": {"gf": 2, "depth": 16, "norm": "keras"},
        "input_windows": WINDOWS,
        "output_window": (2000.0, 0.0),
        "patch_depth": 16,
        "slice_order": "superior-to-inferior",
        "recipe": "none",
        "training_data": (),
        "figures": {},
        "intended_use": "tests",
        "licence": "Apache-2.0",
    }
    return Card(**{**fields, **changes})
