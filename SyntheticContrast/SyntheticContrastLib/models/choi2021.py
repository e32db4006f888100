"""The 3D pix2pix of Choi et al. 2021 (Sci Rep 11:20403): generator and PatchGAN discriminator.

Tensors are (N, C, Z, Y, X), Z from superior to inferior; kernels and strides are (z, y, x). The layer table is that of
the authors' public code: seven levels, of which the first log2(depth) also halve Z. Padding is TensorFlow's "same".
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 7
IN_PLANE_MULTIPLE = 2**LEVELS
INIT_STD = 0.02
LEAK = 0.2

NormKind = Literal["keras", "instance"]
OutputKind = Literal["plain", "residual"]


class KerasInstanceNorm(nn.Module):
    """`keras_contrib.InstanceNormalization()` as the public code calls it (axis=None).

    One mean and one standard deviation over C, Z, Y and X together, a scalar gain and shift, and epsilon added to the
    standard deviation, not to the variance.
    """

    def __init__(self, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        if lies_channels_last(x):
            means, variances = channel_statistics(x)
            mean, std = means.mean(), (variances.mean() + means.var(correction=0)).sqrt()
            mean, std = mean.to(self.weight.dtype), std.to(self.weight.dtype)
        else:
            std, mean = torch.std_mean(x.to(self.weight.dtype), dim=(1, 2, 3, 4), keepdim=True, correction=0)
        gain = (std + self.eps).reciprocal() * self.weight  # weight / (...) is converted wrongly by OpenVINO 2026.4
        return x * gain.to(x.dtype) + (self.bias - mean * gain).to(x.dtype)


class InstanceNorm3d(nn.InstanceNorm3d):
    """PyTorch's, without its copies into plain order and back where a CPU infers in channels-last order."""

    def forward(self, x: Tensor) -> Tensor:
        if not lies_channels_last(x):
            return super().forward(x)
        mean, variance = (value.to(self.weight.dtype) for value in channel_statistics(x))
        return F.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)


def lies_channels_last(x: Tensor) -> bool:
    """Whether `x` is for `channel_statistics`: one sample in channels-last order on a CPU, without gradients."""
    in_order = x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()
    return in_order and len(x) == 1 and x.device.type == "cpu" and not torch.is_grad_enabled()


def channel_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (ddof 0) of each channel, float64 (C), of `x`, (1, C, Z, Y, X) in channels-last order.

    PyTorch adds up a channel in float32, and loses 0.1 % over many voxels; so it does that for each column, and the
    columns are put together here.
    """
    _, channels, depth, height, width = x.shape
    columns = x.permute(0, 2, 3, 4, 1).reshape(1, depth, height, width * channels).permute(0, 3, 1, 2)
    means, variances = torch.batch_norm_update_stats(columns, None, None, 0.0)
    means, variances = means.double().view(width, channels), variances.double().view(width, channels)
    return means.mean(0), variances.mean(0) + means.var(0, correction=0)


class SameConv3d(nn.Conv3d):
    """Convolution with TensorFlow's "same" padding, for sides that the stride divides.

    An even kernel at stride 1 pads one voxel less before than after: (1, 2) for 4 taps, (0, 1) for 2.
    """

    def forward(self, x: Tensor) -> Tensor:
        totals = [kernel - stride for kernel, stride in zip(self.kernel_size, self.stride, strict=True)]
        if all(total % 2 == 0 for total in totals):  # the convolution pads, without a copy
            return F.conv3d(x, self.weight, self.bias, self.stride, [total // 2 for total in totals])
        pads = [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
        return F.conv3d(F.pad(x, pads), self.weight, self.bias, self.stride)


def make_norm(kind: NormKind, channels: int) -> nn.Module:
    if kind == "keras":
        return KerasInstanceNorm()
    if kind == "instance":
        return InstanceNorm3d(channels, affine=True)
    raise ValueError(f"unknown norm {kind!r}: use 'keras' or 'instance'")


class DownBlock(nn.Module):
    """Convolution that halves Y, X (and Z where `z_step` is 2), LeakyReLU, norm."""

    def __init__(
        self, channels_in: int, channels_out: int, z_step: int, norm: nn.Module | None, stride: int = 2
    ) -> None:
        super().__init__()
        self.conv = SameConv3d(channels_in, channels_out, (z_step, 4, 4), (z_step, stride, stride))
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.conv(x), LEAK, inplace=True)
        return x if self.norm is None else self.norm(x)


class UpConv3d(nn.Module):
    """Resize-convolution: nearest up-sampling of Y, X (and Z where `z_step` is 2), then a stride-1 convolution."""

    def __init__(self, channels_in: int, channels_out: int, z_step: int) -> None:
        super().__init__()
        self.z_step = z_step
        self.conv = SameConv3d(channels_in, channels_out, (z_step, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=(self.z_step, 2, 2), mode="nearest"))


class UpBlock(nn.Module):
    """Resize-convolution, ReLU, norm, concatenation with the skip connection, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, z_step: int, norm: nn.Module) -> None:
        super().__init__()
        self.up: nn.Module = UpConv3d(channels_in, channels_out, z_step)
        self.norm = norm

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return F.relu(torch.cat([self.norm(F.relu(self.up(x), inplace=True)), skip], dim=1), inplace=True)


