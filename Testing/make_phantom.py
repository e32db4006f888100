"""Write the non-contrast thorax phantom as a DICOM series: make_phantom.py FOLDER."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "SyntheticContrast"))

from SyntheticContrastLib.ct.phantom import thorax_phantom, write_phantom_series

folder = Path(sys.argv[1])
phantom = thorax_phantom()
write_phantom_series(folder, phantom.ncct, phantom.spacing_zyx, overwrite=True)
