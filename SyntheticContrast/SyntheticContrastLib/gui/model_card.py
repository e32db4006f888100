"""The card of a model, for a person to read. No Qt."""

from __future__ import annotations

from html import escape
from typing import Any

from slicer.i18n import tr as _

from SyntheticContrastLib.models.bundle import Card


def cardHtml(card: Card) -> str:
    """Intended use and licence first, then training data, figures and technical facts."""
    if card.by_shares:
        area = _("the whole chest; phase and level of the contrast are chosen")
    else:
        area = _("the heart region, slice by slice") if card.heart_only else _("the whole chest")
    windows = ", ".join(f"{width:g}/{level:g}" for width, level in card.input_windows)
    technical = {
        _("Makes"): area,
        _("Architecture"): f"{card.architecture} {card.architecture_arguments}",
        _("Recipe"): card.recipe,
        _("Input windows (width/level, HU)"): windows,
        _("Output window (width/level, HU)"): "{:g}/{:g}".format(*card.output_window),
        _("SHA-256 of the weights"): card.weights_sha256,
    }
    parts = [
        f"<h2>{escape(card.name)}</h2>",
        f"<p><b>{escape(_('Synthetic - not for diagnosis.'))}</b></p>",
        _section(_("Intended use"), card.intended_use),
        _section(_("Licence"), card.licence),
        _section(_("What it is"), card.description),
        _section(_("Training data"), list(card.training_data) or _("not stated")),
        _section(_("Measured figures"), card.figures or _("none")),
        _section(_("Technical"), technical),
    ]
    return "\n".join(parts)


def _section(title: str, value: Any) -> str:
    return f"<h3>{escape(title)}</h3>{_html(value)}"


def _html(value: Any) -> str:
    if isinstance(value, dict):
        rows = (f"<li><b>{escape(str(key))}:</b> {_html(one)}</li>" for key, one in value.items())
        return f"<ul>{''.join(rows)}</ul>"
    if isinstance(value, list | tuple):
        if all(isinstance(one, int | float) for one in value):  # before and after, in the figures
            return " &rarr; ".join(f"{one:g}" for one in value)
        return f"<ul>{''.join(f'<li>{_html(one)}</li>' for one in value)}</ul>"
    return escape(f"{value:g}" if isinstance(value, float) else str(value))
