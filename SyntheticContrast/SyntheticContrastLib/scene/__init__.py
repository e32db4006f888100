"""MRML adapters: CT volume nodes in and out, and the linked comparison views. No Qt.

Node arrays are (K, J, I), as `slicer.util.arrayFromVolume` gives them; node geometry is RAS mm. Import from the
submodules: this file loads nothing.
"""
