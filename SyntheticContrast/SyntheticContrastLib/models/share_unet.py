"""A U-Net that gives, for each voxel of the canonical grid, the share of the patient's contrast in its tissue.

All that is 3D in it is made of 2D convolutions over slices and of products of neighbouring slices: a CPU computes these
in bf16, forward and backward. It normalises the channels of each voxel by themselves (layer norm), never over the
image: what a voxel becomes does not depend on how much air, table or body lies around it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHARES = ("arterial", "portal", "right")  # the output's channels
HIGHEST_SHARE = 1.1  # of the level in the aorta: the right heart may be brighter
Z_MULTIPLE, IN_PLANE_MULTIPLE = 8, 16
LEAK = 0.1  # of the rectifiers


class ShareUNet(nn.Module):
    """Five resolutions: the grid's own, half of it in plane, then half of that three times along all axes.

    Args:
        channels: of the input: intensity windows in [-1, 1].
        widths: channels at each resolution.
        blocks: residual blocks at each resolution but the first, on the way down and again on the way up.
    """

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (16, 32, 64, 128, 192),
        blocks: Sequence[int] = (1, 2, 2, 2),
    ) -> None:
        super().__init__()
        if len(widths) != 5 or len(blocks) != 4 or min(*widths, *blocks, channels) < 1:
            raise ValueError("a share U-Net has five widths and four numbers of blocks, all at least 1")
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d((1 if level == 0 else 2) * widths[level], widths[level + 1], 2, stride=2) for level in range(4)
        )
        self.encode = nn.ModuleList(Blocks(width, count) for width, count in zip(widths[1:], blocks, strict=True))
        self.up = nn.ModuleList(
            nn.Conv2d(widths[level + 1], (1 if level == 0 else 2) * widths[level], 1) for level in range(4)
        )
        self.decode = nn.ModuleList(Blocks(width, count) for width, count in zip(widths[1:4], blocks[:3], strict=True))
        self.norm = nn.LayerNorm(widths[1])
        self.last = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        self.head = nn.Conv2d(widths[0], len(SHARES), 1)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, -3.0)  # type: ignore[arg-type]  # begins with next to no contrast

    def forward(self, windows: Tensor) -> Tensor:
        """(N, C, Z, Y, X) to logits (N, 3, Z, Y, X) of SHARES; Z a multiple of 8, Y and X of 16."""
        n, _, z, y, x = windows.shape
        if z % Z_MULTIPLE or y % IN_PLANE_MULTIPLE or x % IN_PLANE_MULTIPLE:
            raise ValueError(
                f"slices {z}, size {y} x {x}: multiples of {Z_MULTIPLE} and {IN_PLANE_MULTIPLE} are needed"
            )
        flat = windows.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        seen = [F.leaky_relu(self.stem(flat), LEAK)]
        for level, down in enumerate(self.down):
            features = self.encode[level](down(seen[-1] if level == 0 else _pair_slices(seen[-1])), n)
            seen.append(features)
        features = seen.pop()
        for level in (3, 2, 1, 0):
            if level == 0:
                features = _channel_norm(features, self.norm)
            features = F.interpolate(self.up[level](features), scale_factor=2.0, mode="bilinear", align_corners=False)
            features = seen.pop() + (features if level == 0 else _part_slices(features))
            if level:
                features = self.decode[level - 1](features, n)
        shares: Tensor = self.head(F.leaky_relu(self.last(F.leaky_relu(features, LEAK)), LEAK))
        return shares.unflatten(0, (n, z)).transpose(1, 2)


class Blocks(nn.Module):
    """Residual blocks in a row."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(count))

    def forward(self, x: Tensor, volumes: int) -> Tensor:
        for block in self.blocks:
            x = block(x, volumes)
        return x


class Block(nn.Module):
    """x + what it sees of its neighbours: in plane, then in the slices above and below."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.in_plane = nn.Conv2d(width, width, 3, padding=1)
        self.across = nn.Conv2d(3 * width, width, 1)
        nn.init.zeros_(self.across.weight)  # begins as the identity: no warm-up is needed

    def forward(self, x: Tensor, volumes: int) -> Tensor:
        """x: (volumes x Z, C, Y, X)."""
        y = F.leaky_relu(self.in_plane(_channel_norm(x, self.norm)), LEAK)
        stack = F.pad(y.unflatten(0, (volumes, -1)), (0, 0, 0, 0, 0, 0, 1, 1))
        neighbours = [stack[:, first : first + stack.shape[1] - 2].flatten(0, 1) for first in (0, 1, 2)]
        across: Tensor = self.across(torch.cat(neighbours, dim=1))
        return x + across


def to_share(logits: Tensor) -> Tensor:
    """Channel 0 and 1, shares in [0, HIGHEST_SHARE]; channel 2 the right heart's part of it, in [0, 1]."""
    scale = torch.tensor((HIGHEST_SHARE, HIGHEST_SHARE, 1.0), device=logits.device).view(1, 3, 1, 1, 1)
    return torch.sigmoid(logits.float()) * scale


def _channel_norm(x: Tensor, norm: nn.Module) -> Tensor:
    y: Tensor = norm(x.permute(0, 2, 3, 1))
    return y.permute(0, 3, 1, 2)


def _pair_slices(x: Tensor) -> Tensor:
    """(N Z, C, Y, X) to (N Z / 2, 2 C, Y, X)."""
    return torch.cat([x[0::2], x[1::2]], dim=1)


def _part_slices(x: Tensor) -> Tensor:
    """(N Z, 2 C, Y, X) to (2 N Z, C, Y, X), the inverse of `_pair_slices`."""
    upper, lower = x.chunk(2, dim=1)
    return torch.stack([upper, lower], dim=1).flatten(0, 1).contiguous(memory_format=torch.channels_last)
