"""Stand-ins for the parts of the Slicer application that have no pip package, for tests of panels.

MRML, its logics and `slicer.util` are the real ones of the pip package slicer-core; Qt is PySide6, off-screen. Nothing
here is imported before a test asks for a fixture that needs it: `mrmlScene` or `modulePanel` of conftest.py.
"""
