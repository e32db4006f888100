"""The widgets of a .ui file and the parameters of the scene follow each other."""

from __future__ import annotations

from typing import Any

from slicer.parameterNodeWrapper import SlicerParameterNamePropertyName


def connectWidgets(parameters: Any, ui: Any) -> Any:
    """Connect the widgets that name a parameter; returns the tag for `parameters.disconnectGui`.

    As `parameters.connectGui(ui)`, which gives no tag in Slicer 5.13 and before. Widgets that stay connected write the
    first of their choices into the parameters when they are connected again.
    """
    named = {widget.property(SlicerParameterNamePropertyName): widget for widget in vars(ui).values()}
    return parameters.connectParametersToGui({name: widget for name, widget in named.items() if name})
