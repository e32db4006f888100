"""The library behind the Synthetic Contrast modules."""
