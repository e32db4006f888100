"""Turn a checkpoint into a model bundle that generate.py and the Slicer module use.

Examples:
  export.py --checkpoint run/best.pt --output models/my-model
  export.py --checkpoint run/last.pt --output models/my-model --card about.json
  export.py --checkpoint final20.h5 --output models/authors-model    (weights of the public Keras code of Choi 2021)

The weights are the averaged ones, where the recipe has an average (EMA). Architecture, windows, recipe and the last
validation are written into the card from the run; about.json may give what the run cannot know: name, description,
training_data, figures, intended_use, licence.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# Installed, both libraries lie beside this folder; in the source tree the core lies in the sibling module.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "SyntheticContrast"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from SyntheticContrastLib.synthesis.process import DONE, ArgumentParser, require, run_entry


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="export.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--checkpoint", required=True, type=Path, metavar="FILE", help="best.pt or last.pt of a run, or .h5"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="BUNDLE_DIR", help="new folder; names the model")
    parser.add_argument("--card", type=Path, metavar="JSON", help="fields of the card that the run cannot know")
    parser.add_argument(
        "--full-precision", action="store_true", help="store float32 weights, twice the size of float16"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    args = parse(arguments)

    require("torch", "safetensors.torch")
    from SyntheticContrastLib.models.bundle import write_bundle
    from SyntheticContrastTrainingLib.export import build_card, build_imported_card, read_about

    name, about = args.output.name, read_about(args.card) if args.card else {}
    if args.checkpoint.suffix.lower() in (".h5", ".hdf5"):
        from SyntheticContrastLib.models.keras_weights import architecture_arguments, import_generator

        generator = import_generator(args.checkpoint)
        network, card = generator, build_imported_card(architecture_arguments(generator), name, about)
    else:
        from SyntheticContrastTrainingLib.checkpoint import load_checkpoint
        from SyntheticContrastTrainingLib.export import trained_network

        checkpoint = load_checkpoint(args.checkpoint)
        network, card = trained_network(checkpoint), build_card(checkpoint, name, about)
    bundle = write_bundle(args.output, network, card, half=not args.full_precision)
    print(f"{bundle.folder}: {card.description} Weights sha256 {bundle.card.weights_sha256}")
    return DONE


if __name__ == "__main__":
    run_entry(main)
