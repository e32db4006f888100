"""The views of Testing/views, beside a panel."""

from views.conftest import layoutViews, sliceViews  # noqa: F401  fixtures
