"""Run the self-tests in a real Slicer and end it: status 0 if all passed, else 1.

Slicer --testing --additional-module-paths SyntheticContrast --python-script Testing/Python/run_self_tests.py

The same with --no-main-window. They need no network.
"""

import os
import sys
import traceback
import unittest
from pathlib import Path

TESTS = ("SyntheticContrast.SyntheticContrastTest", "SyntheticContrastHeadlessSelfTest")


def main():
    sys.path.append(str(Path(__file__).resolve().parent))
    outcome = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(
        unittest.TestLoader().loadTestsFromNames(TESTS)
    )
    return 0 if outcome.wasSuccessful() and outcome.testsRun else 1


if __name__ == "__main__":
    status = 1
    try:
        status = main()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)  # Slicer goes on after sys.exit
