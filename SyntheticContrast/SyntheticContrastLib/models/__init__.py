"""Networks, their exact folding for inference, and the bundles that carry trained weights."""
