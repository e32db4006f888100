"""Real slice views, off-screen."""

import sys

import pytest


@pytest.fixture
def layoutViews(mrmlScene):
    """The stand-in of the layout manager, as `slicer.app.layoutManager()` too: see `harness.slice_views.SliceViews`.

    An exception in an observer, which VTK would only print, fails the test.
    """
    import slicer

    from harness.slice_views import SliceViews

    raised, hook = [], sys.excepthook
    sys.excepthook = lambda kind, error, trace: raised.append(error)
    views = SliceViews(mrmlScene, slicer.app.applicationLogic())
    slicer.app._layouts = views
    yield views
    slicer.app._layouts = None
    views.close()
    sys.excepthook = hook
    assert not raised, raised


@pytest.fixture
def sliceViews(layoutViews):
    """`sliceViews(3)`: the three views that the layout shows, from left to right; another number fails the test."""

    def shown(count):
        views = layoutViews.shown()
        assert len(views) == count
        return views

    return shown
