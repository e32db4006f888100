"""Sentences of the panel: what a recipe is, where a run stands. No Qt."""

from __future__ import annotations

from slicer.i18n import tr as _

from SyntheticContrastTrainingLib.gui.run_folder import RunState
from SyntheticContrastTrainingLib.recipes import Recipe


def describeRecipe(recipe: Recipe) -> str:
    """One line on a recipe, with the settings that the user changed."""
    known = {
        "choi2021": _("Choi 2021 as the paper says: 3D pix2pix with a discriminator, for a GPU."),
        "choi2021-code": _("Choi 2021 as the authors' public code does it, for a GPU."),
        "santini2018": _("Santini 2018: 2D, slices of the heart; the cases need heart_mask and chambers."),
        "l1": _("Choi's generator without a discriminator; for a laptop make it smaller: gf=16 steps=2000."),
    }
    if recipe.epochs:
        length = _("{n} epochs").format(n=recipe.epochs)
    else:
        length = _("{n} steps").format(n=recipe.steps + recipe.final_steps)
    size = _("images of {side} x {side}").format(side=recipe.crop)
    return f"{known.get(recipe.name, '')} {length}, {size}.".strip()


def describeRun(state: RunState) -> str:
    """Where a run that is not at work stands."""
    if not state.steps:
        return _("The run has begun. Resume goes on.")
    where = _("Stopped at step {step} of {steps}. Resume goes on from the last checkpoint.")
    if state.finished:
        where = _("Finished after {steps} steps.")
    return " ".join([where.format(step=state.step, steps=state.steps), figures(state)]).strip()


def describeTraining(state: RunState) -> str:
    """Where a run at work stands."""
    if not state.steps:
        return _("Training starts ...")
    text = _("Training: step {step} of {steps}.").format(step=state.step, steps=state.steps)
    return f"{text} {figures(state)}".strip()


def figures(state: RunState) -> str:
    parts = []
    if state.loss is not None:
        parts.append(_("Loss {loss:.4f}.").format(loss=state.loss))
    if state.psnr is not None and state.mae is not None and state.inputPsnr is not None:
        text = _("Validation: MAE {mae:.1f} HU, PSNR {psnr:.1f} dB (input {before:.1f}).")
        parts.append(text.format(mae=state.mae, psnr=state.psnr, before=state.inputPsnr))
    return " ".join(parts)


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return _("less than a minute")
    if minutes < 90:
        return _("{n} min").format(n=minutes)
    return _("{hours} h {minutes} min").format(hours=minutes // 60, minutes=minutes % 60)