class Generator(nn.Module):
    """U-Net generator (Choi 2021, Supplementary Fig. S1), 50.1 M parameters at `gf` = 64.

    Args:
        gf: filters of the first level; the paper's is 64.
        depth: slices of a window, a power of two from 2 to 128; the paper's is 16.
        norm: "keras" as the public code does it, "instance" (per channel) as the paper says.
        channels: intensity windows in and out.
        output: "plain" is the paper's, tanh; with "residual" the network gives the change that is added to its input.

    Raises:
        ValueError: for a depth that is not such a power of two, an unknown norm or an unknown output.
    """

    def __init__(
        self,
        gf: int = 64,
        depth: int = 16,
        norm: NormKind = "keras",
        channels: int = 3,
        output: OutputKind = "plain",
    ) -> None:
        super().__init__()
        if output not in ("plain", "residual"):
            raise ValueError(f"unknown output {output!r}: use 'plain' or 'residual'")
        self.output = output
        self.kept = list(range(channels))  # output channels, fewer when folded for inference
        if depth not in {2**level for level in range(1, LEVELS + 1)}:
            raise ValueError(f"depth {depth} is not a power of two from 2 to {2**LEVELS}")
        self.depth = depth
        self.norm_kind = norm
        halvings = depth.bit_length() - 1
        z_steps = [2 if level < halvings else 1 for level in range(LEVELS)]
        widths = [gf * 2 ** min(level, 3) for level in range(LEVELS)]

        self.down = nn.ModuleList()
        for level, (width, z_step) in enumerate(zip(widths, z_steps, strict=True)):
            norm_layer = make_norm(norm, width) if level else None
            self.down.append(DownBlock(widths[level - 1] if level else channels, width, z_step, norm_layer))

        self.up = nn.ModuleList()
        channels_in = widths[-1]
        for level in reversed(range(LEVELS - 1)):
            self.up.append(UpBlock(channels_in, widths[level], z_steps[level + 1], make_norm(norm, widths[level])))
            channels_in = 2 * widths[level]
        self.out: nn.Module = UpConv3d(channels_in, channels, z_steps[0])
        initialise(self)

    @property
    def minimum_in_plane(self) -> int:
        """Smallest Y and X: a norm per channel has no spread to divide by on a bottleneck of one voxel."""
        return IN_PLANE_MULTIPLE * (2 if self.norm_kind == "instance" else 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, depth, Y, X) in [-1, 1] to the same shape and range; Y and X multiples of 128."""
        source = x[:, self.kept]
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        skips.pop()
        for block in self.up:
            x = block(x, skips.pop())
        change = torch.tanh(self.out(x))
        return change if self.output == "plain" else (source + 2 * change).clamp(-1, 1)


class Discriminator(nn.Module):
    """PatchGAN that judges (target, input) pairs, 3.4 M parameters at `df` = 64.

    At depth 16 a patch sees 70 x 70 x 8 voxels, at depth 8 the 70 x 70 x 4 that the paper states.
    """

    def __init__(self, df: int = 64, depth: int = 16, norm: NormKind = "keras", channels: int = 3) -> None:
        super().__init__()
        widths = [df * 2**level for level in range(4)]
        self.blocks = nn.ModuleList()
        slices = depth
        channels_in = 2 * channels
        for level, width in enumerate(widths):
            z_step = 1 if level and slices == 2 else 2
            stride = 1 if level == len(widths) - 1 else 2
            self.blocks.append(DownBlock(channels_in, width, z_step, make_norm(norm, width), stride))
            slices = max(2, slices // 2)
            channels_in = width
        self.out = SameConv3d(channels_in, 1, (1, 4, 4))
        initialise(self)

    def forward(self, target: Tensor, condition: Tensor) -> Tensor:
        """Two (N, channels, Z, Y, X) tensors to logits (N, 1, Z/8, Y/8, X/8); the paper's output is their sigmoid."""
        x = torch.cat([target, condition], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.out(x)


def initialise(network: nn.Module) -> None:
    """Weights from N(0, 0.02) and zero biases, as pix2pix does."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.normal_(module.weight, std=INIT_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
