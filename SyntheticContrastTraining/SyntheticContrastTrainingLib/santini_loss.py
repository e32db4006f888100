"""The loss of Santini et al. 2018, Eq. 1 to 3, on tensors (N, 1, Y, X).

    L = [alpha RMSE(y~, y) + beta BCE(sig(y~), y01)] heart mask + lambda/2 ||W||^2
    sig(x) = 1 / (1 + exp(-s (x - vth)))

Images are x = (HU - level) / (width / 2): with the window of width 1000, level 200, 1 unit is 500 HU.

Where the paper leaves a choice, this is the reading:

- RMSE and BCE are those of the pixels inside the heart mask, N of them, one image at a time; the batch's loss is the
  mean over its images. So it does not depend on how equal parts of a batch are shared out over processes or steps.
- Eq. 2 is a mean and Eq. 3 a sum. At a pixel the gradient of the RMSE is error / (N RMSE), of the order of 1 / N, and
  that of beta BCE is beta s (sig - y01), up to 0.1, if it is a sum, or up to 0.1 / N if it is a mean. As a sum, BCE
  would outweigh the RMSE hundreds of times, and the more the larger the heart; as a mean it is up to a tenth of it at
  every size. So both are means by default; `bce_reduction="sum"` is Eq. 3 to the letter.
- lambda/2 ||W||^2 is not in the value of the loss: `parameter_groups` leaves it to the optimiser, whose weight decay
  adds the same gradient, lambda W. W is the kernels of the convolutions, without biases and batch norms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SyntheticContrastLib.ct.errors import InputError

Reduction = Literal["mean", "sum"]

# sig rises from 0.1 to 0.9 over 2 ln 9 / s; the paper's s = 10, per unit of 500 HU, makes that 219.7 HU.
_RISE = 2 * math.log(9)
PAPER_WIDTH_HU = _RISE / 10 * 500


@dataclass(frozen=True)
class SantiniLoss:
    """Hyper-parameters of the loss; the defaults are the paper's.

    Args:
        alpha, beta: weights of RMSE and BCE.
        weight_decay: lambda.
        soft_threshold_hu: vth, where sig is 0.5.
        soft_threshold_width_hu: HU over which sig rises from 0.1 to 0.9; decides the paper's s.
        bce_reduction: over the pixels of a heart mask; RMSE is always a mean.
        window: (width, level) in HU of the images given to the loss.

    Raises:
        InputError: for a weight below zero, a width that is not positive, or an unknown reduction.
    """

    alpha: float = 1.0
    beta: float = 0.01
    weight_decay: float = 0.001
    soft_threshold_hu: float = 300.0
    soft_threshold_width_hu: float = PAPER_WIDTH_HU
    bce_reduction: Reduction = "mean"
    window: tuple[float, float] = (1000.0, 200.0)

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} of the loss is {getattr(self, name)}: it cannot be below 0")
        if not self.soft_threshold_width_hu > 0:
            raise InputError(f"the soft threshold is {self.soft_threshold_width_hu} HU wide: it must be above 0")
        if not self.window[0] > 0:
            raise InputError(f"the window of the loss is {self.window[0]} HU wide: it must be above 0")
        if self.bce_reduction not in get_args(Reduction):
            raise InputError(f"unknown reduction {self.bce_reduction!r}: use {' or '.join(get_args(Reduction))}")

    @property
    def threshold(self) -> float:
        """vth on the scale of the images: 0.2 for 300 HU."""
        width, level = self.window
        return (self.soft_threshold_hu - level) / (width / 2)

    @property
    def steepness(self) -> float:
        """s per unit of the images: 10 with the paper's values."""
        return _RISE / self.soft_threshold_width_hu * (self.window[0] / 2)

    def logits(self, x: Tensor) -> Tensor:
        """s (x - vth), whose sigmoid is the paper's sig(x); any shape."""
        return self.steepness * (x - self.threshold)

    def __call__(self, output: Tensor, target: Tensor, chambers: Tensor, heart_mask: Tensor) -> LossTerms:
        """Eq. 1 without its last term; an image with an empty heart mask counts as 0 and has gradient 0.

        Args:
            output, target: synthetic and real contrast-enhanced images, (N, 1, Y, X).
            chambers: 1 in the left atrium and ventricle, else 0, the same shape.
            heart_mask: True or 1 in the heart, the same shape. Values outside it are never used, NaN included.

        Raises:
            ValueError: when the shapes differ.
        """
        if not output.shape == target.shape == chambers.shape == heart_mask.shape:
            shapes = [tuple(tensor.shape) for tensor in (output, target, chambers, heart_mask)]
            raise ValueError(f"output, target, chambers and heart mask differ in shape: {shapes}")
        output = output.to(torch.promote_types(output.dtype, torch.float32))
        axes = tuple(range(1, output.dim()))
        heart = heart_mask > 0.5
        pixels = heart.sum(dim=axes).clamp(min=1).to(output.dtype)

        # The gradient of a norm is defined, as 0, where all errors are 0; that of a square root is not.
        error = torch.where(heart, output - target, 0)
        rmse = torch.linalg.vector_norm(error, dim=axes) / pixels.sqrt()

        logits = torch.where(heart, self.logits(output), 0)
        labels = torch.where(heart, chambers.to(output.dtype), 0)
        entropies = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        bce = torch.where(heart, entropies, 0).sum(dim=axes)
        if self.bce_reduction == "mean":
            bce = bce / pixels

        rmse, bce = rmse.mean(), bce.mean()
        return LossTerms(self.alpha * rmse + self.beta * bce, rmse.detach(), bce.detach())


class LossTerms(NamedTuple):
    """Scalars: the loss, and its two parts, not weighted and without gradient, for the log.

    `rmse` is in units of the images: 500 HU with the paper's window.
    """

    total: Tensor
    rmse: Tensor
    bce: Tensor


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for `torch.optim.Adam`: the kernels of the convolutions with lambda, the other parameters without.

    Adam's (and SGD's) weight decay adds lambda W to the gradient of W, which is the gradient of lambda/2 ||W||^2. AdamW
    does something else.
    """
    kernels = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    known = {id(kernel) for kernel in kernels}
    others = [parameter for parameter in network.parameters() if id(parameter) not in known]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
