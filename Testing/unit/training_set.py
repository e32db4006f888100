"""A prepared training set of phantoms, and the smallest run on it, for the tests of training."""

import functools

import numpy as np

from SyntheticContrastLib.ct.content import hash_source
from SyntheticContrastLib.ct.phantom import TISSUES, thorax_phantom
from SyntheticContrastTrainingLib.dataset import Pair, Stacks
from SyntheticContrastTrainingLib.prepared import PreparedCase, write_json, write_manifest
from SyntheticContrastTrainingLib.recipes import Recipe
from unit import entry

TRAIN, EXPORT = entry.TRAINING_CLI / "train.py", entry.TRAINING_CLI / "export.py"
SLICES, DEPTH = 16, 4
SPACING = (15.0, 2.8, 2.8)
SMALL = Recipe("l1", gf=2, df=2, depth=DEPTH, norm="keras", steps=6, crop=128, final_crop=128, max_shift=4)
SETTINGS = ("gf=2", "df=2", "depth=4", "norm=keras", "crop=128", "final_crop=128", "max_shift=4", "pixel_mm=0")
DATA = {"cases": 1, "simulated": 0, "slices": SLICES, "files": [], "validation": []}


@functools.cache
def phantom_pair(seed=0):
    phantom = thorax_phantom((SLICES, 128, 128), SPACING, seed)
    return Pair(phantom.ncct, phantom.cect, SPACING)


def phantom_stacks(count=1):
    return Stacks([phantom_pair(seed) for seed in range(count)], DEPTH)


def write_training_set(folder, case_ids, hearts=False, patients=None):
    """What prepare.py would write, one phantom a case; with `hearts`, heart mask and left chambers too.

    `patients`: the column patient by case id, for some of them.
    """
    identity = tuple(tuple(float(value) for value in row) for row in np.eye(4))
    cases = []
    for seed, case_id in enumerate(case_ids):
        pair = phantom_pair(seed)
        (folder / case_id).mkdir(parents=True)
        volumes = {"ncct.npy": pair.ncct, "cect.npy": pair.cect}
        if hearts:
            labels = thorax_phantom((SLICES, 128, 128), SPACING, seed).labels
            left = [TISSUES[name][0] for name in ("left_ventricle", "left_atrium")]
            heart = left + [TISSUES[name][0] for name in ("myocardium", "right_ventricle", "right_atrium")]
            volumes["heart_mask.npy"] = np.isin(labels, heart).astype(np.uint8)
            volumes["chambers.npy"] = np.isin(labels, left).astype(np.uint8)
        for name, volume in volumes.items():
            np.save(folder / case_id / name, volume)
        files = {name: hash_source(folder / case_id / name) for name in volumes}
        patient = (patients or {}).get(case_id)
        cases.append(PreparedCase(case_id, pair.cect.shape, SPACING, identity, False, {}, {}, files, patient=patient))
        write_json(folder / case_id / "case.json", {})
    write_manifest(folder, cases)
    return folder


def train_arguments(data, output, *more, recipe="l1", settings=("steps=6",)):
    """Arguments of train.py for a small run on the CPU; `settings` come after those that make it small."""
    values = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
    return ["--recipe", recipe, "--data", data, "--output", output, "--device", "cpu", *values, *more]
