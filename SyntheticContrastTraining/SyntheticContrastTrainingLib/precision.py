"""Mixed precision, on a CPU by 3D convolutions in bf16 whose gradients are right: 1.6 times faster where it has AMX.

With PyTorch 2.14 on a processor with AMX the gradient of a bf16 conv3d with respect to its kernel hangs, is not a
number or is wrong for some shapes. That of conv2d is right, and the gradient of a 3D kernel is, for each of its taps
along z, that of a 2D convolution whose batch are the slices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from SyntheticContrastTrainingLib.recipes import Recipe


def mixed_precision(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """What the networks are run in: lower precision, where the recipe asks for it."""
    if recipe.precision == "fp32":
        return nullcontext()
    if device.type == "cpu" and recipe.precision == "bf16" and recipe.architecture == "choi2021":
        return Bf16Convolutions()
    return torch.autocast(device.type, torch.float16 if recipe.precision == "fp16" else torch.bfloat16)


class Bf16Convolutions(TorchFunctionMode):
    """Within the block every `conv3d` without padding, dilation or groups computes in bf16, forward and backward."""

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not F.conv3d:
            return func(*args, **(kwargs or {}))
        x, weight, bias, stride = _arguments(*args, **(kwargs or {}))
        return _Convolution.apply(x, weight, bias, stride)


def _arguments(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | Sequence[int] = 1
) -> tuple[Tensor, Tensor, Tensor | None, tuple[int, ...]]:
    return x, weight, bias, (stride,) * 3 if isinstance(stride, int) else tuple(stride)


class _Convolution(torch.autograd.Function):
    """`F.conv3d` of (N, C, Z, Y, X), a kernel (O, C, z, y, x) and a bias (O) or None; gives bf16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...]) -> Tensor:
        lean_x, lean_weight = _lean(x), _lean(weight)
        ctx.save_for_backward(lean_x, lean_weight)
        ctx.stride, ctx.kinds = stride, (x.dtype, weight.dtype)
        return F.conv3d(lean_x, lean_weight, None if bias is None else bias.bfloat16(), stride).contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        change = _lean(gradients[0])
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _backward(change, x, weight, ctx.stride, [True, False, False])[0]
            # InstanceNorm3d of PyTorch 2.14 takes a gradient in channels-last order for one in plain order.
            of_x = of_x.to(ctx.kinds[0], memory_format=torch.contiguous_format)
        if ctx.needs_input_grad[1]:
            of_weight = kernel_gradient(change, x, weight, ctx.stride).to(ctx.kinds[1])
        if ctx.needs_input_grad[2]:
            of_bias = change.sum((0, 2, 3, 4), dtype=torch.float32)
        return of_x, of_weight, of_bias, None


def kernel_gradient(change: Tensor, x: Tensor, weight: Tensor, stride: Sequence[int]) -> Tensor:
    """(O, C, z, y, x): gradient with respect to `weight`, from that of the output, `change`; all of them bf16."""
    slices = change.shape[2]
    flat_change = _slices_as_batch(change)
    taps = []
    for tap in range(weight.shape[2]):
        seen = _slices_as_batch(x[:, :, tap : tap + stride[0] * (slices - 1) + 1 : stride[0]])
        flat_weight = weight[:, :, tap].contiguous(memory_format=torch.channels_last)
        taps.append(_backward(flat_change, seen, flat_weight, stride[1:], [False, True, False])[1].float())
    return torch.stack(taps, dim=2)


def _lean(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16, memory_format=torch.channels_last_3d)


def _slices_as_batch(x: Tensor) -> Tensor:
    """(N, C, Z, Y, X) to (N Z, C, Y, X), channels last."""
    return x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)


def _backward(change: Tensor, x: Tensor, weight: Tensor, stride: Sequence[int], wanted: list[bool]) -> Sequence[Tensor]:
    """Gradients of a convolution without padding, with respect to its input, its kernel and (unused) its bias."""
    none = [0] * len(stride)
    return torch.ops.aten.convolution_backward(
        change, x, weight, None, list(stride), none, [1] * len(stride), False, none, 1, wanted
    )
