"""The 2D deconvolutional network of Santini et al. 2018, "Synthetic contrast enhancement in cardiac CT", section 2.3.

Tensors are (N, C, Y, X). Intensities are x = (HU - 200) / 500, so that [-1, 1] is the window of width 1000, level 200.

Where the paper leaves a choice, this is the reading:

- The widths appear in the figure only: 64, 64, 128, 128, 256, 256, 512, 512, 512 in the middle, mirrored. The mirror's
  last layer is the "single 3x3 kernel" with linear activation.
- The skip connection is a plain 1x1 convolution of the network's input, with bias, neither batch norm nor ReLU. It is
  added to what goes into the last filter. So the output is filter(features + skip(input)), where filter(skip(input))
  is a linear, 3x3-wide copy of the input, and the features add what contrast changes.
- The middle layer and the decoder's layers have batch norm and ReLU as the encoder's do.
- Padding is "same" as TensorFlow, the authors' framework, does it: at stride 2, nothing before and one pixel after.
- Convolutions followed by a batch norm have no bias of their own: the norm would remove it.
- Initial weights are He's normal ones before a ReLU; momentum and epsilon of the batch norm are PyTorch's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

LAYERS = 8
IN_PLANE_MULTIPLE = 2 ** (LAYERS // 2)
WIDTHS = (64, 64, 128, 128, 256, 256, 512, 512)


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding, for sides that the stride divides.

    3 taps pad (1, 1) at stride 1 and (0, 1) at stride 2.
    """

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for kernel, stride in zip(reversed(self.kernel_size), reversed(self.stride), strict=True):
            total = kernel - stride
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride)


class Block(nn.Module):
    """Convolution (or transposed convolution), batch norm, ReLU."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, batch_norm: bool) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm2d(conv.out_channels) if batch_norm else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return F.relu(x if self.norm is None else self.norm(x))


class Network(nn.Module):
    """The network of Fig. 1: 11,884,161 parameters with the paper's widths and one channel.

    Args:
        widths: filters of the eight encoder layers; the middle layer has as many as the last, the decoder mirrors them.
        channels: images in and out.
        batch_norm: False for the equal network without batch norm that `fold_for_inference` leaves.

    Raises:
        ValueError: for another number of widths, or one that is not positive.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS, channels: int = 1, batch_norm: bool = True) -> None:
        super().__init__()
        if len(widths) != LAYERS or min(widths) < 1:
            raise ValueError(f"widths {tuple(widths)} are not {LAYERS} positive numbers")

        def convolution(width_in: int, width_out: int, stride: int = 1) -> Block:
            return Block(SameConv2d(width_in, width_out, 3, stride, bias=not batch_norm), batch_norm)

        def up(width_in: int, width_out: int) -> Block:
            return Block(nn.ConvTranspose2d(width_in, width_out, 2, 2, bias=not batch_norm), batch_norm)

        # Counted from 1 as the paper does: even layers of the encoder halve Y and X, odd ones of the decoder double.
        inputs = [channels, *widths[:-1]]
        self.encoder = nn.ModuleList(convolution(inputs[i], widths[i], 1 + i % 2) for i in range(LAYERS))
        self.middle = convolution(widths[-1], widths[-1])
        mirrored = list(reversed(widths))
        inputs = [widths[-1], *mirrored]
        self.decoder = nn.ModuleList((convolution if i % 2 else up)(inputs[i], mirrored[i]) for i in range(LAYERS - 1))
        self.skip = nn.Conv2d(channels, mirrored[-2], 1)
        self.out = SameConv2d(mirrored[-2], channels, 3)
        for module in (*self.encoder, self.middle, *self.decoder):
            nn.init.kaiming_normal_(module.conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, Y, X), the paper's Y and X are 128, to the same shape; the range is not bounded.

        Raises:
            ValueError: when Y or X is not a multiple of 16.
        """
        if x.shape[-2] % IN_PLANE_MULTIPLE or x.shape[-1] % IN_PLANE_MULTIPLE:
            raise ValueError(
                f"{x.shape[-2]} x {x.shape[-1]} pixels: the sides must be multiples of {IN_PLANE_MULTIPLE}"
            )
        skip = self.skip(x)
        for block in self.encoder:
            x = block(x)
        x = self.middle(x)
        for block in self.decoder:
            x = block(x)
        return self.out(x + skip)


def fold_for_inference(network: Network) -> Network:
    """Turn `network`, in place, into the equal one whose batch norms are part of the convolutions.

    The result is in evaluation mode and takes no gradients; its weights load into `Network(..., batch_norm=False)`.
    """
    network.eval()
    for block in (*network.encoder, network.middle, *network.decoder):
        assert isinstance(block, Block) and block.norm is not None, "folded already"
        block.conv = fuse_conv_bn_eval(block.conv, block.norm, transpose=isinstance(block.conv, nn.ConvTranspose2d))
        block.norm = None
    return network.requires_grad_(False)
