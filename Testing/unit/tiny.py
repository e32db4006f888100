"""A very small model for tests."""

from SyntheticContrastLib.models.bundle import Card

WINDOWS = ((2000.0, 0.0), (1000.0, 200.0), (500.0, 50.0))
HEART_WINDOW = (1000.0, 200.0)
HEART_WIDTHS = (2, 3, 3, 4, 4, 5, 5, 6)


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


def tiny_heart_card(**changes) -> Card:
    """The card of `tiny_heart_network()`, with `changes`."""
    fields = {
        "name": "tiny-heart",
        "architecture": "santini2018",
        "architecture_arguments": {"widths": list(HEART_WIDTHS), "channels": 1, "batch_norm": False},
        "input_windows": (HEART_WINDOW,),
        "output_window": HEART_WINDOW,
        "patch_depth": 1,
        "pixel_mm": 1.5625,
        "crop": 128,
    }
    return tiny_card(**{**fields, **changes})


def tiny_heart_network(batch_norm: bool = False):
    """A narrow network of Santini with fixed random weights: its output is far from its input."""
    import torch

    from SyntheticContrastLib.models.santini2018 import Network

    torch.manual_seed(0)
    network = Network(HEART_WIDTHS, batch_norm=batch_norm).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif name.endswith(("norm.weight", "norm.bias", "running_mean")):
                tensor.add_(0.2 * torch.randn_like(tensor))
    return network


def identity_heart_network(added: float = 0.0):
    """Gives its input and `added`, everywhere."""
    import torch

    network = tiny_heart_network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.skip.weight[0] = 1
        network.out.weight[0, 0, 1, 1] = 1
        network.out.bias[0] = added
    return network


SHARE_WINDOWS = ((2000.0, 0.0), (500.0, 50.0), (200.0, 40.0))
SHARE_WIDTHS = (2, 3, 4, 4, 4)


def tiny_share_card(**changes) -> Card:
    """The card of `tiny_share_network()`, with `changes`."""
    fields = {
        "name": "tiny-share",
        "architecture": "share_unet",
        "architecture_arguments": {"widths": list(SHARE_WIDTHS), "channels": 3},
        "input_windows": SHARE_WINDOWS,
        "patch_depth": 24,
    }
    return tiny_card(**{**fields, **changes})


def tiny_share_network(share: float | None = None):
    """A narrow share U-Net with fixed random weights; with `share`, it gives that share everywhere."""
    import torch

    from SyntheticContrastLib.models.share_unet import HIGHEST_SHARE, ShareUNet

    torch.manual_seed(0)
    network = ShareUNet(widths=SHARE_WIDTHS).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():  # what begins as zero would hide the rest
                parameter.add_(0.3 * torch.randn_like(parameter))
        network.head.bias.zero_()
        network.head.weight.mul_(10)
        if share is not None:
            network.head.weight.zero_()
            network.head.bias.fill_(float(torch.logit(torch.tensor(share / HIGHEST_SHARE))))
    return network
