"""Say what this Python has for generate.py, in one line of JSON: packages that are missing or broken, and the device.

It exits with 0 whatever it finds. The panel asks it before the first generation, so that a broken PyTorch is met in a
process of its own and never loaded into Slicer.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from SyntheticContrastLib.synthesis.process import DONE, ArgumentParser, run_entry

PACKAGES = ("numpy", "scipy", "SimpleITK", "pydicom", "safetensors", "torch")


def broken_packages() -> dict[str, str]:
    """Why each package cannot be used; "missing" where it is not installed."""
    found = {}
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            found[name] = "missing" if error.name == name else first_line(error)
        except Exception as error:  # of a half-done installation anything can come
            found[name] = first_line(error)
    return found


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def check() -> dict:
    broken = broken_packages()
    if broken:
        return {"broken": broken}
    try:
        from SyntheticContrastLib.synthesis.device import choose

        compute = choose()
    except Exception as error:  # a folder named torch without PyTorch in it is imported without a word
        return {"broken": {"torch": first_line(error)}}
    return {"broken": {}, "device": compute.device, "device_reason": compute.device_reason}


def main(arguments: list[str]) -> int:
    ArgumentParser(prog="check.py", description=__doc__).parse_args(arguments)
    print(json.dumps(check()), flush=True)
    return DONE


if __name__ == "__main__":
    run_entry(main)
