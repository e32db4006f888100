"""Which patients a model is trained on, and which only validate it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastTrainingLib.recipes import Recipe


@dataclass(frozen=True)
class Split:
    """Case ids, in the order of the training set. No patient is in both."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


def patient_key(case_id: str) -> str:
    """The patient of a case: series `<patient>_1`, `<patient>_2`, ... are one patient's; so are those of `<patient>`.

    A number that starts with 0 is part of the patient's name: `case_01` and `case_02` are two patients.
    """
    return re.sub(r"_[1-9]\d*$", "", case_id)


def split_patients(case_ids: Sequence[str], recipe: Recipe, given: Mapping[str, str | None] | None = None) -> Split:
    """The cases in `recipe.validation`, else as `given`, else `recipe.validation_fraction` drawn by the seed.

    `given` holds "training", "validation" or None by case id, as cases.csv says it.

    The share is rounded half up, so a tenth of fewer than five patients is none: then no patient validates. The split
    depends on the set of patients, not on their order.

    Raises:
        InputError: when `recipe.validation` names a case that is not there, cases of one patient are given to both, or
            none is left to train on.
    """
    if missing := sorted(set(recipe.validation) - set(case_ids)):
        raise InputError(f"validation: {missing[0]} is no case of the training set")
    patients = sorted({patient_key(case_id) for case_id in case_ids})
    given = {case_id: split for case_id, split in (given or {}).items() if split}
    if recipe.validation:
        held_out = {patient_key(case_id) for case_id in recipe.validation}
    elif given:
        held_out = {patient_key(case_id) for case_id, split in given.items() if split == "validation"}
        if both := sorted(held_out & {patient_key(case_id) for case_id, split in given.items() if split == "training"}):
            raise InputError(f"split: patient {both[0]} has cases in training and in validation")
    else:
        count = int(recipe.validation_fraction * len(patients) + 0.5)
        held_out = set(np.random.default_rng(recipe.seed).permutation(patients)[:count].tolist())
    if held_out == set(patients):
        raise InputError("validation takes every patient: none is left to train on")
    return Split(
        tuple(case_id for case_id in case_ids if patient_key(case_id) not in held_out),
        tuple(case_id for case_id in case_ids if patient_key(case_id) in held_out),
    )
