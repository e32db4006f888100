"""CT volumes in and out: reading, checking, orientation, windows, writing, and a chest phantom.

Arrays are (Z, Y, X) in HU: Z superior to inferior, Y anterior to posterior, X patient right to left. World coordinates
are LPS mm, as in DICOM and ITK. Import from the submodules: this file loads nothing.
"""
