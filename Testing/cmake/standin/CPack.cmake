# Packaging needs a real Slicer build.
