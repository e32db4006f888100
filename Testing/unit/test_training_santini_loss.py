"""Santini's loss against values worked by hand."""

import math

import pytest
import torch
from torch import nn

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.models.santini2018 import Network
from SyntheticContrastTrainingLib.santini_loss import PAPER_WIDTH_HU, SantiniLoss, parameter_groups


def images(*rows):
    """One image of one row for each argument, (N, 1, 1, X)."""
    return torch.tensor(rows, dtype=torch.float64)[:, None, None, :]


def test_soft_threshold_is_the_papers():
    loss = SantiniLoss()
    assert loss.steepness == pytest.approx(10)
    assert loss.threshold == pytest.approx(0.2)
    assert pytest.approx(219.722, abs=1e-3) == PAPER_WIDTH_HU


@pytest.mark.parametrize("window", [(1000.0, 200.0), (2000.0, 0.0)])
def test_soft_threshold_rises_from_a_tenth_to_nine_tenths_over_its_width(window):
    loss = SantiniLoss(soft_threshold_hu=280, soft_threshold_width_hu=100, window=window)
    hu = torch.tensor([230.0, 280.0, 330.0], dtype=torch.float64)
    found = torch.sigmoid(loss.logits((hu - window[1]) / (window[0] / 2)))
    torch.testing.assert_close(found, torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64))


def test_values_worked_by_hand():
    """Errors 3 and 4 inside the mask: RMSE sqrt(25 / 2). At vth BCE is ln 2; where sig is 0.9 against 1, -ln 0.9."""
    loss = SantiniLoss(alpha=2, beta=3)
    high = 0.2 + math.log(9) / 10  # sig = 0.9
    output = images([0.2, high, 50.0])
    target = images([0.2 - 3, high + 4, -50.0])
    chambers, heart = images([0, 1, 1]), images([1, 1, 0])
    rmse, bce = math.sqrt(25 / 2), (math.log(2) - math.log(0.9)) / 2
    found = loss(output, target, chambers, heart)
    assert [float(term) for term in found] == pytest.approx([2 * rmse + 3 * bce, rmse, bce])
    summed = SantiniLoss(alpha=2, beta=3, bce_reduction="sum")(output, target, chambers, heart)
    assert [float(term) for term in summed] == pytest.approx([2 * rmse + 6 * bce, rmse, 2 * bce])


def test_default_weights_are_the_papers():
    found = SantiniLoss()(images([0.2]), images([1.2]), images([1]), images([1]))
    assert float(found.total) == pytest.approx(1 * 1 + 0.01 * math.log(2))


def test_a_batch_is_the_mean_of_its_images():
    """So that processes with a part of the batch each, or accumulated steps, find the same loss: pooled, it is 3.16."""
    loss = SantiniLoss(beta=0)
    output, target = images([2, 0, 0], [4, 4, 9]), torch.zeros(2, 1, 1, 3, dtype=torch.float64)
    heart = images([1, 0, 0], [1, 1, 0])
    assert float(loss(output, target, target, heart).total) == pytest.approx((2 + 4) / 2)


def test_means_keep_the_terms_balanced_for_every_heart_size():
    """Repeating the pixels changes no mean; the sum of Eq. 3 grows with the heart."""
    row = [0.1, 0.5, -0.3, 0.25]
    totals = {}
    for reduction in ("mean", "sum"):
        for copies in (1, 100):
            output = images(row * copies)
            heart = torch.ones_like(output)
            totals[reduction, copies] = SantiniLoss(bce_reduction=reduction)(output, output - 1, heart, heart)
    assert float(totals["mean", 100].total) == pytest.approx(float(totals["mean", 1].total))
    assert float(totals["sum", 100].bce) == pytest.approx(400 * float(totals["mean", 1].bce))
    assert float(totals["sum", 100].rmse) == pytest.approx(1)


def test_gradients_of_the_terms_are_those_of_the_derivation():
    """error / (N RMSE) and beta s (sig - y01) / N."""
    output = images([0.2, 0.2]).requires_grad_()
    target, chambers, heart = images([0.2 - 3, 0.2 + 4]), images([0, 1]), images([1, 1])
    SantiniLoss(beta=0.01)(output, target, chambers, heart).total.backward()
    rmse = math.sqrt(12.5)
    expected = images([3 / (2 * rmse) + 0.01 * 10 * 0.5 / 2, -4 / (2 * rmse) - 0.01 * 10 * 0.5 / 2])
    torch.testing.assert_close(output.grad, expected)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_are_those_of_the_values(reduction):
    generator = torch.Generator().manual_seed(0)
    output, target, chambers, heart = torch.rand(4, 3, 1, 3, 4, dtype=torch.float64, generator=generator)
    loss = SantiniLoss(beta=0.5, bce_reduction=reduction)
    labels, mask = (chambers > 0.5).double(), heart > 0.4
    assert torch.autograd.gradcheck(lambda x: loss(x, target, labels, mask).total, output.requires_grad_())


