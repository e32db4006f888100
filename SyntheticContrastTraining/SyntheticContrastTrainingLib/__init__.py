"""Training of Synthetic Contrast: pairs, recipes, trainer."""
