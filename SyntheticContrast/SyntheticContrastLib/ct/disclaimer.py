"""What every synthetic image says of itself."""

DISCLAIMER = "synthetic - not for diagnosis"
