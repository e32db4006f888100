"""Exact folding of the Choi generator's decoder, for inference once and for all, in training at each step.

Nearest up-sampling by 2 is a transposed convolution of stride 2 with the kernel (1, 1). Together with the stride-1
convolution that follows, with "same" padding, it is one transposed convolution, whose taps along an axis are

    w3, w2 + w3, w1 + w2, w0 + w1, w0        for 4 taps, and        w1, w0 + w1, w0        for 2.

The up-sampled tensor never exists, and an output voxel takes 2.5 x 2.5 x 1.5 products on average instead of 4 x 4 x 2.

Processors are slow at transposed convolutions of few output channels. There an ordinary convolution gives each phase
(even or odd output along z, y and x) as channels of its own, which are then interleaved. For 4 taps

    even output 2m:      w0 on m-1,   w1 + w2 on m,   w3 on m+1
    odd output 2m+1:                  w0 + w1 on m,   w2 + w3 on m+1

and for 2 taps w0 + w1 on m, and w0 on m with w1 on m+1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SyntheticContrastLib.models.choi2021 import Generator, UpBlock, UpConv3d

# Output channels up to which phases are faster. PyTorch had no 3D transposed convolution on Apple's GPUs before 2.8.
FEW = sys.maxsize if sys.platform == "darwin" else 4


def fold_conv(weight: Tensor, bias: Tensor, z_step: int) -> tuple[Tensor, Tensor]:
    """Kernel (out, in, taps z, y, x) and bias of an `UpConv3d` to what `folded_forward` takes."""
    if len(weight) <= FEW:
        return _phases(weight, z_step), bias.repeat_interleave(4 * z_step)
    for axis in (2, 3, 4) if z_step == 2 else (3, 4):
        weight = merge_axis(weight, axis)
    return weight.transpose(0, 1).contiguous(), bias


def folded_forward(x: Tensor, weight: Tensor, bias: Tensor, z_step: int) -> Tensor:
    """(N, C, Z, Y, X) to (N, channels, z_step Z, 2 Y, 2 X) with what `fold_conv` gives."""
    if weight.shape[-1] == 5:
        strides, pads, missing = (z_step, 2, 2), (z_step - 1, 2, 2), (z_step - 1, 1, 1)
        return F.conv_transpose3d(x, weight, bias, strides, pads, missing)
    batch, _, depth, height, width = x.shape
    phases = F.conv3d(F.pad(x, (1, 1, 1, 1, 0, z_step - 1)), weight, bias)
    phases = phases.view(batch, -1, z_step, 2, 2, depth, height, width)
    return phases.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(batch, -1, z_step * depth, 2 * height, 2 * width)


def merge_axis(kernel: Tensor, axis: int) -> Tensor:
    """Kernel of 4 (or 2) taps along `axis` to that of the transposed convolution, of 5 (or 3)."""
    taps = kernel.flip(axis)
    none = torch.zeros_like(taps.narrow(axis, 0, 1))
    return torch.cat([taps, none], axis) + torch.cat([none, taps], axis)


def fold_axis(kernel: Tensor, axis: int) -> Tensor:
    """Kernel of 4 (or 2) taps along `axis` to the pair of kernels, even and odd, of 3 (or 2) taps: (2, ...).

    Raises:
        ValueError: for another number of taps.
    """
    taps = kernel.unbind(axis)
    none = torch.zeros_like(taps[0])
    if len(taps) == 4:
        even, odd = [taps[0], taps[1] + taps[2], taps[3]], [none, taps[0] + taps[1], taps[2] + taps[3]]
    elif len(taps) == 2:
        even, odd = [taps[0] + taps[1], none], [taps[0], taps[1]]
    else:
        raise ValueError(f"a kernel of {len(taps)} taps cannot be folded")
    return torch.stack([torch.stack(even, axis), torch.stack(odd, axis)])


def _phases(weight: Tensor, z_step: int) -> Tensor:
    """Kernel of the convolution that gives all phases, (out phases, in, taps z, y, x)."""
    # Each call puts its phase axis in front, so fold x, then y, then z: (z, y, x, out, in, taps).
    phases = fold_axis(fold_axis(weight, 4), 4)
    phases = fold_axis(phases, 4) if z_step == 2 else phases.unsqueeze(0)
    return phases.flatten(0, 2).transpose(0, 1).flatten(0, 1).contiguous()


class FoldedUpConv3d(nn.Module):
    """The same function as an `UpConv3d`, for the chosen output channels (all by default)."""

    def __init__(self, up: UpConv3d, channels: Sequence[int] | None = None) -> None:
        super().__init__()
        self.z_step = up.z_step
        rows = list(range(up.conv.out_channels)) if channels is None else list(channels)
        assert up.conv.bias is not None
        weight, bias = fold_conv(up.conv.weight.detach()[rows], up.conv.bias.detach()[rows], self.z_step)
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        return folded_forward(x, self.weight, self.bias, self.z_step)


class TrainedUpConv3d(nn.Module):
    """The same function and the same parameters, by name too, as an `UpConv3d`: folded anew at each step."""

    def __init__(self, up: UpConv3d) -> None:
        super().__init__()
        self.z_step = up.z_step
        self.conv = up.conv

    def forward(self, x: Tensor) -> Tensor:
        assert self.conv.bias is not None
        return folded_forward(x, *fold_conv(self.conv.weight, self.conv.bias, self.z_step), self.z_step)


def fold_in_training(generator: Generator) -> Generator:
    """Turn `generator`, in place, into the equal one that is faster to train; its `state_dict` stays as it was."""
    for block in generator.up:
        assert isinstance(block, UpBlock) and isinstance(block.up, UpConv3d), "folded already"
        block.up = TrainedUpConv3d(block.up)
    assert isinstance(generator.out, UpConv3d)
    generator.out = TrainedUpConv3d(generator.out)
    return generator


def fold(generator: Generator, channels: Sequence[int] = (0,)) -> Generator:
    """Turn `generator`, in place, into the equal network for inference that gives only the output `channels`.

    The default, channel 0, is the lung/bone window from which the paper takes the HU.
    """
    for block in generator.up:
        assert isinstance(block, UpBlock) and isinstance(block.up, UpConv3d), "folded already"
        block.up = FoldedUpConv3d(block.up)
    assert isinstance(generator.out, UpConv3d)
    generator.out = FoldedUpConv3d(generator.out, channels)
    generator.kept = list(channels)
    return generator.eval().requires_grad_(False)
