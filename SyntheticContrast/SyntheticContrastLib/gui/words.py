"""Times, errors and a picture in words. No Qt."""

from __future__ import annotations

from slicer.i18n import tr as _


def duration(seconds: float) -> str:
    if seconds < 55:
        return _("{n} s").format(n=max(1, round(seconds)) if seconds < 10 else 5 * round(seconds / 5))
    minutes = round(seconds / 60)
    if minutes < 90:
        return _("{n} min").format(n=max(1, minutes))
    return _("{hours} h {minutes} min").format(hours=minutes // 60, minutes=minutes % 60)


def sentence(error: object) -> str:
    """One line with a capital first and a full stop last, of an error's text."""
    text = " ".join(str(error).split())
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def firstLookCaption() -> str:
    return _(
        "First look at the middle slice, from one window; the result averages several and is smoother. If it makes no "
        "sense, cancel."
    )