def test_an_empty_heart_mask_gives_zero_with_gradient():
    output = images([0.3, 0.4], [1.0, 2.0]).requires_grad_()
    zeros = torch.zeros_like(output)
    found = SantiniLoss()(output, zeros, zeros, zeros)
    assert [float(term.detach()) for term in found] == [0, 0, 0]
    found.total.backward()
    assert torch.equal(output.grad, zeros)

    output.grad = None
    one = images([0, 0], [0, 1])
    SantiniLoss()(output, zeros, zeros, one).total.backward()
    assert output.grad.ne(0).tolist() == one.ne(0).tolist()


def test_nothing_outside_the_heart_is_used():
    heart = images([1, 0])
    output = images([0.4, math.nan]).requires_grad_()
    found = SantiniLoss()(output, images([0.1, math.inf]), images([1, math.nan]), heart)
    assert float(found.rmse) == pytest.approx(0.3)
    assert math.isfinite(found.total.detach())
    found.total.backward()
    assert output.grad.isfinite().all() and output.grad[..., 1] == 0


def test_a_perfect_output_has_a_finite_gradient():
    """The square root of Eq. 2 has none at 0; the norm's is 0, and what is left is the BCE's."""
    output = images([0.2, 0.2]).requires_grad_()
    ones = torch.ones_like(output)
    SantiniLoss()(output, output.detach(), ones, ones).total.backward()
    torch.testing.assert_close(output.grad, -0.01 * 10 * 0.5 / 2 * ones.detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_outputs_stay_finite(dtype):
    """sig of them is 0 or 1 to the last bit: a logarithm of it would be infinite."""
    output = torch.tensor([-6e4, 6e4, -6e4, 6e4], dtype=dtype).view(1, 1, 1, 4).requires_grad_()
    target, labels = torch.zeros(1, 1, 1, 4), torch.tensor([0.0, 0, 1, 1]).view(1, 1, 1, 4)
    found = SantiniLoss()(output, target, labels, torch.ones(1, 1, 1, 4))
    assert found.total.dtype == torch.float32
    assert float(found.bce) == pytest.approx(10 * 6e4 / 2, rel=0.01)
    found.total.backward()
    assert output.grad.isfinite().all()


def test_weight_decay_is_the_gradient_of_half_lambda_the_sum_of_squared_kernels():
    """One step of Adam with the groups, and one with the term written out, move every parameter alike."""
    decay = 0.3
    torch.manual_seed(0)
    by_optimiser = Network((2,) * 8)
    written_out = Network((2,) * 8)
    written_out.load_state_dict(by_optimiser.state_dict())
    image = torch.rand(1, 1, 32, 32)

    adam = torch.optim.Adam(parameter_groups(by_optimiser, decay), lr=1e-2, eps=1.0)  # eps: no division by the gradient
    by_optimiser(image).mean().backward()
    adam.step()

    adam = torch.optim.Adam(written_out.parameters(), lr=1e-2, eps=1.0)
    kernels = [parameter for parameter in written_out.parameters() if parameter.dim() == 4]
    (written_out(image).mean() + decay / 2 * sum(kernel.square().sum() for kernel in kernels)).backward()
    adam.step()
    for ours, theirs in zip(by_optimiser.parameters(), written_out.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_weight_decay_is_over_the_kernels_only():
    network = Network((2,) * 8)
    kernels, others = parameter_groups(network, 0.001)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert (kernels["weight_decay"], others["weight_decay"]) == (0.001, 0)
    assert sorted(names[id(parameter)] for parameter in kernels["params"]) == sorted(
        f"{name}.weight"
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    )
    found = [id(parameter) for group in (kernels, others) for parameter in group["params"]]
    assert sorted(found) == sorted(names)  # each once


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        SantiniLoss()(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4), torch.ones(2, 4, 4))


@pytest.mark.parametrize(
    "values",
    [
        {"alpha": -1},
        {"beta": math.nan},
        {"weight_decay": -0.1},
        {"soft_threshold_width_hu": 0},
        {"window": (0.0, 200.0)},
        {"bce_reduction": "median"},
    ],
)
def test_impossible_values_are_refused(values):
    with pytest.raises(InputError):
        SantiniLoss(**values)
