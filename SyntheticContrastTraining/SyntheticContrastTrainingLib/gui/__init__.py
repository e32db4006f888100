"""The panel of the training module."""
